/* Random numbers that depend on what they are for and on nothing else.
 *
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Random123) maps a 64-bit key and a
 * 128-bit counter to 128 random bits. The key is the run's seed; the counter is the purpose of the stream, its place in
 * the run (round, client, generation, candidate) and a block index. Any rank can therefore make any number of any stream
 * without the others, in any order. Two ways to use a stream: as a GSL generator, with all of GSL's distributions, or
 * by block index (for what a device makes in parallel).
 */
#ifndef FBT_BASE_RNG_H
#define FBT_BASE_RNG_H

#include "status.h"

#include <gsl/gsl_rng.h>
#include <stdint.h>

typedef enum fbt_rng_purpose {
    FBT_RNG_PROJECTION = 1, /* entries of A                                          */
    FBT_RNG_SHOTS,          /* which samples of the data set are used                */
    FBT_RNG_PARTITION,      /* which client gets them                                */
    FBT_RNG_PARTICIPATION,  /* which clients take part in a round                    */
    FBT_RNG_SEARCH,         /* CMA-ES samples of a client                            */
    FBT_RNG_SERVER,         /* CMA-ES samples that all clients share (synchronous)   */
    FBT_RNG_PERTURB,        /* replaced tokens                                       */
    FBT_RNG_SYNTHETIC,      /* random weights and inputs of benchmarks and tests     */
} fbt_rng_purpose;

typedef struct fbt_rng_stream {
    uint64_t seed;
    fbt_rng_purpose purpose; /* < 256   */
    uint32_t round;          /* < 2^32  */
    uint32_t client;         /* < 65536 */
    uint32_t generation;     /* < 65536 */
    uint32_t candidate;      /* < 2^24  */
} fbt_rng_stream;

/* A GSL generator over Philox; release it with gsl_rng_free. It must be placed with fbt_rng_seek before use.
 * Errors: FBT_ERR_MEMORY. */
fbt_status fbt_rng_new(gsl_rng **rng);

/* Places `rng` at the start of a stream. Streams that differ in any member are independent. */
void fbt_rng_seek(gsl_rng *rng, const fbt_rng_stream *stream);

/* Words 4*block .. 4*block + 3 of a stream: what the GSL generator gives as its draws of those indices. */
void fbt_rng_block(const fbt_rng_stream *stream, uint32_t block, uint32_t words[4]);

#endif
