/* The columns that a row of the run file has of the clients that take part in its round. */
#ifndef FBT_FED_CLIENT_VALUES_H
#define FBT_FED_CLIENT_VALUES_H

#include "config/settings.h"
#include "fed/block.h"
#include "fed/message.h"
#include "fed/reports.h"

#include <stdint.h>

/* Columns of the row (fed/round_row.h): [m], [m, I] or [m, d], in the participants' order. Behind those who report
 * there are -1, NaN or 0. Zero-initialise; free with fbt_client_values_clear. */
typedef struct fbt_client_values {
    int64_t m, n_generations, d;
    int64_t *participants;
    double *fitness, *loss, *loss_perturbed, *condition;
    double *step_size;
    double *mean; /* NULL without run.client_means */
    int64_t *evaluations;
} fbt_client_values;

/* Errors: FBT_ERR_MEMORY. */
fbt_status fbt_client_values_init(fbt_client_values *values, const fbt_settings *settings);
void fbt_client_values_clear(fbt_client_values *values);

/* Makes them those of a round in which nobody takes part. */
void fbt_client_values_empty(fbt_client_values *values);

/* Takes them from a round's messages; what those do not have is NaN, or the server's mean. block: that the round has
 * searched, of the server's means. */
void fbt_client_values_fill(fbt_client_values *values, const fbt_settings *settings, const fbt_round_reports *round,
                            const fbt_messages *up, const fbt_block *block);

#endif
