/* The mean of an optimiser's last means: the iterate that is scored and kept, where averaging is asked for (Polyak and
 * Juditsky 1992). It quiets the walk of a search whose fitness is noisy; the search itself goes on from its own mean.
 */
#ifndef FBT_FED_MEAN_WINDOW_H
#define FBT_FED_MEAN_WINDOW_H

#include "base/status.h"
#include "base/typed_array.h"

#include <stdint.h>

/* Zero-initialise; free with fbt_mean_window_clear. */
typedef struct fbt_mean_window {
    int64_t d, size; /* size: how many means count at most */
    int64_t n;       /* that there are                     */
    double *means;   /* [n, d] of [size, d], the oldest first */
    double *average; /* [d] of them, added up in that order */
} fbt_mean_window;

/* Errors: FBT_ERR_MEMORY. */
fbt_status fbt_mean_window_init(fbt_mean_window *window, int64_t d, int64_t size);
void fbt_mean_window_clear(fbt_mean_window *window);

/* Takes a mean [d] in, in the place of the oldest where there are `size` already. */
void fbt_mean_window_add(fbt_mean_window *window, const double *mean);

/* Appends the means as one array, as part of a checkpoint; import takes them from such a list. Errors of import:
 * FBT_ERR_DATA (the array is missing, or not of whole means of finite numbers). */
fbt_status fbt_mean_window_export(const fbt_mean_window *window, fbt_array_list *checkpoint);
fbt_status fbt_mean_window_import(fbt_mean_window *window, const fbt_array *checkpoint);

#endif
