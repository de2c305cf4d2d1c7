/* Embedding of tokens and prompts, one read of each table row and one write: of encoders by sequence and mode, of
 * decoders by lists. */
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

/* Parts of a row of a sequence: the CPU backend's describe_row. */
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
        row.template normalise<FBT_NORM_LAYER>(a.norm, n_dim, reinterpret_cast<float *>(fbt_shared()));
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
    return args->dtype == FBT_BF16 ? launch_embed<__nv_bfloat16>(stream, *args) : launch_embed<float>(stream, *args);
}

/* token, prompt: -1: none, but not both. */
static __device__ __forceinline__ fbt_cuda_error check_lists(const fbt_cuda_embed_rows_args &a, int64_t token,
                                                             int64_t prompt, int64_t position)
{
    if (token < -1 || token >= a.word.n_rows || (token < 0 && prompt < 0)) {
        return FBT_CUDA_ERROR_TOKEN;
    }
    if (prompt < -1 || prompt >= a.prompt.n_rows) {
        return FBT_CUDA_ERROR_PROMPT;
    }
    return a.position.rows != nullptr && (position < 0 || position >= a.position.n_rows) ? FBT_CUDA_ERROR_POSITION
                                                                                         : FBT_CUDA_ERROR_NONE;
}

/* v += a unit of the table's row, which begins with a column. */
template <typename S, int unit>
static __device__ __forceinline__ void add_unit(float (&v)[unit], const void *rows, int64_t first)
{
    float added[unit];
    fbt_load_floats(added, static_cast<const S *>(rows) + first);
#pragma unroll
    for (int j = 0; j < unit; j++) {
        v[j] += added[j];
    }
}

template <int unit>
static __device__ __forceinline__ void add_unit(float (&v)[unit], const fbt_cuda_lookup &table, int64_t first)
{
    switch (table.dtype) {
    case FBT_BF16:
        add_unit<__nv_bfloat16>(v, table.rows, first);
        break;
    case FBT_F16:
        add_unit<__half>(v, table.rows, first);
        break;
    default:
        add_unit<float>(v, table.rows, first);
        break;
    }
}

template <typename T>
static __device__ __forceinline__ void embed_unit(const fbt_cuda_embed_rows_args &a, int64_t r, int64_t column)
{
    constexpr int unit = fbt_unit<T>;
    const int64_t token = a.tokens[r], prompt = a.prompt.rows == nullptr ? -1 : a.prompt_rows[r];
    const int64_t position = a.position.rows == nullptr ? 0 : a.position_offset + a.positions[r];
    const fbt_cuda_error error = check_lists(a, token, prompt, position);
    float v[unit] = {};
    if (error != FBT_CUDA_ERROR_NONE) {
        *a.error = error;
        return;
    }
    if (token >= 0) {
        add_unit(v, a.word, token * a.n_dim + column);
    }
    if (prompt >= 0) {
        add_unit<float>(v, a.prompt.rows, prompt * a.n_dim + column);
    }
    if (a.position.rows != nullptr) {
        add_unit(v, a.position, position * a.n_dim + column);
    }
    fbt_store_unit(static_cast<T *>(a.x) + r * a.n_dim + column, v);
}

template <typename T>
static __global__ void __launch_bounds__(fbt_tile::block) embed_rows_kernel(const fbt_cuda_embed_rows_args a)
{
    const fbt_tile tile(a.n_rows, a.n_dim / fbt_unit<T>);
#pragma unroll 1
    for (int i = 0; i < fbt_tile::per_thread; i++) {
        if (tile.has(i)) {
            embed_unit<T>(a, tile.row(i), tile.unit * fbt_unit<T>);
        }
    }
}

cudaError_t fbt_cuda_launch_embed_rows(cudaStream_t stream, const fbt_cuda_embed_rows_args *args)
{
    const bool is_bf16 = args->dtype == FBT_BF16;
    const int64_t row_units = args->n_dim / (is_bf16 ? fbt_unit<__nv_bfloat16> : fbt_unit<float>);
    if (args->n_rows == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH((is_bf16 ? embed_rows_kernel<__nv_bfloat16> : embed_rows_kernel<float>),
                      fbt_tile::n_blocks(args->n_rows, row_units), fbt_tile::block, 0, stream, *args);
}

template <typename T>
static __device__ __forceinline__ void put_unit(const fbt_cuda_put_prompts_args &a, int64_t r, int64_t column)
{
    constexpr int unit = fbt_unit<T>;
    const int64_t prompt = a.rows[r];
    T *x = static_cast<T *>(a.x) + r * a.n_dim + column;
    float v[unit] = {};
    if (prompt < -1 || prompt >= a.n_prompt_rows) {
        *a.error = FBT_CUDA_ERROR_PROMPT;
    } else if (prompt >= 0) {
        if (a.adds) {
            add_unit<T>(v, x, 0);
        }
        add_unit<float>(v, a.prompts, prompt * a.n_dim + column);
        fbt_store_unit(x, v);
    }
}

template <typename T>
static __global__ void __launch_bounds__(fbt_tile::block) put_prompts_kernel(const fbt_cuda_put_prompts_args a)
{
    const fbt_tile tile(a.n_rows, a.n_dim / fbt_unit<T>);
#pragma unroll 1
    for (int i = 0; i < fbt_tile::per_thread; i++) {
        if (tile.has(i)) {
            put_unit<T>(a, tile.row(i), tile.unit * fbt_unit<T>);
        }
    }
}

cudaError_t fbt_cuda_launch_put_prompts(cudaStream_t stream, const fbt_cuda_put_prompts_args *args)
{
    const bool is_bf16 = args->dtype == FBT_BF16;
    const int64_t row_units = args->n_dim / (is_bf16 ? fbt_unit<__nv_bfloat16> : fbt_unit<float>);
    if (args->n_rows == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH((is_bf16 ? put_prompts_kernel<__nv_bfloat16> : put_prompts_kernel<float>),
                      fbt_tile::n_blocks(args->n_rows, row_units), fbt_tile::block, 0, stream, *args);
}
