/* Readout of the last layer: chosen rows, pooled rows, label logits, losses. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

fbt_status fbt_cpu_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                               const fbt_buffer *rows, int64_t n, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
    const int32_t *index = rows->data;
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= x->n_bytes / row_bytes) {
            FBT_FAIL(FBT_ERR_ARG, "gather_rows: row %d of %lld", index[i], (long long)(x->n_bytes / row_bytes));
        }
        memcpy((char *)y->data + i * row_bytes, (const char *)x->data + index[i] * row_bytes, (size_t)row_bytes);
    }
done:
    return status;
}

fbt_status fbt_cpu_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                             int64_t n_dim)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(dynamic, 4)
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        const int64_t first = packed->host_offsets[s], length = packed->host_offsets[s + 1] - first;
        cpu->rows->mean_pool((float *)y->data + s * n_dim, (const char *)x->data + first * row_bytes, dtype, length,
                             n_dim);
    }
    return FBT_OK;
}

fbt_status fbt_cpu_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                                int64_t n_labels, int64_t n_dim)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < n_labels; c++) {
            const float dot = cpu->rows->dot((const char *)x->data + i * row_bytes, dtype,
                                             (const float *)labels->data + c * n_dim, n_dim);
            ((float *)logits->data)[i * n_labels + c] =
                scale * (dot + (bias != NULL ? ((const float *)bias->data)[c] : 0));
        }
    }
    return FBT_OK;
}

static float cross_entropy(const float *logits, int64_t n_labels, int64_t label, int64_t largest)
{
    float sum = 0;
    for (int64_t c = 0; c < n_labels; c++) {
        sum += expf(logits[c] - logits[largest]);
    }
    return logf(sum) + (logits[largest] - logits[label]);
}

static float hinge(const float *logits, int64_t n_labels, int64_t label)
{
    float sum = 0;
    for (int64_t c = 0; c < n_labels; c++) {
        const float margin = 2 - logits[label] + logits[c];
        sum += c == label || margin <= 0 ? 0 : margin; /* a NaN is kept */
    }
    return sum;
}

fbt_status fbt_cpu_loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                        const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    fbt_status status = FBT_OK;
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        const float *row = (const float *)logits->data + i * n_labels;
        const int32_t label = ((const int32_t *)labels->data)[i];
        int64_t largest = 0;
        if (label < 0 || label >= n_labels) {
            FBT_FAIL(FBT_ERR_ARG, "loss: label %d of sample %lld; there are %lld", label, (long long)i,
                     (long long)n_labels);
        }
        for (int64_t c = 1; c < n_labels; c++) {
            largest = row[c] > row[largest] ? c : largest;
        }
        ((int32_t *)predictions->data)[i] = (int32_t)largest;
        ((float *)losses->data)[i] = kind == FBT_LOSS_CE      ? cross_entropy(row, n_labels, label, largest)
                                     : kind == FBT_LOSS_HINGE ? hinge(row, n_labels, label)
                                     : largest == label       ? -1.0f
                                                              : 0.0f;
    }
done:
    return status;
}
