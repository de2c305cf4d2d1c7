/* The one function of the CUDA backend that others call. */
#ifndef FBT_CUDA_OPEN_H
#define FBT_CUDA_OPEN_H

#include "kernels/backend.h"

/* Opens the CUDA backend; see fbt_backend_open. */
fbt_status fbt_cuda_open(const fbt_backend_options *options, fbt_backend **b);

#endif
