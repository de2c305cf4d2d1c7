/* The server as the paper states it (Sun et al. 2023, section 3.2): the best half of the clients are parents. */
#include "fed/local_search.h"
#include "fed/protocol.h"
#include "fed/ranking.h"

#include <math.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options)
{
    fbt_local_search_options(settings, options);
    options->population = n_participants;
    options->n_parents = 0;
    options->cma.mirrored = false;
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
    const double *step_sizes = fbt_messages_field(up, "step_size"), *ranked_by = fbt_local_search_ranked_by(up);
    const int64_t n_parents = up->n / 2;
    double sum = 0;
    for (int64_t k = 0; k < up->n; k++) {
        const int64_t n_summed = fbt_ranking_place(ranked_by, up->n, k) < n_parents ? n_generations : 0;
        for (int64_t j = 0; j < n_summed; j++) {
            const double step_size = step_sizes[k * n_generations + j];
            sum += step_size * step_size;
        }
    }
    FBT_TRY(fbt_optimiser_set_step_size(server->optimiser, 2 * sqrt(sum / (double)(n_parents * population_local))));
    FBT_TRY(fbt_optimiser_tell_foreign(server->optimiser, up->n, fbt_messages_field(up, "mean"), ranked_by));
    server->step_size_local = fbt_optimiser_step_size(server->optimiser);
done:
    return status;
}

static const fbt_aggregation_rule of_solutions = {
    .ranks = true,
    .server_options = server_options,
    .up = fbt_local_search_up_ranked,
    .aggregate = aggregate,
};

const fbt_aggregation fbt_aggregation_best_half = {.rules = {[FBT_REPORT_SOLUTION] = &of_solutions}};
