/* Says how every launcher of kernels.h launches its kernel, for the sizes of one model and batch, without a device: it
 * stands in for the part of the CUDA runtime through which compiled launches go. One line of JSON per launch.
 *
 * Usage: launches encoder|decoder N_SEQUENCES LENGTH N_PREFIX N_DIM N_HEADS N_KV_HEADS N_INNER N_VOCABULARY N_LABELS
 */
#include "kernels/cuda/kernels.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace
{
struct launch_shape {
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
};

std::map<const void *, std::string> &symbols()
{
    static std::map<const void *, std::string> map; /* filled before main, in whatever order */
    return map;
}

launch_shape pending;
const char *what = "";

cudaError_t tell(const void *function, dim3 grid, dim3 block, size_t shared_bytes)
{
    const auto symbol = symbols().find(function);
    if (symbol == symbols().end()) {
        std::fprintf(stderr, "a launch of something that is no kernel\n");
        std::exit(1);
    }
    std::printf("{\"what\": \"%s\", \"symbol\": \"%s\", \"blocks\": %llu, \"threads\": %u, \"shared_bytes\": %zu}\n",
                what, symbol->second.c_str(), static_cast<unsigned long long>(grid.x) * grid.y * grid.z,
                block.x * block.y * block.z, shared_bytes);
    return cudaSuccess;
}
} // namespace

extern "C" {
void **__cudaRegisterFatBinary(void *)
{
    static void *handle;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **)
{
}

void __cudaUnregisterFatBinary(void **)
{
}

void __cudaRegisterFunction(void **, const char *host, char *, const char *name, int, uint3 *, uint3 *, dim3 *, dim3 *,
                            int *)
{
    symbols()[host] = name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, CUstream_st *stream)
{
    pending = {grid, block, shared_bytes, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream)
{
    *grid = pending.grid;
    *block = pending.block;
    *shared_bytes = pending.shared_bytes;
    *static_cast<cudaStream_t *>(stream) = pending.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function)
{
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void *>(function));
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **, size_t shared_bytes, cudaStream_t)
{
    return tell(reinterpret_cast<const void *>(kernel), grid, block, shared_bytes);
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **, size_t shared_bytes, cudaStream_t)
{
    return tell(function, grid, block, shared_bytes);
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int)
{
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}
}

namespace
{
struct sizes {
    int64_t n_sequences, length, n_prefix, n_dim, n_heads, n_kv_heads, n_inner, n_vocabulary, n_labels;
};

/* Kernels are not run: any address that is not NULL will do. */
void *memory()
{
    static double somewhere;
    return &somewhere;
}

template <typename T> T *array()
{
    return static_cast<T *>(memory());
}

void check(cudaError_t error)
{
    if (error != cudaSuccess) {
        std::fprintf(stderr, "%s: the launcher returned error %d\n", what, static_cast<int>(error));
        std::exit(1);
    }
}

fbt_cuda_packed packed(const sizes &n)
{
    return {array<int32_t>(), array<int32_t>(), array<int32_t>(), n.n_sequences, n.n_sequences * n.length, n.length};
}

fbt_cuda_lookup table(int64_t n_rows)
{
    return {memory(), FBT_BF16, n_rows};
}

void embed(const sizes &n)
{
    fbt_cuda_embed_args args = {};
    args.x = memory();
    args.dtype = FBT_BF16;
    args.word = table(n.n_vocabulary);
    args.position = table(n.length + 2);
    args.type = table(1);
    args.norm.gamma = args.norm.beta = args.prompts = array<float>();
    args.n_dim = n.n_dim;
    args.mode = FBT_PROMPT_ADD;
    args.n_prompt_tokens = 1;
    args.packed = packed(n);
    args.error = array<int32_t>();
    what = "embed";
    check(fbt_cuda_launch_embed(nullptr, &args));
}

void put_prompts(const sizes &n)
{
    fbt_cuda_put_prompts_args args = {};
    args.x = memory();
    args.dtype = FBT_BF16;
    args.prompts = array<float>();
    args.n_prompt_rows = 1;
    args.rows = array<int32_t>();
    args.n_rows = n.n_sequences * n.length;
    args.n_dim = n.n_dim;
    args.error = array<int32_t>();
    what = "put_prompts";
    check(fbt_cuda_launch_put_prompts(nullptr, &args));
}

void norm(const sizes &n, const char *name, fbt_norm_kind kind, fbt_dtype x_dtype)
{
    fbt_cuda_norm_args args = {};
    args.y = memory();
    args.x = memory();
    args.norm.gamma = array<float>();
    args.norm.beta = kind == FBT_NORM_LAYER ? array<float>() : nullptr;
    args.dtype = FBT_BF16;
    args.x_dtype = x_dtype;
    args.n_rows = n.n_sequences * n.length;
    args.n_dim = n.n_dim;
    what = name;
    check(fbt_cuda_launch_norm(nullptr, &args));
}

/* Causal where there is a prefix. */
void attention(const sizes &n, const char *name, fbt_dtype dtype, int one_query)
{
    const int64_t kv_dim = n.n_dim / n.n_heads * n.n_kv_heads, stride = n.n_dim + 2 * kv_dim;
    fbt_cuda_attention_args args = {};
    args.y = memory();
    args.q = {memory(), one_query ? n.n_dim : stride};
    args.offsets = array<int32_t>();
    args.keys[0] = {{memory(), stride}, {memory(), stride}, array<int32_t>(), nullptr};
    if (n.n_prefix > 0) {
        args.keys[1] = args.keys[0];
        args.keys[1].index = array<int32_t>();
        args.is_causal = 1;
    }
    args.n_sequences = n.n_sequences;
    args.max_queries = one_query ? 1 : n.length;
    args.max_keys = n.n_prefix + n.length;
    args.one_query = one_query;
    args.n_heads = n.n_heads;
    args.n_kv_heads = n.n_kv_heads;
    args.head_dim = n.n_dim / n.n_heads;
    args.scale = 0.125f;
    args.dtype = dtype;
    what = name;
    check(fbt_cuda_launch_attention(nullptr, &args));
}

void embed_rows(const sizes &n)
{
    fbt_cuda_embed_rows_args args = {};
    args.x = memory();
    args.dtype = FBT_F32;
    args.word = table(n.n_vocabulary);
    args.tokens = args.positions = array<int32_t>();
    args.n_rows = n.n_sequences * n.length;
    args.n_dim = n.n_dim;
    args.error = array<int32_t>();
    what = "embed_rows";
    check(fbt_cuda_launch_embed_rows(nullptr, &args));
}

fbt_cuda_rows_of_heads heads(const sizes &n, int64_t n_heads)
{
    return {memory(), n.n_dim, FBT_BF16, n.n_sequences * n.length, n_heads, n.n_dim / n.n_heads};
}

void norm_heads(const sizes &n)
{
    const fbt_cuda_rows_of_heads x = heads(n, n.n_heads);
    const fbt_cuda_norm norm = {array<float>(), nullptr, 1e-5f};
    what = "norm_heads";
    check(fbt_cuda_launch_norm_heads(nullptr, &x, &norm));
}

void rotate(const sizes &n, const char *name, int64_t n_heads)
{
    const fbt_cuda_rows_of_heads x = heads(n, n_heads);
    const fbt_cuda_rotary rotary = {array<float>(), array<float>(),   n.length,
                                    x.head_dim,     array<int32_t>(), array<int32_t>()};
    what = name;
    check(fbt_cuda_launch_rotate(nullptr, &x, &rotary));
}

void label_logits(const sizes &n)
{
    fbt_cuda_label_logits_args args = {};
    args.logits = array<float>();
    args.x = memory();
    args.dtype = FBT_BF16;
    args.labels = args.bias = array<float>();
    args.scale = 1;
    args.n = n.n_sequences;
    args.n_labels = n.n_labels;
    args.n_dim = n.n_dim;
    what = "label_logits";
    check(fbt_cuda_launch_label_logits(nullptr, &args));
}

/* Logits of one row of each sequence. */
void log_probs(const sizes &n)
{
    fbt_cuda_logits_block block = {};
    block.logits = array<float>();
    block.largest = block.sum = array<float>();
    block.n_rows = n.n_sequences;
    block.n_words = FBT_CUDA_BLOCK_WORDS;
    block.n_vocabulary = n.n_vocabulary;
    const fbt_cuda_targets targets = {array<float>(), array<int32_t>(), array<int32_t>(), n.n_sequences * n.n_labels,
                                      array<int32_t>()};
    what = "widen, words";
    check(fbt_cuda_launch_widen(nullptr, array<float>(), memory(), FBT_BF16, 2048 * n.n_dim));
    what = "fold_logits";
    check(fbt_cuda_launch_fold_logits(nullptr, &block));
    what = "pick_logits";
    check(fbt_cuda_launch_pick_logits(nullptr, &block, &targets));
}

void perturb(const sizes &n)
{
    fbt_perturbation perturbation = {};
    perturbation.rate = 0.1;
    perturbation.vocab_size = n.n_vocabulary;
    const fbt_cuda_packed batch = packed(n);
    what = "perturb";
    check(fbt_cuda_launch_perturb(nullptr, array<int32_t>(), &perturbation, array<fbt_origin>(), array<uint8_t>(),
                                  &batch));
}

/* For the shapes that the library lacks, and while algorithms are chosen. */
void products(const sizes &n)
{
    fbt_cuda_plain_product_args args = {};
    args.y = memory();
    args.x = args.weight = args.bias = memory();
    args.dtype = args.y_dtype = FBT_BF16;
    args.n_rows = n.n_sequences * n.length;
    args.n_out = n.n_inner;
    args.n_in = n.n_dim;
    what = "plain_product";
    check(fbt_cuda_launch_plain_product(nullptr, &args));
    what = "compare";
    check(fbt_cuda_launch_compare(nullptr, array<int32_t>(), memory(), memory(), 2 * args.n_rows * args.n_out));
}

/* In the order of a forward pass. */
void encoder(const sizes &n)
{
    const int64_t n_rows = n.n_sequences * n.length;
    perturb(n);
    embed(n);
    put_prompts(n);
    attention(n, "attention", FBT_BF16, 0);
    norm(n, "norm", FBT_NORM_LAYER, FBT_BF16);
    what = "bias_activation";
    check(fbt_cuda_launch_bias_activation(nullptr, memory(), array<float>(), FBT_ACT_GELU_ERF, FBT_BF16, n_rows,
                                          n.n_inner));
    attention(n, "attention, fp32", FBT_F32, 0);
    attention(n, "attention, one query", FBT_BF16, 1);
    what = "gather_rows";
    check(fbt_cuda_launch_gather_rows(nullptr, memory(), memory(), array<int32_t>(), FBT_BF16, n.n_sequences, n.n_dim));
    what = "mean_pool";
    check(fbt_cuda_launch_mean_pool(nullptr, array<float>(), memory(), array<int32_t>(), FBT_BF16, n.n_sequences,
                                    n.n_dim));
    label_logits(n);
    what = "loss";
    check(fbt_cuda_launch_loss(nullptr, array<float>(), array<int32_t>(), array<float>(), array<int32_t>(), FBT_LOSS_CE,
                               n.n_sequences, n.n_labels));
    products(n);
}

void decoder(const sizes &n)
{
    embed_rows(n);
    norm(n, "rms norm", FBT_NORM_RMS, FBT_F32);
    norm_heads(n);
    rotate(n, "rotate, queries", n.n_heads);
    rotate(n, "rotate, keys", n.n_kv_heads);
    attention(n, "causal attention", FBT_BF16, 0);
    attention(n, "causal attention, fp32", FBT_F32, 0);
    attention(n, "causal attention, one query", FBT_BF16, 1);
    what = "gate";
    check(
        fbt_cuda_launch_gate(nullptr, memory(), memory(), FBT_ACT_SILU, FBT_BF16, n.n_sequences * n.length, n.n_inner));
    log_probs(n);
}
} // namespace

int main(int n_words, char **words)
{
    const std::string kind = n_words == 11 ? words[1] : "";
    if (kind != "encoder" && kind != "decoder") {
        std::fprintf(stderr, "usage: launches encoder|decoder N_SEQUENCES LENGTH N_PREFIX N_DIM N_HEADS N_KV_HEADS "
                             "N_INNER N_VOCABULARY N_LABELS\n");
        return 2;
    }
    std::vector<int64_t> v;
    for (int i = 2; i < n_words; i++) {
        v.push_back(std::atoll(words[i]));
    }
    (kind == "encoder" ? encoder : decoder)({v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]});
    return 0;
}
