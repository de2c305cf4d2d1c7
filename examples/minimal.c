/* The smallest program on libfedbpt: opens a model folder and a data set, scores a population of soft prompts, and
 * makes three rounds of a federated search. Start it alone or under mpirun; the numbers are the same.
 *
 *   cc minimal.c $(pkg-config --cflags --libs fedbpt) -o minimal
 *   mpirun -n 2 ./minimal models/all-MiniLM-L6-v2 datasets/bbc-headlines.h5 prompt.mode=input prompt.tokens=10
 *
 * What follows the two paths are settings, as `fedbpt run --options` lists them. */
#include "fed/evaluator.h"
#include "fed/federation.h"
#include "run/inputs.h"
#include "run/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CANDIDATES = 4, N_ROUNDS = 3 };

/* What is open. Zero before it is; clear() takes it back in any state. */
typedef struct study {
    fbt_comm *world;
    fbt_settings settings;
    fbt_inputs inputs; /* data set, backend and model */
    fbt_partition partition;
    fbt_placement placement;
    fbt_evaluator *evaluator;
    fbt_federation *federation;
} study;

/* Settings: the defaults, both paths, and what the command line changes. */
static fbt_status read_settings(study *s, char **argv)
{
    fbt_status status = FBT_OK;
    char assignment[4200];
    FBT_TRY(fbt_settings_defaults(&s->settings));
    snprintf(assignment, sizeof assignment, "model.path=%s", argv[1]);
    FBT_TRY(fbt_settings_set(&s->settings, assignment));
    snprintf(assignment, sizeof assignment, "data.path=%s", argv[2]);
    FBT_TRY(fbt_settings_set(&s->settings, assignment));
    for (char **argument = argv + 3; *argument != NULL; argument++) {
        FBT_TRY(fbt_settings_set(&s->settings, *argument));
    }
    FBT_TRY(fbt_settings_check(&s->settings));
done: /* FBT_TRY comes here when a call fails; fbt_error_message() says why */
    return status;
}

/* Deals the samples out to the clients, and the clients to the ranks. */
static fbt_status deal_out(study *s)
{
    fbt_status status = FBT_OK;
    const int64_t n_clients = s->settings.fed.clients;
    int64_t *work = calloc((size_t)n_clients, sizeof *work);
    if (work == NULL) {
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: %lld clients", (long long)n_clients);
    }
    FBT_TRY(fbt_inputs_partition(&s->inputs, &s->settings, &s->partition));
    for (int64_t k = 0; k < n_clients; k++) {
        work[k] = s->partition.sample_offsets[k + 1] - s->partition.sample_offsets[k];
    }
    FBT_TRY(fbt_placement_make(n_clients, work, fbt_comm_size(s->world), &s->placement));
done:
    free(work);
    return status;
}

/* Every rank reads the same and comes to the same; then all open the model together. */
static fbt_status open_study(study *s, char **argv)
{
    fbt_status status = FBT_OK;
    fbt_model_limits limits;
    FBT_TRY(fbt_comm_agree(s->world, read_settings(s, argv)));
    FBT_TRY(fbt_comm_agree(s->world, fbt_inputs_open_dataset(&s->inputs, &s->settings)));
    FBT_TRY(fbt_comm_agree(s->world, fbt_inputs_check(&s->inputs, &s->settings)));
    FBT_TRY(fbt_comm_agree(s->world, deal_out(s)));
    fbt_limits_of_run(&s->settings, &s->inputs.dataset, &s->partition, &s->placement, fbt_comm_rank(s->world), &limits);
    FBT_TRY(fbt_inputs_open_model(&s->inputs, &s->settings, &limits, NULL, s->world));
done:
    return status;
}

/* Items to score: the dev samples under each candidate, one candidate after the other. */
static void list_items(const study *s, fbt_item *items)
{
    const fbt_partition *p = &s->partition;
    for (int64_t i = 0; i < N_CANDIDATES * p->n_dev; i++) {
        items[i] = fbt_item_of(p->dev_split, p->dev_index[i % p->n_dev]);
        items[i].candidate = (int32_t)(i / p->n_dev);
    }
}

/* Scores a population z: [N_CANDIDATES, d], the first at the start (z = 0) and the others at random. The ranks share
 * the work. */
static fbt_status evaluate_population(study *s)
{
    fbt_status status = FBT_OK;
    const size_t d = (size_t)s->settings.cma.dimension, n_dev = (size_t)s->partition.n_dev;
    double *z = calloc(N_CANDIDATES * d, sizeof *z);
    fbt_item *items = calloc(N_CANDIDATES * n_dev, sizeof *items);
    double *losses = calloc(N_CANDIDATES * n_dev, sizeof *losses);
    if (z == NULL || items == NULL || losses == NULL) {
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: a population of %d candidates", N_CANDIDATES);
    }
    srand48(1);
    for (size_t i = d; i < N_CANDIDATES * d; i++) {
        z[i] = 2 * drand48() - 1;
    }
    list_items(s, items);
    const fbt_evaluation evaluation = {.items = items,
                                       .n_items = (int64_t)(N_CANDIDATES * n_dev),
                                       .z = z,
                                       .n_candidates = N_CANDIDATES,
                                       .d = (int64_t)d,
                                       .share = s->world,
                                       .scores.losses = losses};
    FBT_TRY(fbt_evaluator_new(s->inputs.model, (fbt_loss)s->settings.objective.loss, s->settings.backend.batch_tokens,
                              &s->evaluator));
    FBT_TRY(fbt_evaluator_run(s->evaluator, &evaluation));
    for (size_t c = 0; c < N_CANDIDATES && fbt_comm_rank(s->world) == 0; c++) {
        double sum = 0;
        for (size_t i = 0; i < n_dev; i++) {
            sum += losses[c * n_dev + i];
        }
        printf("candidate %zu: dev loss %.6f\n", c, sum / (double)n_dev);
    }
done:
    free(z);
    free(items);
    free(losses);
    return status;
}

/* The protocol that fed.protocol names: round 0 scores the start, the others search. */
static fbt_status run_rounds(study *s)
{
    fbt_status status = FBT_OK;
    fbt_round_row row;
    const fbt_federation_parts parts = {.settings = &s->settings,
                                        .dataset = &s->inputs.dataset,
                                        .partition = &s->partition,
                                        .placement = &s->placement,
                                        .world = s->world,
                                        .model = s->inputs.model};
    FBT_TRY(fbt_federation_new(&parts, &s->federation));
    for (uint32_t round = 0; round <= N_ROUNDS; round++) {
        FBT_TRY(round == 0 ? fbt_federation_start(s->federation, &row)
                           : fbt_federation_round(s->federation, round, true, &row));
        if (fbt_comm_rank(s->world) == 0) {
            printf("round %u: train loss %.6f, accuracy %.4f, %lld bytes up\n", round, row.train_loss,
                   row.train_accuracy, (long long)row.bytes_up);
        }
    }
done:
    return status;
}

static void clear(study *s)
{
    fbt_federation_free(s->federation);
    fbt_evaluator_free(s->evaluator);
    fbt_placement_clear(&s->placement);
    fbt_partition_clear(&s->partition);
    fbt_inputs_close(&s->inputs);
    fbt_settings_clear(&s->settings);
}

int main(int argc, char **argv)
{
    fbt_status status = FBT_OK;
    study s = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: minimal MODEL_FOLDER DATA.h5 [SECTION.KEY=VALUE...]\n");
        return 2;
    }
    FBT_TRY(fbt_comm_start(&argc, &argv, &s.world));
    FBT_TRY(open_study(&s, argv));
    FBT_TRY(evaluate_population(&s));
    FBT_TRY(run_rounds(&s));
done:
    clear(&s);
    if (s.world != NULL) {
        status = fbt_comm_report(s.world, status); /* prints the first failure's sentence, once */
        fbt_comm_stop(s.world);
    }
    return status == FBT_OK ? 0 : 1;
}
