/* The check of a low precision: of some rounds one client's population is scored by the same model in the reference
 * precision too, on the same samples and perturbed copies, and the two rankings are compared. Nothing of the round
 * depends on it. */
#ifndef FBT_FED_PRECISION_CHECK_H
#define FBT_FED_PRECISION_CHECK_H

#include "config/settings.h"
#include "data/partition.h"
#include "fed/client.h"
#include "model/model.h"

typedef struct fbt_precision_check fbt_precision_check;

/* Population that a round is checked by: a participant's (its place among them) in a generation. Follows from seed and
 * round. */
typedef struct fbt_precision_choice {
    int64_t slot, generation;
} fbt_precision_choice;
fbt_precision_choice fbt_precision_choose(const fbt_settings *settings, uint32_t round, int64_t n_participants);

/* Low against reference; all NaN: not checked. */
typedef struct fbt_precision_result {
    double tau;        /* Kendall's tau-b of the fitness (fed/ranking.h) */
    double overlap;    /* fraction of the parents, the better half of the population, that both choose */
    double loss_error; /* root mean square over the candidates of the difference of their losses */
} fbt_precision_result;

/* reference: the model, with projection and perturbation set; it, the settings and the rest are borrowed. On failure
 * *check is what was made so far, or NULL: free it all the same. */
fbt_status fbt_precision_check_new(const fbt_settings *settings, fbt_model *reference, fbt_precision_check **check);
void fbt_precision_check_free(fbt_precision_check *check);

/* Begins a round. */
void fbt_precision_check_begin(fbt_precision_check *check, uint32_t round, int64_t n_participants);

/* Copies a population of a block and its scores if it is the round's. x: [lambda, block->n]; scores: [lambda]. Called
 * by one rank alone for each population. */
void fbt_precision_check_keep(fbt_precision_check *check, int64_t slot, int64_t generation, const fbt_block *block,
                              const double *x, const fbt_fitness *scores);

/* Scores what was kept in the reference precision, a share on each rank, and compares; the same on every rank, however
 * many there are. participants: [m] client ids. Collective over world. Errors: the evaluator's, FBT_ERR_MEMORY;
 * FBT_ERR_ARG (the round's population was never shown). */
fbt_status fbt_precision_check_finish(fbt_precision_check *check, const int64_t *participants, const fbt_split *train,
                                      const fbt_partition *partition, const fbt_comm *world,
                                      fbt_precision_result *result);

/* As fbt_evaluator_n_tokens. */
int64_t fbt_precision_check_n_tokens(const fbt_precision_check *check);

#endif
