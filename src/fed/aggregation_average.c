/* The mean of what clients send. Of solutions: federated averaging of black-box tuning (the baseline FedAvg-BBT of Sun
 * et al. 2023), the mean of the clients' means, step sizes and shapes. Of losses: the fitness of the server's
 * candidates, so that one optimiser searches the whole federation's objective (no drift of clients, nothing to rank
 * across clients; related: FedES); with fed.weighting samples that objective is the paper's equation 4. */
#include "base/memory.h"
#include "fed/local_search.h"
#include "fed/shared_population.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void up_solutions(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    const bool shape_alone = fbt_optimiser_mean_follows_shape(options.kind);
    fbt_schema_add(schema, "mean", options.dimension, FBT_FIELD_UPDATE,
                   shape_alone ? FBT_FIELD_RECORDED : FBT_FIELD_SENT);
    fbt_schema_add(schema, "step_size_end", 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(schema, "shape", fbt_optimiser_n_shape(&options), FBT_FIELD_UPDATE,
                   shape_alone ? FBT_FIELD_SENT : FBT_FIELD_SUMMED);
    if (shape_alone) {
        fbt_schema_limit_changes(schema, fbt_optimiser_n_shape_changed(&options, settings->fed.local_generations));
    }
    fbt_local_search_add_paths(settings, schema);
    fbt_schema_add(schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "step_size", settings->fed.local_generations, FBT_FIELD_POSITIVE, FBT_FIELD_RECORDED);
    fbt_local_search_record(schema);
}

static void up_losses(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, "losses", settings->cma.population, FBT_FIELD_COMPARED, FBT_FIELD_SENT);
    fbt_shared_population_record(settings, schema);
}

static void down_fitness(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, "fitness", settings->cma.population, FBT_FIELD_REAL, FBT_FIELD_SENT);
}

/* result: [count], zeros. */
static void average(const fbt_round *round, const char *field, int64_t count, double *result)
{
    const double *values = fbt_messages_field(round->up, field);
    for (int64_t k = 0; k < round->up->n; k++) {
        fbt_round_add_part(round, k, count, values + k * count, result);
    }
}

/* sum_k w_k^2: one over the number of participants that count. */
static double sum_of_squared_weights(const fbt_round *round)
{
    const double one = 1;
    double sum = 0;
    for (int64_t k = 0; k < round->up->n; k++) {
        double weight = 0;
        fbt_round_add_part(round, k, 1, &one, &weight);
        sum += weight * weight;
    }
    return sum;
}

/* p' = a p + sum_k w_k (p_k - a p) / sqrt(sum_k w_k^2): the I updates of a client leave a p of the p that it began with
 * and add noise, independent of the other clients' and of variance 1 - a^2 under selection at random, where p has
 * variance 1. So p' has 1, too, and grows where clients go the same way: it is the path of one search that recombines
 * the steps of all. */
static fbt_status recombine_paths(const fbt_round *round)
{
    fbt_status status = FBT_OK;
    fbt_optimiser *optimiser = round->server->optimiser;
    const int64_t n = fbt_optimiser_n_paths(fbt_optimiser_options_of(optimiser));
    const int64_t n_generations = round->settings->fed.local_generations;
    const double *before = fbt_messages_field(round->down, "paths");
    const double root = sqrt(sum_of_squared_weights(round));
    double *path = NULL, *decay = NULL;
    FBT_TRY(fbt_memory_alloc(&path, n, sizeof *path));
    FBT_TRY(fbt_memory_alloc(&decay, n, sizeof *decay));
    fbt_optimiser_path_decay(optimiser, n_generations, decay);
    average(round, "paths", n, path);
    for (int64_t i = 0; i < n; i++) {
        const double left = decay[i] * before[i];
        path[i] = left + (path[i] - left) / root;
    }
    FBT_TRY(fbt_optimiser_set_paths(optimiser, path, fbt_optimiser_generation(optimiser) + n_generations));
done:
    free(path);
    free(decay);
    return status;
}

/* Gives the server's optimiser the average of a field. */
static fbt_status set_average(const fbt_round *round, const char *field, int64_t count,
                              fbt_status (*set)(fbt_optimiser *, const double *))
{
    fbt_status status = FBT_OK;
    double *values = NULL;
    FBT_TRY(fbt_memory_alloc(&values, count, sizeof *values));
    average(round, field, count, values);
    FBT_TRY(set(round->server->optimiser, values));
done:
    free(values);
    return status;
}

static fbt_status average_step_sizes(const fbt_round *round)
{
    double step_size = 0;
    average(round, "step_size_end", 1, &step_size);
    round->server->step_size_local = step_size;
    return fbt_optimiser_set_step_size(round->server->optimiser, step_size);
}

/* Shapes arrive as their sum, already times n_k where that is their weight (round.c). A mean of covariances that cannot
 * be decomposed resets the server's search. */
static fbt_status divide_shape(const fbt_round *round, int64_t n)
{
    fbt_optimiser *optimiser = round->server->optimiser;
    double *shape = fbt_messages_field(round->up, "shape");
    const bool by_samples = fbt_settings_weighs_by_samples(round->settings);
    const double weight = by_samples ? round->n_samples_all : (double)round->up->n;
    for (int64_t i = 0; i < n; i++) {
        shape[i] /= weight;
    }
    const fbt_status status = n == 0 ? FBT_OK : fbt_optimiser_set_shape(optimiser, shape);
    if (status != FBT_ERR_NUMERIC) {
        return status;
    }
    fbt_error_clear();
    return fbt_optimiser_reset(optimiser);
}

static fbt_status aggregate_solutions(fbt_round *round)
{
    fbt_status status = FBT_OK;
    const fbt_optimiser_options *options = fbt_optimiser_options_of(round->server->optimiser);
    const int64_t n_shape = fbt_optimiser_n_shape(options);
    FBT_TRY(average_step_sizes(round));
    if (fbt_optimiser_mean_follows_shape(options->kind)) {
        FBT_TRY(set_average(round, "shape", n_shape, fbt_optimiser_set_shape));
    } else {
        FBT_TRY(set_average(round, "mean", options->dimension, fbt_optimiser_set_mean));
        FBT_TRY(round->settings->cma.keep_paths ? recombine_paths(round) : FBT_OK);
        FBT_TRY(divide_shape(round, n_shape));
    }
done:
    return status;
}

/* The server is told what its clients are told: their copies of it must stay equal. */
static fbt_status aggregate_losses(fbt_round *round)
{
    fbt_status status = FBT_OK;
    const int64_t lambda = round->settings->cma.population;
    fbt_server *server = round->server;
    double *fitness = fbt_messages_field(round->down, "fitness");
    const double *losses = fbt_messages_field(round->up, "losses");
    memset(fitness, 0, (size_t)lambda * sizeof *fitness);
    for (int64_t k = 0; k < round->up->n; k++) {
        fbt_round_add_part(round, k, lambda, losses + k * lambda, fitness);
    }
    FBT_TRY(fbt_round_send_down(round));
    FBT_TRY(fbt_optimiser_tell(server->optimiser, lambda, round->population, fitness));
    server->step_size_local = fbt_optimiser_step_size(server->optimiser);
done:
    return status;
}

static const fbt_aggregation_rule of_solutions = {
    .averages = true,
    .keeps_paths = true,
    .server_options = fbt_local_search_server_options,
    .up = up_solutions,
    .aggregate = aggregate_solutions,
};

static const fbt_aggregation_rule of_losses = {
    .averages = true,
    .server_options = fbt_local_search_server_options,
    .up = up_losses,
    .down = down_fitness,
    .aggregate = aggregate_losses,
};

const fbt_aggregation fbt_aggregation_average = {
    .rules = {[FBT_REPORT_SOLUTION] = &of_solutions, [FBT_REPORT_LOSSES] = &of_losses}};
