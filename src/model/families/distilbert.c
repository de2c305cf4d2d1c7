/* DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without token types, under other names. */
#include "model/families/encoder.h"
#include "model/tensor_rules.h"

static const fbt_tensor_rule rules[] = {
    FBT_TABLE(word, "embeddings.word_embeddings", VOCABULARY, HIDDEN),
    FBT_TABLE(position, "embeddings.position_embeddings", POSITIONS, HIDDEN),
    FBT_NORM(MODEL, embedding_norm, "embeddings.LayerNorm"),
    FBT_QKV(query, "attention.q_lin", HIDDEN),
    FBT_QKV(key_value, "attention.k_lin", HIDDEN),
    FBT_QKV(key_value, "attention.v_lin", HIDDEN),
    FBT_DENSE(LAYER, output, "attention.out_lin", HIDDEN, HIDDEN, OUTPUT),
    FBT_NORM(LAYER, output_norm, "sa_layer_norm"),
    FBT_DENSE(LAYER, up, "ffn.lin1", WIDE, HIDDEN, UP),
    FBT_DENSE(LAYER, down, "ffn.lin2", HIDDEN, WIDE, DOWN),
    FBT_NORM(LAYER, down_norm, "output_layer_norm"),
    FBT_DENSE(HEAD, dense, "vocab_transform", HIDDEN, HIDDEN, READOUT),
    FBT_NORM(HEAD, norm, "vocab_layer_norm"),
    FBT_LABELS("vocab_projector", NULL),
};
static const fbt_tensor_table tensors = {"distilbert.", "transformer.layer", rules, sizeof rules / sizeof rules[0]};

/* transformers has the epsilon in its code, whatever config.json says. */
static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    const fbt_status status = fbt_encoder_read_config(config, shape);
    shape->encoder.n_types = 0;
    shape->epsilon = 1e-12f;
    return status != FBT_OK ? status : fbt_encoder_read_positions(config, shape);
}

static fbt_status run_head(fbt_forward *f, fbt_buffer *hidden, fbt_buffer **features)
{
    return fbt_encoder_run_head(f, hidden, f->shape->activation, features);
}

const fbt_model_family fbt_family_distilbert = {
    FBT_ENCODER_MEMBERS,
    .name = "distilbert",
    .title = "DistilBERT encoder",
    .types = {"distilbert"},
    .keys = {.n_layers = "n_layers",
             .n_hidden = "dim",
             .n_heads = "n_heads",
             .n_intermediate = "hidden_dim",
             .activation = "activation"},
    .tensors = &tensors,
    .named = {{"distilbert-base", FBT_ENCODER_SHAPE(6, 768, 12, 3072, 30522, 1e-12f, 0, 0)}},
    .read_config = read_config,
    .run_head = run_head,
};
