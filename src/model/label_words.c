#include "model/label_words.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <stdlib.h>
#include <string.h>

fbt_label_sizes fbt_label_sizes_of(const fbt_model_options *options, int64_t multiple)
{
    fbt_label_sizes sizes = {0};
    if (!fbt_model_scores_tokens(options)) {
        return sizes;
    }
    for (int64_t c = 0; c < options->n_labels; c++) {
        const int64_t n_behind = options->label_offsets[c + 1] - options->label_offsets[c] - 1;
        sizes.n_long += n_behind > 0;
        sizes.n_rows += n_behind;
        sizes.longest = n_behind > sizes.longest ? n_behind : sizes.longest;
    }
    sizes.n_targets = fbt_round_up(sizes.n_rows + options->n_labels, multiple);
    return sizes;
}

fbt_status fbt_label_words_copy(const fbt_model_options *options, int64_t multiple, fbt_label_words *words)
{
    fbt_status status = FBT_OK;
    const int64_t n_labels = options->n_labels;
    words->sizes = fbt_label_sizes_of(options, multiple);
    if (!fbt_model_scores_tokens(options)) {
        goto done;
    }
    words->n_labels = n_labels;
    FBT_TRY(fbt_memory_alloc(&words->tokens, options->label_offsets[n_labels], sizeof *words->tokens));
    FBT_TRY(fbt_memory_alloc(&words->offsets, n_labels + 1, sizeof *words->offsets));
    memcpy(words->tokens, options->label_tokens, (size_t)options->label_offsets[n_labels] * sizeof *words->tokens);
    memcpy(words->offsets, options->label_offsets, (size_t)(n_labels + 1) * sizeof *words->offsets);
done:
    return status;
}

static fbt_status reserve(fbt_label_words *words, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    const int64_t n = n_sequences * words->sizes.n_targets;
    if (n_sequences <= words->capacity) {
        goto done;
    }
    free(words->target_rows);
    free(words->target_tokens);
    words->target_rows = words->target_tokens = NULL;
    words->capacity = 0;
    FBT_TRY(fbt_memory_alloc(&words->target_rows, n, sizeof *words->target_rows));
    FBT_TRY(fbt_memory_alloc(&words->target_tokens, n, sizeof *words->target_tokens));
    words->capacity = n_sequences;
done:
    return status;
}

/* A label's first token is told by the sequence's last row, each further one by the row of the token before it. */
static void list_sequence(fbt_label_words *words, int64_t n_sequences, int64_t sequence)
{
    const int64_t n_targets = words->sizes.n_targets;
    int32_t *rows = words->target_rows + sequence * n_targets, *tokens = words->target_tokens + sequence * n_targets;
    int64_t row = n_sequences + sequence * words->sizes.n_rows, n = 0;
    for (int64_t c = 0; c < words->n_labels; c++) {
        for (int64_t i = words->offsets[c]; i < words->offsets[c + 1]; i++, n++) {
            rows[n] = (int32_t)(i == words->offsets[c] ? sequence : row++);
            tokens[n] = words->tokens[i];
        }
    }
    for (; n < n_targets; n++) {
        rows[n] = rows[0];
        tokens[n] = tokens[0];
    }
}

fbt_status fbt_label_words_list_targets(fbt_label_words *words, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    FBT_TRY(words->n_labels > 0 ? reserve(words, n_sequences) : FBT_OK);
    for (int64_t s = 0; words->n_labels > 0 && s < n_sequences; s++) {
        list_sequence(words, n_sequences, s);
    }
done:
    return status;
}

void fbt_label_words_factors(const fbt_label_words *words, fbt_label_scoring scoring, float *factors)
{
    for (int64_t c = 0; c < words->n_labels; c++) {
        const int64_t n = words->offsets[c + 1] - words->offsets[c];
        float *row = factors + c * words->sizes.n_targets;
        memset(row, 0, (size_t)words->sizes.n_targets * sizeof *row);
        for (int64_t i = words->offsets[c]; i < words->offsets[c + 1]; i++) {
            row[i] = scoring == FBT_LABEL_SCORING_MEAN ? 1.0F / (float)n : 1.0F;
        }
    }
}

void fbt_label_words_clear(fbt_label_words *words)
{
    free(words->tokens);
    free(words->offsets);
    free(words->target_rows);
    free(words->target_tokens);
    *words = (fbt_label_words){0};
}
