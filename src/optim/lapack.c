/* The library is loaded by hand for the sake of OpenBLAS, which does two things when it is loaded and first called that
 * nobody can ask it about: it starts a thread for every processor, each with 128 MB of address space, and where there
 * is no room for such a buffer (a limit of address space, strict overcommit) it tries again for ever, at the end of the
 * process too. */
#include "optim/lapack.h"

#include "base/environment.h"
#include "base/memory.h"

#include <dlfcn.h>
#include <lapacke.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef lapack_int (*dsyevd_function)(int, char, char, lapack_int, double *, lapack_int, double *, double *, lapack_int,
                                      lapack_int *, lapack_int);

enum {
    BUFFER_BYTES = 160 << 20, /* OpenBLAS's buffer and a margin   */
    FIRST_DIMENSION = 8,      /* of the call that has it allocate */
};

static enum { OPENED, NO_LIBRARY, NO_ROOM } outcome;
static dsyevd_function dsyevd;
static char reason[256]; /* why there is no library */

/* OpenBLAS divides sums among its threads, so results would depend on their number: it gets one. The variable keeps it
 * from starting others; builds that go by OpenMP's number need the call. */
static void *load_library(void)
{
    void (*set_threads)(int);
    fbt_environment change = fbt_environment_begin("OPENBLAS_NUM_THREADS", "1", true);
    void *library = dlopen(FBT_LAPACKE_NAME, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(reason, sizeof reason, "%s", dlerror());
        library = dlopen(FBT_LAPACKE_PATH, RTLD_NOW | RTLD_LOCAL);
    }
    if (library != NULL) {
        *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
        if (set_threads != NULL) {
            set_threads(1);
        }
    }
    fbt_environment_end(&change);
    return library;
}

/* Has the library take its buffer while it is known to get it; from then on it is kept. */
static void call_once(void)
{
    enum { N = FIRST_DIMENSION, N_WORK = 1 + 6 * N + 2 * N * N, N_INTEGER_WORK = 3 + 5 * N };
    double matrix[N * N], values[N], work[N_WORK];
    lapack_int integer_work[N_INTEGER_WORK];
    for (int i = 0; i < N * N; i++) {
        matrix[i] = i % (N + 1) == 0 ? N : 1;
    }
    dsyevd(LAPACK_COL_MAJOR, 'V', 'U', N, matrix, N, values, work, N_WORK, integer_work, N_INTEGER_WORK);
}

static void open_once(void)
{
    void *library = fbt_memory_has_room(BUFFER_BYTES, true) ? load_library() : NULL;
    if (library != NULL) {
        *(void **)&dsyevd = dlsym(library, "LAPACKE_dsyevd_work");
    }
    if (!fbt_memory_has_room(BUFFER_BYTES, true)) { /* an error of the loader, too, may come of that */
        outcome = NO_ROOM;
    } else if (dsyevd == NULL) {
        outcome = NO_LIBRARY;
    } else {
        call_once();
    }
}

static fbt_status no_room(void)
{
    char text[64];
    return fbt_fail(FBT_ERR_MEMORY,
                    "cma.decomposition eigen: the eigensolver needs %d MB of address space, more than %s leaves; raise "
                    "the limit, or use cma.decomposition cholesky",
                    BUFFER_BYTES >> 20, fbt_memory_limit_text(text));
}

fbt_status fbt_lapack_open(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
    switch (outcome) {
    case NO_ROOM:
        return no_room();
    case NO_LIBRARY:
        return fbt_fail(
            FBT_ERR_UNSUPPORTED,
            "cma.decomposition eigen: the eigensolver's library %s cannot be loaded (%s); install it, or use "
            "cma.decomposition cholesky",
            FBT_LAPACKE_NAME, reason[0] == '\0' ? "it has no LAPACKE_dsyevd_work" : reason);
    case OPENED:
        break;
    }
    return FBT_OK;
}

/* Work arrays are our own, at fixed alignment: vectorised kernels may round differently at another. A row-major lower
 * triangle is a column-major upper one. */
fbt_status fbt_lapack_eigen(int64_t d, double *vectors, double *eigenvalues)
{
    fbt_status status = FBT_OK;
    double *work = NULL;
    lapack_int *integer_work = NULL;
    double n_work = 0;
    lapack_int n_integer_work = 0;
    const lapack_int n = (lapack_int)d;
    FBT_TRY(fbt_lapack_open());
    lapack_int info = dsyevd(LAPACK_COL_MAJOR, 'V', 'U', n, vectors, n, eigenvalues, &n_work, -1, &n_integer_work, -1);
    if (info == 0) {
        FBT_TRY(fbt_memory_alloc(&work, (int64_t)n_work, sizeof *work));
        FBT_TRY(fbt_memory_alloc(&integer_work, n_integer_work, sizeof *integer_work));
        info = dsyevd(LAPACK_COL_MAJOR, 'V', 'U', n, vectors, n, eigenvalues, work, (lapack_int)n_work, integer_work,
                      n_integer_work);
    }
    if (info != 0) {
        FBT_FAIL(FBT_ERR_NUMERIC, "CMA-ES: the eigendecomposition of the covariance matrix failed (dsyevd: %d)",
                 (int)info);
    }

done:
    free(work);
    free(integer_work);
    return status;
}
