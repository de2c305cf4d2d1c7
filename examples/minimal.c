/* A small program on libfedbpt: reads the settings of a study, scores a population of soft prompts on its dev samples,
 * and runs three rounds of its protocol. Start it alone or under mpirun; the numbers are the same.
 *
 *   cc minimal.c $(pkg-config --cflags --libs fedbpt) -o minimal
 *   mpirun -n 2 ./minimal configs/quickstart.yaml run.output=/tmp/minimal.h5
 *
 * What follows the configuration are settings, as `fedbpt run --options` lists them. */
#include "run/experiment.h"
#include "run/scoring.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CANDIDATES = 4, MAX_ASSIGNMENTS = 64 };

/* Called on the first rank as a run goes on. What does not fail needs no status. */
static void tell(void *user, const fbt_run_event *event)
{
    (void)user;
    if (event->kind == FBT_RUN_EVENT_ROUND) {
        printf("round %lld: train loss %.6f, accuracy %.4f, %lld bytes up\n", (long long)event->row->index,
               event->row->train_loss, event->row->train_accuracy, (long long)event->row->bytes_up);
    }
}

static const fbt_run_observer observer = {.tell = tell};

/* Handles that are open. The plan is borrowed by the experiment, the assignments by the plan. */
typedef struct study {
    const char *assignments[MAX_ASSIGNMENTS];
    fbt_experiment_plan plan;
    fbt_inputs inputs; /* data set, backend and model; kept open for all that uses them */
    fbt_experiment *experiment;
} study;

/* The configuration and what the command line changes of it; three rounds, whatever it says. */
static fbt_status open_study(study *s, int argc, char **argv, const fbt_comm *world)
{
    int n = 0;
    if (argc > MAX_ASSIGNMENTS) {
        return fbt_fail(FBT_ERR_USAGE, "%d settings are too many: put them into %s", argc - 2, argv[1]);
    }
    for (int i = 2; i < argc; i++) {
        s->assignments[n++] = argv[i];
    }
    s->assignments[n++] = "fed.rounds=3";
    s->plan.config_path = argv[1];
    s->plan.assignments = s->assignments;
    s->plan.n_assignments = n;
    s->plan.observer = &observer;
    return fbt_experiment_open(&s->plan, &s->inputs, world, &s->experiment);
}

/* Candidates z: [N_CANDIDATES, d]: the start, z = 0, and others at random. A prompt is A z, A drawn from run.seed. */
static void draw_population(double *z, int64_t d)
{
    srand48(1);
    for (int64_t i = 0; i < N_CANDIDATES * d; i++) {
        z[i] = i < d ? 0 : 2 * drand48() - 1;
    }
}

static void print_losses(const double *losses, int64_t n_dev)
{
    for (int c = 0; c < N_CANDIDATES; c++) {
        double sum = 0;
        for (int64_t i = 0; i < n_dev; i++) {
            sum += losses[c * n_dev + i];
        }
        printf("candidate %d: dev loss %.6f\n", c, sum / (double)n_dev);
    }
}

/* Collective: the ranks share the work, and all get the scores. Opens the model, which the run then finds open. */
static fbt_status score_population(study *s, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    fbt_experiment_view view;
    fbt_experiment_look(s->experiment, &view);
    const fbt_partition *p = view.partition;
    const int64_t d = view.settings->cma.dimension;
    double *z = calloc((size_t)(N_CANDIDATES * d), sizeof *z);
    double *losses = calloc((size_t)(N_CANDIDATES * p->n_dev), sizeof *losses);
    fbt_item *items = calloc((size_t)p->n_dev, sizeof *items);
    if (z == NULL || losses == NULL || items == NULL) {
        status = fbt_fail(FBT_ERR_MEMORY, "out of memory: a population of %d candidates", N_CANDIDATES);
    }
    FBT_TRY(fbt_comm_agree(world, status)); /* no rank waits for one that has failed */
    draw_population(z, d);
    for (int64_t i = 0; i < p->n_dev; i++) {
        items[i] = fbt_item_of(p->dev_split, p->dev_index[i]);
    }
    const fbt_prompts prompts = {.z = z, .n_candidates = N_CANDIDATES, .d = d};
    const fbt_scores scores = {.losses = losses};
    FBT_TRY(fbt_score_prompts(&s->inputs, view.settings, items, p->n_dev, &prompts, &observer, world, &scores));
    if (fbt_comm_rank(world) == 0) {
        print_losses(losses, p->n_dev);
    }
done: /* FBT_TRY comes here when a call fails */
    free(z);
    free(losses);
    free(items);
    return status;
}

int main(int argc, char **argv)
{
    fbt_status status = FBT_OK;
    fbt_comm *world = NULL;
    study s = {0};
    bool interrupted = false;
    if (argc < 2) {
        fprintf(stderr, "usage: minimal CONFIG.yaml [SECTION.KEY=VALUE...]\n");
        return 2;
    }
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    FBT_TRY(open_study(&s, argc, argv, world));
    FBT_TRY(score_population(&s, world));
    FBT_TRY(fbt_experiment_run(s.experiment, &interrupted)); /* and writes the run file at run.output */
done:
    fbt_experiment_close(s.experiment);
    fbt_inputs_close(&s.inputs);
    if (world != NULL) {
        status = fbt_comm_report(world, status); /* prints the sentence of the first failure, once */
        fbt_comm_stop(world);
    }
    return status == FBT_OK ? 0 : 1;
}
