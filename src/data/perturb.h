/* The perturbed copy of a client's samples (Sun et al. 2023, section 3.3: against overfitting). */
#ifndef FBT_DATA_PERTURB_H
#define FBT_DATA_PERTURB_H

#include <stdint.h>

typedef struct fbt_perturbation {
    uint64_t seed;
    double rate;   /* r_p: probability that a token is replaced                      */
    int text_only; /* 1: frozen tokens stay (the paper); 0: any token may change (the official code) */
    int64_t vocab_size;
} fbt_perturbation;

/* out[t] = tokens[t] or, with probability rate, a uniformly random vocabulary token. Depends on (seed, round, client,
 * sample, t) alone: token t takes words 2t and 2t+1 of stream (FBT_RNG_PERTURB, round, client, candidate = sample), so
 * a device can make each by itself: replaced when word 2t < rate * 2^32, then by (word 2t+1 * vocab_size) >> 32.
 * tokens, frozen, out: [n_tokens]; out may be tokens; frozen may be NULL: none is. client < 2^16, sample < 2^24 (fields
 * of the stream); 0 <= rate <= 1; 1 <= vocab_size < 2^31. */
void fbt_perturb(const fbt_perturbation *perturbation, uint32_t round, uint32_t client, uint32_t sample,
                 const int32_t *tokens, const uint8_t *frozen, int64_t n_tokens, int32_t *out);

#endif
