/* The clients that a rank hosts: their samples, and the fitness of candidates on them. */
#ifndef FBT_FED_CLIENT_H
#define FBT_FED_CLIENT_H

#include "config/settings.h"
#include "data/partition.h"
#include "fed/block.h"
#include "fed/evaluator.h"

#include <stdbool.h>

/* A client's private data; tokens are the data set's. The perturbed copy (Sun et al. 2023, section 3.3) is these same
 * items with an origin: the model makes it. */
typedef struct fbt_client {
    int64_t id;   /* 0 .. K-1 */
    int64_t slot; /* among the participants of the round */
    int64_t n_samples;
    fbt_item *items; /* [n_samples]                                         */
    bool perturbed;  /* candidates are scored on a perturbed copy too       */
} fbt_client;

/* Zero-initialised by the caller. The data set and the partition are borrowed. */
fbt_status fbt_client_init(fbt_client *client, int64_t id, const fbt_split *train, const fbt_partition *partition,
                           bool perturbed);
void fbt_client_clear(fbt_client *client);

/* How candidates are scored. */
typedef struct fbt_fitness {
    double fitness;
    double loss;           /* mean loss on the samples as they are */
    double loss_perturbed; /* mean loss on the perturbed copy; NaN without perturbation */
} fbt_fitness;

/* One population: n_candidates points for one client. */
typedef struct fbt_population {
    const fbt_client *client;
    const double *z; /* [n_candidates, d], or of the block that is searched: [n_candidates, block.n] */
    int64_t n_candidates;
    fbt_fitness *fitness; /* out: [n_candidates] */
} fbt_population;

/* Populations scored in one packed batch: one generation of clients that this rank hosts. The caller fills in the
 * request, what it points to is borrowed until finish, and clears at last. */
typedef struct fbt_scoring {
    fbt_evaluator *evaluator;
    int stream;
    const fbt_population *populations;
    int64_t n_populations;
    int64_t d;       /* of the search point                 */
    fbt_block block; /* of it that the populations are      */
    uint32_t round;  /* whose perturbed copy it is */
    fbt_fitness_kind kind;
    const fbt_comm *share; /* as in fbt_evaluation */
    /* From start on: */
    fbt_item *items; /* [n_items] */
    double *losses;  /* [n_items] */
} fbt_scoring;

/* Queues the evaluation. Collective over `share`, as finish. Errors: FBT_ERR_MEMORY, after which there is nothing to
 * finish. */
fbt_status fbt_scoring_start(fbt_scoring *scoring);

/* Waits and fills in the populations' fitness. Sums run over the samples in their order, in double: they do not depend
 * on how the work was cut. Errors: the evaluator's, FBT_ERR_NUMERIC (a fitness is not finite). */
fbt_status fbt_scoring_finish(fbt_scoring *scoring);

/* Ends a scoring, finished or not. Not collective. */
void fbt_scoring_clear(fbt_scoring *scoring);

/* Start, finish and clear. */
fbt_status fbt_scoring_run(fbt_scoring *scoring);

#endif
