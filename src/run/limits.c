#include "run/limits.h"

#include "base/prompt_mode.h"

static int64_t rows_in_front(const fbt_settings *settings)
{
    return fbt_prompt_rows_in_front((fbt_prompt_mode)settings->prompt.mode, settings->prompt.tokens);
}

static void add_sequence(fbt_evaluation_size *size, int64_t n_rows)
{
    size->shortest = size->n_sequences == 0 || n_rows < size->shortest ? n_rows : size->shortest;
    size->longest = n_rows > size->longest ? n_rows : size->longest;
    size->n_rows += n_rows;
    size->n_sequences++;
}

static void add_rows(fbt_evaluation_size *size, const fbt_split *split, int64_t row, int64_t in_front)
{
    add_sequence(size, split->offsets[row + 1] - split->offsets[row] + in_front);
}

/* A generation of all clients that the rank hosts. */
static fbt_evaluation_size size_of_search(const fbt_settings *settings, const fbt_dataset *dataset,
                                          const fbt_partition *partition, const fbt_placement *placement, int rank)
{
    fbt_evaluation_size size = {0};
    const int64_t population = settings->cma.population, copies = settings->perturb.rate > 0 ? 2 : 1;
    for (int64_t i = placement->client_offsets[rank]; i < placement->client_offsets[rank + 1]; i++) {
        const int64_t k = placement->client_index[i];
        for (int64_t j = partition->sample_offsets[k]; j < partition->sample_offsets[k + 1]; j++) {
            add_rows(&size, &dataset->train, partition->sample_index[j], rows_in_front(settings));
        }
        size.n_candidates += population;
    }
    size.n_rows *= population * copies;
    size.n_sequences *= population * copies;
    return size;
}

static fbt_evaluation_size size_of_scores(const fbt_settings *settings, const fbt_dataset *dataset,
                                          const fbt_partition *partition)
{
    fbt_evaluation_size size = {.n_candidates = 1};
    const int64_t limit = settings->data.test_limit, in_front = rows_in_front(settings);
    for (int64_t i = 0; i < partition->sample_offsets[partition->n_clients]; i++) {
        add_rows(&size, &dataset->train, partition->sample_index[i], in_front);
    }
    for (int64_t i = 0; i < partition->n_dev; i++) {
        add_rows(&size, partition->dev_split, partition->dev_index[i], in_front);
    }
    for (int64_t i = 0; i < dataset->test.n_samples && (limit == 0 || i < limit); i++) {
        add_rows(&size, &dataset->test, i, in_front);
    }
    return size;
}

void fbt_limits_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                       const fbt_placement *placement, int rank, fbt_model_limits *limits)
{
    const fbt_evaluation_size search = size_of_search(settings, dataset, partition, placement, rank);
    const fbt_evaluation_size scores = size_of_scores(settings, dataset, partition);
    *limits = (fbt_model_limits){0};
    fbt_evaluation_limits(&search, settings->backend.batch_tokens, limits);
    fbt_evaluation_limits(&scores, settings->backend.batch_tokens, limits);
}

void fbt_limits_of_items(const fbt_settings *settings, const fbt_item *items, int64_t n, int64_t n_candidates,
                         fbt_model_limits *limits)
{
    fbt_evaluation_size size = {.n_candidates = n_candidates};
    for (int64_t i = 0; i < n; i++) {
        add_sequence(&size, items[i].sequence.n_tokens + rows_in_front(settings));
    }
    *limits = (fbt_model_limits){0};
    fbt_evaluation_limits(&size, settings->backend.batch_tokens, limits);
}
