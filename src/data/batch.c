#include "data/batch.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROWS = 4096, FIRST_SEQUENCES = 64 };

/* Moves the first n_used items of the array that `array` points to into memory for `capacity`; on failure it is as
 * before. */
static fbt_status grow(void *array, int64_t n_used, int64_t capacity, size_t item_bytes)
{
    fbt_status status = FBT_OK;
    void *old = NULL, *larger = NULL;
    memcpy(&old, array, sizeof old);
    FBT_TRY(fbt_memory_alloc(&larger, capacity, item_bytes));
    if (n_used > 0) {
        memcpy(larger, old, (size_t)n_used * item_bytes);
    }
    free(old);
    memcpy(array, &larger, sizeof larger);
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
        FBT_TRY(grow(&batch->tokens, batch->n_rows, capacity, sizeof *batch->tokens));
        FBT_TRY(grow(&batch->frozen, batch->n_rows, capacity, sizeof *batch->frozen));
        batch->capacity_rows = capacity;
    }
    if (n_sequences > batch->capacity_sequences) {
        int64_t n_used = batch->n_sequences;
        int64_t capacity = next_capacity(batch->capacity_sequences, n_sequences, FIRST_SEQUENCES);
        FBT_TRY(grow(&batch->offsets, batch->offsets == NULL ? 0 : n_used + 1, capacity + 1, sizeof *batch->offsets));
        FBT_TRY(grow(&batch->readout, n_used, capacity, sizeof *batch->readout));
        FBT_TRY(grow(&batch->labels, n_used, capacity, sizeof *batch->labels));
        FBT_TRY(grow(&batch->prompt_index, n_used, capacity, sizeof *batch->prompt_index));
        FBT_TRY(grow(&batch->origins, n_used, capacity, sizeof *batch->origins));
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
    batch->n_perturbed = 0;
}

static void copy_rows(fbt_batch *batch, const fbt_sequence *sequence, int64_t n_placeholders)
{
    const size_t n_tokens = (size_t)sequence->n_tokens;
    int32_t *tokens = batch->tokens + batch->n_rows;
    uint8_t *frozen = batch->frozen + batch->n_rows;
    for (int64_t row = 0; row < n_placeholders; row++) {
        tokens[row] = -1;
        frozen[row] = 1;
    }
    memcpy(tokens + n_placeholders, sequence->tokens, n_tokens * sizeof *tokens);
    if (sequence->frozen != NULL) {
        memcpy(frozen + n_placeholders, sequence->frozen, n_tokens);
    } else {
        memset(frozen + n_placeholders, 0, n_tokens);
    }
}

fbt_status fbt_batch_append(fbt_batch *batch, const fbt_sequence *sequence, int64_t n_placeholders,
                            int32_t prompt_index)
{
    fbt_status status = FBT_OK;
    int64_t first = batch->n_rows;
    int64_t s = batch->n_sequences;
    if (sequence->n_tokens < 1 || n_placeholders < 0 || sequence->readout < 0 ||
        sequence->readout >= sequence->n_tokens) {
        FBT_FAIL(FBT_ERR_ARG,
                 "a sequence of %d tokens behind %" PRId64 " prompt rows, read at token %d, cannot be packed",
                 sequence->n_tokens, n_placeholders, sequence->readout);
    }
    if (n_placeholders > INT32_MAX || first + n_placeholders + sequence->n_tokens > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "a batch would pass %d rows; use smaller batches", INT32_MAX);
    }
    int64_t end = first + n_placeholders + sequence->n_tokens;
    FBT_TRY(reserve(batch, end, s + 1));

    copy_rows(batch, sequence, n_placeholders);
    batch->offsets[s] = (int32_t)first;
    batch->offsets[s + 1] = (int32_t)end;
    batch->readout[s] = (int32_t)(first + n_placeholders + sequence->readout);
    batch->labels[s] = sequence->label;
    batch->prompt_index[s] = prompt_index;
    batch->origins[s] = sequence->origin;
    batch->origins[s].n_placeholders = (int32_t)n_placeholders;
    batch->n_perturbed += sequence->origin.client >= 0;
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
    free(batch->frozen);
    free(batch->origins);
    memset(batch, 0, sizeof *batch);
}
