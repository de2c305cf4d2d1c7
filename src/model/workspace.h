/* Memory of the forward passes on one stream, and how much of it a batch takes. */
#ifndef FBT_MODEL_WORKSPACE_H
#define FBT_MODEL_WORKSPACE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/label_words.h"
#include "model/model.h"

#include <stdint.h>

/* One buffer each, grown to the largest batch and kept. n: rows, s: sequences, r: rows read, t: targets, H: hidden
 * size. Those from X to READ are the forward pass's own: the family says what it keeps there, and how much that is. */
typedef enum fbt_workspace_buffer {
    FBT_BUFFER_TOKENS,         /* int32 [n]                                                        */
    FBT_BUFFER_OFFSETS,        /* int32 [s + 1]                                                    */
    FBT_BUFFER_PROMPT_INDEX,   /* int32 [s]; encoders                                              */
    FBT_BUFFER_PROMPT_ROWS,    /* int32 [n]; decoders, and encoders with deep prompts              */
    FBT_BUFFER_POSITIONS,      /* int32 [n]; decoders, as the three below                          */
    FBT_BUFFER_READ_POSITIONS, /* int32 [r]                                                        */
    FBT_BUFFER_PREFIX_OFFSETS, /* int32 [s + 1]                                                    */
    FBT_BUFFER_PREFIX_INDEX,   /* int32 [s]                                                        */
    FBT_BUFFER_READOUT,        /* int32 [r]                                                        */
    FBT_BUFFER_LABEL_OFFSETS,  /* int32 [s * labels of several tokens + 1]                         */
    FBT_BUFFER_LABEL_INDEX,    /* int32 [s * labels of several tokens]                             */
    FBT_BUFFER_LABEL_READS,    /* int32 [s * labels of several tokens + 1]                         */
    FBT_BUFFER_TARGET_ROWS,    /* int32 [t]                                                        */
    FBT_BUFFER_TARGET_TOKENS,  /* int32 [t]                                                        */
    FBT_BUFFER_LOG_PROBS,      /* float [t]                                                        */
    FBT_BUFFER_LABELS,         /* int32 [s]                                                        */
    FBT_BUFFER_ORIGINS,        /* fbt_origin [s]                                                   */
    FBT_BUFFER_FROZEN,         /* uint8 [n]                                                        */
    FBT_BUFFER_X,              /* [n, H]: the residual stream: activations; decoders: residual type */
    FBT_BUFFER_WIDE,           /* activations [n, the widest product]                              */
    FBT_BUFFER_NORMED,         /* activations [n, H]: what the next product multiplies; decoders    */
    FBT_BUFFER_GATED,          /* activations [n, n_intermediate]: decoders with a gate             */
    FBT_BUFFER_CONTEXT,        /* activations [n, H]: attention's result; the head's inner layer   */
    FBT_BUFFER_QUERY,          /* activations [r, H]: queries of the rows read                     */
    FBT_BUFFER_READ,           /* [r, H]: residual stream of the rows read, of X's type            */
    FBT_BUFFER_UNITS,          /* int32 [s + 1]: offsets of the rows read, one a sequence; pooling by [CLS] */
    FBT_BUFFER_POOLED,         /* float [s, H]: embedding readout                                  */
    FBT_BUFFER_LOGITS,         /* float [s, n_labels]                                              */
    FBT_BUFFER_LOSSES,         /* float [s]                                                        */
    FBT_BUFFER_PREDICTIONS,    /* int32 [s]                                                        */
    FBT_BUFFER_Z,              /* float [n_prompts, d]                                             */
    FBT_BUFFER_PROMPTS,        /* float [n_prompts, P, H]                                          */
    FBT_N_BUFFERS
} fbt_workspace_buffer;

typedef struct fbt_workspace {
    fbt_buffer *buffers[FBT_N_BUFFERS];
    int64_t bytes[FBT_N_BUFFERS];
} fbt_workspace;

/* Use of a workspace. */
typedef struct fbt_workspace_request {
    const fbt_model_options *options;
    const fbt_types *types;
    int64_t n_search; /* d: dimension of the search; 0 leaves the prompts' buffers empty */
    fbt_label_sizes labels;
    fbt_model_limits limits;
} fbt_workspace_request;

/* Rows that are read of n_sequences: one of each, and all of labels' behind it. */
static inline int64_t fbt_workspace_rows_read(const fbt_label_sizes *labels, int64_t n_sequences)
{
    return n_sequences * (1 + labels->n_rows);
}

/* Bytes of every buffer for batches within the limits. */
void fbt_workspace_plan(const fbt_model_shape *shape, const fbt_workspace_request *request,
                        int64_t bytes[FBT_N_BUFFERS]);

/* Makes every buffer at least as large as `bytes` says; what a buffer held is lost when it grows. */
fbt_status fbt_workspace_reserve(fbt_backend *b, fbt_workspace *w, const int64_t bytes[FBT_N_BUFFERS]);

void fbt_workspace_clear(fbt_backend *b, fbt_workspace *w);

#endif
