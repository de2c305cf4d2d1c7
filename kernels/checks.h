/* Checks of arguments that every backend makes alike. Errors: FBT_ERR_ARG. */
#ifndef FBT_KERNELS_CHECKS_H
#define FBT_KERNELS_CHECKS_H

#include "kernels/backend.h"

/* That a buffer of `have_bytes` (-1: there is none) holds n_items of item_bytes; `what` names it in the sentence. */
fbt_status fbt_check_size(int64_t have_bytes, int64_t n_items, int64_t item_bytes, const char *what);

/* That the host's offsets cut n_rows into n_sequences of at most max_length. */
fbt_status fbt_check_packed(const fbt_packed *packed);

#endif
