/* A federation small enough to compute by hand: a toy that takes the language model's place at link time, and a
 * synthetic problem for it. A program that links this gets these fbt_model_* instead of the library's. */
#ifndef FBT_TESTS_TOY_H
#define FBT_TESTS_TOY_H

#include "fed/federation.h"

#include <stdint.h>

enum { TOY_PROMPT_TOKENS = 2, TOY_VOCABULARY = 40, TOY_MASK = 1, TOY_LABELS = 3, TOY_MAX_LANES = 3 };

/* The loss of one sample, rounded to float: with z rounded to float, tokens t_j and label y,
 *     1 + y / 4 + (1/d) sum_i (z_i - c_i)^2,    c_i = mean over j of sin(1.3 i + 0.7 t_j). */
float toy_loss(const double *z, int64_t d, const int32_t *tokens, int64_t n_tokens, int32_t label);

/* A batch that waits to be evaluated; all but the result is copied. */
typedef struct toy_batch {
    struct toy_batch *next;
    fbt_batch batch;
    double *z; /* [n_prompts, dimension] */
    fbt_model_result result;
    int64_t call; /* its number among the submitted */
} toy_batch;

typedef struct toy_stream {
    double *z; /* [n_prompts, dimension] */
    int64_t n_prompts;
    toy_batch *first, **last; /* submitted, in order */
} toy_stream;

/* The one model. It keeps the contract to the letter: what was submitted is computed by fbt_model_wait, from copies.
 * The nan_call-th batch submitted (from 1) has a NaN as its first loss; the fail_call-th fails, when it is submitted
 * (odd) or waited for (even); 0: none. */
struct fbt_model {
    fbt_model_options options;
    int64_t dimension;
    int64_t n_label_rows; /* behind every sequence, which the toy but counts */
    fbt_perturbation perturbation;
    int n_streams; /* set before use, at most TOY_MAX_LANES */
    toy_stream streams[TOY_MAX_LANES];
    toy_stream *stream;
    int64_t n_calls, nan_call, fail_call;
    fbt_model_limits largest; /* of the batches so far, each number of another; rows as a model computes them that */
                              /*   shares prompts unless options.full_sequences, which is set before use           */
    int most_streams_at_once; /* streams on which something was under way at once */
};

fbt_model *toy_model_new(int64_t dimension);
void toy_model_free(fbt_model *model);

/* Settings, data set and partition; plain struct, borrowed by the federations made of it. */
typedef struct toy_problem {
    fbt_settings settings;
    fbt_dataset dataset;
    fbt_partition partition;
    int64_t *work; /* [K]: samples of each client */
} toy_problem;

/* assignments: "section.key=value" on top of the toy's defaults (4 clients, 2 of 5 samples and 2 of 4, 3 generations of
 * 4 candidates in 6 dimensions), ended by NULL. Aborts on any failure. */
void toy_problem_init(toy_problem *problem, const char *const *assignments);
void toy_problem_clear(toy_problem *problem);

/* The mean loss of client k's samples. */
double toy_client_loss(const toy_problem *problem, int64_t k, const double *z);

/* A federation of all ranks of `world`. */
fbt_status toy_federation_new(const toy_problem *problem, const fbt_comm *world, fbt_model *model,
                              fbt_federation **federation);

/* A federation alone on this process, scored at its start. */
typedef struct toy_alone {
    toy_problem problem;
    fbt_model *model;
    fbt_federation *federation;
    fbt_round_row row;
} toy_alone;

/* Stop after a failure, too. */
fbt_status toy_alone_start(toy_alone *a, const char *const *assignments, const fbt_comm *world);
void toy_alone_stop(toy_alone *a);

/* Extracts what must not depend on the number of ranks, end to end: all of the row but times and memory. doubles: room
 * for toy_row_doubles. */
int64_t toy_row_doubles(const toy_problem *problem);
void toy_row_copy(const toy_problem *problem, const fbt_round_row *row, double *doubles);

#endif
