#include "batch.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROWS = 4096, FIRST_SEQUENCES = 64 };

/* Moves the first n_used of *array into memory for `capacity`; on failure *array is as before. */
static fbt_status grow(int32_t **array, int64_t n_used, int64_t capacity)
{
    fbt_status status = FBT_OK;
    int32_t *larger = NULL;
    FBT_TRY(fbt_memory_alloc(&larger, capacity, sizeof *larger));
    if (n_used > 0) {
        memcpy(larger, *array, (size_t)n_used * sizeof *larger);
    }
    free(*array);
    *array = larger;
done:
    return status;
}

/* Doubles, so that appending one by one costs amortised O(1). */
static int64_t next_capacity(int64_t capacity, int64_t needed, int64_t first)
{
    capacity = capacity < first ? first : capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    return capacity;
}

/* The capacities change last: after a failure half way the arrays hold at least what the capacities say. */
static fbt_status reserve(fbt_batch *batch, int64_t n_rows, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    if (n_rows > batch->capacity_rows) {
        int64_t capacity = next_capacity(batch->capacity_rows, n_rows, FIRST_ROWS);
        FBT_TRY(grow(&batch->tokens, batch->n_rows, capacity));
        batch->capacity_rows = capacity;
    }
    if (n_sequences > batch->capacity_sequences) {
        int64_t n_used = batch->n_sequences;
        int64_t capacity = next_capacity(batch->capacity_sequences, n_sequences, FIRST_SEQUENCES);
        FBT_TRY(grow(&batch->offsets, batch->offsets == NULL ? 0 : n_used + 1, capacity + 1));
        FBT_TRY(grow(&batch->readout, n_used, capacity));
        FBT_TRY(grow(&batch->labels, n_used, capacity));
        FBT_TRY(grow(&batch->prompt_index, n_used, capacity));
        batch->capacity_sequences = capacity;
    }
done:
    return status;
}

void fbt_batch_reset(fbt_batch *batch)
{
    batch->n_sequences = 0;
    batch->n_rows = 0;
    batch->max_length = 0;
}

fbt_status fbt_batch_append(fbt_batch *batch, const int32_t *tokens, int64_t n_tokens, int64_t n_placeholders,
                            int32_t readout, int32_t label, int32_t prompt_index)
{
    fbt_status status = FBT_OK;
    int64_t first = batch->n_rows;
    int64_t s = batch->n_sequences;
    if (n_tokens < 1 || n_placeholders < 0 || readout < 0 || readout >= n_tokens) {
        FBT_FAIL(FBT_ERR_ARG, "a sequence of %lld tokens behind %lld prompt rows, read at token %d, cannot be packed",
                 (long long)n_tokens, (long long)n_placeholders, (int)readout);
    }
    if (n_tokens > INT32_MAX || n_placeholders > INT32_MAX || first + n_placeholders + n_tokens > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "a batch would pass %d rows; use smaller batches", INT32_MAX);
    }
    int64_t text = first + n_placeholders;
    int64_t end = text + n_tokens;
    FBT_TRY(reserve(batch, end, s + 1));

    for (int64_t row = first; row < text; row++) {
        batch->tokens[row] = -1;
    }
    memcpy(batch->tokens + text, tokens, (size_t)n_tokens * sizeof *tokens);
    batch->offsets[s] = (int32_t)first;
    batch->offsets[s + 1] = (int32_t)end;
    batch->readout[s] = (int32_t)(text + readout);
    batch->labels[s] = label;
    batch->prompt_index[s] = prompt_index;
    batch->n_sequences = s + 1;
    batch->n_rows = end;
    batch->max_length = end - first > batch->max_length ? end - first : batch->max_length;
done:
    return status;
}

void fbt_batch_clear(fbt_batch *batch)
{
    free(batch->tokens);
    free(batch->offsets);
    free(batch->readout);
    free(batch->labels);
    free(batch->prompt_index);
    memset(batch, 0, sizeof *batch);
}
