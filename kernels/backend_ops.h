/* For those who write a backend: the table of operations that it fills in. What each does, its shapes and its arguments
 * stand at the function that calls it (kernels/backend.h; kernels/interface.c): .attention at fbt_attend, .write at
 * fbt_buffer_write. Arguments have been checked (checks.h), n_rows, n and the batch's rows are at least 1, and no call
 * but those of a forward pass comes within a graph. */
#ifndef FBT_BACKEND_OPS_H
#define FBT_BACKEND_OPS_H

#include "kernels/backend.h"

struct fbt_backend_ops {
    /* Required. */
    void (*close)(fbt_backend *b);
    fbt_status (*buffer_new)(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer);
    void (*buffer_free)(fbt_backend *b, fbt_buffer *buffer);
    fbt_status (*write)(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes);
    fbt_status (*read)(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes);
    fbt_status (*matrix_new)(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix);
    void (*matrix_free)(fbt_backend *b, fbt_matrix *matrix);
    fbt_status (*table_new)(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                            fbt_table **table);
    void (*table_free)(fbt_backend *b, fbt_table *table);

    /* Of a forward pass. NULL: a model that needs it is refused with FBT_ERR_UNSUPPORTED when it comes to that. */
    fbt_status (*perturb)(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                          const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed);
    fbt_status (*embed)(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed);
    fbt_status (*linear)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                         fbt_activation activation, int64_t n_rows);
    fbt_status (*linear_norm)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows);
    fbt_status (*layernorm)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype, const fbt_norm *norm,
                            int64_t n_rows, int64_t n_dim);
    fbt_status (*attention)(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention);
    fbt_status (*gather_rows)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                              const fbt_buffer *rows, int64_t n, int64_t n_dim);
    fbt_status (*mean_pool)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                            int64_t n_dim);
    fbt_status (*label_logits)(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                               const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                               int64_t n_labels, int64_t n_dim);
    fbt_status (*token_log_probs)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_vocabulary *vocabulary,
                                  const fbt_token_targets *targets, int64_t n_rows);
    fbt_status (*loss)(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                       const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels);

    /* Of deep prompts. NULL: FBT_ERR_UNSUPPORTED. */
    fbt_status (*put_prompts)(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                              int64_t n_rows);

    /* Of decoders. NULL: FBT_ERR_UNSUPPORTED. */
    fbt_status (*linear_residual)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                  const fbt_buffer *residual, int64_t n_rows);
    fbt_status (*embed_rows)(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *embedding, int64_t n_rows);
    fbt_status (*rotate)(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                         const fbt_rotary *rotary, int64_t n_rows);
    fbt_status (*norm_heads)(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                             const fbt_norm *norm, int64_t n_rows);
    fbt_status (*gate)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                       int64_t n_dim);

    /* For matrices with makes_gate. NULL: there are none. */
    fbt_status (*linear_gate)(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              fbt_activation activation, int64_t n_rows);

    /* NULL: FBT_ERR_UNSUPPORTED: nobody can tell; constants cannot be shared (info.can_share is 0 then); `fedbpt bench`
     * has nothing to compare with. */
    fbt_status (*memory)(fbt_backend *b, fbt_backend_memory *memory);
    fbt_status (*share_export)(fbt_backend *b, fbt_share *share);
    fbt_status (*share_import)(fbt_backend *b, const fbt_share *share);
    fbt_status (*library_product)(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                  double *best_s);
    fbt_status (*library_copy)(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s);
    int (*describe_product)(fbt_backend *b, int i, char *text, size_t n_bytes); /* NULL: nothing is chosen */

    /* NULL: there is one stream (info.n_streams is 1 then), and what is queued is done when the call returns. */
    void (*select_stream)(fbt_backend *b, int stream);
    fbt_status (*sync)(fbt_backend *b);

    /* Both or neither. NULL: no graph is remembered, every one is queued anew. */
    fbt_status (*graph_begin)(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known);
    fbt_status (*graph_end)(fbt_backend *b, fbt_status status, int *is_queued); /* not NULL, 1 before the call */

    /* Both or neither. NULL: the host's clock, when the call is made. */
    fbt_status (*event_record)(fbt_backend *b, int64_t index);
    fbt_status (*event_seconds)(fbt_backend *b, int64_t index, double *seconds);

    /* For profiles: linear and linear_norm call `queued` between their product and another kernel that follows it, and
     * return its error; queued NULL (at first): they do not. NULL: no kernel follows a product. */
    void (*watch_products)(fbt_backend *b, fbt_status (*queued)(void *context), void *context);
};

typedef enum fbt_graph_state { FBT_NO_GRAPH, FBT_UNRECORDED_GRAPH, FBT_BACKEND_GRAPH } fbt_graph_state;

/* Record of the operations that are being profiled; all 0: none. */
typedef struct fbt_profiler {
    fbt_profile *profile;
    int64_t n;                                /* events since the last wait */
    fbt_operation operations[FBT_MAX_EVENTS]; /* event i ends this; FBT_N_OPERATIONS: nothing of interest */
    int is_running;                           /* an operation that is queued now begins at the last event */
    const fbt_matrix *product;                /* being queued: */
    int64_t n_rows, n_bytes;
    int is_product_ended; /* the backend has told that another kernel follows it */
} fbt_profiler;

/* Every backend's object starts with this. */
struct fbt_backend {
    const fbt_backend_ops *ops;
    fbt_backend_info info; /* filled in when it is opened */

    /* The members below are the interface's; all 0 at first. */
    const fbt_backend_driver *driver;
    fbt_graph_state graph;
    fbt_profiler profiler;
    double event_s[FBT_MAX_EVENTS]; /* of a backend without events: when each was recorded */
};

/* FBT_ERR_UNSUPPORTED: the backend leaves the operation out. */
fbt_status fbt_backend_lacks(const fbt_backend *b, const char *operation);

/* FBT_ERR_ARG within a graph, where `operation` must not be. */
fbt_status fbt_backend_check_no_graph(const fbt_backend *b, const char *operation);

/* A backend makes these three, and may put members of its own behind them. */
struct fbt_buffer {
    void *data;
    int64_t n_bytes;
};

struct fbt_table {
    void *rows; /* [n_rows, n_dim]; never written to */
    fbt_dtype dtype;
    int64_t n_rows, n_dim;
};

struct fbt_matrix {
    int64_t n_out, n_in;
    const fbt_types *types;
    int makes_gate;          /* linear_gate takes it; 0: linear and gate, one after the other */
    fbt_operation operation; /* what its products are profiled as */
};

#endif
