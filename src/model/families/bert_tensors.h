/* Names of BERT's tensors without its head, and of its sizes, which are RoBERTa's too. */
#ifndef FBT_MODEL_FAMILIES_BERT_TENSORS_H
#define FBT_MODEL_FAMILIES_BERT_TENSORS_H

#include "model/tensor_rules.h"

#define FBT_BERT_TENSORS                                                                                               \
    FBT_TABLE(word, "embeddings.word_embeddings", VOCABULARY, HIDDEN),                                                 \
        FBT_TABLE(position, "embeddings.position_embeddings", POSITIONS, HIDDEN),                                      \
        FBT_TABLE(type, "embeddings.token_type_embeddings", TYPES, HIDDEN),                                            \
        FBT_NORM(MODEL, embedding_norm, "embeddings.LayerNorm"), FBT_QKV(query, "attention.self.query", HIDDEN),       \
        FBT_QKV(key_value, "attention.self.key", HIDDEN), FBT_QKV(key_value, "attention.self.value", HIDDEN),          \
        FBT_DENSE(LAYER, output, "attention.output.dense", HIDDEN, HIDDEN, OUTPUT),                                    \
        FBT_NORM(LAYER, output_norm, "attention.output.LayerNorm"),                                                    \
        FBT_DENSE(LAYER, up, "intermediate.dense", WIDE, HIDDEN, UP),                                                  \
        FBT_DENSE(LAYER, down, "output.dense", HIDDEN, WIDE, DOWN), FBT_NORM(LAYER, down_norm, "output.LayerNorm")

/* config.json's names of the sizes. */
#define FBT_BERT_KEYS                                                                                                  \
    {                                                                                                                  \
        .n_layers = "num_hidden_layers", .n_hidden = "hidden_size", .n_heads = "num_attention_heads",                  \
        .n_intermediate = "intermediate_size", .activation = "hidden_act"                                              \
    }

#endif
