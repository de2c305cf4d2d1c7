/* All clients score the same population, so that one optimiser searches the whole federation's objective: candidate i
 * of generation g is made from (seed, round, g, i) alone, a client sends its lambda losses, and their n_k-weighted mean
 * is the fitness. No drift of clients, nothing to rank across clients; related: FedES, FedKSeed. */
#include "fed/local_search.h"
#include "fed/shared_population.h"

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options)
{
    (void)n_participants;
    fbt_local_search_options(settings, options);
}

/* fitness_i = sum_k n_k / n losses_ki, in the participants' order. */
static void weigh(const fbt_round *round, double *fitness)
{
    const int64_t lambda = round->settings->cma.population;
    const double *losses = fbt_messages_field(round->up, "losses");
    double n_samples = 0;
    for (int64_t k = 0; k < round->n_participants; k++) {
        n_samples += round->n_samples[k];
    }
    for (int64_t c = 0; c < lambda; c++) {
        fitness[c] = 0;
        for (int64_t k = 0; k < round->n_participants; k++) {
            fitness[c] += round->n_samples[k] / n_samples * losses[k * lambda + c];
        }
    }
}

/* The server is told what its clients are told: their copies of it must stay equal. */
static fbt_status aggregate(fbt_round *round)
{
    fbt_status status = FBT_OK;
    fbt_server *server = round->server;
    double *fitness = fbt_messages_field(round->down, "fitness");
    weigh(round, fitness);
    FBT_TRY(fbt_round_send_down(round));
    FBT_TRY(fbt_optimiser_tell(server->optimiser, round->settings->cma.population, round->population, fitness));
    server->step_size_local = fbt_optimiser_step_size(server->optimiser);
done:
    return status;
}

const fbt_protocol fbt_protocol_synchronous = {
    .clients = &fbt_shared_population,
    .averages = true,
    .weighs_samples = true,
    .server_options = server_options,
    .up = fbt_shared_population_up,
    .aggregate = aggregate,
};
