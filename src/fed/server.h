/* The server's whole state between two rounds; every rank keeps an equal copy. */
#ifndef FBT_FED_SERVER_H
#define FBT_FED_SERVER_H

#include "base/status.h"
#include "base/typed_array.h"
#include "comm/comm.h"
#include "fed/mean_window.h"
#include "optim/optimiser.h"

/* Zero-initialise; free with fbt_server_clear. */
typedef struct fbt_server {
    fbt_optimiser *optimiser;
    double step_size_local; /* with which the clients start their next local search */
    fbt_mean_window window; /* size 0: the result is the optimiser's mean           */
} fbt_server;

/* A search from z = 0. */
fbt_status fbt_server_init(fbt_server *server, const fbt_optimiser_options *options, double step_size);
void fbt_server_clear(fbt_server *server);

/* Makes the mean of the last n_means means, taken at the end of each round, the server's result; 1: the last alone. */
fbt_status fbt_server_average(fbt_server *server, int64_t n_means);
void fbt_server_end_round(fbt_server *server);

/* The point [d] that is scored and kept: borrowed, valid until the server changes. Before the first round its start. */
const double *fbt_server_result(const fbt_server *server);

/* Replaces the list by the server's state. Not collective. */
fbt_status fbt_server_export(const fbt_server *server, fbt_array_list *checkpoint);

/* Makes the server what it was when the arrays were exported. checkpoint: on rank 0; ignored elsewhere. Collective.
 * Errors: FBT_ERR_DATA (an array is missing or damaged, or was made with other settings), FBT_ERR_NUMERIC,
 * FBT_ERR_MEMORY. */
fbt_status fbt_server_import(fbt_server *server, const fbt_comm *world, const fbt_array *checkpoint);

#endif
