/* Inside the CUDA backend: its object, and what its files share.
 *
 * Everything here is C on the CUDA runtime and cuBLASLt; kernels are behind kernels.h. One device per backend; ranks
 * that share a device are processes of their own. Nothing resets the device, so that the backend runs under MPS as
 * well.
 */
#ifndef FBT_CUDA_CUDA_H
#define FBT_CUDA_CUDA_H

#include "kernels/backend_ops.h"
#include "kernels/cuda/kernels.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

enum {
    FBT_CUDA_N_STREAMS = 2,
    FBT_CUDA_N_SEGMENTS = 8,  /* of a stream's staging ring                                                 */
    FBT_CUDA_MAX_GRAPHS = 64, /* remembered per stream                                                      */
    FBT_CUDA_WORKSPACE_BYTES = 32 << 20, /* of a stream, for cuBLASLt, as its documentation advises for Hopper */
    FBT_CUDA_ALIGNMENT = 256,            /* bytes: of device memory, as cudaMalloc gives and cuBLASLt supposes it    */
    FBT_CUDA_WIDTH = 8,                  /* rows of kernels are multiples of this many elements: kernels.h           */
    FBT_CUDA_MAX_DIM = 8192,             /* of rows that are normalised: rows.cuh                                    */
    FBT_CUDA_MAX_HEAD_DIM = 256, /* attention_bf16.cu, attention_fp32.cu, heads.cu                              */
};

/* One piece of constant memory: the weights, the bias in float, and the bias as products add it. */
typedef struct fbt_cuda_matrix {
    fbt_matrix base;
    void *weight;             /* [n_out, n_in], types->weights; start of the piece                     */
    const float *bias;        /* [n_out]; zeros where there is none                                    */
    const void *product_bias; /* [n_out], the bias in the activation type, which cuBLASLt insists on   */
} fbt_cuda_matrix;

/* ---- Constant memory (arena.c): pieces of few large allocations, so that few handles share all of it. */

typedef struct fbt_cuda_slab {
    struct fbt_cuda_slab *next; /* in the order in which they were made */
    char *data;
    int64_t n_bytes, n_used, n_pieces;
    int is_imported;
} fbt_cuda_slab;

typedef struct fbt_cuda_arena {
    fbt_cuda_slab *first, *last;
    fbt_cuda_slab *current; /* where the next piece is tried */
    int64_t n_slabs, n_pieces, n_bytes;
    int has_freed;           /* a piece was freed: the order of those that are left says nothing           */
    int64_t n_shared_pieces; /* of an import: so many are carved from its slabs ...                         */
    int64_t n_shared_bytes;  /* ... and come to so many bytes                                               */
} fbt_cuda_arena;

/* ---- A stream, and what must not be shared between two. */

typedef struct fbt_cuda_staging {
    char *data; /* pinned, FBT_CUDA_N_SEGMENTS segments, used in turn */
    cudaEvent_t passed[FBT_CUDA_N_SEGMENTS];
    int is_pending[FBT_CUDA_N_SEGMENTS]; /* `passed` was recorded: wait for it before writing there */
    int segment;
    int64_t n_used; /* bytes of the current segment */
} fbt_cuda_staging;

typedef struct fbt_cuda_chunk fbt_cuda_chunk; /* pinned memory for results on their way to the host */

typedef struct fbt_cuda_read {
    void *host;
    const void *staged;
    int64_t n_bytes;
} fbt_cuda_read;

typedef struct fbt_cuda_reads {
    fbt_cuda_chunk *chunks;
    fbt_cuda_read *pending;
    int64_t n_pending, capacity;
} fbt_cuda_reads;

/* A graph that was seen: `exec` is NULL until it was seen twice. */
typedef struct fbt_cuda_graph {
    unsigned char key[FBT_GRAPH_KEY_BYTES];
    int64_t n_key;
    cudaGraphExec_t exec;
    int64_t last_use;
} fbt_cuda_graph;

typedef struct fbt_cuda_stream {
    cudaStream_t handle;
    void *workspace; /* cuBLASLt's, FBT_CUDA_WORKSPACE_BYTES                        */
    void *scratch;   /* operations': scratch_need                                   */
    int64_t scratch_bytes;
    int32_t *error, *device_error; /* fbt_cuda_error, pinned: the host's and the device's address */
    fbt_cuda_staging staging;
    fbt_cuda_reads reads;
    fbt_cuda_graph graphs[FBT_CUDA_MAX_GRAPHS];
    int n_graphs;
    int64_t n_uses;
} fbt_cuda_stream;

/* ---- Products (choose.c, trial.c, product.c). */

/* Operations on x W^T before it is stored. */
typedef enum fbt_cuda_epilogue {
    FBT_CUDA_PLAIN,
    FBT_CUDA_BIAS,
    FBT_CUDA_BIAS_RELU,
    FBT_CUDA_BIAS_GELU_TANH,
    FBT_CUDA_RESIDUAL,      /* + residual, which may be y itself */
    FBT_CUDA_BIAS_RESIDUAL, /* the same for a residual stream: y and residual are of the residual type */
    FBT_CUDA_LOGITS,        /* y is float whatever the types */
} fbt_cuda_epilogue;

/* Products that one algorithm serves, whatever the number of rows. */
typedef struct fbt_cuda_shape {
    int64_t n_out, n_in;
    const fbt_types *types;
    fbt_cuda_epilogue epilogue;
} fbt_cuda_shape;

/* Type of y, of a residual and of a bias. */
static inline fbt_dtype fbt_cuda_result_type(const fbt_cuda_shape *shape)
{
    switch (shape->epilogue) {
    case FBT_CUDA_BIAS_RESIDUAL:
        return shape->types->residual;
    case FBT_CUDA_LOGITS:
        return FBT_F32;
    default:
        return shape->types->activations;
    }
}

typedef struct fbt_cuda_choice {
    struct fbt_cuda_choice *next;
    fbt_cuda_shape shape;
    int n_candidates, n_good; /* of the library; with the bits of the first good one. 0: our own kernel multiplies */
    cublasLtMatmulAlgo_t algorithm;
    int64_t n_rows;          /* of the trial ...                                        */
    double seconds, first_s; /* ... which took so long, and the first good one's so long */
} fbt_cuda_choice;

/* y = epilogue(x weight^T), device memory. */
typedef struct fbt_cuda_product {
    fbt_cuda_shape shape;
    void *y;              /* [n_rows, n_out]                          */
    const void *x;        /* [n_rows, n_in]                           */
    const void *weight;   /* [n_out, n_in]                            */
    const void *bias;     /* [n_out] of y's type; unused without one  */
    const void *residual; /* [n_rows, n_out]; unused without residual */
    int64_t n_rows;
} fbt_cuda_product;

/* cuBLASLt's descriptions of a product. */
typedef struct fbt_cuda_plan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t weight, x, y;
} fbt_cuda_plan;

/* ---- The backend. */

typedef enum fbt_cuda_graph_state {
    FBT_CUDA_NO_GRAPH,
    FBT_CUDA_GRAPH_SEEN,
    FBT_CUDA_GRAPH_RECORDED
} fbt_cuda_graph_state;

typedef struct fbt_cuda {
    fbt_backend base;
    int device, n_processors; /* streaming multiprocessors */
    int major, minor;         /* compute capability */
    int64_t n_bytes;          /* memory of the whole device */
    cublasLtHandle_t blas;
    fbt_cuda_stream streams[FBT_CUDA_N_STREAMS];
    fbt_cuda_stream *stream; /* the current one */
    fbt_cuda_arena constants;
    fbt_cuda_choice *choices;
    fbt_cuda_graph_state graph_state;
    fbt_cuda_graph graph; /* the one between graph_begin and graph_end */
    int has_no_graphs;    /* the device did not take one: none is recorded any more */
    cudaEvent_t events[FBT_MAX_EVENTS];
    fbt_status (*product_queued)(void *context); /* watch_products; NULL: nobody does */
    void *product_context;
    char name[256], id[64], isa[16], libraries[128];
    unsigned char uuid[16];
} fbt_cuda;

static inline fbt_cuda *fbt_cuda_of(fbt_backend *b)
{
    return (fbt_cuda *)b;
}

static inline const fbt_cuda_matrix *fbt_cuda_matrix_of(const fbt_matrix *w)
{
    return (const fbt_cuda_matrix *)w;
}

static inline const void *fbt_cuda_data(const fbt_buffer *buffer)
{
    return buffer == NULL ? NULL : buffer->data;
}

static inline fbt_cuda_norm fbt_cuda_norm_of(const fbt_norm *norm)
{
    return (fbt_cuda_norm){.gamma = norm->gamma->data, .beta = fbt_cuda_data(norm->beta), .epsilon = norm->epsilon};
}

static inline fbt_cuda_lookup fbt_cuda_lookup_of(const fbt_table *table)
{
    return table == NULL ? (fbt_cuda_lookup){0}
                         : (fbt_cuda_lookup){.rows = table->rows, .dtype = table->dtype, .n_rows = table->n_rows};
}

/* Column 0 of head 0. */
static inline void *fbt_cuda_first_head(const fbt_heads *heads, fbt_dtype dtype)
{
    return (char *)heads->buffer->data + heads->column * (int64_t)fbt_dtype_bytes(dtype);
}

/* FBT_ERR_MEMORY or FBT_ERR_BACKEND with a sentence, unless `code` is success. `what` completes "... could not ...". */
fbt_status fbt_cuda_status(cudaError_t code, const char *what);
fbt_status fbt_cuda_blas_status(cublasStatus_t code, const char *what);

/* Whether there is a device. Errors: FBT_ERR_BACKEND (no driver, no device). */
fbt_status fbt_cuda_probe(void);

/* Chooses this rank's device, makes it current, describes it. Errors: FBT_ERR_BACKEND (no driver, no device, old). */
fbt_status fbt_cuda_device_open(fbt_cuda *cuda, int local_rank);

/* Products of the open device as its maker counts them, floating-point operations a second; 0: not known. */
double fbt_cuda_nominal_flops(const fbt_cuda *cuda, fbt_compute compute);

/* n_bytes of device memory, uninitialised, at least one. Errors: FBT_ERR_MEMORY with the device's name and figures. */
fbt_status fbt_cuda_malloc(fbt_cuda *cuda, int64_t n_bytes, void *data);

/* streams.c. Closing a stream that was opened in part is fine; what wait_all meets is left for the streams' sync to
 * report.
 */
fbt_status fbt_cuda_stream_open(fbt_cuda *cuda, fbt_cuda_stream *stream);
void fbt_cuda_stream_close(fbt_cuda_stream *stream);
void fbt_cuda_wait_all(fbt_cuda *cuda);
fbt_status fbt_cuda_stream_sync(fbt_cuda_stream *stream);

/* At least n_bytes of device memory at the current stream's `scratch`, for one operation at a time. More than ever
 * before are made anew: that waits, forgets all graphs, and must not be within a recorded one. */
fbt_status fbt_cuda_scratch_need(fbt_cuda *cuda, int64_t n_bytes);

/* Pinned memory of the stream's ring for up to `wanted` bytes of the next copy to the device; *n_bytes is what there
 * is. Waits where the ring is full. */
fbt_status fbt_cuda_stage(fbt_cuda_stream *stream, int64_t wanted, void **staged, int64_t *n_bytes);
fbt_status fbt_cuda_stream_write(fbt_cuda_stream *stream, void *device, const void *host, int64_t n_bytes);
fbt_status fbt_cuda_stream_read(fbt_cuda_stream *stream, void *host, const void *device, int64_t n_bytes);

/* arena.c. is_filled: the contents are there, because another rank wrote them. free(NULL) does nothing. */
fbt_status fbt_cuda_constant_new(fbt_cuda *cuda, int64_t n_bytes, void **data, int *is_filled);
void fbt_cuda_constant_free(fbt_cuda *cuda, void *data);
fbt_status fbt_cuda_arena_add(fbt_cuda_arena *arena, char *data, int64_t n_bytes, int is_imported);
void fbt_cuda_arena_close(fbt_cuda_arena *arena);

/* upload.c: n items of `dtype` on the host to device memory of `device_dtype` (F32 or BF16, or the same). Waits. */
fbt_status fbt_cuda_upload(fbt_cuda *cuda, void *device, fbt_dtype device_dtype, const void *host, fbt_dtype dtype,
                           int64_t n);

/* graphs.c */
void fbt_cuda_forget_graphs(fbt_cuda *cuda);

/* product.c. A plan describes products of n_rows rows; close it also after an error. */
fbt_status fbt_cuda_plan_open(fbt_cuda_plan *plan, const fbt_cuda_product *product);
void fbt_cuda_plan_close(fbt_cuda_plan *plan);
cublasStatus_t fbt_cuda_plan_run(fbt_cuda *cuda, const fbt_cuda_plan *plan, const fbt_cuda_product *product,
                                 const cublasLtMatmulAlgo_t *algorithm);

/* cuBLASLt's candidates for the plan, best first by its own estimate: up to n_max, *n of them. */
fbt_status fbt_cuda_plan_candidates(fbt_cuda *cuda, const fbt_cuda_plan *plan, uint32_t reductions, int n_max,
                                    cublasLtMatmulHeuristicResult_t *candidates, int *n);

/* Queues the product with the algorithm of its shape. Errors: FBT_ERR_BACKEND. */
fbt_status fbt_cuda_multiply(fbt_cuda *cuda, const fbt_cuda_product *product);

/* choose.c: how products of a shape are made; chosen at the first call, which waits and must not be within a recorded
 * graph. */
fbt_status fbt_cuda_choose(fbt_cuda *cuda, const fbt_cuda_shape *shape, const fbt_cuda_choice **choice);
int fbt_cuda_describe_product(fbt_backend *b, int i, char *text, size_t n_bytes);
void fbt_cuda_choices_free(fbt_cuda *cuda);

/* upload.c: device memory filled with random numbers of F32 or BF16, always the same for equal `salt`. Wait. random: n
 * between -1 and 1. cancelling: n_rows rows of widely spread sizes, each row mirrored at its middle, negated for sign
 * -1: the product of a row with sign 1 and one with sign -1 is 0, so that a sum of it in floating point is made of its
 * roundings alone, and any other order of summation gives other bits, in bfloat16 too. */
fbt_status fbt_cuda_fill_random(fbt_cuda *cuda, void *device, fbt_dtype dtype, int64_t n, uint32_t salt);
fbt_status fbt_cuda_fill_cancelling(fbt_cuda *cuda, void *device, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                                    int sign, uint32_t salt);

/* The operations, by file: graphs.c, events.c, share.c, constants.c, linear.c, log_probs.c, operations.c, decoder.c,
 * peaks.c. */
fbt_status fbt_cuda_graph_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known);
fbt_status fbt_cuda_graph_end(fbt_backend *b, fbt_status status, int *is_queued);
fbt_status fbt_cuda_event_record(fbt_backend *b, int64_t index);
fbt_status fbt_cuda_event_seconds(fbt_backend *b, int64_t index, double *seconds);
void fbt_cuda_watch_products(fbt_backend *b, fbt_status (*queued)(void *context), void *context);
fbt_status fbt_cuda_share_export(fbt_backend *b, fbt_share *share);
fbt_status fbt_cuda_share_import(fbt_backend *b, const fbt_share *share);
fbt_status fbt_cuda_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix);
void fbt_cuda_matrix_free(fbt_backend *b, fbt_matrix *matrix);
fbt_status fbt_cuda_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                              fbt_table **table);
void fbt_cuda_table_free(fbt_backend *b, fbt_table *table);
fbt_status fbt_cuda_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_activation activation, int64_t n_rows);
fbt_status fbt_cuda_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_cuda_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                    const fbt_buffer *residual, int64_t n_rows);
fbt_status fbt_cuda_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                            const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed);
fbt_status fbt_cuda_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed);
fbt_status fbt_cuda_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                              const fbt_norm *norm, int64_t n_rows, int64_t n_dim);
fbt_status fbt_cuda_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention);
fbt_status fbt_cuda_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *embedding, int64_t n_rows);
fbt_status fbt_cuda_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                                int64_t n_rows);
fbt_status fbt_cuda_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                           const fbt_rotary *rotary, int64_t n_rows);
fbt_status fbt_cuda_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                               const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_cuda_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                         int64_t n_dim);
fbt_status fbt_cuda_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                                const fbt_buffer *rows, int64_t n, int64_t n_dim);
fbt_status fbt_cuda_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                              int64_t n_dim);
fbt_status fbt_cuda_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                                 int64_t n_labels, int64_t n_dim);
fbt_status fbt_cuda_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x,
                                    const fbt_vocabulary *vocabulary, const fbt_token_targets *targets, int64_t n_rows);
fbt_status fbt_cuda_loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                         const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels);

/* peaks.c: shortens *best_s to the shortest of n_repeats runs after a first; a negative one counts as none yet. Leaves
 * it where the algorithm does not take the product. Waits. */
fbt_status fbt_cuda_time_product(fbt_cuda *cuda, const fbt_cuda_product *product, const cublasLtMatmulAlgo_t *algorithm,
                                 int n_repeats, double *best_s);
fbt_status fbt_cuda_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                    double *best_s);
fbt_status fbt_cuda_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s);

#endif
