/* The official code's server (NVIDIA NVFlare, research/fed-bpt): all clients are parents, and the server's step size is
 * what the client means "were sampled with". */
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <math.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_cma_options *options)
{
    fbt_local_search_options(settings, options);
    options->population = n_participants;
    options->n_parents = n_participants;
    options->mirrored = fbt_local_search_mirrors(settings, n_participants);
}

/* sigma' = sqrt(sum_k sum_j sigma_kj^2 / (K mu)), tell, and the clients' sigma is multiplied by what the tell did to
 * sigma'. The means are foreign solutions to the server's CMA-ES: too long ones are clipped. */
fbt_status fbt_nvflare_aggregate(fbt_server *server, const fbt_uploads *uploads, int64_t n_parents_local)
{
    fbt_status status = FBT_OK;
    int64_t m = uploads->n_participants;
    double sum = 0;
    double step_size;
    for (int64_t i = 0; i < m * uploads->n_generations; i++) {
        sum += uploads->step_size[i] * uploads->step_size[i];
    }
    step_size = sqrt(sum / (double)(m * n_parents_local));
    FBT_TRY(fbt_cma_set_step_size(server->cma, step_size));
    FBT_TRY(fbt_cma_tell_foreign(server->cma, m, uploads->mean, uploads->fitness, NULL));
    server->step_size_local =
        fmax(server->step_size_local * (fbt_cma_step_size(server->cma) / step_size), FBT_CMA_STEP_SIZE_MIN);
done:
    return status;
}

static fbt_status nvflare_round(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads)
{
    fbt_status status = fbt_local_search(context, server, uploads, NULL);
    return status == FBT_OK ? fbt_nvflare_aggregate(server, uploads, context->settings->cma.population / 2) : status;
}

const fbt_protocol fbt_protocol_nvflare = {
    .name = "nvflare",
    .server_options = server_options,
    .round = nvflare_round,
    .floats_up = fbt_local_search_floats_up,
    .floats_down = fbt_local_search_floats_down,
};
