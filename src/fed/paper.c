/* The protocol as the paper states it (Sun et al. 2023, section 3.2): the best half of the clients are parents. */
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <math.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_cma_options *options)
{
    fbt_local_search_options(settings, options);
    options->population = n_participants;
    options->n_parents = 0;
    options->mirrored = false;
}

/* Rank of client k by fitness; ties go by index, as in the optimiser. */
static int64_t rank_of(const fbt_uploads *uploads, int64_t k)
{
    int64_t rank = 0;
    for (int64_t i = 0; i < uploads->n_participants; i++) {
        bool better = uploads->fitness[i] < uploads->fitness[k];
        rank += better || (uploads->fitness[i] == uploads->fitness[k] && i < k);
    }
    return rank;
}

/* sigma' = 2 sqrt(sum_{k in S} sum_j sigma_kj^2 / (|S| lambda)), S the best half; tell; everyone goes on with the
 * server's new step size. */
fbt_status fbt_paper_aggregate(fbt_server *server, const fbt_uploads *uploads, int64_t population_local)
{
    fbt_status status = FBT_OK;
    int64_t n_parents = uploads->n_participants / 2;
    double sum = 0;
    for (int64_t k = 0; k < uploads->n_participants; k++) {
        int64_t n_summed = rank_of(uploads, k) < n_parents ? uploads->n_generations : 0;
        for (int64_t j = 0; j < n_summed; j++) {
            double step_size = uploads->step_size[k * uploads->n_generations + j];
            sum += step_size * step_size;
        }
    }
    FBT_TRY(fbt_cma_set_step_size(server->cma, 2 * sqrt(sum / (double)(n_parents * population_local))));
    FBT_TRY(fbt_cma_tell_foreign(server->cma, uploads->n_participants, uploads->mean, uploads->fitness, NULL));
    server->step_size_local = fbt_cma_step_size(server->cma);
done:
    return status;
}

static fbt_status paper_round(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads)
{
    fbt_status status = fbt_local_search(context, server, uploads, NULL);
    return status == FBT_OK ? fbt_paper_aggregate(server, uploads, context->settings->cma.population) : status;
}

const fbt_protocol fbt_protocol_paper = {
    .name = "paper",
    .server_options = server_options,
    .round = paper_round,
    .floats_up = fbt_local_search_floats_up,
    .floats_down = fbt_local_search_floats_down,
};
