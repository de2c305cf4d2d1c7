/* The ranks that compute on one device: its memory, one copy of the weights where it can be had, and who is where. */
#ifndef FBT_RUN_DEVICE_H
#define FBT_RUN_DEVICE_H

#include "base/status.h"
#include "comm/comm.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "run/observer.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ranks of comm on this rank's device, in rank order. Collective over comm. Release *ranks with fbt_comm_free. */
fbt_status fbt_device_split(const fbt_comm *comm, fbt_backend *b, fbt_comm **ranks);

/* "rank 0: host NAME (GPU-uuid)", a line for every rank, the last without its newline. The same on every rank.
 * Collective over comm. Release *text with free(). */
fbt_status fbt_device_list(const fbt_comm *comm, fbt_backend *b, char **text);

/* Memory that the ranks of a device need together, and that it has left. Collective over the device's ranks. */
typedef struct fbt_device_memory {
    int64_t constants;  /* weights and tables; once where the ranks can share them */
    int64_t projection; /* of all ranks */
    int64_t workspace;  /* of all ranks and streams */
    int64_t free;
} fbt_device_memory;
fbt_status fbt_device_sum_memory(const fbt_comm *ranks, fbt_backend *b, const fbt_model_plan *plan,
                                 fbt_device_memory *memory);

/* FBT_ERR_MEMORY with a sentence where the device has too little. n_rows: of this rank's largest batch, as it is
 * planned. Collective over the device's ranks, all of which get the same. */
fbt_status fbt_device_check_memory(const fbt_comm *ranks, fbt_backend *b, const fbt_model_plan *plan, int64_t n_rows);

/* Opens the model folder on all ranks of comm, into the open backend, with options that are the same on each but for
 * is_imported, which is set here: where the device's ranks can share matrices and tables, the first of them opens them
 * and exports a descriptor, which the others import instead of loading; where they cannot, each opens its own. What is
 * shared, or why not, is told to `observer` as notes. Collective over comm; errors agreed. On failure *model may be set
 * on some ranks. Close by fbt_device_close_model. */
fbt_status fbt_device_open_model(const fbt_comm *comm, const fbt_comm *ranks, fbt_backend *b, const char *folder,
                                 const fbt_model_options *options, const fbt_run_observer *observer, fbt_model **model);

/* Closes model and backend (NULL is fine) on every rank, on the device's first rank, whose matrices the others may use,
 * last. Collective over the device's ranks; ranks is NULL where they were never found. */
void fbt_device_close_model(const fbt_comm *ranks, fbt_backend *b, fbt_model *model);

#ifdef __cplusplus
}
#endif

#endif
