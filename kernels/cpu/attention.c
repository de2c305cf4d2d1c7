/* Attention: every head of every sequence is one task. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"
#include "kernels/features.h"

#include <omp.h>

static const char *head_at(const fbt_heads *heads, int64_t row, int64_t head_column, int64_t item)
{
    return (const char *)heads->buffer->data + (row * heads->stride + heads->column + head_column) * item;
}

static void attend_head(fbt_cpu *cpu, void *y, const fbt_attention *a, int64_t sequence, int64_t h)
{
    const fbt_dtype dtype = cpu->base.info.types->activations;
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype), column = h * a->head_dim, width = a->n_heads * a->head_dim;
    const int64_t kv_column = h / (a->n_heads / fbt_attention_kv_heads(a)) * a->head_dim;
    const int32_t *keys = fbt_attention_keys(a)->host_offsets, *queries = a->packed->host_offsets;
    const int64_t first = keys[sequence], n_keys = keys[sequence + 1] - first;
    const int64_t query = a->one_query ? sequence : queries[sequence];
    const fbt_head head = {.q = head_at(&a->q, query, column, item),
                           .k = head_at(&a->k, first, kv_column, item),
                           .v = head_at(&a->v, first, kv_column, item),
                           .y = (char *)y + (query * width + column) * item,
                           .q_stride = a->q.stride,
                           .k_stride = a->k.stride,
                           .v_stride = a->v.stride,
                           .y_stride = width,
                           .n_queries = a->one_query ? 1 : queries[sequence + 1] - queries[sequence],
                           .n_keys = n_keys,
                           .head_dim = a->head_dim,
                           .scale = a->scale,
                           .dtype = dtype};
    cpu->rows->attention(&head, cpu->scratch[omp_get_thread_num()].data);
}

static void attend_all(fbt_cpu *cpu, void *y, const fbt_attention *a)
{
    const int64_t n_tasks = a->packed->n_sequences * a->n_heads;
#pragma omp parallel num_threads(cpu->n_threads)
    {
        if (cpu->has_tiles) {
            fbt_tiles_begin();
        }
#pragma omp for schedule(dynamic, 4)
        for (int64_t task = 0; task < n_tasks; task++) {
            attend_head(cpu, y, a, task / a->n_heads, task % a->n_heads);
        }
        if (cpu->has_tiles) {
            fbt_tiles_end();
        }
    }
}

fbt_status fbt_cpu_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_status status =
        fbt_cpu_scratch_need(cpu, cpu->rows->attention_bytes(fbt_attention_keys(a)->max_length, a->head_dim));
    if (status == FBT_OK) {
        attend_all(cpu, y->data, a);
    }
    return status;
}
