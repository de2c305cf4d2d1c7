/* Secure aggregation (Bonawitz et al. 2017, ACM CCS, "Practical Secure Aggregation for Privacy-Preserving Machine
 * Learning"): a server that learns the sum of its clients' vectors, and nothing else of them.
 *
 * Every two clients of a round agree on a mask, a stream of integers modulo 2^32; of each pair the one with the lower
 * id adds it to what it sends, and the other takes it off. In the sum all masks cancel, exactly. Of a client that drops
 * out after the agreement the server rebuilds the key, from shares of any `threshold` others (Shamir 1979), and takes
 * its masks off itself.
 *
 * Keys are drawn from the run's seed, and two keys are a pair's seed: a simulation in the place of the key agreement
 * (Diffie-Hellman) and of the encrypted exchange of shares, both of which would be done over the network before the
 * round. The second mask of a client by itself, which protects a message that comes too late, is left out with them. */
#ifndef FBT_FED_SECURE_SUM_H
#define FBT_FED_SECURE_SUM_H

#include "base/rng_block.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Keys are below this prime, 2^61 - 1, in whose field they are shared. */
#define FBT_SECURE_PRIME ((UINT64_C(1) << 61) - 1)

/* The key of a client in a round, by the run's seed. */
uint64_t fbt_secure_key(uint64_t seed, uint32_t round, uint32_t client);

typedef struct fbt_secure_party {
    uint32_t client;
    uint64_t key;
} fbt_secure_party;

/* Facts of a vector that the masks of all its senders depend on. */
typedef struct fbt_secure_vector {
    uint32_t round, exchange;
    uint32_t index; /* among the vectors of an exchange, below 16 */
    int64_t count;  /* below 2^26 */
} fbt_secure_vector;

/* words: [count]: adds a client's mask with another, or takes it off, as the ids say. Called for (a, b) and (b, a) it
 * changes nothing. */
void fbt_secure_mask(const fbt_secure_vector *vector, const fbt_secure_party *client, const fbt_secure_party *other,
                     uint32_t *words);

/* shares: [n]: values at x = 1 .. n of a random polynomial of degree threshold - 1 whose value at 0 is the secret. Any
 * threshold of them tell it, fewer nothing. Errors: FBT_ERR_ARG (not 1 <= threshold <= n, secret not below the prime).
 */
fbt_status fbt_secure_share(uint64_t secret, int threshold, int n, const fbt_rng_stream *stream, uint64_t *shares);

/* The secret of `threshold` shares: [threshold] at distinct x: [threshold], each above 0. */
uint64_t fbt_secure_recover(int threshold, const uint64_t *x, const uint64_t *shares);

/* Integers of 32 bits in which n numbers of at most `range` add up: the numbers times this power of two, rounded. */
double fbt_secure_scale(double range, int64_t n);

#endif
