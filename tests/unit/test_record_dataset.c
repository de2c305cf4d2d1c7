/* Data set files: what is read, that every inconsistency is found and named, and that damaged files do no harm. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/dataset_file.h"
#include "record/hdf5_util.h"
#include "toy/data_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* A damaged header may ask for any amount of memory: an allocation that fails is what a user would see. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* Labels are stored in another width and order than asked for. */
static void write_valid(const char *path)
{
    const data_file_head head = {
        .texts = {{"task", "toy"},
                  {"template", "{text} <mask>"},
                  {"source", "made up"},
                  {"readout", "mask"},
                  {"prompt_mode", "input"},
                  {"metric", "f1"},
                  {"tokenizer_sha256", sha},
                  {"source_sha256", sha}},
        .numbers = {{"format_version", 1},
                    {"prompt_tokens", 10},
                    {"vocab_size", 12},
                    {"bos_id", 1},
                    {"eos_id", 2},
                    {"mask_id", 4},
                    {"pad_id", 0},
                    {"unk_id", -1}},
        .label_words = (const char *const[]){"b\xc3\xa4"
                                             "d",
                                             "good"},
        .label_ids = (const int32_t[]){10, 11},
        .n_labels = 2,
    };
    hid_t file = data_file_make(path, &head);
    data_file_put_split(file, "train", &data_file_three_samples, H5T_STD_I16BE);
    data_file_put_split(file, "test", &data_file_three_samples, H5T_STD_I16BE);
    H5Fclose(file);
}

static void a_file_is_read(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    fbt_dataset d = {0};
    write_valid(path);
    if (fbt_dataset_file_read(path, &d) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_string_equal(d.task, "toy");
    assert_string_equal(d.template_text, "{text} <mask>");
    assert_string_equal(d.tokenizer_sha256, sha);
    assert_true(d.readout == FBT_READOUT_MASK && d.metric == FBT_METRIC_F1 && d.prompt_mode == FBT_PROMPT_INPUT);
    assert_true(d.n_prompt_tokens == 10 && d.vocab_size == 12 && d.n_labels == 2);
    assert_string_equal(d.label_words[0], "b\xc3\xa4"
                                          "d");
    assert_true(d.label_token_ids[1] == 11 && d.label_tokens == NULL && d.label_offsets == NULL);
    assert_true(d.bos_id == 1 && d.eos_id == 2 && d.mask_id == 4 && d.pad_id == 0 && d.unk_id == -1);
    assert_true(d.train.n_samples == 3 && d.dev.n_samples == 0 && d.test.n_samples == 3);
    assert_true(d.train.tokens[13] == 4 && d.train.offsets[3] == 15 && d.train.labels[2] == 1 &&
                d.train.n_truncated == 1);
    assert_true(d.train.readout[1] == 2 && d.train.frozen[14] == 1 && d.train.frozen[12] == 0);
    fbt_dataset_clear(&d);
}

/* Texts of fixed length, padded with zeros or blanks, as other writers make them. */
static void texts_of_fixed_length(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    fbt_dataset d = {0};
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR);
    hid_t pair = H5Screate_simple(1, &(hsize_t){2}, NULL);
    H5Tset_size(type, 6);
    H5Tset_strpad(type, H5T_STR_SPACEPAD);
    H5Adelete(file, "task");
    hid_t attribute = H5Acreate2(file, "task", type, scalar, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, "sst2  ") >= 0);
    H5Aclose(attribute);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Adelete(file, "label_words");
    attribute = H5Acreate2(file, "label_words", type, pair, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, "bad\0\0\0better") >= 0);
    H5Aclose(attribute);
    H5Sclose(pair);
    H5Sclose(scalar);
    H5Tclose(type);
    H5Fclose(file);
    if (fbt_dataset_file_read(path, &d) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_string_equal(d.task, "sst2");
    assert_string_equal(d.label_words[0], "bad");
    assert_string_equal(d.label_words[1], "better");
    fbt_dataset_clear(&d);
}

static void make_embedding(hid_t file)
{
    hid_t group = H5Gcreate2(file, "labels", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    data_file_put(group, "tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, 7, (int32_t[]){1, 5, 2, 1, 6, 7, 2});
    data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, (int64_t[]){0, 3, 7});
    H5Gclose(group);
    fbt_hdf5_write_text(file, "readout", "embedding");
    data_file_put_label_ids(file, 2, (int32_t[]){-1, -1});
}

static void embedding_readout(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    fbt_dataset d = {0};
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    make_embedding(file);
    H5Fclose(file);
    if (fbt_dataset_file_read(path, &d) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_true(d.readout == FBT_READOUT_EMBEDDING && d.label_offsets[1] == 3 && d.label_tokens[4] == 6);
    fbt_dataset_clear(&d);
}

/* Reads at the last tokens; n tokens of the labels' words, NULL: files from before have none. */
static void write_last(const char *path, const int32_t *tokens, int64_t n, const int64_t offsets[3],
                       const int32_t ids[2])
{
    static const char *const splits[] = {"train/readout", "test/readout"};
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    fbt_hdf5_write_text(file, "readout", "last");
    data_file_put_label_ids(file, 2, ids);
    for (int i = 0; i < 2; i++) {
        H5Ldelete(file, splits[i], H5P_DEFAULT);
        data_file_put(file, splits[i], H5T_STD_I32LE, H5T_NATIVE_INT32, 3, (int32_t[]){4, 3, 5});
    }
    if (tokens != NULL) {
        hid_t group = H5Gcreate2(file, "labels", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        data_file_put(group, "tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, n, tokens);
        data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, offsets);
        H5Gclose(group);
    }
    H5Fclose(file);
}

/* Broken by words of several tokens that are cut to the first, or by a file without the tokens that is refused. */
static void words_of_several_tokens(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    fbt_dataset d = {0};
    write_last(path, (int32_t[]){5, 6, 7}, 3, (int64_t[]){0, 1, 3}, (int32_t[]){5, -1});
    assert_int_equal(fbt_dataset_file_read(path, &d), FBT_OK);
    assert_true(d.readout == FBT_READOUT_LAST && d.label_token_ids[0] == 5 && d.label_token_ids[1] == 6);
    assert_true(d.label_offsets[1] == 1 && d.label_offsets[2] == 3 && d.label_tokens[2] == 7);
    fbt_dataset_clear(&d);
    write_last(path, NULL, 0, NULL, (int32_t[]){10, 11});
    assert_int_equal(fbt_dataset_file_read(path, &d), FBT_OK);
    assert_true(d.label_offsets[2] == 2 && d.label_tokens[1] == 11 && d.label_token_ids[1] == 11);
    fbt_dataset_clear(&d);
}

/* One change to a valid file. */
typedef struct change {
    const char *place; /* attribute "@name" or data set */
    int64_t element;   /* of a data set; -1: delete     */
    int64_t value;     /* new value                     */
    const char *text;  /* new text of an attribute      */
    fbt_status status;
    const char *sentence; /* part of it                    */
} change;

static void apply(const char *path, const change *c)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (c->place[0] == '@' && c->element < 0) {
        assert_true(H5Adelete(file, c->place + 1) >= 0);
    } else if (c->place[0] == '@' && c->text != NULL) {
        assert_int_equal(fbt_hdf5_write_text(file, c->place + 1, c->text), FBT_OK);
    } else if (c->place[0] == '@') {
        H5Adelete(file, c->place + 1);
        assert_int_equal(fbt_hdf5_write_int(file, c->place + 1, c->value), FBT_OK);
    } else if (c->element < 0) {
        assert_true(H5Ldelete(file, c->place, H5P_DEFAULT) >= 0);
    } else {
        int64_t values[32];
        hid_t dataset = H5Dopen2(file, c->place, H5P_DEFAULT);
        assert_true(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        values[c->element] = c->value;
        assert_true(H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Dclose(dataset);
    }
    H5Fclose(file);
}

static void assert_bad(const char *path, fbt_status expected, const char *sentence)
{
    fbt_dataset d = {0};
    fbt_status status = fbt_dataset_file_read(path, &d);
    if (status != expected) {
        fail_msg("status %d instead of %d (%s) for '%s'", (int)status, (int)expected, fbt_error_message(), sentence);
    }
    assert_error_has(sentence);
    assert_null(d.task);
    assert_null(d.label_words);
    assert_null(d.train.tokens);
}

static void put_clients(const char *path, int64_t n_names, const int64_t *offsets, int64_t n, const int32_t *client,
                        const char *names)
{
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t group = H5Gcreate2(file, "clients", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t train = H5Gopen2(file, "train", H5P_DEFAULT);
    data_file_put(group, "names", H5T_STD_U8LE, H5T_NATIVE_UINT8, (int64_t)strlen(names), names);
    data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, n_names + 1, offsets);
    data_file_put(train, "client", H5T_STD_I32LE, H5T_NATIVE_INT32, n, client);
    H5Gclose(train);
    H5Gclose(group);
    H5Fclose(file);
}

/* Clients that samples come from, and that every inconsistency of theirs is named. */
static void clients_by_nature(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    const int64_t offsets[] = {0, 3, 6}, apart[] = {0, 4, 6};
    fbt_dataset d = {0};
    put_clients(path, 2, offsets, 3, (const int32_t[]){1, 0, 1}, "anabob");
    assert_int_equal(fbt_dataset_file_read(path, &d), FBT_OK);
    assert_int_equal(d.n_clients, 2);
    assert_memory_equal(d.client, ((const int32_t[]){1, 0, 1}), 3 * sizeof *d.client);
    assert_memory_equal(d.client_names + d.client_offsets[1], "bob", 3);
    fbt_dataset_clear(&d);
    const struct {
        int64_t n_names, n;
        const int64_t *offsets;
        int32_t client[3];
        const char *names, *sentence;
    } wrong[] = {{2, 3, offsets, {1, 0, 2}, "anabob", "sample 2 is of client 2, but the clients are 0 to 1"},
                 {2, 3, offsets, {1, 0, -1}, "anabob", "sample 2 is of client -1"},
                 {2, 3, offsets, {1, 1, 1}, "anabob", "client 0 has no sample"},
                 {2, 2, offsets, {1, 0, 1}, "anabob", "train/client has 2 entries instead of 3"},
                 {2, 3, offsets, {1, 0, 1}, "ana", "clients"},
                 {2,
                  3,
                  apart,
                  {1, 0, 1},
                  "an\xc3\xa4"
                  "bo",
                  ""},
                 {2,
                  3,
                  offsets,
                  {1, 0, 1},
                  "an\xc3\xa4"
                  "bo",
                  "clients: byte 2 of name 0 is not UTF-8"},
                 {0, 3, offsets, {1, 0, 1}, "", "clients/offsets has 1 entries"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_clients(path, wrong[i].n_names, wrong[i].offsets, wrong[i].n, wrong[i].client, wrong[i].names);
        if (wrong[i].sentence[0] == '\0') {
            assert_int_equal(fbt_dataset_file_read(path, &d), FBT_OK);
            fbt_dataset_clear(&d);
        } else {
            assert_bad(path, FBT_ERR_DATA, wrong[i].sentence);
        }
    }
}

static void every_inconsistency_is_named(void **state)
{
    (void)state;
    static const change cases[] = {
        {"@task", -1, 0, NULL, FBT_ERR_DATA, "attribute task is missing; was it made by jobs/prepare_data.py"},
        {"@vocab_size", -1, 0, NULL, FBT_ERR_DATA, "attribute vocab_size is missing"},
        {"@label_words", -1, 0, NULL, FBT_ERR_DATA, "attribute label_words is missing"},
        {"@label_token_ids", -1, 0, NULL, FBT_ERR_DATA, "attribute label_token_ids is missing"},
        {"@format_version", 0, 2, NULL, FBT_ERR_DATA, "has format version 2, this program reads 1"},
        {"@format_version", 0, 0, "1", FBT_ERR_DATA, "attribute format_version is not a number"},
        {"@task", 0, 3, NULL, FBT_ERR_DATA, "attribute task is not a text"},
        {"@readout", 0, 0, "first", FBT_ERR_DATA, "attribute readout is 'first', which this program does not know"},
        {"@metric", 0, 0, "mcc", FBT_ERR_DATA, "attribute metric is 'mcc'"},
        {"@prompt_mode", 0, 0, "deep", FBT_ERR_DATA, "attribute prompt_mode is 'deep'"},
        {"@vocab_size", 0, 0, NULL, FBT_ERR_DATA, "attribute vocab_size is 0, outside of 1"},
        {"@vocab_size", 0, 11, NULL, FBT_ERR_DATA, "label 1 ('good') has token id 11"},
        {"@prompt_tokens", 0, -1, NULL, FBT_ERR_DATA, "attribute prompt_tokens is -1"},
        {"@mask_id", 0, -2, NULL, FBT_ERR_DATA, "attribute mask_id is -2"},
        {"@eos_id", 0, 12, NULL, FBT_ERR_DATA, "eos_id 12 is outside the vocabulary of 12 tokens"},
        {"@mask_id", 0, -1, NULL, FBT_ERR_DATA, "readout is mask, but mask_id is absent"},
        {"@tokenizer_sha256", 0, 0, "abc", FBT_ERR_DATA, "must be 64 lower-case hexadecimal digits"},
        {"train", -1, 0, NULL, FBT_ERR_IO, "group train cannot be read"},
        {"train/frozen", -1, 0, NULL, FBT_ERR_DATA, "data set train/frozen is missing"},
        {"test/tokens", -1, 0, NULL, FBT_ERR_DATA, "data set test/tokens is missing"},
        {"train/offsets", 0, 1, NULL, FBT_ERR_DATA, "train: offsets run from 1 to 15"},
        {"train/offsets", 3, 14, NULL, FBT_ERR_DATA,
         "train: offsets run from 0 to 14 instead of from 0 to the 15 tokens"},
        {"test/offsets", 1, 9, NULL, FBT_ERR_DATA, "test: sample 1 has no tokens"},
        {"train/offsets", 1, INT64_MAX, NULL, FBT_ERR_DATA, "train: sample 0 has no tokens, or its offsets"},
        {"train/offsets", 2, INT64_MIN, NULL, FBT_ERR_DATA, "train: sample 1 has no tokens, or its offsets"},
        {"train/tokens", 6, 12, NULL, FBT_ERR_DATA, "train: sample 1 has token 12, outside the vocabulary of 12"},
        {"test/tokens", 14, -1, NULL, FBT_ERR_DATA, "test: sample 2 has token -1, outside"},
        {"train/labels", 2, 2, NULL, FBT_ERR_DATA, "train: sample 2 has label 2, but the labels are 0 to 1"},
        {"train/labels", 0, -1, NULL, FBT_ERR_DATA, "train: sample 0 has label -1"},
        {"train/readout", 1, 4, NULL, FBT_ERR_DATA, "train: sample 1 is read at position 4, but has 4 tokens"},
        {"train/readout", 1, -1, NULL, FBT_ERR_DATA, "train: sample 1 is read at position -1"},
        {"train/readout", 1, 1, NULL, FBT_ERR_DATA,
         "train: sample 1 is read at position 1, which is not the mask token"},
        {"test/frozen", 9, 2, NULL, FBT_ERR_DATA, "test: sample 2 has a frozen flag of 2"},
        {"@prompt_mode", 0, 0, "add", FBT_ERR_DATA, "train: sample 0 has 5 tokens, too few for the 10 prompt tokens"},
        {"@readout", 0, 0, "last", FBT_ERR_DATA, "train: sample 0 is read at position 3, which is not its last token"},
        {"@readout", 0, 0, "embedding", FBT_ERR_DATA, "data set labels/tokens is missing"},
    };
    const char *path = fixture_path("d.h5");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_valid(path);
        apply(path, &cases[i]);
        assert_bad(path, cases[i].status, cases[i].sentence);
    }
}

/* Replaces a data set of the train split. */
static void replace(const char *path, const char *name, hid_t stored, hid_t type, int64_t n, const void *values)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, "train", H5P_DEFAULT);
    assert_true(H5Ldelete(group, name, H5P_DEFAULT) >= 0);
    data_file_put(group, name, stored, type, n, values);
    H5Gclose(group);
    H5Fclose(file);
}

static void shapes_and_types_are_checked(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    const double reals[3] = {0, 1, 1};
    const int64_t wide[3] = {0, 1, (int64_t)1 << 32};
    write_valid(path);
    replace(path, "labels", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 3, reals);
    assert_bad(path, FBT_ERR_DATA, "train/labels must be a one-dimensional array of integers");
    write_valid(path);
    replace(path, "labels", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, wide);
    assert_bad(path, FBT_ERR_DATA, "train/labels: entry 2 is 4294967296, outside");
    write_valid(path);
    replace(path, "labels", H5T_STD_I64LE, H5T_NATIVE_INT64, 2, wide);
    assert_bad(path, FBT_ERR_DATA, "train/offsets has 4 entries instead of 3, one more than samples");
    write_valid(path);
    replace(path, "frozen", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, wide);
    assert_bad(path, FBT_ERR_DATA, "train/frozen: entry 2 is 4294967296");
    write_valid(path);
    replace(path, "frozen", H5T_STD_I64LE, H5T_NATIVE_INT64, 2, wide);
    assert_bad(path, FBT_ERR_DATA, "train/frozen has 2 entries instead of 15, one per token");
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    data_file_put_label_ids(file, 3, (int32_t[]){1, 2, 3});
    H5Fclose(file);
    assert_bad(path, FBT_ERR_DATA, "label_token_ids has 3 entries instead of 2, one per label word");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    data_file_put_label_ids(file, 2, (int32_t[]){3, 3});
    H5Fclose(file);
    assert_bad(path, FBT_ERR_DATA, "labels 0 and 1 have the same token id 3");
}

static void words_that_contradict_are_refused(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    write_last(path, (int32_t[]){5, 6, 7}, 3, (int64_t[]){0, 1, 3}, (int32_t[]){5, 6});
    assert_bad(path, FBT_ERR_DATA,
               "label 1 ('good') has token id 6, but labels/tokens says 2 tokens that begin with 6");
    write_last(path, (int32_t[]){5, 6, 7}, 3, (int64_t[]){0, 1, 3}, (int32_t[]){-1, -1});
    assert_bad(path, FBT_ERR_DATA, "has token id -1, but labels/tokens says 1 tokens that begin with 5");
    write_last(path, (int32_t[]){5, 6, 5, 6}, 4, (int64_t[]){0, 2, 4}, (int32_t[]){-1, -1});
    assert_bad(path, FBT_ERR_DATA, "labels 0 and 1 are the same tokens, from 5 on; give them different words");
    write_last(path, (int32_t[]){5, 6, 12}, 3, (int64_t[]){0, 1, 3}, (int32_t[]){5, -1});
    assert_bad(path, FBT_ERR_DATA, "labels: token 12 at 2 is outside the vocabulary");
    write_last(path, (int32_t[]){5, 6, 7}, 3, (int64_t[]){0, 3, 3}, (int32_t[]){-1, 5});
    assert_bad(path, FBT_ERR_DATA, "labels: label 1 has no tokens");
    write_last(path, NULL, 0, NULL, (int32_t[]){10, -1});
    assert_bad(path, FBT_ERR_DATA, "label 1 ('good') has token id -1; expected one of the vocabulary");
}

/* A header that claims more values than the file can hold must not make this program ask for the memory. */
static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    write_valid(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &(hsize_t){(hsize_t)1 << 50}, NULL);
    H5Pset_chunk(list, 1, &(hsize_t){1024});
    H5Ldelete(file, "train/tokens", H5P_DEFAULT);
    H5Dclose(H5Dcreate2(file, "train/tokens", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    assert_bad(path, FBT_ERR_IO, "claims 1125899906842624 values, more than a file of");
}

static long read_bytes(const char *path, unsigned char *bytes, long capacity)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    long n = (long)fread(bytes, 1, (size_t)capacity, file);
    fclose(file);
    assert_true(n > 0 && n < capacity);
    return n;
}

static void write_bytes(const char *path, const unsigned char *bytes, long n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal((long)fwrite(bytes, 1, (size_t)n, file), n);
    fclose(file);
}

/* Either the data are whole, or there is one sentence and nothing is left behind. */
static bool try_reading(const char *path)
{
    fbt_dataset d = {0};
    fbt_status status = fbt_dataset_file_read(path, &d);
    if (status != FBT_OK) {
        assert_true(strlen(fbt_error_message()) > 10);
        assert_null(d.train.tokens);
        fbt_error_clear();
    }
    fbt_dataset_clear(&d);
    return status == FBT_OK;
}

static void truncated_files_are_refused(void **state)
{
    (void)state;
    static unsigned char bytes[100000];
    const char *path = fixture_path("d.h5");
    write_valid(path);
    long n = read_bytes(path, bytes, sizeof bytes);
    for (long length = 0; length < n; length += 1 + n / 300) {
        write_bytes(path, bytes, length);
        assert_false(try_reading(path));
    }
    write_bytes(path, bytes, n - 1);
    assert_false(try_reading(path));
    write_bytes(path, bytes, n);
    assert_true(try_reading(path));
}

/* Bits flipped among the values: all places of the raw data, found by their content. */
static void flipped_values_do_no_harm(void **state)
{
    (void)state;
    static unsigned char bytes[100000];
    static const int64_t offsets[] = {0, 5, 9, 15};
    static const int32_t tokens[] = {1, 5, 6, 4, 2, 1, 7, 4, 2};
    const char *path = fixture_path("d.h5");
    write_valid(path);
    long n = read_bytes(path, bytes, sizeof bytes);
    int n_refused = 0, n_tried = 0;
    for (long i = 0; i + (long)sizeof tokens < n; i++) {
        bool here = memcmp(bytes + i, offsets, sizeof offsets) == 0 || memcmp(bytes + i, tokens, sizeof tokens) == 0;
        for (long bit = 0; here && bit < 8 * (long)sizeof offsets; bit++) {
            bytes[i + bit / 8] ^= (unsigned char)(1 << bit % 8);
            write_bytes(path, bytes, n);
            n_refused += !try_reading(path);
            n_tried++;
            bytes[i + bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
    assert_int_equal(n_tried, 4 * 8 * (int)sizeof offsets); /* offsets and tokens of two splits */
    assert_true(n_refused > n_tried / 2);
}

static fbt_status read_only(const char *path)
{
    fbt_dataset d = {0};
    fbt_status status = fbt_dataset_file_read(path, &d);
    fbt_dataset_clear(&d);
    return status;
}

/* Of a data set file without a seal a few of these bits make HDF5 1.10 crash. */
static void any_flipped_bit_of_a_sealed_file_is_told(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    write_valid(path);
    fixture_seal(path);
    fixture_assert_damage_is_told(path, read_only);
}

static void files_that_are_no_data_sets(void **state)
{
    (void)state;
    const char *path = fixture_path("d.h5");
    assert_bad("/nonexistent/d.h5", FBT_ERR_IO, "/nonexistent/d.h5 cannot be opened: No such file");
    assert_bad("/tmp", FBT_ERR_IO, "/tmp is not a regular file");
    write_bytes(path, (const unsigned char *)"text", 4);
    assert_bad(path, FBT_ERR_IO, "is not an HDF5 file");
    H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    assert_bad(path, FBT_ERR_DATA, "attribute format_version is missing; was it made by jobs/prepare_data.py");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(texts_of_fixed_length, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(embedding_readout, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(clients_by_nature, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(words_of_several_tokens, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(words_that_contradict_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(every_inconsistency_is_named, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(shapes_and_types_are_checked, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(absurd_sizes_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(truncated_files_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(flipped_values_do_no_harm, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(any_flipped_bit_of_a_sealed_file_is_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(files_that_are_no_data_sets, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
