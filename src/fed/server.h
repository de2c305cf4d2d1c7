/* A search of the server: what a round's aggregation updates. */
#ifndef FBT_FED_SERVER_H
#define FBT_FED_SERVER_H

#include "base/status.h"
#include "base/typed_array.h"
#include "optim/optimiser.h"

/* Zero-initialise; free with fbt_server_clear. */
typedef struct fbt_server {
    fbt_optimiser *optimiser;
    double step_size_local; /* with which the clients start their next local search */
} fbt_server;

/* A search from 0. */
fbt_status fbt_server_init(fbt_server *server, const fbt_optimiser_options *options, double step_size);
void fbt_server_clear(fbt_server *server);

/* Appends the state, as arrays whose names begin with the prefix; import takes it from such a list. Errors of import:
 * FBT_ERR_DATA (an array is missing or damaged, or was made with other settings), FBT_ERR_NUMERIC, FBT_ERR_MEMORY. */
fbt_status fbt_server_export(const fbt_server *server, const char *prefix, fbt_array_list *checkpoint);
fbt_status fbt_server_import(fbt_server *server, const char *prefix, const fbt_array *checkpoint);

#endif
