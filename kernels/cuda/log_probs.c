/* Log-probabilities of tokens among all of a vocabulary: logits of a block of rows and a block of words at a time, by
 * cuBLASLt, of which each row's softmax and the targets' logits are kept. What a block of words is follows from the
 * vocabulary and the types alone, and so do a row's bits. */
#include "kernels/cuda/cuda.h"

#include "base/smaller.h"

/* Logits of a block fit into Hopper's second-level cache. Words are counted by their elements as well, which bounds the
 * memory of a block, and of the trials of its product (choose.c). */
enum { BLOCK_ROWS = 1024, WORD_STEP = 256, MAX_ITEMS = 1 << 25, MAX_WIDENED_ITEMS = 1 << 23 };

/* One call. */
typedef struct call {
    fbt_cuda *cuda;
    const fbt_table *words;
    fbt_dtype dtype;          /* of the rows                                                       */
    const fbt_types *types;   /* of the products                                                   */
    int64_t block_words;      /* the most                                                          */
    float *logits;            /* [BLOCK_ROWS, block_words], scratch memory as those that follow    */
    float *rows, *wide_words; /* [BLOCK_ROWS, n_dim], [block_words, n_dim]: where they are widened */
    float *largest, *sum;     /* [BLOCK_ROWS]                                                      */
} call;

static int is_widened(const call *a, fbt_dtype dtype)
{
    return dtype != a->types->activations;
}

/* Products are made of bfloat16 where rows and words are both of it. All else is made in fp32, whatever the precision:
 * nothing is rounded on its way to a logit. */
static call describe(fbt_cuda *cuda, const fbt_table *words)
{
    const fbt_types *own = cuda->base.info.types;
    call a = {.cuda = cuda, .words = words, .dtype = own->activations};
    a.types = own->activations == FBT_BF16 && words->dtype == FBT_BF16 ? own : fbt_types_find("fp32");
    const int64_t n_items = is_widened(&a, words->dtype) ? MAX_WIDENED_ITEMS : MAX_ITEMS;
    const int64_t n_steps = n_items / words->n_dim / WORD_STEP, n = (n_steps > 0 ? n_steps : 1) * WORD_STEP;
    a.block_words = fbt_smaller(fbt_smaller(n, FBT_CUDA_BLOCK_WORDS), words->n_rows);
    return a;
}

/* Where n floats lie behind the *n_bytes that were taken before. */
static int64_t take(int64_t *n_bytes, int64_t n)
{
    const int64_t at = *n_bytes, end = at + n * (int64_t)sizeof(float);
    *n_bytes = fbt_round_up(end, FBT_CUDA_ALIGNMENT);
    return at;
}

/* The need is one for all batches: graphs that were recorded stay. */
static fbt_status take_scratch(call *a)
{
    fbt_status status = FBT_OK;
    const int64_t n_dim = a->words->n_dim;
    int64_t n_bytes = 0;
    const int64_t largest = take(&n_bytes, BLOCK_ROWS), sum = take(&n_bytes, BLOCK_ROWS);
    const int64_t logits = take(&n_bytes, BLOCK_ROWS * a->block_words);
    const int64_t rows = take(&n_bytes, is_widened(a, a->dtype) ? BLOCK_ROWS * n_dim : 0);
    const int64_t words = take(&n_bytes, is_widened(a, a->words->dtype) ? a->block_words * n_dim : 0);
    FBT_TRY(fbt_cuda_scratch_need(a->cuda, n_bytes));
    char *scratch = a->cuda->stream->scratch;
    a->largest = (float *)(scratch + largest);
    a->sum = (float *)(scratch + sum);
    a->logits = (float *)(scratch + logits);
    a->rows = (float *)(scratch + rows);
    a->wide_words = (float *)(scratch + words);
done:
    return status;
}

/* Rows first .. first + n - 1 of a matrix as the products take them: where they lie, or widened. */
static fbt_status operand(const call *a, const void *matrix, fbt_dtype dtype, int64_t first, int64_t n, float *widened,
                          const void **found)
{
    const int64_t n_dim = a->words->n_dim;
    *found = (const char *)matrix + first * n_dim * (int64_t)fbt_dtype_bytes(dtype);
    if (!is_widened(a, dtype)) {
        return FBT_OK;
    }
    const cudaError_t code = fbt_cuda_launch_widen(a->cuda->stream->handle, widened, *found, dtype, n * n_dim);
    *found = widened;
    return fbt_cuda_status(code, "launch the widening");
}

/* Goes on with one block of words. rows: the block's, as the products take them. */
static fbt_status add_words(const call *a, const fbt_cuda_logits_block *block, const void *rows,
                            const fbt_cuda_targets *targets)
{
    fbt_status status = FBT_OK;
    cudaStream_t stream = a->cuda->stream->handle;
    fbt_cuda_product product = {
        .shape = {.n_out = block->n_words, .n_in = a->words->n_dim, .types = a->types, .epilogue = FBT_CUDA_LOGITS},
        .y = a->logits,
        .x = rows,
        .n_rows = block->n_rows};
    FBT_TRY(
        operand(a, a->words->rows, a->words->dtype, block->first_word, block->n_words, a->wide_words, &product.weight));
    FBT_TRY(fbt_cuda_multiply(a->cuda, &product));
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_fold_logits(stream, block), "launch the softmax over words"));
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_pick_logits(stream, block, targets), "launch the picking of logits"));
done:
    return status;
}

fbt_status fbt_cuda_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x,
                                    const fbt_vocabulary *vocabulary, const fbt_token_targets *targets, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    call a = describe(cuda, vocabulary->words);
    const fbt_cuda_targets described = {.y = y->data,
                                        .rows = targets->rows->data,
                                        .tokens = targets->tokens->data,
                                        .n = targets->n,
                                        .error = cuda->stream->device_error};
    FBT_TRY(take_scratch(&a));
    fbt_cuda_logits_block block = {.logits = a.logits,
                                   .bias = fbt_cuda_data(vocabulary->bias),
                                   .largest = a.largest,
                                   .sum = a.sum,
                                   .n_vocabulary = a.words->n_rows};
    for (block.first_row = 0; block.first_row < n_rows; block.first_row += BLOCK_ROWS) {
        const void *rows;
        block.n_rows = fbt_smaller(BLOCK_ROWS, n_rows - block.first_row);
        FBT_TRY(operand(&a, x->data, a.dtype, block.first_row, block.n_rows, a.rows, &rows));
        for (block.first_word = 0; block.first_word < block.n_vocabulary; block.first_word += a.block_words) {
            block.n_words = fbt_smaller(a.block_words, block.n_vocabulary - block.first_word);
            FBT_TRY(add_words(&a, &block, rows, &described));
        }
    }
done:
    return status;
}
