/* The largest batch that is planned for, where some of the clients take part. */
#include "run/limits.h"

#include "base/choices.h"
#include "fed/participants.h"
#include "fed/reports.h"
#include "run/cost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N_CLIENTS = 30, N_PARTICIPANTS = 7, N_SAMPLES = 200, N_ROUNDS = 200, N_RANKS_MAX = 9 };

/* Clients of 1 to 12 samples of 4 to 40 tokens: neither the largest client nor the longest sample is that of most
 * tokens. */
typedef struct problem {
    fbt_settings settings;
    fbt_dataset dataset;
    fbt_partition partition;
    int64_t token_offsets[N_SAMPLES + 1], sample_offsets[N_CLIENTS + 1], sample_index[N_SAMPLES], work[N_CLIENTS];
} problem;

static void make(problem *p, int readout, int64_t batch_tokens)
{
    *p = (problem){.dataset = {.readout = readout, .n_labels = 2}};
    p->settings.fed.clients = N_CLIENTS;
    p->settings.fed.participants = N_PARTICIPANTS;
    p->settings.fed.only_client = -1;
    p->settings.fed.over_selection = 1;
    p->settings.cma.population = 3;
    p->settings.prompt.mode = FBT_PROMPT_INPUT;
    p->settings.prompt.tokens = 5;
    p->settings.perturb.rate = 0.5;
    p->settings.backend.batch_tokens = batch_tokens;
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        p->token_offsets[i + 1] = p->token_offsets[i] + 4 + (i * i * 7 + i) % 37;
        p->sample_index[i] = i;
    }
    for (int64_t k = 0; k < N_CLIENTS; k++) {
        p->sample_offsets[k + 1] = p->sample_offsets[k] + 1 + (k * k * 5 + 3 * k) % 12;
    }
    assert_in_range(p->sample_offsets[N_CLIENTS], N_CLIENTS, N_SAMPLES);
    p->dataset.train = (fbt_split){.n_samples = N_SAMPLES, .offsets = p->token_offsets};
    p->partition = (fbt_partition){
        .n_clients = N_CLIENTS, .n_labels = 2, .sample_offsets = p->sample_offsets, .sample_index = p->sample_index};
    p->settings.eval.train_limit = 1; /* so that the search is what is largest */
    for (int64_t k = 0; k < N_CLIENTS; k++) {
        fbt_evaluation_size size = {0};
        fbt_cost_add_client(&p->dataset, &p->partition, k, 5, &size);
        p->work[k] = size.n_rows;
    }
}

/* Of the clients that a rank hosts in a round. clients: [n]. */
static fbt_model_limits limits_of(const problem *p, const int64_t *clients, int64_t n)
{
    const int64_t n_passes = 2 * p->settings.cma.population;
    fbt_evaluation_size size = {.n_shared = p->dataset.readout == FBT_READOUT_LAST ? p->settings.prompt.tokens : 0};
    fbt_model_limits limits = {0};
    for (int64_t i = 0; i < n; i++) {
        fbt_cost_add_client(&p->dataset, &p->partition, clients[i], p->settings.prompt.tokens, &size);
    }
    size.n_rows *= n_passes;
    size.n_sequences *= n_passes;
    size.n_candidates = n * p->settings.cma.population;
    fbt_evaluation_limits(&size, p->settings.backend.batch_tokens, &limits);
    return limits;
}

static void check_round(const problem *p, const int64_t *participants, int64_t n_participants, int n_ranks,
                        const fbt_model_limits *planned)
{
    fbt_placement placement;
    int64_t work[N_CLIENTS], clients[N_CLIENTS];
    for (int64_t i = 0; i < n_participants; i++) {
        work[i] = p->work[participants[i]];
    }
    assert_int_equal(fbt_placement_make(n_participants, work, n_ranks, &placement), FBT_OK);
    for (int r = 0; r < n_ranks; r++) {
        const int64_t first = placement.client_offsets[r], n = placement.client_offsets[r + 1] - first;
        for (int64_t i = 0; i < n; i++) {
            clients[i] = participants[placement.client_index[first + i]];
        }
        const fbt_model_limits own = limits_of(p, clients, n);
        assert_true(own.n_rows <= planned->n_rows && own.n_sequences <= planned->n_sequences &&
                    own.n_prompts <= planned->n_prompts);
    }
    fbt_placement_clear(&placement);
}

static void check_all(int readout, int64_t batch_tokens)
{
    static problem p;
    int64_t participants[N_PARTICIPANTS];
    make(&p, readout, batch_tokens);
    for (int n_ranks = 1; n_ranks <= N_RANKS_MAX; n_ranks++) {
        fbt_model_limits planned;
        fbt_limits_of_run(&p.settings, &p.dataset, &p.partition, &(fbt_placement){0}, n_ranks, 0, &planned);
        for (uint32_t round = 1; round <= N_ROUNDS; round++) {
            fbt_participants_draw(&p.settings, round, participants);
            check_round(&p, participants, N_PARTICIPANTS, n_ranks, &planned);
        }
    }
}

/* All clients are chosen, and some drop out: those that report come to other ranks than all would. Broken by a plan for
 * the ranks of all clients. */
static void rounds_with_dropouts_are_within_the_plan(void **state)
{
    (void)state;
    static problem p;
    make(&p, FBT_READOUT_MASK, 1000000);
    p.settings.fed.participants = N_CLIENTS;
    p.settings.faults.dropout = 0.4;
    p.settings.fed.local_generations = 1;
    for (int n_ranks = 1; n_ranks <= N_RANKS_MAX; n_ranks++) {
        fbt_model_limits planned;
        fbt_reports *reports;
        fbt_round_reports drawn;
        fbt_limits_of_run(&p.settings, &p.dataset, &p.partition, &(fbt_placement){0}, n_ranks, 0, &planned);
        assert_int_equal(fbt_reports_new(&p.settings, p.work, &reports), FBT_OK);
        for (uint32_t round = 1; round <= N_ROUNDS; round++) {
            fbt_reports_draw(reports, round, &drawn);
            check_round(&p, drawn.clients, drawn.n, n_ranks, &planned);
        }
        fbt_reports_free(reports);
    }
}

/* Whatever clients come to a rank, their batch is within the plan. Broken by a bound of the participants' mean, by one
 * that takes a client's rows with another's sequences. */
static void every_round_is_within_the_plan(void **state)
{
    (void)state;
    const int readouts[] = {FBT_READOUT_MASK, FBT_READOUT_LAST};
    const int64_t batch_tokens[] = {1, 300, 1000000};
    for (int r = 0; r < 2; r++) {
        for (int b = 0; b < 3; b++) {
            check_all(readouts[r], batch_tokens[b]);
        }
    }
}

/* Breaks if what is planned follows from all clients: a million of them would not fit. */
static void the_plan_is_of_a_rounds_clients(void **state)
{
    (void)state;
    static problem p;
    fbt_model_limits planned;
    make(&p, FBT_READOUT_MASK, 1000000);
    fbt_limits_of_run(&p.settings, &p.dataset, &p.partition, &(fbt_placement){0}, 1, 0, &planned);
    assert_int_equal(planned.n_prompts, N_PARTICIPANTS * 3);
    fbt_limits_of_run(&p.settings, &p.dataset, &p.partition, &(fbt_placement){0}, N_PARTICIPANTS, 0, &planned);
    assert_int_equal(planned.n_prompts, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_round_is_within_the_plan),
        cmocka_unit_test(rounds_with_dropouts_are_within_the_plan),
        cmocka_unit_test(the_plan_is_of_a_rounds_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
