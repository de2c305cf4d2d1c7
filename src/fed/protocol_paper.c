/* The protocol as the paper states it (Sun et al. 2023, section 3.2): the best half of the clients are parents. */
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <math.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options)
{
    fbt_local_search_options(settings, options);
    options->population = n_participants;
    options->n_parents = 0;
    options->cma.mirrored = false;
}

/* Rank of client k by fitness; ties go by index, as in the optimiser. */
static int64_t rank_of(const double *fitness, int64_t n, int64_t k)
{
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++) {
        rank += fitness[i] < fitness[k] || (i < k && fitness[i] == fitness[k]);
    }
    return rank;
}

/* sigma' = 2 sqrt(sum_{k in S} sum_j sigma_kj^2 / (|S| lambda)), S the best half; tell; everyone goes on with the
 * server's new step size. */
static fbt_status aggregate(fbt_round *round)
{
    const fbt_messages *up = round->up;
    fbt_server *server = round->server;
    const int64_t n_generations = round->settings->fed.local_generations;
    const int64_t population_local = round->settings->cma.population;
    fbt_status status = FBT_OK;
    const double *step_sizes = fbt_messages_field(up, "step_size"), *fitness = fbt_messages_field(up, "fitness");
    const int64_t n_parents = up->n / 2;
    double sum = 0;
    for (int64_t k = 0; k < up->n; k++) {
        const int64_t n_summed = rank_of(fitness, up->n, k) < n_parents ? n_generations : 0;
        for (int64_t j = 0; j < n_summed; j++) {
            const double step_size = step_sizes[k * n_generations + j];
            sum += step_size * step_size;
        }
    }
    FBT_TRY(fbt_optimiser_set_step_size(server->optimiser, 2 * sqrt(sum / (double)(n_parents * population_local))));
    FBT_TRY(fbt_optimiser_tell_foreign(server->optimiser, up->n, fbt_messages_field(up, "mean"), fitness));
    server->step_size_local = fbt_optimiser_step_size(server->optimiser);
done:
    return status;
}

const fbt_protocol fbt_protocol_paper = {
    .clients = &fbt_local_search,
    .check_settings = fbt_local_search_check_ranking,
    .least_reports = 2,
    .server_options = server_options,
    .up = fbt_local_search_up_ranked,
    .aggregate = aggregate,
};
