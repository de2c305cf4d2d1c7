/* The emulated device itself: right kernels give right results, and every kind of mistake shows. */
#include "device_array.h"
#include "kernels.cuh"

#include <algorithm>
#include <functional>
#include <math.h>
#include <set>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace
{

std::vector<float> numbers(size_t n)
{
    std::vector<float> x(n);
    for (size_t i = 0; i < n; i++) {
        x[i] = static_cast<float>(i % 97) - 31.5F;
    }
    return x;
}

template <bool barrier> std::vector<float> block_sums(uint64_t seed, unsigned n_threads)
{
    emulated::set_seed(seed);
    Device_array<float> x(numbers(3 * n_threads)), sums(3);
    assert_cuda(FBT_LAUNCH(sum_kernel<barrier>, 3, n_threads, n_threads * sizeof(float), nullptr, sums.get(), x.get()));
    return sums.read();
}

void test_sum(void **)
{
    std::vector<float> x = numbers(3 * 128);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        std::vector<float> sums = block_sums<true>(seed, 128);
        for (size_t block = 0; block < 3; block++) {
            float expected = 0;
            for (size_t i = 0; i < 128; i++) {
                expected += x[128 * block + i];
            }
            assert_float_equal(sums[block], expected, 0); /* halves of small numbers: exact */
        }
    }
}

/* Breaks if threads ran in one fixed order, or shared memory were not poisoned. */
void test_missing_barrier(void **)
{
    std::set<std::string> outcomes;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_true(isnan(block_sums<false>(seed, 128)[0]));
        std::vector<float> few = block_sums<false>(seed, 4);
        outcomes.insert(std::string(reinterpret_cast<const char *>(few.data()), few.size() * sizeof few[0]));
    }
    assert_true(outcomes.size() > 1);
}

void test_copies(void **)
{
    std::vector<float> x = numbers(4 * 64), y;
    Device_array<float> from(x), to(4 * 64);
    assert_cuda(FBT_LAUNCH(copy_kernel<true>, 1, 64, 2 * 64 * 16, nullptr, to.get(), from.get(), 50));
    y = to.read();
    for (size_t i = 0; i < y.size(); i++) {
        assert_float_equal(y[i], i < 4 * 50 ? x[i] : 0, 0);
    }
    assert_cuda(FBT_LAUNCH(copy_kernel<false>, 1, 64, 2 * 64 * 16, nullptr, to.get(), from.get(), 50));
    for (float item : to.read()) {
        assert_true(isnan(item));
    }
}

template <bool by_ldmatrix> void check_product()
{
    std::vector<__nv_bfloat16> a(16 * 16), b(8 * 16);
    for (size_t i = 0; i < a.size(); i++) {
        a[i] = __float2bfloat16(static_cast<float>(static_cast<int>(i * 7 % 31) - 11) * 0.125F);
    }
    for (size_t i = 0; i < b.size(); i++) {
        b[i] = __float2bfloat16(static_cast<float>(static_cast<int>(i * 5 % 23) - 3) * 0.25F);
    }
    Device_array<__nv_bfloat16> device_a(a), device_b(b);
    Device_array<float> device_d(16 * 8);
    assert_cuda(FBT_LAUNCH(product_kernel<by_ldmatrix>, 1, 32, 24 * 16 * 2, nullptr, device_d.get(), device_a.get(),
                           device_b.get()));
    std::vector<float> d = device_d.read();
    for (size_t row = 0; row < 16; row++) {
        for (size_t column = 0; column < 8; column++) {
            float expected = 0;
            for (size_t k = 0; k < 16; k++) {
                expected += __bfloat162float(a[16 * row + k]) * __bfloat162float(b[16 * column + k]);
            }
            assert_float_equal(d[8 * row + column], expected, 0); /* small multiples of 1/32: exact */
        }
    }
}

void test_product(void **)
{
    check_product<false>();
    check_product<true>();
}

/* The definition in the PTX ISA, "ldmatrix": thread l gets of matrix i the items (l / 4, 2 (l % 4)) and the next. */
void test_ldmatrix(void **)
{
    Device_array<uint32_t> plain(128), transposed(128);
    assert_cuda(FBT_LAUNCH(indices_kernel, 1, 32, 8 * 32 * 2, nullptr, plain.get(), transposed.get()));
    std::vector<uint32_t> p = plain.read(), t = transposed.read();
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t lane = 0; lane < 32; lane++) {
            uint32_t row = lane / 4, column = 2 * (lane % 4);
            assert_int_equal(p[32 * i + lane] & 0xffff, 32 * row + 8 * i + column);
            assert_int_equal(p[32 * i + lane] >> 16, 32 * row + 8 * i + column + 1);
            assert_int_equal(t[32 * i + lane] & 0xffff, 32 * column + 8 * i + row);
            assert_int_equal(t[32 * i + lane] >> 16, 32 * (column + 1) + 8 * i + row);
        }
    }
}

void test_shuffles(void **)
{
    Device_array<int> out(8 * 64);
    Device_array<double> wide(64);
    assert_cuda(FBT_LAUNCH(shuffles_kernel, 1, dim3(16, 4), 0, nullptr, out.get(), wide.get()));
    assert_cuda(FBT_LAUNCH(shuffles_kernel, 1, 64, 0, nullptr, out.get(), wide.get()));
    std::vector<int> results = out.read();
    std::vector<double> doubles = wide.read();
    for (int t = 0; t < 64; t++) {
        int lane = t % 32;
        const int *mine = &results[static_cast<size_t>(8 * t)];
        assert_int_equal(mine[0], 5);
        assert_int_equal(mine[1], lane / 8 * 8 + (lane + 1) % 8);
        assert_int_equal(mine[2], lane ^ 3);
        assert_int_equal(mine[3], lane < 30 ? lane + 2 : lane);
        assert_int_equal(mine[4], lane >= 2 ? lane - 2 : lane);
        assert_int_equal(static_cast<unsigned>(mine[5]), 0x49249249U);
        assert_int_equal(mine[6], 1);
        assert_int_equal(mine[7], 0);
        assert_true(doubles[static_cast<size_t>(t)] == (lane ^ 1) + 0.25);
    }
}

struct Expectation {
    Mistake mistake;
    const char *said;
};

void test_mistakes(void **)
{
    const Expectation expectations[] = {
        {SKIPS_BARRIER,
         "block (0, 0, 0) hangs: 32 threads have ended, 32 threads wait in __syncthreads at kernels.cuh:"},
        {SPLITS_BARRIER, "meet in different __syncthreads"},
        {SKIPS_WARP, "hangs: 33 threads have ended, 31 threads wait in a shuffle of lanes ffffffff at device.cuh:"},
        {SPLITS_WARP, "while lane"},
        {PARTIAL_MASK, "__syncwarp of lanes 00000001 at kernels.cuh:"},
        {UNWAITED_COPY, "ends with an asynchronous copy"},
        {CROOKED_COPY, "is not a multiple of 16"},
        {COPY_OUTSIDE, "writes outside the block's shared memory"},
        {COPY_FROM_HOST, "reads outside device memory"},
        {CROOKED_LDMATRIX, "not a multiple of 16"},
    };
    Device_array<float> x(numbers(64));
    for (const Expectation &expectation : expectations) {
        assert_cuda(FBT_LAUNCH(mistaken_kernel, 1, 64, 64 * 16 + 16, nullptr, expectation.mistake, x.get()));
        assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
        if (emulated::last_report().find(expectation.said) == std::string::npos) {
            fail_msg("\"%s\" lacks \"%s\"", emulated::last_report().c_str(), expectation.said);
        }
        assert_true(emulated::last_report().find("kernel mistaken_kernel") == 0);
        assert_int_equal(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure); /* sticky */
        assert_cuda(cudaDeviceReset());
    }
    test_sum(nullptr); /* the abandoned stacks are sound */
}

void test_limits(void **)
{
    Device_array<float> x(numbers(64));
    float *p = x.get();
    size_t shared = 49 * 1024;
    assert_int_equal(FBT_LAUNCH(mistaken_kernel, 1, 1025, 0, nullptr, SKIPS_WARP, p), cudaErrorInvalidConfiguration);
    assert_int_equal(FBT_LAUNCH(mistaken_kernel, dim3(1, 65536), 32, 0, nullptr, SKIPS_WARP, p),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(FBT_LAUNCH(mistaken_kernel, 0, 32, 0, nullptr, SKIPS_WARP, p), cudaErrorInvalidConfiguration);
    assert_int_equal(FBT_LAUNCH(sum_kernel<true>, 1, 32, shared, nullptr, p, p), cudaErrorInvalidValue);
    assert_int_equal(fbt_allow_shared(sum_kernel<true>, 228 * 1024), cudaErrorInvalidValue);
    assert_cuda(cudaGetLastError() == cudaErrorInvalidValue ? cudaSuccess : cudaErrorInvalidValue);
    assert_cuda(fbt_allow_shared(sum_kernel<true>, static_cast<int>(shared)));
    assert_cuda(FBT_LAUNCH(sum_kernel<true>, 1, 32, shared, nullptr, p, p));
    assert_int_equal(FBT_LAUNCH(sum_kernel<true>, 1, 32, shared + 1, nullptr, p, p), cudaErrorInvalidValue);
    assert_cuda(cudaDeviceSynchronize());
}

/* Every block comes once, in an order that differs between seeds. */
void test_block_order(void **)
{
    std::set<std::vector<unsigned>> orders;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        emulated::set_seed(seed);
        Device_array<unsigned> order(24), n(std::vector<unsigned>{0});
        assert_cuda(FBT_LAUNCH(order_kernel, dim3(2, 3, 4), 1, 0, nullptr, order.get(), n.get()));
        std::vector<unsigned> blocks = order.read();
        orders.insert(blocks);
        std::sort(blocks.begin(), blocks.end());
        for (unsigned i = 0; i < 24; i++) {
            assert_int_equal(blocks[i], i);
        }
    }
    assert_int_equal(orders.size(), 3);
}

/* Generous bound: what it guards against is a switch that costs a system call. */
void test_speed(void **)
{
    Device_array<int> out(128);
    const int n_barriers = 5000;
    assert_cuda(FBT_LAUNCH(barriers_kernel, 1, 128, sizeof(int), nullptr, out.get(), n_barriers));
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    std::vector<int> counts = out.read();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double s = static_cast<double>(end.tv_sec - start.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - start.tv_nsec);
    print_message("50 barriers of 128 threads: %.3f ms\n", 1e3 * s * 50 / n_barriers);
    assert_int_equal(counts[7], n_barriers - 1);
    assert_true(s * 50 / n_barriers < 0.01);
}

#if defined(__SANITIZE_ADDRESS__)

/* Whether `act` ends a child process with words in its stderr. */
void expect_death(const char *words, const std::function<void()> &act)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    std::string text;
    char part[4096];
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) {
        text.append(part, static_cast<size_t>(n));
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (text.find(words) == std::string::npos) {
        fail_msg("\"%s\" is not in what the child said:\n%s", words, text.c_str());
    }
}

void test_sanitizers(void **)
{
    Device_array<float> x(numbers(16)), y(1);
    auto run = [&](Stray stray, int n) {
        if (FBT_LAUNCH(stray_kernel, 1, 1, 20 * sizeof(float), nullptr, y.get(), x.get(), stray, n) == cudaSuccess) {
            cudaDeviceSynchronize();
        }
    };
    expect_death("heap-buffer-overflow", [&] { run(READS_PAST_MEMORY, 16); });
    expect_death("heap-buffer-overflow", [&] { run(READS_PAST_MEMORY, -1); });
    expect_death("heap-buffer-overflow", [&] { run(READS_PAST_SHARED, 20); });
    expect_death("misaligned address", [&] { run(CROOKED_LOAD, 0); });
    expect_death("use-after-poison", [&] { x.get()[0] = 1; });
    expect_death("use-after-poison", [&] { x.get()[15] = 1; });
}

#endif

#if defined(__SSE2__)
/* As nvcc compiles with -ftz: breaks if kernels kept what the device does not, or if the host lost it. */
void test_small_floats(void **)
{
    const std::vector<float> numbers = {1e-30F, 1e-10F, 1e-39F, 1e30F, 1e-20F, 1e-10F};
    Device_array<float> x(numbers), y(3);
    assert_cuda(FBT_LAUNCH(pairs_kernel, 1, 3, 0, nullptr, y.get(), x.get()));
    const std::vector<float> products = y.read();
    assert_true(products[0] == 0 && products[1] == 0); /* a small result, a small operand */
    assert_float_equal(products[2] * 1e30F, 1, 1e-6F);
    volatile float small = numbers[0];
    assert_true(small * numbers[1] > 0);
}
#endif

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_missing_barrier),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_block_order),
        cmocka_unit_test(test_speed),
#if defined(__SSE2__)
        cmocka_unit_test(test_small_floats),
#endif
#if defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(test_sanitizers),
#endif
    };
    return cmocka_run_group_tests_name("emulation", tests, nullptr, nullptr);
}
