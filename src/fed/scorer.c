#include "fed/scorer.h"

#include "base/memory.h"

#include <stdlib.h>

struct fbt_scorer {
    int64_t n_train, n_dev, n_test;
    int64_t n_labels;
    fbt_item *items; /* training, dev, test samples */
    int32_t *labels;
    double *losses;
    double *predictions;
};

static void add_item(fbt_scorer *scorer, int64_t *n, const fbt_split *split, int64_t row)
{
    scorer->labels[*n] = split->labels[row];
    scorer->items[(*n)++] = fbt_item_of(split, row);
}

static void list_items(fbt_scorer *scorer, const fbt_dataset *dataset, const fbt_partition *partition)
{
    int64_t n = 0;
    for (int64_t i = 0; i < scorer->n_train; i++) {
        add_item(scorer, &n, &dataset->train, partition->sample_index[i]);
    }
    for (int64_t i = 0; i < scorer->n_dev; i++) {
        add_item(scorer, &n, partition->dev_split, partition->dev_index[i]);
    }
    for (int64_t i = 0; i < scorer->n_test; i++) {
        add_item(scorer, &n, &dataset->test, i);
    }
}

fbt_status fbt_scorer_new(const fbt_dataset *dataset, const fbt_partition *partition, const fbt_settings *settings,
                          fbt_scorer **scorer)
{
    fbt_status status = FBT_OK;
    const int64_t test_limit = settings->data.test_limit;
    fbt_scorer *s;
    int64_t n;
    FBT_TRY(fbt_memory_alloc(scorer, 1, sizeof **scorer));
    s = *scorer;
    s->n_labels = dataset->n_labels;
    s->n_train = fbt_settings_scored_train(settings, partition->sample_offsets[partition->n_clients]);
    s->n_dev = partition->n_dev;
    s->n_test = dataset->test.n_samples;
    if (test_limit > 0 && test_limit < s->n_test) {
        s->n_test = test_limit;
    }
    n = s->n_train + s->n_dev + s->n_test;
    FBT_TRY(fbt_memory_alloc(&s->items, n, sizeof *s->items));
    FBT_TRY(fbt_memory_alloc(&s->labels, n, sizeof *s->labels));
    FBT_TRY(fbt_memory_alloc(&s->losses, n, sizeof *s->losses));
    FBT_TRY(fbt_memory_alloc(&s->predictions, n, sizeof *s->predictions));
    list_items(s, dataset, partition);
done:
    return status;
}

void fbt_scorer_free(fbt_scorer *scorer)
{
    if (scorer == NULL) {
        return;
    }
    free(scorer->items);
    free(scorer->labels);
    free(scorer->losses);
    free(scorer->predictions);
    free(scorer);
}

static fbt_metrics part(const fbt_scorer *s, int64_t first, int64_t n)
{
    return fbt_metrics_compute(s->losses + first, s->predictions + first, s->labels + first, n, s->n_labels);
}

fbt_status fbt_scorer_run(fbt_scorer *scorer, fbt_evaluator *evaluator, const double *z, int64_t d,
                          fbt_scored_part what, const fbt_comm *world, fbt_split_scores *scores)
{
    fbt_status status = FBT_OK;
    fbt_scorer *s = scorer;
    const int64_t n_others = s->n_train + s->n_dev;
    const int64_t first = what == FBT_SCORE_TEST ? n_others : 0;
    const int64_t end = what == FBT_SCORE_TRAIN_AND_DEV ? n_others : n_others + s->n_test;
    FBT_TRY(fbt_evaluator_run(
        evaluator, &(fbt_evaluation){.items = s->items + first,
                                     .n_items = end - first,
                                     .z = z,
                                     .n_candidates = 1,
                                     .d = d,
                                     .share = world,
                                     .scores = {.losses = s->losses + first, .predictions = s->predictions + first}}));
    if (what != FBT_SCORE_TEST) {
        scores->train = part(s, 0, s->n_train);
        scores->dev = part(s, s->n_train, s->n_dev);
    }
    if (what != FBT_SCORE_TRAIN_AND_DEV) {
        scores->test = part(s, n_others, s->n_test);
    }
done:
    return status;
}
