/* A vote of the clients on each pair of opposite candidates: a client sends one bit a pair, which of the two is better
 * on its samples, and the server sends back which the majority prefers (FeedSign: Cai, Chen and Zhu 2025, arXiv
 * 2501.17610). A client can move the search by no more than its vote. A draw goes as the first participant votes. */
#include "base/memory.h"
#include "fed/local_search.h"
#include "fed/shared_population.h"

#include <stdlib.h>

static const char votes_name[] = "votes"; /* 1: the first of the pair; -1: the second */

static void up(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, votes_name, settings->cma.population / 2, FBT_FIELD_SIGN, FBT_FIELD_SENT);
    fbt_shared_population_record(settings, schema);
}

static void down(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, votes_name, settings->cma.population / 2, FBT_FIELD_SIGN, FBT_FIELD_SENT);
}

static void count_votes(const fbt_messages *up, int64_t n_pairs, double *majority)
{
    const double *votes = fbt_messages_field(up, votes_name);
    for (int64_t p = 0; p < n_pairs; p++) {
        double sum = 0;
        for (int64_t k = 0; k < up->n; k++) {
            sum += votes[k * n_pairs + p];
        }
        majority[p] = sum == 0 ? votes[p] : sum;
    }
}

/* The candidates take the place of losses that differ by 2, the better one's lower. */
static fbt_status tell(fbt_round *round, const double *majority, int64_t n_pairs)
{
    fbt_status status = FBT_OK;
    double *fitness = NULL;
    FBT_TRY(fbt_memory_alloc(&fitness, 2 * n_pairs, sizeof *fitness));
    for (int64_t p = 0; p < n_pairs; p++) {
        fitness[2 * p] = -majority[p];
        fitness[2 * p + 1] = majority[p];
    }
    FBT_TRY(fbt_optimiser_tell(round->server->optimiser, 2 * n_pairs, round->population, fitness));
    round->server->step_size_local = fbt_optimiser_step_size(round->server->optimiser);
done:
    free(fitness);
    return status;
}

static fbt_status aggregate(fbt_round *round)
{
    fbt_status status = FBT_OK;
    const int64_t n_pairs = round->settings->cma.population / 2;
    double *majority = fbt_messages_field(round->down, votes_name);
    count_votes(round->up, n_pairs, majority);
    FBT_TRY(fbt_round_send_down(round));
    FBT_TRY(tell(round, majority, n_pairs));
done:
    return status;
}

static const fbt_aggregation_rule of_losses = {
    .compares_pairs = true,
    .server_options = fbt_local_search_server_options,
    .up = up,
    .down = down,
    .aggregate = aggregate,
};

const fbt_aggregation fbt_aggregation_majority = {.rules = {[FBT_REPORT_LOSSES] = &of_losses}};
