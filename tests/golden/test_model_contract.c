/* Model: what it asks of a backend keeps backend.h's word, seen by a backend that watches. The processor's does the
 * computing, but it says that it has two streams, fills what is read only when it is waited for, and looks at passes:
 * nothing but operations within them, the same operations with the same arguments for the same key. */
#include "base/prompt_mode.h"
#include "base/rng.h"
#include "fixture.h"
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

enum { N_STREAMS = 2, MAX_READS = 64, MAX_PASSES = 64, MAX_KEY = 256, MAX_LOGITS = 512 };

typedef struct pending_read {
    void *host;
    const fbt_buffer *buffer;
    int64_t n_bytes;
} pending_read;

typedef struct pass {
    unsigned char key[MAX_KEY];
    int64_t n_bytes;
    int stream;
    uint64_t operations;
} pass;

static struct {
    const fbt_backend_ops *real;
    fbt_backend_ops ops;
    int stream;
    pending_read reads[N_STREAMS][MAX_READS];
    int n_reads[N_STREAMS];
    pass passes[MAX_PASSES];
    int n_passes, n_repeated;
    pass *open; /* the pass under way */
    uint64_t operations;
    int64_t n_operations; /* outside passes too */
    int64_t n_buffers, buffer_bytes;
} watch;

/* FNV-1a over what an operation was called with. */
static void note(const char *name, const uint64_t *arguments, int n)
{
    const unsigned char *bytes = (const unsigned char *)arguments;
    for (; *name != '\0'; name++) {
        watch.operations = (watch.operations ^ (unsigned char)*name) * 1099511628211U;
    }
    for (size_t i = 0; i < (size_t)n * sizeof *arguments; i++) {
        watch.operations = (watch.operations ^ bytes[i]) * 1099511628211U;
    }
    watch.n_operations++;
}

#define NOTE(name, ...)                                                                                                \
    note(name, (const uint64_t[]){__VA_ARGS__}, (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)))
#define P(pointer) ((uint64_t)(uintptr_t)(pointer))

static void select_stream(fbt_backend *b, int stream)
{
    (void)b;
    assert_null(watch.open);
    assert_in_range(stream, 0, N_STREAMS - 1);
    watch.stream = stream;
}

static fbt_status buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    assert_null(watch.open);
    watch.n_buffers++;
    watch.buffer_bytes += n_bytes;
    return watch.real->buffer_new(b, n_bytes, buffer);
}

static fbt_status stream_sync(int stream, fbt_backend *b)
{
    for (int i = 0; i < watch.n_reads[stream]; i++) {
        const pending_read *r = &watch.reads[stream][i];
        assert_int_equal(watch.real->read(b, r->host, r->buffer, r->n_bytes), FBT_OK);
    }
    watch.n_reads[stream] = 0;
    return FBT_OK;
}

/* Waits for all streams, and forgets the passes. */
static void buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    assert_null(watch.open);
    if (buffer != NULL) {
        for (int stream = 0; stream < N_STREAMS; stream++) {
            stream_sync(stream, b);
        }
        watch.n_passes = 0;
    }
    watch.real->buffer_free(b, buffer);
}

static fbt_status write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    assert_null(watch.open);
    for (int i = 0; i < watch.n_reads[watch.stream]; i++) {
        assert_ptr_not_equal(watch.reads[watch.stream][i].host, host); /* not read yet */
    }
    /* In order on its stream: what was to be read before is read before. */
    stream_sync(watch.stream, b);
    return watch.real->write(b, buffer, host, n_bytes);
}

static fbt_status read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    (void)b;
    assert_null(watch.open);
    assert_true(watch.n_reads[watch.stream] < MAX_READS);
    memset(host, 0xee, (size_t)n_bytes);
    watch.reads[watch.stream][watch.n_reads[watch.stream]++] = (pending_read){host, buffer, n_bytes};
    return FBT_OK;
}

static fbt_status sync(fbt_backend *b)
{
    assert_null(watch.open);
    return stream_sync(watch.stream, b);
}

static pass *find_pass(const void *key, int64_t n_bytes)
{
    for (int i = 0; i < watch.n_passes; i++) {
        pass *p = &watch.passes[i];
        if (p->stream == watch.stream && p->n_bytes == n_bytes && memcmp(p->key, key, (size_t)n_bytes) == 0) {
            return p;
        }
    }
    return NULL;
}

/* Never known, so that the operations of a repeated pass can be compared with those of the first. */
static fbt_status pass_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known)
{
    (void)b;
    assert_null(watch.open);
    assert_in_range(n_bytes, 1, MAX_KEY);
    watch.open = find_pass(key, n_bytes);
    watch.n_repeated += watch.open != NULL;
    if (watch.open == NULL) {
        assert_true(watch.n_passes < MAX_PASSES);
        watch.open = &watch.passes[watch.n_passes++];
        *watch.open = (pass){.n_bytes = n_bytes, .stream = watch.stream};
        memcpy(watch.open->key, key, (size_t)n_bytes);
    }
    watch.operations = 0;
    *is_known = 0;
    return FBT_OK;
}

static fbt_status pass_end(fbt_backend *b, fbt_status status, int *is_queued)
{
    (void)b;
    (void)is_queued;
    assert_non_null(watch.open);
    if (watch.open->operations == 0) {
        watch.open->operations = watch.operations;
    }
    assert_true(watch.open->operations == watch.operations);
    watch.open = NULL;
    return status;
}

#define OPERATION(name, parameters, arguments, ...)                                                                    \
    static fbt_status name parameters                                                                                  \
    {                                                                                                                  \
        NOTE(#name, __VA_ARGS__);                                                                                      \
        return watch.real->name arguments;                                                                             \
    }
OPERATION(perturb,
          (fbt_backend * b, fbt_buffer *tokens, const fbt_perturbation *p, const fbt_buffer *origins,
           const fbt_buffer *frozen, const fbt_packed *packed),
          (b, tokens, p, origins, frozen, packed), P(tokens), P(origins), P(frozen), p->seed, (uint64_t)(1e6 * p->rate),
          (uint64_t)packed->n_rows)
OPERATION(embed, (fbt_backend * b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed), (b, x, e, packed),
          P(x), P(e->prompts), (uint64_t)e->mode, (uint64_t)packed->n_rows, (uint64_t)packed->n_sequences,
          (uint64_t)packed->max_length, P(packed->tokens), P(packed->offsets), P(packed->prompt_index))
OPERATION(linear,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w, fbt_activation activation,
           int64_t n_rows),
          (b, y, x, w, activation, n_rows), P(y), P(x), P(w), (uint64_t)activation, (uint64_t)n_rows)
OPERATION(linear_norm,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w, const fbt_buffer *residual,
           const fbt_norm *norm, int64_t n_rows),
          (b, y, x, w, residual, norm, n_rows), P(y), P(x), P(w), P(residual), P(norm->gamma), (uint64_t)n_rows)
OPERATION(layernorm,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype, const fbt_norm *norm, int64_t n_rows,
           int64_t n_dim),
          (b, y, x, x_dtype, norm, n_rows, n_dim), P(y), P(x), (uint64_t)x_dtype, P(norm->gamma), (uint64_t)n_rows)
OPERATION(attention, (fbt_backend * b, fbt_buffer *y, const fbt_attention *a), (b, y, a), P(y), P(a->q.buffer),
          P(a->k.buffer), (uint64_t)a->packed->n_rows, (uint64_t)a->packed->n_sequences,
          (uint64_t)a->packed->max_length, (uint64_t)a->one_query, (uint64_t)a->q.stride, (uint64_t)a->k.column,
          a->prefix != NULL ? P(a->prefix->index) : 0, a->prefix != NULL ? (uint64_t)a->prefix->packed->n_rows : 0,
          a->prefix != NULL ? (uint64_t)a->prefix->packed->n_sequences : 0)
OPERATION(embed_rows, (fbt_backend * b, fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows), (b, x, e, n_rows),
          P(x), P(e->tokens), P(e->positions), P(e->prompts), P(e->prompt_rows), (uint64_t)n_rows)
OPERATION(rotate,
          (fbt_backend * b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
           const fbt_rotary *rotary, int64_t n_rows),
          (b, x, heads, n_heads, head_dim, rotary, n_rows), P(x), P(rotary->positions), (uint64_t)heads->column,
          (uint64_t)n_heads, (uint64_t)n_rows)
OPERATION(gate,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
           int64_t n_dim),
          (b, y, x, activation, n_rows, n_dim), P(y), P(x), (uint64_t)activation, (uint64_t)n_rows)
OPERATION(linear_gate,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w, fbt_activation activation,
           int64_t n_rows),
          (b, y, x, w, activation, n_rows), P(y), P(x), P(w), (uint64_t)activation, (uint64_t)n_rows)
OPERATION(linear_residual,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w, const fbt_buffer *residual,
           int64_t n_rows),
          (b, y, x, w, residual, n_rows), P(y), P(x), P(w), P(residual), (uint64_t)n_rows)
OPERATION(gather_rows,
          (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype, const fbt_buffer *rows, int64_t n,
           int64_t n_dim),
          (b, y, x, dtype, rows, n, n_dim), P(y), P(x), (uint64_t)dtype, P(rows), (uint64_t)n)
OPERATION(put_prompts,
          (fbt_backend * b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts, int64_t n_rows),
          (b, x, dtype, prompts, n_rows), P(x), (uint64_t)dtype, P(prompts->prompts), P(prompts->rows),
          (uint64_t)prompts->adds, (uint64_t)n_rows)
OPERATION(mean_pool, (fbt_backend * b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed, int64_t n_dim),
          (b, y, x, packed, n_dim), P(y), P(x), (uint64_t)packed->n_sequences)
OPERATION(label_logits,
          (fbt_backend * b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype, const fbt_buffer *labels,
           const fbt_buffer *bias, float scale, int64_t n, int64_t n_labels, int64_t n_dim),
          (b, logits, x, dtype, labels, bias, scale, n, n_labels, n_dim), P(logits), P(x), P(labels), P(bias),
          (uint64_t)n)
OPERATION(loss,
          (fbt_backend * b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
           const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels),
          (b, losses, predictions, logits, labels, kind, n, n_labels), P(losses), P(predictions), P(logits), P(labels),
          (uint64_t)kind, (uint64_t)n)

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

static fbt_backend *open_watched(void)
{
    fbt_backend *b;
    must(fixture_open_backend("fp32", 2, &b));
    memset(&watch, 0, sizeof watch);
    watch.real = b->ops;
    watch.ops = *b->ops;
    watch.ops.select_stream = select_stream;
    watch.ops.buffer_new = buffer_new;
    watch.ops.buffer_free = buffer_free;
    watch.ops.write = write;
    watch.ops.read = read;
    watch.ops.sync = sync;
    watch.ops.graph_begin = pass_begin;
    watch.ops.graph_end = pass_end;
    watch.ops.perturb = perturb;
    watch.ops.embed = embed;
    watch.ops.linear = linear;
    watch.ops.linear_norm = linear_norm;
    watch.ops.layernorm = layernorm;
    watch.ops.attention = attention;
    watch.ops.put_prompts = put_prompts;
    watch.ops.gather_rows = gather_rows;
    watch.ops.mean_pool = mean_pool;
    watch.ops.label_logits = label_logits;
    watch.ops.loss = loss;
    watch.ops.embed_rows = embed_rows;
    watch.ops.rotate = rotate;
    watch.ops.gate = gate;
    watch.ops.linear_gate = linear_gate;
    watch.ops.linear_residual = linear_residual;
    b->ops = &watch.ops;
    b->info.n_streams = N_STREAMS;
    return b;
}

static void close_watched(fbt_backend *b)
{
    b->ops = watch.real;
    fbt_backend_close(b);
}

/* The cases of labels of several tokens where scoring takes these. */
static void open_fixture(const char *name, fbt_label_scoring scoring, char folder[1024], fixture *f)
{
    char path[1100];
    snprintf(folder, 1024, "%s/%s", FBT_TEST_DATA, name);
    snprintf(path, sizeof path, "%s/%scases.json", folder, fbt_scoring_takes_tokens(scoring) ? "label_" : "");
    must(fixture_read(path, f));
    f->label_scoring = scoring;
}

static const fbt_perturbation perturbation = {.seed = 3, .rate = 0.6, .text_only = 1, .vocab_size = 50};

/* The case's sequences from `first` on; every other one perturbed, with every third token frozen. */
static void make_batch(const fixture_case *c, int64_t first, int perturbed, fbt_batch *batch)
{
    static const uint8_t frozen[64] = {1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1,
                                       0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1};
    const int64_t in_front = fbt_prompt_rows_in_front(c->mode, c->n_prompt_tokens);
    fbt_batch_reset(batch);
    for (int64_t s = first; s < c->batch.n_sequences; s++) {
        const int32_t begin = c->batch.offsets[s] + (int32_t)in_front;
        const fbt_sequence sequence = {
            .tokens = c->batch.tokens + begin,
            .frozen = frozen,
            .n_tokens = c->batch.offsets[s + 1] - begin,
            .readout = c->batch.readout[s] - begin,
            .origin = {.client = perturbed && s % 2 ? 2 : -1, .sample = (int32_t)s, .round = 7}};
        must(fbt_batch_append(batch, &sequence, in_front, c->batch.prompt_index[s]));
    }
}

static int64_t count_rows(const fbt_model *model, const fbt_batch *batch)
{
    return batch->n_rows + batch->n_sequences * fbt_model_label_rows(model);
}

/* Two streams with three batches each, queued in turn and waited for at last, give the bits of one stream that is
 * waited for each time; repeated batches make repeated passes. Broken by results that are used before the wait, by
 * workspace or prompts that streams have in common, by a pass whose key leaves something out, by memory that is taken
 * within a pass. */
static void check_streams(const char *name, int64_t case_number, fbt_label_scoring scoring)
{
    enum { N_BATCHES = 3 };
    char folder[1024];
    fixture f;
    fbt_model *model;
    fbt_batch batch = {0};
    float expected[N_STREAMS][N_BATCHES][MAX_LOGITS], got[N_STREAMS][N_BATCHES][MAX_LOGITS];
    float losses[N_STREAMS][N_BATCHES][MAX_LOGITS];
    open_fixture(name, scoring, folder, &f);
    const fixture_case *c = &f.cases[case_number];
    assert_true(c->batch.n_sequences * f.n_labels <= MAX_LOGITS && c->batch.n_sequences > 2);
    fbt_backend *b = open_watched();
    must(fixture_open_model(b, folder, &f, c, 0, &model));
    must(fbt_model_set_perturbation(model, &perturbation));
    assert_int_equal(fbt_model_n_streams(model), N_STREAMS);
    must(fbt_model_reserve(model,
                           &(fbt_model_limits){count_rows(model, &c->batch), c->batch.n_sequences, FIXTURE_PROMPTS}));
    for (int pass_number = 0; pass_number < 3; pass_number++) {
        const bool waits = pass_number == 0;
        for (int i = 0; i < N_BATCHES; i++) {
            for (int stream = 0; stream < N_STREAMS; stream++) {
                /* Stream 1 has the prompts in another order. */
                double z[FIXTURE_PROMPTS * FIXTURE_MAX_SEARCH];
                for (int64_t k = 0; k < FIXTURE_PROMPTS * f.n_search; k++) {
                    z[k] = c->z[(k + stream * f.n_search) % (FIXTURE_PROMPTS * f.n_search)];
                }
                fbt_model_select_stream(model, stream);
                must(fbt_model_set_prompts(model, z, FIXTURE_PROMPTS));
                memset(z, 0xff, sizeof z);
                make_batch(c, i == 1, i > 0, &batch);
                const fbt_model_result result = {.losses = i > 0 ? losses[stream][i] : NULL,
                                                 .logits = waits ? expected[stream][i] : got[stream][i]};
                must(fbt_model_submit(model, &batch, FBT_LOSS_CE, &result));
                fbt_batch_reset(&batch);
                if (waits) {
                    must(fbt_model_wait(model));
                }
            }
        }
        for (int stream = N_STREAMS - 1; stream >= 0; stream--) {
            fbt_model_select_stream(model, stream);
            must(fbt_model_wait(model));
        }
        for (int k = 0; k < N_STREAMS * N_BATCHES && !waits; k++) {
            const size_t n = (size_t)(c->batch.n_sequences - (k % N_BATCHES == 1)) * (size_t)f.n_labels;
            assert_memory_equal(got[k / N_BATCHES][k % N_BATCHES], expected[k / N_BATCHES][k % N_BATCHES],
                                n * sizeof(float));
        }
    }
    assert_memory_not_equal(expected[0][0], expected[1][0], sizeof(float) * (size_t)f.n_labels);
    assert_int_equal(watch.n_repeated, 2 * N_STREAMS * N_BATCHES);
    fbt_model_close(model);
    fbt_batch_clear(&batch);
    close_watched(b);
    fixture_clear(&f);
}

static void streams_do_not_matter(void **state)
{
    (void)state;
    check_streams("hf_roberta_mlm", 1, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_roberta_mlm", 4, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_bert_embedding", 3, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_deep_bert", 1, FBT_LABEL_SCORING_AUTO);
    check_streams("st_roberta_cls", 4, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_llama_tied", 1, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_llama_tied", 2, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_gpt2", 3, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_deep_llama", 2, FBT_LABEL_SCORING_AUTO);
    check_streams("hf_llama_tied", 2, FBT_LABEL_SCORING_SUM);
}

/* A perturbed sequence has the logits of its tokens, perturbed beforehand. Broken by an origin, frozen flag or row in
 * front that is lost on the way, by sequences that are perturbed without an origin. */
static void perturbed_sequences_are_others(void **state)
{
    (void)state;
    char folder[1024];
    fixture f;
    fbt_model *model;
    fbt_batch batch = {0}, by_hand = {0};
    float got[MAX_LOGITS], expected[MAX_LOGITS], plain[MAX_LOGITS];
    open_fixture("hf_roberta_mlm", FBT_LABEL_SCORING_AUTO, folder, &f);
    const fixture_case *c = &f.cases[4];
    assert_int_equal(c->mode, FBT_PROMPT_INPUT);
    fbt_backend *b = open_watched();
    must(fixture_open_model(b, folder, &f, c, 0, &model));
    make_batch(c, 0, 1, &batch);
    assert_int_equal(fbt_model_evaluate(model, &batch, FBT_LOSS_CE, &(fbt_model_result){.logits = got}), FBT_ERR_ARG);
    fbt_error_clear();
    must(fbt_model_set_perturbation(model, &perturbation));
    must(fbt_model_evaluate(model, &batch, FBT_LOSS_CE, &(fbt_model_result){.logits = got}));
    make_batch(c, 0, 0, &by_hand);
    must(fbt_model_evaluate(model, &by_hand, FBT_LOSS_CE, &(fbt_model_result){.logits = plain}));
    for (int64_t s = 1; s < batch.n_sequences; s += 2) {
        for (int32_t row = by_hand.offsets[s] + (int32_t)c->n_prompt_tokens; row < by_hand.offsets[s + 1]; row++) {
            const int32_t t = row - by_hand.offsets[s] - (int32_t)c->n_prompt_tokens;
            uint32_t words[4];
            fbt_rng_block(&(fbt_rng_stream){.seed = perturbation.seed,
                                            .purpose = FBT_RNG_PERTURB,
                                            .round = 7,
                                            .client = 2,
                                            .candidate = (uint32_t)s},
                          (uint32_t)(t / 2), words);
            if (t % 3 != 0 && words[2 * (t % 2)] < 0.6 * 4294967296.0) {
                by_hand.tokens[row] = (int32_t)((uint64_t)words[2 * (t % 2) + 1] * 50 >> 32);
            }
        }
    }
    must(fbt_model_evaluate(model, &by_hand, FBT_LOSS_CE, &(fbt_model_result){.logits = expected}));
    for (int64_t s = 0; s < batch.n_sequences; s++) {
        const size_t n_bytes = (size_t)f.n_labels * sizeof(float);
        assert_memory_equal(got + s * f.n_labels, expected + s * f.n_labels, n_bytes);
        assert_int_equal(memcmp(got + s * f.n_labels, plain + s * f.n_labels, n_bytes) == 0, s % 2 == 0);
    }
    batch.origins[1].client = FBT_RNG_N_CLIENTS;
    assert_int_equal(fbt_model_evaluate(model, &batch, FBT_LOSS_CE, &(fbt_model_result){.logits = got}), FBT_ERR_ARG);
    fbt_error_clear();
    fbt_model_close(model);
    fbt_batch_clear(&batch);
    fbt_batch_clear(&by_hand);
    close_watched(b);
    fixture_clear(&f);
}

/* The plan tells what reserve takes, and after it no batch within the limits takes more. */
static void check_plan(const char *name, int64_t case_number, fbt_label_scoring scoring)
{
    char folder[1024];
    fixture f;
    fbt_model *model;
    fbt_batch batch = {0};
    fbt_model_plan plan;
    float losses[MAX_LOGITS];
    open_fixture(name, scoring, folder, &f);
    const fixture_case *c = &f.cases[case_number];
    fbt_backend *b = open_watched();
    must(fixture_open_model(b, folder, &f, c, 0, &model));
    must(fbt_model_set_perturbation(model, &perturbation));
    const fbt_model_limits limits = {3 * count_rows(model, &c->batch), 3 * c->batch.n_sequences, 2 * FIXTURE_PROMPTS};
    fbt_model_options options = *fbt_model_get_options(model);
    options.label_offsets = f.label_offsets;
    fbt_model_plan_memory(b, fbt_model_get_shape(model), &options, f.n_search, &limits, &plan);
    assert_int_equal(plan.n_streams, N_STREAMS);
    assert_true(plan.weights > 0 && (plan.projection > 0) == (c->mode != FBT_PROMPT_NONE));
    watch.n_buffers = watch.buffer_bytes = 0;
    must(fbt_model_reserve(model, &limits));
    assert_int_equal(watch.buffer_bytes, N_STREAMS * plan.workspace);
    watch.n_buffers = 0;
    for (int stream = 0; stream < N_STREAMS; stream++) {
        fbt_model_select_stream(model, stream);
        must(fbt_model_set_prompts(model, c->z, FIXTURE_PROMPTS));
        make_batch(c, 0, 1, &batch);
        must(fbt_model_evaluate(model, &batch, FBT_LOSS_CE, &(fbt_model_result){.losses = losses}));
    }
    assert_int_equal(watch.n_buffers, 0);
    fbt_model_close(model);
    fbt_batch_clear(&batch);
    close_watched(b);
    fixture_clear(&f);
}

static void memory_is_planned(void **state)
{
    (void)state;
    check_plan("hf_roberta_mlm", 0, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_roberta_mlm", 3, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_bert_embedding", 3, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_deep_bert_embedding", 3, FBT_LABEL_SCORING_AUTO);
    check_plan("st_roberta_cls", 4, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_llama_tied", 2, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_gpt2", 0, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_deep_llama", 2, FBT_LABEL_SCORING_AUTO);
    check_plan("hf_llama_tied", 1, FBT_LABEL_SCORING_SUM);
}

/* One sequence of `length` tokens. */
static fbt_status evaluate_length(fbt_model *model, int32_t length)
{
    const int32_t tokens[64] = {1, 2, 3};
    float logits[MAX_LOGITS];
    fbt_batch batch = {0};
    fbt_batch_reset(&batch);
    must(fbt_batch_append(
        &batch, &(fbt_sequence){.tokens = tokens, .n_tokens = length, .readout = length - 1, .origin = {.client = -1}},
        0, 0));
    const fbt_status status = fbt_model_evaluate(model, &batch, FBT_LOSS_CE, &(fbt_model_result){.logits = logits});
    fbt_batch_clear(&batch);
    return status;
}

/* Sequences that a sliding window would cut are refused, and no others. Broken by a row too many or too few. */
static void windows_end_sequences(void **state)
{
    (void)state;
    char folder[1024];
    fixture f;
    fbt_model *model;
    fbt_backend *b;
    open_fixture("hf_mistral", FBT_LABEL_SCORING_AUTO, folder, &f);
    must(fixture_open_backend("fp32", 1, &b));
    must(fixture_open_model(b, folder, &f, &f.cases[0], 0, &model));
    must(evaluate_length(model, 32));
    assert_int_equal(evaluate_length(model, 33), FBT_ERR_ARG);
    assert_non_null(strstr(fbt_error_message(), "33 rows, more than the model's 32 rows of sliding_window"));
    fbt_error_clear();
    fbt_model_close(model);
    fbt_backend_close(b);
    fixture_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_do_not_matter),
        cmocka_unit_test(perturbed_sequences_are_others),
        cmocka_unit_test(memory_is_planned),
        cmocka_unit_test(windows_end_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
