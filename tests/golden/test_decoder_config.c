/* config.json of decoders: what changes the numbers is read, and what is not computed is refused by key and value. */
#include "model/family.h"

#include <jansson.h>
#include <math.h>
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

/* Smallest config.json of each family. */
static const char *const llama = "{\"model_type\": \"llama\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                                 "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"hidden_act\": \"silu\", "
                                 "\"vocab_size\": 50, \"max_position_embeddings\": 40}";
static const char *const mistral = "{\"model_type\": \"mistral\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                                   "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 96, "
                                   "\"hidden_act\": \"silu\", \"vocab_size\": 50, \"max_position_embeddings\": 40}";
static const char *const qwen2 = "{\"model_type\": \"qwen2\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                                 "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 96, "
                                 "\"hidden_act\": \"silu\", \"vocab_size\": 50, \"max_position_embeddings\": 40}";
static const char *const qwen3 = "{\"model_type\": \"qwen3\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                                 "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 32, "
                                 "\"intermediate_size\": 96, \"hidden_act\": \"silu\", \"vocab_size\": 50, "
                                 "\"max_position_embeddings\": 40}";
static const char *const gpt2 = "{\"model_type\": \"gpt2\", \"n_embd\": 64, \"n_layer\": 2, \"n_head\": 4, "
                                "\"activation_function\": \"gelu_new\", \"vocab_size\": 50, \"n_positions\": 40}";
static const char *const opt = "{\"model_type\": \"opt\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                               "\"num_attention_heads\": 4, \"ffn_dim\": 96, \"activation_function\": \"relu\", "
                               "\"vocab_size\": 50, \"max_position_embeddings\": 40}";
static const char *const neox = "{\"model_type\": \"gpt_neox\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                                "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"hidden_act\": \"gelu\", "
                                "\"vocab_size\": 50, \"max_position_embeddings\": 40}";

/* The shape of a config.json with one key changed; value NULL: removed. */
static fbt_status read_changed(const char *base, const char *key, const char *value, fbt_model_shape *shape)
{
    json_t *config = json_loads(base, 0, NULL);
    assert_non_null(config);
    if (value == NULL) {
        json_object_del(config, key);
    } else {
        json_t *changed = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(changed);
        json_object_set_new(config, key, changed);
    }
    char *text = json_dumps(config, 0);
    write_file("config.json", text, strlen(text));
    free(text);
    json_decref(config);
    return fbt_model_read_shape(folder, shape);
}

static fbt_model_shape shape_of(const char *base, const char *key, const char *value)
{
    fbt_model_shape shape;
    const fbt_status status = read_changed(base, key, value, &shape);
    if (status != FBT_OK) {
        fail_msg("%s = %s: %s", key, value, fbt_error_message());
    }
    return shape;
}

/* Broken by a key that is passed over: the model would run with other numbers than transformers'. */
static void what_is_not_computed_is_refused(void **state)
{
    (void)state;
    const struct {
        const char *base, *key, *value, *said;
    } refused[] = {
        {llama, "num_key_value_heads", "3", "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
        {llama, "num_key_value_heads", "5", "'num_key_value_heads' is 5"},
        {llama, "hidden_size", "66", "hidden_size 66 is not a multiple of num_attention_heads 4"},
        {llama, "head_dim", "0", "'head_dim' is 0"},
        {llama, "head_dim", "15", "turn 1 of a head of 15"},
        {llama, "partial_rotary_factor", "0.5", "partial_rotary_factor is not 1"},
        {llama, "rope_parameters", "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor is not 1"},
        {llama, "rope_theta", "\"1e4\"", "'rope_theta' is not a number"},
        {llama, "rope_theta", "0", "'rope_theta' is not a number"},
        {llama, "rope_scaling", "{\"rope_type\": \"longrope\"}", "rope_type is 'longrope'"},
        {llama, "rope_scaling", "{\"type\": \"mrope\"}", "rope_type is 'mrope'"},
        {llama, "rope_scaling", "[2]", "'rope_scaling' is not an object"},
        {llama, "rope_parameters", "{\"full_attention\": {\"rope_type\": \"default\"}}", "'full_attention'"},
        {llama, "rope_scaling", "{\"rope_type\": \"linear\"}", "'factor' is missing"},
        {llama, "rope_scaling", "{\"rope_type\": \"dynamic\"}", "'factor' is missing"},
        {llama, "rope_scaling", "{\"rope_type\": \"yarn\"}", "'factor' is missing"},
        {llama, "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8}", "'low_freq_factor' is missing"},
        {llama, "rope_scaling",
         "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
         "high_freq_factor 4 is not above low_freq_factor 4"},
        {llama, "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4, \"truncate\": 1}", "'truncate' is neither"},
        {llama, "attention_bias", "1", "'attention_bias' is neither true nor false"},
        {llama, "hidden_act", "\"mish\"", "hidden_act is 'mish'"},
        {llama, "rms_norm_eps", "0", "rms_norm_eps is not a number"},
        {llama, "is_encoder_decoder", "true", "'is_encoder_decoder' is true"},
        {llama, "quantization_config", "{}", "quantized"},
        {llama, "max_position_embeddings", NULL, "'max_position_embeddings' is missing"},
        {llama, "model_type", "\"gemma\"", "model_type is 'gemma'"},
        {llama, "model_type", "\"gemma3_text\"", "model_type is 'gemma3_text'"},
        {mistral, "num_key_value_heads", NULL, "'num_key_value_heads' is missing"},
        {mistral, "sliding_window", "0", "'sliding_window' is 0"},
        {qwen2, "num_key_value_heads", NULL, "'num_key_value_heads' is missing"},
        {qwen2, "layer_types", "[\"full_attention\", \"sliding_attention\"]", "layer_types[1] is 'sliding_attention'"},
        {qwen2, "layer_types", "[\"linear_attention\", \"full_attention\"]", "layer_types[0] is 'linear_attention'"},
        {qwen3, "head_dim", NULL, "'head_dim' is missing"},
        {gpt2, "scale_attn_weights", "false", "'scale_attn_weights' is false"},
        {gpt2, "scale_attn_by_inverse_layer_idx", "true", "'scale_attn_by_inverse_layer_idx' is true"},
        {gpt2, "add_cross_attention", "true", "'add_cross_attention' is true"},
        {gpt2, "hidden_size", "32", "n_embd is 64, but hidden_size, which means the same, is 32"},
        {gpt2, "max_position_embeddings", "20", "n_positions is 40, but max_position_embeddings"},
        {opt, "do_layer_norm_before", "false", "'do_layer_norm_before' is false"},
        {opt, "_remove_final_layer_norm", "true", "'_remove_final_layer_norm' is true"},
        {opt, "layer_norm_elementwise_affine", "false", "'layer_norm_elementwise_affine' is false"},
        {opt, "word_embed_proj_dim", "32", "word_embed_proj_dim 32 is not hidden_size 64"},
        {neox, "rotary_pct", "0.2", "turn 0.2 of a head of 16"},
        {neox, "rotary_pct", "1.5", "'rotary_pct' is not a number"},
        {neox, "head_dim", "8", "head_dim 8 is not hidden_size / num_attention_heads"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        fbt_model_shape shape;
        const fbt_status status = read_changed(refused[i].base, refused[i].key, refused[i].value, &shape);
        if (status != FBT_ERR_MODEL || strstr(fbt_error_message(), refused[i].said) == NULL) {
            fail_msg("%s = %s: '%s' does not say '%s'", refused[i].key, refused[i].value, fbt_error_message(),
                     refused[i].said);
        }
        fbt_error_clear();
    }
}

/* transformers' defaults where config.json says nothing. Broken by a family that takes another's. */
static void defaults_are_the_classes(void **state)
{
    (void)state;
    const char *const none = "architectures"; /* changes nothing */
    fbt_model_shape s = shape_of(llama, none, "[]");
    assert_true(s.is_untied && s.epsilon == 1e-6F && s.decoder.n_kv_heads == 4 && s.head_dim == 16);
    assert_true(s.decoder.norm == FBT_NORM_RMS && s.decoder.has_gate && !s.decoder.has_qkv_bias);
    assert_true(s.decoder.rotary.theta == 1e4 && s.decoder.rotary.n_rotated == 16 && s.decoder.window == 0);
    assert_int_equal(shape_of(mistral, none, "[]").decoder.window, 4096);
    assert_int_equal(shape_of(mistral, "sliding_window", "null").decoder.window, 0);
    assert_int_equal(shape_of(mistral, "num_key_value_heads", "null").decoder.n_kv_heads, 4);
    s = shape_of(qwen2, "sliding_window", "16");
    assert_true(s.decoder.window == 0 && s.decoder.has_qkv_bias && !s.decoder.has_output_bias);
    s = shape_of(qwen3, none, "[]");
    assert_true(s.head_dim == 32 && s.decoder.has_head_norms && !s.decoder.has_qkv_bias);
    s = shape_of(gpt2, "n_inner", "null");
    assert_true(!s.is_untied && s.n_intermediate == 256 && s.decoder.norm == FBT_NORM_LAYER && !s.decoder.has_gate);
    assert_true(s.decoder.rotary.n_rotated == 0 && s.epsilon == 1e-5F && s.decoder.has_mlp_bias);
    s = shape_of(opt, "layer_norm_eps", "0.01"); /* transformers has its own in the code */
    assert_true(!s.is_untied && s.decoder.position_offset == 2 && s.epsilon == 1e-5F && s.decoder.has_output_bias);
    s = shape_of(neox, none, "[]");
    assert_true(s.is_untied && s.decoder.is_parallel && s.decoder.rotary.n_rotated == 4 && s.decoder.has_qkv_bias);
}

/* Each switch does what it says and no more. */
static void switches_are_read(void **state)
{
    (void)state;
    fbt_model_shape s = shape_of(llama, "attention_bias", "true");
    assert_true(s.decoder.has_qkv_bias && s.decoder.has_output_bias && !s.decoder.has_mlp_bias);
    s = shape_of(llama, "mlp_bias", "true");
    assert_true(!s.decoder.has_qkv_bias && !s.decoder.has_output_bias && s.decoder.has_mlp_bias);
    assert_int_equal(shape_of(llama, "head_dim", "24").head_dim, 24);
    assert_int_equal(shape_of(qwen2, "use_sliding_window", "true").decoder.window, 4096);
    assert_true(shape_of(qwen3, "attention_bias", "true").decoder.has_output_bias);
    assert_false(shape_of(opt, "enable_bias", "false").decoder.has_mlp_bias);
    s = shape_of(neox, "attention_bias", "false");
    assert_true(!s.decoder.has_qkv_bias && !s.decoder.has_output_bias && s.decoder.has_mlp_bias);
    assert_false(shape_of(neox, "use_parallel_residual", "false").decoder.is_parallel);
    assert_int_equal(shape_of(gpt2, "add_cross_attention", "false").n_layers, 2);
}

/* Where two keys say the same of rotary positions, transformers' choice is taken. */
static void rotary_keys_have_their_order(void **state)
{
    (void)state;
    fbt_rotary_shape r = shape_of(llama, "rope_theta", "5e5").decoder.rotary;
    assert_true(r.theta == 5e5 && r.kind == FBT_ROTARY_DEFAULT && r.attention_factor == 1);
    r = shape_of(llama, "rope_parameters", "{\"rope_theta\": 100, \"rope_type\": \"linear\", \"factor\": 4}")
            .decoder.rotary;
    assert_true(r.theta == 100 && r.kind == FBT_ROTARY_LINEAR && r.factor == 4);
    r = shape_of(llama, "rope_scaling", "{\"type\": \"linear\", \"rope_type\": \"default\", \"factor\": 4}")
            .decoder.rotary;
    assert_int_equal(r.kind, FBT_ROTARY_DEFAULT);
    r = shape_of(llama, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 10}")
            .decoder.rotary;
    assert_true(r.original_positions == 10 && r.beta_fast == 32 && r.beta_slow == 1 && r.is_truncated);
    assert_true(fabs(r.attention_factor - (0.1 * log(4) + 1)) < 1e-12);
    r = shape_of(llama, "rope_scaling", "{\"type\": \"yarn\", \"factor\": null, \"attention_factor\": 2}")
            .decoder.rotary;
    assert_true(r.original_positions == 40 && r.factor == 1 && r.attention_factor == 2);
    assert_true(shape_of(neox, "rotary_emb_base", "500").decoder.rotary.theta == 500);
    assert_int_equal(shape_of(neox, "rotary_pct", "0.5").decoder.rotary.n_rotated, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_computed_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(defaults_are_the_classes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(switches_are_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(rotary_keys_have_their_order, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
