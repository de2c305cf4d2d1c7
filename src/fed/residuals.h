/* Remainders that quantised messages have left out (error feedback, transform_quantise.c), of every client: state that
 * outlives a round. Every rank has all of it, as any rank may host any client. */
#ifndef FBT_FED_RESIDUALS_H
#define FBT_FED_RESIDUALS_H

#include "base/status.h"
#include "base/typed_array.h"
#include "comm/comm.h"

/* residuals: [n], or NULL with n = 0, of which there is nothing to keep. */

/* Appends them to a checkpoint. Not collective. */
fbt_status fbt_residuals_export(const double *residuals, int64_t n, fbt_array_list *checkpoint);

/* Makes them what they were when the arrays were exported. checkpoint: on rank 0; ignored elsewhere. Collective.
 * Errors: FBT_ERR_DATA (the array is missing or damaged). */
fbt_status fbt_residuals_import(double *residuals, int64_t n, const fbt_comm *world, const fbt_array *checkpoint);

#endif
