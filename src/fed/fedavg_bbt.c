/* Federated averaging of black-box tuning (the baseline FedAvg-BBT of Sun et al. 2023): the server takes the unweighted
 * mean of the clients' means, step sizes and covariances. */
#include "base/memory.h"
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <stdlib.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_cma_options *options)
{
    (void)n_participants; /* the server only holds the distribution; it never tells */
    fbt_local_search_options(settings, options);
}

static fbt_status average(fbt_server *server, const fbt_uploads *uploads, double *mean)
{
    fbt_status status = FBT_OK;
    int64_t m = uploads->n_participants;
    int64_t d = uploads->dimension;
    double step_size = 0;
    for (int64_t k = 0; k < m; k++) {
        for (int64_t i = 0; i < d; i++) {
            mean[i] += uploads->mean[k * d + i] / (double)m;
        }
        step_size += uploads->step_size_end[k] / (double)m;
    }
    FBT_TRY(fbt_cma_set_mean(server->cma, mean));
    FBT_TRY(fbt_cma_set_step_size(server->cma, step_size));
    server->step_size_local = step_size;
done:
    return status;
}

/* covariance: the sum over the participants, [d, d] or [d]. A mean that cannot be decomposed resets the server's
 * search. */
static fbt_status set_covariance(fbt_server *server, fbt_cma_covariance kind, int64_t d, int64_t m, double *covariance,
                                 double *diagonal_matrix)
{
    int64_t n = kind == FBT_CMA_FULL ? d * d : d;
    for (int64_t i = 0; i < n; i++) {
        covariance[i] /= (double)m;
    }
    for (int64_t i = 0; kind == FBT_CMA_SEPARABLE && i < d; i++) {
        diagonal_matrix[i * d + i] = covariance[i];
    }
    const fbt_status status = fbt_cma_set_covariance(server->cma, kind == FBT_CMA_FULL ? covariance : diagonal_matrix);
    return status == FBT_ERR_NUMERIC ? fbt_cma_reset(server->cma) : status;
}

static fbt_status fedavg_bbt_round(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    fbt_cma_covariance kind = (fbt_cma_covariance)context->settings->cma.covariance;
    int64_t d = uploads->dimension;
    double *mean = NULL;
    double *covariance = NULL;
    double *diagonal_matrix = NULL;
    status = fbt_memory_alloc(&mean, d, sizeof *mean);
    if (status == FBT_OK && kind != FBT_CMA_ISOTROPIC) {
        status = fbt_memory_alloc(&covariance, kind == FBT_CMA_FULL ? d * d : d, sizeof *covariance);
    }
    if (status == FBT_OK && kind == FBT_CMA_SEPARABLE) {
        status = fbt_memory_alloc(&diagonal_matrix, d * d, sizeof *diagonal_matrix);
    }
    FBT_TRY(fbt_comm_agree(context->world, status));
    FBT_TRY(fbt_local_search(context, server, uploads, covariance));
    FBT_TRY(average(server, uploads, mean));
    if (covariance != NULL) {
        FBT_TRY(set_covariance(server, kind, d, uploads->n_participants, covariance, diagonal_matrix));
    }
done:
    free(mean);
    free(covariance);
    free(diagonal_matrix);
    return status;
}

/* Mean, last step size, covariance. */
static int64_t floats_up(const fbt_settings *settings)
{
    return settings->cma.dimension + 1 + fbt_local_search_covariance_floats(settings);
}

const fbt_protocol fbt_protocol_fedavg_bbt = {
    .name = "fedavg-bbt",
    .server_options = server_options,
    .round = fedavg_bbt_round,
    .floats_up = floats_up,
    .floats_down = fbt_local_search_floats_down,
};
