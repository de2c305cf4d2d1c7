/* Model files: what is not a model, or is a damaged one, ends in one sentence that names the file, never in a crash. */
#include "base/memory.h"
#include "fixture.h"
#include "model/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden/temporary_folder.h"

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

/* Changes one byte in place: rewriting whole files thousands of times would keep the disk busy. */
static void poke(FILE *file, size_t place, unsigned char byte)
{
    assert_int_equal(fseek(file, (long)place, SEEK_SET), 0);
    assert_int_equal(fputc(byte, file), byte);
    assert_int_equal(fflush(file), 0);
}

static FILE *open_for_poking(const char *name)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    return file;
}

/* A fixture's file; release with free(). */
static unsigned char *read_bytes(const char *fixture_name, const char *name, size_t *n_bytes)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/hf_%s/%s", FBT_TEST_DATA, fixture_name, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*n_bytes);
    assert_int_equal(fread(bytes, 1, *n_bytes, file), *n_bytes);
    fclose(file);
    return bytes;
}

static void write_safetensors(const char *name, const char *header, const void *data, size_t n_bytes)
{
    unsigned char content[2048] = {0};
    size_t length = strlen(header);
    assert_true(8 + length + n_bytes <= sizeof content);
    content[0] = (unsigned char)length;
    content[1] = (unsigned char)(length >> 8);
    memcpy(content + 8, header, length);
    if (n_bytes > 0) {
        memcpy(content + 8 + length, data, n_bytes);
    }
    write_file(name, content, 8 + length + n_bytes);
}

static void refuse_files(const char *said, const char *context)
{
    fbt_safetensors *files;
    if (fbt_safetensors_open(folder, &files) == FBT_OK) {
        fail_msg("accepted: %s", context);
    }
    assert_null(files);
    if (strstr(fbt_error_message(), said) == NULL || strstr(fbt_error_message(), folder) == NULL) {
        fail_msg("'%s' does not say '%s' about %s", fbt_error_message(), said, context);
    }
    fbt_error_clear();
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
#define T(name, type, shape, begin, end)                                                                               \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
    static const struct {
        const char *header;
        const char *said;
    } bad[] = {
        {"[]", "not a JSON object"},
        {"{", "not valid JSON"},
        {"{} x", "not valid JSON"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("a", "F32", "[2]", "0", "8") "}", "not valid JSON"},
        {"{\"a\":3}", "type '(none)'"},
        {"{" T("a", "F31", "[2]", "0", "8") "}", "type 'F31'"},
        {"{" T("a", "F32", "2", "0", "8") "}", "not a list"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", "at most 8"},
        {"{" T("a", "F32", "[-2]", "0", "8") "}", "size 0"},
        {"{" T("a", "F32", "[2.0]", "0", "8") "}", "size 0"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "0", "8") "}", "impossibly large"},
        {"{" T("a", "F32", "[9223372036854775807]", "0", "8") "}", "do not fit"},
        {"{" T("a", "F32", "[9223372036854775808]", "0", "8") "}", "not valid JSON"},
        {"{" T("a", "F32", "[2]", "0", "9") "}", "truncated or damaged"},
        {"{" T("a", "F32", "[2]", "-4", "4") "}", "truncated or damaged"},
        {"{" T("a", "F32", "[2]", "8", "0") "}", "truncated or damaged"},
        {"{" T("a", "F32", "[2]", "0", "8,8") "}", "not a pair"},
        {"{" T("a", "F32", "[2]", "\"0\"", "8") "}", "not a pair"},
        {"{" T("a", "F32", "[2]", "0", "4") "}", "do not fit"},
        {"{" T("a", "F16", "[2]", "0", "4") "}", "belong to no tensor"},
        {"{" T("a", "F32", "[1]", "4", "8") "}", "follows a gap"},
        {"{" T("a", "F16", "[3]", "0", "6") "," T("b", "F32", "[1]", "4", "8") "}", "overlaps"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_safetensors("model.safetensors", bad[i].header, "01234567", 8);
        refuse_files(bad[i].said, bad[i].header);
    }
    static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    write_file("model.safetensors", huge, sizeof huge);
    refuse_files("header", "a huge header");
}

static void exact_values(void **state)
{
    (void)state;
    const struct {
        const char *name;
        uint16_t f16, bf16;
        float f16_value, bf16_value;
    } items[] = {
        {"one", 0x3c00, 0x3f80, 1, 1},
        {"minus zero", 0x8000, 0x8000, -0.0f, -0.0f},
        {"largest", 0x7bff, 0x7f7f, 65504, 0x1.fep127f},
        {"smallest normal", 0x0400, 0x0080, 0x1p-14f, 0x1p-126f},
        {"largest subnormal", 0x83ff, 0x807f, -0x1.ff8p-15f, -0x1.fcp-127f},
        {"smallest subnormal", 0x0001, 0x0001, 0x1p-24f, 0x1p-133f},
    };
    enum { N = sizeof items / sizeof items[0] };
    unsigned char data[4 * N];
    float found[N];
    fbt_safetensors *files;
    for (int i = 0; i < N; i++) {
        memcpy(data + 2 * i, &items[i].bf16, 2);
        memcpy(data + 2 * N + 2 * i, &items[i].f16, 2);
    }
    /* Names in another order than places, an empty tensor, and a scalar's worth of metadata. */
    write_safetensors("model.safetensors",
                      "{\"__metadata__\":{\"format\":\"pt\"}," T("half", "F16", "[2,3]", "12", "24") "," T(
                          "brain", "BF16", "[6]", "0", "12") "," T("none", "F32", "[0,7]", "12", "12") "}",
                      data, sizeof data);
    must(fbt_safetensors_open(folder, &files));
    assert_null(fbt_safetensors_find(files, "hal"));
    assert_null(fbt_safetensors_find(files, "__metadata__"));
    assert_int_equal(fbt_safetensors_find(files, "none")->n_items, 0);
    must(fbt_tensor_floats(fbt_safetensors_find(files, "half"), 0, N, found));
    for (int i = 0; i < N; i++) {
        assert_true(found[i] == items[i].f16_value && signbit(found[i]) == signbit(items[i].f16_value));
    }
    must(fbt_tensor_floats(fbt_safetensors_find(files, "brain"), 0, N, found));
    for (int i = 0; i < N; i++) {
        assert_true(found[i] == items[i].bf16_value && signbit(found[i]) == signbit(items[i].bf16_value));
    }
    must(fbt_tensor_floats(fbt_safetensors_find(files, "half"), 2, 1, found));
    assert_true(found[0] == 65504);
    assert_int_equal(fbt_tensor_floats(fbt_safetensors_find(files, "half"), 3, 4, found), FBT_ERR_ARG);
    fbt_error_clear();
    fbt_safetensors_close(files);
}

static void values_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        unsigned char data[4];
    } bad[] = {
        {"{" T("a", "F32", "[1]", "0", "4") "}", {0, 0, 0x80, 0x7f}},
        {"{" T("a", "F32", "[1]", "0", "4") "}", {1, 0, 0xc0, 0xff}},
        {"{" T("a", "F16", "[2]", "0", "4") "}", {0, 0, 0, 0xfc}},
        {"{" T("a", "F16", "[2]", "0", "4") "}", {0, 0, 1, 0x7c}},
        {"{" T("a", "BF16", "[2]", "0", "4") "}", {0, 0, 0x80, 0x7f}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fbt_safetensors *files;
        write_safetensors("model.safetensors", bad[i].header, bad[i].data, 4);
        must(fbt_safetensors_open(folder, &files));
        assert_int_equal(fbt_tensor_check_finite(fbt_safetensors_find(files, "a")), FBT_ERR_MODEL);
        assert_non_null(strstr(fbt_error_message(), "tensor 'a': item"));
        fbt_error_clear();
        fbt_safetensors_close(files);
    }
    fbt_safetensors *files;
    float value;
    write_safetensors("model.safetensors", "{" T("a", "I32", "[1]", "0", "4") "}", "0123", 4);
    must(fbt_safetensors_open(folder, &files));
    assert_int_equal(fbt_tensor_floats(fbt_safetensors_find(files, "a"), 0, 1, &value), FBT_ERR_MODEL);
    fbt_error_clear();
    fbt_safetensors_close(files);
}

static void malformed_indexes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        const char *said;
    } bad[] = {
        {"{", "not valid JSON"},
        {"{}", "no weight_map"},
        {"{\"weight_map\":{}}", "no weight_map"},
        {"{\"weight_map\":{\"a\":3}}", "tensor 'a' is not mapped"},
        {"{\"weight_map\":{\"a\":\"../a\"}}", "tensor 'a' is not mapped"},
        {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", "absent.safetensors: cannot be read"},
        {"{\"weight_map\":{\"b\":\"one.safetensors\"}}", "tensor 'b' is missing"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"bad.safetensors\"}}", "bad.safetensors: 3 bytes"},
    };
    refuse_files("neither", "an empty folder");
    write_safetensors("one.safetensors", "{" T("a", "F32", "[1]", "0", "4") "}", "0123", 4);
    write_file("bad.safetensors", "bad", 3);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("model.safetensors.index.json", bad[i].index, strlen(bad[i].index));
        refuse_files(bad[i].said, bad[i].index);
    }
}

/* The smallest fixture, its files copied to the temporary folder, and its logits. */
typedef struct subject {
    fbt_backend *b;
    fixture f;
    unsigned char *bytes; /* model.safetensors */
    size_t n_bytes;
    size_t n_header; /* with the length in front */
    float logits[64];
} subject;

static const char *const subject_name = "xlm_roberta_unaligned";

static fbt_status evaluate(const subject *s, float *logits)
{
    fbt_model *model = NULL;
    fbt_status status = FBT_OK;
    const fixture_case *c = &s->f.cases[0];
    FBT_TRY(fixture_open_model(s->b, folder, &s->f, c, 0, &model));
    FBT_TRY(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = logits}));
done:
    fbt_model_close(model);
    return status;
}

static void open_subject(subject *s)
{
    char path[PATH_BYTES];
    size_t n_config;
    unsigned char *config = read_bytes(subject_name, "config.json", &n_config);
    write_file("config.json", config, n_config);
    free(config);
    s->bytes = read_bytes(subject_name, "model.safetensors", &s->n_bytes);
    s->n_header = 8 + (s->bytes[0] | (size_t)s->bytes[1] << 8);
    write_file("model.safetensors", s->bytes, s->n_bytes);
    snprintf(path, sizeof path, "%s/hf_%s/cases.json", FBT_TEST_DATA, subject_name);
    must(fixture_read(path, &s->f));
    assert_true((size_t)(s->f.cases[0].batch.n_sequences * s->f.n_labels) <= sizeof s->logits / sizeof s->logits[0]);
    must(fixture_open_backend("fp32", 1, &s->b));
    must(evaluate(s, s->logits));
}

static void close_subject(subject *s)
{
    free(s->bytes);
    fixture_clear(&s->f);
    fbt_backend_close(s->b);
}

/* Damaged in a place that matters: an error that names a file of the folder. Elsewhere (metadata): the same logits. */
static int check_damaged(const subject *s, size_t place)
{
    float logits[64] = {0};
    if (evaluate(s, logits) == FBT_OK) {
        assert_memory_equal(logits, s->logits,
                            (size_t)(s->f.cases[0].batch.n_sequences * s->f.n_labels) * sizeof *logits);
        return 1;
    }
    if (strstr(fbt_error_message(), folder) == NULL) {
        fail_msg("byte %zu: '%s'", place, fbt_error_message());
    }
    fbt_error_clear();
    return 0;
}

/* Every bit of the header. Broken by any bound that is not checked. */
static void flipped_headers_are_survived(void **state)
{
    (void)state;
    subject s = {0};
    int n_harmless = 0;
    open_subject(&s);
    FILE *file = open_for_poking("model.safetensors");
    for (size_t i = 0; i < s.n_header; i++) {
        for (int bit = 0; bit < 8; bit++) {
            poke(file, i, (unsigned char)(s.bytes[i] ^ 1 << bit));
            n_harmless += check_damaged(&s, i);
        }
        poke(file, i, s.bytes[i]);
    }
    fclose(file);
    print_message("%zu bytes of header: %d flipped bits did no harm\n", s.n_header, n_harmless);
    assert_true(n_harmless < 8 * 32); /* "format":"pt" */
    close_subject(&s);
}

static void truncated_files_are_survived(void **state)
{
    (void)state;
    subject s = {0};
    open_subject(&s);
    FILE *file = open_for_poking("model.safetensors");
    for (size_t n = s.n_bytes - 1; n > 0; n -= n > s.n_header + 997 ? 997 : 1) {
        assert_int_equal(ftruncate(fileno(file), (off_t)n), 0);
        assert_int_equal(check_damaged(&s, n), 0);
    }
    fclose(file);
    close_subject(&s);
}

/* A key of config.json changed to `value` (NULL: removed), and what must be said about it. */
typedef struct change {
    const char *key;
    const char *value;
    const char *said;
} change;

static void check_change(const subject *s, const char *config, const change *c)
{
    float logits[64];
    json_error_t error;
    json_t *object = json_loads(config, 0, &error);
    assert_non_null(object);
    if (c->value == NULL) {
        json_object_del(object, c->key);
    } else {
        json_t *value = json_loads(c->value, JSON_DECODE_ANY, &error);
        assert_non_null(value);
        json_object_set_new(object, c->key, value);
    }
    char *text = json_dumps(object, 0);
    write_file("config.json", text, strlen(text));
    free(text);
    json_decref(object);
    fbt_status status = evaluate(s, logits);
    if (c->said == NULL) {
        must(status);
    } else if ((status != FBT_ERR_MODEL && status != FBT_ERR_ARG) || strstr(fbt_error_message(), c->said) == NULL) {
        fail_msg("%s = %s: '%s' does not say '%s'", c->key, c->value, fbt_error_message(), c->said);
    }
    fbt_error_clear();
}

static void unfit_configs_are_refused(void **state)
{
    (void)state;
    static const change changes[] = {
        {"model_type", "\"gemma2\"", "model_type is 'gemma2'"},
        {"model_type", "3", "not a string"},
        {"model_type", NULL, "'model_type' is missing"},
        {"model_type", "\"bert\"", "with prefix bert. or none"},
        {"model_type", "\"roberta\"", NULL},
        {"hidden_act", "\"mish\"", "hidden_act is 'mish'"},
        {"position_embedding_type", "\"relative_key\"", "relative_key"},
        {"position_embedding_type", "\"absolute\"", NULL},
        {"is_decoder", "true", "is_decoder"},
        {"is_decoder", "\"yes\"", "'is_decoder' is neither true nor false"},
        {"is_decoder", "1", "'is_decoder' is neither true nor false"},
        {"is_decoder", "null", NULL},
        {"add_cross_attention", "true", "add_cross_attention"},
        {"is_encoder_decoder", "true", "is_encoder_decoder"},
        {"quantization_config", "{}", "quantized"},
        {"compression_config", "{\"format\": \"pack\"}", "'compression_config'"},
        {"transformers_weights", "\"other.safetensors\"", "'transformers_weights'"},
        {"pruned_heads", "{}", NULL},
        {"pruned_heads", "{\"0\": [1]}", "'pruned_heads'"},
        {"adapters", "{\"adapters\": {\"a\": 1}}", "'adapters'"},
        {"auto_map", "{\"AutoModel\": \"modeling.Model\"}", "'auto_map'"},
        {"embedding_size", "24", NULL},
        {"embedding_size", "12", "embedding_size 12 is not hidden_size 24"},
        {"hidden_size", NULL, "'hidden_size' is missing"},
        {"hidden_size", "\"24\"", "'hidden_size' is not a whole number"},
        {"hidden_size", "24.0", "'hidden_size' is not a whole number"},
        {"hidden_size", "0", "'hidden_size' is 0"},
        {"hidden_size", "-24", "'hidden_size' is -24"},
        {"hidden_size", "1000000000000", "outside"},
        {"hidden_size", "25", "not a multiple"},
        {"hidden_size", "27", "where config.json asks"},
        {"hidden_size", "1048575", "where config.json asks"},
        {"intermediate_size", "1048575", "where config.json asks"},
        {"vocab_size", "46", "outside the model's vocabulary of 46"},
        {"vocab_size", "48", "where config.json asks"},
        {"num_hidden_layers", "2", "encoder.layer.1.attention.self.query.weight' is missing"},
        {"num_attention_heads", "0", "'num_attention_heads' is 0"},
        {"max_position_embeddings", "2", "leaves no position"},
        {"max_position_embeddings", "41", "where config.json asks"},
        {"type_vocab_size", "2", "where config.json asks"},
        {"pad_token_id", "null", "pad_token_id is null"},
        {"pad_token_id", "\"1\"", "'pad_token_id' is not a whole number"},
        {"pad_token_id", "47", "'pad_token_id' is 47, outside 0 to 46"},
        {"pad_token_id", NULL, NULL},
        {"layer_norm_eps", "0", "layer_norm_eps"},
        {"layer_norm_eps", "true", "layer_norm_eps"},
        {"layer_norm_eps", "1e-40", "layer_norm_eps"},
        {"layer_norm_eps", "\"small\"", "layer_norm_eps"},
        {"tie_word_embeddings", "false", "decoder.weight' is missing"},
        {"tie_word_embeddings", "\"false\"", "'tie_word_embeddings' is neither true nor false"},
        {"unknown_key", "[1]", NULL},
    };
    subject s = {0};
    size_t n_config;
    unsigned char *bytes = read_bytes(subject_name, "config.json", &n_config);
    char *config = strndup((const char *)bytes, n_config);
    open_subject(&s);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        check_change(&s, config, &changes[i]);
    }
    float logits[64];
    write_file("config.json", "{\"a\":", 5);
    assert_int_equal(evaluate(&s, logits), FBT_ERR_MODEL);
    fbt_error_clear();
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/config.json", folder);
    remove(path);
    assert_int_equal(evaluate(&s, logits), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), path));
    fbt_error_clear();
    free(config);
    free(bytes);
    close_subject(&s);
}

/* Every 61st value made infinite. */
static void damaged_weights_are_refused(void **state)
{
    (void)state;
    subject s = {0};
    int n_harmless = 0;
    open_subject(&s);
    FILE *file = open_for_poking("model.safetensors");
    for (size_t i = s.n_header + 3; i < s.n_bytes; i += 4 * 61) {
        poke(file, i - 1, 0x80);
        poke(file, i, 0x7f);
        n_harmless += check_damaged(&s, i);
        poke(file, i - 1, s.bytes[i - 1]);
        poke(file, i, s.bytes[i]);
    }
    fclose(file);
    assert_true(n_harmless <= 1); /* output bias of words that are no labels */
    close_subject(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(malformed_headers_are_refused),
        TEST(exact_values),
        TEST(values_that_are_not_finite_are_refused),
        TEST(malformed_indexes_are_refused),
        TEST(flipped_headers_are_survived),
        TEST(truncated_files_are_survived),
        TEST(unfit_configs_are_refused),
        TEST(damaged_weights_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
