/* Where the time of an evaluation goes: marks queued between the operations, read when they have been passed. */
#ifndef FBT_MODEL_PROFILE_H
#define FBT_MODEL_PROFILE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

/* What an operation has done at least: floating-point operations of its products, bytes read once and written once. */
typedef struct fbt_work {
    double flops, bytes;
} fbt_work;

typedef struct fbt_profiler {
    fbt_backend *b;
    fbt_model_profile *profile;                     /* NULL: nothing is measured, and the functions below do nothing */
    int64_t n;                                      /* stamps since the last collect */
    fbt_model_operation operations[FBT_MAX_STAMPS]; /* stamp i ends this; FBT_MODEL_N_OPERATIONS: nothing of interest */
    fbt_model_operation product;                    /* being queued: what its mark says, */
    fbt_work product_work;
    bool is_product_marked; /*   and whether the backend has let it be set before another kernel */
} fbt_profiler;

/* Measures from now on; NULL: no more. */
void fbt_profiler_set(fbt_profiler *p, fbt_backend *b, fbt_model_profile *profile);

/* Ends `operation`, which began at the mark before. The first mark after a collect begins the series. */
fbt_status fbt_profiler_mark(fbt_profiler *p, fbt_model_operation operation, fbt_work work);

/* Around a product: ends it, or, where another kernel had to follow it, that kernel, of n_bytes, as `behind`. */
void fbt_profiler_begin_product(fbt_profiler *p, fbt_model_operation operation, fbt_work work);
fbt_status fbt_profiler_end_product(fbt_profiler *p, fbt_model_operation behind, double n_bytes);

/* After a sync: adds the times between the marks to the profile. */
fbt_status fbt_profiler_collect(fbt_profiler *p);

#endif
