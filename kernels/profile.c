/* Profiles: an event behind every operation, and the work of each. */
#include "kernels/profile.h"

#include "base/prompt_mode.h"
#include "kernels/features.h"
#include "kernels/profiler.h"

#include <string.h>

const char *fbt_operation_name(fbt_operation operation)
{
    static const char *const names[FBT_N_OPERATIONS] = {
        "prompt", "embed", "qkv", "rotate", "attention", "output", "up", "down", "activation", "norm", "readout"};
    return (unsigned)operation < FBT_N_OPERATIONS ? names[operation] : NULL;
}

/* ---- Work. */

fbt_work fbt_work_product(const fbt_matrix *w, int64_t n_rows, int64_t n_bytes)
{
    const double rows = (double)n_rows, n_in = (double)w->n_in, n_out = (double)w->n_out;
    return (fbt_work){.flops = 2 * rows * n_out * n_in,
                      .bytes = rows * n_in * (double)fbt_dtype_bytes(w->types->activations) + (double)n_bytes +
                               n_out * n_in * (double)fbt_dtype_bytes(w->types->weights)};
}

/* Pairs of a query and a key that it sees. */
static double count_pairs(const fbt_attention *a)
{
    const int32_t *queries = a->packed->host_offsets, *keys = fbt_attention_keys(a)->host_offsets;
    double n_pairs = 0;
    for (int64_t s = 0; s < a->packed->n_sequences; s++) {
        const double n_keys = (double)(keys[s + 1] - keys[s] + fbt_attention_prefix_rows(a, s));
        const double n_queries = a->one_query ? 1 : queries[s + 1] - queries[s];
        n_pairs += n_queries * n_keys - (a->is_causal ? n_queries * (n_queries - 1) / 2 : 0);
    }
    return n_pairs;
}

/* Rows of keys, each counted once however many sequences see it. */
static int64_t count_key_rows(const fbt_attention *a)
{
    int64_t n_rows = fbt_attention_keys(a)->n_rows;
    for (const fbt_prefix *prefix = a->prefix; prefix != NULL; prefix = prefix->before) {
        n_rows += prefix->packed->n_rows;
    }
    return n_rows;
}

fbt_work fbt_work_attention(const fbt_backend *b, const fbt_attention *a)
{
    const int64_t width = a->n_heads * a->head_dim, kv_width = fbt_attention_kv_heads(a) * a->head_dim;
    const int64_t n_queries = a->one_query ? a->packed->n_sequences : a->packed->n_rows;
    fbt_work work = fbt_work_activations(b, 2 * (width * n_queries + kv_width * count_key_rows(a)));
    work.flops = 4 * (double)width * count_pairs(a);
    return work;
}

/* The rows of tables and prompts that each row adds up, positions once, and the result. */
fbt_work fbt_work_embedding(const fbt_backend *b, const fbt_embedding *e, const fbt_packed *packed)
{
    const double h = (double)e->n_dim, n_rows = (double)packed->n_rows;
    const double n_prompt = (double)(packed->n_sequences * e->n_prompt_tokens);
    const double n_words =
        n_rows - (double)(packed->n_sequences * fbt_prompt_rows_in_front(e->mode, e->n_prompt_tokens));
    const double position_bytes = (double)fbt_dtype_bytes(e->position->dtype);
    fbt_work work = fbt_work_activations(b, e->n_dim * packed->n_rows);
    work.bytes += h * (n_words * (double)fbt_dtype_bytes(e->word->dtype) + (double)packed->max_length * position_bytes +
                       n_prompt * sizeof(float));
    return work;
}

fbt_work fbt_work_vocabulary(const fbt_backend *b, const fbt_vocabulary *vocabulary, int64_t n_rows)
{
    const fbt_table *words = vocabulary->words;
    const double n_items = (double)words->n_rows * (double)words->n_dim;
    fbt_work work = fbt_work_activations(b, n_rows * words->n_dim);
    work.flops = 2 * (double)n_rows * n_items;
    work.bytes += n_items * (double)fbt_dtype_bytes(words->dtype);
    return work;
}

/* A row of words, or of prompts in its place, and one of positions. */
fbt_work fbt_work_row_embedding(const fbt_backend *b, const fbt_row_embedding *e, int64_t n_rows)
{
    const double n_items = (double)n_rows * (double)e->n_dim;
    const size_t position_bytes = e->position != NULL ? fbt_dtype_bytes(e->position->dtype) : 0;
    fbt_work work = fbt_work_activations(b, n_rows * e->n_dim);
    work.bytes += n_items * (double)(fbt_dtype_bytes(e->word->dtype) + position_bytes);
    return work;
}

fbt_work fbt_work_norm(const fbt_backend *b, fbt_dtype x_dtype, int64_t n)
{
    fbt_work work = fbt_work_activations(b, n);
    work.bytes += (double)n * (double)fbt_dtype_bytes(x_dtype);
    return work;
}

fbt_work fbt_work_copy(fbt_dtype dtype, int64_t n)
{
    return (fbt_work){.bytes = 2 * (double)n * (double)fbt_dtype_bytes(dtype)};
}

fbt_work fbt_work_activations(const fbt_backend *b, int64_t n)
{
    return (fbt_work){.bytes = (double)n * (double)fbt_dtype_bytes(b->info.types->activations)};
}

/* ---- Events. */

/* operation: FBT_N_OPERATIONS: nothing of interest came before. */
static fbt_status add_event(fbt_backend *b, fbt_operation operation)
{
    fbt_profiler *p = &b->profiler;
    if (p->n >= FBT_MAX_EVENTS) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "more than %d operations between two waits cannot be timed",
                        FBT_MAX_EVENTS);
    }
    p->operations[p->n] = operation;
    p->is_running = 1;
    return fbt_event_record(b, p->n++);
}

fbt_status fbt_profiler_begin(fbt_backend *b)
{
    return b->profiler.profile != NULL && !b->profiler.is_running ? add_event(b, FBT_N_OPERATIONS) : FBT_OK;
}

fbt_status fbt_profiler_end(fbt_backend *b, fbt_operation operation, fbt_work work)
{
    fbt_profile *profile = b->profiler.profile;
    if (profile == NULL) {
        return FBT_OK;
    }
    profile->flops[operation] += work.flops;
    profile->bytes[operation] += work.bytes;
    return add_event(b, operation);
}

/* The backend's, between a product and the kernel behind it. */
static fbt_status end_product_alone(void *backend)
{
    fbt_backend *b = backend;
    fbt_profiler *p = &b->profiler;
    p->is_product_ended = 1;
    return fbt_profiler_end(b, p->product->operation, fbt_work_product(p->product, p->n_rows, p->n_bytes));
}

fbt_status fbt_profiler_begin_product(fbt_backend *b, const fbt_matrix *w, int64_t n_rows, int64_t n_bytes)
{
    b->profiler.product = w;
    b->profiler.n_rows = n_rows;
    b->profiler.n_bytes = n_bytes;
    b->profiler.is_product_ended = 0;
    return fbt_profiler_begin(b);
}

/* The kernel behind the product reads and writes its results again. */
fbt_status fbt_profiler_end_product(fbt_backend *b, fbt_operation behind, const fbt_matrix *w, int64_t n_rows)
{
    const double n_bytes = 2 * (double)n_rows * (double)w->n_out * (double)fbt_dtype_bytes(w->types->activations);
    if (b->profiler.profile == NULL) {
        return FBT_OK;
    }
    return b->profiler.is_product_ended ? fbt_profiler_end(b, behind, (fbt_work){.bytes = n_bytes})
                                        : end_product_alone(b);
}

void fbt_profiler_interrupt(fbt_backend *b)
{
    b->profiler.is_running = 0;
}

fbt_status fbt_profiler_collect(fbt_backend *b)
{
    fbt_status status = FBT_OK;
    fbt_profiler *p = &b->profiler;
    double before_s = 0, now_s;
    for (int64_t i = 1; i < p->n; i++) {
        FBT_TRY(fbt_event_seconds(b, i, &now_s));
        if (p->operations[i] < FBT_N_OPERATIONS) {
            p->profile->seconds[p->operations[i]] += now_s - before_s;
        }
        before_s = now_s;
    }
done:
    p->n = 0;
    p->is_running = 0;
    return status;
}

void fbt_profile_start(fbt_backend *b, fbt_profile *profile)
{
    memset(&b->profiler, 0, sizeof b->profiler);
    b->profiler.profile = profile;
    if (b->ops->watch_products != NULL) {
        b->ops->watch_products(b, end_product_alone, b);
    }
}

void fbt_profile_stop(fbt_backend *b)
{
    memset(&b->profiler, 0, sizeof b->profiler);
    if (b->ops->watch_products != NULL) {
        b->ops->watch_products(b, NULL, NULL);
    }
}
