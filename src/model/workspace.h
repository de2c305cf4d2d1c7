/* Memory of the forward passes on one lane, and how much of it a batch takes. */
#ifndef FBT_MODEL_WORKSPACE_H
#define FBT_MODEL_WORKSPACE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

#include <stdint.h>

/* One buffer each, grown to the largest batch and kept. n: rows, s: sequences, H: hidden size. */
typedef enum fbt_room {
    FBT_ROOM_TOKENS,       /* int32 [n]                                                        */
    FBT_ROOM_OFFSETS,      /* int32 [s + 1]                                                    */
    FBT_ROOM_PROMPT_INDEX, /* int32 [s]                                                        */
    FBT_ROOM_READOUT,      /* int32 [s]                                                        */
    FBT_ROOM_LABELS,       /* int32 [s]                                                        */
    FBT_ROOM_ORIGINS,      /* fbt_origin [s]                                                   */
    FBT_ROOM_FROZEN,       /* uint8 [n]                                                        */
    FBT_ROOM_X,            /* activations [n, H]: the residual stream                          */
    FBT_ROOM_WIDE,         /* activations [n, max(3 H, intermediate)]: q, k, v; feed-forward   */
    FBT_ROOM_CONTEXT,      /* activations [n, H]: attention's result; the head's inner layer   */
    FBT_ROOM_QUERY,        /* activations [s, H]: queries of the rows read                     */
    FBT_ROOM_READ,         /* activations [s, H]: residual stream of the rows read             */
    FBT_ROOM_UNITS,        /* int32 [s + 1]: offsets of the rows read, one a sequence; pooling by [CLS] */
    FBT_ROOM_POOLED,       /* float [s, H]: embedding readout                                  */
    FBT_ROOM_LOGITS,       /* float [s, n_labels]                                              */
    FBT_ROOM_LOSSES,       /* float [s]                                                        */
    FBT_ROOM_PREDICTIONS,  /* int32 [s]                                                        */
    FBT_ROOM_Z,            /* float [n_prompts, d]                                             */
    FBT_ROOM_PROMPTS,      /* float [n_prompts, P, H]                                          */
    FBT_N_ROOMS
} fbt_room;

typedef struct fbt_workspace {
    fbt_buffer *rooms[FBT_N_ROOMS];
    int64_t room_bytes[FBT_N_ROOMS];
} fbt_workspace;

/* Bytes of every room for batches within `limits`. d: dimension of the search; 0 leaves the prompts' rooms empty. */
void fbt_workspace_size(const fbt_model_shape *shape, const fbt_model_options *options, fbt_dtype activations,
                        int64_t d, const fbt_model_limits *limits, int64_t room_bytes[FBT_N_ROOMS]);

/* Makes every room at least as large as room_bytes says; what a room held is lost when it grows. */
fbt_status fbt_workspace_reserve(fbt_backend *b, fbt_workspace *w, const int64_t room_bytes[FBT_N_ROOMS]);

void fbt_workspace_clear(fbt_backend *b, fbt_workspace *w);

#endif
