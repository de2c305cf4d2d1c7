/* Log-probabilities of tokens among all of the vocabulary: logits of some rows and some words at a time, of which a
 * largest one and a sum of exponentials are kept. Chunks of words are shared out over threads. What a chunk is does not
 * depend on rows or threads, and chunks are joined in their order: so are a row's bits. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <omp.h>

enum { BLOCK_ROWS = 48, CHUNK_WORDS = 256 };

/* A block of rows on its way. */
typedef struct block {
    const fbt_cpu *cpu;
    const fbt_vocabulary *vocabulary;
    int64_t n_rows, n_chunks;
    float *x;             /* [n_rows, n_dim] */
    float *largest, *sum; /* [n_chunks, BLOCK_ROWS] */
} block;

/* logits: [n_rows, n_words] of words first .. first + n_words - 1. */
static void multiply(const block *a, const float *x, int64_t n_rows, int64_t first, int64_t n_words, float *logits)
{
    const fbt_table *table = a->vocabulary->words;
    const void *words = fbt_cpu_table_row(table, first);
    const float *bias = a->vocabulary->bias != NULL ? (const float *)a->vocabulary->bias->data + first : NULL;
    a->cpu->rows->word_products(logits, x, words, table->dtype, n_rows, n_words, table->n_dim);
    for (int64_t i = 0; bias != NULL && i < n_rows * n_words; i++) {
        logits[i] += bias[i % n_words];
    }
}

static void run_chunk(const block *a, int64_t chunk)
{
    const int64_t first = chunk * CHUNK_WORDS, left = a->vocabulary->words->n_rows - first;
    const int64_t n_words = left < CHUNK_WORDS ? left : CHUNK_WORDS;
    float *logits = a->cpu->scratch[omp_get_thread_num()].data;
    multiply(a, a->x, a->n_rows, first, n_words, logits);
    for (int64_t r = 0; r < a->n_rows; r++) {
        const int64_t at = chunk * BLOCK_ROWS + r;
        a->cpu->rows->exp_sum(logits + r * n_words, n_words, &a->largest[at], &a->sum[at]);
    }
}

/* log sum exp(logits) of row r; not a number where one of them is not. */
static double log_sum(const block *a, int64_t r)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t chunk = 0; chunk < a->n_chunks; chunk++) {
        largest = fmax(largest, a->largest[chunk * BLOCK_ROWS + r]);
    }
    for (int64_t chunk = 0; chunk < a->n_chunks; chunk++) {
        const int64_t at = chunk * BLOCK_ROWS + r;
        sum += a->sum[at] * exp(a->largest[at] - largest);
    }
    return sum > 0 ? largest + log(sum) : NAN;
}

/* The targets whose rows are those of the block, which begins at row `first`. */
static void write_targets(const block *a, int64_t first, const fbt_token_targets *targets, float *y)
{
    const int32_t *rows = targets->rows->data, *tokens = targets->tokens->data;
    double log_sums[BLOCK_ROWS];
    for (int64_t r = 0; r < a->n_rows; r++) {
        log_sums[r] = log_sum(a, r);
    }
    for (int64_t i = 0; i < targets->n; i++) {
        const int64_t r = rows[i] - first;
        if (r >= 0 && r < a->n_rows) {
            float logit;
            multiply(a, a->x + r * a->vocabulary->words->n_dim, 1, tokens[i], 1, &logit);
            y[i] = (float)(logit - log_sums[r]);
        }
    }
}

static fbt_status check_targets(const fbt_token_targets *targets, int64_t n_rows, int64_t n_words)
{
    const int32_t *rows = targets->rows->data, *tokens = targets->tokens->data;
    for (int64_t i = 0; i < targets->n; i++) {
        if (rows[i] < 0 || rows[i] >= n_rows || tokens[i] < 0 || tokens[i] >= n_words) {
            return fbt_fail(FBT_ERR_ARG, "token_log_probs: token %d in row %d; there are %lld tokens and %lld rows",
                            tokens[i], rows[i], (long long)n_words, (long long)n_rows);
        }
    }
    return FBT_OK;
}

/* Every thread's scratch memory is for its logits; behind them, the first one's has what all read and write. */
static fbt_status begin(fbt_cpu *cpu, const fbt_vocabulary *vocabulary, block *a)
{
    fbt_status status = FBT_OK;
    const int64_t n_chunks = (vocabulary->words->n_rows + CHUNK_WORDS - 1) / CHUNK_WORDS;
    const int64_t n_logits = (int64_t)BLOCK_ROWS * CHUNK_WORDS, n_x = BLOCK_ROWS * vocabulary->words->n_dim;
    FBT_TRY(fbt_cpu_scratch_need(cpu, (n_logits + n_x + 2 * n_chunks * BLOCK_ROWS) * (int64_t)sizeof(float)));
    *a = (block){.cpu = cpu, .vocabulary = vocabulary, .n_chunks = n_chunks};
    a->x = (float *)cpu->scratch[0].data + n_logits;
    a->largest = a->x + n_x;
    a->sum = a->largest + n_chunks * BLOCK_ROWS;
done:
    return status;
}

fbt_status fbt_cpu_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_vocabulary *vocabulary,
                                   const fbt_token_targets *targets, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const int64_t n_dim = vocabulary->words->n_dim, row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
    block a;
    FBT_TRY(check_targets(targets, n_rows, vocabulary->words->n_rows));
    FBT_TRY(begin(cpu, vocabulary, &a));
    for (int64_t first = 0; first < n_rows; first += BLOCK_ROWS) {
        a.n_rows = n_rows - first < BLOCK_ROWS ? n_rows - first : BLOCK_ROWS;
        cpu->rows->convert(a.x, FBT_F32, (const char *)x->data + first * row_bytes, dtype, a.n_rows * n_dim);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(dynamic, 1)
        for (int64_t chunk = 0; chunk < a.n_chunks; chunk++) {
            run_chunk(&a, chunk);
        }
        write_targets(&a, first, targets, y->data);
    }
done:
    return status;
}
