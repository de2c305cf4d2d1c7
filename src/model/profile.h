/* Where the time of an evaluation goes: marks queued between the operations, read when they have been passed. */
#ifndef FBT_MODEL_PROFILE_H
#define FBT_MODEL_PROFILE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

#include <stdint.h>

typedef struct fbt_marks {
    fbt_model_profile *profile;                     /* NULL: nothing is measured, and the functions below do nothing */
    int64_t n;                                      /* stamps since the last collect */
    fbt_model_operation operations[FBT_MAX_STAMPS]; /* stamp i ends this; FBT_MODEL_N_OPERATIONS: nothing of interest */
} fbt_marks;

/* What an operation has done at least: floating-point operations of its products, bytes read once and written once. */
typedef struct fbt_work {
    double flops, bytes;
} fbt_work;

/* Ends `operation`, which began at the mark before. The first mark after a collect begins the series. */
fbt_status fbt_marks_add(fbt_backend *b, fbt_marks *marks, fbt_model_operation operation, fbt_work work);

/* After a sync: adds the times between the marks to the profile. */
fbt_status fbt_marks_collect(fbt_backend *b, fbt_marks *marks);

#endif
