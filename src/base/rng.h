/* Random numbers that depend on what they are for and on nothing else.
 *
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Random123) maps a 64-bit key and a
 * 128-bit counter to 128 random bits. The key is the run's seed; the counter is the purpose of the stream, its place in
 * the run (round, client, generation, candidate) and a block index. Any rank can therefore make any number of any
 * stream without the others, in any order. Two ways to use a stream: as a GSL generator, with all of GSL's
 * distributions, or by block index (for what a device makes in parallel): fbt_rng_block in rng_block.h.
 */
#ifndef FBT_BASE_RNG_H
#define FBT_BASE_RNG_H

#include "base/rng_block.h"
#include "base/status.h"

#include <gsl/gsl_rng.h>

/* A GSL generator over Philox; release it with gsl_rng_free. It must be placed with fbt_rng_seek before use.
 * Errors: FBT_ERR_MEMORY. */
fbt_status fbt_rng_new(gsl_rng **rng);

/* Places `rng` at the start of a stream. Streams that differ in any member are independent. */
void fbt_rng_seek(gsl_rng *rng, const fbt_rng_stream *stream);

#endif
