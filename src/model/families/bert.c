/* BERT (Devlin et al. 2019, arXiv 1810.04805), and the sentence encoders made of it. */
#include "model/families/bert_tensors.h"
#include "model/families/encoder.h"

static const fbt_tensor_rule rules[] = {
    FBT_BERT_TENSORS,
    FBT_DENSE(HEAD, dense, "cls.predictions.transform.dense", HIDDEN, HIDDEN, READOUT),
    FBT_NORM(HEAD, norm, "cls.predictions.transform.LayerNorm"),
    FBT_LABELS("cls.predictions.decoder", "cls.predictions.bias"),
};
static const fbt_tensor_table tensors = {"bert.", "encoder.layer", rules, sizeof rules / sizeof rules[0]};

static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    const fbt_status status = fbt_encoder_read_config(config, shape);
    return status != FBT_OK ? status : fbt_encoder_read_positions(config, shape);
}

/* The head has the layers' activation. */
static fbt_status run_head(fbt_forward *f, fbt_buffer *hidden, fbt_buffer **features)
{
    return fbt_encoder_run_head(f, hidden, f->shape->activation, features);
}

const fbt_model_family fbt_family_bert = {
    FBT_ENCODER_MEMBERS,
    .name = "bert",
    .title = "BERT encoder",
    .types = {"bert"},
    .keys = FBT_BERT_KEYS,
    .tensors = &tensors,
    .named = {{"bert-base", FBT_ENCODER_SHAPE(12, 768, 12, 3072, 30522, 1e-12f, 0, 2)},
              {"minilm-l6", FBT_ENCODER_SHAPE(6, 384, 12, 1536, 30522, 1e-12f, 0, 2)}},
    .read_config = read_config,
    .run_head = run_head,
};
