/* Inside the interface: events between the operations of a profile, and what each operation has to do. */
#ifndef FBT_PROFILER_H
#define FBT_PROFILER_H

#include "kernels/backend_ops.h"

/* Least work of an operation: floating-point operations of products, bytes read once and written once. */
typedef struct fbt_work {
    double flops, bytes;
} fbt_work;

/* n_bytes: of what is read and written beside x and W: the result, and what is added to it. */
fbt_work fbt_work_product(const fbt_matrix *w, int64_t n_rows, int64_t n_bytes);
fbt_work fbt_work_attention(const fbt_backend *b, const fbt_attention *attention);
fbt_work fbt_work_embedding(const fbt_backend *b, const fbt_embedding *embedding, const fbt_packed *packed);
fbt_work fbt_work_vocabulary(const fbt_backend *b, const fbt_vocabulary *vocabulary, int64_t n_rows);
fbt_work fbt_work_row_embedding(const fbt_backend *b, const fbt_row_embedding *embedding, int64_t n_rows);
fbt_work fbt_work_norm(const fbt_backend *b, fbt_dtype x_dtype, int64_t n);
fbt_work fbt_work_copy(fbt_dtype dtype, int64_t n);
fbt_work fbt_work_activations(const fbt_backend *b, int64_t n);

/* Around an operation; nothing where no profile is set. end: what was queued since the last event was `operation`. */
fbt_status fbt_profiler_begin(fbt_backend *b);
fbt_status fbt_profiler_end(fbt_backend *b, fbt_operation operation, fbt_work work);

/* Around a product, behind which another kernel may have to follow, which is `behind` then. */
fbt_status fbt_profiler_begin_product(fbt_backend *b, const fbt_matrix *w, int64_t n_rows, int64_t n_bytes);
fbt_status fbt_profiler_end_product(fbt_backend *b, fbt_operation behind, const fbt_matrix *w, int64_t n_rows);

/* Something else was queued: the next operation does not begin at the last event. */
void fbt_profiler_interrupt(fbt_backend *b);

/* After a sync: adds the times between the events to the profile. */
fbt_status fbt_profiler_collect(fbt_backend *b);

#endif
