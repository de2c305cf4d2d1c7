/* The forward pass of a BERT or RoBERTa encoder (Devlin et al. 2019, arXiv 1810.04805) over a packed batch, composed
 * from a backend's operations. */
#ifndef FBT_MODEL_ENCODER_H
#define FBT_MODEL_ENCODER_H

#include "backend.h"
#include "batch.h"
#include "model.h"
#include "status.h"
#include "weights.h"

/* The workspace: one buffer each, grown to the largest batch and kept. n: rows, s: sequences, H: hidden size. */
typedef enum fbt_room {
    FBT_ROOM_TOKENS,       /* int32 [n]                                                        */
    FBT_ROOM_OFFSETS,      /* int32 [s + 1]                                                    */
    FBT_ROOM_PROMPT_INDEX, /* int32 [s]                                                        */
    FBT_ROOM_READOUT,      /* int32 [s]                                                        */
    FBT_ROOM_X,            /* activations [n, H]: the residual stream                          */
    FBT_ROOM_WIDE,         /* activations [n, max(3 H, intermediate)]: q, k, v; feed-forward   */
    FBT_ROOM_CONTEXT,      /* activations [n, H]: attention's result; the head's inner layer   */
    FBT_ROOM_QUERY,        /* activations [s, H]: queries of the rows read                     */
    FBT_ROOM_READ,         /* activations [s, H]: residual stream of the rows read             */
    FBT_ROOM_POOLED,       /* float [s, H]: embedding readout                                  */
    FBT_ROOM_LABELS,       /* int32 [s]; this and what follows is for the model around it      */
    FBT_ROOM_LOGITS,       /* float [s, n_labels]                                              */
    FBT_ROOM_LOSSES,       /* float [s]                                                        */
    FBT_ROOM_PREDICTIONS,  /* int32 [s]                                                        */
    FBT_ROOM_Z,            /* float [n_prompts, d]                                             */
    FBT_ROOM_PROMPTS,      /* float [n_prompts, P, H]                                          */
    FBT_N_ROOMS
} fbt_room;

typedef struct fbt_encoder {
    fbt_backend *b;
    fbt_model_shape shape;
    fbt_readout readout;
    int64_t n_prompt_tokens;
    fbt_weights weights;
    fbt_buffer *rooms[FBT_N_ROOMS];
    int64_t room_bytes[FBT_N_ROOMS];
    fbt_model_profile *profile; /* NULL: do not measure */
} fbt_encoder;

/* Makes a room at least n_bytes large; what it held is lost when it grows. */
fbt_status fbt_encoder_reserve(fbt_encoder *e, fbt_room room, int64_t n_bytes);

/* Reserves a room and fills it from the host. */
fbt_status fbt_encoder_fill(fbt_encoder *e, fbt_room room, const void *host, int64_t n_bytes);

/* What the logits are made from, per sequence: mask readout: the head's last hidden state of the row read, activation
 * type; embedding readout: the normalised mean of all rows, float. *features: [n_sequences, H], belongs to the encoder.
 * The batch must have been checked and not be empty; prompts are those in FBT_ROOM_PROMPTS. Asynchronous: the batch
 * must live until the next wait. */
fbt_status fbt_encoder_forward(fbt_encoder *e, const fbt_batch *batch, fbt_prompt_mode mode,
                               const fbt_buffer **features);

/* Around an operation that is to be measured: begin = fbt_encoder_begin(e); the operation; fbt_encoder_end(...). */
double fbt_encoder_begin(const fbt_encoder *e);
fbt_status fbt_encoder_end(fbt_encoder *e, fbt_model_operation operation, double begin_s, double flops);

/* Frees weights and workspace. */
void fbt_encoder_clear(fbt_encoder *e);

#endif
