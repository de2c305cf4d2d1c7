/* Data set files: even inputs change one that is read at a mask, odd ones one that is read by embedding. */
#include "fuzz.h"
#include "hdf5_changes.h"

#include "record/dataset_file.h"
#include "record/hdf5_util.h"
#include "record/vocabulary_file.h"
#include "toy/data_file.h"

#include <string.h>

static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void put_label_texts(hid_t file)
{
    const int32_t tokens[] = {1, 5, 6, 2};
    const int64_t offsets[] = {0, 1, 4};
    hid_t group = H5Gcreate2(file, "labels", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    data_file_put(group, "tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, 4, tokens);
    data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, offsets);
    H5Gclose(group);
}

static void put_clients(hid_t file)
{
    const int64_t offsets[] = {0, 3, 6};
    const int32_t client[] = {1, 0, 1};
    hid_t group = H5Gcreate2(file, "clients", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t train = H5Gopen2(file, "train", H5P_DEFAULT);
    data_file_put(group, "names", H5T_STD_U8LE, H5T_NATIVE_UINT8, 6, "anabob");
    data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, offsets);
    data_file_put(train, "client", H5T_STD_I32LE, H5T_NATIVE_INT32, 3, client);
    H5Gclose(train);
    H5Gclose(group);
}

static void put_vocabulary(hid_t file)
{
    int32_t tokens[] = {7, 3};
    char *words[] = {(char[]){"b\xc3\xa4"}, (char[]){"so"}};
    const fbt_word_list vocabulary = {.n_words = 2, .tokens = tokens, .words = words};
    FUZZ_REQUIRE(fbt_vocabulary_write(file, &vocabulary, 2) == FBT_OK);
}

static void make_base(bool by_embedding, fuzz_hdf5_base *base)
{
    const data_file_head head = {
        .texts = {{"task", "toy"},
                  {"template", "{text} <mask>"},
                  {"source", "made up"},
                  {"prompt_mode", "add"},
                  {"tokenizer_sha256", sha},
                  {"source_sha256", sha},
                  {"metric", "f1"},
                  {"readout", by_embedding ? "embedding" : "mask"}},
        .numbers = {{"format_version", 1},
                    {"prompt_tokens", 2},
                    {"vocab_size", 12},
                    {"bos_id", 1},
                    {"eos_id", 2},
                    {"mask_id", 4},
                    {"pad_id", 0},
                    {"unk_id", -1}},
        .label_words = (const char *const[]){"b\xc3\xa4s", "good"},
        .label_ids = by_embedding ? (const int32_t[]){-1, -1} : (const int32_t[]){10, 11},
        .n_labels = 2,
    };
    const char *path = fuzz_path("base.h5");
    fbt_hdf5_silence();
    hid_t file = data_file_make(path, &head);
    if (by_embedding) {
        put_label_texts(file);
    }
    data_file_put_split(file, "train", &data_file_three_samples, H5T_STD_I32LE);
    data_file_put_split(file, "test", &data_file_three_samples, H5T_STD_I32LE);
    if (by_embedding) {
        put_clients(file);
        put_vocabulary(file);
    }
    H5Fclose(file);
    fuzz_hdf5_load(path, base);
}

/* Checks what a run relies on without looking again. */
static void check_split(const fbt_dataset *d, const fbt_split *split)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < split->n_samples; i++) {
        const int64_t first = split->offsets[i], n = split->offsets[i + 1] - first;
        FUZZ_REQUIRE(n >= 1 && split->readout[i] >= 0 && split->readout[i] < n);
        FUZZ_REQUIRE(split->labels[i] >= 0 && split->labels[i] < d->n_labels);
        FUZZ_REQUIRE(d->readout != FBT_READOUT_MASK || split->tokens[first + split->readout[i]] == d->mask_id);
        FUZZ_REQUIRE(d->prompt_mode != FBT_PROMPT_ADD || n > d->n_prompt_tokens);
        for (int64_t t = first; t < first + n; t++) {
            FUZZ_REQUIRE(split->tokens[t] >= 0 && split->tokens[t] < d->vocab_size && split->frozen[t] <= 1);
        }
        longest = n > longest ? n : longest;
    }
    FUZZ_REQUIRE(fbt_split_max_length(split) == longest);
}

static void check_clients(const fbt_dataset *d)
{
    for (int64_t i = 0; d->n_clients > 0 && i < d->train.n_samples; i++) {
        FUZZ_REQUIRE(d->client[i] >= 0 && d->client[i] < d->n_clients);
    }
    for (int64_t k = 0; k < d->n_clients; k++) {
        FUZZ_REQUIRE(d->client_offsets[k] >= 0 && d->client_offsets[k] < d->client_offsets[k + 1]);
    }
}

static void check_dataset(const fbt_dataset *d)
{
    FUZZ_REQUIRE(d->n_labels >= 2 && d->train.n_samples >= 1 && d->vocab_size >= 1);
    FUZZ_REQUIRE(strlen(d->tokenizer_sha256) == 64 && strlen(d->source_sha256) == 64);
    for (int64_t c = 0; c < d->n_labels; c++) {
        FUZZ_REQUIRE(d->label_words[c][0] != '\0');
        FUZZ_REQUIRE(d->readout == FBT_READOUT_EMBEDDING ? d->label_offsets[c + 1] > d->label_offsets[c]
                                                         : d->label_token_ids[c] < d->vocab_size);
    }
    check_split(d, &d->train);
    check_split(d, &d->dev);
    check_split(d, &d->test);
    check_clients(d);
    for (int64_t i = 0; i < d->vocabulary.n_words; i++) {
        FUZZ_REQUIRE(d->vocabulary.tokens[i] >= 0 && d->vocabulary.tokens[i] < d->vocab_size);
        FUZZ_REQUIRE(d->vocabulary.words[i][0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static fuzz_hdf5_base bases[2];
    fuzz_input input = {data, n_bytes};
    fbt_dataset dataset = {0};
    if (bases[0].image == NULL) {
        make_base(false, &bases[0]);
        make_base(true, &bases[1]);
    }
    const fuzz_hdf5_base *base = &bases[fuzz_take(&input, 1) % 2];
    const bool changed = input.n_bytes >= 3;
    const char *path = fuzz_hdf5_change(base, &input, "data.h5");
    const bool read = fuzz_outcome(fbt_dataset_file_read(path, &dataset));
    FUZZ_REQUIRE(read || changed);
    if (read) {
        check_dataset(&dataset);
    }
    fbt_dataset_clear(&dataset);
    fuzz_hdf5_check_closed();
    return 0;
}
