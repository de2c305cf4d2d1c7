/* What not every backend computes (fbt_feature): arguments are refused by their field's name where the backend at hand
 * would pass them over. All return FBT_ERR_UNSUPPORTED, or FBT_ERR_ARG for values that make no sense. */
#ifndef FBT_KERNELS_FEATURES_H
#define FBT_KERNELS_FEATURES_H

#include "kernels/backend.h"

fbt_status fbt_check_norm_features(const fbt_backend *b, const fbt_norm *norm, const char *what);
fbt_status fbt_check_attention_features(const fbt_backend *b, const fbt_attention *attention);
fbt_status fbt_check_embedding_features(const fbt_backend *b, const fbt_embedding *embedding);
fbt_status fbt_check_activation_features(const fbt_backend *b, fbt_activation activation);

/* Heads of keys and values. */
int64_t fbt_attention_kv_heads(const fbt_attention *attention);

/* Where the rows of keys and values are. */
const fbt_packed *fbt_attention_keys(const fbt_attention *attention);

#endif
