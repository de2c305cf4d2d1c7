/* Findings of emulated/access.cc in kernels compiled for it: nothing in right ones, and each mistake by its name. */
#include "device_array.h"
#include "kernels.cuh"

#include <string.h>
#include <string>

namespace
{

enum { N_THREADS = 64 };

enum Order {
    IN_ORDER,             /* everything below, done right                                    */
    READS_NEIGHBOUR,      /* shared memory of another thread without a barrier               */
    OVERWRITES_NEIGHBOUR, /* shared memory that another thread still reads                   */
    READS_NOTHING,        /* shared memory that nothing wrote                                */
    TRUSTS_SHUFFLE,       /* takes a shuffle for a barrier of the warp                       */
    TRUSTS_WARP,          /* takes a barrier of the warp for one of the block                */
    MEETS_COPY,           /* reads what its own asynchronous copy is still to write          */
    SEES_FOREIGN_COPY,    /* reads what another thread's copy wrote, after the wait alone    */
    SHARES_RESULT,        /* two blocks write one place                                      */
    AGREES,               /* two blocks write the same to one place: that is no mistake */
    READS_OTHER_BLOCK,    /* a block reads what another writes                               */
    LEAVES_DEVICE,        /* an address on the host                                          */
    READS_BEHIND,         /* behind device memory                                            */
};

struct Arguments {
    Order order;
    float *y;       /* [2, N_THREADS] */
    const float *x; /* [2, 4 N_THREADS] */
    float *host;
};

__device__ void in_order(const Arguments &a, float *shared)
{
    unsigned t = threadIdx.x, next = (t + 1) % N_THREADS, lane_next = t / 32 * 32 + (t + 1) % 32;
    shared[t] = a.x[t];
    __syncthreads();
    float sum = shared[next];
    __syncthreads();
    shared[t] = sum;
    __syncwarp();
    sum += shared[lane_next];
    __syncthreads();
    fbt_copy_async(shared + 4 * t, a.x + 4 * t, true);
    fbt_copy_commit();
    fbt_copy_wait<0>();
    sum += shared[4 * t];
    __syncthreads();
    a.y[blockIdx.x * N_THREADS + t] = sum + shared[4 * next];
}

__global__ void ordered_kernel(const Arguments a)
{
    float *shared = reinterpret_cast<float *>(fbt_shared());
    unsigned t = threadIdx.x, next = (t + 1) % N_THREADS;
    float got = 0;
    switch (a.order) {
    case READS_NEIGHBOUR:
        shared[t] = 1;
        got = shared[next];
        break;
    case OVERWRITES_NEIGHBOUR:
        shared[t] = 1;
        __syncthreads();
        got = shared[next];
        shared[t] = 2;
        break;
    case READS_NOTHING:
        got = shared[t];
        break;
    case TRUSTS_SHUFFLE:
        shared[t] = 1;
        got = __shfl_xor_sync(0xffffffffU, got, 1) + shared[t ^ 1];
        break;
    case TRUSTS_WARP:
        shared[t] = 1;
        __syncwarp();
        got = shared[t ^ 32];
        break;
    case MEETS_COPY:
    case SEES_FOREIGN_COPY:
        fbt_copy_async(shared + 4 * t, a.x + 4 * t, true);
        fbt_copy_commit();
        if (a.order == SEES_FOREIGN_COPY) {
            fbt_copy_wait<0>();
        }
        got = shared[4 * (a.order == MEETS_COPY ? t : next)];
        fbt_copy_wait<0>();
        break;
    case SHARES_RESULT:
        a.y[t] = static_cast<float>(blockIdx.x);
        break;
    case AGREES:
        a.y[t] = 1;
        break;
    case READS_OTHER_BLOCK:
        a.y[blockIdx.x * N_THREADS + t] = a.y[(1 - blockIdx.x) * N_THREADS + t];
        break;
    case LEAVES_DEVICE:
        got = *a.host;
        break;
    case READS_BEHIND:
        got = a.x[8 * N_THREADS + t];
        break;
    default:
        in_order(a, shared);
        break;
    }
    if (got < 0) {
        a.y[0] = got;
    }
}

struct Expectation {
    Order order;
    const char *said, *or_said; /* NULL: nothing is wrong; what comes first decides which */
};

const char early[] = "of shared memory that nothing wrote", race[] = ", without a barrier between";

const Expectation expectations[] = {
    {IN_ORDER, nullptr, nullptr},
    {READS_NEIGHBOUR, early, race},
    {OVERWRITES_NEIGHBOUR, race, race},
    {READS_NOTHING, early, early},
    {TRUSTS_SHUFFLE, race, race},
    {TRUSTS_WARP, early, race},
    {MEETS_COPY, "that an asynchronous copy is still to write", nullptr},
    {SEES_FOREIGN_COPY, early, race},
    {SHARES_RESULT, race, race},
    {AGREES, nullptr, nullptr},
    {READS_OTHER_BLOCK, race, race},
    {LEAVES_DEVICE, "reads 4 bytes that are not the device's", nullptr},
    {READS_BEHIND, "reads 4 bytes that are not the device's", nullptr},
};

/* Runs in the given order; what was reported, or "". */
std::string run(Order order, uint64_t seed)
{
    emulated::set_seed(seed);
    Device_array<float> y(2 * N_THREADS), x(std::vector<float>(8 * N_THREADS, 1));
    float on_host = 0;
    Arguments arguments = {order, y.get(), x.get(), &on_host};
    assert_cuda(FBT_LAUNCH(ordered_kernel, 2, N_THREADS, 16 * N_THREADS, nullptr, arguments));
    cudaError_t error = cudaDeviceSynchronize();
    if (error == cudaSuccess) {
        return "";
    }
    assert_int_equal(error, cudaErrorLaunchFailure);
    assert_cuda(cudaDeviceReset());
    return emulated::last_report();
}

bool contains(const std::string &text, const char *words)
{
    return text.find(words) != std::string::npos;
}

/* Whatever order the threads come in. */
void test_orders(void **)
{
    for (const Expectation &expectation : expectations) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            std::string said = run(expectation.order, seed);
            bool fits = expectation.said == nullptr ? said.empty() : contains(said, expectation.said);
            if (!fits && !(expectation.or_said != nullptr && contains(said, expectation.or_said))) {
                fail_msg("order %d, seed %d: \"%s\"", expectation.order, static_cast<int>(seed), said.c_str());
            }
        }
    }
}

/* A kernel may write one word of pinned memory from anywhere: errors are told so. */
void test_error_word(void **)
{
    float *word;
    assert_cuda(cudaMallocHost(reinterpret_cast<void **>(&word), sizeof *word));
    Device_array<float> x(std::vector<float>(8 * N_THREADS, 1));
    Arguments arguments = {SHARES_RESULT, word, x.get(), nullptr};
    assert_cuda(FBT_LAUNCH(ordered_kernel, 2, 1, 0, nullptr, arguments));
    assert_cuda(cudaDeviceSynchronize());
    assert_true(*word == 0 || *word == 1);
    assert_cuda(cudaFreeHost(word));
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_orders), cmocka_unit_test(test_error_word)};
    return cmocka_run_group_tests_name("watched kernels", tests, nullptr, nullptr);
}
