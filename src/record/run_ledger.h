/* Bytes sent, and how they are compared.
 *
 * A run file says how many bytes a number took on the wire (attribute value_bytes of rounds/cost). Files of earlier
 * versions do not: their numbers were used as float64, but counted as 4 bytes. So that the same run has the same digest
 * in both, bytes are hashed and compared as if each number had taken 4; and a file that began without the attribute is
 * gone on with as it began. */
#ifndef FBT_RECORD_RUN_LEDGER_H
#define FBT_RECORD_RUN_LEDGER_H

#include "base/status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

enum { FBT_RUN_LEDGER_VALUE_BYTES = 4 }; /* of files that do not tell, and of comparisons */

/* Bytes of a number in the file's ledger. Errors: FBT_ERR_DATA (damaged). */
fbt_status fbt_run_ledger_read(hid_t file, int64_t *value_bytes);

/* Says so in a new file's group rounds/cost. */
fbt_status fbt_run_ledger_write(hid_t cost, int64_t value_bytes);

/* Whether the data set at `path` ("rounds/cost/bytes_up") counts bytes sent. */
bool fbt_run_ledger_has(const char *path);

/* Bytes counted with `from` bytes a number, as if it were `to`. */
int64_t fbt_run_ledger_convert(int64_t n_bytes, int64_t from, int64_t to);

#endif
