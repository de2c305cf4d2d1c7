/* Random replacement of tokens, by place. */
#include "kernels/cuda/rows.cuh"
#include "base/rng_block.h"

enum { PERTURB_BLOCK = 128 };

typedef struct perturb_args {
    int32_t *tokens;
    const fbt_origin *origins;
    const uint8_t *frozen; /* NULL: none is */
    const int32_t *offsets;
    int64_t n_sequences;
    uint64_t seed, threshold, vocab_size;
} perturb_args;

/* A warp per sequence, a thread per pair of tokens: a block of four words serves two. A frozen token's words go unused:
 * the others must not depend on it. */
static __global__ void __launch_bounds__(PERTURB_BLOCK) perturb_kernel(const perturb_args a)
{
    const int64_t s = static_cast<int64_t>(blockIdx.x) * (PERTURB_BLOCK / FBT_WARP) + threadIdx.x / FBT_WARP;
    if (s >= a.n_sequences || a.origins[s].client < 0) {
        return;
    }
    const fbt_origin origin = a.origins[s];
    const int64_t first = a.offsets[s] + origin.n_placeholders, n_tokens = a.offsets[s + 1] - first;
    const int64_t n_before = origin.n_placeholders < 0 ? -origin.n_placeholders : 0; /* tokens of others */
    const fbt_rng_stream stream = {a.seed,
                                   FBT_RNG_PERTURB,
                                   static_cast<uint32_t>(origin.round),
                                   static_cast<uint32_t>(origin.client),
                                   0,
                                   static_cast<uint32_t>(origin.sample)};
    for (int64_t pair = n_before / 2 + threadIdx.x % FBT_WARP; 2 * pair < n_tokens; pair += FBT_WARP) {
        uint32_t words[4];
        fbt_rng_block(&stream, static_cast<uint32_t>(pair), words);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int64_t token = 2 * pair + i, row = first + token;
            const bool is_own = token >= n_before && token < n_tokens;
            if (is_own && words[2 * i] < a.threshold && (a.frozen == nullptr || !a.frozen[row])) {
                a.tokens[row] = static_cast<int32_t>((words[2 * i + 1] * a.vocab_size) >> 32);
            }
        }
    }
}

cudaError_t fbt_cuda_launch_perturb(cudaStream_t stream, int32_t *tokens, const fbt_perturbation *perturbation,
                                    const fbt_origin *origins, const uint8_t *frozen, const fbt_cuda_packed *packed)
{
    /* An integer threshold: a rate of 1 replaces always, 0 never, and every device decides alike. */
    const perturb_args args = {tokens,
                               origins,
                               perturbation->text_only ? frozen : nullptr,
                               packed->offsets,
                               packed->n_sequences,
                               perturbation->seed,
                               static_cast<uint64_t>(perturbation->rate * 4294967296.0),
                               static_cast<uint64_t>(perturbation->vocab_size)};
    if (packed->n_sequences == 0 || args.threshold == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH(perturb_kernel, fbt_n_blocks(packed->n_sequences, PERTURB_BLOCK / FBT_WARP), PERTURB_BLOCK, 0,
                      stream, args);
}
