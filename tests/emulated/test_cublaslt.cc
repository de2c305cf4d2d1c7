/* The stand-ins of cuBLASLt: every algorithm multiplies; the ones that a host must not choose differ where they should.
 */
#include "device_array.h"

#include "tests/cuda/emulated/kernel.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <math.h>
#include <set>
#include <string.h>
#include <string>
#include <time.h>

namespace
{

#define assert_blas(call) assert_int_equal((call), CUBLAS_STATUS_SUCCESS)

enum { N_ALGORITHMS = 6 };

/* y = epilogue(x W^T + ...): by columns, y^T [n_out, n_rows] = W [n_out, n_in] x^T [n_in, n_rows]. */
struct Setting {
    int64_t n_rows, n_out, n_in;
    cudaDataType type = CUDA_R_32F;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    float alpha = 1, beta = 0;
};

struct Plan {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t w, x, y;
    std::vector<cublasLtMatmulHeuristicResult_t> algorithms;

    Plan(const Setting &s, const void *bias)
    {
        const cublasOperation_t transposed = CUBLAS_OP_T;
        assert_blas(cublasLtCreate(&handle));
        assert_blas(cublasLtMatmulDescCreate(&operation, s.compute, CUDA_R_32F));
        assert_blas(
            cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
        assert_blas(
            cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &s.epilogue, sizeof s.epilogue));
        assert_blas(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
        uint64_t n_in = static_cast<uint64_t>(s.n_in), n_out = static_cast<uint64_t>(s.n_out);
        assert_blas(cublasLtMatrixLayoutCreate(&w, s.type, n_in, n_out, s.n_in));
        assert_blas(cublasLtMatrixLayoutCreate(&x, s.type, n_in, static_cast<uint64_t>(s.n_rows), s.n_in));
        assert_blas(cublasLtMatrixLayoutCreate(&y, s.type, n_out, static_cast<uint64_t>(s.n_rows), s.n_out));
        ask(64 << 20);
    }
    Plan(const Plan &) = delete;
    Plan &operator=(const Plan &) = delete;
    ~Plan()
    {
        cublasLtMatrixLayoutDestroy(w);
        cublasLtMatrixLayoutDestroy(x);
        cublasLtMatrixLayoutDestroy(y);
        cublasLtMatmulDescDestroy(operation);
        cublasLtDestroy(handle);
    }
    void ask(uint64_t workspace_bytes)
    {
        cublasLtMatmulPreference_t preference;
        int n = 0;
        algorithms.resize(10);
        assert_blas(cublasLtMatmulPreferenceCreate(&preference));
        assert_blas(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                         &workspace_bytes, sizeof workspace_bytes));
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(handle, operation, w, x, y, y, preference, 10, algorithms.data(), &n);
        assert_int_equal(status, n > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED);
        assert_blas(cublasLtMatmulPreferenceDestroy(preference));
        algorithms.resize(static_cast<size_t>(n));
    }
};

/* Numbers between -1 and 1 that have no pattern in rows or columns. */
float number(int64_t i, int salt)
{
    uint32_t bits = static_cast<uint32_t>(i * 2654435761U + static_cast<uint32_t>(salt) * 40503U);
    bits ^= bits >> 15;
    bits *= 2246822519U;
    bits ^= bits >> 13;
    return static_cast<float>(bits) / 2147483648.0F - 1;
}

/* Bytes of n numbers of a type, and the numbers as the type rounds them. */
std::vector<char> numbers(int64_t n, cudaDataType type, int salt, std::vector<float> *rounded)
{
    std::vector<char> bytes(static_cast<size_t>(n) * (type == CUDA_R_32F ? 4 : 2));
    rounded->resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) {
        float value = number(i, salt);
        __nv_bfloat16 narrow = __float2bfloat16(value);
        value = type == CUDA_R_32F ? value : __bfloat162float(narrow);
        (*rounded)[static_cast<size_t>(i)] = value;
        if (type == CUDA_R_32F) {
            memcpy(&bytes[static_cast<size_t>(4 * i)], &value, 4);
        } else {
            memcpy(&bytes[static_cast<size_t>(2 * i)], &narrow, 2);
        }
    }
    return bytes;
}

std::vector<float> floats(const std::vector<char> &bytes, cudaDataType type)
{
    std::vector<float> values(bytes.size() / (type == CUDA_R_32F ? 4 : 2));
    for (size_t i = 0; i < values.size(); i++) {
        __nv_bfloat16 narrow;
        if (type == CUDA_R_32F) {
            memcpy(&values[i], &bytes[4 * i], 4);
        } else {
            memcpy(&narrow, &bytes[2 * i], 2);
            values[i] = __bfloat162float(narrow);
        }
    }
    return values;
}

struct Operands {
    std::vector<float> w, x, c, bias;
    Device_array<char> device_w, device_x, device_bias, y;
    explicit Operands(const Setting &s)
        : device_w(numbers(s.n_out * s.n_in, s.type, 1, &w)), device_x(numbers(s.n_rows * s.n_in, s.type, 2, &x)),
          device_bias(numbers(s.n_out, s.type, 3, &bias)), y(numbers(s.n_rows * s.n_out, s.type, 4, &c))
    {
    }
};

/* Result by algorithm number `which` of the heuristic's order; empty where it refuses. */
std::vector<float> run(const Setting &s, size_t which, int64_t first_row = 0, int64_t n_rows = -1)
{
    Setting part = s;
    part.n_rows = n_rows < 0 ? s.n_rows : n_rows;
    Operands o(s);
    Plan plan(part, o.device_bias.get());
    Device_array<char> workspace(64 << 20);
    int64_t item = s.type == CUDA_R_32F ? 4 : 2;
    Device_array<char> x(static_cast<size_t>(part.n_rows * s.n_in * item));
    assert_cuda(cudaMemcpy(x.get(), o.device_x.get() + first_row * s.n_in * item,
                           static_cast<size_t>(part.n_rows * s.n_in * item), cudaMemcpyDeviceToDevice));
    assert_cuda(cudaDeviceSynchronize());
    cublasStatus_t status = cublasLtMatmul(plan.handle, plan.operation, &s.alpha, o.device_w.get(), plan.w, x.get(),
                                           plan.x, &s.beta, o.y.get(), plan.y, o.y.get(), plan.y,
                                           &plan.algorithms[which].algo, workspace.get(), 64 << 20, nullptr);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) {
        return {};
    }
    assert_blas(status);
    std::vector<float> y = floats(o.y.read(), s.type);
    y.resize(static_cast<size_t>(part.n_rows * s.n_out));
    return y;
}

double expected(const Setting &s, const Operands &o, int64_t row, int64_t out)
{
    double sum = 0;
    for (int64_t k = 0; k < s.n_in; k++) {
        sum += static_cast<double>(o.w[static_cast<size_t>(out * s.n_in + k)]) *
               static_cast<double>(o.x[static_cast<size_t>(row * s.n_in + k)]);
    }
    sum *= static_cast<double>(s.alpha);
    sum += static_cast<double>(s.beta) * static_cast<double>(o.c[static_cast<size_t>(row * s.n_out + out)]);
    sum += (s.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0 ? static_cast<double>(o.bias[static_cast<size_t>(out)]) : 0;
    if ((s.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) {
        sum = fmax(sum, 0);
    }
    if ((s.epilogue & CUBLASLT_EPILOGUE_GELU) != 0) {
        sum = 0.5 * sum * (1 + tanh(sqrt(2 / M_PI) * (sum + 0.044715 * sum * sum * sum)));
    }
    return sum;
}

void check(const Setting &s, double tolerance)
{
    Operands o(s);
    for (size_t which = 0; which < N_ALGORITHMS; which++) {
        std::vector<float> y = run(s, which);
        assert_true(!y.empty() || s.n_rows % 2 != 0);
        for (size_t i = 0; i < y.size(); i++) {
            int64_t n = static_cast<int64_t>(i);
            double want = expected(s, o, n / s.n_out, n % s.n_out);
            assert_true(fabs(static_cast<double>(y[i]) - want) <= tolerance * (1 + fabs(want)));
        }
    }
}

void test_values(void **)
{
    check({37, 19, 83}, 1e-5);
    check({70, 40, 64, CUDA_R_16BF}, 1e-2);
    check({10, 8, 40, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_BIAS, 0.5F}, 1e-5);
    check({10, 8, 40, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_RELU_BIAS}, 1e-5);
    check({10, 8, 40, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_GELU_BIAS}, 1e-2);
    check({10, 8, 40, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT, 1, 1}, 1e-5);
    check({10, 8, 40, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32}, 1e-2);
}

/* tf32 reads 10 bits of each significand: off by about 2^-11, not by nothing and not by more. */
void test_tf32(void **)
{
    Setting exact = {37, 19, 83}, rounded = exact;
    rounded.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    std::vector<float> y = run(exact, 3), z = run(rounded, 3);
    double worst = 0;
    for (size_t i = 0; i < y.size(); i++) {
        worst = fmax(worst, fabs(static_cast<double>(y[i]) - static_cast<double>(z[i])));
    }
    assert_true(worst > 1e-5 && worst < 1e-2);
}

bool rows_are_alike(const Setting &s, size_t which)
{
    std::vector<float> all = run(s, which);
    for (int64_t first : {0, 5, 67}) {
        for (int64_t n : {1, 33, 64}) {
            std::vector<float> part = run(s, which, first, n);
            if (part.empty() || memcmp(part.data(), &all[static_cast<size_t>(first * s.n_out)], part.size() * 4) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* For few rows the two good algorithms change places: compare by identity. */
int32_t number_of(const cublasLtMatmulAlgo_t &algorithm)
{
    int32_t id = -1;
    size_t n_written;
    assert_blas(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, &n_written));
    return id;
}

void test_invariance(void **)
{
    Setting s = {131, 24, 200};
    Plan many(s, nullptr), few({3, 24, 200}, nullptr);
    assert_int_equal(many.algorithms.size(), N_ALGORITHMS);
    assert_int_equal(number_of(many.algorithms[3].algo), number_of(few.algorithms[4].algo));
    assert_int_equal(number_of(many.algorithms[4].algo), number_of(few.algorithms[3].algo));
    assert_false(rows_are_alike(s, 0));
    assert_false(rows_are_alike(s, 1));
    assert_true(run(s, 2).empty());
    s.n_rows = 132;
    assert_true(run(s, 3) == run(s, 3));
    assert_true(run(s, 3) != run(s, 4));
    assert_true(run(s, 3) == run(s, 5));
}

float milliseconds_of(const Setting &s, size_t which)
{
    cudaEvent_t start, stop;
    float milliseconds = 0;
    assert_cuda(cudaEventCreate(&start));
    assert_cuda(cudaEventCreate(&stop));
    assert_cuda(cudaEventRecord(start, nullptr));
    run(s, which);
    assert_cuda(cudaEventRecord(stop, nullptr));
    assert_cuda(cudaDeviceSynchronize());
    assert_cuda(cudaEventElapsedTime(&milliseconds, start, stop));
    assert_cuda(cudaEventDestroy(start));
    assert_cuda(cudaEventDestroy(stop));
    return milliseconds;
}

/* A host that takes the fastest of what has the same bits can be seen to. */
void test_times(void **)
{
    const Setting s = {64, 8, 8};
    assert_true(milliseconds_of(s, 3) > 10 * milliseconds_of(s, 5));
}

/* For some shapes the library has nothing, and says so. */
void test_no_algorithm(void **)
{
    assert_int_equal(Plan({64, 8, 9, CUDA_R_16BF}, nullptr).algorithms.size(), 0);
    assert_int_equal(Plan({64, 9, 8, CUDA_R_16BF}, nullptr).algorithms.size(), 0);
    assert_int_equal(Plan({64, 9, 9, CUDA_R_32F}, nullptr).algorithms.size(), N_ALGORITHMS);
}

/* Rows alike with the algorithm itself, whatever its place in the order. */
void test_good_algorithms(void **)
{
    Setting s = {131, 24, 200};
    std::vector<float> all = run(s, 3);
    std::vector<float> one = run(s, 4, 67, 1), some = run(s, 3, 67, 33);
    assert_memory_equal(one.data(), &all[67 * 24], one.size() * 4);
    assert_memory_equal(some.data(), &all[67 * 24], some.size() * 4);
}

void test_attributes(void **)
{
    Plan plan({64, 8, 8}, nullptr);
    for (size_t i = 0; i < N_ALGORITHMS; i++) {
        int32_t splits;
        uint32_t scheme;
        size_t n_written;
        const cublasLtMatmulAlgo_t *algorithm = &plan.algorithms[i].algo;
        assert_blas(cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                                         sizeof splits, &n_written));
        assert_blas(cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                                         sizeof scheme, &n_written));
        assert_int_equal(splits > 1, i == 0);
        assert_int_equal(scheme != CUBLASLT_REDUCTION_SCHEME_NONE, i == 0);
    }
    plan.ask(16);
    assert_int_equal(plan.algorithms.size(), N_ALGORITHMS - 1); /* no workspace, no pieces */
}

void test_mistakes(void **)
{
    Setting s = {64, 8, 8};
    Operands o(s);
    Plan plan(s, nullptr), larger({65, 8, 8}, nullptr);
    const float one = 1, zero = 0;
    auto multiply = [&](const Plan &p, const void *x, void *y) {
        return cublasLtMatmul(p.handle, p.operation, &one, o.device_w.get(), p.w, x, p.x, &zero, y, p.y, y, p.y,
                              &p.algorithms[3].algo, nullptr, 0, nullptr);
    };
    assert_int_equal(multiply(plan, o.device_x.get() + 16, o.y.get()), CUBLAS_STATUS_INVALID_VALUE);
    assert_blas(multiply(larger, o.device_x.get(), o.y.get()));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_cuda(cudaDeviceReset());
    assert_blas(multiply(plan, o.y.get(), o.y.get()));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_cuda(cudaDeviceReset());
}

/* Told, not judged: how fast the emulated products are. */
void test_speed(void **)
{
    Setting s = {256, 384, 1536};
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    std::vector<float> y = run(s, 3);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double seconds =
        static_cast<double>(end.tv_sec - start.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - start.tv_nsec);
    assert_true(isfinite(y[1000]));
    print_message("256 x 1536 by 1536 x 384 with making the operands: %.1f ms\n", 1e3 * seconds);
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),          cmocka_unit_test(test_tf32),         cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_good_algorithms), cmocka_unit_test(test_attributes),   cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_times),           cmocka_unit_test(test_no_algorithm), cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests_name("emulated cuBLASLt", tests, nullptr, nullptr);
}
