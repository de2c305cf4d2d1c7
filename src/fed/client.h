/* The clients that a rank hosts: their samples, the perturbed copies of a round, and the fitness of candidates. */
#ifndef FBT_FED_CLIENT_H
#define FBT_FED_CLIENT_H

#include "evaluator.h"
#include "partition.h"
#include "perturb.h"
#include "settings.h"

#include <stdbool.h>

/* A client's private data. Tokens point into the data set; the perturbed copy is the client's own. */
typedef struct fbt_client {
    int64_t id; /* 0 .. K-1 */
    int64_t n_samples;
    fbt_item *items;     /* [n_samples]                                     */
    fbt_item *perturbed; /* [n_samples]; NULL without perturbation          */
    int32_t *perturbed_tokens;
    const uint8_t **frozen; /* [n_samples]: each sample's frozen flags         */
} fbt_client;

/* Zero-initialised by the caller. The data set and the partition are borrowed. */
fbt_status fbt_client_init(fbt_client *client, int64_t id, const fbt_split *train, const fbt_partition *partition,
                           bool perturbed);
void fbt_client_clear(fbt_client *client);

/* Draws the client's perturbed copy for a round (Sun et al. 2023, section 3.3). Does nothing without perturbation. */
void fbt_client_perturb(fbt_client *client, const fbt_perturbation *perturbation, uint32_t round);

/* How candidates are scored. */
typedef struct fbt_fitness {
    double fitness;
    double loss;           /* mean loss on the samples as they are */
    double loss_perturbed; /* mean loss on the perturbed copy; NaN without perturbation */
} fbt_fitness;

/* One population: n_candidates points z: [n_candidates, d] for one client. */
typedef struct fbt_population {
    const fbt_client *client;
    const double *z;
    int64_t n_candidates;
    fbt_fitness *fitness; /* out: [n_candidates] */
} fbt_population;

/* Scores all populations in one packed pass: one generation of all the clients that this rank hosts. Collective over
 * `share` as fbt_evaluator_run. Sums run over the samples in their order, in double: they do not depend on how the work
 * was cut. */
fbt_status fbt_client_score(fbt_evaluator *evaluator, const fbt_population *populations, int64_t n_populations,
                            int64_t d, fbt_fitness_kind kind, const fbt_comm *share);

#endif
