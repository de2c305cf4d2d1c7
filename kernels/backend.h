/* The contract between the model and whatever computes it: memory, and the operations of a transformer's forward pass.
 *
 * The functions below are one interface above all backends (interface.c, operations.c): arguments are checked there,
 * once. A backend is one folder (cpu/, cuda/) that fills in fbt_backend_ops. One backend object belongs to one rank and
 * one thread of control. Promises that every backend keeps, checked by tests/conformance:
 *   - Batch-invariant: a sequence's results have the same bits whatever else is in the batch, in whatever order, for
 *     any number of threads. No reduction's order depends on the number of rows, sequences or threads.
 *   - fp32 accumulation; normalisation, softmax, loss and readout in fp32 whatever the precision.
 *   - Operations are asynchronous: they are queued in call order on the current stream and may return before they ran;
 *     only fbt_stream_sync waits. An error of a queued operation is reported by its own call or by the stream's next
 *     sync.
 *   - Errors are returned, never printed; FBT_ERR_ARG for sizes that do not fit, FBT_ERR_MEMORY, FBT_ERR_BACKEND.
 *     Indices that lie in buffers (prompts, rows) are checked by the caller: a backend need not look into its device's
 *     memory.
 *
 * Shapes are row-major. "Activation type" is types->activations of the backend or, for the operands of a matrix, of the
 * matrix. Sizes must be at least 1 unless said otherwise; n_rows = 0 or n_sequences = 0 is allowed everywhere and does
 * nothing.
 */
#ifndef FBT_BACKEND_H
#define FBT_BACKEND_H

#include "base/choices.h" /* fbt_loss, fbt_prompt_mode, fbt_perturb_scope */
#include "base/status.h"
#include "kernels/profile.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fbt_dtype { FBT_F32, FBT_F16, FBT_BF16, FBT_I32, FBT_I8 } fbt_dtype;

/* Type of a product's factors; its sums are fp32. tf32: float operands of which 10 bits of each significand count. I8:
 * integers with exact sums. A row v of x or of W stands for s q, q[i] = v[i] / s rounded to nearest, where s is, of W,
 * max |v[i]| / 127 and, of x, (max(v, 0) - min(v, 0)) / 254, so that a row of x takes 8 bits as well, and one whose
 * elements are of one sign loses no bit to the other (Jacob et al. 2018, arXiv 1712.05877, section 2.1; a scale for
 * each row and output: Dettmers et al. 2022, arXiv 2208.07339, section 2.1). A row of which no element reaches
 * FBT_I8_LEAST counts as zeros; one with an element that is not finite has none but NaN as results. */
typedef enum fbt_compute { FBT_COMPUTE_FP32, FBT_COMPUTE_TF32, FBT_COMPUTE_BF16, FBT_COMPUTE_I8 } fbt_compute;
#define FBT_I8_LEAST 0x1p-100f
enum {
    FBT_I8_ROW_STEPS = 254,
    FBT_I8_WEIGHT_STEPS = 127,
    FBT_I8_MOST_IN = 65536 /* n_in, so that sums of 254 * 127 fit in 32 bits */
};

/* The types of a computation: one row of the table in types.c for each word of backend.precision but auto; int8 has one
 * for each type of activations. Rows are compared by their address. */
typedef struct fbt_types {
    const char *name;    /* the word: "bf16"                                                                         */
    fbt_dtype weights;   /* in which matrices are stored                                                             */
    fbt_compute compute; /* in which products are made                                                               */
    fbt_dtype activations; /* of a product's operand and result, and of all that passes from one operation to another */
    fbt_dtype residual; /* of a decoder's residual stream: a sum over all layers that must not be rounded at each    */
} fbt_types;

/* The row called `name`, of int8's that with bf16 activations; NULL: there is none. */
const fbt_types *fbt_types_find(const char *name);

/* int8's row with activations in bf16, else in fp32. */
const fbt_types *fbt_types_int8(int has_bf16);

/* The row for matrices that are not quantised: of the same activations as int8's; any other row itself. */
const fbt_types *fbt_types_unquantised(const fbt_types *types);

typedef enum fbt_activation {
    FBT_ACT_NONE,
    FBT_ACT_GELU_ERF,
    FBT_ACT_GELU_TANH,
    FBT_ACT_RELU,
    FBT_ACT_TANH,
    FBT_ACT_SILU /* x / (1 + e^-x); in fbt_linear: FBT_FEATURE_SILU */
} fbt_activation;

typedef struct fbt_buffer fbt_buffer; /* memory of a backend                                                          */
typedef struct fbt_matrix fbt_matrix; /* constant [n_out, n_in] matrix with optional bias, laid out for the backend   */
typedef struct fbt_table fbt_table;   /* constant [n_rows, n_dim] lookup table                                        */
typedef struct fbt_backend fbt_backend;

typedef struct fbt_backend_options {
    const char *name;      /* "cpu" or "cuda"; borrowed during fbt_backend_open                                     */
    const char *precision; /* "auto", "fp32", "tf32", "bf16", "int8"; borrowed likewise. auto: bf16 where fast      */
    int n_threads;         /* threads of this rank; 0: the processors this rank may use, shared among local ranks   */
    int local_rank;        /* this rank's number on its node, and how many ranks the node has:                      */
    int n_local_ranks;     /*   which processors or device are its own                                              */
} fbt_backend_options;

/* The backend's choices, for the log and the run file. Strings live as long as the backend. */
typedef struct fbt_backend_info {
    const char *name;      /* "cpu"                                        */
    const char *device;    /* processor or device name                     */
    const char *device_id; /* what tells two devices of one node apart, e.g. "GPU-1f2e..."; "" for the processor      */
    const char *isa;       /* instruction set in use, e.g. "avx512_core_bf16", "sm_90" */
    const char *libraries; /* libraries and versions, e.g. "oneDNN 2.6.3"  */
    const fbt_types *types; /* of the activations and, unless a matrix says otherwise, of the products */
    int n_threads;
    int n_streams;     /* streams that may be selected: what is queued on two streams runs side by side */
    int tries_batches; /* 1: that a row has the same bits in any batch was tried, and does not follow from own code
                          alone */
    int can_share; /* 1: ranks on one device may keep one copy of matrices and tables (share_export, share_import) */
    int64_t size_multiple; /* rows and heads have a multiple of so many elements, else FBT_ERR_UNSUPPORTED; */
    int64_t max_dim;       /*   rows that are normalised at most so many,                                   */
    int64_t max_head_dim;  /*   heads at most so many                                                       */
    unsigned features;     /* bits of fbt_feature                                                           */
    double nominal_flops;  /* floating-point operations a second of products of `types` that the device's maker
                              counts: processors x highest clock x operations of a cycle; 0: not known */
} fbt_backend_info;

/* Source of a matrix. */
typedef struct fbt_matrix_spec {
    const void *weight; /* [n_out, n_in] on the host in `dtype`     */
    fbt_dtype dtype;    /* F32, F16 or BF16                         */
    const float *bias;  /* [n_out] or NULL                          */
    int64_t n_out, n_in;
    const fbt_types *types;  /* may be fp32's on a bf16 backend (the prompt projection); NULL: the backend's */
    fbt_operation operation; /* what its products are profiled as                                            */
} fbt_matrix_spec;

/* Memory of the device, bytes. */
typedef struct fbt_backend_memory {
    int64_t free, total;
} fbt_backend_memory;

/* Handle that one rank passes to another so that both use one copy of the constants. Plain bytes, sent as they are. */
typedef struct fbt_share {
    int64_t n_bytes; /* of `bytes` in use */
    unsigned char bytes[8184];
} fbt_share;

/* Sequences packed end to end without padding. Sequence s is rows offsets[s] .. offsets[s+1]-1 of every [n_rows, ...]
 * buffer. In modes cat and input a sequence's first n_prompt_tokens rows are its prompt's, and tokens there are
 * ignored. */
typedef struct fbt_packed {
    const fbt_buffer *tokens;       /* int32 [n_rows]                                              */
    const fbt_buffer *offsets;      /* int32 [n_sequences + 1]                                     */
    const fbt_buffer *prompt_index; /* int32 [n_sequences]: which prompt; unused in mode none      */
    const int32_t *host_offsets;    /* the same offsets on the host, borrowed during the call      */
    int64_t n_sequences;
    int64_t n_rows;
    int64_t max_length; /* longest sequence, rows                                      */
} fbt_packed;

/* Layer normalisation (Ba, Kiros, Hinton 2016, arXiv 1607.06450): LN(x) = gamma * (x - mean) / sqrt(var + epsilon) +
 * beta, mean and var of each row. RMS norm (Zhang, Sennrich 2019, arXiv 1910.07467): gamma * x / sqrt(mean of x^2 +
 * epsilon). */
typedef enum fbt_norm_kind { FBT_NORM_LAYER, FBT_NORM_RMS } fbt_norm_kind;
typedef struct fbt_norm {
    const fbt_buffer *gamma; /* float [n_dim] */
    const fbt_buffer *beta;  /* float [n_dim]; RMS: NULL */
    float epsilon;
    fbt_norm_kind kind; /* RMS: FBT_FEATURE_RMS_NORM */
} fbt_norm;

/* Random replacement of tokens (Sun et al. 2023, section 3.3: against overfitting). Token t of a sequence takes words
 * 2t and 2t+1 of the stream (seed, FBT_RNG_PERTURB, round, client, candidate = sample) of rng.h: it is replaced when
 * word 2t < rate * 2^32, then by (word 2t+1 * vocab_size) >> 32. So a token's fate depends on its place alone. */
typedef struct fbt_perturbation {
    uint64_t seed;
    double rate;   /* r_p: probability that a token is replaced, 0 .. 1                              */
    int text_only; /* 1: frozen tokens stay (the paper); 0: any token may change (the official code) */
    int64_t vocab_size;
} fbt_perturbation;

/* Where a sequence comes from; client < 2^16, sample < 2^24 (fields of the stream). */
typedef struct fbt_origin {
    int32_t client; /* -1: the sequence is not perturbed                              */
    int32_t sample; /* number among the client's samples                              */
    int32_t round;
    int32_t n_placeholders; /* rows in front of the first token: token t is row n_placeholders + t. Below 0: the
                             * sequence's first row is token -n_placeholders (those before are in a shared prefix) */
} fbt_origin;

/* Embedding of encoders: LN(word[token] + position[...] + type[0]) with the prompt put in as the mode says. */
typedef struct fbt_embedding {
    const fbt_table *word;     /* [vocabulary, n_dim]                                                           */
    const fbt_table *position; /* [n_positions, n_dim]; row of the t-th token: position_offset + t, where t      */
    int64_t position_offset;   /*   counts from the first row of the sequence (cat: from the first text row)     */
    const fbt_table *type;     /* [n_types, n_dim], row 0 is used; NULL: none                                    */
    fbt_norm norm;
    int64_t n_dim;
    fbt_prompt_mode mode;
    int64_t n_prompt_tokens;   /* P; 0 in mode none                                                              */
    const fbt_buffer *prompts; /* float [n_prompts, P, n_dim]; NULL in mode none                                 */
} fbt_embedding;

/* Embedding of decoders, row by row: x[i] = word[tokens[i]] + prompts[prompt_rows[i]] + position[positions[i]], each as
 * far as it is there, added in this order. What a prompt mode means for a row is decided by who fills in the lists. */
typedef struct fbt_row_embedding {
    const fbt_table *word;         /* [vocabulary, n_dim]                                                */
    const fbt_table *position;     /* [n_positions, n_dim]; NULL: none is added                          */
    int64_t position_offset;       /* added to positions[i]: rows that a table has in front (OPT: 2)     */
    const fbt_buffer *prompts;     /* float [n_prompts * P, n_dim]; NULL: no row has a prompt            */
    const fbt_buffer *tokens;      /* int32 [n_rows]; -1: the prompt's row stands in its place           */
    const fbt_buffer *positions;   /* int32 [n_rows]                                                     */
    const fbt_buffer *prompt_rows; /* int32 [n_rows]: row of prompts; -1: none. NULL where prompts is    */
    int64_t n_dim;
} fbt_row_embedding;

/* A prompt's rows at the input of a layer behind the first (deep prompts: Sun et al. 2022, arXiv 2205.11200). */
typedef struct fbt_layer_prompts {
    const fbt_buffer *prompts; /* float [n_prompts * P, n_dim]                          */
    const fbt_buffer *rows;    /* int32 [n_rows]: row of prompts; -1: the row has none  */
    int adds;                  /* 1: added to what is there; 0: in its place            */
    int64_t n_dim;
} fbt_layer_prompts;

/* Where attention finds its operands: head h of row r starts at element r * stride + column + h * head_dim. */
typedef struct fbt_heads {
    const fbt_buffer *buffer; /* activation type */
    int64_t stride;
    int64_t column;
} fbt_heads;

/* Keys and values that sequences share, computed once: a sequence sees those of one prefix, which is a sequence of a
 * batch of its own, before its own. Prefixes may see prefixes in turn: a prompt before a text before the words of a
 * label. */
enum { FBT_MAX_PREFIXES = 2 };
typedef struct fbt_prefix {
    fbt_heads k, v;
    const fbt_packed *packed;  /* the prefixes: sequence i has rows packed->offsets[i] .. [i + 1] - 1 of k and v */
    const fbt_buffer *index;   /* int32 [sequences of whoever sees them]: which; -1: none                        */
    const int32_t *host_index; /* the same on the host, borrowed during the call                                 */
    const struct fbt_prefix *before; /* what the prefixes see themselves: its index has one entry for each of them */
} fbt_prefix;

/* Softmax attention within each sequence (Vaswani et al. 2017): y = softmax(scale q k^T) v.
 * Keys and values: rows of sequence s by packed->offsets, which may begin behind row 0 here: rows in front of
 * offsets[0] are others', and n_rows counts those from there on. Queries: all rows of the sequence, by the same offsets
 * (one_query = 0), or one query per sequence, row s of q (one_query = 1: the last layer where one row is read). A
 * query's bits depend on itself and on the keys that it sees, in their order, alone: not on rows behind it, on which
 * of its keys are a prefix's, or, with is_causal, on one_query. */
typedef struct fbt_attention {
    fbt_heads q, k, v;
    const fbt_packed *packed;
    int one_query; /* 0: q and y are [offsets[n_sequences], ...]; 1: q and y are [n_sequences, ...] */
    int64_t n_heads;
    int64_t head_dim;
    float scale; /* usually 1 / sqrt(head_dim) */

    /* Each with a feature of its own; all 0: bidirectional, as many K/V heads as heads, keys of the queries' rows. */
    int64_t n_kv_heads; /* KV_HEADS: heads of k and v; each serves n_heads / n_kv_heads neighbouring heads of q (Ainslie
                         * et al. 2023, arXiv 2305.13245); 0: n_heads */
    int is_causal;      /* CAUSAL: of n queries and m >= n keys of a sequence, query i sees keys 0 .. m - n + i; later
                         * ones do not change its bits as long as they are finite */
    const fbt_packed *keys; /* KEY_ROWS: k and v have rows by these offsets, of as many sequences; NULL: by packed's */
    const fbt_prefix *prefix; /* PREFIX: seen by all queries, before the sequence's own keys; NULL: none. Goes with
                               * is_causal: rows of a prefix do not see who shares it */
} fbt_attention;

/* Rotary positions (Su et al. 2021, arXiv 2104.09864), pairs as Hugging Face lays them out: of each head, x[i] and
 * x[i + n/2], n = n_rotated, i < n/2, become x[i] cos - x[i + n/2] sin and x[i + n/2] cos + x[i] sin, cos and sin at
 * [positions[row], i] of their tables. */
typedef struct fbt_rotary {
    const fbt_table *cosine, *sine; /* float [n_positions, n_rotated / 2] */
    const fbt_buffer *positions;    /* int32 [n_rows] */
    int64_t n_rotated;              /* even, at most head_dim; the rest of a head is left as it is */
} fbt_rotary;

/* Output matrix of a language model, whole. */
typedef struct fbt_vocabulary {
    const fbt_table *words; /* [vocabulary, n_dim] */
    const fbt_buffer *bias; /* float [vocabulary]; NULL: none */
} fbt_vocabulary;

/* Tokens of which a probability is wanted, each in the distribution of a row. */
typedef struct fbt_token_targets {
    const fbt_buffer *rows, *tokens; /* int32 [n] */
    int64_t n;
} fbt_token_targets;

enum { FBT_GRAPH_KEY_BYTES = 256, FBT_MAX_EVENTS = 1024 };

/* Abilities that not every backend has: without the one asked for, FBT_ERR_UNSUPPORTED that names the field. */
typedef enum fbt_feature {
    FBT_FEATURE_RMS_NORM = 1,
    FBT_FEATURE_KV_HEADS = 2,
    FBT_FEATURE_KEY_ROWS = 4,
    FBT_FEATURE_CAUSAL = 8,
    FBT_FEATURE_PREFIX = 16,
    FBT_FEATURE_SILU = 32,
    FBT_FEATURE_LOG_PROBS = 64,
} fbt_feature;

/* "causal attention (is_causal)": for sentences. */
const char *fbt_feature_name(fbt_feature feature);

typedef struct fbt_backend_ops fbt_backend_ops; /* of a backend: kernels/backend_ops.h */

void fbt_backend_close(fbt_backend *b);
void fbt_backend_get_info(const fbt_backend *b, fbt_backend_info *info);

/* info.types */
const fbt_types *fbt_backend_types(const fbt_backend *b);

/* Memory that is free for buffers, matrices and tables now; what a limit of the operating system leaves of it where
 * that is less. */
fbt_status fbt_backend_get_memory(fbt_backend *b, fbt_backend_memory *memory);

/* Queues later operations on stream 0 <= stream < n_streams; stream 0 at first. Buffers may be used on any stream: a
 * buffer that two streams use at once must not be written by either. */
fbt_status fbt_stream_select(fbt_backend *b, int stream);

/* Memory. A buffer is uninitialised. write copies before it returns, so the host memory may be reused; read fills
 * the host memory by the stream's next sync, until when it must stay valid. Offsets and sizes in bytes.
 * fbt_buffer_free(b, NULL), fbt_matrix_free, fbt_table_free do nothing; freeing waits for all streams. sync waits for
 * the current stream. */
fbt_status fbt_buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer);
void fbt_buffer_free(fbt_backend *b, fbt_buffer *buffer);
fbt_status fbt_buffer_write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes);
fbt_status fbt_buffer_read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes);
fbt_status fbt_stream_sync(fbt_backend *b);

/* A graph is a series of operations (from fbt_perturb on in this file) that the caller repeats. fbt_graph_begin names
 * it by the bytes of `key`, up to FBT_GRAPH_KEY_BYTES: equal keys mean the same operations on the same buffers with the
 * same arguments (host_offsets aside), on this stream. *is_known = 1: the backend has queued the whole graph again;
 * the caller leaves the operations out and does not call fbt_graph_end. Otherwise the caller queues them and calls
 * fbt_graph_end with its status so far, which returns that or its own error; *is_queued = 0: it returns FBT_OK, but the
 * device did not take the recorded graph: the caller begins the graph and queues its operations once more, which then
 * run without one. is_queued NULL: that is an error. No memory may be made, freed, written or read and no stream
 * selected within a graph. Freeing a buffer makes the backend forget its graphs. */
fbt_status fbt_graph_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known);
fbt_status fbt_graph_end(fbt_backend *b, fbt_status status, int *is_queued);

/* Times. fbt_event_record queues an event, 0 <= index < FBT_MAX_EVENTS, on the current stream (not within a graph);
 * after a sync, fbt_event_seconds tells how long after event 0 event `index` was passed. */
fbt_status fbt_event_record(fbt_backend *b, int64_t index);
fbt_status fbt_event_seconds(fbt_backend *b, int64_t index, double *seconds);

/* Adds what the operations from now on take, and what they have to do, to *profile, each time that fbt_stream_sync
 * returns, until stop; on one stream. Graphs are not recorded meanwhile. Errors of later operations:
 * FBT_ERR_UNSUPPORTED where more are queued between two syncs than there are events. */
void fbt_profile_start(fbt_backend *b, fbt_profile *profile);
void fbt_profile_stop(fbt_backend *b);

/* One copy of the constants for the ranks of a device (info.can_share): after a rank has made its matrices and
 * tables, it exports; the others import before they make any, and then make the same ones in the same order, whose
 * contents are taken for granted. The exporting backend must be closed last. An import that the device refuses
 * returns FBT_ERR_UNSUPPORTED and leaves the backend as if it had not been tried. */
fbt_status fbt_share_export(fbt_backend *b, fbt_share *share);
fbt_status fbt_share_import(fbt_backend *b, const fbt_share *share);

/* Copies what the spec points to. */
fbt_status fbt_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix);
void fbt_matrix_free(fbt_backend *b, fbt_matrix *matrix);

/* rows: [n_rows, n_dim] on the host in `dtype`; a backend that computes on the host may keep the pointer instead of
 * a copy: the memory must stay valid and unchanged until fbt_table_free. */
fbt_status fbt_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                         fbt_table **table);
void fbt_table_free(fbt_backend *b, fbt_table *table);

/* Perturbs, in place, the sequences whose origin has a client. packed's offsets may begin behind row 0, as for
 * fbt_attend. tokens: int32 [offsets[n_sequences]], packed->tokens; origins:
 * fbt_origin [n_sequences]; frozen: uint8 as tokens, or NULL: none is. */
fbt_status fbt_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                       const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed);

/* x: [n_rows, n_dim], activation type. Errors: FBT_ERR_ARG when a position or token is outside its table. */
fbt_status fbt_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed);

/* y = activation(x W^T + bias).  x: [n_rows, n_in]; y: [n_rows, n_out] in the activation type of the matrix's
 * precision; x and y do not overlap. */
fbt_status fbt_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                      fbt_activation activation, int64_t n_rows);

/* y = LN(x W^T + bias + residual).  x: [n_rows, n_in]; y, residual: [n_rows, n_out], activation type; residual may
 * be y itself; x and y do not overlap. */
fbt_status fbt_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows);

/* y = LN(x).  x, y: [n_rows, n_dim]; y: activation type; x_dtype: activation type, where y may be x, or F32. */
fbt_status fbt_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype, const fbt_norm *norm,
                         int64_t n_rows, int64_t n_dim);

/* y: [n_rows or n_sequences, n_heads * head_dim], activation type, does not overlap q, k, v. */
fbt_status fbt_attend(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention);

/* y = x W^T + bias + residual: fbt_linear_norm without norm, for norms that come before.  x: [n_rows, n_in], activation
 * type; y, residual: [n_rows, n_out], residual type; residual may be y itself; x and y do not overlap. */
fbt_status fbt_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, int64_t n_rows);

/* x: [n_rows, n_dim], residual type. Errors: FBT_ERR_ARG when a position, token or prompt is outside its table. */
fbt_status fbt_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *embedding, int64_t n_rows);

/* x[i] = prompts[rows[i]], or x[i] + prompts[rows[i]] where it adds, for every row that has one; others stay as they
 * are. The sum is fp32, rounded once.  x: [n_rows, n_dim], of dtype: activation type or F32. Errors: FBT_ERR_ARG when a
 * prompt's row is outside its buffer. */
fbt_status fbt_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                           int64_t n_rows);

/* Turns n_heads heads of head_dim of every row of x in place; x is heads->buffer. Errors: FBT_ERR_ARG when a position
 * is outside the tables. */
fbt_status fbt_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                      const fbt_rotary *rotary, int64_t n_rows);

/* Normalises each of n_heads heads of every row of x in place (query and key norms: Dehghani et al. 2023, arXiv
 * 2302.05442); x is heads->buffer; norm: of head_dim, of kind rms. */
fbt_status fbt_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                          const fbt_norm *norm, int64_t n_rows);

/* Gated activation (Shazeer 2020, arXiv 2002.05202): y = activation(g) * u.  x: [n_rows, 2 n_dim], g and then u in each
 * row; y: [n_rows, n_dim]; both activation type; they do not overlap. */
fbt_status fbt_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                    int64_t n_dim);

/* fbt_linear and fbt_gate: y = activation(g) * u, where a row of x W^T + bias is g and then u.  x: [n_rows, n_in]; y:
 * [n_rows, n_out / 2]; wide: [n_rows, n_out], which g and u are written to where the backend does not make them and y
 * in one; all activation type; they do not overlap. */
fbt_status fbt_linear_gate(fbt_backend *b, fbt_buffer *y, fbt_buffer *wide, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_activation activation, int64_t n_rows);

/* y[j] = log softmax(x[rows[j]] W^T + bias)[tokens[j]], W the vocabulary's words: tokens' log-probabilities among all.
 * The logits are fp32 sums that are rounded to nothing narrower, and at no time are those of all rows there.  x:
 * [n_rows, n_dim], activation type; y: float [targets->n]. FBT_FEATURE_LOG_PROBS. */
fbt_status fbt_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_vocabulary *vocabulary,
                               const fbt_token_targets *targets, int64_t n_rows);

/* y[i] = x[rows[i]].  x: [*, n_dim], y: [n, n_dim], of dtype: activation type or F32; rows: int32 [n]. */
fbt_status fbt_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype, const fbt_buffer *rows,
                           int64_t n, int64_t n_dim);

/* y[s] = m / |m|_2 with m the mean of sequence s's rows.  x: [n_rows, n_dim], activation type; y: float
 * [n_sequences, n_dim]. */
fbt_status fbt_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed, int64_t n_dim);

/* logits[i, c] = scale * (x[i] . labels[c] + bias[c]).  x: [n, n_dim] of type `dtype` (FBT_F32 or FBT_BF16);
 * labels: float [n_labels, n_dim]; bias: float [n_labels] or NULL; logits: float [n, n_labels]. Where a label's row is
 * 0 but for up to 8 neighbouring columns, the bits do not depend on where those begin: scores of labels of several
 * tokens. */
fbt_status fbt_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                            const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n, int64_t n_labels,
                            int64_t n_dim);

/* Per sample: loss and predicted label (the first largest logit).  ce: -log softmax(logits)[y]; hinge:
 * sum_{c != y} max(0, 2 - logits[y] + logits[c]) (Sun et al. 2022); accuracy: -1 when right, 0 when wrong.
 * logits: float [n, n_labels]; labels: int32 [n]; losses: float [n]; predictions: int32 [n]. */
fbt_status fbt_losses(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                      const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels);

/* The peak of benchmarks: seconds of a plain product [size[0], size[2]] x [size[2], size[1]] made by the
 * vendor's library alone, at its best (own layouts, all threads, no epilogue); the shortest of n_repeats after a
 * first. Waits. */
fbt_status fbt_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                               double *best_s);

/* The other peak: seconds of a copy of n_bytes from one part of the device's memory to another, likewise. */
fbt_status fbt_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s);

/* How the matrix products so far are made, where the backend chooses that when it meets a shape: a sentence for the
 * i-th shape, i from 0, in `text`; 0: there is none. */
int fbt_backend_describe_product(fbt_backend *b, int i, char *text, size_t n_bytes);

/* A kind of backend: what of it is seen before it is opened. */
enum { FBT_MAX_TYPES = 8 };
typedef struct fbt_backend_driver {
    const char *name;                 /* word of backend.name                                                       */
    const char *summary;              /* what it computes on and with                                               */
    const char *types[FBT_MAX_TYPES]; /* words of backend.precision that it knows beside auto, as far as not NULL   */
    int64_t batch_tokens;             /* rows of a forward pass with which it is at its best                        */
    const char *missing; /* NULL, or what to do to have it: this build does not, and what follows is NULL */

    /* Whether this machine has what it needs; opens nothing. NULL: it always has. Errors: FBT_ERR_BACKEND, and why. */
    fbt_status (*probe)(void);

    /* types: NULL: the backend's choice (auto), else one that it knows. See fbt_backend_open. */
    fbt_status (*open)(const fbt_backend_options *options, const fbt_types *types, fbt_backend **b);
} fbt_backend_driver;

/* The backends that this program knows (FBT_BACKEND_LIST of base/choices.h), i from 0; NULL behind the last. */
const fbt_backend_driver *fbt_backend_driver_at(int i);

/* The driver of backend.name; NULL: there is none. */
const fbt_backend_driver *fbt_backend_find(const char *name);

/* Whether the driver knows such types. */
int fbt_backend_has_types(const fbt_backend_driver *driver, const char *name);

/* Whether the backend can be opened here. Errors: FBT_ERR_CONFIG (not in this build), those of driver->probe. */
fbt_status fbt_backend_probe(const fbt_backend_driver *driver);

/* Opens the backend called options->name and decides its types. Errors: FBT_ERR_CONFIG (no such backend in this
 * build; a precision that the processor or device lacks), FBT_ERR_MEMORY, FBT_ERR_BACKEND (no driver, no device). Close
 * with fbt_backend_close(b). */
fbt_status fbt_backend_open(const fbt_backend_options *options, fbt_backend **b);

/* Bytes of one element. */
size_t fbt_dtype_bytes(fbt_dtype dtype);

#ifdef __cplusplus
}
#endif

#endif
