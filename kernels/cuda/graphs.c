/* CUDA graphs.
 *
 * The first time a key comes its operations run as they are queued: that is when libraries load their kernels and
 * products choose their algorithms, which cannot be done while a stream is recorded, and a key that never returns costs
 * no graph. The second time they are recorded into a graph, which runs then and from there on.
 */
#include "kernels/cuda/cuda.h"

#include "base/log.h"

#include <string.h>

static fbt_cuda_graph *find_graph(fbt_cuda_stream *stream, const fbt_cuda_graph *wanted)
{
    for (int i = 0; i < stream->n_graphs; i++) {
        fbt_cuda_graph *graph = &stream->graphs[i];
        if (graph->n_key == wanted->n_key && memcmp(graph->key, wanted->key, (size_t)wanted->n_key) == 0) {
            graph->last_use = ++stream->n_uses;
            return graph;
        }
    }
    return NULL;
}

static void destroy_graph(fbt_cuda_graph *graph)
{
    if (graph->exec != NULL) {
        cudaGraphExecDestroy(graph->exec); /* what of it still runs is let finish */
        graph->exec = NULL;
    }
}

/* Takes the place of the least recently used where all are taken. */
static fbt_cuda_graph *add_graph(fbt_cuda_stream *stream, const fbt_cuda_graph *graph)
{
    fbt_cuda_graph *place = &stream->graphs[0];
    if (stream->n_graphs < FBT_CUDA_MAX_GRAPHS) {
        place = &stream->graphs[stream->n_graphs++];
    } else {
        for (int i = 1; i < stream->n_graphs; i++) {
            place = stream->graphs[i].last_use < place->last_use ? &stream->graphs[i] : place;
        }
        destroy_graph(place);
    }
    *place = *graph;
    place->last_use = ++stream->n_uses;
    return place;
}

void fbt_cuda_forget_graphs(fbt_cuda *cuda)
{
    for (int i = 0; i < FBT_CUDA_N_STREAMS; i++) {
        for (int k = 0; k < cuda->streams[i].n_graphs; k++) {
            destroy_graph(&cuda->streams[i].graphs[k]);
        }
        cuda->streams[i].n_graphs = 0;
    }
}

fbt_status fbt_cuda_graph_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_stream *stream = cuda->stream;
    const fbt_cuda_graph *known;
    *is_known = 0;
    cuda->graph = (fbt_cuda_graph){.n_key = n_bytes};
    memcpy(cuda->graph.key, key, (size_t)n_bytes);
    known = find_graph(stream, &cuda->graph);
    if (cuda->has_no_graphs) {
        cuda->graph_state = FBT_CUDA_GRAPH_SEEN;
    } else if (known != NULL && known->exec != NULL) {
        FBT_TRY(fbt_cuda_status(cudaGraphLaunch(known->exec, stream->handle), "run a recorded graph"));
        *is_known = 1;
    } else if (known != NULL) {
        FBT_TRY(fbt_cuda_status(cudaStreamBeginCapture(stream->handle, cudaStreamCaptureModeThreadLocal),
                                "record a graph"));
        cuda->graph_state = FBT_CUDA_GRAPH_RECORDED;
    } else {
        cuda->graph_state = FBT_CUDA_GRAPH_SEEN;
    }
done:
    return status;
}

/* Gives graphs up: they save time alone, and a device that is short of memory need not take them. */
static void go_without_graphs(fbt_cuda *cuda, cudaError_t code)
{
    cudaGetLastError();
    cuda->has_no_graphs = 1;
    fbt_log_info("cuda", "note: %s did not take a recorded graph (%s): going on without graphs, somewhat slower",
                 cuda->name, cudaGetErrorString(code));
}

/* Makes the recorded operations ready to run; always ends the recording. *graph NULL: the device does not take them. */
static fbt_status end_recording(fbt_cuda *cuda, fbt_status status, cudaGraphExec_t *graph)
{
    cudaGraph_t recorded = NULL;
    cudaError_t code = cudaStreamEndCapture(cuda->stream->handle, &recorded);
    *graph = NULL;
    if (status == FBT_OK) {
        status = fbt_cuda_status(code, "record a graph");
    }
    if (status == FBT_OK) {
        code = cudaGraphInstantiate(graph, recorded, 0);
        if (code != cudaSuccess) {
            *graph = NULL;
            go_without_graphs(cuda, code);
        }
    }
    if (recorded != NULL) {
        cudaGraphDestroy(recorded);
    }
    if (status != FBT_OK) {
        cudaGetLastError();
    }
    return status;
}

fbt_status fbt_cuda_graph_end(fbt_backend *b, fbt_status status, int *is_queued)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_stream *stream = cuda->stream;
    const fbt_cuda_graph_state state = cuda->graph_state;
    fbt_cuda_graph *known;
    cuda->graph_state = FBT_CUDA_NO_GRAPH;
    if (state == FBT_CUDA_GRAPH_SEEN) {
        if (status == FBT_OK && !cuda->has_no_graphs) {
            add_graph(stream, &cuda->graph);
        }
        return status;
    }
    FBT_TRY(end_recording(cuda, status, &cuda->graph.exec));
    if (cuda->graph.exec == NULL) {
        *is_queued = 0;
        return FBT_OK;
    }
    known = find_graph(stream, &cuda->graph);
    if (known == NULL) { /* a buffer was freed meanwhile */
        known = add_graph(stream, &cuda->graph);
    }
    known->exec = cuda->graph.exec;
    FBT_TRY(fbt_cuda_status(cudaGraphLaunch(known->exec, stream->handle), "run a recorded graph"));
done:
    return status;
}
