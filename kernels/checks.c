#include "kernels/checks.h"

fbt_status fbt_check_size(int64_t have_bytes, int64_t n_items, int64_t item_bytes, const char *what)
{
    int64_t n_bytes;
    if (have_bytes < 0) {
        return fbt_fail(FBT_ERR_ARG, "%s: there is no buffer", what);
    }
    if (n_items < 0 || __builtin_mul_overflow(n_items, item_bytes, &n_bytes) || n_bytes > have_bytes) {
        return fbt_fail(FBT_ERR_ARG, "%s: a buffer of %lld bytes cannot hold %lld items of %lld bytes", what,
                        (long long)have_bytes, (long long)n_items, (long long)item_bytes);
    }
    return FBT_OK;
}

fbt_status fbt_check_packed(const fbt_packed *packed)
{
    if (packed->n_sequences < 0 || packed->n_rows < 0 || (packed->n_sequences == 0) != (packed->n_rows == 0)) {
        return fbt_fail(FBT_ERR_ARG, "a batch cannot have %lld sequences in %lld rows", (long long)packed->n_sequences,
                        (long long)packed->n_rows);
    }
    const int32_t *offsets = packed->host_offsets;
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        if (offsets[0] != 0 || offsets[s + 1] <= offsets[s] || offsets[s + 1] - offsets[s] > packed->max_length) {
            return fbt_fail(FBT_ERR_ARG, "sequence %lld of a batch has rows %d to %d, of at most %lld", (long long)s,
                            offsets[s], offsets[s + 1], (long long)packed->max_length);
        }
    }
    if (packed->n_sequences > 0 && offsets[packed->n_sequences] != packed->n_rows) {
        return fbt_fail(FBT_ERR_ARG, "a batch's sequences end at row %d, not at %lld", offsets[packed->n_sequences],
                        (long long)packed->n_rows);
    }
    return FBT_OK;
}
