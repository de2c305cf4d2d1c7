/* A tokenised, labelled data set in memory, as jobs/prepare_data.py writes it (read by src/record). */
#ifndef FBT_DATA_DATASET_H
#define FBT_DATA_DATASET_H

#include "base/choices.h"
#include "base/digest.h"
#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Samples end to end without padding. Sample i is tokens[offsets[i]] .. tokens[offsets[i+1]-1]. */
typedef struct fbt_split {
    int64_t n_samples;
    int32_t *tokens;  /* [n_tokens]                                                     */
    int64_t *offsets; /* [n_samples + 1]                                                */
    int32_t *labels;  /* [n_samples], 0 .. n_labels - 1                                 */
    int32_t *readout; /* [n_samples]: position of the mask within the sample; 0 for embedding readout */
    uint8_t *frozen;  /* [n_tokens]: 1: not a token of the text (template, special, prompt word)      */
    int64_t n_truncated;
} fbt_split;

/* Words that prompts may be made of, each one token. Zero-initialise before, clear after. */
typedef struct fbt_word_list {
    int64_t n_words; /* N; 0: there is none */
    int32_t *tokens; /* [N]                 */
    char **words;    /* [N]: their texts    */
} fbt_word_list;

void fbt_word_list_clear(fbt_word_list *vocabulary);

/* Owned by the caller: zero-initialise before reading, fbt_dataset_clear after. */
typedef struct fbt_dataset {
    char *task;
    char *template_text;
    char *source;
    fbt_readout readout;
    fbt_metric metric;
    fbt_prompt_mode prompt_mode;
    int64_t n_prompt_tokens;
    int64_t vocab_size;
    char tokenizer_sha256[FBT_DIGEST_TEXT_BYTES];
    char source_sha256[FBT_DIGEST_TEXT_BYTES];
    int64_t n_labels;
    char **label_words;                              /* [n_labels]                                            */
    int32_t *label_token_ids;                        /* [n_labels]: the words' tokens, of several the first; -1
                                                      * where the readout is by embedding                     */
    int32_t *label_tokens;                           /* readout by embedding: the label texts' tokens, CSR;   */
    int64_t *label_offsets;                          /*   by the last token: the words'. [n_labels + 1]; NULL
                                                      *   otherwise                                           */
    int32_t bos_id, eos_id, mask_id, pad_id, unk_id; /* -1: the tokenizer has none      */
    fbt_word_list vocabulary;                        /* for prompts of words            */
    fbt_split train, dev, test;                      /* n_samples = 0: absent                                */
    int64_t n_clients;       /* that the training samples come from by nature (an author, a site); 0: none is known */
    int32_t *client;         /* [train.n_samples]; each client has a sample; NULL as well as the names: none is known */
    uint8_t *client_names;   /* UTF-8, end to end: client k's is client_names[client_offsets[k]] ... */
    int64_t *client_offsets; /* ... client_names[client_offsets[k + 1] - 1]; [n_clients + 1]         */
} fbt_dataset;

void fbt_dataset_clear(fbt_dataset *dataset);

/* Longest sample of a split in tokens; 0 when it is empty. */
int64_t fbt_split_max_length(const fbt_split *split);

#ifdef __cplusplus
}
#endif

#endif
