/* Stand-ins of the CUDA runtime: streams, events, graphs.
 *
 * A stream is a queue that nothing empties until something waits: a synchronisation, a copy that waits, freeing memory.
 * Then streams advance one operation at a time in an order that the seed decides, as far as events let them, so what
 * two streams leave to chance differs from seed to seed, and what the host uses without having waited is not there. A
 * graph keeps the operations that were queued while its stream was captured, arguments included.
 */
#include "kernel.h"
#include "runtime.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <vector>

namespace emulated
{

namespace
{

struct Event_state {
    uint64_t n_recorded = 0, n_reached = 0; /* queued, passed */
    bool in_capture = false;                /* last recorded on a stream that was being captured */
    std::chrono::steady_clock::time_point time;
};

struct Operation {
    std::string name;
    std::function<cudaError_t()> run;
    std::shared_ptr<Event_state> waits_for; /* may run once waits_for->n_reached >= n_reached; NULL: at once */
    uint64_t n_reached = 0;
    uint64_t order = 0; /* when it was queued, over all streams */
};

typedef std::vector<Operation> Operations;

std::chrono::steady_clock::duration time_passed; /* that operations pretended to take */

struct Capture {
    Operations operations;
    enum cudaStreamCaptureMode mode;
    bool valid = true;
};

} // namespace

} // namespace emulated

struct CUstream_st {
    std::deque<emulated::Operation> queue;
    bool blocking = true; /* takes part in the legacy stream's ordering */
    std::unique_ptr<emulated::Capture> capture;
};

struct CUevent_st {
    std::shared_ptr<emulated::Event_state> state = std::make_shared<emulated::Event_state>();
    bool timed = true;
};

struct CUgraph_st {
    emulated::Operations operations;
};

struct CUgraphExec_st {
    std::shared_ptr<const emulated::Operations> operations;
};

namespace emulated
{

namespace
{

CUstream_st legacy_stream;
/* Inverted, as memory.cc does it: a stream that is never destroyed is a leak to LeakSanitizer. */
std::set<uintptr_t> streams;
uint64_t n_queued = 0;

uintptr_t key_of(const CUstream_st *stream)
{
    return ~reinterpret_cast<uintptr_t>(stream);
}

CUstream_st *stream_of(uintptr_t key)
{
    return reinterpret_cast<CUstream_st *>(~key);
}

/* NULL: no such stream. */
CUstream_st *find_stream(cudaStream_t stream)
{
    if (stream == nullptr || stream == cudaStreamLegacy) {
        return &legacy_stream;
    }
    return streams.count(key_of(stream)) > 0 ? stream : nullptr;
}

std::vector<CUstream_st *> all_streams()
{
    std::vector<CUstream_st *> all = {&legacy_stream};
    for (uintptr_t key : streams) {
        all.push_back(stream_of(key));
    }
    return all;
}

/* ---- capture ---- */

bool is_capturing()
{
    for (const CUstream_st *stream : all_streams()) {
        if (stream->capture != nullptr && stream->capture->mode != cudaStreamCaptureModeRelaxed) {
            return true;
        }
    }
    return false;
}

void invalidate_captures()
{
    for (CUstream_st *stream : all_streams()) {
        if (stream->capture != nullptr) {
            stream->capture->valid = false;
        }
    }
}

/* A call that may not be made on a stream, or at all, while capture goes on. */
cudaError_t refuse_capture(const char *call, cudaError_t error)
{
    report("%s is not permitted while a stream is captured; the capture is lost", call);
    invalidate_captures();
    return error;
}

/* ---- running ---- */

/* The legacy stream and blocking streams wait for what was queued before on the other side. */
bool legacy_order_allows(const CUstream_st *stream, uint64_t order)
{
    if (stream == &legacy_stream) {
        for (const CUstream_st *other : all_streams()) {
            if (other != stream && other->blocking && !other->queue.empty() && other->queue.front().order < order) {
                return false;
            }
        }
        return true;
    }
    return !stream->blocking || legacy_stream.queue.empty() || legacy_stream.queue.front().order > order;
}

bool is_runnable(const CUstream_st *stream)
{
    if (stream->queue.empty()) {
        return false;
    }
    const Operation &next = stream->queue.front();
    bool event_allows = next.waits_for == nullptr || next.waits_for->n_reached >= next.n_reached;
    return event_allows && legacy_order_allows(stream, next.order);
}

void drop_queues()
{
    for (CUstream_st *stream : all_streams()) {
        stream->queue.clear();
    }
}

/* Runs the first operation of a stream picked at random; false: nothing can run. */
bool advance()
{
    std::vector<CUstream_st *> runnable;
    for (CUstream_st *stream : all_streams()) {
        if (is_runnable(stream)) {
            runnable.push_back(stream);
        }
    }
    if (runnable.empty()) {
        return false;
    }
    CUstream_st *stream = runnable[random_below(static_cast<uint32_t>(runnable.size()))];
    Operation operation = std::move(stream->queue.front());
    stream->queue.pop_front();
    cudaError_t error = operation.run ? operation.run() : cudaSuccess;
    if (error != cudaSuccess) {
        set_sticky_error(error);
        drop_queues();
    }
    return true;
}

template <typename Done> cudaError_t run_until(Done done)
{
    if (sticky_error() != cudaSuccess || done()) {
        return note(sticky_error());
    }
    open_device_memory();
    while (sticky_error() == cudaSuccess && !done() && advance()) {
    }
    close_device_memory();
    return note(sticky_error());
}

void push(CUstream_st *stream, Operation operation)
{
    operation.order = n_queued++;
    stream->queue.push_back(std::move(operation));
}

Operation record_operation(std::shared_ptr<Event_state> state)
{
    Operation operation;
    uint64_t number = ++state->n_recorded;
    operation.name = "cudaEventRecord";
    operation.run = [state, number] {
        state->n_reached = number;
        state->time = std::chrono::steady_clock::now() + time_passed;
        return cudaSuccess;
    };
    return operation;
}

bool is_reached(const Event_state &state)
{
    return state.n_reached >= state.n_recorded;
}

} // namespace

void let_time_pass(double seconds)
{
    time_passed +=
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

cudaError_t enqueue(cudaStream_t handle, const std::string &name, std::function<cudaError_t()> run)
{
    CUstream_st *stream = find_stream(handle);
    if (stream == nullptr) {
        return note(cudaErrorInvalidResourceHandle);
    }
    if (sticky_error() != cudaSuccess) {
        return note(sticky_error());
    }
    Operation operation;
    operation.name = name;
    operation.run = std::move(run);
    if (stream->capture != nullptr) {
        if (!stream->capture->valid) {
            return note(cudaErrorStreamCaptureInvalidated);
        }
        stream->capture->operations.push_back(std::move(operation));
        return cudaSuccess;
    }
    if (stream == &legacy_stream && is_capturing()) {
        return note(refuse_capture((name + " on the legacy stream").c_str(), cudaErrorStreamCaptureImplicit));
    }
    push(stream, std::move(operation));
    return cudaSuccess;
}

cudaError_t check_outside_capture(const char *call)
{
    if (is_capturing()) {
        return refuse_capture(call, cudaErrorStreamCaptureUnsupported);
    }
    return sticky_error();
}

cudaError_t run_all()
{
    return run_until([] {
        std::vector<CUstream_st *> all = all_streams();
        return std::all_of(all.begin(), all.end(), [](const CUstream_st *stream) { return stream->queue.empty(); });
    });
}

cudaError_t run_stream(cudaStream_t handle)
{
    CUstream_st *stream = find_stream(handle);
    return run_until([stream] { return stream->queue.empty(); });
}

} // namespace emulated

using namespace emulated;

extern "C" {

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    if (sticky_error() != cudaSuccess) {
        return note(sticky_error());
    }
    *stream = new CUstream_st;
    (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
    streams.insert(key_of(*stream));
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    CUstream_st *stream = find_stream(handle);
    if (stream == nullptr || stream == &legacy_stream) {
        return note(cudaErrorInvalidResourceHandle);
    }
    if (stream->capture == nullptr) {
        run_stream(stream);
    }
    streams.erase(key_of(stream));
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (find_stream(stream) == nullptr) {
        return note(cudaErrorInvalidResourceHandle);
    }
    cudaError_t error = check_outside_capture("cudaStreamSynchronize");
    return note(error == cudaSuccess ? run_stream(stream) : error);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    CUstream_st *stream = find_stream(handle);
    cudaError_t error = stream == nullptr ? cudaErrorInvalidResourceHandle : check_outside_capture("cudaStreamQuery");
    if (error == cudaSuccess && !stream->queue.empty()) {
        size_t n_left = stream->queue.size() - 1; /* whoever asks again and again sees it end */
        error = run_until([=] { return stream->queue.size() <= n_left; });
        return error == cudaSuccess && !stream->queue.empty() ? cudaErrorNotReady : error;
    }
    return note(error);
}

cudaError_t cudaDeviceSynchronize(void)
{
    cudaError_t error = check_outside_capture("cudaDeviceSynchronize");
    return note(error == cudaSuccess ? run_all() : error);
}

cudaError_t cudaDeviceReset(void)
{
    drop_queues();
    set_sticky_error(cudaSuccess);
    cudaGetLastError();
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    *event = new CUevent_st;
    (*event)->timed = (flags & cudaEventDisableTiming) == 0;
    return note(sticky_error());
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
    CUstream_st *stream = find_stream(handle);
    if (stream == nullptr || sticky_error() != cudaSuccess) {
        return note(stream == nullptr ? cudaErrorInvalidResourceHandle : sticky_error());
    }
    event->state->in_capture = stream->capture != nullptr;
    if (stream->capture == nullptr) {
        push(stream, record_operation(event->state));
    }
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int)
{
    CUstream_st *stream = find_stream(handle);
    if (stream == nullptr || sticky_error() != cudaSuccess) {
        return note(stream == nullptr ? cudaErrorInvalidResourceHandle : sticky_error());
    }
    if ((stream->capture != nullptr) != event->state->in_capture) {
        return note(refuse_capture("cudaStreamWaitEvent between a captured stream and another",
                                   cudaErrorStreamCaptureIsolation));
    }
    if (stream->capture == nullptr) {
        Operation operation;
        operation.name = "cudaStreamWaitEvent";
        operation.waits_for = event->state;
        operation.n_reached = event->state->n_recorded;
        push(stream, std::move(operation));
    }
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    cudaError_t error = check_outside_capture("cudaEventSynchronize");
    return note(error == cudaSuccess ? run_until([=] { return is_reached(*event->state); }) : error);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    cudaError_t error = check_outside_capture("cudaEventQuery");
    if (error == cudaSuccess && !is_reached(*event->state)) {
        int n_asked = 0; /* one step */
        error = run_until([&] { return n_asked++ > 1; });
        return error == cudaSuccess && !is_reached(*event->state) ? cudaErrorNotReady : error;
    }
    return note(error);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    const Event_state &from = *start->state, &to = *end->state;
    if (!start->timed || !end->timed || from.n_recorded == 0 || to.n_recorded == 0) {
        return note(cudaErrorInvalidResourceHandle);
    }
    if (!is_reached(from) || !is_reached(to)) {
        return note(cudaErrorNotReady);
    }
    *ms = std::chrono::duration<float, std::milli>(to.time - from.time).count();
    return note(sticky_error());
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode)
{
    CUstream_st *stream = find_stream(handle);
    if (stream == nullptr || stream == &legacy_stream) {
        return note(stream == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorStreamCaptureUnsupported);
    }
    if (stream->capture != nullptr) {
        return note(cudaErrorIllegalState);
    }
    stream->capture = std::make_unique<Capture>();
    stream->capture->mode = mode;
    return note(sticky_error());
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
    CUstream_st *stream = find_stream(handle);
    *graph = nullptr;
    if (stream == nullptr || stream->capture == nullptr) {
        return note(stream == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorIllegalState);
    }
    std::unique_ptr<Capture> capture = std::move(stream->capture);
    if (!capture->valid) {
        return note(cudaErrorStreamCaptureInvalidated);
    }
    *graph = new CUgraph_st{std::move(capture->operations)};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, enum cudaStreamCaptureStatus *status)
{
    const CUstream_st *stream = find_stream(handle);
    if (stream == nullptr) {
        return note(cudaErrorInvalidResourceHandle);
    }
    *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
              : stream->capture->valid   ? cudaStreamCaptureStatusActive
                                         : cudaStreamCaptureStatusInvalidated;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    if (emulated::environment_number("FBT_EMULATION_NO_GRAPHS", 0) != 0) {
        return note(cudaErrorNotSupported);
    }
    *executable = new CUgraphExec_st{std::make_shared<const Operations>(graph->operations)};
    return note(sticky_error());
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return note(sticky_error());
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle)
{
    for (const Operation &operation : *executable->operations) {
        cudaError_t error = enqueue(handle, operation.name, operation.run);
        if (error != cudaSuccess) {
            return error;
        }
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

} /* extern "C" */
