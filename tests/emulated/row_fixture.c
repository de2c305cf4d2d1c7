/* Device memory and random inputs of the row kernels' tests. */
#include "row_fixture.h"
#include "base/rng.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_PIECES = 4096 };

static void *device_pieces[N_PIECES], *host_pieces[N_PIECES];
static int n_device_pieces, n_host_pieces;
static gsl_rng *rng;

static gsl_rng *generator(void)
{
    if (rng == NULL) {
        assert_int_equal(fbt_rng_new(&rng), FBT_OK);
        fbt_rng_seek(rng, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_SYNTHETIC});
    }
    return rng;
}

int64_t random_below(int64_t n)
{
    return (int64_t)gsl_rng_uniform_int(generator(), (unsigned long)n);
}

void *device_copy(const void *bytes, int64_t n_bytes)
{
    void *device = NULL;
    assert_true(n_device_pieces < N_PIECES);
    cuda_ok(cudaMalloc(&device, (size_t)n_bytes));
    device_pieces[n_device_pieces++] = device;
    cuda_ok(cudaMemcpy(device, bytes, (size_t)n_bytes, cudaMemcpyHostToDevice));
    return device;
}

void host_copy(void *bytes, const void *device, int64_t n_bytes)
{
    cuda_ok(cudaDeviceSynchronize());
    cuda_ok(cudaMemcpy(bytes, device, (size_t)n_bytes, cudaMemcpyDeviceToHost));
}

int device_clear(void **state)
{
    (void)state;
    while (n_device_pieces > 0) {
        cuda_ok(cudaFree(device_pieces[--n_device_pieces]));
    }
    while (n_host_pieces > 0) {
        free(host_pieces[--n_host_pieces]);
    }
    gsl_rng_free(rng);
    rng = NULL;
    return 0;
}

double roundoff(fbt_dtype dtype)
{
    return dtype == FBT_F32 ? 0x1p-24 : dtype == FBT_F16 ? 0x1p-11 : 0x1p-8;
}

static void pack(void *packed, int64_t i, fbt_dtype dtype, double value)
{
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (dtype == FBT_F32) {
        ((float *)packed)[i] = single;
    } else if (dtype == FBT_F16) {
        ((_Float16 *)packed)[i] = (_Float16)single;
    } else {
        ((uint16_t *)packed)[i] = (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
    }
}

static double unpack(const void *packed, int64_t i, fbt_dtype dtype)
{
    float single;
    if (dtype == FBT_F32) {
        return ((const float *)packed)[i];
    }
    if (dtype == FBT_F16) {
        return (double)((const _Float16 *)packed)[i];
    }
    const uint32_t bits = (uint32_t)((const uint16_t *)packed)[i] << 16;
    memcpy(&single, &bits, sizeof single);
    return single;
}

static typed make(fbt_dtype dtype, int64_t n)
{
    typed t = {.dtype = dtype, .n = n, .values = malloc((size_t)n * sizeof(double))};
    assert_true(t.values != NULL && n_host_pieces < N_PIECES);
    host_pieces[n_host_pieces++] = t.values;
    return t;
}

void typed_write(typed *t)
{
    const int64_t n_bytes = t->n * (t->dtype == FBT_F32 ? 4 : 2);
    void *packed = malloc((size_t)n_bytes);
    assert_non_null(packed);
    for (int64_t i = 0; i < t->n; i++) {
        pack(packed, i, t->dtype, t->values[i]);
        t->values[i] = unpack(packed, i, t->dtype);
    }
    if (t->device == NULL) {
        t->device = device_copy(packed, n_bytes);
    } else {
        cuda_ok(cudaMemcpy(t->device, packed, (size_t)n_bytes, cudaMemcpyHostToDevice));
    }
    free(packed);
}

typed typed_random(fbt_dtype dtype, int64_t n, double scale, double shift)
{
    typed t = make(dtype, n);
    for (int64_t i = 0; i < n; i++) {
        t.values[i] = gsl_ran_gaussian(generator(), 1) * scale + shift;
    }
    typed_write(&t);
    return t;
}

typed typed_poisoned(fbt_dtype dtype, int64_t n)
{
    typed t = make(dtype, n);
    const int64_t n_bytes = n * (dtype == FBT_F32 ? 4 : 2);
    void *poison = malloc((size_t)n_bytes);
    assert_non_null(poison);
    memset(poison, 0xff, (size_t)n_bytes);
    t.device = device_copy(poison, n_bytes);
    free(poison);
    return t;
}

void typed_read(typed *t)
{
    const int64_t n_bytes = t->n * (t->dtype == FBT_F32 ? 4 : 2);
    void *packed = malloc((size_t)n_bytes);
    assert_non_null(packed);
    host_copy(packed, t->device, n_bytes);
    for (int64_t i = 0; i < t->n; i++) {
        t->values[i] = unpack(packed, i, t->dtype);
    }
    free(packed);
}

void assert_near(const char *what, int64_t place, double got, double want, double relative, double absolute)
{
    const double allowed = relative * fabs(want) + absolute;
    if (!isfinite(got) || fabs(got - want) > allowed) {
        fail_msg("%s, item %lld: %.9g instead of %.9g, off by %.3g where %.3g is allowed", what, (long long)place, got,
                 want, fabs(got - want), allowed);
    }
}

void rms_normalise(double *row, int64_t n_dim, const double *gamma)
{
    double squares = 0;
    for (int64_t i = 0; i < n_dim; i++) {
        squares += row[i] * row[i];
    }
    for (int64_t i = 0; i < n_dim; i++) {
        row[i] = row[i] / sqrt(squares / (double)n_dim + 1e-5) * gamma[i];
    }
}

int device_is_there(void)
{
    int n_devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&n_devices);
    if (error != cudaSuccess || n_devices < 1) {
        printf("no CUDA device: %s\n", cudaGetErrorString(error));
        return 0;
    }
    return 1;
}
