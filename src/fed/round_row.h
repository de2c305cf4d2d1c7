/* A round as the run file keeps it: filled in by the federation, written by src/record. */
#ifndef FBT_FED_ROUND_ROW_H
#define FBT_FED_ROUND_ROW_H

#include <stdint.h>

/* One row of /rounds. Row 0 is the state before tuning: its client arrays are NaN (or 0 for counts). Borrowed. Scores
 * that were not taken in a round are NaN. */
typedef struct fbt_round_row {
    int64_t index;          /* 0: before tuning; r: after round r */
    const double *z;        /* [d] server mean */
    double step_size;       /* the server's */
    double step_size_local; /* with which clients start the next round */
    double train_loss, train_accuracy, dev_loss, dev_accuracy, dev_f1, test_loss, test_accuracy, test_f1;
    double condition_number, axis_ratio, path_sigma_norm;               /* of the server's covariance and |p_sigma| */
    const uint8_t *participants;                                        /* [K] 0 or 1 */
    const double *client_fitness, *client_loss, *client_loss_perturbed; /* [K] */
    const double *client_step_size;                                     /* [K, I] */
    const double *client_mean;                                          /* [K, d] or NULL */
    const double *client_condition;                                     /* [K] */
    const int64_t *client_evaluations;                                  /* [K] */
    const double *phase_s;                                              /* [n_phases] seconds, largest over ranks */
    int64_t n_resets;             /* searches of this round that collapsed and began anew, the server's included */
    int64_t bytes_up, bytes_down; /* that a real deployment would send this round, all clients together */
    int64_t n_tokens;             /* tokens through the model this round, all ranks */
    int64_t peak_memory_bytes;    /* largest over ranks */
} fbt_round_row;

#endif
