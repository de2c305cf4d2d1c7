/* The interface above the backends, with a backend that computes nothing: what it is called with, and what never
 * reaches it. Broken by a check that is left out, a bad call that is handed on, or a default that is none. */
#include "config/options.h"
#include "kernels/backend_ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 4, DIM = 16, N_IN = 8, N_SEQUENCES = 2, BYTES = 4096 };

/* Operations that reached the backend, and its memory. */
static struct {
    int n_calls;
    int n_graphs;
    fbt_status (*queued)(void *context);
    void *context;
} fake;

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

static fbt_status linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                         fbt_activation activation, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)n_rows;
    if (activation == FBT_ACT_TANH && fake.queued != NULL) { /* the activation is a kernel of its own */
        assert_int_equal(fake.queued(fake.context), FBT_OK);
    }
    return called();
}

static fbt_status linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    (void)b, (void)y, (void)x, (void)w, (void)residual, (void)norm, (void)n_rows;
    return called();
}

static fbt_status layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                            int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)norm, (void)n_rows, (void)n_dim;
    return called();
}

static fbt_status attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    (void)b, (void)y, (void)a;
    return called();
}

static fbt_status gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_buffer *rows, int64_t n,
                              int64_t n_dim)
{
    (void)b, (void)y, (void)x, (void)rows, (void)n, (void)n_dim;
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
    .linear = linear,
    .linear_norm = linear_norm,
    .layernorm = layernorm,
    .attention = attention,
    .gather_rows = gather_rows,
    .mean_pool = mean_pool,
    .label_logits = label_logits,
    .loss = loss,
    .library_product = library_product,
    .library_copy = library_copy,
    .watch_products = watch_products,
};

/* Operands that every operation below takes as they are; a test spoils one at a time. */
typedef struct fixture {
    fbt_backend b;
    fbt_buffer *x, *y, *z, *small;
    fbt_matrix *w;
    fbt_table *table, *narrow;
    int32_t offsets[N_SEQUENCES + 1];
    fbt_packed packed;
    fbt_norm norm;
    fbt_embedding e;
    fbt_attention a;
    fbt_perturbation p;
} fixture;

static fixture f;

static int setup(void **state)
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
    f.p = (fbt_perturbation){.rate = 0.5, .vocab_size = 7};
    fake.n_calls = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fbt_buffer *buffers[] = {f.x, f.y, f.z, f.small};
    for (size_t i = 0; i < 4; i++) {
        fbt_buffer_free(&f.b, buffers[i]);
    }
    fbt_matrix_free(&f.b, f.w);
    fbt_table_free(&f.b, f.table);
    fbt_table_free(&f.b, f.narrow);
    fbt_error_clear();
    return 0;
}

static void expect_at(fbt_status expected, int n_calls, fbt_status status, const char *call, int line)
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

#define TAKEN(call) expect_at(FBT_OK, 1, call, #call, __LINE__)
#define NOTHING(call) expect_at(FBT_OK, 0, call, #call, __LINE__)
#define REFUSED(call) expect_at(FBT_ERR_ARG, 0, call, #call, __LINE__)
#define UNSUPPORTED(call) expect_at(FBT_ERR_UNSUPPORTED, 0, call, #call, __LINE__)

/* With one member of the fixture changed for the call. */
#define WITH(expectation, member, value, call)                                                                         \
    do {                                                                                                               \
        const __typeof__(f.member) kept = f.member;                                                                    \
        f.member = (value);                                                                                            \
        expectation(call);                                                                                             \
        f.member = kept;                                                                                               \
    } while (0)

static void memory_is_checked(void **state)
{
    char host[8] = {0};
    const float weight[4] = {0};
    fbt_buffer *buffer;
    fbt_matrix *matrix;
    fbt_table *table;
    (void)state;
    REFUSED(fbt_buffer_new(&f.b, -1, &buffer));
    TAKEN(fbt_buffer_write(&f.b, f.x, host, sizeof host));
    NOTHING(fbt_buffer_write(&f.b, f.x, host, 0));
    REFUSED(fbt_buffer_write(&f.b, f.small, host, sizeof host));
    REFUSED(fbt_buffer_write(&f.b, f.x, host, -1));
    REFUSED(fbt_buffer_write(&f.b, NULL, host, 1));
    REFUSED(fbt_buffer_read(&f.b, host, f.small, sizeof host));
    REFUSED(fbt_buffer_read(&f.b, host, NULL, 1));
    NOTHING(fbt_buffer_read(&f.b, host, f.x, 0));
    const fbt_matrix_spec good = {.weight = weight, .n_out = 2, .n_in = 2};
    fbt_matrix_spec bad[] = {good, good, good, good, good, good};
    bad[0].weight = NULL;
    bad[1].n_out = 0;
    bad[2].n_in = -1;
    bad[3].dtype = FBT_I32;
    bad[4].n_out = bad[4].n_in = INT64_C(1) << 40;
    bad[5].operation = FBT_N_OPERATIONS;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSED(fbt_matrix_new(&f.b, &bad[i], &matrix));
        assert_null(matrix);
    }
    REFUSED(fbt_table_new(&f.b, NULL, FBT_F32, 1, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_I32, 1, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 0, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 1, 0, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, INT64_C(1) << 40, INT64_C(1) << 40, &table));
}

/* A matrix of types that the backend does not compute in must not be made: it would be computed in others. */
static void foreign_types_are_refused(void **state)
{
    const float weight[4] = {0};
    const fbt_backend_driver driver = {.name = "fake", .types = {"fp32"}};
    fbt_matrix_spec spec = {.weight = weight, .n_out = 2, .n_in = 2, .types = fbt_types_find("bf16")};
    fbt_matrix *matrix;
    (void)state;
    f.b.driver = &driver;
    REFUSED(fbt_matrix_new(&f.b, &spec, &matrix));
    spec.types = NULL;
    TAKEN(fbt_matrix_new(&f.b, &spec, &matrix));
    assert_ptr_equal(matrix->types, fbt_types_find("fp32"));
    fbt_matrix_free(&f.b, matrix);
}

/* The same batch for whatever takes one. */
#define BATCH(call)                                                                                                    \
    do {                                                                                                               \
        TAKEN(call);                                                                                                   \
        WITH(REFUSED, packed.n_rows, 5, call);                                                                         \
        WITH(REFUSED, packed.n_rows, -1, call);                                                                        \
        WITH(REFUSED, packed.n_rows, 0, call);                                                                         \
        WITH(REFUSED, packed.n_sequences, 0, call);                                                                    \
        WITH(REFUSED, packed.max_length, 2, call);                                                                     \
        WITH(REFUSED, packed.host_offsets, NULL, call);                                                                \
        WITH(REFUSED, packed.offsets, NULL, call);                                                                     \
        WITH(REFUSED, packed.offsets, f.small, call);                                                                  \
        WITH(REFUSED, offsets[0], 1, call);                                                                            \
        WITH(REFUSED, offsets[1], 0, call);                                                                            \
        WITH(REFUSED, offsets[1], 5, call);                                                                            \
        f.packed.n_sequences = f.packed.n_rows = 0;                                                                    \
        NOTHING(call);                                                                                                 \
        f.packed.n_sequences = N_SEQUENCES;                                                                            \
        f.packed.n_rows = N;                                                                                           \
    } while (0)

static void perturb_is_checked(void **state)
{
    (void)state;
    BATCH(fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.rate, -0.1, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.rate, 1.1, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.vocab_size, 0, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.vocab_size, INT64_C(1) << 31, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.small, &f.p, f.z, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, f.small, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, NULL, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, f.z, f.small, &f.packed));
}

static void embed_is_checked(void **state)
{
    (void)state;
#define CALL fbt_embed(&f.b, f.x, &f.e, &f.packed)
    BATCH(CALL);
    REFUSED(fbt_embed(&f.b, f.small, &f.e, &f.packed));
    REFUSED(fbt_embed(&f.b, NULL, &f.e, &f.packed));
    WITH(REFUSED, e.word, NULL, CALL);
    WITH(REFUSED, e.word, f.narrow, CALL);
    WITH(UNSUPPORTED, e.position, NULL, CALL);
    WITH(UNSUPPORTED, e.norm.gamma, NULL, CALL);
    WITH(REFUSED, e.position, f.narrow, CALL);
    WITH(REFUSED, e.type, f.narrow, CALL);
    WITH(REFUSED, e.position_offset, -1, CALL);
    WITH(REFUSED, e.position_offset, 6, CALL); /* 3 rows less a prompt of 1 on 7 positions */
    WITH(TAKEN, e.position_offset, 5, CALL);
    WITH(REFUSED, e.n_dim, 0, CALL);
    WITH(UNSUPPORTED, e.n_dim, 12, CALL);
    WITH(UNSUPPORTED, e.n_dim, 2048, CALL);
    WITH(REFUSED, e.norm.beta, f.small, CALL);
    WITH(REFUSED, e.mode, FBT_PROMPT_NONE, CALL);
    WITH(REFUSED, e.mode, (fbt_prompt_mode)9, CALL);
    WITH(REFUSED, e.n_prompt_tokens, 0, CALL);
    WITH(REFUSED, e.n_prompt_tokens, 2, CALL); /* the first sequence has one row */
    WITH(REFUSED, e.mode, FBT_PROMPT_ADD, CALL);
    WITH(REFUSED, e.prompts, f.small, CALL);
    WITH(REFUSED, packed.prompt_index, NULL, CALL);
    WITH(REFUSED, packed.tokens, f.small, CALL);
#undef CALL
}

static void products_are_checked(void **state)
{
    (void)state;
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    NOTHING(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, 0));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, -1));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, 65)); /* 65 rows of y: 4,160 bytes */
    REFUSED(fbt_linear(&f.b, f.y, f.small, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, NULL, f.x, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.x, f.x, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.y, f.x, NULL, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, (fbt_activation)17, N));
    TAKEN(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    NOTHING(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, 0));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.small, &f.norm, N));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, NULL, &f.norm, N));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &(fbt_norm){.gamma = f.z, .beta = f.small}, N));
    WITH(REFUSED, b.info.types, fbt_types_find("bf16"), fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    WITH(UNSUPPORTED, b.info.max_dim, 8, fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    NOTHING(fbt_layernorm(&f.b, f.x, f.x, &f.norm, 0, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, 0));
    REFUSED(fbt_layernorm(&f.b, f.x, f.small, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.small, f.x, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, &(fbt_norm){.beta = f.z}, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, &f.norm, INT64_MAX / 16, DIM)); /* its bytes cannot be counted */
    UNSUPPORTED(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, 12));
}

static void attention_is_checked(void **state)
{
    (void)state;
#define CALL fbt_attend(&f.b, f.y, &f.a)
    BATCH(CALL);
    REFUSED(fbt_attend(&f.b, f.x, &f.a)); /* y is x, where the operands are */
    REFUSED(fbt_attend(&f.b, f.small, &f.a));
    WITH(REFUSED, a.n_heads, 0, CALL);
    WITH(REFUSED, a.head_dim, 0, CALL);
    WITH(REFUSED, a.scale, 0, CALL);
    WITH(UNSUPPORTED, a.head_dim, 12, CALL);
    WITH(UNSUPPORTED, a.head_dim, 72, CALL);
    WITH(REFUSED, a.q.column, -8, CALL);
    WITH(REFUSED, a.q.buffer, NULL, CALL);
    WITH(REFUSED, a.k.column, DIM + 8, CALL);
    WITH(REFUSED, a.v.stride, 8, CALL);
    WITH(REFUSED, a.v.buffer, f.small, CALL);
    WITH(UNSUPPORTED, a.k.column, 4, CALL);
    WITH(UNSUPPORTED, a.v.stride, 20, CALL);
    WITH(TAKEN, a.one_query, 1, CALL);
#undef CALL
}

/* With and without the feature. Broken by a field that the backend passes over, or one that has no feature. */
static void features_are_asked_for(void **state)
{
    (void)state;
    const fbt_prefix prefix = {.k = f.a.k, .v = f.a.v, .index = f.z, .n_rows = 1};
    const fbt_packed fewer = {
        .offsets = f.z, .host_offsets = f.offsets, .n_sequences = 1, .n_rows = 1, .max_length = 3};
    const fbt_norm rms = {.gamma = f.z, .kind = FBT_NORM_RMS}, odd = {.gamma = f.z, .beta = f.z, .kind = FBT_NORM_RMS};
    for (int i = 0; i < 2; i++) {
        f.b.info.features = i == 0 ? 0 : ~0u;
#define FEATURE(member, value, call)                                                                                   \
    do {                                                                                                               \
        if (i == 0) {                                                                                                  \
            WITH(UNSUPPORTED, member, value, call);                                                                    \
        } else {                                                                                                       \
            WITH(TAKEN, member, value, call);                                                                          \
        }                                                                                                              \
    } while (0)
        FEATURE(a.n_kv_heads, 1, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(a.keys, &f.packed, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(a.is_causal, 1, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(a.prefix, &prefix, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(e.position, NULL, fbt_embed(&f.b, f.x, &f.e, &f.packed));
        FEATURE(e.norm.gamma, NULL, fbt_embed(&f.b, f.x, &f.e, &f.packed));
        FEATURE(norm, rms, fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
        FEATURE(norm, rms, fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
        FEATURE(packed, f.packed, fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_SILU, N));
#undef FEATURE
        WITH(TAKEN, a.n_kv_heads, 2, fbt_attend(&f.b, f.y, &f.a));
    }
    WITH(REFUSED, a.n_kv_heads, 3, fbt_attend(&f.b, f.y, &f.a));
    WITH(REFUSED, a.n_kv_heads, -2, fbt_attend(&f.b, f.y, &f.a));
    WITH(REFUSED, a.keys, &fewer, fbt_attend(&f.b, f.y, &f.a));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, &odd, N, DIM));
    WITH(REFUSED, norm.beta, NULL, fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    WITH(REFUSED, norm.kind, (fbt_norm_kind)2, fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    UNSUPPORTED(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, N)); /* operations that the backend lacks */
    UNSUPPORTED(fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &(fbt_rotary){.n_rotated = 8}, &f.packed));
    UNSUPPORTED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, 8));
}

static void readout_is_checked(void **state)
{
    (void)state;
    BATCH(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.small, f.x, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.y, NULL, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, 0));
    UNSUPPORTED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, 12));
    TAKEN(fbt_gather_rows(&f.b, f.y, f.x, f.z, N, DIM));
    NOTHING(fbt_gather_rows(&f.b, f.y, f.x, f.z, 0, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, f.z, -1, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, f.z, N, -8));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.small, f.z, N, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.small, f.x, f.z, N, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, f.small, N, DIM));
    TAKEN(fbt_label_logits(&f.b, f.y, f.x, FBT_BF16, f.z, NULL, 1, N, 2, DIM));
    NOTHING(fbt_label_logits(&f.b, f.y, f.x, FBT_BF16, f.z, NULL, 1, 0, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F16, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 0, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 2, 0));
    REFUSED(fbt_label_logits(&f.b, f.small, f.x, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.small, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.small, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, f.small, 1, N, 2, DIM));
    TAKEN(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    NOTHING(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, 0, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 0));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, (fbt_loss)5, N, 2));
    REFUSED(fbt_losses(&f.b, f.small, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.small, f.z, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.small, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.small, FBT_LOSS_CE, N, 2));
}

static void peaks_are_checked(void **state)
{
    const int64_t good[3] = {1, 2, 3}, bad[3][3] = {{0, 2, 3}, {1, 0, 3}, {1, 2, 0}};
    double seconds;
    (void)state;
    TAKEN(fbt_library_product(&f.b, fbt_backend_types(&f.b), good, 1, &seconds));
    REFUSED(fbt_library_product(&f.b, fbt_backend_types(&f.b), good, 0, &seconds));
    for (int i = 0; i < 3; i++) {
        REFUSED(fbt_library_product(&f.b, fbt_backend_types(&f.b), bad[i], 1, &seconds));
    }
    TAKEN(fbt_library_copy(&f.b, 1, 1, &seconds));
    REFUSED(fbt_library_copy(&f.b, 0, 1, &seconds));
    REFUSED(fbt_library_copy(&f.b, 1, 0, &seconds));
}

/* What must not be within a graph, whether or not the backend records one. */
static void graphs_hold_operations_alone(void **state)
{
    char host[4];
    const float weight[4] = {0};
    const fbt_matrix_spec spec = {.weight = weight, .n_out = 2, .n_in = 2};
    fbt_buffer *buffer;
    fbt_matrix *matrix;
    fbt_table *table;
    int is_known = 7;
    double seconds;
    (void)state;
    REFUSED(fbt_graph_begin(&f.b, NULL, 1, &is_known));
    REFUSED(fbt_graph_begin(&f.b, host, 0, &is_known));
    REFUSED(fbt_graph_begin(&f.b, host, FBT_GRAPH_KEY_BYTES + 1, &is_known));
    NOTHING(fbt_graph_begin(&f.b, host, 1, &is_known));
    assert_int_equal(is_known, 0);
    REFUSED(fbt_graph_begin(&f.b, host, 1, &is_known));
    REFUSED(fbt_buffer_new(&f.b, 1, &buffer));
    REFUSED(fbt_buffer_write(&f.b, f.x, host, 1));
    REFUSED(fbt_buffer_read(&f.b, host, f.x, 1));
    REFUSED(fbt_matrix_new(&f.b, &spec, &matrix));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 1, 1, &table));
    REFUSED(fbt_stream_sync(&f.b));
    REFUSED(fbt_stream_select(&f.b, 0));
    REFUSED(fbt_library_copy(&f.b, 1, 1, &seconds));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    expect_at(FBT_ERR_NUMERIC, 0, fbt_graph_end(&f.b, fbt_fail(FBT_ERR_NUMERIC, "told from within")), "end", __LINE__);
    REFUSED(fbt_graph_end(&f.b, FBT_OK));
    NOTHING(fbt_stream_sync(&f.b));
}

/* This backend leaves out streams, graphs, events, memory and shares. */
static void what_is_left_out_has_a_default(void **state)
{
    fbt_backend_memory memory;
    fbt_share share = {0};
    double seconds;
    (void)state;
    NOTHING(fbt_stream_select(&f.b, 0));
    REFUSED(fbt_stream_select(&f.b, 1));
    REFUSED(fbt_stream_select(&f.b, -1));
    NOTHING(fbt_stream_sync(&f.b));
    REFUSED(fbt_event_seconds(&f.b, 1, &seconds));
    NOTHING(fbt_event_record(&f.b, 0));
    NOTHING(fbt_event_record(&f.b, 1));
    NOTHING(fbt_event_seconds(&f.b, 1, &seconds));
    assert_true(seconds >= 0);
    REFUSED(fbt_event_record(&f.b, -1));
    REFUSED(fbt_event_record(&f.b, FBT_MAX_EVENTS));
    REFUSED(fbt_event_seconds(&f.b, FBT_MAX_EVENTS, &seconds));
    UNSUPPORTED(fbt_backend_get_memory(&f.b, &memory));
    UNSUPPORTED(fbt_share_export(&f.b, &share));
    UNSUPPORTED(fbt_share_import(&f.b, &share));
}

/* A backend that computes nothing at all. */
static void operations_may_be_left_out(void **state)
{
    const int64_t size[3] = {1, 2, 3};
    static const fbt_backend_ops none = {
        .buffer_free = buffer_free, .matrix_free = matrix_free, .table_free = table_free};
    double seconds;
    (void)state;
    f.b.ops = &none;
    UNSUPPORTED(fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    UNSUPPORTED(fbt_embed(&f.b, f.x, &f.e, &f.packed));
    UNSUPPORTED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    assert_int_equal(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N), FBT_ERR_UNSUPPORTED);
    assert_non_null(strstr(fbt_error_message(), "fake"));
    assert_non_null(strstr(fbt_error_message(), "linear_norm"));
    UNSUPPORTED(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    UNSUPPORTED(fbt_attend(&f.b, f.y, &f.a));
    UNSUPPORTED(fbt_gather_rows(&f.b, f.y, f.x, f.z, N, DIM));
    UNSUPPORTED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, DIM));
    UNSUPPORTED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    UNSUPPORTED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    UNSUPPORTED(fbt_library_product(&f.b, fbt_backend_types(&f.b), size, 1, &seconds));
    UNSUPPORTED(fbt_library_copy(&f.b, 1, 1, &seconds));
}

/* Work by hand: rows of float, a matrix [16, 8] that was made as "up", tables of half precision. */
static void work_is_counted_once(void **state)
{
    fbt_profile profile = {{0}, {0}, {0}};
    (void)state;
    fbt_profile_start(&f.b, &profile);
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    TAKEN(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_TANH, N));
    TAKEN(fbt_attend(&f.b, f.y, &f.a));
    TAKEN(fbt_embed(&f.b, f.x, &f.e, &f.packed));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
    NOTHING(fbt_stream_sync(&f.b));
    assert_true(profile.flops[FBT_OP_UP] == 3 * 2 * N * DIM * N_IN);
    assert_true(profile.bytes[FBT_OP_UP] == 4 * (3 * (N * N_IN + DIM * N_IN + N * DIM) + N * DIM));
    assert_true(profile.bytes[FBT_OP_ACTIVATION] == 4 * 2 * N * DIM);
    assert_true(profile.flops[FBT_OP_ATTENTION] == 4 * DIM * (1 * 1 + 3 * 3));
    assert_true(profile.bytes[FBT_OP_ATTENTION] == 4 * 2 * DIM * (N + N));
    assert_true(profile.bytes[FBT_OP_EMBED] == DIM * ((N - 2) * 2 + 3 * 2 + 2 * 4) + 4 * DIM * N);
    assert_true(profile.bytes[FBT_OP_NORM] == 4 * 2 * N * DIM);
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        assert_true(profile.seconds[i] >= 0 && fbt_operation_name((fbt_operation)i) != NULL);
    }
    fbt_profile_stop(&f.b);
    assert_null(fake.queued);
    const fbt_profile before = profile;
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_TANH, N));
    assert_memory_equal(&before, &profile, sizeof profile);
}

/* More operations than events are refused, and a wait makes room for as many again. */
static void profiles_end_in_time(void **state)
{
    fbt_profile profile = {{0}, {0}, {0}};
    (void)state;
    fbt_profile_start(&f.b, &profile);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 1; i < FBT_MAX_EVENTS; i++) {
            TAKEN(fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM));
        }
        expect_at(FBT_ERR_UNSUPPORTED, 1, fbt_layernorm(&f.b, f.x, f.x, &f.norm, N, DIM), "one more", __LINE__);
        NOTHING(fbt_stream_sync(&f.b));
    }
    fbt_profile_stop(&f.b);
}

/* Settings name what the list of backends has, and nothing else. */
static void settings_name_the_list(void **state)
{
    const fbt_option *names = fbt_option_find("backend.name"), *precisions = fbt_option_find("backend.precision");
    int n_drivers = 0, n_names = 0, last = INT32_MAX;
    (void)state;
    for (const fbt_backend_driver *d; (d = fbt_backend_driver_at(n_drivers)) != NULL; n_drivers++) {
        assert_ptr_equal(fbt_backend_find(d->name), d);
        assert_true(d->priority <= last && d->summary != NULL);
        assert_true(d->missing != NULL ? d->open == NULL : d->open != NULL && d->types[0] != NULL);
        last = d->priority;
        for (int i = 0; i < FBT_MAX_TYPES && d->types[i] != NULL; i++) {
            assert_non_null(fbt_types_find(d->types[i]));
        }
    }
    for (; names->choices[n_names] != NULL; n_names++) {
        assert_non_null(fbt_backend_find(names->choices[n_names]));
    }
    assert_int_equal(n_names, n_drivers);
    assert_string_equal(precisions->choices[0], "auto");
    for (int i = 1; precisions->choices[i] != NULL; i++) {
        assert_non_null(fbt_types_find(precisions->choices[i]));
        assert_string_equal(fbt_types_find(precisions->choices[i])->name, precisions->choices[i]);
    }
    assert_null(fbt_types_find("int8"));
    assert_null(fbt_backend_find("abacus"));
}

static void unknown_names_are_refused(void **state)
{
    fbt_backend *b;
    fbt_backend_options options = {.name = "abacus", .precision = "auto", .n_local_ranks = 1};
    (void)state;
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(), "backend.name is 'abacus': it must be cpu or cuda");
    fbt_error_clear();
    options = (fbt_backend_options){.name = "cpu", .precision = "fp64", .n_local_ranks = 1};
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(), "backend.precision is 'fp64': it must be auto, fp32 or bf16");
    fbt_error_clear();
    options.precision = "tf32";
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(),
                        "backend.precision is tf32, which backend.name cpu does not have (cuda does): "
                        "set it to auto, fp32 or bf16");
    fbt_error_clear();
    options.n_threads = -1;
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_ARG);
    assert_null(b);
    fbt_error_clear();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(memory_is_checked),
        CASE(foreign_types_are_refused),
        CASE(perturb_is_checked),
        CASE(embed_is_checked),
        CASE(products_are_checked),
        CASE(attention_is_checked),
        CASE(features_are_asked_for),
        CASE(readout_is_checked),
        CASE(peaks_are_checked),
        CASE(graphs_hold_operations_alone),
        CASE(what_is_left_out_has_a_default),
        CASE(operations_may_be_left_out),
        CASE(work_is_counted_once),
        CASE(profiles_end_in_time),
        cmocka_unit_test(settings_name_the_list),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
