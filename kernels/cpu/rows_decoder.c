/* Row kernels of decoders: sums of table rows, rotary positions, gates. */
#include "kernels/cpu/activate.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_typed.h"

void FBT_ROWS(sum)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, int64_t n_dim)
{
    for (int64_t i = 0; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        vf sum = vf_set(0);
        for (int k = 0; k < 3; k++) {
            sum = terms->rows[k] != NULL ? vf_add(sum, vf_load_typed_n(terms->rows[k], terms->dtypes[k], i, n)) : sum;
        }
        vf_store_typed_n(y, dtype, i, sum, n);
    }
}

VF_INLINE void rotate_heads(void *x, fbt_dtype dtype, const fbt_row_turn *turn, int64_t n_heads, int64_t head_dim)
{
    const int64_t half = turn->n_rotated / 2;
    for (int64_t first = 0; first < n_heads * head_dim; first += head_dim) {
        for (int64_t i = 0; i < half; i += VF) {
            const int64_t n = half - i < VF ? half - i : VF, a_at = first + i, b_at = a_at + half;
            const vf cosine = vf_load_n(turn->cosine + i, n), sine = vf_load_n(turn->sine + i, n);
            const vf a = vf_load_typed_n(x, dtype, a_at, n), b = vf_load_typed_n(x, dtype, b_at, n);
            vf_store_typed_n(x, dtype, a_at, vf_fnma(b, sine, vf_mul(a, cosine)), n);
            vf_store_typed_n(x, dtype, b_at, vf_fma(a, sine, vf_mul(b, cosine)), n);
        }
    }
}

void FBT_ROWS(rotate)(void *x, fbt_dtype dtype, const fbt_row_turn *turn, int64_t n_heads, int64_t head_dim)
{
    if (dtype == FBT_BF16) {
        rotate_heads(x, FBT_BF16, turn, n_heads, head_dim);
    } else {
        rotate_heads(x, FBT_F32, turn, n_heads, head_dim);
    }
}

VF_INLINE void gate_row(void *y, const void *x, fbt_dtype dtype, fbt_activation activation, int64_t n_dim)
{
    for (int64_t i = 0; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        const vf gate = vf_load_typed_n(x, dtype, i, n), up = vf_load_typed_n(x, dtype, n_dim + i, n);
        vf_store_typed_n(y, dtype, i, vf_mul(vf_activate(activation, gate), up), n);
    }
}

void FBT_ROWS(gate)(void *y, const void *x, fbt_dtype dtype, fbt_activation activation, int64_t n_dim)
{
    if (dtype == FBT_BF16) {
        gate_row(y, x, FBT_BF16, activation, n_dim);
    } else {
        gate_row(y, x, FBT_F32, activation, n_dim);
    }
}
