#include "study.h"

#include "toy/data_file.h"
#include "toy/must.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BOS = 0, EOS = 2, MASK = 3, FIRST_WORD = 4, VOCABULARY = 97, LABELS = 3, LONGEST = 20 };

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
    const data_file_split split = {
        .n_samples = n, .offsets = offsets, .tokens = tokens, .labels = labels, .readout = readout, .frozen = frozen};
    data_file_put_split(file, name, &split, H5T_STD_I32LE);
}

static void write_data(const char *path)
{
    static const char sha[] = "0000000000000000000000000000000000000000000000000000000000000000";
    const data_file_head head = {
        .texts = {{"task", "toy"},
                  {"template", "{text} {mask}"},
                  {"source", "random tokens"},
                  {"readout", "mask"},
                  {"prompt_mode", "input"},
                  {"metric", "accuracy"},
                  {"tokenizer_sha256", sha},
                  {"source_sha256", sha}},
        .numbers = {{"format_version", 1},
                    {"prompt_tokens", 3},
                    {"vocab_size", VOCABULARY},
                    {"bos_id", BOS},
                    {"eos_id", EOS},
                    {"mask_id", MASK},
                    {"pad_id", 1},
                    {"unk_id", -1}},
        .label_words = (const char *const[]){"red", "green", "blue"},
        .label_ids = (const int32_t[]){7, 5, 96},
        .n_labels = LABELS,
    };
    hid_t file = data_file_make(path, &head);
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
