#include "study.h"

#include "record/hdf5_util.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, fbt_error_message());                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { BOS = 0, EOS = 2, MASK = 3, FIRST_WORD = 4, VOCABULARY = 97, LABELS = 3, LONGEST = 20 };

static void put(hid_t group, const char *name, hid_t type, int64_t n, const void *values)
{
    hid_t space = H5Screate_simple(1, &(hsize_t){(hsize_t)n}, NULL);
    hid_t dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    MUST(dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
}

/* Samples of 4 to LONGEST tokens, whose labels take turns: words, a mask, the end. */
static void put_split(hid_t file, const char *name, int64_t n, unsigned salt)
{
    int32_t tokens[64 * LONGEST], labels[64], readout[64];
    int64_t offsets[65] = {0};
    uint8_t frozen[64 * LONGEST];
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t n_words = 1 + (int64_t)((7 * (unsigned)i + salt) % (LONGEST - 4));
        tokens[at] = BOS;
        frozen[at++] = 1;
        for (int64_t w = 0; w < n_words; w++) {
            salt = salt * 1103515245U + 12345U;
            tokens[at] = (int32_t)(FIRST_WORD + (salt >> 16) % (VOCABULARY - FIRST_WORD));
            frozen[at++] = 0;
        }
        tokens[at] = MASK;
        tokens[at + 1] = EOS;
        frozen[at] = frozen[at + 1] = 1;
        at += 2;
        labels[i] = (int32_t)(i % LABELS);
        readout[i] = (int32_t)(n_words + 1);
        offsets[i + 1] = at;
    }
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put(group, "tokens", H5T_NATIVE_INT32, at, tokens);
    put(group, "offsets", H5T_NATIVE_INT64, n + 1, offsets);
    put(group, "labels", H5T_NATIVE_INT32, n, labels);
    put(group, "readout", H5T_NATIVE_INT32, n, readout);
    put(group, "frozen", H5T_NATIVE_UINT8, at, frozen);
    MUST(fbt_hdf5_write_int(group, "n_truncated", 0) == FBT_OK);
    H5Gclose(group);
}

static void write_data(const char *path)
{
    static const char sha[] = "0000000000000000000000000000000000000000000000000000000000000000";
    static const char *const words[] = {"red", "green", "blue"};
    static const int32_t ids[LABELS] = {7, 5, 96};
    const char *const texts[][2] = {
        {"task", "toy"},          {"template", "{text} {mask}"}, {"source", "random tokens"}, {"readout", "mask"},
        {"prompt_mode", "input"}, {"metric", "accuracy"},        {"tokenizer_sha256", sha},   {"source_sha256", sha}};
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"format_version", 1}, {"prompt_tokens", 3}, {"vocab_size", VOCABULARY},
                   {"bos_id", BOS},       {"eos_id", EOS},      {"mask_id", MASK},
                   {"pad_id", 1},         {"unk_id", -1}};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    MUST(file >= 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        MUST(fbt_hdf5_write_text(file, texts[i][0], texts[i][1]) == FBT_OK);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        MUST(fbt_hdf5_write_int(file, numbers[i].name, numbers[i].value) == FBT_OK);
    }
    MUST(fbt_hdf5_write_texts(file, "label_words", words, LABELS) == FBT_OK);
    hid_t space = H5Screate_simple(1, &(hsize_t){LABELS}, NULL);
    hid_t attribute = H5Acreate2(file, "label_token_ids", H5T_NATIVE_INT32, space, H5P_DEFAULT, H5P_DEFAULT);
    MUST(H5Awrite(attribute, H5T_NATIVE_INT32, ids) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    put_split(file, "train", 60, 1);
    put_split(file, "test", 21, 5);
    H5Fclose(file);
}

static void write_base(const char *folder)
{
    char path[STUDY_PATH_BYTES];
    FILE *file = fopen(study_path(folder, "base.yaml", path), "w");
    MUST(file != NULL);
    fprintf(file,
            "run: {seed: 3, output: %s/run.h5}\nmodel: {path: %s/hf_roberta_mlm}\n"
            "data: {path: %s/data.h5, shots: 4, dev_shots: 4}\nprompt: {mode: input, tokens: 3}\n"
            "fed: {clients: %d, rounds: %d, local_generations: 2}\ncma: {population: 4, dimension: %d, alpha: 2}\n"
            "backend: {threads: 1, precision: fp32}\n",
            folder, FBT_TEST_DATA, folder, STUDY_CLIENTS, STUDY_ROUNDS, STUDY_DIMENSION);
    MUST(fclose(file) == 0);
}

const char *study_path(const char *folder, const char *name, char path[STUDY_PATH_BYTES])
{
    snprintf(path, STUDY_PATH_BYTES, "%s/%s", folder, name);
    return path;
}

void study_make(const fbt_comm *world, char folder[STUDY_PATH_BYTES])
{
    char path[STUDY_PATH_BYTES];
    memset(folder, 0, STUDY_PATH_BYTES);
    if (fbt_comm_rank(world) == 0) {
        strcpy(folder, "/tmp/fbt-study-XXXXXX");
        MUST(mkdtemp(folder) != NULL);
        write_data(study_path(folder, "data.h5", path));
        write_base(folder);
    }
    fbt_comm_broadcast(world, folder, STUDY_PATH_BYTES);
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return remove(path);
}

void study_remove(const fbt_comm *world, const char *folder)
{
    fbt_comm_wait(world);
    if (fbt_comm_rank(world) == 0) {
        MUST(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
    }
}
