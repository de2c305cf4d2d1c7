/* Helpers of the conformance tests. */
#include "suite.h"
#include "base/memory.h"
#include "base/rng.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *suite_backend = "cpu", *suite_precision = "fp32";
unsigned long suite_seed = 1;

fbt_status suite_open(suite *s, int n_threads, fbt_backend **b)
{
    const fbt_backend_options options = {.name = s->backend_name,
                                         .precision = s->precision_name,
                                         .n_threads = n_threads,
                                         .local_rank = 0,
                                         .n_local_ranks = 1};
    return fbt_backend_open(&options, b);
}

suite *suite_begin(int n_threads)
{
    suite *s = NULL;
    suite_ok(fbt_memory_alloc(&s, 1, sizeof *s));
    s->backend_name = suite_backend;
    s->precision_name = suite_precision;
    s->seed = suite_seed;
    suite_ok(suite_open(s, n_threads, &s->b));
    suite_ok(fbt_rng_new(&s->rng));
    fbt_rng_seek(s->rng, &(fbt_rng_stream){.seed = s->seed, .purpose = FBT_RNG_SYNTHETIC});
    return s;
}

void suite_end(suite *s)
{
    for (int i = 0; i < s->n_matrices; i++) {
        fbt_matrix_free(s->b, s->matrices[i]);
    }
    for (int i = 0; i < s->n_tables; i++) {
        fbt_table_free(s->b, s->tables[i]);
    }
    for (int i = 0; i < s->n_buffers; i++) {
        fbt_buffer_free(s->b, s->buffers[i]);
    }
    for (int i = 0; i < s->n_blocks; i++) {
        free(s->blocks[i]);
    }
    gsl_rng_free(s->rng);
    fbt_backend_close(s->b);
    free(s);
}

int suite_setup(void **state)
{
    *state = suite_begin(2);
    return 0;
}

int suite_teardown(void **state)
{
    suite_end(*state);
    return 0;
}

void *suite_block(suite *s, int64_t n_bytes)
{
    void *block;
    assert_true(s->n_blocks < SUITE_ITEMS);
    suite_ok(fbt_memory_alloc(&block, n_bytes, 1));
    s->blocks[s->n_blocks++] = block;
    return block;
}

double *suite_random(suite *s, int64_t n, double scale, double shift)
{
    double *values = suite_block(s, n * (int64_t)sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        values[i] = shift + gsl_ran_gaussian_ziggurat(s->rng, scale);
    }
    return values;
}

int64_t suite_random_below(suite *s, int64_t n)
{
    return (int64_t)gsl_rng_uniform_int(s->rng, (unsigned long)n);
}

/* Nearest value with `bits` significant bits and no exponent below `lowest`, ties to even: the definition of rounding,
 * with none of the backend's tricks. */
static double rounded(double x, int bits, int lowest)
{
    int exponent;
    frexp(x, &exponent);
    const int unit = exponent - bits > lowest ? exponent - bits : lowest;
    return ldexp(nearbyint(ldexp(x, -unit)), unit);
}

static uint16_t half_bits(double x)
{
    const uint16_t sign = x < 0 ? 0x8000 : 0;
    int exponent;
    const double fraction = frexp(fabs(x), &exponent);
    if (exponent < -13) {
        return (uint16_t)(sign | (uint16_t)ldexp(fabs(x), 24));
    }
    return (uint16_t)(sign | (uint16_t)(exponent + 14) << 10 | ((uint16_t)ldexp(fraction, 11) & 0x3ff));
}

static uint16_t brain_bits(double x)
{
    const float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

void *suite_typed(suite *s, double *values, int64_t n, fbt_dtype dtype)
{
    void *typed = suite_block(s, n * (int64_t)fbt_dtype_bytes(dtype));
    for (int64_t i = 0; i < n; i++) {
        switch (dtype) {
        case FBT_F16:
            values[i] = rounded(values[i], 11, -24);
            ((uint16_t *)typed)[i] = half_bits(values[i]);
            break;
        case FBT_BF16:
            values[i] = rounded(values[i], 8, -133);
            ((uint16_t *)typed)[i] = brain_bits(values[i]);
            break;
        case FBT_I32:
            ((int32_t *)typed)[i] = (int32_t)values[i];
            break;
        default:
            values[i] = (float)values[i];
            ((float *)typed)[i] = (float)values[i];
        }
    }
    return typed;
}

fbt_buffer *suite_buffer_bytes(suite *s, const void *bytes, int64_t n_bytes)
{
    fbt_buffer *buffer;
    assert_true(s->n_buffers < SUITE_ITEMS);
    suite_ok(fbt_buffer_new(s->b, n_bytes, &buffer));
    s->buffers[s->n_buffers++] = buffer;
    suite_ok(fbt_buffer_write(s->b, buffer, bytes, n_bytes));
    return buffer;
}

fbt_buffer *suite_buffer(suite *s, double *values, int64_t n, fbt_dtype dtype)
{
    return suite_buffer_bytes(s, suite_typed(s, values, n, dtype), n * (int64_t)fbt_dtype_bytes(dtype));
}

/* All bits set is a NaN in every floating type and -1 as an integer. */
fbt_buffer *suite_poisoned(suite *s, int64_t n, fbt_dtype dtype)
{
    const int64_t n_bytes = n * (int64_t)fbt_dtype_bytes(dtype);
    void *bytes = suite_block(s, n_bytes);
    memset(bytes, 0xff, (size_t)n_bytes);
    return suite_buffer_bytes(s, bytes, n_bytes);
}

void suite_read_bytes(suite *s, void *bytes, const fbt_buffer *buffer, int64_t n_bytes)
{
    suite_ok(fbt_buffer_read(s->b, bytes, buffer, n_bytes));
    suite_ok(fbt_stream_sync(s->b));
}

double *suite_read(suite *s, const fbt_buffer *buffer, int64_t n, fbt_dtype dtype)
{
    const int64_t n_bytes = n * (int64_t)fbt_dtype_bytes(dtype);
    double *values = suite_block(s, n * (int64_t)sizeof *values);
    void *typed = suite_block(s, n_bytes);
    suite_read_bytes(s, typed, buffer, n_bytes);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == FBT_BF16) {
            const uint32_t bits = (uint32_t)((uint16_t *)typed)[i] << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            values[i] = value;
        } else {
            values[i] = dtype == FBT_I32 ? ((int32_t *)typed)[i] : (double)((float *)typed)[i];
        }
    }
    return values;
}

const fbt_types *suite_types(const suite *s)
{
    return fbt_backend_types(s->b);
}

fbt_dtype suite_dtype(const suite *s)
{
    return suite_types(s)->activations;
}

fbt_dtype suite_residual(const suite *s)
{
    return suite_types(s)->residual;
}

/* As backend.h says of FBT_COMPUTE_I8, in float as a backend does it: what is rounded to an integer here is there. */
static void quantise(const fbt_types *types, double *rows, int64_t n_rows, int64_t n, int is_weight)
{
    for (int64_t r = 0; r < n_rows && types->compute == FBT_COMPUTE_I8; r++, rows += n) {
        float least = 0, largest = 0;
        for (int64_t i = 0; i < n; i++) {
            least = fminf(least, (float)rows[i]);
            largest = fmaxf(largest, (float)rows[i]);
        }
        const float size = fmaxf(largest, -least), spread = is_weight ? size : largest - least;
        const float steps = is_weight ? FBT_I8_WEIGHT_STEPS : FBT_I8_ROW_STEPS;
        for (int64_t i = 0; i < n; i++) {
            const float exact = size < FBT_I8_LEAST ? 0 : (float)rows[i] * (steps / spread);
            rows[i] = (double)rintf(exact) * (double)(spread / steps);
        }
    }
}

void suite_quantise(const fbt_types *types, double *rows, int64_t n_rows, int64_t n)
{
    quantise(types, rows, n_rows, n, 0);
}

fbt_matrix *suite_matrix(suite *s, double *weight, double *bias, int64_t n_out, int64_t n_in, const fbt_types *types)
{
    const fbt_dtype dtype = types->activations;
    const void *typed = suite_typed(s, weight, n_out * n_in, dtype);
    const float *typed_bias = bias != NULL ? suite_typed(s, bias, n_out, FBT_F32) : NULL;
    fbt_matrix *matrix;
    assert_true(s->n_matrices < SUITE_ITEMS);
    suite_ok(fbt_matrix_new(
        s->b,
        &(fbt_matrix_spec){
            .weight = typed, .dtype = dtype, .bias = typed_bias, .n_out = n_out, .n_in = n_in, .types = types},
        &matrix));
    s->matrices[s->n_matrices++] = matrix;
    quantise(types, weight, n_out, n_in, 1);
    return matrix;
}

fbt_table *suite_table(suite *s, double *rows, int64_t n_rows, int64_t n_dim, fbt_dtype dtype)
{
    const void *typed = suite_typed(s, rows, n_rows * n_dim, dtype);
    fbt_table *table;
    assert_true(s->n_tables < SUITE_ITEMS);
    suite_ok(fbt_table_new(s->b, typed, dtype, n_rows, n_dim, &table));
    s->tables[s->n_tables++] = table;
    return table;
}

fbt_packed suite_packed(suite *s, const int32_t *lengths, int64_t n_sequences, int64_t n_tokens, int64_t n_prompts,
                        int32_t **tokens, int32_t **prompt_index)
{
    fbt_packed packed = {.n_sequences = n_sequences};
    int32_t *offsets = suite_block(s, (n_sequences + 1) * (int64_t)sizeof *offsets);
    for (int64_t i = 0; i < n_sequences; i++) {
        offsets[i + 1] = offsets[i] + lengths[i];
        packed.max_length = lengths[i] > packed.max_length ? lengths[i] : packed.max_length;
    }
    packed.n_rows = offsets[n_sequences];
    packed.host_offsets = offsets;
    *tokens = suite_block(s, packed.n_rows * (int64_t)sizeof **tokens);
    *prompt_index = suite_block(s, n_sequences * (int64_t)sizeof **prompt_index);
    for (int64_t i = 0; i < packed.n_rows; i++) {
        (*tokens)[i] = (int32_t)suite_random_below(s, n_tokens);
    }
    for (int64_t i = 0; i < n_sequences; i++) {
        (*prompt_index)[i] = (int32_t)suite_random_below(s, n_prompts);
    }
    packed.offsets = suite_buffer_bytes(s, offsets, (n_sequences + 1) * (int64_t)sizeof *offsets);
    packed.tokens = suite_buffer_bytes(s, *tokens, packed.n_rows * (int64_t)sizeof **tokens);
    packed.prompt_index = suite_buffer_bytes(s, *prompt_index, n_sequences * (int64_t)sizeof **prompt_index);
    return packed;
}

fbt_norm suite_norm(suite *s, double *gamma, double *beta, int64_t n_dim, float epsilon)
{
    gamma = gamma != NULL ? gamma : suite_random(s, n_dim, 1, 1);
    beta = beta != NULL ? beta : suite_random(s, n_dim, 1, 0);
    return (fbt_norm){.gamma = suite_buffer(s, gamma, n_dim, FBT_F32),
                      .beta = suite_buffer(s, beta, n_dim, FBT_F32),
                      .epsilon = epsilon};
}

void suite_norm_row(const suite *s, const double *x, const double *error, const double *gamma, const double *beta,
                    int64_t n_dim, double epsilon, double *want, double *tolerance)
{
    double mean = 0, mean_size = 0, variance = 0, mean_error = 0, square_error = 0;
    for (int64_t i = 0; i < n_dim; i++) {
        mean += x[i] / (double)n_dim;
        mean_size += fabs(x[i]) / (double)n_dim;
        mean_error += error == NULL ? 0 : error[i] / (double)n_dim;
        square_error += error == NULL ? 0 : error[i] * error[i] / (double)n_dim;
    }
    for (int64_t i = 0; i < n_dim; i++) {
        variance += (x[i] - mean) * (x[i] - mean) / (double)n_dim;
    }
    for (int64_t i = 0; i < n_dim; i++) {
        const double factor = gamma[i] / sqrt(variance + epsilon), normal = (x[i] - mean) / sqrt(variance + epsilon);
        const double value = normal * gamma[i];
        want[i] = value + beta[i];
        /* A sum in fp32 errs by a few units of the sum of sizes, also where the terms cancel (Higham 2002,
         * section 4.2); the rest errs by a few units of the result. What x errs by reaches it itself, through the mean
         * and through the variance. */
        tolerance[i] = 1.01 * suite_roundoff(s) * fabs(want[i]) + 1e-6 * (fabs(value) + fabs(beta[i])) +
                       4e-7 * fabs(mean_size * factor);
        tolerance[i] +=
            fabs(factor) * ((error == NULL ? 0 : error[i]) + mean_error + fabs(normal) * sqrt(square_error));
    }
}

static double roundoff(fbt_dtype dtype)
{
    return dtype == FBT_BF16 ? 0x1p-8 : 0x1p-24;
}

double suite_roundoff(const suite *s)
{
    return roundoff(suite_dtype(s));
}

double suite_residual_roundoff(const suite *s)
{
    return roundoff(suite_residual(s));
}

/* One query and head: probabilities p over n_keys rows, and what size the scores' terms sum up to at most. */
static double make_probabilities(double *p, const double *q, const double *k, int64_t stride, int64_t n_keys, int64_t d,
                                 double scale)
{
    double largest = -INFINITY, sum = 0, score_size = 0;
    for (int64_t j = 0; j < n_keys; j++) {
        double terms = 0;
        p[j] = 0;
        for (int64_t i = 0; i < d; i++) {
            const double term = q[i] * k[j * stride + i] * scale;
            p[j] += term;
            terms += fabs(term);
        }
        largest = fmax(largest, p[j]);
        score_size = fmax(score_size, terms);
    }
    for (int64_t j = 0; j < n_keys; j++) {
        p[j] = exp(p[j] - largest);
        sum += p[j];
    }
    for (int64_t j = 0; j < n_keys; j++) {
        p[j] /= sum;
    }
    return score_size;
}

/* The tolerance follows the backend's legitimate roundings: of probabilities and of
 * the result to the activation type, and scores that err by fp32 roundings of their terms, which the softmax passes on
 * as relative errors of the probabilities. */
void suite_attend_row(const suite *s, const double *q, const double *k, const double *v, int64_t stride, int64_t n_keys,
                      int64_t d, double scale, double *want, double *tolerance)
{
    double p[SUITE_KEYS];
    assert_true(n_keys <= SUITE_KEYS);
    const double score_size = make_probabilities(p, q, k, stride, n_keys, d, scale);
    for (int64_t c = 0; c < d; c++) {
        double size = 0;
        want[c] = 0;
        for (int64_t j = 0; j < n_keys; j++) {
            want[c] += p[j] * v[j * stride + c];
            size += p[j] * fabs(v[j * stride + c]);
        }
        tolerance[c] = 1.01 * suite_roundoff(s) * (fabs(want[c]) + 2 * size) + (2e-6 + 1e-6 * score_size) * size;
    }
}

int suite_is_cuda(const suite *s)
{
    return strcmp(s->backend_name, "cuda") == 0;
}

int suite_is_emulated(const suite *s)
{
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    return strstr(info.device, "emulated") != NULL;
}

int64_t suite_width(const suite *s, int64_t n)
{
    return suite_is_cuda(s) ? (n + 7) / 8 * 8 : n;
}

/* Sums in fp32 of up to 4,096 terms err by a third of 2e-6 of their size. TF32 keeps 10 bits behind the leading one:
 * each operand errs by up to 2^-10, where it is cut off instead of rounded. */
double suite_product_error(const fbt_types *types)
{
    return types->compute == FBT_COMPUTE_TF32 ? 0x1.1p-9 : 2e-6;
}

double suite_scale_error(const fbt_types *types)
{
    return types->compute == FBT_COMPUTE_I8 ? 4 * 0x1p-24 : 0;
}

/* cuBLASLt stores products, and takes biases, in the activation type. */
double suite_bias_error(const suite *s, const fbt_types *types)
{
    return suite_is_cuda(s) && types->compute == FBT_COMPUTE_BF16 ? 1.01 * 0x1p-8 : 0;
}

int suite_checks_indices(const suite *s)
{
    return !suite_is_cuda(s);
}

int suite_has(const suite *s, unsigned feature)
{
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    return (info.features & feature) != 0;
}

void suite_refused(fbt_status got, const char *name)
{
    assert_int_equal(got, FBT_ERR_UNSUPPORTED);
    if (strstr(fbt_error_message(), name) == NULL) {
        fail_msg("'%s' does not say '%s'", fbt_error_message(), name);
    }
    fbt_error_clear();
}

int suite_computed(fbt_status got, const char *name)
{
    if (got == FBT_ERR_UNSUPPORTED) {
        suite_refused(got, name);
        return 0;
    }
    suite_ok(got);
    return 1;
}

void suite_compare(const char *what, const double *got, const double *want, const double *tolerance, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i]) || !(fabs(got[i] - want[i]) <= tolerance[i])) {
            fail_msg("%s: element %lld of %lld is %.9g, should be %.9g within %.3g (seed %lu)", what, (long long)i,
                     (long long)n, got[i], want[i], tolerance[i], suite_seed);
        }
    }
}

void suite_expect_by_sync_at(suite *s, fbt_status expected, fbt_status got, const char *call, const char *file,
                             int line)
{
    suite_expect_at(expected, got == FBT_OK ? fbt_stream_sync(s->b) : got, call, file, line);
}

void suite_expect_at(fbt_status expected, fbt_status got, const char *call, const char *file, int line)
{
    if (got != expected) {
        print_error("%s:%d: %s\n  gave '%s' (%s), not '%s'\n", file, line, call, fbt_status_text(got),
                    fbt_error_message(), fbt_status_text(expected));
        _fail(file, line);
    }
    if (expected != FBT_OK && fbt_error_message()[0] == '\0') {
        print_error("%s:%d: %s\n  failed without a sentence\n", file, line, call);
        _fail(file, line);
    }
    fbt_error_clear();
}
