/* One block of a random stream (rng.h), for whatever computes by block index: host code in C and C++ and device code.
 */
#ifndef FBT_BASE_RNG_BLOCK_H
#define FBT_BASE_RNG_BLOCK_H

#include <stdint.h>

#ifdef __CUDACC__
#define FBT_RNG_FUNCTION static __host__ __device__ __forceinline__
/* Random123 itself makes its functions __device__ alone, and in the device's pass only: the passes must agree. */
#define R123_CUDA_DEVICE __host__ __device__
#else
#define FBT_RNG_FUNCTION static inline
#endif
#include <Random123/philox.h>

typedef enum fbt_rng_purpose {
    FBT_RNG_PROJECTION = 1, /* entries of A                                          */
    FBT_RNG_SHOTS,          /* which samples of the data set are used                */
    FBT_RNG_PARTITION,      /* which client gets them                                */
    FBT_RNG_PARTICIPATION,  /* which clients take part in a round                    */
    FBT_RNG_SEARCH,         /* CMA-ES samples of a client                            */
    FBT_RNG_SERVER,         /* samples that all clients share (synchronous), in round 0 directions of a pool (kseed) */
    FBT_RNG_PERTURB,        /* replaced tokens                                       */
    FBT_RNG_SYNTHETIC,      /* random weights and inputs of benchmarks and tests     */
    FBT_RNG_CHECK,          /* which population the precision is checked by          */
    FBT_RNG_QUANTISE,       /* stochastic rounding of what clients send               */
    FBT_RNG_NOISE,          /* of differential privacy                                */
    FBT_RNG_MASK,           /* keys and masks of secure aggregation                   */
    FBT_RNG_FAULTS,         /* who drops out of a round, who reports first of equals */
    FBT_RNG_PACE,           /* how fast a client is                                  */
    FBT_RNG_PURPOSES_END,   /* no purpose: how far the list goes                     */
} fbt_rng_purpose;

/* So many values may a member of a stream have: its bits of the counter. A client's upper four lie above the purpose's,
 * which are 0 for the first 65,536 clients. */
enum {
    FBT_RNG_N_PURPOSES = 1 << 4,
    FBT_RNG_N_CLIENTS = 1 << 20,
    FBT_RNG_N_GENERATIONS = 1 << 16,
    FBT_RNG_N_CANDIDATES = 1 << 24
};

typedef struct fbt_rng_stream {
    uint64_t seed;
    fbt_rng_purpose purpose; /* < FBT_RNG_N_PURPOSES    */
    uint32_t round;          /* < 2^32                  */
    uint32_t client;         /* < FBT_RNG_N_CLIENTS     */
    uint32_t generation;     /* < FBT_RNG_N_GENERATIONS */
    uint32_t candidate;      /* < FBT_RNG_N_CANDIDATES; of streams of samples: the sample */
} fbt_rng_stream;

/* Words 4*block .. 4*block + 3 of a stream: what the GSL generator gives as its draws of those indices. */
FBT_RNG_FUNCTION void fbt_rng_block(const fbt_rng_stream *stream, uint32_t block, uint32_t words[4])
{
    const philox4x32_key_t key = {{(uint32_t)stream->seed, (uint32_t)(stream->seed >> 32)}};
    const uint32_t use = ((stream->client >> 16) << 28) | ((uint32_t)stream->purpose << 24);
    const philox4x32_ctr_t counter = {{block, use | (stream->candidate & 0xffffffU), stream->round,
                                       (stream->client << 16) | (stream->generation & 0xffffU)}};
    const philox4x32_ctr_t result = philox4x32(counter, key);
    for (int i = 0; i < 4; i++) {
        words[i] = result.v[i];
    }
}

/* 53 random bits in [0, 1) from two words, as the GSL generator gives them. */
FBT_RNG_FUNCTION double fbt_rng_uniform_of(const uint32_t words[2])
{
    const uint64_t high = words[0] >> 5, low = words[1] >> 6;
    return (double)(high * 67108864U + low) / 9007199254740992.0;
}

#endif
