/* The stand-ins of the CUDA runtime: what a host may rely on holds, and what it may not shows. */
#include "device_array.h"
#include "kernels.cuh"

#include <algorithm>
#include <set>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace
{

/* Appends `item` to a list whose first item is its length. */
__global__ void append_kernel(int *list, int item)
{
    list[++list[0]] = item;
}

std::vector<int> items_of(const Device_array<int> &list)
{
    std::vector<int> all = list.read();
    return std::vector<int>(all.begin() + 1, all.begin() + 1 + all[0]);
}

cudaError_t append(cudaStream_t stream, const Device_array<int> &list, int item)
{
    return FBT_LAUNCH(append_kernel, 1, 1, 0, stream, list.get(), item);
}

std::vector<int> empty_list()
{
    return std::vector<int>(64, 0);
}

struct Streams {
    cudaStream_t a, b;
    Streams()
    {
        assert_cuda(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
        assert_cuda(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    }
    ~Streams()
    {
        cudaStreamDestroy(a);
        cudaStreamDestroy(b);
    }
};

void test_memory(void **)
{
    size_t free_before, free_after, total;
    assert_cuda(cudaMemGetInfo(&free_before, &total));
    {
        Device_array<unsigned> fresh(10);
        for (unsigned item : fresh.read()) {
            assert_int_equal(item, 0xffffffffU);
        }
        assert_cuda(cudaMemGetInfo(&free_after, &total));
        assert_int_equal(free_before - free_after, 40);
    }
    void *memory;
    assert_int_equal(cudaMalloc(&memory, total + 1), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_cuda(cudaGetLastError());
    int on_stack;
    assert_int_equal(cudaFree(&on_stack), cudaErrorInvalidValue);
    assert_cuda(cudaFree(nullptr));
}

void test_copies(void **)
{
    Streams streams;
    Device_array<int> device(100);
    std::vector<int> pageable(100, 7);
    int *pinned;
    assert_cuda(cudaMallocHost(reinterpret_cast<void **>(&pinned), 100 * sizeof(int)));
    size_t n_bytes = 100 * sizeof(int);
    assert_int_equal(cudaMemcpyAsync(device.get(), pageable.data(), n_bytes, cudaMemcpyHostToDevice, streams.a),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(pinned, device.get(), n_bytes + 4, cudaMemcpyDeviceToHost, streams.a),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(device.get(), pinned, n_bytes, cudaMemcpyDeviceToHost, streams.a),
                     cudaErrorInvalidValue);
    /* The copy reads its source when the stream comes to it, not before. */
    std::fill(pinned, pinned + 100, 1);
    assert_cuda(cudaMemcpyAsync(device.get(), pinned, n_bytes, cudaMemcpyHostToDevice, streams.a));
    std::fill(pinned, pinned + 100, 2);
    assert_cuda(cudaStreamSynchronize(streams.a));
    assert_int_equal(device.read()[99], 2);
    assert_cuda(cudaMemsetAsync(device.get(), 0, n_bytes, streams.a));
    assert_cuda(cudaMemcpyAsync(pinned, device.get(), n_bytes, cudaMemcpyDeviceToHost, streams.a));
    assert_int_equal(pinned[0], 2);
    assert_cuda(cudaStreamSynchronize(streams.a));
    assert_int_equal(pinned[0], 0);
    assert_cuda(cudaFreeHost(pinned));
}

/* Orders of two streams of three operations each, the second waiting for the first's middle when `ordered`. */
std::set<std::vector<int>> orders_of_two_streams(bool ordered)
{
    std::set<std::vector<int>> orders;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        emulated::set_seed(seed);
        Streams streams;
        cudaEvent_t event;
        Device_array<int> list(empty_list());
        assert_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
        for (int i = 0; i < 3; i++) {
            assert_cuda(append(streams.a, list, i));
            if (i == 1) {
                assert_cuda(cudaEventRecord(event, streams.a));
            }
        }
        if (ordered) {
            assert_cuda(cudaStreamWaitEvent(streams.b, event, 0));
        }
        for (int i = 10; i < 13; i++) {
            assert_cuda(append(streams.b, list, i));
        }
        assert_cuda(cudaDeviceSynchronize());
        assert_cuda(cudaEventDestroy(event));
        orders.insert(items_of(list));
    }
    return orders;
}

void test_streams(void **)
{
    bool seen_early = false;
    for (const std::vector<int> &order : orders_of_two_streams(false)) {
        assert_int_equal(order.size(), 6);
        assert_true(std::is_sorted(order.begin(), order.end(), [](int x, int y) { return x < y && x / 10 == y / 10; }));
        seen_early = seen_early || std::find(order.begin(), order.end(), 10) < std::find(order.begin(), order.end(), 1);
    }
    assert_true(seen_early);
    std::set<std::vector<int>> ordered = orders_of_two_streams(true);
    assert_true(ordered.size() > 1);
    for (const std::vector<int> &order : ordered) {
        assert_true(std::find(order.begin(), order.end(), 10) > std::find(order.begin(), order.end(), 1));
    }
}

void test_events(void **)
{
    Streams streams;
    Device_array<int> list(empty_list());
    cudaEvent_t start, stop;
    float ms = -1;
    assert_cuda(cudaEventCreate(&start));
    assert_cuda(cudaEventCreate(&stop));
    assert_int_equal(cudaEventElapsedTime(&ms, start, stop), cudaErrorInvalidResourceHandle);
    assert_cuda(cudaEventRecord(start, streams.a));
    assert_cuda(append(streams.a, list, 1));
    assert_cuda(cudaEventRecord(stop, streams.a));
    assert_int_equal(cudaEventElapsedTime(&ms, start, stop), cudaErrorNotReady);
    assert_int_equal(cudaStreamQuery(streams.a), cudaErrorNotReady);
    assert_cuda(cudaEventSynchronize(stop));
    assert_cuda(cudaEventElapsedTime(&ms, start, stop));
    assert_true(ms >= 0);
    assert_cuda(cudaStreamQuery(streams.a));
    /* Asking again and again ends. */
    assert_cuda(append(streams.a, list, 2));
    assert_cuda(cudaEventRecord(stop, streams.a));
    int n_asked = 0;
    while (cudaEventQuery(stop) == cudaErrorNotReady && n_asked < 100) {
        n_asked++;
    }
    assert_true(n_asked < 100);
    assert_int_equal(items_of(list).size(), 2);
    assert_cuda(cudaEventDestroy(start));
    assert_cuda(cudaEventDestroy(stop));
    cudaGetLastError();
}

void test_graphs(void **)
{
    Streams streams;
    Device_array<int> list(empty_list());
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    int item = 5;
    assert_cuda(cudaStreamBeginCapture(streams.a, cudaStreamCaptureModeThreadLocal));
    assert_cuda(append(streams.a, list, item));
    item = 6;
    assert_cuda(append(streams.a, list, item));
    assert_cuda(cudaStreamEndCapture(streams.a, &graph));
    assert_cuda(cudaDeviceSynchronize());
    assert_int_equal(items_of(list).size(), 0);
    assert_cuda(cudaGraphInstantiate(&executable, graph, 0));
    assert_cuda(cudaGraphDestroy(graph));
    assert_cuda(cudaGraphLaunch(executable, streams.b));
    assert_cuda(cudaGraphLaunch(executable, streams.b));
    assert_cuda(cudaGraphExecDestroy(executable));
    assert_cuda(cudaStreamSynchronize(streams.b));
    assert_true(items_of(list) == (std::vector<int>{5, 6, 5, 6}));
}

typedef cudaError_t (*Forbidden)(Streams &streams, const Device_array<int> &list);

/* Each must fail while a stream is captured, and spoil the capture. */
const Forbidden forbidden[] = {
    [](Streams &, const Device_array<int> &) {
        void *memory;
        return cudaMalloc(&memory, 4);
    },
    [](Streams &, const Device_array<int> &list) { return cudaFree(list.get()); },
    [](Streams &streams, const Device_array<int> &) { return cudaStreamSynchronize(streams.a); },
    [](Streams &, const Device_array<int> &) { return cudaDeviceSynchronize(); },
    [](Streams &, const Device_array<int> &list) { return append(nullptr, list, 1); },
    [](Streams &, const Device_array<int> &list) {
        int host;
        return cudaMemcpy(&host, list.get(), 4, cudaMemcpyDeviceToHost);
    },
};

void test_forbidden_in_capture(void **)
{
    for (Forbidden call : forbidden) {
        Streams streams;
        Device_array<int> list(empty_list());
        cudaGraph_t graph;
        assert_cuda(cudaStreamBeginCapture(streams.a, cudaStreamCaptureModeThreadLocal));
        assert_int_not_equal(call(streams, list), cudaSuccess);
        assert_int_equal(append(streams.a, list, 1), cudaErrorStreamCaptureInvalidated);
        assert_int_equal(cudaStreamEndCapture(streams.a, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
        cudaGetLastError();
        assert_cuda(append(streams.a, list, 1));
        assert_cuda(cudaStreamSynchronize(streams.a));
        assert_int_equal(items_of(list).size(), 1);
    }
}

void test_devices(void **)
{
    int n = -1, version = -1;
    struct cudaDeviceProp first, second;
    setenv("FBT_EMULATION_DEVICES", "0", 1);
    assert_int_equal(cudaGetDeviceCount(&n), cudaErrorNoDevice);
    assert_int_equal(n, 0);
    setenv("FBT_EMULATION_DEVICES", "2", 1);
    assert_cuda(cudaGetDeviceCount(&n));
    assert_int_equal(n, 2);
    assert_cuda(cudaGetDeviceProperties(&first, 0));
    assert_cuda(cudaGetDeviceProperties(&second, 1));
    assert_memory_not_equal(first.uuid.bytes, second.uuid.bytes, sizeof first.uuid.bytes);
    assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);
    setenv("FBT_EMULATION_NO_DRIVER", "1", 1);
    assert_int_equal(cudaGetDeviceCount(&n), cudaErrorInsufficientDriver);
    assert_cuda(cudaDriverGetVersion(&version));
    assert_int_equal(version, 0);
    unsetenv("FBT_EMULATION_NO_DRIVER");
    unsetenv("FBT_EMULATION_DEVICES");
    cudaGetLastError();
}

/* ---- sharing: the child imports what the parent exported ---- */

enum { SHARED_ITEMS = 20000 };

/* Adds one to each item of memory that another process shared; what a failing child returns says where. */
int import_and_add(const cudaIpcMemHandle_t &handle, int ready, int go)
{
    int *shared, first = 0;
    char word;
    if (cudaIpcOpenMemHandle(reinterpret_cast<void **>(&shared), handle, cudaIpcMemLazyEnablePeerAccess) !=
        cudaSuccess) {
        return 1;
    }
    if (cudaMemcpy(&first, shared, sizeof first, cudaMemcpyDeviceToHost) != cudaSuccess || first != 40) {
        return 2;
    }
    first++;
    if (cudaMemcpy(shared, &first, sizeof first, cudaMemcpyHostToDevice) != cudaSuccess) {
        return 3;
    }
    if (write(ready, "r", 1) != 1 || read(go, &word, 1) != 1) {
        return 4;
    }
    /* 'f': the exporter has freed the memory in the meantime. */
    cudaError_t error = cudaMemcpy(&first, shared, sizeof first, cudaMemcpyDeviceToHost);
    if (word == 'f' ? error != cudaErrorIllegalAddress : error != cudaSuccess) {
        return 5;
    }
    return cudaIpcCloseMemHandle(shared) == (word == 'f' ? cudaErrorIllegalAddress : cudaSuccess) ? 0 : 6;
}

void share_with_child(bool frees_too_early)
{
    std::vector<int> host(SHARED_ITEMS, 40);
    int *memory, ready[2], go[2], status;
    char word;
    cudaIpcMemHandle_t handle;
    assert_cuda(cudaMalloc(reinterpret_cast<void **>(&memory), SHARED_ITEMS * sizeof(int)));
    assert_cuda(cudaMemcpy(memory, host.data(), SHARED_ITEMS * sizeof(int), cudaMemcpyHostToDevice));
    assert_cuda(cudaIpcGetMemHandle(&handle, memory));
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(import_and_add(handle, ready[1], go[0]));
    }
    assert_int_equal(read(ready[0], &word, 1), 1);
    assert_cuda(cudaMemcpy(host.data(), memory, sizeof(int), cudaMemcpyDeviceToHost));
    assert_int_equal(host[0], 41);
    if (frees_too_early) {
        assert_cuda(cudaFree(memory));
    }
    assert_int_equal(write(go[1], frees_too_early ? "f" : "g", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    if (!frees_too_early) {
        assert_cuda(cudaFree(memory));
    }
    for (int end : {ready[0], ready[1], go[0], go[1]}) {
        close(end);
    }
}

void test_sharing(void **)
{
    share_with_child(false);
    share_with_child(true);
    Device_array<int> memory(SHARED_ITEMS);
    cudaIpcMemHandle_t handle;
    void *imported;
    assert_int_equal(cudaIpcGetMemHandle(&handle, memory.get() + 1), cudaErrorInvalidValue);
    assert_cuda(cudaIpcGetMemHandle(&handle, memory.get()));
    assert_int_equal(cudaIpcOpenMemHandle(&imported, handle, 0), cudaErrorDeviceUninitialized);
    setenv("FBT_EMULATION_NO_IPC", "1", 1);
    assert_int_equal(cudaIpcOpenMemHandle(&imported, handle, 0), cudaErrorMapBufferObjectFailed);
    unsetenv("FBT_EMULATION_NO_IPC");
    cudaGetLastError();
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_copies),  cmocka_unit_test(test_streams),
        cmocka_unit_test(test_events),  cmocka_unit_test(test_graphs),  cmocka_unit_test(test_forbidden_in_capture),
        cmocka_unit_test(test_devices), cmocka_unit_test(test_sharing),
    };
    return cmocka_run_group_tests_name("emulated runtime", tests, nullptr, nullptr);
}
