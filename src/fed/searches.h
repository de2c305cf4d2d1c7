/* The server's whole state between two rounds: a search (server.h) for each block of z (block.h), of which a round
 * updates one, and the result that they make together. Every rank keeps an equal copy. */
#ifndef FBT_FED_SEARCHES_H
#define FBT_FED_SEARCHES_H

#include "comm/comm.h"
#include "config/settings.h"
#include "fed/block.h"
#include "fed/mean_window.h"
#include "fed/server.h"

/* Zero-initialise; free with fbt_searches_clear. */
typedef struct fbt_searches {
    fbt_server *servers; /* [n] */
    int64_t n;
    int64_t d;              /* of z                                               */
    fbt_block block;        /* the one that the last round has searched: z is `z` */
    fbt_server *server;     /* its search                                         */
    double *z;              /* [d]: the means of all searches                     */
    fbt_mean_window window; /* of z; size 0: the result is z itself               */
} fbt_searches;

/* Searches from z = 0, of optimisers with these options, whose result is the mean of the last fed.average_means z.
 * Errors: the optimiser's, FBT_ERR_MEMORY. */
fbt_status fbt_searches_init(fbt_searches *searches, const fbt_optimiser_options *options,
                             const fbt_settings *settings);
void fbt_searches_clear(fbt_searches *searches);

/* Makes block and server those of a round >= 1, and takes the round's mean over once it is made. */
void fbt_searches_begin_round(fbt_searches *searches, const fbt_settings *settings, uint32_t round);
void fbt_searches_end_round(fbt_searches *searches);

/* The point [d] that is scored and kept: borrowed, valid until a round ends. Before the first round its start. */
const double *fbt_searches_result(const fbt_searches *searches);

/* How often searches have collapsed and begun anew. */
int64_t fbt_searches_n_resets(const fbt_searches *searches);

/* Replaces the list by the state. Not collective. */
fbt_status fbt_searches_export(const fbt_searches *searches, fbt_array_list *checkpoint);

/* Makes them what they were when the arrays were exported. checkpoint: on rank 0; ignored elsewhere. Collective.
 * Errors: FBT_ERR_DATA (an array is missing or damaged, or was made with other settings), FBT_ERR_NUMERIC,
 * FBT_ERR_MEMORY. */
fbt_status fbt_searches_import(fbt_searches *searches, const fbt_comm *world, const fbt_array *checkpoint);

#endif
