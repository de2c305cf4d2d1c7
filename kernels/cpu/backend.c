/* The CPU backend's object: open, close, memory. Everything is done when a call returns, so that waiting is nothing and
 * one stream is all there is. */
#include "kernels/cpu/cpu.h"

#include "base/memory.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };

fbt_status fbt_cpu_block_new(int64_t n_bytes, void **block)
{
    const size_t alignment = n_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 64;
    *block = NULL;
    if (n_bytes < 0 || posix_memalign(block, alignment, n_bytes > 0 ? (size_t)n_bytes : 1) != 0) {
        *block = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: %lld bytes were asked for", (long long)n_bytes);
    }
    if (alignment == HUGE_PAGE_BYTES) {
        madvise(*block, (size_t)n_bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES,
                MADV_HUGEPAGE); /* advice: may be refused */
    }
    return FBT_OK;
}

fbt_status fbt_cpu_scratch_need(fbt_cpu *cpu, int64_t n_bytes)
{
    for (int t = 0; t < cpu->n_threads; t++) {
        fbt_cpu_scratch *scratch = &cpu->scratch[t];
        if (scratch->n_bytes < n_bytes) {
            free(scratch->data);
            scratch->n_bytes = 0;
            const fbt_status status = fbt_cpu_block_new(n_bytes, &scratch->data);
            if (status != FBT_OK) {
                return status;
            }
            scratch->n_bytes = n_bytes;
        }
    }
    return FBT_OK;
}

static fbt_status cpu_buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    fbt_status status = FBT_OK;
    fbt_buffer *made = NULL;
    (void)b;
    *buffer = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(fbt_cpu_block_new(n_bytes, &made->data));
    made->n_bytes = n_bytes;
    *buffer = made;
    made = NULL;
done:
    free(made);
    return status;
}

static void cpu_buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    (void)b;
    free(buffer->data);
    free(buffer);
}

static fbt_status cpu_write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    (void)b;
    memcpy(buffer->data, host, (size_t)n_bytes);
    return FBT_OK;
}

static fbt_status cpu_read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    (void)b;
    memcpy(host, buffer->data, (size_t)n_bytes);
    return FBT_OK;
}

static fbt_status cpu_share_export(fbt_backend *b, fbt_share *share)
{
    return fbt_cpu_constants_export(&fbt_cpu_of(b)->constants, share);
}

static fbt_status cpu_share_import(fbt_backend *b, const fbt_share *share)
{
    return fbt_cpu_constants_import(&fbt_cpu_of(b)->constants, share);
}

static fbt_status cpu_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                                fbt_table **table)
{
    fbt_status status = FBT_OK;
    fbt_table *made = NULL;
    void *shared, *no_bias;
    *table = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    *made = (fbt_table){.rows = (void *)(uintptr_t)rows, .dtype = dtype, .n_rows = n_rows, .n_dim = n_dim};
    fbt_cpu_constants *constants = &fbt_cpu_of(b)->constants;
    const fbt_cpu_constant constant = {
        .shape = {.n_rows = n_rows, .n_columns = n_dim, .type = (int32_t)dtype, .is_table = 1},
        .weights = &made->rows,
        .weight_bytes = n_rows * n_dim * (int64_t)fbt_dtype_bytes(dtype)};
    FBT_TRY(fbt_cpu_constants_find(constants, &constant.shape, constant.weight_bytes, 0, &shared, &no_bias));
    made->rows = shared != NULL ? shared : made->rows;
    FBT_TRY(fbt_cpu_constants_add(constants, &constant));
    *table = made;
    made = NULL;
done:
    free(made);
    return status;
}

static void cpu_table_free(fbt_backend *b, fbt_table *table)
{
    int is_mapped;
    fbt_cpu_constants_remove(&fbt_cpu_of(b)->constants, &table->rows, &is_mapped);
    free(table);
}

static void cpu_close(fbt_backend *b)
{
    fbt_cpu *cpu = fbt_cpu_of(b);
    if (cpu == NULL) {
        return;
    }
    fbt_cpu_threads_restore(&cpu->affinity, cpu->n_threads);
    for (int t = 0; t < cpu->n_threads; t++) {
        if (cpu->scratch != NULL) {
            free(cpu->scratch[t].data);
        }
    }
    fbt_cpu_constants_clear(&cpu->constants);
    free(cpu->scratch);
    free(cpu);
}

static const fbt_backend_ops cpu_ops = {
    .close = cpu_close,
    .memory = fbt_cpu_memory,
    .buffer_new = cpu_buffer_new,
    .buffer_free = cpu_buffer_free,
    .write = cpu_write,
    .read = cpu_read,
    .share_export = cpu_share_export,
    .share_import = cpu_share_import,
    .matrix_new = fbt_cpu_matrix_new,
    .matrix_free = fbt_cpu_matrix_free,
    .table_new = cpu_table_new,
    .table_free = cpu_table_free,
    .perturb = fbt_cpu_perturb,
    .embed = fbt_cpu_embed,
    .embed_rows = fbt_cpu_embed_rows,
    .put_prompts = fbt_cpu_put_prompts,
    .linear = fbt_cpu_linear,
    .linear_gate = fbt_cpu_linear_gate,
    .linear_norm = fbt_cpu_linear_norm,
    .linear_residual = fbt_cpu_linear_residual,
    .layernorm = fbt_cpu_layernorm,
    .norm_heads = fbt_cpu_norm_heads,
    .rotate = fbt_cpu_rotate,
    .gate = fbt_cpu_gate,
    .attention = fbt_cpu_attention,
    .gather_rows = fbt_cpu_gather_rows,
    .mean_pool = fbt_cpu_mean_pool,
    .label_logits = fbt_cpu_label_logits,
    .token_log_probs = fbt_cpu_token_log_probs,
    .loss = fbt_cpu_loss,
    .library_product = fbt_cpu_library_product,
    .library_copy = fbt_cpu_library_copy,
};

/* "model name" of /proc/cpuinfo, where there is one. */
static void describe(fbt_cpu *cpu)
{
    char line[256];
    const dnnl_version_t *version = dnnl_version();
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(cpu->device, sizeof cpu->device, "unknown processor");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "model name : %127[^\n]", cpu->device) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    snprintf(cpu->libraries, sizeof cpu->libraries, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    cpu->isa = fbt_cpu_isa_name();
}

static fbt_backend_info info_of(const fbt_cpu *cpu, const fbt_types *types)
{
    return (fbt_backend_info){.name = "cpu",
                              .device = cpu->device,
                              .device_id = "",
                              .isa = cpu->isa,
                              .libraries = cpu->libraries,
                              .types = types,
                              .n_threads = cpu->n_threads,
                              .n_streams = 1,
                              .can_share = 1,
                              .size_multiple = 1,
                              .max_dim = INT64_MAX,
                              .max_head_dim = INT64_MAX,
                              .features = FBT_FEATURE_RMS_NORM | FBT_FEATURE_KV_HEADS | FBT_FEATURE_KEY_ROWS |
                                          FBT_FEATURE_CAUSAL | FBT_FEATURE_PREFIX | FBT_FEATURE_SILU |
                                          FBT_FEATURE_LOG_PROBS};
}

static fbt_status check_types(const fbt_types *types)
{
    if (types != NULL && types->compute == FBT_COMPUTE_BF16 && !fbt_cpu_has_bf16()) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "backend.precision is %s, but this processor (%s) has no bfloat16 instructions: set it to auto "
                        "or fp32",
                        types->name, fbt_cpu_isa_name());
    }
    if (types != NULL && types->compute == FBT_COMPUTE_I8 && fbt_cpu_int8_kernels() == NULL) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "backend.precision is %s, but this processor (%s) has no AVX2 instructions: set it to auto or "
                        "fp32",
                        types->name, fbt_cpu_isa_name());
    }
    return FBT_OK;
}

/* auto: the faster ones that round, at most, to bfloat16. */
static const fbt_types *own_types(const fbt_types *types)
{
    if (types == NULL) {
        return fbt_types_find(fbt_cpu_has_fast_bf16() ? "bf16" : "fp32");
    }
    return types->compute == FBT_COMPUTE_I8 ? fbt_types_int8(fbt_cpu_has_bf16()) : types;
}

static fbt_status cpu_open(const fbt_backend_options *options, const fbt_types *types, fbt_backend **b)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = NULL;
    *b = NULL;
    FBT_TRY(check_types(types));
    FBT_TRY(fbt_memory_alloc(&cpu, 1, sizeof *cpu));
    cpu->base.ops = &cpu_ops;
    cpu->rows = fbt_cpu_row_kernels();
    cpu->has_tiles = fbt_cpu_has_tiles();
    describe(cpu);
    FBT_TRY(fbt_cpu_threads_start(&cpu->affinity, options, &cpu->n_threads));
    FBT_TRY(fbt_memory_alloc(&cpu->scratch, cpu->n_threads, sizeof *cpu->scratch));
    cpu->base.info = info_of(cpu, own_types(types));
    *b = &cpu->base;
    cpu = NULL;
done:
    if (cpu != NULL) {
        cpu_close(&cpu->base);
    }
    return status;
}

const fbt_backend_driver fbt_cpu_driver = {
    .name = "cpu",
    .summary = "processors: own kernels, OpenMP threads",
    .types = {"fp32", "bf16", "int8"},
    .batch_tokens = 16384,
    .open = cpu_open,
};
