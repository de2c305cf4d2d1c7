/* Families: the table of tensors against published models, config.json in a family's own words, one list. */
#include "fixture.h"
#include "model/describe.h"
#include "model/family.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "temporary_folder.h"

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

/* Parameters that the table tells, without head. */
static int64_t count(const fbt_model_shape *shape, bool splits_last_layer)
{
    int64_t n = 0;
    for (fbt_tensor_walk w = fbt_tensor_walk_begin(shape, FBT_READOUT_EMBEDDING, splits_last_layer);
         fbt_tensor_walk_next(&w);) {
        const fbt_tensor_items items = fbt_tensor_walk_items(&w, 0);
        n += items.matrix + items.table + items.vector;
    }
    return n;
}

/* Broken by a tensor that the table lacks or has twice, and by a wrong symbol. Published counts of the base models,
 * less their pooler. */
static void tables_have_every_parameter(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t n_parameters;
    } published[] = {
        {"bert-base", 109482240 - 768 * 769},    {"minilm-l6", 22713216 - 384 * 385},
        {"roberta-base", 124645632 - 768 * 769}, {"roberta-large", 355359744 - 1024 * 1025},
        {"distilbert-base", 66362880},
    };
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        fbt_model_shape shape;
        must(fbt_model_named_shape(published[i].name, &shape));
        /* RoBERTa's table has two rows that no sequence uses, which the shape has as position_offset. */
        assert_int_equal(count(&shape, false), published[i].n_parameters);
        assert_int_equal(count(&shape, true), published[i].n_parameters);
        const double h = (double)shape.n_hidden, wide = (double)shape.n_intermediate;
        assert_true(fbt_model_token_products(&shape) == (double)shape.n_layers * (4 * h * h + 2 * h * wide));
    }
}

/* Broken by a shape that no family lists, or a sentence that does not say which ones there are. */
static void unknown_shapes_are_refused(void **state)
{
    (void)state;
    fbt_model_shape shape;
    assert_int_equal(fbt_model_named_shape("gpt-5", &shape), FBT_ERR_ARG);
    assert_non_null(strstr(fbt_error_message(), "'gpt-5'"));
    assert_non_null(strstr(fbt_error_message(), "; choose bert-base, "));
    fbt_error_clear();
}

/* A model_type or a name that two families had would be the first one's. */
static void families_differ(void **state)
{
    (void)state;
    for (int i = 0; fbt_model_families[i] != NULL; i++) {
        const fbt_model_family *f = fbt_model_families[i];
        assert_non_null(f->types[0]);
        for (int k = 0; k < FBT_FAMILY_TYPES && f->types[k] != NULL; k++) {
            assert_ptr_equal(fbt_family_of_type(f->types[k]), f);
        }
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(f->name, fbt_model_families[j]->name);
        }
        assert_int_equal(f->tensors->rules[0].kind, FBT_TENSOR_TABLE);
    }
    assert_null(fbt_family_of_type("gemma2"));
}

/* As above, for decoders: an output matrix of their own counts, which a readout keeps the label words' rows of. */
static void decoders_have_every_parameter(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t n_parameters;
    } published[] = {
        {"smollm2-135m", 134515008},  {"smollm2-360m", 361821120}, {"llama-2-7b", 6738415616},
        {"llama-3.2-1b", 1235814400}, {"mistral-7b", 7241732096},  {"qwen2.5-0.5b", 494032768},
        {"qwen3-0.6b", 596049920},    {"gpt2", 124439808},         {"opt-125m", 125239296},
        {"pythia-160m", 162322944},
    };
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        fbt_model_shape shape;
        must(fbt_model_named_shape(published[i].name, &shape));
        const int64_t n_output = shape.is_untied ? shape.vocab_size * shape.n_hidden : 0;
        assert_int_equal(count(&shape, false) + n_output, published[i].n_parameters);
        assert_int_equal(count(&shape, true) + n_output, published[i].n_parameters);
    }
}

/* Changes of DistilBERT's config.json, and what must be said; NULL: it is taken. */
static const struct {
    const char *key, *value, *said;
} changes[] = {
    {"dim", NULL, "'dim' is missing"},
    {"dim", "66", "dim 66 is not a multiple of n_heads 4"},
    {"n_heads", "0", "'n_heads' is 0"},
    {"n_layers", NULL, "'n_layers' is missing"},
    {"hidden_dim", "\"144\"", "'hidden_dim' is not a whole number"},
    {"activation", "\"swish\"", "activation is 'swish'"},
    {"activation", NULL, "'activation' is missing"},
    {"hidden_size", "64", NULL},
    {"hidden_size", "32", "dim is 64, but hidden_size, which means the same, is 32"},
    {"num_attention_heads", "2", "n_heads is 4, but num_attention_heads"},
    {"num_hidden_layers", "1", "n_layers is 2, but num_hidden_layers"},
    {"is_decoder", "true", "'is_decoder' is true"},
    {"layer_norm_eps", "0.01", NULL},
    {"pad_token_id", "null", NULL},
    {"max_position_embeddings", "0", "'max_position_embeddings' is 0"},
    {"quantization_config", "{}", "quantized"},
    {"model_type", "\"gemma2\"",
     "it must be bert, roberta, xlm-roberta, distilbert, llama, mistral, qwen2, qwen3, gpt2, opt or gpt_neox"},
};

static void check_change(const char *key, const char *value, const char *said)
{
    json_t *config = json_pack("{s:s, s:i, s:i, s:i, s:i, s:s, s:i, s:i}", "model_type", "distilbert", "dim", 64,
                               "n_heads", 4, "n_layers", 2, "hidden_dim", 144, "activation", "gelu", "vocab_size", 89,
                               "max_position_embeddings", 38);
    fbt_model_shape shape;
    assert_non_null(config);
    if (value == NULL) {
        json_object_del(config, key);
    } else {
        json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL));
    }
    char *text = json_dumps(config, 0);
    write_file("config.json", text, strlen(text));
    free(text);
    json_decref(config);
    const fbt_status status = fbt_model_read_shape(folder, &shape);
    if (said != NULL) {
        assert_int_equal(status, FBT_ERR_MODEL);
        if (strstr(fbt_error_message(), said) == NULL) {
            fail_msg("%s = %s: '%s' does not say '%s'", key, value, fbt_error_message(), said);
        }
        fbt_error_clear();
        return;
    }
    must(status);
    assert_string_equal(fbt_model_family_name(&shape), "distilbert");
    assert_true(shape.epsilon == 1e-12f && shape.encoder.n_types == 0 && shape.head_dim == 16);
    assert_true(shape.n_positions == 38 && shape.padding_token == -1 && !shape.is_untied);
}

static void own_keys_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        check_change(changes[i].key, changes[i].value, changes[i].said);
    }
}

/* A family's own facts are those that a user is told. */
static void families_are_described(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    fbt_model_description about;
    fbt_model_fact facts[FBT_FAMILY_FACTS];
    snprintf(path, sizeof path, "%s/hf_distilbert_mlm", FBT_TEST_DATA);
    must(fbt_model_describe(path, true, &about));
    assert_string_equal(about.activation, "relu");
    assert_string_equal(about.dtype, "F32");
    assert_string_equal(about.refusals[FBT_READOUT_MASK], "");
    assert_string_equal(about.refusals[FBT_READOUT_EMBEDDING], "");
    assert_int_equal(about.shape.family->describe(&about.shape, facts), 2);
    assert_string_equal(facts[1].name, "token_types");
    assert_int_equal(facts[1].value, 0);
    assert_int_equal(fbt_model_description_require(&about, "last"), FBT_ERR_UNSUPPORTED);
    assert_non_null(strstr(fbt_error_message(), "an encoder (distilbert) is read at a mask or as an embedding"));
    fbt_error_clear();
    fbt_model_description_clear(&about);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_have_every_parameter),
        cmocka_unit_test(decoders_have_every_parameter),
        cmocka_unit_test(unknown_shapes_are_refused),
        cmocka_unit_test(families_differ),
        cmocka_unit_test_setup_teardown(own_keys_are_read, make_folder, remove_folder),
        cmocka_unit_test(families_are_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
