/* Random replacement of tokens: sequences over threads. */
#include "kernels/cpu/cpu.h"

#include "base/rng.h"

/* An integer threshold: a rate of 1 replaces always, 0 never, and every device decides alike. */
static uint64_t threshold_of(const fbt_perturbation *perturbation)
{
    return (uint64_t)(perturbation->rate * 4294967296.0);
}

/* tokens, frozen: from token t of the sequence on. A block of four words serves two tokens. A
 * frozen token's words go unused: the others must not depend on it. */
static void perturb_sequence(const fbt_perturbation *perturbation, const fbt_origin *origin, int32_t *tokens,
                             const uint8_t *frozen, int64_t t, int64_t n_tokens)
{
    const fbt_rng_stream stream = {.seed = perturbation->seed,
                                   .purpose = FBT_RNG_PERTURB,
                                   .round = (uint32_t)origin->round,
                                   .client = (uint32_t)origin->client,
                                   .candidate = (uint32_t)origin->sample};
    const uint64_t threshold = threshold_of(perturbation), vocab_size = (uint64_t)perturbation->vocab_size;
    uint32_t words[4];
    for (int64_t i = 0; i < n_tokens; i++, t++) {
        if (i == 0 || t % 2 == 0) {
            fbt_rng_block(&stream, (uint32_t)(t / 2), words);
        }
        const uint32_t *pair = words + 2 * (t % 2);
        const int keep = perturbation->text_only && frozen != NULL && frozen[i];
        if (!keep && pair[0] < threshold) {
            tokens[i] = (int32_t)(((uint64_t)pair[1] * vocab_size) >> 32);
        }
    }
}

static fbt_status check_origins(const fbt_origin *origins, const fbt_packed *packed)
{
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        const fbt_origin *o = &origins[s];
        const int32_t length = packed->host_offsets[s + 1] - packed->host_offsets[s];
        if (o->client >= 0 && (o->client >= FBT_RNG_N_CLIENTS || o->sample < 0 || o->sample >= FBT_RNG_N_CANDIDATES ||
                               o->n_placeholders > length)) {
            return fbt_fail(FBT_ERR_ARG, "perturb: sequence %lld of %d rows is sample %d of client %d behind %d rows",
                            (long long)s, length, o->sample, o->client, o->n_placeholders);
        }
    }
    return FBT_OK;
}

fbt_status fbt_cpu_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                           const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    const fbt_cpu *cpu = fbt_cpu_of(b);
    FBT_TRY(check_origins(origins->data, packed));
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        const fbt_origin *origin = (const fbt_origin *)origins->data + s;
        const int64_t n_skipped = origin->n_placeholders > 0 ? origin->n_placeholders : 0;
        const int64_t first = packed->host_offsets[s] + n_skipped;
        if (origin->client >= 0) {
            perturb_sequence(perturbation, origin, (int32_t *)tokens->data + first,
                             frozen != NULL ? (const uint8_t *)frozen->data + first : NULL,
                             n_skipped - origin->n_placeholders, packed->host_offsets[s + 1] - first);
        }
    }
done:
    return status;
}
