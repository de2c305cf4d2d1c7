/* Federated averaging of black-box tuning (the baseline FedAvg-BBT of Sun et al. 2023): the server takes the unweighted
 * mean of the clients' means, step sizes and covariances. */
#include "base/memory.h"
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <stdlib.h>

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options)
{
    (void)n_participants; /* the server only holds the distribution; it never tells */
    fbt_local_search_options(settings, options);
}

static void up(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    fbt_schema_add(schema, "mean", settings->cma.dimension, FBT_FIELD_UPDATE, FBT_FIELD_SENT);
    fbt_schema_add(schema, "step_size_end", 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(schema, "shape", fbt_optimiser_n_shape(&options), FBT_FIELD_UPDATE, FBT_FIELD_SUMMED);
    fbt_schema_add(schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "step_size", settings->fed.local_generations, FBT_FIELD_POSITIVE, FBT_FIELD_RECORDED);
    fbt_local_search_record(schema);
}

static fbt_status average(fbt_server *server, const fbt_messages *up, int64_t d, double *mean)
{
    fbt_status status = FBT_OK;
    const double *means = fbt_messages_field(up, "mean"), *step_sizes = fbt_messages_field(up, "step_size_end");
    double step_size = 0;
    for (int64_t k = 0; k < up->n; k++) {
        for (int64_t i = 0; i < d; i++) {
            mean[i] += means[k * d + i] / (double)up->n;
        }
        step_size += step_sizes[k] / (double)up->n;
    }
    FBT_TRY(fbt_optimiser_set_mean(server->optimiser, mean));
    FBT_TRY(fbt_optimiser_set_step_size(server->optimiser, step_size));
    server->step_size_local = step_size;
done:
    return status;
}

/* A mean of covariances that cannot be decomposed resets the server's search. */
static fbt_status average_shape(fbt_server *server, const fbt_messages *up)
{
    double *shape = fbt_messages_field(up, "shape");
    const int64_t n = fbt_optimiser_n_shape(fbt_optimiser_options_of(server->optimiser));
    if (shape == NULL) {
        return FBT_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        shape[i] /= (double)up->n;
    }
    const fbt_status status = fbt_optimiser_set_shape(server->optimiser, shape);
    return status == FBT_ERR_NUMERIC ? fbt_optimiser_reset(server->optimiser) : status;
}

static fbt_status aggregate(fbt_round *round)
{
    fbt_status status = FBT_OK;
    const int64_t d = round->settings->cma.dimension;
    double *mean = NULL;
    FBT_TRY(fbt_memory_alloc(&mean, d, sizeof *mean));
    FBT_TRY(average(round->server, round->up, d, mean));
    FBT_TRY(average_shape(round->server, round->up));
done:
    free(mean);
    return status;
}

const fbt_protocol fbt_protocol_fedavg_bbt = {
    .clients = &fbt_local_search,
    .averages = true,
    .server_options = server_options,
    .up = up,
    .aggregate = aggregate,
};
