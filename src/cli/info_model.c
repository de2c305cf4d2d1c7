#include "cli/info_model.h"

#include "model/describe.h"
#include "model/family.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char *pooling_name(const fbt_model_description *about)
{
    return about->shape.pooling == FBT_POOLING_CLS ? "cls" : "mean";
}

static const char *or_unknown(const char *name)
{
    return name[0] == '\0' ? "unknown" : name;
}

/* "kv_heads 3, head_dim 64": what the family calls its own. */
static void print_facts(const fbt_model_shape *shape)
{
    fbt_model_fact facts[FBT_FAMILY_FACTS];
    const int n_facts = shape->family->describe(shape, facts);
    for (int i = 0; i < n_facts; i++) {
        printf("%s%s %" PRId64, i == 0 ? "" : ", ", facts[i].name, facts[i].value);
    }
    printf("\n");
}

static void print_text(const fbt_info_model_request *request, const fbt_model_description *about)
{
    const fbt_model_shape *s = &about->shape;
    printf("model: %s\ntype: %s (%s)\n", request->folder, about->model_type, or_unknown(about->architecture));
    printf("sizes: %" PRId64 " layers, hidden_size %" PRId64 ", %" PRId64 " heads, intermediate_size %" PRId64
           ", vocab_size %" PRId64 ", sequences of up to %" PRId64 " tokens\n",
           s->n_layers, s->n_hidden, s->n_heads, s->n_intermediate, s->vocab_size, s->n_positions);
    print_facts(s);
    printf("activation: %s; positions: %s; %s: %g\n", about->activation, s->family->positions, s->family->epsilon_key,
           (double)s->epsilon);
    if (about->has_weights) {
        printf("weights: %s%s, %" PRId64 " tensors, %s, %.1f MB, complete\n", about->files[0],
               about->n_files > 1 ? " and further shards" : "", about->n_tensors, about->dtype,
               1e-6 * (double)about->n_bytes);
    } else {
        printf("weights: not looked at\n");
    }
    for (int i = 0; i < FBT_DESCRIBE_READOUTS; i++) {
        const char *refusal = about->refusals[i];
        printf("readout %s: ", fbt_readout_names[i]);
        if (refusal[0] != '\0') {
            printf("no: %s\n", refusal);
        } else if (fbt_readout_scores_words((fbt_readout)i)) {
            printf("%s%s\n", about->has_weights ? "yes" : "if the weights have a ",
                   about->has_weights ? "" : s->family->head);
        } else {
            printf("yes, pooling %s\n", pooling_name(about));
        }
    }
}

/* NULL: out of memory. */
static json_t *list_files(const fbt_model_description *about)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < about->n_files; i++) {
        json_array_append_new(list, json_string(about->files[i]));
    }
    return list;
}

/* {"supported": true, "refusal": null}; without weights a readout with a head is null, unknown. */
static json_t *describe_readout(const fbt_model_description *about, int readout)
{
    const char *refusal = about->refusals[readout];
    const bool needs_weights = fbt_readout_scores_words((fbt_readout)readout) && refusal[0] == '\0';
    json_t *supported = needs_weights && !about->has_weights ? json_null() : json_boolean(refusal[0] == '\0');
    return json_pack("{s:o, s:s?}", "supported", supported, "refusal", refusal[0] == '\0' ? NULL : refusal);
}

/* The sizes, and what the family calls its own. */
static json_t *describe_shape(const fbt_info_model_request *request, const fbt_model_description *about)
{
    const fbt_model_shape *s = &about->shape;
    fbt_model_fact facts[FBT_FAMILY_FACTS];
    const int n_facts = s->family->describe(s, facts);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "model", request->folder,
                  "model_type", about->model_type, "architecture", about->architecture, "family", s->family->name,
                  "activation", about->activation, "position_embedding_type", s->family->positions, "layers",
                  (json_int_t)s->n_layers, "hidden_size", (json_int_t)s->n_hidden, "heads", (json_int_t)s->n_heads,
                  "intermediate_size", (json_int_t)s->n_intermediate, "vocab_size", (json_int_t)s->vocab_size,
                  "positions", (json_int_t)s->n_positions);
    for (int i = 0; i < n_facts; i++) {
        json_object_set_new(root, facts[i].name, json_integer((json_int_t)facts[i].value));
    }
    json_object_set_new(root, "tied_head", json_boolean(!s->is_untied));
    return root;
}

static fbt_status print_json(const fbt_info_model_request *request, const fbt_model_description *about)
{
    json_t *root = describe_shape(request, about);
    json_t *weights = about->has_weights ? json_pack("{s:o, s:I, s:I, s:s}", "files", list_files(about), "tensors",
                                                     (json_int_t)about->n_tensors, "bytes", (json_int_t)about->n_bytes,
                                                     "dtype", about->dtype)
                                         : json_null();
    json_t *kinds = json_object();
    for (int i = 0; i < FBT_DESCRIBE_READOUTS; i++) {
        json_object_set_new(kinds, fbt_readout_names[i], describe_readout(about, i));
    }
    json_object_set_new(root, "weights", weights);
    json_object_set_new(root, "readouts", kinds);
    json_object_set_new(root, "pooling", json_string(pooling_name(about)));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (text == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: its description is not UTF-8", request->folder);
    }
    printf("%s\n", text);
    free(text);
    return FBT_OK;
}

fbt_status fbt_info_model(const fbt_info_model_request *request)
{
    fbt_status status = FBT_OK;
    fbt_model_description about = {0};
    FBT_TRY(fbt_model_describe(request->folder, !request->config_only, &about));
    FBT_TRY(fbt_model_description_require(&about, request->readout));
    if (request->json) {
        FBT_TRY(print_json(request, &about));
    } else {
        print_text(request, &about);
    }
done:
    fbt_model_description_clear(&about);
    return status;
}
