#include "fed/participants.h"

#include "base/rng.h"

#include <gsl/gsl_randist.h>

void fbt_participants_draw(const fbt_settings *settings, uint32_t round, gsl_rng *rng, int64_t *all,
                           int64_t *participants)
{
    fbt_rng_seek(
        rng, &(fbt_rng_stream){.seed = (uint64_t)settings->run.seed, .purpose = FBT_RNG_PARTICIPATION, .round = round});
    gsl_ran_choose(rng, participants, (size_t)fbt_settings_participants(settings), all, (size_t)settings->fed.clients,
                   sizeof *participants);
}
