/* Whether a model makes sense to the backend, and a batch to the model. */
#include "model/family.h"
#include "model/model_internal.h"

#include "base/prompt_mode.h"
#include "base/rng_block.h"

#include <inttypes.h>

fbt_status fbt_model_check_shape(const fbt_backend *b, const fbt_model_shape *shape)
{
    fbt_backend_info info;
    const int64_t head_dim = shape->head_dim;
    fbt_backend_get_info(b, &info);
    if (shape->n_hidden % info.size_multiple != 0 || shape->n_intermediate % info.size_multiple != 0 ||
        head_dim % info.size_multiple != 0 || shape->n_hidden > info.max_dim || head_dim > info.max_head_dim) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "the model has hidden_size %" PRId64 ", %" PRId64 " heads of %" PRId64
                        " and intermediate_size %" PRId64 "; backend.name %s takes multiples of %" PRId64
                        ", a hidden_size up to %" PRId64 " and heads up to %" PRId64
                        ": set backend.name to cpu, or take another model",
                        shape->n_hidden, shape->n_heads, head_dim, shape->n_intermediate, info.name, info.size_multiple,
                        info.max_dim, info.max_head_dim);
    }
    return FBT_OK;
}

fbt_status fbt_model_check_readout(const fbt_model_shape *shape, fbt_readout readout)
{
    const fbt_model_family *family = shape->family;
    if ((family->readout_bits >> readout & 1) == 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "%s (%s) is read %s: prepare the data set for one of these", family->kind,
                        family->name, family->read_as);
    }
    return FBT_OK;
}

/* n_prompt: rows at the start that are not tokens. */
static fbt_status check_tokens(const fbt_model_shape *shape, const fbt_batch *batch, int64_t sequence, int64_t n_prompt)
{
    for (int64_t row = batch->offsets[sequence] + n_prompt; row < batch->offsets[sequence + 1]; row++) {
        if (batch->tokens[row] < 0 || batch->tokens[row] >= shape->vocab_size) {
            return fbt_fail(FBT_ERR_ARG,
                            "token %d of sequence %" PRId64 " is outside the model's vocabulary of %" PRId64,
                            batch->tokens[row], sequence, shape->vocab_size);
        }
    }
    return FBT_OK;
}

static fbt_status check_sequence(const fbt_model *model, const fbt_batch *batch, int64_t s, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = &model->shape;
    int64_t length = (int64_t)batch->offsets[s + 1] - batch->offsets[s];
    int64_t n_prompt = fbt_prompt_rows(mode, model->options.n_prompt_tokens);
    int64_t n_rows_without_position = fbt_prompt_rows_without_position(mode, n_prompt);
    if (length < 1 || length <= n_prompt || length > batch->max_length) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " rows, %" PRId64 " of them for the prompt", s,
                 length, n_prompt);
    }
    if (length - n_rows_without_position > shape->n_positions) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " tokens, the model has %" PRId64 " positions", s,
                 length - n_rows_without_position, shape->n_positions);
    }
    FBT_TRY(check_tokens(shape, batch, s, fbt_prompt_rows_in_front(mode, n_prompt)));
    if (mode != FBT_PROMPT_NONE && (batch->prompt_index[s] < 0 || batch->prompt_index[s] >= model->lane->n_prompts)) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " asks for prompt %d of %" PRId64, s, batch->prompt_index[s],
                 model->lane->n_prompts);
    }
    const fbt_origin *origin = &batch->origins[s];
    if (origin->client >= FBT_RNG_N_CLIENTS ||
        (origin->client >= 0 && (origin->sample < 0 || origin->sample >= FBT_RNG_N_CANDIDATES))) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " cannot be perturbed as sample %d of client %d", s, origin->sample,
                 origin->client);
    }
    if (fbt_readout_scores_words(model->options.readout) &&
        (batch->readout[s] < batch->offsets[s] || batch->readout[s] >= batch->offsets[s + 1])) {
        FBT_FAIL(FBT_ERR_ARG, "the row read of sequence %" PRId64 " is outside it", s);
    }
    if (!fbt_readout_scores_words(model->options.readout) && shape->pooling == FBT_POOLING_CLS &&
        batch->readout[s] != batch->offsets[s] + origin->n_placeholders) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " is not read at its first token, by which the model pools", s);
    }
done:
    return status;
}

fbt_status fbt_model_check_batch(const fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    if (batch->offsets[0] != 0 || batch->offsets[batch->n_sequences] != batch->n_rows) {
        FBT_FAIL(FBT_ERR_ARG, "the batch's offsets do not cover its %" PRId64 " rows", batch->n_rows);
    }
    if (batch->n_perturbed > 0 && model->n_perturbations == 0) {
        FBT_FAIL(FBT_ERR_ARG, "the batch has perturbed sequences, and the model was not told how to perturb");
    }
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        FBT_TRY(check_sequence(model, batch, s, mode));
    }
done:
    return status;
}

fbt_status fbt_model_check_labels(const fbt_model *model, const fbt_batch *batch)
{
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        if (batch->labels[s] < 0 || batch->labels[s] >= model->options.n_labels) {
            return fbt_fail(FBT_ERR_ARG, "sequence %" PRId64 " has label %d of %" PRId64, s, batch->labels[s],
                            model->options.n_labels);
        }
    }
    return FBT_OK;
}
