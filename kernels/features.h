/* Checks for abilities that not every backend has (fbt_feature): arguments are refused by their field's name where the
 * backend at hand would pass them over. Errors: FBT_ERR_UNSUPPORTED; FBT_ERR_ARG for values that make no sense. */
#ifndef FBT_KERNELS_FEATURES_H
#define FBT_KERNELS_FEATURES_H

#include "kernels/backend.h"

fbt_status fbt_check_norm_features(const fbt_backend *b, const fbt_norm *norm, const char *what);
fbt_status fbt_check_attention_features(const fbt_backend *b, const fbt_attention *attention);
fbt_status fbt_check_embedding_features(const fbt_backend *b, const fbt_embedding *embedding);
fbt_status fbt_check_activation_features(const fbt_backend *b, fbt_activation activation);

/* FBT_ERR_ARG: it is not in the list. `what` begins the sentence. */
fbt_status fbt_check_activation(fbt_activation activation, const char *what);

/* Heads of keys and values. */
int64_t fbt_attention_kv_heads(const fbt_attention *attention);

/* Where the rows of keys and values are. */
const fbt_packed *fbt_attention_keys(const fbt_attention *attention);

/* How many keys a sequence's chain of prefixes has. */
int64_t fbt_attention_prefix_rows(const fbt_attention *attention, int64_t sequence);

#endif
