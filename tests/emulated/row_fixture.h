/* Shared parts of the tests of the row kernels: device memory and random inputs, as the host and the device see them.
 *
 * Through the CUDA runtime alone: the tests run on the emulated device and on a real one. Inputs are rounded to their
 * type before a reference sees them. device_clear, each test's teardown, frees whatever was made.
 */
#ifndef FBT_TESTS_ROW_FIXTURE_H
#define FBT_TESTS_ROW_FIXTURE_H

#include "kernels/cuda/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define cuda_ok(call) assert_string_equal(cudaGetErrorName(call), "cudaSuccess")

/* n values of `dtype`: in double on the host, packed on the device. */
typedef struct typed {
    fbt_dtype dtype;
    int64_t n;
    double *values;
    void *device;
} typed;

/* Normal distribution times scale plus shift. */
typed typed_random(fbt_dtype dtype, int64_t n, double scale, double shift);
typed typed_poisoned(fbt_dtype dtype, int64_t n); /* all bits set: NaN */
void typed_read(typed *t);                        /* device to values, after a wait */
void typed_write(typed *t);                       /* values, rounded, to the device */

/* A piece of device memory of exactly n_bytes with a copy of `bytes`. */
void *device_copy(const void *bytes, int64_t n_bytes);
void host_copy(void *bytes, const void *device, int64_t n_bytes); /* after a wait */
int64_t random_below(int64_t n);
int device_clear(void **state);

/* Half of the last bit of a value of size 1. */
double roundoff(fbt_dtype dtype);

/* Fails unless got is finite and at most relative * |want| + absolute away. */
void assert_near(const char *what, int64_t place, double got, double want, double relative, double absolute);

/* RMS norm of a row with epsilon 1e-5, in place. */
void rms_normalise(double *row, int64_t n_dim, const double *gamma);

/* The groups of tests, one per file. */
int run_rows_tests(void);
int run_decoder_rows_tests(void);
int run_readout_tests(void);
int run_log_probs_tests(void);
int run_products_tests(void);
int run_chain_tests(void);

/* 0, and why on the terminal, where there is no device: the program then ends with 77. */
int device_is_there(void);

#endif
