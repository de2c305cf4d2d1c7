/* The official code's server (NVIDIA NVFlare, research/fed-bpt): all clients are parents, and the server's step size is
 * what the client means "were sampled with". */
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <math.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options)
{
    fbt_local_search_options(settings, options);
    options->population = n_participants;
    options->n_parents = n_participants;
    options->cma.mirrored = fbt_local_search_mirrors(settings, n_participants);
}

/* sigma' = sqrt(sum_k sum_j sigma_kj^2 / (K mu)), tell, and the clients' sigma is multiplied by what the tell did to
 * sigma'. The means are foreign solutions to the server's optimiser: CMA-ES clips those that are too long. */
static fbt_status aggregate(fbt_round *round)
{
    const fbt_messages *up = round->up;
    fbt_server *server = round->server;
    const int64_t n_generations = round->settings->fed.local_generations;
    const int64_t n_parents_local = round->settings->cma.population / 2;
    fbt_status status = FBT_OK;
    const double *step_sizes = fbt_messages_field(up, "step_size");
    double sum = 0;
    for (int64_t i = 0; i < up->n * n_generations; i++) {
        sum += step_sizes[i] * step_sizes[i];
    }
    const double step_size = sqrt(sum / (double)(up->n * n_parents_local));
    FBT_TRY(fbt_optimiser_set_step_size(server->optimiser, step_size));
    FBT_TRY(fbt_optimiser_tell_foreign(server->optimiser, up->n, fbt_messages_field(up, "mean"),
                                       fbt_messages_field(up, "fitness")));
    const double factor = fbt_optimiser_step_size(server->optimiser) / step_size;
    server->step_size_local = fmax(server->step_size_local * factor, FBT_OPTIMISER_STEP_SIZE_MIN);
done:
    return status;
}

const fbt_protocol fbt_protocol_nvflare = {
    .clients = &fbt_local_search,
    .check_settings = fbt_local_search_check_ranking,
    .least_reports = 2,
    .server_options = server_options,
    .up = fbt_local_search_up_ranked,
    .aggregate = aggregate,
};
