#include "fake_backend.h"

fake_calls fake;
fixture f;

static fbt_status called(void)
{
    fake.n_calls++;
    return FBT_OK;
}

static fbt_status buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    (void)b;
    *buffer = calloc(1, sizeof **buffer);
    (*buffer)->n_bytes = n_bytes;
    return called();
}

static void buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    (void)b;
    free(buffer);
}

static fbt_status write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    (void)b, (void)buffer, (void)host, (void)n_bytes;
    return called();
}

static fbt_status read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    (void)b, (void)host, (void)buffer, (void)n_bytes;
    return called();
}

static fbt_status matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    (void)b;
    *matrix = calloc(1, sizeof **matrix);
    **matrix = (fbt_matrix){.n_out = spec->n_out, .n_in = spec->n_in, .types = spec->types};
    return called();
}

static void matrix_free(fbt_backend *b, fbt_matrix *matrix)
{
    (void)b;
    free(matrix);
}

static fbt_status table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                            fbt_table **table)
{
    (void)b, (void)rows;
    *table = calloc(1, sizeof **table);
    **table = (fbt_table){.dtype = dtype, .n_rows = n_rows, .n_dim = n_dim};
    return called();
}

static void table_free(fbt_backend *b, fbt_table *table)
{
    (void)b;
    free(table);
}

static fbt_status perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                          const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    (void)b, (void)tokens, (void)perturbation, (void)origins, (void)frozen, (void)packed;
    return called();
}

static fbt_status embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    (void)b, (void)x, (void)e, (void)packed;
    return called();
}

static fbt_status embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows)
{
    (void)b, (void)x, (void)e, (void)n_rows;
    return called();
}

static fbt_status linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                         fbt_activation activation, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)n_rows;
    if (activation == FBT_ACT_TANH && fake.queued != NULL) { /* the activation is a kernel of its own */
        assert_int_equal(fake.queued(fake.context), FBT_OK);
    }
    return called();
}

static fbt_status linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                  const fbt_buffer *residual, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)residual, (void)n_rows;
    return called();
}

static fbt_status linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)residual, (void)norm, (void)n_rows;
    return called();
}

static fbt_status layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype, const fbt_norm *norm,
                            int64_t n_rows, int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)x_dtype, (void)norm, (void)n_rows, (void)n_dim;
    return called();
}

static fbt_status norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                             const fbt_norm *norm, int64_t n_rows)
{
    (void)b, (void)x, (void)heads, (void)n_heads, (void)head_dim, (void)norm, (void)n_rows;
    return called();
}

static fbt_status rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                         const fbt_rotary *rotary, int64_t n_rows)
{
    (void)b, (void)x, (void)heads, (void)n_heads, (void)head_dim, (void)rotary, (void)n_rows;
    return called();
}

static fbt_status gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                       int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)activation, (void)n_rows, (void)n_dim;
    return called();
}

static fbt_status linear_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              fbt_activation activation, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)activation, (void)n_rows;
    return called();
}

static fbt_status attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    (void)b, (void)y, (void)a;
    return called();
}

static fbt_status put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                              int64_t n_rows)
{
    (void)b, (void)x, (void)dtype, (void)prompts, (void)n_rows;
    return called();
}

static fbt_status gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                              const fbt_buffer *rows, int64_t n, int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)dtype, (void)rows, (void)n, (void)n_dim;
    return called();
}

static fbt_status mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed, int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)packed, (void)n_dim;
    return called();
}

static fbt_status label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                               const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                               int64_t n_labels, int64_t n_dim)
{
    (void)b, (void)logits, (void)x, (void)dtype, (void)labels, (void)bias, (void)scale;
    (void)n, (void)n_labels, (void)n_dim;
    return called();
}

static fbt_status loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                       const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    (void)b, (void)losses, (void)predictions, (void)logits, (void)labels, (void)kind, (void)n, (void)n_labels;
    return called();
}

static fbt_status library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                  double *best_s)
{
    (void)b, (void)types, (void)size, (void)n_repeats;
    *best_s = 1;
    return called();
}

static fbt_status library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s)
{
    (void)b, (void)n_bytes, (void)n_repeats;
    *best_s = 1;
    return called();
}

static void watch_products(fbt_backend *b, fbt_status (*queued)(void *context), void *context)
{
    (void)b;
    fake.queued = queued;
    fake.context = context;
}

static void fake_close(fbt_backend *b)
{
    (void)b;
}

static const fbt_backend_ops ops = {
    .close = fake_close,
    .buffer_new = buffer_new,
    .buffer_free = buffer_free,
    .write = write,
    .read = read,
    .matrix_new = matrix_new,
    .matrix_free = matrix_free,
    .table_new = table_new,
    .table_free = table_free,
    .perturb = perturb,
    .embed = embed,
    .embed_rows = embed_rows,
    .linear = linear,
    .linear_residual = linear_residual,
    .linear_norm = linear_norm,
    .layernorm = layernorm,
    .norm_heads = norm_heads,
    .rotate = rotate,
    .gate = gate,
    .linear_gate = linear_gate,
    .attention = attention,
    .put_prompts = put_prompts,
    .gather_rows = gather_rows,
    .mean_pool = mean_pool,
    .label_logits = label_logits,
    .loss = loss,
    .library_product = library_product,
    .library_copy = library_copy,
    .watch_products = watch_products,
};

int fake_setup(void **state)
{
    (void)state;
    const float weight[DIM * N_IN] = {0};
    memset(&fake, 0, sizeof fake);
    f = (fixture){.b = {.ops = &ops,
                        .info = {.name = "fake",
                                 .types = fbt_types_find("fp32"),
                                 .n_streams = 1,
                                 .size_multiple = 8,
                                 .max_dim = 1024,
                                 .max_head_dim = 64}},
                  .offsets = {0, 1, N}};
    fbt_buffer **buffers[] = {&f.x, &f.y, &f.z};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fbt_buffer_new(&f.b, BYTES, buffers[i]), FBT_OK);
    }
    assert_int_equal(fbt_buffer_new(&f.b, 3, &f.small), FBT_OK);
    const fbt_matrix_spec spec = {
        .weight = weight, .dtype = FBT_F32, .n_out = DIM, .n_in = N_IN, .operation = FBT_OP_UP};
    assert_int_equal(fbt_matrix_new(&f.b, &spec, &f.w), FBT_OK);
    assert_int_equal(fbt_table_new(&f.b, weight, FBT_F16, 7, DIM, &f.table), FBT_OK);
    assert_int_equal(fbt_table_new(&f.b, weight, FBT_F32, 7, 8, &f.narrow), FBT_OK);
    assert_int_equal(fbt_table_new(&f.b, weight, FBT_F32, 7, 4, &f.turns), FBT_OK);
    f.packed = (fbt_packed){f.z, f.z, f.z, f.offsets, N_SEQUENCES, N, 3};
    f.norm = (fbt_norm){.gamma = f.z, .beta = f.z, .epsilon = 1e-5f};
    f.e = (fbt_embedding){.word = f.table,
                          .position = f.table,
                          .norm = f.norm,
                          .n_dim = DIM,
                          .mode = FBT_PROMPT_CAT,
                          .n_prompt_tokens = 1,
                          .prompts = f.z};
    f.a = (fbt_attention){.q = {f.x, 2 * DIM, 0},
                          .k = {f.x, 2 * DIM, DIM},
                          .v = {f.x, DIM, 0},
                          .packed = &f.packed,
                          .n_heads = 2,
                          .head_dim = 8,
                          .scale = 1};
    f.rms = (fbt_norm){.gamma = f.z, .epsilon = 1e-5f, .kind = FBT_NORM_RMS};
    f.rows = (fbt_row_embedding){.word = f.table,
                                 .position = f.table,
                                 .prompts = f.z,
                                 .tokens = f.z,
                                 .positions = f.z,
                                 .prompt_rows = f.z,
                                 .n_dim = DIM};
    f.rotary = (fbt_rotary){.cosine = f.turns, .sine = f.turns, .positions = f.z, .n_rotated = 8};
    f.before = (fbt_prefix){.k = f.a.k, .v = f.a.v, .packed = &f.packed, .index = f.z, .host_index = f.index};
    f.prefix = f.before;
    f.prefix.before = &f.before;
    f.p = (fbt_perturbation){.rate = 0.5, .vocab_size = 7};
    fake.n_calls = 0;
    return 0;
}

int fake_teardown(void **state)
{
    (void)state;
    fbt_buffer *buffers[] = {f.x, f.y, f.z, f.small};
    for (size_t i = 0; i < 4; i++) {
        fbt_buffer_free(&f.b, buffers[i]);
    }
    fbt_matrix_free(&f.b, f.w);
    fbt_table_free(&f.b, f.table);
    fbt_table_free(&f.b, f.narrow);
    fbt_table_free(&f.b, f.turns);
    fbt_error_clear();
    return 0;
}

void fake_expect(fbt_status expected, int n_calls, fbt_status status, const char *call, int line)
{
    if (status != expected || fake.n_calls != n_calls) {
        fail_msg("line %d: %s: %s, %d calls of the backend: %s", line, call, fbt_status_text(status), fake.n_calls,
                 fbt_error_message());
    }
    if (expected != FBT_OK) {
        assert_true(strlen(fbt_error_message()) > 10);
    }
    fbt_error_clear();
    fake.n_calls = 0;
}
