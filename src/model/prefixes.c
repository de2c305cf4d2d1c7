#include "model/prefixes.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/smaller.h"

#include <stdlib.h>
#include <string.h>

/* Kinds of sequences of one prompt. Those all of whose tokens may be replaced have the prompt's rows alone in common
 * with others, and would cut short what those share. */
enum { OF_TOKENS, OF_PROMPT, N_KINDS };

static int64_t rows_in_front(const fbt_level_request *request)
{
    return fbt_prompt_rows_in_front(request->mode, request->n_prompt_tokens);
}

static int64_t prompt_of(const fbt_level_request *request, int64_t sequence)
{
    return request->mode == FBT_PROMPT_NONE ? 0 : request->batch->prompt_index[sequence];
}

/* Rows in front of the one that is read of which is known, before tokens are replaced, what they will be. */
static int64_t count_known(const fbt_level_request *request, int64_t sequence)
{
    const fbt_batch *batch = request->batch;
    const int64_t first = batch->offsets[sequence], read = batch->readout[sequence];
    if (batch->origins[sequence].client < 0) {
        return read - first;
    }
    int64_t row = first + rows_in_front(request);
    while (request->keeps_frozen && row < read && batch->frozen[row]) {
        row++;
    }
    return row - first;
}

/* Number of the sharers that a sequence belongs to. */
static int64_t sharers_of(const fbt_level_request *request, int64_t sequence)
{
    const bool has_tokens = count_known(request, sequence) > rows_in_front(request);
    return prompt_of(request, sequence) * N_KINDS + (has_tokens ? OF_TOKENS : OF_PROMPT);
}

/* Up to `limit` rows of two sequences of one prompt that are the same, the prompt's own among them. */
static int64_t count_common(const fbt_level_request *request, int64_t a, int64_t b, int64_t limit)
{
    const fbt_batch *batch = request->batch;
    const int32_t *x = batch->tokens + batch->offsets[a], *y = batch->tokens + batch->offsets[b];
    int64_t n = fbt_smaller(rows_in_front(request), limit);
    while (n < limit && x[n] == y[n]) {
        n++;
    }
    return n;
}

static void join(const fbt_level_request *request, fbt_sharers *sharers, int64_t sequence)
{
    const int64_t n_known = count_known(request, sequence);
    if (sharers->n_members == 0) {
        sharers->first = sequence;
        sharers->n_rows = n_known;
    }
    sharers->n_rows = count_common(request, sharers->first, sequence, fbt_smaller(sharers->n_rows, n_known));
    sharers->n_members++;
}

/* Rows that need not be computed. */
static int64_t count_saved(int64_t n_members, int64_t n_rows)
{
    return n_members > 1 ? (n_members - 1) * n_rows : 0;
}

static void number(fbt_prefixes *prefixes, fbt_sharers *sharers)
{
    sharers->prefix = count_saved(sharers->n_members, sharers->n_rows) > 0 ? (int32_t)prefixes->n_prefixes++ : -1;
    sharers->n_rows = sharers->prefix >= 0 ? sharers->n_rows : 0;
}

/* Gives the two kinds of sequences of a prompt a prefix each or, where that saves more rows, one for both. */
static void number_pair(fbt_prefixes *prefixes, fbt_sharers *known, fbt_sharers *unknown)
{
    const int64_t n_members = known->n_members + unknown->n_members;
    const int64_t n_common = fbt_smaller(known->n_rows, unknown->n_rows);
    const int64_t apart =
        count_saved(known->n_members, known->n_rows) + count_saved(unknown->n_members, unknown->n_rows);
    if (count_saved(n_members, n_common) > apart) {
        known->n_members = n_members;
        known->n_rows = n_common;
        number(prefixes, known);
        *unknown = *known;
        unknown->n_members = 0;
    } else {
        number(prefixes, known);
        number(prefixes, unknown);
    }
}

static fbt_status reserve(fbt_prefixes *prefixes, int64_t n)
{
    fbt_status status = FBT_OK;
    if (n > prefixes->capacity) {
        fbt_prefixes_clear(prefixes);
        FBT_TRY(fbt_memory_alloc(&prefixes->sharers, n, sizeof *prefixes->sharers));
        prefixes->capacity = n;
    }
    memset(prefixes->sharers, 0, (size_t)n * sizeof *prefixes->sharers);
    prefixes->n_sharers = n;
done:
    return status;
}

fbt_status fbt_prefixes_find(fbt_prefixes *prefixes, const fbt_level_request *request)
{
    fbt_status status = FBT_OK;
    int64_t n_prompts = 0;
    prefixes->n_sharers = prefixes->n_prefixes = 0;
    if (!request->shares_prefixes) {
        goto done;
    }
    for (int64_t s = 0; s < request->batch->n_sequences; s++) {
        const int64_t prompt = prompt_of(request, s);
        n_prompts = prompt >= n_prompts ? prompt + 1 : n_prompts;
    }
    FBT_TRY(reserve(prefixes, n_prompts * N_KINDS));
    for (int64_t s = 0; s < request->batch->n_sequences; s++) {
        join(request, &prefixes->sharers[sharers_of(request, s)], s);
    }
    for (int64_t i = 0; i < prefixes->n_sharers; i += N_KINDS) {
        number_pair(prefixes, &prefixes->sharers[i + OF_TOKENS], &prefixes->sharers[i + OF_PROMPT]);
    }
done:
    return status;
}

const fbt_sharers *fbt_prefixes_of(const fbt_prefixes *prefixes, const fbt_level_request *request, int64_t sequence)
{
    static const fbt_sharers alone = {.prefix = -1};
    return prefixes->n_prefixes > 0 ? &prefixes->sharers[sharers_of(request, sequence)] : &alone;
}

void fbt_prefixes_clear(fbt_prefixes *prefixes)
{
    free(prefixes->sharers);
    *prefixes = (fbt_prefixes){0};
}
