/* Matrix products on the host, for the stand-ins of cuBLASLt. */
#ifndef FBT_CUDA_EMULATED_PRODUCT_H
#define FBT_CUDA_EMULATED_PRODUCT_H

#include <cublasLt.h>
#include <stddef.h>
#include <stdint.h>
#include <vector>

namespace emulated
{

/* A matrix by columns: item (i, j) is at i + j * leading. */
struct Matrix {
    const void *items;
    cudaDataType type; /* CUDA_R_32F or CUDA_R_16BF */
    int64_t n_rows, n_columns, leading;
};

/* Part of a sum over k. */
struct Segment {
    int64_t begin, end;
};

/* D = epilogue(alpha op(A) op(B) + beta C + bias): sums in float over each segment in order of k, then over the
 * segments in their order; no sum of a column of D depends on another column. */
struct Product {
    Matrix a, b, c, d;
    bool a_is_transposed, b_is_transposed;
    bool rounds_to_tf32;
    float alpha, beta;
    cublasLtEpilogue_t epilogue; /* DEFAULT, RELU, GELU with or without BIAS */
    const void *bias;            /* [rows of D], the type of D */
    int64_t m, n, k;
};

/* `parts` says how column j's sums are cut. */
void multiply(const Product &product, const std::vector<std::vector<Segment>> &parts,
              const std::vector<int> &part_of_column);

size_t item_bytes(cudaDataType type);
size_t bytes_of(const Matrix &matrix);

} // namespace emulated

#endif
