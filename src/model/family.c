/* The list of families, and what is looked up in it. */
#include "model/family.h"

#include "base/choices.h"

#include <string.h>

extern const fbt_model_family fbt_family_bert, fbt_family_roberta, fbt_family_distilbert;
extern const fbt_model_family fbt_family_llama, fbt_family_mistral, fbt_family_qwen2, fbt_family_qwen3;
extern const fbt_model_family fbt_family_gpt2, fbt_family_opt, fbt_family_gpt_neox;

const fbt_model_family *const fbt_model_families[] = {
    &fbt_family_bert,
    &fbt_family_roberta,
    &fbt_family_distilbert,
    &fbt_family_llama,
    &fbt_family_mistral,
    &fbt_family_qwen2,
    &fbt_family_qwen3,
    &fbt_family_gpt2,
    &fbt_family_opt,
    &fbt_family_gpt_neox,
    NULL,
};
enum { N_FAMILIES = sizeof fbt_model_families / sizeof fbt_model_families[0] - 1 };

const fbt_model_family *fbt_family_of_type(const char *model_type)
{
    for (int i = 0; fbt_model_families[i] != NULL; i++) {
        for (int k = 0; k < FBT_FAMILY_TYPES && fbt_model_families[i]->types[k] != NULL; k++) {
            if (strcmp(fbt_model_families[i]->types[k], model_type) == 0) {
                return fbt_model_families[i];
            }
        }
    }
    return NULL;
}

const char *fbt_family_all_types(char *text, size_t n_bytes)
{
    const char *types[N_FAMILIES * FBT_FAMILY_TYPES + 1];
    int n = 0;
    for (int i = 0; i < N_FAMILIES; i++) {
        for (int k = 0; k < FBT_FAMILY_TYPES && fbt_model_families[i]->types[k] != NULL; k++) {
            types[n++] = fbt_model_families[i]->types[k];
        }
    }
    types[n] = NULL;
    fbt_choice_list(types, text, n_bytes);
    return text;
}

int64_t fbt_shape_size(const fbt_model_shape *shape, fbt_size symbol)
{
    switch (symbol) {
    case FBT_SIZE_HIDDEN:
        return shape->n_hidden;
    case FBT_SIZE_WIDE:
        return shape->n_intermediate;
    case FBT_SIZE_VOCABULARY:
        return shape->vocab_size;
    case FBT_SIZE_QUERY:
        return shape->n_heads * shape->head_dim;
    default:
        return shape->family->size(shape, symbol);
    }
}

const char *fbt_model_family_name(const fbt_model_shape *shape)
{
    return shape->family->name;
}

fbt_status fbt_model_named_shape(const char *name, fbt_model_shape *shape)
{
    const char *known[N_FAMILIES * FBT_FAMILY_NAMED + 1];
    char list[512];
    int n_known = 0;
    for (int i = 0; i < N_FAMILIES; i++) {
        for (const fbt_named_shape *n = fbt_model_families[i]->named; n->name != NULL; n++) {
            if (strcmp(name, n->name) == 0) {
                *shape = n->shape;
                shape->family = fbt_model_families[i];
                return FBT_OK;
            }
            known[n_known++] = n->name;
        }
    }
    known[n_known] = NULL;
    fbt_choice_list(known, list, sizeof list);
    return fbt_fail(FBT_ERR_ARG, "there is no shape called '%s'; choose %s", name, list);
}
