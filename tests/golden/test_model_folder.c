/* Model folders of several files: which weights are the model's, and how a sentence encoder pools. What
 * contradicts itself or is not computed is refused with a sentence that names the file and the value. */
#include "model/describe.h"
#include "model/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden/temporary_folder.h"

enum { MAX_FILES = 5 };

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* A safetensors file of one number each for the letters of `tensors`. */
static void write_weights(const char *name, const char *tensors)
{
    char header[1024] = "{";
    unsigned char content[2048] = {0};
    for (size_t i = 0; tensors[i] != '\0'; i++) {
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "%s\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i > 0 ? "," : "", tensors[i],
                 4 * i, 4 * i + 4);
    }
    strcat(header, "}");
    content[0] = (unsigned char)strlen(header);
    content[1] = (unsigned char)(strlen(header) >> 8);
    memcpy(content + 8, header, strlen(header));
    write_file(name, content, 8 + strlen(header) + 4 * strlen(tensors));
}

/* Files of a folder: weights of the tensors named, or text where it begins with a brace. */
typedef struct file {
    const char *name, *content;
} file;

static void write_files(const file *files)
{
    for (int i = 0; i < MAX_FILES && files[i].name != NULL; i++) {
        if (files[i].content[0] == '{' || files[i].content[0] == '[') {
            write_text(files[i].name, files[i].content);
        } else {
            write_weights(files[i].name, files[i].content);
        }
    }
}

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

/* said: NULL: accepted. */
static void check_said(fbt_status status, const char *const *said, const char *context)
{
    const char *found = fbt_error_message();
    if (said[0] == NULL) {
        must(status);
    } else if (status == FBT_OK) {
        fail_msg("accepted: %s", context);
    }
    for (int i = 0; i < 2 && said[i] != NULL; i++) {
        if (strstr(found, said[i]) == NULL || strstr(found, folder) == NULL) {
            fail_msg("'%s' does not say '%s' about %s", found, said[i], context);
        }
    }
    fbt_error_clear();
}

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define MAP(a, b) "{\"metadata\":{},\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}}"

/* Broken by a rule that prefers one set of weights to another without a word, or by an index that is not compared with
 * what its shards hold. */
static void contradicting_weights_are_refused(void **state)
{
    static const struct {
        const char *what;
        file files[MAX_FILES];
        const char *said[2];
    } cases[] = {
        {"a single file", {{SINGLE, "ab"}}, {NULL}},
        {"shards", {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}, {SHARD_2, "b"}}, {NULL}},
        {"a variant beside", {{SINGLE, "ab"}, {"model.fp16.safetensors", "ab"}, {"pytorch_model.bin", "a"}}, {NULL}},
        {"an index of the single file", {{SINGLE, "ab"}, {INDEX, MAP(SINGLE, SINGLE)}}, {NULL}},
        {"a single file and stale shards",
         {{SINGLE, "ab"}, {INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}, {SHARD_2, "b"}},
         {"has " SINGLE " and", INDEX}},
        {"a single file and an index without shards",
         {{SINGLE, "ab"}, {INDEX, MAP(SHARD_1, SHARD_2)}},
         {SINGLE, INDEX}},
        {"a single file and half an index",
         {{SINGLE, "ab"}, {INDEX, MAP(SINGLE, SHARD_2)}, {SHARD_2, "b"}},
         {SINGLE, INDEX}},
        {"an index that a single file has outgrown",
         {{SINGLE, "abc"}, {INDEX, MAP(SINGLE, SINGLE)}},
         {"'c'", "does not name"}},
        {"a single file and shards without index", {{SINGLE, "ab"}, {SHARD_1, "a"}}, {"shard " SHARD_1, SINGLE}},
        {"shards without index", {{SHARD_1, "a"}, {SHARD_2, "b"}}, {SHARD_1, "no " INDEX}},
        {"a missing shard", {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}}, {SHARD_2, "missing"}},
        {"a shard of another set",
         {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}, {SHARD_2, "b"}, {"model-00003-of-00003.safetensors", "a"}},
         {"model-00003-of-00003", INDEX}},
        {"a tensor in another shard",
         {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "b"}, {SHARD_2, "a"}},
         {"tensor 'a' is missing", INDEX}},
        {"a tensor in two shards",
         {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}, {SHARD_2, "ab"}},
         {SHARD_2 ": holds tensor 'a'", "places in " SHARD_1}},
        {"a tensor that is not named",
         {{INDEX, MAP(SHARD_1, SHARD_2)}, {SHARD_1, "a"}, {SHARD_2, "bc"}},
         {SHARD_2 ": holds tensor 'c'", "does not name"}},
        {"a shard below", {{INDEX, MAP("sub/a.safetensors", SHARD_2)}, {SHARD_2, "b"}}, {"same folder", "'a'"}},
        {"an absolute shard", {{INDEX, MAP(SHARD_1, "/tmp/b.safetensors")}, {SHARD_1, "a"}}, {"same folder", "'b'"}},
        {"a shard above", {{INDEX, MAP(SHARD_1, "../b.safetensors")}, {SHARD_1, "a"}}, {"same folder", "'b'"}},
        {"an index with a key twice",
         {{INDEX, "{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}"}},
         {"not valid JSON", "duplicate"}},
        {"another name", {{"model.fp16.safetensors", "ab"}}, {"name the file " SINGLE, "model.fp16.safetensors"}},
        {"PyTorch's file alone", {{"pytorch_model.bin", "a"}}, {"pytorch_model.bin", "safe_serialization=True"}},
        {"an adapter", {{SINGLE, "ab"}, {"adapter_config.json", "{}"}}, {"adapter_config.json", "merge"}},
        {"nothing", {{"README.md", "a"}}, {"neither " SINGLE, INDEX}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_safetensors *files;
        write_files(cases[i].files);
        check_said(fbt_safetensors_open(folder, &files), cases[i].said, cases[i].what);
        fbt_safetensors_close(files);
        remove_folder(NULL);
        mkdir(folder, 0700);
    }
    write_text(SINGLE, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n");
    fbt_safetensors *files;
    check_said(fbt_safetensors_open(folder, &files), (const char *const[]){"Git LFS pointer", SINGLE}, "a pointer");
}

#define MODULE(kind, path)                                                                                             \
    "{\"idx\":0,\"name\":\"0\",\"path\":\"" path "\",\"type\":\"sentence_transformers.models." kind "\"}"
#define POOLED "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "]"
#define NORMALISED                                                                                                     \
    "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Normalize", "2_Normalize") "]"
#define OLD(flag) "{\"word_embedding_dimension\":48,\"pooling_mode_" flag "\":true}"
#define NEW(mode) "{\"embedding_dimension\":48,\"pooling_mode\":" mode "}"

typedef struct sentence_case {
    const char *what, *modules, *pooling;
    file more;
    const char *said[2]; /* NULL: accepted */
    fbt_pooling found;
} sentence_case;

static const sentence_case sentence_cases[] = {
    {"no modules", NULL, NULL, {0}, {NULL}, FBT_POOLING_MEAN},
    {"the mean", POOLED, OLD("mean_tokens"), {0}, {NULL}, FBT_POOLING_MEAN},
    {"[CLS]", POOLED, OLD("cls_token"), {0}, {NULL}, FBT_POOLING_CLS},
    {"no flag",
     POOLED,
     "{\"word_embedding_dimension\":48,\"pooling_mode_cls_token\":false}",
     {0},
     {NULL},
     FBT_POOLING_MEAN},
    {"no setting", POOLED, "{\"embedding_dimension\":48}", {0}, {NULL}, FBT_POOLING_MEAN},
    {"the mean, new", NORMALISED, NEW("\"mean\""), {0}, {NULL}, FBT_POOLING_MEAN},
    {"[CLS], new", NORMALISED, NEW("\"cls\""), {0}, {NULL}, FBT_POOLING_CLS},
    {"a list of one", POOLED, NEW("[\"cls\"]"), {0}, {NULL}, FBT_POOLING_CLS},
    {"new before old",
     POOLED,
     "{\"pooling_mode\":\"cls\",\"pooling_mode_mean_tokens\":true}",
     {0},
     {NULL},
     FBT_POOLING_CLS},
    {"max", POOLED, OLD("max_tokens"), {0}, {"'max'", "1_Pooling/config.json"}, 0},
    {"sqrt", POOLED, OLD("mean_sqrt_len_tokens"), {0}, {"'mean_sqrt_len_tokens'"}, 0},
    {"weighted", POOLED, OLD("weightedmean_tokens"), {0}, {"'weightedmean'"}, 0},
    {"last", POOLED, OLD("lasttoken"), {0}, {"'lasttoken'"}, 0},
    {"max, new", POOLED, NEW("\"max\""), {0}, {"'max'"}, 0},
    {"a mode of later", POOLED, OLD("median"), {0}, {"'pooling_mode_median'"}, 0},
    {"two flags",
     POOLED,
     "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true}",
     {0},
     {"'cls' and 'mean'"},
     0},
    {"two modes", POOLED, NEW("[\"cls\",\"mean\"]"), {0}, {"2 modes"}, 0},
    {"a number", POOLED, NEW("3"), {0}, {"'pooling_mode' is not a string"}, 0},
    {"a flag that is a text", POOLED, "{\"pooling_mode_cls_token\":\"true\"}", {0}, {"neither true nor false"}, 0},
    {"without prompt",
     POOLED,
     "{\"pooling_mode\":\"mean\",\"include_prompt\":false}",
     {0},
     {"include_prompt is false"},
     0},
    {"another width", POOLED, "{\"word_embedding_dimension\":96}", {0}, {"word_embedding_dimension is 96", "48"}, 0},
    {"an unknown setting", POOLED, "{\"pooling_mode\":\"mean\",\"head\":2}", {0}, {"'head'"}, 0},
    {"pooling without settings", POOLED, NULL, {0}, {"1_Pooling/config.json", "cannot be read"}, 0},
    {"settings without modules", NULL, OLD("cls_token"), {0}, {"1_Pooling", "modules.json"}, 0},
    {"Dense",
     "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Dense", "2_Dense") "]",
     OLD("cls_token"),
     {0},
     {"models.Dense"},
     0},
    {"code of its own",
     "[{\"type\":\"custom_st.Transformer\",\"path\":\"\"}," MODULE("Pooling", "1_Pooling") "]",
     NULL,
     {0},
     {"custom_st.Transformer"},
     0},
    {"no pooling", "[" MODULE("Transformer", "") "]", NULL, {0}, {"Pooling"}, 0},
    {"word embeddings",
     "[" MODULE("WordEmbeddings", "0") "," MODULE("Pooling", "1_Pooling") "]",
     NULL,
     {0},
     {"WordEmbeddings"},
     0},
    {"a transformer below",
     "[" MODULE("Transformer", "0_Transformer") "," MODULE("Pooling", "1_Pooling") "]",
     NULL,
     {0},
     {"'0_Transformer'"},
     0},
    {"a module above",
     "[" MODULE("Transformer", "") "," MODULE("Pooling", "../1_Pooling") "]",
     NULL,
     {0},
     {"outside the model folder"},
     0},
    {"an object", "{\"a\":1}", NULL, {0}, {"modules.json", "JSON list"}, 0},
    {"a module that is none", "[3,4]", NULL, {0}, {"module 0"}, 0},
    {"usual settings",
     NORMALISED,
     NEW("\"cls\""),
     {"sentence_bert_config.json",
      "{\"max_seq_length\":256,\"do_lower_case\":false,\"transformer_task\":\"feature-extraction\",\"modality_config\":"
      "{"
      "\"text\":{\"method\":\"forward\",\"method_output_name\":\"last_hidden_state\"}},\"module_output_name\":"
      "\"token_embeddings\",\"query_length\":null,\"config_args\":{}}"},
     {NULL},
     FBT_POOLING_CLS},
    {"another output",
     POOLED,
     NEW("\"cls\""),
     {"sentence_bert_config.json",
      "{\"modality_config\":{\"text\":{\"method\":\"forward\",\"method_output_name\":\"pooler_output\"}}}"},
     {"modality_config"},
     0},
    {"another task",
     POOLED,
     NEW("\"cls\""),
     {"sentence_roberta_config.json", "{\"transformer_task\":\"fill-mask\"}"},
     {"transformer_task is 'fill-mask'"},
     0},
    {"other arguments",
     POOLED,
     NEW("\"cls\""),
     {"sentence_bert_config.json", "{\"config_args\":{\"hidden_act\":\"relu\"}}"},
     {"'config_args'"},
     0},
    {"a length of no tokens",
     POOLED,
     NEW("\"cls\""),
     {"sentence_bert_config.json", "{\"max_seq_length\":0}"},
     {"'max_seq_length' is 0"},
     0},
    {"cosine",
     POOLED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"similarity_fn_name\":\"cosine\",\"prompts\":{\"query\":\"q: "
                                           "\"},\"default_prompt_name\":null,\"model_type\":\"SentenceTransformer\"}"},
     {NULL},
     FBT_POOLING_CLS},
    {"a dot product",
     POOLED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"similarity_fn_name\":\"dot\"}"},
     {"similarity_fn_name is 'dot'"},
     0},
    {"a dot product of unit vectors",
     NORMALISED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"similarity_fn_name\":\"dot\"}"},
     {NULL},
     FBT_POOLING_CLS},
    {"a distance",
     NORMALISED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"similarity_fn_name\":\"euclidean\"}"},
     {"'euclidean'"},
     0},
    {"a text before all",
     POOLED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"prompts\":{\"query\":\"q: \"},\"default_prompt_name\":\"query\"}"},
     {"default_prompt_name is 'query'"},
     0},
    {"an empty text before all",
     POOLED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"prompts\":{\"d\":\"\"},\"default_prompt_name\":\"d\"}"},
     {NULL},
     FBT_POOLING_CLS},
    {"sparse",
     POOLED,
     NEW("\"cls\""),
     {"config_sentence_transformers.json", "{\"model_type\":\"SparseEncoder\"}"},
     {"'SparseEncoder'"},
     0},
    {"another input",
     NORMALISED,
     NEW("\"cls\""),
     {"2_Normalize/config.json", "{\"module_input_name\":\"token_embeddings\"}"},
     {"module_input_name is 'token_embeddings'"},
     0},
    {"the usual input",
     NORMALISED,
     NEW("\"cls\""),
     {"2_Normalize/config.json",
      "{\"module_input_name\":\"sentence_embedding\",\"module_output_name\":\"sentence_embedding\"}"},
     {NULL},
     FBT_POOLING_CLS},
};

/* Broken by a module or setting that is passed over. */
static void sentence_encoders_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sentence_cases / sizeof sentence_cases[0]; i++) {
        const sentence_case *c = &sentence_cases[i];
        fbt_model_shape shape = {.n_hidden = 48, .pooling = FBT_POOLING_MEAN};
        write_files((const file[MAX_FILES]){c->more});
        if (c->pooling != NULL) {
            write_text("1_Pooling/config.json", c->pooling);
        }
        if (c->modules != NULL) {
            write_text("modules.json", c->modules);
        }
        check_said(fbt_model_read_pooling(folder, &shape), c->said, c->what);
        if (c->said[0] == NULL && shape.pooling != c->found) {
            fail_msg("%s: pooling %d", c->what, (int)shape.pooling);
        }
        remove_folder(NULL);
        mkdir(folder, 0700);
    }
}

/* A folder is good for the readouts that it has the parts of. */
static void readouts_are_told(void **state)
{
    static const struct {
        const char *name;
        fbt_pooling pooling;
        int has_mask;
        int64_t n_files;
    } folders[] = {
        {"hf_roberta_mlm", FBT_POOLING_MEAN, 1, 1},
        {"hf_bert_mlm_sharded", FBT_POOLING_MEAN, 1, 5},
        {"hf_bert_embedding", FBT_POOLING_MEAN, 0, 1},
        {"st_roberta_cls", FBT_POOLING_CLS, 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char path[PATH_BYTES];
        fbt_model_description about;
        snprintf(path, sizeof path, "%s/%s", FBT_TEST_DATA, folders[i].name);
        must(fbt_model_describe(path, true, &about));
        assert_int_equal(about.shape.pooling, folders[i].pooling);
        assert_int_equal(about.refusals[FBT_READOUT_MASK][0] == '\0', folders[i].has_mask);
        assert_string_equal(about.refusals[FBT_READOUT_EMBEDDING], "");
        assert_int_equal(about.n_files, folders[i].n_files);
        assert_string_equal(about.dtype, "F32");
        must(fbt_model_description_require(&about, NULL));
        must(fbt_model_description_require(&about, "embedding"));
        assert_int_equal(fbt_model_description_require(&about, "mask"), folders[i].has_mask ? FBT_OK : FBT_ERR_MODEL);
        fbt_error_clear();
        assert_int_equal(fbt_model_description_require(&about, "last"), FBT_ERR_UNSUPPORTED);
        fbt_error_clear();
        assert_int_equal(fbt_model_description_require(&about, "first"), FBT_ERR_ARG);
        fbt_error_clear();
        fbt_model_description_clear(&about);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(contradicting_weights_are_refused),
        TEST(sentence_encoders_are_read),
        cmocka_unit_test(readouts_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
