#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

static void split_clear(fbt_split *split)
{
    free(split->tokens);
    free(split->offsets);
    free(split->labels);
    free(split->readout);
    free(split->frozen);
}

void fbt_word_list_clear(fbt_word_list *vocabulary)
{
    for (int64_t i = 0; vocabulary->words != NULL && i < vocabulary->n_words; i++) {
        free(vocabulary->words[i]);
    }
    free(vocabulary->words);
    free(vocabulary->tokens);
    *vocabulary = (fbt_word_list){0};
}

void fbt_dataset_clear(fbt_dataset *dataset)
{
    if (dataset->label_words != NULL) {
        for (int64_t c = 0; c < dataset->n_labels; c++) {
            free(dataset->label_words[c]);
        }
    }
    free(dataset->label_words);
    free(dataset->label_token_ids);
    free(dataset->label_tokens);
    free(dataset->label_offsets);
    free(dataset->client);
    free(dataset->client_names);
    free(dataset->client_offsets);
    free(dataset->task);
    free(dataset->template_text);
    free(dataset->source);
    fbt_word_list_clear(&dataset->vocabulary);
    split_clear(&dataset->train);
    split_clear(&dataset->dev);
    split_clear(&dataset->test);
    memset(dataset, 0, sizeof *dataset);
}

int64_t fbt_split_max_length(const fbt_split *split)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < split->n_samples; i++) {
        int64_t length = split->offsets[i + 1] - split->offsets[i];
        longest = length > longest ? length : longest;
    }
    return longest;
}
