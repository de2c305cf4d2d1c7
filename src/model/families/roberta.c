/* RoBERTa (Liu et al. 2019, arXiv 1907.11692); XLM-RoBERTa differs from it in its vocabulary alone. */
#include "model/families/bert_tensors.h"
#include "model/families/encoder.h"

static const fbt_tensor_rule rules[] = {
    FBT_BERT_TENSORS,
    FBT_DENSE(HEAD, dense, "lm_head.dense", HIDDEN, HIDDEN, READOUT),
    FBT_NORM(HEAD, norm, "lm_head.layer_norm"),
    FBT_LABELS("lm_head.decoder", "lm_head.bias"),
};
static const fbt_tensor_table tensors = {"roberta.", "encoder.layer", rules, sizeof rules / sizeof rules[0]};

static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    const fbt_status status = fbt_encoder_read_config(config, shape);
    return status != FBT_OK ? status : fbt_encoder_read_positions_behind_padding(config, shape);
}

/* The head always has GELU, whatever the layers have. */
static fbt_status run_head(fbt_forward *f, fbt_buffer *hidden, fbt_buffer **features)
{
    return fbt_encoder_run_head(f, hidden, FBT_ACT_GELU_ERF, features);
}

const fbt_model_family fbt_family_roberta = {
    FBT_ENCODER_MEMBERS,
    .name = "roberta",
    .title = "RoBERTa encoder",
    .types = {"roberta", "xlm-roberta"},
    .keys = FBT_BERT_KEYS,
    .tensors = &tensors,
    .named = {{"roberta-large", FBT_ENCODER_SHAPE(24, 1024, 16, 4096, 50265, 1e-5f, 2, 1)},
              {"roberta-base", FBT_ENCODER_SHAPE(12, 768, 12, 3072, 50265, 1e-5f, 2, 1)}},
    .read_config = read_config,
    .run_head = run_head,
};
