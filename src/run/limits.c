#include "run/limits.h"

#include "base/prompt_mode.h"
#include "base/smaller.h"
#include "run/cost.h"

/* Rows that sequences of one candidate share (fbt_model_shared_rows): causal models alone are read at the last token.
 */
static int64_t shared_rows(const fbt_settings *settings, const fbt_dataset *dataset)
{
    return dataset->readout == FBT_READOUT_LAST
               ? fbt_prompt_rows_in_front((fbt_prompt_mode)settings->prompt.mode, settings->prompt.tokens)
               : 0;
}

/* Sequences of a client's pass over its samples, by which a generation makes more. */
static int64_t passes(const fbt_settings *settings)
{
    return settings->cma.population * (settings->perturb.rate > 0 ? 2 : 1);
}

/* One generation of n clients. */
static fbt_evaluation_size size_of_search(const fbt_settings *settings, const fbt_dataset *dataset,
                                          const fbt_partition *partition, const int64_t *clients, int64_t n)
{
    fbt_evaluation_size size = {.n_shared = shared_rows(settings, dataset)};
    const int64_t n_around = fbt_cost_rows_around(settings, dataset);
    for (int64_t i = 0; i < n; i++) {
        fbt_cost_add_client(dataset, partition, clients[i], n_around, &size);
        size.n_candidates += settings->cma.population;
    }
    size.n_rows *= passes(settings);
    size.n_sequences *= passes(settings);
    return size;
}

/* One generation of any n clients: as large as that of the largest can be. Rows that are shared and others are bounded
 * each by itself, as the client that has most of the one need not have most of the other. */
static fbt_evaluation_size size_of_any(const fbt_settings *settings, const fbt_dataset *dataset,
                                       const fbt_partition *partition, int64_t n)
{
    fbt_evaluation_size all = {.n_shared = shared_rows(settings, dataset)};
    const int64_t n_around = fbt_cost_rows_around(settings, dataset);
    int64_t most_own = 0, most_sequences = 0;
    for (int64_t k = 0; k < partition->n_clients; k++) {
        fbt_evaluation_size one = {0};
        fbt_cost_add_client(dataset, partition, k, n_around, &one);
        fbt_cost_add_client(dataset, partition, k, n_around, &all);
        most_own = fbt_larger(most_own, one.n_rows - one.n_sequences * all.n_shared);
        most_sequences = fbt_larger(most_sequences, one.n_sequences);
    }
    const int64_t own = fbt_smaller(n * most_own, all.n_rows - all.n_sequences * all.n_shared);
    all.n_sequences = fbt_smaller(n * most_sequences, all.n_sequences) * passes(settings);
    all.n_rows = own * passes(settings) + all.n_sequences * all.n_shared;
    all.n_candidates = n * settings->cma.population;
    return all;
}

void fbt_limits_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                       const fbt_placement *placement, int n_ranks, int rank, fbt_model_limits *limits)
{
    const int64_t m = fbt_settings_participants(settings);
    fbt_evaluation_size search;
    if (fbt_settings_all_take_part(settings)) {
        const int64_t first = placement->client_offsets[rank], n = placement->client_offsets[rank + 1] - first;
        search = size_of_search(settings, dataset, partition, placement->client_index + first, n);
    } else { /* no rank is left without a client */
        search = size_of_any(settings, dataset, partition, fbt_larger(m - n_ranks + 1, 1));
    }
    fbt_evaluation_size scores = {.n_candidates = 1, .n_shared = shared_rows(settings, dataset)};
    fbt_cost_add_scores(settings, dataset, partition, &scores);
    *limits = (fbt_model_limits){0};
    fbt_evaluation_limits(&search, fbt_batch_tokens(settings), limits);
    fbt_evaluation_limits(&scores, fbt_batch_tokens(settings), limits);
}

void fbt_limits_of_checks(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                          fbt_model_limits *limits)
{
    *limits = (fbt_model_limits){0};
    for (int64_t k = 0; k < partition->n_clients; k++) {
        const fbt_evaluation_size size = size_of_search(settings, dataset, partition, &k, 1);
        fbt_evaluation_limits(&size, fbt_batch_tokens(settings), limits);
    }
}

void fbt_limits_of_items(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_item *items, int64_t n,
                         int64_t n_candidates, fbt_model_limits *limits)
{
    fbt_evaluation_size size = {.n_candidates = n_candidates, .n_shared = shared_rows(settings, dataset)};
    const int64_t n_around = fbt_cost_rows_around(settings, dataset);
    for (int64_t i = 0; i < n; i++) {
        fbt_evaluation_size_add(&size, items[i].sequence.n_tokens + n_around);
    }
    *limits = (fbt_model_limits){0};
    fbt_evaluation_limits(&size, fbt_batch_tokens(settings), limits);
}
