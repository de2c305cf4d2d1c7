#include "model/levels.h"

#include "base/memory.h"
#include "base/prompt_mode.h"

#include <stdlib.h>
#include <string.h>

void fbt_level_lists_clear(fbt_level_lists *lists)
{
    for (int kind = 0; kind < FBT_N_LEVEL_KINDS; kind++) {
        free(lists->level[kind].offsets);
        free(lists->level[kind].index);
    }
    free(lists->tokens);
    free(lists->positions);
    free(lists->prompt_rows);
    free(lists->frozen);
    free(lists->readout);
    free(lists->read_positions);
    free(lists->label_reads);
    free(lists->origins);
    fbt_prefixes_clear(&lists->prefixes);
    *lists = (fbt_level_lists){0};
}

/* Room for n_rows rows, and n_sequences sequences in each level. Contents are not kept. */
static fbt_status reserve(fbt_level_lists *lists, int64_t n_rows, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    if (n_rows <= lists->capacity_rows && n_sequences <= lists->capacity_sequences) {
        goto done;
    }
    fbt_level_lists_clear(lists);
    for (int kind = 0; kind < FBT_N_LEVEL_KINDS; kind++) {
        fbt_level_list *level = &lists->level[kind];
        FBT_TRY(fbt_memory_alloc(&level->offsets, n_sequences + 1, sizeof *level->offsets));
        FBT_TRY(fbt_memory_alloc(&level->index, n_sequences, sizeof *level->index));
    }
    FBT_TRY(fbt_memory_alloc(&lists->tokens, n_rows, sizeof *lists->tokens));
    FBT_TRY(fbt_memory_alloc(&lists->positions, n_rows, sizeof *lists->positions));
    FBT_TRY(fbt_memory_alloc(&lists->prompt_rows, n_rows, sizeof *lists->prompt_rows));
    FBT_TRY(fbt_memory_alloc(&lists->frozen, n_rows, sizeof *lists->frozen));
    FBT_TRY(fbt_memory_alloc(&lists->readout, n_sequences, sizeof *lists->readout));
    FBT_TRY(fbt_memory_alloc(&lists->read_positions, n_sequences, sizeof *lists->read_positions));
    FBT_TRY(fbt_memory_alloc(&lists->label_reads, n_sequences + 1, sizeof *lists->label_reads));
    FBT_TRY(fbt_memory_alloc(&lists->origins, n_sequences, sizeof *lists->origins));
    lists->capacity_rows = n_rows;
    lists->capacity_sequences = n_sequences;
done:
    return status;
}

/* The rows behind the sequences before are one more, behind sequence `index` of the level before. */
static void end_sequence(fbt_level_lists *lists, fbt_level_kind kind, int32_t index)
{
    fbt_level_list *level = &lists->level[kind];
    const int64_t length = lists->n_rows - level->offsets[level->n_sequences];
    level->index[level->n_sequences++] = index;
    level->offsets[level->n_sequences] = (int32_t)lists->n_rows;
    level->max_length = length > level->max_length ? length : level->max_length;
}

/* Appends rows first .. end - 1 of a sequence of the batch as a sequence of a level, behind sequence `index` of the
 * level before. */
static void append(fbt_level_lists *lists, fbt_level_kind kind, const fbt_level_request *request, int64_t sequence,
                   int64_t first, int64_t end, int32_t index)
{
    const fbt_batch *batch = request->batch;
    const int64_t begin = batch->offsets[sequence];
    const int64_t in_front = fbt_prompt_rows_in_front(request->mode, request->n_prompt_tokens);
    for (int64_t row = first; row < end; row++) {
        const int64_t at = lists->n_rows++;
        const bool has_prompt = row < request->n_prompt_tokens;
        lists->tokens[at] = row < in_front ? -1 : batch->tokens[begin + row];
        lists->positions[at] = (int32_t)row;
        lists->prompt_rows[at] =
            has_prompt ? (int32_t)(batch->prompt_index[sequence] * request->n_prompt_tokens + row) : -1;
        lists->frozen[at] = batch->frozen[begin + row];
    }
    end_sequence(lists, kind, index);
}

/* Appends all tokens of a label but the last behind a sequence; all of these rows are read. */
static void append_label(fbt_level_lists *lists, const fbt_label_words *labels, int64_t label, int64_t sequence)
{
    const int32_t *tokens = labels->tokens + labels->offsets[label];
    const int64_t n = labels->offsets[label + 1] - labels->offsets[label] - 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = lists->n_rows++;
        lists->tokens[at] = tokens[i];
        lists->positions[at] = lists->read_positions[sequence] + 1 + (int32_t)i;
        lists->prompt_rows[at] = -1;
        lists->frozen[at] = 1;
        lists->readout[lists->n_read] = (int32_t)at;
        lists->read_positions[lists->n_read++] = lists->positions[at];
    }
    if (n > 0) {
        end_sequence(lists, FBT_LEVEL_LABELS, (int32_t)sequence);
        lists->label_reads[lists->level[FBT_LEVEL_LABELS].n_sequences] = (int32_t)lists->n_read;
    }
}

static void begin_level(fbt_level_lists *lists, fbt_level_kind kind)
{
    fbt_level_list *level = &lists->level[kind];
    level->n_sequences = level->max_length = 0;
    level->offsets[0] = (int32_t)lists->n_rows;
}

static void write_prefixes(fbt_level_lists *lists, const fbt_level_request *request)
{
    const fbt_prefixes *prefixes = &lists->prefixes;
    begin_level(lists, FBT_LEVEL_PREFIXES);
    for (int64_t i = 0; i < prefixes->n_sharers; i++) {
        const fbt_sharers *sharers = &prefixes->sharers[i];
        if (sharers->n_members > 0 && sharers->prefix >= 0) {
            append(lists, FBT_LEVEL_PREFIXES, request, sharers->first, 0, sharers->n_rows, -1);
        }
    }
}

static void write_sequences(fbt_level_lists *lists, const fbt_level_request *request)
{
    const fbt_batch *batch = request->batch;
    begin_level(lists, FBT_LEVEL_SEQUENCES);
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        const fbt_sharers *sharers = fbt_prefixes_of(&lists->prefixes, request, s);
        const int64_t end = batch->readout[s] + 1 - batch->offsets[s];
        append(lists, FBT_LEVEL_SEQUENCES, request, s, sharers->n_rows, end, sharers->prefix);
        lists->readout[s] = (int32_t)(lists->n_rows - 1);
        lists->read_positions[s] = (int32_t)(end - 1);
        lists->origins[s] = batch->origins[s];
        lists->origins[s].n_placeholders -= (int32_t)sharers->n_rows;
    }
}

static void write_labels(fbt_level_lists *lists, const fbt_level_request *request)
{
    const fbt_label_words *labels = request->labels;
    lists->n_read = request->batch->n_sequences;
    lists->label_reads[0] = (int32_t)lists->n_read;
    begin_level(lists, FBT_LEVEL_LABELS);
    for (int64_t s = 0; s < request->batch->n_sequences; s++) {
        for (int64_t c = 0; labels != NULL && c < labels->n_labels; c++) {
            append_label(lists, labels, c, s);
        }
    }
}

fbt_status fbt_level_lists_build(fbt_level_lists *lists, const fbt_level_request *request)
{
    fbt_status status = FBT_OK;
    const int64_t n_sequences = request->batch->n_sequences;
    const int64_t n_behind = request->labels != NULL ? request->labels->sizes.n_rows : 0;
    const int64_t n_rows = request->batch->n_rows + n_sequences * n_behind;
    if (n_rows > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "a batch would pass %d rows with its label words; use smaller batches", INT32_MAX);
    }
    FBT_TRY(reserve(lists, n_rows, n_sequences * (1 + n_behind)));
    FBT_TRY(fbt_prefixes_find(&lists->prefixes, request));
    lists->n_rows = 0;
    write_prefixes(lists, request);
    write_sequences(lists, request);
    write_labels(lists, request);
done:
    return status;
}
