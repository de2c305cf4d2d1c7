#include "perturb.h"

#include "rng.h"

#include <string.h>

void fbt_perturb(const fbt_perturbation *perturbation, uint32_t round, uint32_t client, uint32_t sample,
                 const int32_t *tokens, const uint8_t *frozen, int64_t n_tokens, int32_t *out)
{
    const fbt_rng_stream stream = {
        .seed = perturbation->seed, .purpose = FBT_RNG_PERTURB, .round = round, .client = client, .candidate = sample};
    /* An integer threshold: a rate of 1 replaces always, 0 never, and every processor decides alike. */
    const uint64_t threshold = (uint64_t)(perturbation->rate * 4294967296.0);
    const uint64_t vocab_size = (uint64_t)perturbation->vocab_size;
    if (n_tokens > 0 && out != tokens) {
        memcpy(out, tokens, (size_t)n_tokens * sizeof *out);
    }
    if (threshold == 0) {
        return;
    }
    /* A block of four words serves two tokens. A frozen token's words go unused: the others must not depend on it. */
    for (int64_t t = 0; t < n_tokens; t += 2) {
        uint32_t words[4];
        fbt_rng_block(&stream, (uint32_t)(t / 2), words);
        for (int64_t i = t; i < t + 2 && i < n_tokens; i++) {
            const uint32_t *pair = words + 2 * (i - t);
            int keep = perturbation->text_only && frozen != NULL && frozen[i];
            if (!keep && pair[0] < threshold) {
                out[i] = (int32_t)(((uint64_t)pair[1] * vocab_size) >> 32);
            }
        }
    }
}
