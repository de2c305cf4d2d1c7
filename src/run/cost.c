#include "run/cost.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "fed/precision_check.h"
#include "fed/protocol.h"
#include "fed/reports.h"
#include "run/labels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int64_t fbt_cost_rows_around(const fbt_settings *settings, const fbt_dataset *dataset)
{
    return fbt_prompt_rows_in_front((fbt_prompt_mode)settings->prompt.mode, settings->prompt.tokens) +
           fbt_labels_sizes(dataset, settings).n_rows;
}

/* rows: [n]; NULL: the first n of the split. */
static void add_samples(const fbt_split *split, const int64_t *rows, int64_t n, int64_t n_around,
                        fbt_evaluation_size *size)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = rows != NULL ? rows[i] : i;
        fbt_evaluation_size_add(size, split->offsets[row + 1] - split->offsets[row] + n_around);
    }
}

void fbt_cost_add_client(const fbt_dataset *dataset, const fbt_partition *partition, int64_t client, int64_t n_around,
                         fbt_evaluation_size *size)
{
    const int64_t first = partition->sample_offsets[client], end = partition->sample_offsets[client + 1];
    add_samples(&dataset->train, partition->sample_index + first, end - first, n_around, size);
}

static void add_test(const fbt_settings *settings, const fbt_dataset *dataset, int64_t n_around,
                     fbt_evaluation_size *size)
{
    const int64_t limit = settings->data.test_limit, n_test = dataset->test.n_samples;
    add_samples(&dataset->test, NULL, limit > 0 && limit < n_test ? limit : n_test, n_around, size);
}

void fbt_cost_add_scores(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                         fbt_evaluation_size *size)
{
    const fbt_partition *p = partition;
    const int64_t n_around = fbt_cost_rows_around(settings, dataset);
    const int64_t n_train = fbt_settings_scored_train(settings, p->sample_offsets[p->n_clients]);
    add_samples(&dataset->train, p->sample_index, n_train, n_around, size);
    add_samples(p->dev_split, p->dev_index, p->n_dev, n_around, size);
    add_test(settings, dataset, n_around, size);
}

fbt_cost_shares fbt_cost_of_shares(const fbt_settings *settings, const fbt_dataset *dataset, const int64_t *work)
{
    fbt_evaluation_size test = {0};
    int64_t n_tokens = 0;
    for (int64_t k = 0; k < settings->fed.clients; k++) {
        n_tokens += work[k];
    }
    n_tokens *= fbt_settings_participants(settings) * fbt_protocol_evaluations(settings);
    add_test(settings, dataset, fbt_cost_rows_around(settings, dataset), &test);
    return (fbt_cost_shares){.search = n_tokens / settings->fed.clients, .test = test.n_rows};
}

static int64_t divide_up(int64_t n, int64_t divisor)
{
    return (n + divisor - 1) / divisor;
}

int64_t fbt_cost_test_every(const fbt_settings *settings, const fbt_cost_shares *shares)
{
    const int64_t n_rounds = shares->test > shares->search ? divide_up(shares->test, shares->search) : 1;
    return divide_up(n_rounds, settings->eval.every);
}

void fbt_cost_describe_test(const fbt_settings *settings, const fbt_cost_shares *shares, char text[FBT_COST_TEXT_BYTES])
{
    snprintf(text, FBT_COST_TEXT_BYTES,
             "eval.test_every is %" PRId64 ": scoring the test samples takes %" PRId64
             " tokens, the search of a round %" PRId64,
             settings->eval.test_every, shares->test, shares->search);
}

/* Adds what the scores of a round take, and what they may take besides. */
static void add_round_scores(const fbt_settings *settings, int64_t round, bool has_dev, fbt_cost *cost)
{
    if (!fbt_settings_scores_round(settings, round)) {
        return;
    }
    const bool with_test = fbt_settings_scores_test(settings, round);
    cost->all += cost->scores - (with_test ? 0 : cost->shares.test);
    cost->most_for_best += with_test || !has_dev ? 0 : cost->shares.test;
}

/* The population that a round is checked by. */
static int64_t cost_of_check(const fbt_settings *settings, const int64_t *work, int64_t round,
                             const int64_t *participants, int64_t n)
{
    const int64_t copies = settings->perturb.rate > 0 ? 2 : 1;
    const fbt_precision_choice choice = fbt_precision_choose(settings, (uint32_t)round, n);
    return settings->cma.population * copies * work[participants[choice.slot]];
}

/* Draws who takes part in every round, as the run will. */
static fbt_status add_rounds(const fbt_settings *settings, const int64_t *work, bool has_dev, bool checks,
                             fbt_cost *cost)
{
    fbt_status status = FBT_OK;
    const int64_t n_evaluations = fbt_protocol_evaluations(settings);
    fbt_reports *reports = NULL;
    fbt_round_reports drawn;
    FBT_TRY(fbt_reports_new(settings, work, &reports));
    for (int64_t round = 1; round <= settings->fed.rounds; round++) {
        int64_t n_tokens = 0;
        fbt_reports_draw(reports, (uint32_t)round, &drawn);
        cost->n_reported += drawn.n_reported;
        cost->n_abandoned += drawn.n == 0;
        cost->simulated_s += drawn.simulated_s;
        for (int64_t i = 0; i < drawn.n; i++) {
            n_tokens += n_evaluations * work[drawn.clients[i]];
        }
        cost->largest_round = n_tokens > cost->largest_round ? n_tokens : cost->largest_round;
        cost->all += n_tokens;
        add_round_scores(settings, round, has_dev, cost);
        if (checks && drawn.n > 0 && fbt_settings_checks_round(settings, round)) {
            cost->checks += cost_of_check(settings, work, round, drawn.clients, drawn.n);
        }
    }
    cost->all += cost->checks;
done:
    fbt_reports_free(reports);
    return status;
}

fbt_status fbt_cost_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                           const int64_t *work, bool checks, fbt_cost *cost)
{
    fbt_evaluation_size size = {0};
    fbt_cost_add_scores(settings, dataset, partition, &size);
    *cost = (fbt_cost){.shares = fbt_cost_of_shares(settings, dataset, work), .scores = size.n_rows};
    cost->all = cost->scores;
    return add_rounds(settings, work, partition->n_dev > 0, checks, cost);
}
