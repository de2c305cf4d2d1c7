/* Shared parts of the conformance tests: one open backend, random inputs, comparison with a reference in double.
 *
 * Inputs are rounded to the type in which the backend gets them before the reference sees them, so that a difference is
 * the backend's arithmetic and nothing else. Everything made through a suite is freed by suite_end.
 */
#ifndef FBT_TESTS_SUITE_H
#define FBT_TESTS_SUITE_H

#include "kernels/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <gsl/gsl_rng.h>

enum { SUITE_ITEMS = 256, SUITE_KEYS = 256 };

typedef struct suite {
    const char *backend_name, *precision_name;
    unsigned long seed;
    fbt_backend *b;
    gsl_rng *rng;
    void *blocks[SUITE_ITEMS];
    fbt_buffer *buffers[SUITE_ITEMS];
    fbt_matrix *matrices[SUITE_ITEMS];
    fbt_table *tables[SUITE_ITEMS];
    int n_blocks, n_buffers, n_matrices, n_tables;
} suite;

/* Set by main from the command line. */
extern const char *suite_backend, *suite_precision;
extern unsigned long suite_seed;

/* cmocka's setup and teardown: opens the backend with two threads; state becomes a suite. */
int suite_setup(void **state);
int suite_teardown(void **state);

/* Opens the suite's kind of backend with n_threads. */
fbt_status suite_open(suite *s, int n_threads, fbt_backend **b);

/* The same for a backend of the test's own; suite_end frees what was made and closes. */
suite *suite_begin(int n_threads);
void suite_end(suite *s);

void *suite_block(suite *s, int64_t n_bytes);

/* n values of normal distribution times `scale` plus `shift`. */
double *suite_random(suite *s, int64_t n, double scale, double shift);
int64_t suite_random_below(suite *s, int64_t n);

/* Rounds values to `dtype` in place and returns them in it; *_buffer: in a buffer of the backend. */
void *suite_typed(suite *s, double *values, int64_t n, fbt_dtype dtype);
fbt_buffer *suite_buffer(suite *s, double *values, int64_t n, fbt_dtype dtype);
fbt_buffer *suite_buffer_bytes(suite *s, const void *bytes, int64_t n_bytes);

/* An output: room for n values, all NaN (integers: -1), so that what an operation forgets to write is noticed. */
fbt_buffer *suite_poisoned(suite *s, int64_t n, fbt_dtype dtype);

/* Reads a buffer of the current stream, once the stream is through: as it is, and as numbers. */
void suite_read_bytes(suite *s, void *bytes, const fbt_buffer *buffer, int64_t n_bytes);
double *suite_read(suite *s, const fbt_buffer *buffer, int64_t n, fbt_dtype dtype);

/* Types of the backend under test; that of its activations. */
const fbt_types *suite_types(const suite *s);
fbt_dtype suite_dtype(const suite *s);    /* activations */
fbt_dtype suite_residual(const suite *s); /* of a residual stream */

/* Rows of x, [n_rows, n], as products in `types` take them: in int8 what their integers stand for, else as they are.
 * For operands once their buffer is made. */
void suite_quantise(const fbt_types *types, double *rows, int64_t n_rows, int64_t n);

/* A matrix from n_out x n_in weights (rounded in place to the precision), with bias if not NULL (rounded to float). */
fbt_matrix *suite_matrix(suite *s, double *weight, double *bias, int64_t n_out, int64_t n_in, const fbt_types *types);
fbt_table *suite_table(suite *s, double *rows, int64_t n_rows, int64_t n_dim, fbt_dtype dtype);

/* gamma around 1 and beta around 0, n_dim of each, rounded to float in place if not NULL. */
fbt_norm suite_norm(suite *s, double *gamma, double *beta, int64_t n_dim, float epsilon);

/* want = LN(x) of one row, and the bound on its error where x[i] errs by up to error[i] (NULL: not at all). */
void suite_norm_row(const suite *s, const double *x, const double *error, const double *gamma, const double *beta,
                    int64_t n_dim, double epsilon, double *want, double *tolerance);

/* Sequences of the given lengths, end to end; tokens below n_tokens, prompts below n_prompts. */
fbt_packed suite_packed(suite *s, const int32_t *lengths, int64_t n_sequences, int64_t n_tokens, int64_t n_prompts,
                        int32_t **tokens, int32_t **prompt_index);

/* Unit roundoff of the activation type: 2^-24, or 2^-8 for bfloat16 (a significand of 8 bits, rounded to nearest). */
double suite_roundoff(const suite *s); /* of activations */
double suite_residual_roundoff(const suite *s);

/* Differences that backends may have.
 *   width: n rounded up to what the backend takes as rows of row operations and of heads (8 on cuda, any on cpu)
 *   product_error: bound on the error of a matrix product in `types`, relative to the sum of its terms' sizes
 *   scale_error: of one in int8, whose sum is exact, relative to itself: its scales and their product are rounded
 *   bias_error: the same for biases and products that are rounded on their way to the result, relative to their size
 *   checks_indices: whether row numbers, labels and prompt numbers on the device are checked */
int suite_is_cuda(const suite *s);
int suite_is_emulated(const suite *s); /* slow: large sizes are for devices */
int64_t suite_width(const suite *s, int64_t n);
double suite_product_error(const fbt_types *types);
double suite_scale_error(const fbt_types *types);
double suite_bias_error(const suite *s, const fbt_types *types);
int suite_checks_indices(const suite *s);

/* Fails unless every got[i] is finite and within tolerance[i] of want[i]. */
void suite_compare(const char *what, const double *got, const double *want, const double *tolerance, int64_t n);

/* Fails unless the call returns `expected` and leaves a sentence (none when FBT_OK); clears it. */
#define suite_expect(expected, call) suite_expect_at(expected, call, #call, __FILE__, __LINE__)
void suite_expect_at(fbt_status expected, fbt_status got, const char *call, const char *file, int line);
#define suite_ok(call) suite_expect(FBT_OK, call)

/* The same for an operation that may report its error by the stream's next sync. */
#define suite_expect_by_sync(s, expected, call) suite_expect_by_sync_at(s, expected, call, #call, __FILE__, __LINE__)
void suite_expect_by_sync_at(suite *s, fbt_status expected, fbt_status got, const char *call, const char *file,
                             int line);

/* One query's softmax attention over n_keys <= SUITE_KEYS keys, d elements of a head, and the bound on its error;
 * stride: of k and v. */
void suite_attend_row(const suite *s, const double *q, const double *k, const double *v, int64_t stride, int64_t n_keys,
                      int64_t d, double scale, double *want, double *tolerance);

/* Whether the backend has a feature (fbt_feature). */
int suite_has(const suite *s, unsigned feature);

/* Fails unless the status is FBT_ERR_UNSUPPORTED with a sentence that names `name`; clears it. */
void suite_refused(fbt_status got, const char *name);

/* 1: the operation was done; 0: it was refused by `name`. Fails for any other status. */
int suite_computed(fbt_status got, const char *name);

/* The groups of tests, one per file. */
int run_memory_tests(void);
int run_linear_tests(void);
int run_norm_tests(void);
int run_embed_tests(void);
int run_attention_tests(void);
int run_decoder_tests(void);
int run_causal_tests(void);
int run_readout_tests(void);
int run_log_prob_tests(void);
int run_perturb_tests(void);
int run_invariance_tests(void);
int run_stream_tests(void);
int run_graph_tests(void);
int run_share_tests(void);

/* test_share.c: what the process does that a test of sharing starts; its exit code. */
int run_share_child(int argc, char **argv);

#endif
