#include "fed/secure_sum.h"

#include <math.h>

/* Draws of a key's stream: no exchange has this number. */
enum { KEY_EXCHANGE = FBT_RNG_N_GENERATIONS - 1 };

static uint64_t below_prime(const uint32_t words[2])
{
    return (((uint64_t)words[0] << 32 | words[1]) >> 3) % FBT_SECURE_PRIME;
}

uint64_t fbt_secure_key(uint64_t seed, uint32_t round, uint32_t client)
{
    uint32_t words[4];
    fbt_rng_block(
        &(fbt_rng_stream){
            .seed = seed, .purpose = FBT_RNG_MASK, .round = round, .client = client, .generation = KEY_EXCHANGE},
        0, words);
    return below_prime(words);
}

void fbt_secure_mask(const fbt_secure_vector *vector, const fbt_secure_party *client, const fbt_secure_party *other,
                     uint32_t *words)
{
    const bool adds = client->client < other->client;
    const fbt_rng_stream stream = {.seed = client->key ^ other->key,
                                   .purpose = FBT_RNG_MASK,
                                   .round = vector->round,
                                   .client = adds ? client->client : other->client,
                                   .generation = vector->exchange,
                                   .candidate = adds ? other->client : client->client};
    for (int64_t i = 0; i < vector->count; i += 4) {
        uint32_t mask[4];
        fbt_rng_block(&stream, vector->index << 24 | (uint32_t)(i / 4), mask);
        for (int64_t k = i; k < i + 4 && k < vector->count; k++) {
            words[k] += adds ? mask[k - i] : 0U - mask[k - i];
        }
    }
}

/* ---- Shamir's shares ---- */

__extension__ typedef unsigned __int128 wide;

static uint64_t multiply(uint64_t a, uint64_t b)
{
    return (uint64_t)((wide)a * b % FBT_SECURE_PRIME);
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return (a + b) % FBT_SECURE_PRIME;
}

static uint64_t subtract(uint64_t a, uint64_t b)
{
    return (a + FBT_SECURE_PRIME - b) % FBT_SECURE_PRIME;
}

/* a^(p - 2), by Fermat. */
static uint64_t invert(uint64_t a)
{
    uint64_t result = 1;
    for (uint64_t e = FBT_SECURE_PRIME - 2; e > 0; e >>= 1) {
        result = e & 1 ? multiply(result, a) : result;
        a = multiply(a, a);
    }
    return result;
}

/* The polynomial at x, by Horner, its highest coefficient first. */
static uint64_t polynomial(uint64_t secret, int threshold, const fbt_rng_stream *stream, uint64_t x)
{
    uint64_t value = 0;
    for (int i = threshold - 1; i > 0; i--) {
        uint32_t words[4];
        fbt_rng_block(stream, (uint32_t)i, words);
        value = add(multiply(value, x), below_prime(words));
    }
    return add(multiply(value, x), secret);
}

fbt_status fbt_secure_share(uint64_t secret, int threshold, int n, const fbt_rng_stream *stream, uint64_t *shares)
{
    if (threshold < 1 || threshold > n || secret >= FBT_SECURE_PRIME) {
        return fbt_fail(FBT_ERR_ARG, "%d of %d shares cannot stand for this secret", threshold, n);
    }
    for (int i = 0; i < n; i++) {
        shares[i] = polynomial(secret, threshold, stream, (uint64_t)i + 1);
    }
    return FBT_OK;
}

/* Lagrange's polynomial at 0. */
uint64_t fbt_secure_recover(int threshold, const uint64_t *x, const uint64_t *shares)
{
    uint64_t secret = 0;
    for (int i = 0; i < threshold; i++) {
        uint64_t above = 1, below = 1;
        for (int k = 0; k < threshold; k++) {
            if (k != i) {
                above = multiply(above, x[k]);
                below = multiply(below, subtract(x[k], x[i]));
            }
        }
        secret = add(secret, multiply(shares[i], multiply(above, invert(below))));
    }
    return secret;
}

double fbt_secure_scale(double range, int64_t n)
{
    const double room = 0x1p31 - 1 - (double)n; /* each is rounded by half at most */
    return exp2(floor(log2(room / (range * (double)n))));
}
