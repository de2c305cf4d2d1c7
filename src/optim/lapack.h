/* LAPACK's symmetric eigensolver, loaded when it is first needed. Inside fbt_optim only. */
#ifndef FBT_OPTIM_LAPACK_H
#define FBT_OPTIM_LAPACK_H

#include "base/status.h"

#include <stdint.h>

/* Loads the library and lets it take the memory that it keeps, so that no later call needs any. Any number of times,
 * from any thread. Errors: FBT_ERR_MEMORY (no address space for that), FBT_ERR_UNSUPPORTED (no library). */
fbt_status fbt_lapack_open(void);

/* Eigenvectors into the rows of `vectors` [d, d], which holds a symmetric matrix (the lower triangle is read);
 * eigenvalues [d], smallest first. Errors: those of open, FBT_ERR_NUMERIC (no convergence), FBT_ERR_MEMORY. */
fbt_status fbt_lapack_eigen(int64_t d, double *vectors, double *eigenvalues);

#endif
