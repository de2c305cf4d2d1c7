/* A round as the run file keeps it: filled in by the federation, written by src/record. */
#ifndef FBT_FED_ROUND_ROW_H
#define FBT_FED_ROUND_ROW_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The phases that a round's time is split into: indices of fbt_round_row.phase_s. */
#define FBT_PHASE_LIST(X)                                                                                              \
    X(FBT_PHASE_SEARCH, "search")     /* forward passes of the clients' generations      */                            \
    X(FBT_PHASE_OPTIMISE, "optimise") /* CMA-ES of clients and server                    */                            \
    X(FBT_PHASE_EXCHANGE, "exchange") /* waiting for other ranks and the sum of uploads  */                            \
    X(FBT_PHASE_SCORE, "score")       /* train, dev and test scores of the server's mean */                            \
    X(FBT_PHASE_RECORD, "record")     /* writing of the run file after the round before this one */                    \
    X(FBT_PHASE_CHECK, "check")       /* precision checks; last, as runs without any have no such phase */

typedef enum fbt_phase {
#define FBT_PHASE_ENUM(name, text) name,
    FBT_PHASE_LIST(FBT_PHASE_ENUM)
#undef FBT_PHASE_ENUM
        FBT_N_PHASES
} fbt_phase;
static const char *const fbt_phase_names[FBT_N_PHASES] = {
#define FBT_PHASE_NAME(name, text) text,
    FBT_PHASE_LIST(FBT_PHASE_NAME)
#undef FBT_PHASE_NAME
};

/* One row of /rounds. Row 0 is the state before tuning: its client arrays are NaN (or 0 for counts). Borrowed. Scores
 * that were not taken in a round are NaN. */
typedef struct fbt_round_row {
    int64_t index;          /* 0: before tuning; r: after round r */
    const double *z;        /* [d] server mean, or that of its last ones (fed.average_means) */
    double step_size;       /* the server's */
    double step_size_local; /* with which clients start the next round */
    double train_loss, train_accuracy, dev_loss, dev_accuracy, dev_f1, test_loss, test_accuracy, test_f1;
    double condition_number, axis_ratio, path_sigma_norm;          /* of the server's covariance and |p_sigma| */
    double precision_tau, precision_overlap, precision_loss_error; /* fed/precision_check.h; NaN: not checked */
    int64_t precision_fell_back; /* 1: the rounds after this one are computed in the reference precision */
    int64_t n_participants;      /* m, the same in every row */
    const int64_t *participants; /* [m] ids, rising; -1 in row 0. The clients' values are in this order: */
    const double *client_fitness, *client_loss, *client_loss_perturbed; /* [m] */
    const double *client_step_size;                                     /* [m, I] */
    const double *client_mean;                                          /* [m, d] or NULL */
    const double *client_condition;                                     /* [m] */
    const int64_t *client_evaluations;                                  /* [m] */
    const double *phase_s;                                              /* [n_phases] seconds, largest over ranks */
    double epsilon;                /* of differential privacy so far (fed/privacy.h); NaN: none */
    int64_t n_resets;              /* searches of this round that collapsed and began anew, the server's included */
    int64_t bytes_up, bytes_down;  /* that a real deployment would send this round, all clients together */
    int64_t n_tokens;              /* tokens through the model this round, all ranks */
    int64_t peak_memory_bytes;     /* largest over ranks */
    double energy_cpu, energy_gpu; /* joules, all nodes together; NaN: not measured (run/energy.h) */
} fbt_round_row;

#ifdef __cplusplus
}
#endif

#endif
