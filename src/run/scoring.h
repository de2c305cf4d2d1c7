/* Scores soft prompts on labelled samples: a population of them (fbt_score_prompts), or a recorded one, or none, on a
 * split of a data set (fbt_prompt_scoring). */
#ifndef FBT_RUN_SCORING_H
#define FBT_RUN_SCORING_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/partition.h"
#include "fed/evaluator.h"
#include "fed/metrics.h"
#include "run/inputs.h"
#include "run/observer.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A population z: [n_candidates, d], d = the settings' cma.dimension. The prompt of a row is A z + p0, A drawn from the
 * settings' run.seed. */
typedef struct fbt_prompts {
    const double *z;
    int64_t n_candidates, d;
} fbt_prompts;

/* Scores n items (fbt_item_of makes one of a sample) under every prompt: scores has room for n_candidates * n of them,
 * the first candidate's first; members that are NULL are not wanted. The data set is open and checked
 * (fbt_inputs_open_dataset, fbt_inputs_check); the model is opened here, or kept if it is open. The ranks share the
 * work, and all get the scores. Collective over comm, with equal arguments; errors agreed. observer: NULL: silent. */
fbt_status fbt_score_prompts(fbt_inputs *inputs, const fbt_settings *settings, const fbt_item *items, int64_t n,
                             const fbt_prompts *prompts, const fbt_run_observer *observer, const fbt_comm *comm,
                             const fbt_scores *scores);

/* Plan of a scoring. Borrowed until fbt_prompt_scoring_close. */
typedef struct fbt_prompt_scoring_plan {
    const char *run;   /* the run file whose prompt and settings count; NULL: no prompt and the default settings */
    const char *round; /* of the run: "best" (NULL), "last" or a number */
    const char *model; /* folder; NULL: the run's */
    const char *data;  /* data set file; NULL: the run's */
    const char *split; /* "train", "dev" or "test" (NULL); of a run without `data`: the samples that it scored */
    const char *const *assignments; /* [n_assignments]: "section.key=value"; of a run: not what made its prompt */
    int n_assignments;
    bool with_logits;
    const fbt_run_observer *observer; /* NULL: silent */
} fbt_prompt_scoring_plan;

/* Zero-initialise; fbt_prompt_scoring_open, fbt_prompt_scoring_run, fbt_prompt_scoring_close (after failures too). */
typedef struct fbt_prompt_scoring {
    const fbt_prompt_scoring_plan *plan;
    fbt_settings settings;
    fbt_inputs inputs;
    double *z; /* [d] */
    int64_t d;
    int64_t round; /* of the run; -1: none */
    const char *split_name;
    const fbt_split *split;
    fbt_partition partition;      /* of the run, when its own samples are scored */
    int64_t n;                    /* samples that are scored */
    fbt_item *items;              /* [n] */
    int32_t *labels;              /* [n] */
    double *losses, *predictions; /* [n], of fbt_prompt_scoring_run */
    double *logits;               /* [n, n_labels], likewise where they are wanted */
    fbt_metrics metrics;          /* likewise */
} fbt_prompt_scoring;

/* Reads settings, prompt and samples, and checks them. Rank-local, with the same result on every rank. */
fbt_status fbt_prompt_scoring_open(fbt_prompt_scoring *scoring, const fbt_prompt_scoring_plan *plan);

/* Opens the model and scores. Collective over comm; errors agreed. */
fbt_status fbt_prompt_scoring_run(fbt_prompt_scoring *scoring, const fbt_comm *comm);

/* Collective over the comm of fbt_prompt_scoring_run, if that was called. */
void fbt_prompt_scoring_close(fbt_prompt_scoring *scoring);

#ifdef __cplusplus
}
#endif

#endif
