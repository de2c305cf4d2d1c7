/* Inside the CPU backend: its object, and what its files share. */
#ifndef FBT_CPU_CPU_H
#define FBT_CPU_CPU_H

#include "kernels/backend_ops.h"
#include "kernels/cpu/constants.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/rows.h"

#include <sched.h>

/* Scratch memory of one thread, grown before a parallel region and used inside it. */
typedef struct fbt_cpu_scratch {
    void *data;
    int64_t n_bytes;
} fbt_cpu_scratch;

typedef struct fbt_cpu_affinity {
    int is_pinned;
    cpu_set_t before; /* mask of the calling thread when the backend opened */
    int n_omp_before; /* omp_get_max_threads() then                         */
} fbt_cpu_affinity;

typedef struct fbt_cpu {
    fbt_backend base;
    const fbt_row_kernels *rows;
    int n_threads;
    int has_tiles;
    fbt_cpu_scratch *scratch; /* [n_threads] */
    fbt_cpu_affinity affinity;
    fbt_cpu_constants constants;
    char device[128], libraries[64];
    const char *isa;
} fbt_cpu;

static inline fbt_cpu *fbt_cpu_of(fbt_backend *b)
{
    return (fbt_cpu *)b;
}

static inline const void *fbt_cpu_table_row(const fbt_table *table, int64_t row)
{
    return (const char *)table->rows + row * table->n_dim * (int64_t)fbt_dtype_bytes(table->dtype);
}

static inline void *fbt_cpu_heads_row(const fbt_cpu *cpu, const fbt_heads *heads, int64_t row)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(cpu->base.info.types->activations);
    return (char *)heads->buffer->data + (row * heads->stride + heads->column) * item;
}

/* Of the processor, capped by ONEDNN_MAX_CPU_ISA like oneDNN itself: kernels of products but those on tiles; those of
 * int8 products, or NULL; whether it multiplies bfloat16 on AMX tiles; its name; whether it multiplies bfloat16, and
 * faster than fp32. */
const fbt_panel_kernels *fbt_cpu_panel_kernels(fbt_compute compute);
const fbt_int8_kernels *fbt_cpu_int8_kernels(void);
int fbt_cpu_has_tiles(void);
const char *fbt_cpu_isa_name(void);
int fbt_cpu_has_bf16(void);
int fbt_cpu_has_fast_bf16(void);

/* Number of threads by the options, and (where every thread can have a processor of its own) their binding. Restore
 * gives the calling thread back the affinity and the number of OpenMP threads that it had. */
fbt_status fbt_cpu_threads_start(fbt_cpu_affinity *affinity, const fbt_backend_options *options, int *n_threads);
void fbt_cpu_threads_restore(const fbt_cpu_affinity *affinity, int n_threads);

/* Uninitialised memory, released with free(). Large blocks start at huge pages, of which a sweep over activations needs
 * few. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cpu_block_new(int64_t n_bytes, void **block);

/* Makes every thread's scratch memory at least n_bytes. Contents are lost. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cpu_scratch_need(fbt_cpu *cpu, int64_t n_bytes);

/* Memory of this machine, of which limits on this process (control group, address space) may leave less. */
fbt_status fbt_cpu_memory(fbt_backend *b, fbt_backend_memory *memory);

/* The operations, one file each. */
fbt_status fbt_cpu_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix);
void fbt_cpu_matrix_free(fbt_backend *b, fbt_matrix *w);
fbt_status fbt_cpu_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                          fbt_activation activation, int64_t n_rows);
fbt_status fbt_cpu_linear_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               fbt_activation activation, int64_t n_rows);
fbt_status fbt_cpu_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_cpu_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                   const fbt_buffer *residual, int64_t n_rows);
fbt_status fbt_cpu_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                           const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed);
fbt_status fbt_cpu_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed);
fbt_status fbt_cpu_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                             const fbt_norm *norm, int64_t n_rows, int64_t n_dim);
fbt_status fbt_cpu_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *embedding, int64_t n_rows);
fbt_status fbt_cpu_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                               int64_t n_rows);
fbt_status fbt_cpu_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                              const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_cpu_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                          const fbt_rotary *rotary, int64_t n_rows);
fbt_status fbt_cpu_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                        int64_t n_dim);
fbt_status fbt_cpu_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention);
fbt_status fbt_cpu_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                               const fbt_buffer *rows, int64_t n, int64_t n_dim);
fbt_status fbt_cpu_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                             int64_t n_dim);
fbt_status fbt_cpu_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                                int64_t n_labels, int64_t n_dim);
fbt_status fbt_cpu_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_vocabulary *vocabulary,
                                   const fbt_token_targets *targets, int64_t n_rows);
fbt_status fbt_cpu_loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                        const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels);
fbt_status fbt_cpu_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                   double *best_s);
fbt_status fbt_cpu_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s);

#endif
