/* The list of families, and what is looked up in it. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

extern const fbt_model_family fbt_family_bert, fbt_family_roberta, fbt_family_distilbert;

const fbt_model_family *const fbt_model_families[] = {
    &fbt_family_bert,
    &fbt_family_roberta,
    &fbt_family_distilbert,
    NULL,
};

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

/* Appends to a sentence's list; what does not fit is left out. */
static void append(char *text, size_t n_bytes, const char *name)
{
    const size_t n = strlen(text);
    snprintf(text + n, n_bytes - n, "%s%s", n == 0 ? "" : ", ", name);
}

/* "a, b, c" to "a, b and c"; three bytes longer. */
static void end_list(char *text)
{
    char *comma = strrchr(text, ',');
    if (comma != NULL) {
        memmove(comma + 4, comma + 1, strlen(comma));
        memcpy(comma, " and", 4); /* NOLINT(bugprone-not-null-terminated-result): the rest follows */
    }
}

const char *fbt_family_all_types(char *text, size_t n_bytes)
{
    text[0] = '\0';
    for (int i = 0; fbt_model_families[i] != NULL; i++) {
        for (int k = 0; k < FBT_FAMILY_TYPES && fbt_model_families[i]->types[k] != NULL; k++) {
            append(text, n_bytes - 4, fbt_model_families[i]->types[k]);
        }
    }
    end_list(text);
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
    char known[512] = "";
    for (int i = 0; fbt_model_families[i] != NULL; i++) {
        for (const fbt_named_shape *n = fbt_model_families[i]->named; n->name != NULL; n++) {
            if (strcmp(name, n->name) == 0) {
                *shape = n->shape;
                shape->family = fbt_model_families[i];
                return FBT_OK;
            }
            append(known, sizeof known - 4, n->name);
        }
    }
    end_list(known);
    return fbt_fail(FBT_ERR_ARG, "there is no shape called '%s'; %s are known", name, known);
}
