#include "record/dataset_check.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_dataset_check_offsets(const char *path, const char *what, const char *item, const int64_t *offsets,
                                     int64_t n, int64_t n_tokens)
{
    fbt_status status = FBT_OK;
    if (offsets[0] != 0 || offsets[n] != n_tokens) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s: %s: offsets run from %" PRId64 " to %" PRId64 " instead of from 0 to the %" PRId64 " tokens",
                 path, what, offsets[0], offsets[n], n_tokens);
    }
    for (int64_t i = 0; i < n; i++) {
        if (offsets[i + 1] <= offsets[i] || offsets[i + 1] > n_tokens) {
            FBT_FAIL(FBT_ERR_DATA,
                     "%.300s: %s: %s %" PRId64 " has no tokens, or its offsets %" PRId64 " and %" PRId64
                     " are out of order",
                     path, what, item, i, offsets[i], offsets[i + 1]);
        }
    }
done:
    return status;
}

static bool is_sha256(const char *text)
{
    return strlen(text) == FBT_DIGEST_TEXT_BYTES - 1 && strspn(text, "0123456789abcdef") == FBT_DIGEST_TEXT_BYTES - 1;
}

/* Texts of the file go into run files, and from there into JSON. */
static fbt_status check_text(const char *path, const char *what, int64_t number, const char *text)
{
    char label[32] = "";
    const size_t fault = fbt_utf8_find_fault(text, strlen(text));
    if (number >= 0) {
        snprintf(label, sizeof label, " %" PRId64, number);
    }
    return text[fault] == '\0' ? FBT_OK
                               : fbt_fail(FBT_ERR_DATA, "%.300s: %s%s: byte %zu is not UTF-8; prepare the data again",
                                          path, what, label, fault);
}

static fbt_status check_head(const char *path, const fbt_dataset *dataset)
{
    fbt_status status = FBT_OK;
    const int32_t ids[] = {dataset->bos_id, dataset->eos_id, dataset->mask_id, dataset->pad_id, dataset->unk_id};
    static const char *const names[] = {"bos_id", "eos_id", "mask_id", "pad_id", "unk_id"};
    for (int i = 0; i < 5; i++) {
        if (ids[i] < -1 || ids[i] >= dataset->vocab_size) {
            FBT_FAIL(FBT_ERR_DATA, "%.300s: %s %d is outside the vocabulary of %" PRId64 " tokens", path, names[i],
                     (int)ids[i], dataset->vocab_size);
        }
    }
    FBT_TRY(check_text(path, "task", -1, dataset->task));
    FBT_TRY(check_text(path, "template", -1, dataset->template_text));
    FBT_TRY(check_text(path, "source", -1, dataset->source));
    if (!is_sha256(dataset->tokenizer_sha256) || !is_sha256(dataset->source_sha256)) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: tokenizer_sha256 and source_sha256 must be 64 lower-case hexadecimal digits",
                 path);
    }
    if (dataset->readout == FBT_READOUT_MASK && dataset->mask_id < 0) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s: readout is mask, but mask_id is absent; prepare the data with a tokenizer that has "
                 "a mask token",
                 path);
    }
    if (dataset->metric == FBT_METRIC_F1 && dataset->n_labels != 2) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: metric f1 needs two labels, not %" PRId64 "; use metric accuracy", path,
                 dataset->n_labels);
    }
done:
    return status;
}

static bool is_same_word(const fbt_dataset *dataset, int64_t b, int64_t c)
{
    const int64_t *offsets = dataset->label_offsets;
    if (offsets == NULL) {
        return dataset->label_token_ids[b] == dataset->label_token_ids[c];
    }
    const int64_t n = offsets[b + 1] - offsets[b];
    return n == offsets[c + 1] - offsets[c] &&
           memcmp(dataset->label_tokens + offsets[b], dataset->label_tokens + offsets[c],
                  (size_t)n * sizeof *dataset->label_tokens) == 0;
}

static fbt_status check_label(const char *path, const fbt_dataset *dataset, int64_t c)
{
    fbt_status status = FBT_OK;
    const bool by_embedding = dataset->readout == FBT_READOUT_EMBEDDING;
    const int32_t id = dataset->label_token_ids[c];
    FBT_TRY(check_text(path, "label_words: label", c, dataset->label_words[c]));
    if (dataset->label_words[c][0] == '\0') {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: label %" PRId64 " has an empty label word", path, c);
    }
    if (by_embedding ? id != -1 : id < 0 || id >= dataset->vocab_size) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: label %" PRId64 " ('%.64s') has token id %d; expected %s", path, c,
                 dataset->label_words[c], (int)id, by_embedding ? "-1 (embedding readout)" : "one of the vocabulary");
    }
    for (int64_t b = 0; !by_embedding && b < c; b++) {
        if (is_same_word(dataset, b, c)) {
            FBT_FAIL(FBT_ERR_DATA, "%.300s: labels %" PRId64 " and %" PRId64 " %s %d%s; give them different words",
                     path, b, c,
                     dataset->label_offsets == NULL ? "have the same token id" : "are the same tokens, from", (int)id,
                     dataset->label_offsets == NULL ? "" : " on");
        }
    }
done:
    return status;
}

static fbt_status check_labels(const char *path, const fbt_dataset *dataset)
{
    fbt_status status = FBT_OK;
    const int64_t n_tokens = dataset->label_offsets != NULL ? dataset->label_offsets[dataset->n_labels] : 0;
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        FBT_TRY(check_label(path, dataset, c));
    }
    for (int64_t i = 0; i < n_tokens; i++) {
        int32_t token = dataset->label_tokens[i];
        if (token < 0 || token >= dataset->vocab_size) {
            FBT_FAIL(FBT_ERR_DATA,
                     "%.300s: labels: token %d at %" PRId64 " is outside the vocabulary of %" PRId64 " tokens", path,
                     (int)token, i, dataset->vocab_size);
        }
    }
done:
    return status;
}

static fbt_status check_vocabulary(const char *path, const fbt_dataset *dataset)
{
    for (int64_t i = 0; i < dataset->vocabulary.n_words; i++) {
        if (dataset->vocabulary.tokens[i] >= dataset->vocab_size) {
            return fbt_fail(FBT_ERR_DATA,
                            "%.300s: vocabulary: word %" PRId64 " is token %d, outside the %" PRId64
                            " tokens of the tokenizer",
                            path, i, (int)dataset->vocabulary.tokens[i], dataset->vocab_size);
        }
    }
    return FBT_OK;
}

static fbt_status check_readout(const char *path, const char *name, const fbt_dataset *dataset, const fbt_split *split,
                                int64_t i)
{
    int64_t length = split->offsets[i + 1] - split->offsets[i];
    int64_t readout = split->readout[i];
    if (readout < 0 || readout >= length) {
        return fbt_fail(FBT_ERR_DATA,
                        "%.300s: %s: sample %" PRId64 " is read at position %" PRId64 ", but has %" PRId64 " tokens",
                        path, name, i, readout, length);
    }
    if (dataset->readout == FBT_READOUT_MASK && split->tokens[split->offsets[i] + readout] != dataset->mask_id) {
        return fbt_fail(FBT_ERR_DATA,
                        "%.300s: %s: sample %" PRId64 " is read at position %" PRId64 ", which is not the mask token",
                        path, name, i, readout);
    }
    if (dataset->readout == FBT_READOUT_LAST && readout != length - 1) {
        return fbt_fail(FBT_ERR_DATA,
                        "%.300s: %s: sample %" PRId64 " is read at position %" PRId64 ", which is not its last token",
                        path, name, i, readout);
    }
    if (dataset->prompt_mode == FBT_PROMPT_ADD && length < dataset->n_prompt_tokens + 1) {
        return fbt_fail(FBT_ERR_DATA,
                        "%.300s: %s: sample %" PRId64 " has %" PRId64 " tokens, too few for the %" PRId64
                        " prompt tokens that are "
                        "added to positions 1 and on; prepare the data again",
                        path, name, i, length, dataset->n_prompt_tokens);
    }
    return FBT_OK;
}

static fbt_status check_split(const char *path, const char *name, const fbt_dataset *dataset, const fbt_split *split)
{
    fbt_status status = FBT_OK;
    for (int64_t i = 0; i < split->n_samples; i++) {
        for (int64_t t = split->offsets[i]; t < split->offsets[i + 1]; t++) {
            if (split->tokens[t] < 0 || split->tokens[t] >= dataset->vocab_size) {
                FBT_FAIL(FBT_ERR_DATA,
                         "%.300s: %s: sample %" PRId64 " has token %d, outside the vocabulary of %" PRId64 " tokens",
                         path, name, i, (int)split->tokens[t], dataset->vocab_size);
            }
            if (split->frozen[t] > 1) {
                FBT_FAIL(FBT_ERR_DATA, "%.300s: %s: sample %" PRId64 " has a frozen flag of %d instead of 0 or 1", path,
                         name, i, (int)split->frozen[t]);
            }
        }
        if (split->labels[i] < 0 || split->labels[i] >= dataset->n_labels) {
            FBT_FAIL(FBT_ERR_DATA, "%.300s: %s: sample %" PRId64 " has label %d, but the labels are 0 to %" PRId64,
                     path, name, i, (int)split->labels[i], dataset->n_labels - 1);
        }
        FBT_TRY(check_readout(path, name, dataset, split, i));
    }
done:
    return status;
}

static fbt_status check_names(const char *path, const fbt_dataset *dataset)
{
    for (int64_t k = 0; k < dataset->n_clients; k++) {
        const char *name = (const char *)dataset->client_names + dataset->client_offsets[k];
        const size_t n = (size_t)(dataset->client_offsets[k + 1] - dataset->client_offsets[k]);
        const size_t fault = fbt_utf8_find_fault(name, n);
        if (fault < n) {
            return fbt_fail(FBT_ERR_DATA, "%.300s: clients: byte %zu of name %" PRId64 " is not UTF-8 text", path,
                            fault, k);
        }
    }
    return FBT_OK;
}

static fbt_status check_clients(const char *path, const fbt_dataset *dataset)
{
    fbt_status status = FBT_OK;
    bool *has_sample = NULL;
    FBT_TRY(check_names(path, dataset));
    FBT_TRY(fbt_memory_alloc(&has_sample, dataset->n_clients, sizeof *has_sample));
    for (int64_t i = 0; dataset->client != NULL && i < dataset->train.n_samples; i++) {
        if (dataset->client[i] < 0 || dataset->client[i] >= dataset->n_clients) {
            FBT_FAIL(FBT_ERR_DATA,
                     "%.300s: train: sample %" PRId64 " is of client %d, but the clients are 0 to %" PRId64, path, i,
                     (int)dataset->client[i], dataset->n_clients - 1);
        }
        has_sample[dataset->client[i]] = true;
    }
    for (int64_t k = 0; k < dataset->n_clients; k++) {
        if (!has_sample[k]) {
            FBT_FAIL(FBT_ERR_DATA, "%.300s: train: client %" PRId64 " has no sample; prepare the data again", path, k);
        }
    }
done:
    free(has_sample);
    return status;
}

fbt_status fbt_dataset_check(const char *path, const fbt_dataset *dataset)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_head(path, dataset));
    FBT_TRY(check_labels(path, dataset));
    FBT_TRY(check_clients(path, dataset));
    FBT_TRY(check_vocabulary(path, dataset));
    FBT_TRY(check_split(path, "train", dataset, &dataset->train));
    FBT_TRY(check_split(path, "dev", dataset, &dataset->dev));
    FBT_TRY(check_split(path, "test", dataset, &dataset->test));
done:
    return status;
}
