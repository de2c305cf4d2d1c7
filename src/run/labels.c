#include "run/labels.h"

#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t n_tokens_of(const fbt_dataset *dataset, int64_t label)
{
    return dataset->label_offsets == NULL ? 1 : dataset->label_offsets[label + 1] - dataset->label_offsets[label];
}

static bool scores_words(const fbt_dataset *dataset)
{
    return dataset->readout == FBT_READOUT_LAST;
}

static bool has_long_label(const fbt_dataset *dataset)
{
    int64_t c = 0;
    while (c < dataset->n_labels && n_tokens_of(dataset, c) == 1) {
        c++;
    }
    return scores_words(dataset) && c < dataset->n_labels;
}

/* "'so so' (2 tokens), 'not at all' (3 tokens)": the labels of several tokens, as far as they fit. */
static void list_long_labels(const fbt_dataset *dataset, char *text, size_t n_bytes)
{
    const char *comma = "";
    size_t used = 0;
    text[0] = '\0';
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        const int64_t n = n_tokens_of(dataset, c);
        if (n > 1 && used + 128 > n_bytes) {
            snprintf(text + used, n_bytes - used, ", ...");
            return;
        }
        if (n > 1) {
            used += (size_t)snprintf(text + used, n_bytes - used, "%s'%.64s' (%" PRId64 " tokens)", comma,
                                     dataset->label_words[c], n);
            comma = ", ";
        }
    }
}

static fbt_status refuse_auto(const fbt_dataset *dataset, const fbt_settings *settings)
{
    char labels[512];
    list_long_labels(dataset, labels, sizeof labels);
    return fbt_fail(FBT_ERR_CONFIG,
                    "labels of %s are several tokens: %s; set model.label_scoring to first (a label's first token "
                    "alone), sum or mean (the log-probability of all its tokens, or their mean)",
                    settings->data.path, labels);
}

static fbt_status check_first_tokens(const fbt_dataset *dataset, const fbt_settings *settings)
{
    for (int64_t c = 1; scores_words(dataset) && c < dataset->n_labels; c++) {
        for (int64_t b = 0; b < c; b++) {
            if (dataset->label_token_ids[b] == dataset->label_token_ids[c]) {
                return fbt_fail(FBT_ERR_CONFIG,
                                "model.label_scoring is first, but the labels '%.64s' and '%.64s' of %s begin with the "
                                "same token %d: set it to sum or mean, or choose other label words",
                                dataset->label_words[b], dataset->label_words[c], settings->data.path,
                                dataset->label_token_ids[c]);
            }
        }
    }
    return FBT_OK;
}

fbt_status fbt_labels_check(const fbt_dataset *dataset, const fbt_settings *settings)
{
    const fbt_label_scoring scoring = (fbt_label_scoring)settings->model.label_scoring;
    switch (scoring) {
    case FBT_LABEL_SCORING_AUTO:
        return has_long_label(dataset) ? refuse_auto(dataset, settings) : FBT_OK;
    case FBT_LABEL_SCORING_FIRST:
        return check_first_tokens(dataset, settings);
    case FBT_LABEL_SCORING_SUM:
    case FBT_LABEL_SCORING_MEAN:
        break;
    }
    return scores_words(dataset)
               ? FBT_OK
               : fbt_fail(FBT_ERR_CONFIG,
                          "model.label_scoring is %s, but %s was prepared for readout %s: tokens of labels are summed "
                          "or averaged with readout last alone; set it to auto",
                          fbt_label_scoring_names[scoring], settings->data.path, fbt_readout_names[dataset->readout]);
}

fbt_label_sizes fbt_labels_sizes(const fbt_dataset *dataset, const fbt_settings *settings)
{
    const fbt_model_options options = {.n_labels = dataset->n_labels,
                                       .label_offsets = dataset->label_offsets,
                                       .label_scoring = (fbt_label_scoring)settings->model.label_scoring};
    return fbt_label_sizes_of(&options, 1);
}

bool fbt_labels_scoring_is_idle(const fbt_dataset *dataset, const fbt_settings *settings)
{
    return settings->model.label_scoring == FBT_LABEL_SCORING_FIRST && !has_long_label(dataset);
}
