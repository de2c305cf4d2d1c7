/* Inside the model: its object, and what its files share. */
#ifndef FBT_MODEL_INTERNAL_H
#define FBT_MODEL_INTERNAL_H

#include "model/forward.h"
#include "model/label_words.h"
#include "model/levels.h"
#include "model/model.h"
#include "model/weights.h"
#include "model/workspace.h"

/* Work under way on one stream of the backend. */
typedef struct fbt_model_stream {
    fbt_workspace workspace;
    int64_t n_prompts;    /* of the last set_prompts */
    fbt_buffer **deeper;  /* [n_projections]: prompts of layer l; [0] is NULL: the workspace has them */
    int64_t deeper_bytes; /* of each */
} fbt_model_stream;

struct fbt_model {
    fbt_backend *b;
    fbt_model_shape shape;
    fbt_model_options options; /* label_... are NULL: they were borrowed during open                     */
    fbt_weights weights;
    fbt_matrix **projections; /* [n_projections], A_l; NULL: not set                                    */
    int64_t n_projections;
    int64_t n_search; /* d / n_projections; 0 before the projection                             */
    float *words;     /* [n_words, n_hidden]: embeddings of the words that prompts are made of; NULL: none set */
    fbt_perturbation perturbation;
    int64_t n_perturbations; /* how often the perturbation was set: graphs made before are of another  */
    float *z;                /* [z_capacity]: search points as floats, or prompts, until they are written */
    int64_t z_capacity;
    int32_t *units; /* [n_units]: 0, 1, 2, ...: offsets of sequences of one row               */
    int64_t n_units;
    int32_t *prompt_rows; /* [n_prompt_rows]: of encoders with deep prompts, as decoders' lists have it  */
    int64_t n_prompt_rows;
    fbt_label_words label_words; /* empty where labels are scored by their first tokens */
    fbt_level_lists lists;       /* of the batch last staged, of decoders                                 */
    fbt_model_stream *streams;   /* [n_streams] */
    int n_streams;
    fbt_model_stream *stream; /* the current one */
};

/* Elements of one soft prompt. */
static inline int64_t fbt_model_prompt_items(const fbt_model *model)
{
    return model->options.n_prompt_tokens * model->shape.n_hidden;
}

/* The prompts of layer l, [n_prompts, P, n_hidden], on the current stream. */
static inline fbt_buffer *fbt_model_prompts(const fbt_model *model, int64_t layer)
{
    return layer == 0 ? model->stream->workspace.buffers[FBT_BUFFER_PROMPTS] : model->stream->deeper[layer];
}

/* A buffer of the current stream. */
static inline fbt_buffer *fbt_model_buffer(const fbt_model *model, fbt_workspace_buffer buffer)
{
    return model->stream->workspace.buffers[buffer];
}

/* Checks what no backend could make sense of. Errors: FBT_ERR_ARG. */
fbt_status fbt_model_check_batch(const fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode);
fbt_status fbt_model_check_labels(const fbt_model *model, const fbt_batch *batch);

/* fbt_model_reserve for the current stream. */
fbt_status fbt_model_reserve_stream(fbt_model *model, const fbt_model_limits *limits);

/* Makes the current stream's workspace large enough for the batch and writes what the forward pass reads. The batch
 * must have been checked and not be empty; *forward is valid while the batch is, until the next one is staged. */
fbt_status fbt_model_stage(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode, fbt_forward *forward);

#endif
