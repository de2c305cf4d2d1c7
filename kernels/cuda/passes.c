/* Passes as CUDA graphs.
 *
 * The first time a key comes its operations run as they are queued: that is when libraries load their kernels and
 * products choose their algorithms, which cannot be done while a stream is recorded, and a key that never returns costs
 * no graph. The second time they are recorded into a graph, which runs then and from there on.
 */
#include "kernels/cuda/cuda.h"

#include <string.h>

static fbt_cuda_pass *find_pass(fbt_cuda_lane *lane, const fbt_cuda_pass *wanted)
{
    for (int i = 0; i < lane->n_passes; i++) {
        fbt_cuda_pass *pass = &lane->passes[i];
        if (pass->n_key == wanted->n_key && memcmp(pass->key, wanted->key, (size_t)wanted->n_key) == 0) {
            pass->last_use = ++lane->n_uses;
            return pass;
        }
    }
    return NULL;
}

static void destroy_graph(fbt_cuda_pass *pass)
{
    if (pass->graph != NULL) {
        cudaGraphExecDestroy(pass->graph); /* what of it still runs is let finish */
        pass->graph = NULL;
    }
}

/* Takes the place of the least recently used where all are taken. */
static fbt_cuda_pass *add_pass(fbt_cuda_lane *lane, const fbt_cuda_pass *pass)
{
    fbt_cuda_pass *place = &lane->passes[0];
    if (lane->n_passes < FBT_CUDA_MAX_PASSES) {
        place = &lane->passes[lane->n_passes++];
    } else {
        for (int i = 1; i < lane->n_passes; i++) {
            place = lane->passes[i].last_use < place->last_use ? &lane->passes[i] : place;
        }
        destroy_graph(place);
    }
    *place = *pass;
    place->last_use = ++lane->n_uses;
    return place;
}

void fbt_cuda_forget_passes(fbt_cuda *cuda)
{
    for (int i = 0; i < FBT_CUDA_N_LANES; i++) {
        for (int k = 0; k < cuda->lanes[i].n_passes; k++) {
            destroy_graph(&cuda->lanes[i].passes[k]);
        }
        cuda->lanes[i].n_passes = 0;
    }
}

fbt_status fbt_cuda_pass_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_lane *lane = cuda->lane;
    const fbt_cuda_pass *known;
    *is_known = 0;
    cuda->pass = (fbt_cuda_pass){.n_key = n_bytes};
    memcpy(cuda->pass.key, key, (size_t)n_bytes);
    known = find_pass(lane, &cuda->pass);
    if (known != NULL && known->graph != NULL) {
        FBT_TRY(fbt_cuda_status(cudaGraphLaunch(known->graph, lane->stream), "run a recorded pass"));
        *is_known = 1;
    } else if (known != NULL) {
        FBT_TRY(
            fbt_cuda_status(cudaStreamBeginCapture(lane->stream, cudaStreamCaptureModeThreadLocal), "record a pass"));
        cuda->pass_state = FBT_CUDA_PASS_RECORDED;
    } else {
        cuda->pass_state = FBT_CUDA_PASS_SEEN;
    }
done:
    return status;
}

/* What was recorded, made ready to run; always ends the recording. */
static fbt_status end_recording(fbt_cuda_lane *lane, fbt_status status, cudaGraphExec_t *graph)
{
    cudaGraph_t recorded = NULL;
    const cudaError_t code = cudaStreamEndCapture(lane->stream, &recorded);
    *graph = NULL;
    if (status == FBT_OK) {
        status = fbt_cuda_status(code, "record a pass");
    }
    if (status == FBT_OK) {
        status = fbt_cuda_status(cudaGraphInstantiate(graph, recorded, 0), "prepare a recorded pass");
    }
    if (recorded != NULL) {
        cudaGraphDestroy(recorded);
    }
    if (status != FBT_OK) {
        cudaGetLastError();
    }
    return status;
}

fbt_status fbt_cuda_pass_end(fbt_backend *b, fbt_status status)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_lane *lane = cuda->lane;
    const fbt_cuda_pass_state state = cuda->pass_state;
    fbt_cuda_pass *known;
    cuda->pass_state = FBT_CUDA_NO_PASS;
    if (state == FBT_CUDA_PASS_SEEN) {
        if (status == FBT_OK) {
            add_pass(lane, &cuda->pass);
        }
        return status;
    }
    FBT_TRY(end_recording(lane, status, &cuda->pass.graph));
    known = find_pass(lane, &cuda->pass);
    if (known == NULL) { /* a buffer was freed meanwhile */
        known = add_pass(lane, &cuda->pass);
    }
    known->graph = cuda->pass.graph;
    FBT_TRY(fbt_cuda_status(cudaGraphLaunch(known->graph, lane->stream), "run a recorded pass"));
done:
    return status;
}
