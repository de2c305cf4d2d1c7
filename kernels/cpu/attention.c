/* Attention: the heads of a sequence that share keys and values are one task. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"
#include "kernels/features.h"

#include <omp.h>

/* Row `row`, as which `column` elements behind the first head's begin. */
static const char *head_at(const fbt_cpu *cpu, const fbt_heads *heads, int64_t row, int64_t column)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(cpu->base.info.types->activations);
    return (const char *)fbt_cpu_heads_row(cpu, heads, row) + column * item;
}

/* Sequence `sequence` of packed, as keys and values. */
static fbt_key_rows key_rows(const fbt_cpu *cpu, const fbt_heads *k, const fbt_heads *v, const fbt_packed *packed,
                             int64_t sequence, int64_t column)
{
    const int64_t first = packed->host_offsets[sequence];
    return (fbt_key_rows){.k = head_at(cpu, k, first, column),
                          .v = head_at(cpu, v, first, column),
                          .k_stride = k->stride,
                          .v_stride = v->stride,
                          .n = packed->host_offsets[sequence + 1] - first};
}

/* Puts the prefixes that number i of those who see `prefix` has in front of the group's parts, the farthest first. */
static void add_prefixes(const fbt_cpu *cpu, fbt_head_group *group, const fbt_prefix *prefix, int64_t i, int64_t column)
{
    fbt_key_rows seen[FBT_MAX_PREFIXES];
    int n = 0;
    for (; prefix != NULL && n < FBT_MAX_PREFIXES && prefix->host_index[i] >= 0; prefix = prefix->before) {
        i = prefix->host_index[i];
        seen[n++] = key_rows(cpu, &prefix->k, &prefix->v, prefix->packed, i, column);
    }
    while (n > 0) {
        group->parts[group->n_parts++] = seen[--n];
    }
}

static void attend_group(fbt_cpu *cpu, void *y, const fbt_attention *a, int64_t sequence, int64_t kv_head)
{
    const fbt_dtype dtype = cpu->base.info.types->activations;
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype), n_heads = a->n_heads / fbt_attention_kv_heads(a);
    const int64_t column = kv_head * n_heads * a->head_dim, kv_column = kv_head * a->head_dim;
    const int64_t width = a->n_heads * a->head_dim;
    const int32_t *queries = a->packed->host_offsets;
    const int64_t query = a->one_query ? sequence : queries[sequence];
    fbt_head_group group = {.q = head_at(cpu, &a->q, query, column),
                            .y = (char *)y + (query * width + column) * item,
                            .q_stride = a->q.stride,
                            .y_stride = width,
                            .n_queries = a->one_query ? 1 : queries[sequence + 1] - queries[sequence],
                            .n_heads = n_heads,
                            .head_dim = a->head_dim,
                            .is_causal = a->is_causal,
                            .scale = a->scale,
                            .dtype = dtype};
    add_prefixes(cpu, &group, a->prefix, sequence, kv_column);
    group.parts[group.n_parts++] = key_rows(cpu, &a->k, &a->v, fbt_attention_keys(a), sequence, kv_column);
    for (int i = 0; i < group.n_parts; i++) {
        group.n_keys += group.parts[i].n;
    }
    cpu->rows->attention(&group, cpu->scratch[omp_get_thread_num()].data);
}

static void attend_all(fbt_cpu *cpu, void *y, const fbt_attention *a)
{
    const int64_t n_kv_heads = fbt_attention_kv_heads(a), n_tasks = a->packed->n_sequences * n_kv_heads;
#pragma omp parallel num_threads(cpu->n_threads)
    {
        if (cpu->has_tiles) {
            fbt_tiles_begin();
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < n_tasks; task++) {
            attend_group(cpu, y, a, task / n_kv_heads, task % n_kv_heads);
        }
        if (cpu->has_tiles) {
            fbt_tiles_end();
        }
    }
}

/* Keys of the longest sequence, at most. */
static int64_t most_keys(const fbt_attention *a)
{
    int64_t n_keys = fbt_attention_keys(a)->max_length;
    for (const fbt_prefix *prefix = a->prefix; prefix != NULL; prefix = prefix->before) {
        n_keys += prefix->packed->max_length;
    }
    return n_keys;
}

fbt_status fbt_cpu_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_status status = fbt_cpu_scratch_need(cpu, cpu->rows->attention_bytes(most_keys(a), a->head_dim));
    if (status == FBT_OK) {
        attend_all(cpu, y->data, a);
    }
    return status;
}
