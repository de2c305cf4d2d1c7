/* Memory of the forward passes on one lane, and how much of it a batch takes. */
#ifndef FBT_MODEL_WORKSPACE_H
#define FBT_MODEL_WORKSPACE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

#include <stdint.h>

/* One buffer each, grown to the largest batch and kept. n: rows, s: sequences, H: hidden size. Those from X to READ are
 * the forward pass's own: the family says what it keeps there, and how much that is. */
typedef enum fbt_workspace_buffer {
    FBT_BUFFER_TOKENS,       /* int32 [n]                                                        */
    FBT_BUFFER_OFFSETS,      /* int32 [s + 1]                                                    */
    FBT_BUFFER_PROMPT_INDEX, /* int32 [s]                                                        */
    FBT_BUFFER_READOUT,      /* int32 [s]                                                        */
    FBT_BUFFER_LABELS,       /* int32 [s]                                                        */
    FBT_BUFFER_ORIGINS,      /* fbt_origin [s]                                                   */
    FBT_BUFFER_FROZEN,       /* uint8 [n]                                                        */
    FBT_BUFFER_X,            /* activations [n, H]: the residual stream                          */
    FBT_BUFFER_WIDE,         /* activations [n, the widest product]                              */
    FBT_BUFFER_CONTEXT,      /* activations [n, H]: attention's result; the head's inner layer   */
    FBT_BUFFER_QUERY,        /* activations [s, H]: queries of the rows read                     */
    FBT_BUFFER_READ,         /* activations [s, H]: residual stream of the rows read             */
    FBT_BUFFER_UNITS,        /* int32 [s + 1]: offsets of the rows read, one a sequence; pooling by [CLS] */
    FBT_BUFFER_POOLED,       /* float [s, H]: embedding readout                                  */
    FBT_BUFFER_LOGITS,       /* float [s, n_labels]                                              */
    FBT_BUFFER_LOSSES,       /* float [s]                                                        */
    FBT_BUFFER_PREDICTIONS,  /* int32 [s]                                                        */
    FBT_BUFFER_Z,            /* float [n_prompts, d]                                             */
    FBT_BUFFER_PROMPTS,      /* float [n_prompts, P, H]                                          */
    FBT_N_BUFFERS
} fbt_workspace_buffer;

typedef struct fbt_workspace {
    fbt_buffer *buffers[FBT_N_BUFFERS];
    int64_t bytes[FBT_N_BUFFERS];
} fbt_workspace;

/* What a workspace is for. */
typedef struct fbt_workspace_request {
    const fbt_model_options *options;
    fbt_dtype activations; /* type of */
    int64_t n_search;      /* d: dimension of the search; 0 leaves the prompts' buffers empty */
    fbt_model_limits limits;
} fbt_workspace_request;

/* Bytes of every buffer for batches within the limits. */
void fbt_workspace_plan(const fbt_model_shape *shape, const fbt_workspace_request *request,
                        int64_t bytes[FBT_N_BUFFERS]);

/* Makes every buffer at least as large as `bytes` says; what a buffer held is lost when it grows. */
fbt_status fbt_workspace_reserve(fbt_backend *b, fbt_workspace *w, const int64_t bytes[FBT_N_BUFFERS]);

void fbt_workspace_clear(fbt_backend *b, fbt_workspace *w);

#endif
