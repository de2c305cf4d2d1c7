/* Least, median and largest numbers of what the clients of a run file hold, as a line for people. */
#ifndef FBT_RECORD_RUN_CLIENTS_H
#define FBT_RECORD_RUN_CLIENTS_H

#include "base/status.h"

#include <hdf5.h>
#include <stdio.h>

/* Samples and classes of the clients. Errors: FBT_ERR_IO, FBT_ERR_DATA (damaged), FBT_ERR_MEMORY. */
fbt_status fbt_run_clients_show(hid_t file, FILE *stream);

#endif
