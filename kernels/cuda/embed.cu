/* Embedding of tokens and prompts, one read of each table row and one write. */
#include "kernels/cuda/rows.cuh"

/* The last sequence that starts at or before `row`, found by the whole warp: each step looks at 32 starts at once. */
static __device__ __forceinline__ int32_t find_sequence(const int32_t *offsets, int32_t n_sequences, int32_t row)
{
    const int32_t lane = threadIdx.x % FBT_WARP;
    int32_t first = 0, n = n_sequences;
    while (n > 1) {
        const int32_t step = (n - 1) / FBT_WARP + 1, probe = lane * step;
        const bool is_before = probe < n && offsets[first + probe] <= row;
        const int32_t last = __popc(__ballot_sync(0xffffffffU, is_before)) - 1; /* lanes 0 .. last see starts before */
        first += last * step;
        n = n - last * step < step ? n - last * step : step;
    }
    return first;
}

/* What a row of a sequence is made of: the CPU backend's describe_row. */
struct embed_row {
    const float *prompt; /* the prompt's row that has to do with it, or NULL */
    bool is_copied;      /* it is the prompt's row as it is                  */
    bool is_token;       /* it starts from a word embedding                  */
    int64_t position;    /* row of the position table                        */
};

static __device__ __forceinline__ embed_row describe_row(const fbt_cuda_embed_args &a, int32_t r)
{
    const int32_t s = find_sequence(a.packed.offsets, static_cast<int32_t>(a.packed.n_sequences), r);
    const int32_t t = r - a.packed.offsets[s], n_prompt = static_cast<int32_t>(a.n_prompt_tokens);
    const bool is_added = a.mode == FBT_PROMPT_ADD, is_cat = a.mode == FBT_PROMPT_CAT;
    const int32_t of_prompt = is_added ? t - 1 : t;
    embed_row row = {nullptr, false, true, a.position_offset + t - (is_cat ? n_prompt : 0)};
    if (a.mode != FBT_PROMPT_NONE && of_prompt >= 0 && of_prompt < n_prompt) {
        row.prompt = a.prompts + (static_cast<int64_t>(a.packed.prompt_index[s]) * n_prompt + of_prompt) * a.n_dim;
        row.is_copied = is_cat;
        row.is_token = is_added;
    }
    return row;
}

static __device__ __forceinline__ fbt_cuda_error check_row(const fbt_cuda_embed_args &a, const embed_row &row,
                                                           int64_t token)
{
    if (row.is_copied) {
        return FBT_CUDA_ERROR_NONE;
    }
    if (row.is_token && (token < 0 || token >= a.word.n_rows)) {
        return FBT_CUDA_ERROR_TOKEN;
    }
    return row.position < 0 || row.position >= a.position.n_rows ? FBT_CUDA_ERROR_POSITION : FBT_CUDA_ERROR_NONE;
}

template <typename Row, typename S>
static __device__ __forceinline__ void add_elements(Row &row, const void *rows, int64_t index, int n_dim)
{
    row.add(typename Row::template term<S>(static_cast<const S *>(rows) + index * n_dim, n_dim));
}

template <typename Row>
static __device__ __forceinline__ void add_lookup(Row &row, const fbt_cuda_lookup &table, int64_t index, int n_dim)
{
    switch (table.dtype) {
    case FBT_BF16:
        add_elements<Row, __nv_bfloat16>(row, table.rows, index, n_dim);
        break;
    case FBT_F16:
        add_elements<Row, __half>(row, table.rows, index, n_dim);
        break;
    default:
        add_elements<Row, float>(row, table.rows, index, n_dim);
        break;
    }
}

template <typename Row> static __global__ void __launch_bounds__(Row::block) embed_kernel(const fbt_cuda_embed_args a)
{
    const int n_dim = static_cast<int>(a.n_dim);
    const int64_t r = Row::number();
    if (r >= a.packed.n_rows) {
        return;
    }
    const int64_t token = a.packed.tokens[r];
    const embed_row made_of = describe_row(a, static_cast<int32_t>(r));
    const fbt_cuda_error error = check_row(a, made_of, token);
    if (error != FBT_CUDA_ERROR_NONE) {
        if (Row::is_first_thread()) {
            *a.error = error;
        }
        return;
    }
    Row row;
    row.clear();
    if (!made_of.is_token) {
        add_elements<Row, float>(row, made_of.prompt, 0, n_dim);
    } else {
        add_lookup(row, a.word, token, n_dim);
    }
    if (!made_of.is_copied) {
        add_lookup(row, a.position, made_of.position, n_dim);
        if (a.type.rows != nullptr) {
            add_lookup(row, a.type, 0, n_dim);
        }
        row.normalise(a.gamma, a.beta, a.epsilon, n_dim, reinterpret_cast<float *>(fbt_shared()));
        if (made_of.is_token && made_of.prompt != nullptr) {
            add_elements<Row, float>(row, made_of.prompt, 0, n_dim);
        }
    }
    row.store(static_cast<typename Row::T *>(a.x) + r * n_dim, n_dim);
}

template <typename T> static cudaError_t launch_embed(cudaStream_t stream, const fbt_cuda_embed_args &a)
{
    return fbt_with_row<T>(a.n_dim, [&](auto row) {
        using Row = decltype(row);
        return FBT_LAUNCH(embed_kernel<Row>, fbt_n_blocks(a.packed.n_rows, Row::rows_per_block), Row::block,
                          Row::shared_bytes, stream, a);
    });
}

cudaError_t fbt_cuda_launch_embed(cudaStream_t stream, const fbt_cuda_embed_args *args)
{
    if (args->packed.n_rows == 0) {
        return cudaSuccess;
    }
    return args->dtype == FBT_BF16 ? launch_embed<__nv_bfloat16>(stream, *args)
                                                 : launch_embed<float>(stream, *args);
}
