/* Whether a model makes sense to the backend, and a batch to the model. */
#include "model/family.h"
#include "model/model_internal.h"

#include "base/prompt_mode.h"
#include "base/rng_block.h"

#include <inttypes.h>

/* Of the features that are needed one that the backend has not; 0: it has all. */
static fbt_feature find_missing(const fbt_backend_info *info, unsigned needed)
{
    const unsigned missing = needed & ~info->features;
    return (fbt_feature)(missing & (~missing + 1));
}

static fbt_status check_features(const fbt_backend_info *info, const fbt_model_shape *shape)
{
    const unsigned of_family = shape->family->features != NULL ? shape->family->features(shape) : 0;
    const unsigned needed = of_family | (shape->activation == FBT_ACT_SILU ? FBT_FEATURE_SILU : 0U);
    const fbt_feature missing = find_missing(info, needed);
    return missing == 0
               ? FBT_OK
               : fbt_fail(FBT_ERR_UNSUPPORTED, "a model of family %s needs %s, which backend.name %s does not compute",
                          shape->family->name, fbt_feature_name(missing), info->name);
}

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
    return check_features(&info, shape);
}

int64_t fbt_model_rows_without_position(const fbt_model_shape *shape, fbt_prompt_mode mode, int64_t n_tokens)
{
    return shape->family->is_causal ? 0 : fbt_prompt_rows_without_position(mode, n_tokens);
}

int64_t fbt_model_max_length(const fbt_model_shape *shape, const char **what)
{
    const int64_t window = shape->decoder.window;
    const bool has_window = window > 0 && window < shape->n_positions;
    *what = has_window ? "rows of sliding_window, beyond which it is not computed" : "positions";
    return has_window ? window : shape->n_positions;
}

bool fbt_model_is_causal(const fbt_model_shape *shape)
{
    return shape->family->is_causal;
}

int64_t fbt_model_shared_rows(const fbt_model_shape *shape, const fbt_model_options *options)
{
    const bool shares = shape->family->is_causal && !options->full_sequences;
    return shares ? fbt_prompt_rows_in_front(options->prompt_mode, options->n_prompt_tokens) : 0;
}

fbt_readout fbt_model_default_readout(const fbt_model_shape *shape)
{
    return (shape->family->readout_bits >> FBT_READOUT_MASK & 1) != 0 ? FBT_READOUT_MASK : FBT_READOUT_LAST;
}

fbt_status fbt_model_check_scoring(const fbt_backend *b, const fbt_model_options *options)
{
    fbt_backend_info info;
    fbt_backend_get_info(b, &info);
    const fbt_feature missing = find_missing(&info, FBT_FEATURE_LOG_PROBS | FBT_FEATURE_KEY_ROWS);
    if (fbt_model_scores_tokens(options) && missing != 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "model.label_scoring %s needs %s, which backend.name %s does not compute: set backend.name to "
                        "cpu, or model.label_scoring to first",
                        fbt_label_scoring_names[options->label_scoring], fbt_feature_name(missing), info.name);
    }
    return FBT_OK;
}

fbt_status fbt_model_check_readout(const fbt_model_shape *shape, fbt_readout readout)
{
    const fbt_model_family *family = shape->family;
    if ((family->readout_bits >> readout & 1) == 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "%s (%s) is read %s: prepare the data set for that", family->kind,
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

/* Tokens are numbered behind the rows in front. */
static fbt_status check_origin(const fbt_batch *batch, int64_t sequence, int64_t n_in_front)
{
    const fbt_origin *origin = &batch->origins[sequence];
    const bool is_perturbed = origin->client >= 0;
    if (origin->client >= FBT_RNG_N_CLIENTS ||
        (is_perturbed &&
         (origin->sample < 0 || origin->sample >= FBT_RNG_N_CANDIDATES || origin->n_placeholders != n_in_front))) {
        return fbt_fail(FBT_ERR_ARG,
                        "sequence %" PRId64 " cannot be perturbed as sample %d of client %d behind %d rows", sequence,
                        origin->sample, origin->client, origin->n_placeholders);
    }
    return FBT_OK;
}

static fbt_status check_sequence(const fbt_model *model, const fbt_batch *batch, int64_t s, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = &model->shape;
    int64_t length = (int64_t)batch->offsets[s + 1] - batch->offsets[s];
    int64_t n_prompt = fbt_prompt_rows(mode, model->options.n_prompt_tokens);
    const int64_t n_in_front = fbt_prompt_rows_in_front(mode, n_prompt);
    const char *what;
    const int64_t most = fbt_model_max_length(shape, &what);
    const int64_t n_with_position =
        length - fbt_model_rows_without_position(shape, mode, n_prompt) + model->label_words.sizes.longest;
    if (length < 1 || length <= n_prompt || length > batch->max_length) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " rows, %" PRId64 " of them for the prompt", s,
                 length, n_prompt);
    }
    if (n_with_position > most) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " rows, more than the model's %" PRId64 " %s", s,
                 n_with_position, most, what);
    }
    FBT_TRY(check_tokens(shape, batch, s, n_in_front));
    if (mode != FBT_PROMPT_NONE && (batch->prompt_index[s] < 0 || batch->prompt_index[s] >= model->stream->n_prompts)) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " asks for prompt %d of %" PRId64, s, batch->prompt_index[s],
                 model->stream->n_prompts);
    }
    FBT_TRY(check_origin(batch, s, n_in_front));
    if (fbt_readout_scores_words(model->options.readout) &&
        (batch->readout[s] < batch->offsets[s] || batch->readout[s] >= batch->offsets[s + 1])) {
        FBT_FAIL(FBT_ERR_ARG, "the row read of sequence %" PRId64 " is outside it", s);
    }
    if (!fbt_readout_scores_words(model->options.readout) && shape->pooling == FBT_POOLING_CLS &&
        batch->readout[s] != batch->offsets[s] + batch->origins[s].n_placeholders) {
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
