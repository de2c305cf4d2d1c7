/* Stand-ins of cuBLASLt: products of float and bfloat16 matrices by columns, with the algorithms that a host must tell
 * apart.
 *
 * The heuristic offers, as the library does, algorithms whose results for a row depend on more than the row. In this
 * order: pieces    splits the sum over k into three (it says so) and adds them in an order that the seed decides; tail
 * says that it does not split, but halves the sum for columns of D in a last tile that is not full; few       works for
 * many rows and refuses an odd number; straight  sums in order of k, and takes long; chunks    sums chunks of 32 in
 * order of k, so that it differs from `straight` in bits: for few columns of D it is offered before it, as the
 * library's choice depends on the size; brisk     has the bits of `straight` in less time.
 *
 * With FBT_EMULATION_FEW_DIFFER=1 the good ones sum 2 to 16 columns of D by chunks, which a host's trials may miss.
 * For bfloat16 columns that are not of whole 16 bytes it offers nothing, as the library may.
 */
#include "kernel.h"
#include "product.h"
#include "runtime.h"

#include <algorithm>
#include <string.h>

namespace emulated
{

namespace
{

enum Algorithm { PIECES, TAIL, FEW, STRAIGHT, CHUNKS, BRISK, N_ALGORITHMS };

enum { TILE = 64, CHUNK = 32, N_PIECES = 3, FEW_COLUMNS = 32 };
const double SLOW_S = 10;

struct Description {
    cublasComputeType_t compute;
    cublasOperation_t transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};

struct Layout {
    cudaDataType type;
    int64_t n_rows, n_columns, leading;
};

struct Preference {
    uint64_t workspace_bytes;
    uint32_t reductions;
};

/* Contents of cublasLtMatmulAlgo_t. */
struct Choice {
    char mark[8];
    int32_t algorithm;
};
const char choice_mark[8] = "emulate";

const Description *description_of(cublasLtMatmulDesc_t handle)
{
    return reinterpret_cast<const Description *>(handle);
}

const Layout *layout_of(cublasLtMatrixLayout_t handle)
{
    return reinterpret_cast<const Layout *>(handle);
}

/* NULL: not one of ours. */
const Choice *choice_of(const cublasLtMatmulAlgo_t *algorithm)
{
    const Choice *choice = reinterpret_cast<const Choice *>(algorithm);
    return memcmp(choice->mark, choice_mark, sizeof choice_mark) == 0 ? choice : nullptr;
}

size_t workspace_bytes(int32_t algorithm, const Layout &d)
{
    size_t n_items = static_cast<size_t>(d.n_rows * d.n_columns);
    return algorithm == PIECES ? N_PIECES * n_items * sizeof(float) : 0;
}

cublasStatus_t refuse(cublasStatus_t status, const char *why)
{
    report("cuBLASLt: %s", why);
    return status;
}

bool type_is_known(cudaDataType type)
{
    return type == CUDA_R_32F || type == CUDA_R_16BF;
}

Matrix matrix_of(const Layout &layout, const void *items)
{
    return {items, layout.type, layout.n_rows, layout.n_columns, layout.leading};
}

/* Reads the shapes; items are filled in by the caller. */
cublasStatus_t describe(const Description &description, const Layout &a, const Layout &b, const Layout &c,
                        const Layout &d, Product *product)
{
    bool transposed_a = description.transpose_a == CUBLAS_OP_T, transposed_b = description.transpose_b == CUBLAS_OP_T;
    Product p = {};
    p.a = matrix_of(a, nullptr);
    p.b = matrix_of(b, nullptr);
    p.c = matrix_of(c, nullptr);
    p.d = matrix_of(d, nullptr);
    p.a_is_transposed = transposed_a;
    p.b_is_transposed = transposed_b;
    p.rounds_to_tf32 = description.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type == CUDA_R_32F;
    p.epilogue = description.epilogue;
    p.bias = description.bias;
    p.m = d.n_rows;
    p.n = d.n_columns;
    p.k = transposed_a ? a.n_rows : a.n_columns;
    int64_t rows_a = transposed_a ? a.n_columns : a.n_rows, rows_b = transposed_b ? b.n_columns : b.n_rows;
    int64_t columns_b = transposed_b ? b.n_rows : b.n_columns;
    if (rows_a != p.m || rows_b != p.k || columns_b != p.n || c.n_rows != p.m || c.n_columns != p.n) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "the shapes of a product do not fit");
    }
    if (a.type != b.type || c.type != d.type || !type_is_known(a.type) || !type_is_known(d.type)) {
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "a combination of types that has no stand-in");
    }
    if ((p.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0 && p.bias == nullptr) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "an epilogue with a bias but no bias");
    }
    *product = p;
    return CUBLAS_STATUS_SUCCESS;
}

std::vector<Segment> cut(int64_t k, int64_t step)
{
    std::vector<Segment> segments;
    for (int64_t begin = 0; begin < k; begin += step) {
        segments.push_back({begin, std::min(k, begin + step)});
    }
    return segments;
}

std::vector<Segment> shuffled_pieces(int64_t k)
{
    std::vector<Segment> pieces = cut(k, (k + N_PIECES - 1) / N_PIECES);
    for (size_t i = pieces.size(); i > 1; i--) {
        std::swap(pieces[i - 1], pieces[random_below(static_cast<uint32_t>(i))]);
    }
    return pieces;
}

void run_algorithm(const Product &p, int32_t algorithm)
{
    std::vector<std::vector<Segment>> parts = {{{0, p.k}}};
    std::vector<int> part_of_column(static_cast<size_t>(p.n), 0);
    if (algorithm == PIECES) {
        parts = {shuffled_pieces(p.k), shuffled_pieces(p.k)};
        for (size_t column = 0; column < part_of_column.size(); column++) {
            part_of_column[column] = static_cast<int>(column % 2);
        }
    } else if (algorithm == TAIL) {
        parts.push_back(cut(p.k, (p.k + 1) / 2));
        std::fill(part_of_column.begin() + p.n / TILE * TILE, part_of_column.end(), 1);
    } else if (algorithm == CHUNKS ||
               (p.n >= 2 && p.n <= 16 && environment_number("FBT_EMULATION_FEW_DIFFER", 0) != 0)) {
        parts = {cut(p.k, CHUNK)};
    } else if (algorithm == STRAIGHT) {
        let_time_pass(SLOW_S);
    }
    multiply(p, parts, part_of_column);
}

bool overlap(const Matrix &a, const Matrix &b)
{
    const char *start_a = static_cast<const char *>(a.items), *start_b = static_cast<const char *>(b.items);
    return start_a < start_b + bytes_of(b) && start_b < start_a + bytes_of(a);
}

bool is_outside(const Matrix &matrix)
{
    return !is_device_visible(matrix.items, bytes_of(matrix));
}

/* When the product runs: memory may have been freed since it was queued. */
cudaError_t run_product(const Product &p, int32_t algorithm)
{
    bool has_bias = (p.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
    if (is_outside(p.a) || is_outside(p.b) || is_outside(p.d) || (p.beta != 0 && is_outside(p.c)) ||
        (has_bias && !is_device_visible(p.bias, static_cast<size_t>(p.m) * item_bytes(p.d.type)))) {
        report("cuBLASLt: an operand of the product of %lld x %lld by %lld x %lld leaves device memory", (long long)p.m,
               (long long)p.k, (long long)p.k, (long long)p.n);
        return cudaErrorIllegalAddress;
    }
    if (overlap(p.d, p.a) || overlap(p.d, p.b) || (p.beta != 0 && p.c.items != p.d.items && overlap(p.d, p.c))) {
        report("cuBLASLt: the result of the product of %lld x %lld by %lld x %lld overlaps an operand", (long long)p.m,
               (long long)p.k, (long long)p.k, (long long)p.n);
        return cudaErrorLaunchFailure;
    }
    run_algorithm(p, algorithm);
    return cudaSuccess;
}

/* The heuristic supposes that matrices start at multiples of 256 (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_*_BYTES). */
bool is_crooked(const void *items)
{
    return reinterpret_cast<uintptr_t>(items) % 256 != 0;
}

bool is_odd(const Layout &layout)
{
    return layout.type == CUDA_R_16BF && layout.leading % 8 != 0;
}

template <typename Value> cublasStatus_t set(Value *value, const void *from, size_t n_bytes)
{
    if (from == nullptr || n_bytes != sizeof *value) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(value, from, n_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

template <typename Value> cublasStatus_t get(Value value, void *to, size_t n_bytes, size_t *n_written)
{
    if (to == nullptr || n_bytes != sizeof value) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(to, &value, n_bytes);
    if (n_written != nullptr) {
        *n_written = n_bytes;
    }
    return CUBLAS_STATUS_SUCCESS;
}

std::vector<int32_t> preferred(int64_t n_columns)
{
    if (n_columns < FEW_COLUMNS) {
        return {PIECES, TAIL, FEW, CHUNKS, STRAIGHT, BRISK};
    }
    return {PIECES, TAIL, FEW, STRAIGHT, CHUNKS, BRISK};
}

} // namespace

} // namespace emulated

using namespace emulated;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = reinterpret_cast<cublasLtHandle_t>(new int(0));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete reinterpret_cast<int *>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an invalid value";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "not supported";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "out of memory";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "execution failed";
    default:
        return "an error of cuBLAS";
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *handle, cublasComputeType_t compute, cudaDataType_t scale)
{
    if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32) || scale != CUDA_R_32F) {
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "a compute type that has no stand-in");
    }
    Description *description = new Description{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
    *handle = reinterpret_cast<cublasLtMatmulDesc_t>(description);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle)
{
    delete description_of(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t n_bytes)
{
    Description *description = reinterpret_cast<Description *>(handle);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&description->transpose_a, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&description->transpose_b, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&description->epilogue, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&description->bias, value, n_bytes);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "an attribute of a product that has no stand-in");
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *handle, cudaDataType type, uint64_t n_rows,
                                          uint64_t n_columns, int64_t leading)
{
    if (n_rows == 0 || n_columns == 0 || leading < static_cast<int64_t>(n_rows)) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a matrix without items, or whose columns overlap");
    }
    Layout *layout = new Layout{type, static_cast<int64_t>(n_rows), static_cast<int64_t>(n_columns), leading};
    *handle = reinterpret_cast<cublasLtMatrixLayout_t>(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle)
{
    delete layout_of(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *handle)
{
    *handle = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference{0, CUBLASLT_REDUCTION_SCHEME_MASK});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle)
{
    delete reinterpret_cast<Preference *>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t n_bytes)
{
    Preference *preference = reinterpret_cast<Preference *>(handle);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set(&preference->workspace_bytes, value, n_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set(&preference->reductions, value, n_bytes);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "an attribute of a preference that has no stand-in");
    }
}

/* The mask of reductions is a wish: `pieces` comes whatever it says, where its workspace fits. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t handle, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *n_found)
{
    const Preference *preference = reinterpret_cast<const Preference *>(handle);
    Product product;
    *n_found = 0;
    cublasStatus_t status =
        describe(*description_of(operation), *layout_of(a), *layout_of(b), *layout_of(c), *layout_of(d), &product);
    if (status != CUBLAS_STATUS_SUCCESS) {
        return status;
    }
    const bool has_none = is_odd(*layout_of(a)) || is_odd(*layout_of(b)) || is_odd(*layout_of(d));
    for (int32_t algorithm : has_none ? std::vector<int32_t>() : preferred(product.n)) {
        size_t n_bytes = workspace_bytes(algorithm, *layout_of(d));
        if (*n_found < n_wanted && n_bytes <= preference->workspace_bytes) {
            Choice choice = {"", algorithm};
            memcpy(choice.mark, choice_mark, sizeof choice_mark);
            cublasLtMatmulHeuristicResult_t *result = &results[(*n_found)++];
            memset(result, 0, sizeof *result);
            memcpy(&result->algo, &choice, sizeof choice);
            result->workspaceSize = n_bytes;
            result->state = CUBLAS_STATUS_SUCCESS;
            result->wavesCount = 1;
        }
    }
    return *n_found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void *value,
                                                    size_t n_bytes, size_t *n_written)
{
    const Choice *choice = choice_of(algorithm);
    if (choice == nullptr) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    bool splits = choice->algorithm == PIECES;
    switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
        return get(choice->algorithm, value, n_bytes, n_written);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
        return get<int32_t>(splits ? N_PIECES : 1, value, n_bytes, n_written);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
        return get<uint32_t>(splits ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE, value,
                             n_bytes, n_written);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
        return get<uint32_t>(0, value, n_bytes, n_written);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
        return get<uint16_t>(0, value, n_bytes, n_written);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "an attribute of an algorithm that has no stand-in");
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t layout_a, const void *b, cublasLtMatrixLayout_t layout_b,
                              const void *beta, const void *c, cublasLtMatrixLayout_t layout_c, void *d,
                              cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t n_workspace_bytes, cudaStream_t stream)
{
    Product product;
    cublasStatus_t status = describe(*description_of(operation), *layout_of(layout_a), *layout_of(layout_b),
                                     *layout_of(layout_c), *layout_of(layout_d), &product);
    if (status != CUBLAS_STATUS_SUCCESS) {
        return status;
    }
    /* Without an algorithm the library takes the first that fits, whatever it does to rows. */
    const Choice *choice = algorithm != nullptr ? choice_of(algorithm) : nullptr;
    int32_t number = choice != nullptr ? choice->algorithm : TAIL;
    if (algorithm != nullptr && choice == nullptr) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "an algorithm that did not come from the heuristic");
    }
    size_t n_needed = workspace_bytes(number, *layout_of(layout_d));
    if (n_needed > n_workspace_bytes || (n_needed > 0 && !is_device_visible(workspace, n_workspace_bytes)) ||
        (number == FEW && product.n % 2 != 0)) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (is_crooked(a) || is_crooked(b) || is_crooked(c) || is_crooked(d)) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "a matrix starts at an address that is not a multiple of 256");
    }
    product.a.items = a;
    product.b.items = b;
    product.c.items = c;
    product.d.items = d;
    memcpy(&product.alpha, alpha, sizeof product.alpha);
    memcpy(&product.beta, beta, sizeof product.beta);
    cudaError_t error = enqueue(stream, "cublasLtMatmul", [product, number] { return run_product(product, number); });
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

} /* extern "C" */
