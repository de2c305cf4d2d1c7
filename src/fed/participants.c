#include "fed/participants.h"

#include "base/rng_block.h"

/* Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S), as gsl_ran_choose does it, with the same numbers: one for
 * each client, taken by its place, so that blocks do not wait for each other. */
void fbt_participants_draw(const fbt_settings *settings, uint32_t round, int64_t *participants)
{
    const int64_t n_clients = settings->fed.clients, n = fbt_settings_participants(settings);
    const fbt_rng_stream stream = {
        .seed = (uint64_t)settings->run.seed, .purpose = FBT_RNG_PARTICIPATION, .round = round};
    int64_t n_chosen = 0;
    uint32_t words[4];
    if (settings->fed.only_client >= 0) {
        participants[0] = settings->fed.only_client;
        return;
    }
    for (int64_t k = 0; n_chosen < n; k++) {
        if (k % 2 == 0) { /* a block holds two */
            fbt_rng_block(&stream, (uint32_t)(k / 2), words);
        }
        if ((double)(n_clients - k) * fbt_rng_uniform_of(words + 2 * (k % 2)) < (double)(n - n_chosen)) {
            participants[n_chosen++] = k;
        }
    }
}
