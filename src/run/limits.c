#include "run/limits.h"

#include "base/prompt_mode.h"
#include "run/cost.h"

/* Rows that sequences of one candidate share (fbt_model_shared_rows): causal models alone are read at the last token.
 */
static int64_t shared_rows(const fbt_settings *settings, const fbt_dataset *dataset)
{
    return dataset->readout == FBT_READOUT_LAST
               ? fbt_prompt_rows_in_front((fbt_prompt_mode)settings->prompt.mode, settings->prompt.tokens)
               : 0;
}

/* One generation of n clients, NULL: of the first n. */
static fbt_evaluation_size size_of_search(const fbt_settings *settings, const fbt_dataset *dataset,
                                          const fbt_partition *partition, const int64_t *clients, int64_t n)
{
    fbt_evaluation_size size = {.n_shared = shared_rows(settings, dataset)};
    const int64_t population = settings->cma.population, copies = settings->perturb.rate > 0 ? 2 : 1;
    const int64_t n_around = fbt_cost_rows_around(settings, dataset);
    for (int64_t i = 0; i < n; i++) {
        fbt_cost_add_client(dataset, partition, clients != NULL ? clients[i] : i, n_around, &size);
        size.n_candidates += population;
    }
    size.n_rows *= population * copies;
    size.n_sequences *= population * copies;
    return size;
}

void fbt_limits_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                       const fbt_placement *placement, int rank, fbt_model_limits *limits)
{
    const bool all_take_part = fbt_settings_participants(settings) == settings->fed.clients;
    const int64_t first = placement->client_offsets[rank], n = placement->client_offsets[rank + 1] - first;
    /* Where some take part, any of them may come here. */
    const fbt_evaluation_size search =
        all_take_part ? size_of_search(settings, dataset, partition, placement->client_index + first, n)
                      : size_of_search(settings, dataset, partition, NULL, settings->fed.clients);
    fbt_evaluation_size scores = {.n_candidates = 1, .n_shared = shared_rows(settings, dataset)};
    fbt_cost_add_scores(settings, dataset, partition, &scores);
    *limits = (fbt_model_limits){0};
    fbt_evaluation_limits(&search, settings->backend.batch_tokens, limits);
    fbt_evaluation_limits(&scores, settings->backend.batch_tokens, limits);
}

void fbt_limits_of_checks(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                          fbt_model_limits *limits)
{
    *limits = (fbt_model_limits){0};
    for (int64_t k = 0; k < partition->n_clients; k++) {
        const fbt_evaluation_size size = size_of_search(settings, dataset, partition, &k, 1);
        fbt_evaluation_limits(&size, settings->backend.batch_tokens, limits);
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
    fbt_evaluation_limits(&size, settings->backend.batch_tokens, limits);
}
