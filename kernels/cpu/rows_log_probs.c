/* Row kernels: products with the rows of a vocabulary, and softmax over them. */
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_typed.h"

enum { X_ROWS = 3, WORDS = 4 }; /* of a square: its sums and operands fill 16 registers */

/* All products of X_ROWS rows with WORDS words. Each is one running sum over its elements in order, whatever stands
 * beside it in the square. */
VF_INLINE void multiply_square(float products[X_ROWS][WORDS], const float *const *x, const void *const *words,
                               fbt_dtype dtype, int64_t n_dim)
{
    vf sums[X_ROWS][WORDS];
    int64_t i = 0;
    for (int r = 0; r < X_ROWS; r++) {
        for (int w = 0; w < WORDS; w++) {
            sums[r][w] = vf_set(0);
        }
    }
    for (; i + VF <= n_dim; i += VF) {
        for (int w = 0; w < WORDS; w++) {
            const vf word = vf_load_typed(words[w], dtype, i);
            for (int r = 0; r < X_ROWS; r++) {
                sums[r][w] = vf_fma(vf_load(x[r] + i), word, sums[r][w]);
            }
        }
    }
    for (int w = 0; w < WORDS; w++) {
        for (int r = 0; r < X_ROWS; r++) {
            if (i < n_dim) {
                sums[r][w] =
                    vf_fma(vf_load_n(x[r] + i, n_dim - i), vf_load_typed_n(words[w], dtype, i, n_dim - i), sums[r][w]);
            }
            products[r][w] = vf_sum(sums[r][w]);
        }
    }
}

/* Squares that reach over an edge take the last row or word again. */
VF_INLINE void multiply_words(float *y, const float *x, const void *words, fbt_dtype dtype, int64_t n_rows,
                              int64_t n_words, int64_t n_dim)
{
    const int64_t word_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
    for (int64_t word = 0; word < n_words; word += WORDS) {
        const void *word_at[WORDS];
        for (int w = 0; w < WORDS; w++) {
            word_at[w] = (const char *)words + (word + w < n_words ? word + w : n_words - 1) * word_bytes;
        }
        for (int64_t row = 0; row < n_rows; row += X_ROWS) {
            float products[X_ROWS][WORDS];
            const float *x_at[X_ROWS];
            for (int r = 0; r < X_ROWS; r++) {
                x_at[r] = x + (row + r < n_rows ? row + r : n_rows - 1) * n_dim;
            }
            multiply_square(products, x_at, word_at, dtype, n_dim);
            for (int64_t r = row; r < n_rows && r < row + X_ROWS; r++) {
                memcpy(y + r * n_words + word, products[r - row],
                       (size_t)(n_words - word < WORDS ? n_words - word : WORDS) * sizeof *y);
            }
        }
    }
}

void FBT_ROWS(word_products)(float *y, const float *x, const void *words, fbt_dtype dtype, int64_t n_rows,
                             int64_t n_words, int64_t n_dim)
{
    switch (dtype) {
    case FBT_BF16:
        multiply_words(y, x, words, FBT_BF16, n_rows, n_words, n_dim);
        break;
    case FBT_F16:
        multiply_words(y, x, words, FBT_F16, n_rows, n_words, n_dim);
        break;
    default:
        multiply_words(y, x, words, FBT_F32, n_rows, n_words, n_dim);
    }
}

void FBT_ROWS(exp_sum)(const float *x, int64_t n, float *largest, float *sum)
{
    vf most = vf_set(-INFINITY), total = vf_set(0);
    float rest[VF];
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        most = vf_max(vf_load(x + i), most);
    }
    vf_store(rest, vf_set(-INFINITY));
    memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
    *largest = vf_largest(vf_max(vf_load(rest), most));
    for (i = 0; i + VF <= n; i += VF) {
        total = vf_add(total, vf_exp(vf_sub(vf_load(x + i), vf_set(*largest))));
    }
    float last[VF];
    vf_store(last, vf_exp(vf_sub(vf_load(rest), vf_set(*largest))));
    for (int64_t k = n - i; k < VF; k++) {
        last[k] = 0;
    }
    *sum = vf_sum(vf_add(total, vf_load(last)));
}
