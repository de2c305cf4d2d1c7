/* Matrix products on AMX tiles. Compiled for AMX and AVX-512 with bfloat16; called where fbt_cpu_has_tiles(). */
#include "kernels/cpu/tiles.h"

#include <string.h>

#ifdef __AMX_BF16__

#include "kernels/cpu/activate.h"

enum { TILE_ELEMENTS = 512, STEP_ELEMENTS = 2 * TILE_ELEMENTS, RESULT_VECTORS = 64 };

static int64_t n_steps(int64_t n_in)
{
    return (n_in + FBT_TILE_STEP - 1) / FBT_TILE_STEP;
}

int64_t fbt_tiles_count(int64_t n_rows, int64_t n_in)
{
    return (n_rows + FBT_TILE_ROWS - 1) / FBT_TILE_ROWS * n_steps(n_in) * STEP_ELEMENTS;
}

void fbt_tiles_lay_out_weights(uint16_t *weights, const uint16_t *rows, int64_t n_rows, int64_t n_in)
{
    memset(weights, 0, (size_t)(n_steps(n_in) * STEP_ELEMENTS) * sizeof *weights);
    for (int64_t o = 0; o < n_rows; o++) {
        for (int64_t i = 0; i < n_in; i++) {
            const int64_t pair = i % FBT_TILE_STEP / 2;
            weights[i / FBT_TILE_STEP * STEP_ELEMENTS + o / 16 * TILE_ELEMENTS + pair * 32 + o % 16 * 2 + i % 2] =
                rows[o * n_in + i];
        }
    }
}

void fbt_tiles_lay_out_rows(uint16_t *laid_out, const uint16_t *x, int64_t n_rows, int64_t n_in)
{
    const int64_t steps = n_steps(n_in), n_all = (n_rows + FBT_TILE_ROWS - 1) / FBT_TILE_ROWS * FBT_TILE_ROWS;
    for (int64_t r = 0; r < n_all; r++) {
        uint16_t *y = laid_out + r / FBT_TILE_ROWS * steps * STEP_ELEMENTS + r % FBT_TILE_ROWS * FBT_TILE_STEP;
        for (int64_t k = 0; k < steps; k++) {
            const int64_t left = r < n_rows ? n_in - k * FBT_TILE_STEP : 0;
            const __mmask32 mask = left >= FBT_TILE_STEP ? ~(__mmask32)0 : ((__mmask32)1 << left) - 1;
            _mm512_store_si512(y + k * STEP_ELEMENTS, _mm512_maskz_loadu_epi16(mask, x + r * n_in + k * FBT_TILE_STEP));
        }
    }
}

void fbt_tiles_begin(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        config.row_bytes[t] = 64;
        config.rows[t] = 16;
    }
    __asm__ volatile("" : : "r"(&config) : "memory"); /* GCC 12's _tile_loadconfig names only 8 bytes as read */
    _tile_loadconfig(&config);
}

void fbt_tiles_end(void)
{
    _tile_release();
}

/* A finished sum of 32 x 32 that awaits bias, activation, residual and its place in y. */
typedef struct tile_result {
    float sums[FBT_TILE_ROWS][32] __attribute__((aligned(64)));
    const float *bias;
    const uint16_t *residual;
    uint16_t *y;
    int64_t n_rows, n_columns; /* that exist, at most 32 */
} tile_result;

/* Works off the result's vectors `from` .. `to` - 1: 16 columns of a row each. */
VF_INLINE void finish(const tile_result *r, int64_t y_stride, fbt_activation activation, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t row = i / 2, column = i % 2 * 16, n = r->n_columns - column, at = row * y_stride + column;
        if (n <= 0 || row >= r->n_rows) {
            continue;
        }
        vf x = vf_activate(activation, vf_add(vf_load(&r->sums[row][column]), vf_load(r->bias + column)));
        if (r->residual != NULL) {
            x = vf_add(x, n < VF ? vf_load_bf16_n(r->residual + at, n) : vf_load_bf16(r->residual + at));
        }
        if (n < VF) {
            vf_store_bf16_n(r->y + at, x, n);
        } else {
            vf_store_bf16(r->y + at, x);
        }
    }
}

/* What is needed soon, and comes from further away than the loop can wait for. */
typedef struct tile_ahead {
    const char *y, *weights; /* where this result goes; the weights of the next block of outputs */
    int64_t y_row_bytes, n_y_rows, weight_bytes;
} tile_ahead;

/* One result: its sum on the tiles, while the one before is finished. */
VF_INLINE void sum_tiles(const uint16_t *x, const uint16_t *weights, int64_t steps, tile_result *result,
                         const tile_result *before, const tile_ahead *ahead, int64_t y_stride,
                         fbt_activation activation)
{
    const int64_t share = (RESULT_VECTORS + steps - 1) / steps, y_share = (FBT_TILE_ROWS + steps - 1) / steps;
    const int64_t w_share = ahead->weight_bytes / (64 * steps);
    int64_t done = before->n_rows > 0 ? 0 : RESULT_VECTORS;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < steps; k++, x += STEP_ELEMENTS, weights += STEP_ELEMENTS) {
        _tile_loadd(4, x, 64);
        _tile_loadd(6, weights, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, weights + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        for (int64_t i = k * y_share; i < (k + 1) * y_share && i < ahead->n_y_rows; i++) {
            _mm_prefetch(ahead->y + i * ahead->y_row_bytes, _MM_HINT_ET0);
        }
        for (int64_t i = k * w_share; i < (k + 1) * w_share; i++) {
            _mm_prefetch(ahead->weights + i * 64, _MM_HINT_T1);
        }
        const int64_t to = done + share < RESULT_VECTORS ? done + share : RESULT_VECTORS;
        finish(before, y_stride, activation, done, to);
        done = to;
    }
    _tile_stored(0, &result->sums[0][0], 128);
    _tile_stored(1, &result->sums[0][16], 128);
    _tile_stored(2, &result->sums[16][0], 128);
    _tile_stored(3, &result->sums[16][16], 128);
}

VF_INLINE void multiply(const fbt_tile_product *p, fbt_activation activation)
{
    const int64_t steps = n_steps(p->n_in), n_blocks = (p->n_rows + FBT_TILE_ROWS - 1) / FBT_TILE_ROWS;
    const int64_t strip = steps * STEP_ELEMENTS;
    __asm__ volatile("" : : : "memory"); /* nor does its _tile_loadd say that it reads memory */
    tile_result results[2];
    int turn = 0;
    results[0].n_rows = results[1].n_rows = 0;
    for (int64_t o = 0; o < p->n_out; o += FBT_TILE_ROWS) {
        const uint16_t *weights = p->weights + o / FBT_TILE_ROWS * strip;
        for (int64_t i = 0; i < n_blocks; i++, turn = !turn) {
            const int64_t r = i * FBT_TILE_ROWS;
            tile_result *result = &results[turn];
            const tile_ahead ahead = {.y = (const char *)(p->y + r * p->n_out + o),
                                      .y_row_bytes = p->n_out * 2,
                                      .n_y_rows = p->n_rows - r < FBT_TILE_ROWS ? p->n_rows - r : FBT_TILE_ROWS,
                                      .weights = (const char *)weights + strip * 2 + i * (strip * 2 / n_blocks),
                                      .weight_bytes = strip * 2 / n_blocks};
            sum_tiles(p->x + i * strip, weights, steps, result, &results[!turn], &ahead, p->n_out, activation);
            result->bias = p->bias + o;
            result->y = p->y + r * p->n_out + o;
            result->residual = p->residual != NULL ? p->residual + r * p->n_out + o : NULL;
            result->n_rows = ahead.n_y_rows;
            result->n_columns = p->n_out - o < FBT_TILE_ROWS ? p->n_out - o : FBT_TILE_ROWS;
        }
    }
    finish(&results[!turn], p->n_out, activation, 0, RESULT_VECTORS);
}

void fbt_tiles_multiply(const fbt_tile_product *p)
{
    switch (p->activation) {
    case FBT_ACT_GELU_ERF:
        multiply(p, FBT_ACT_GELU_ERF);
        break;
    case FBT_ACT_GELU_TANH:
        multiply(p, FBT_ACT_GELU_TANH);
        break;
    case FBT_ACT_RELU:
        multiply(p, FBT_ACT_RELU);
        break;
    case FBT_ACT_TANH:
        multiply(p, FBT_ACT_TANH);
        break;
    default:
        multiply(p, FBT_ACT_NONE);
    }
}

#else /* another kind of processor: never called */

int64_t fbt_tiles_count(int64_t n_rows, int64_t n_in)
{
    return n_rows * n_in;
}

void fbt_tiles_lay_out_weights(uint16_t *weights, const uint16_t *rows, int64_t n_rows, int64_t n_in)
{
    memcpy(weights, rows, (size_t)(n_rows * n_in) * sizeof *rows);
}

void fbt_tiles_lay_out_rows(uint16_t *laid_out, const uint16_t *x, int64_t n_rows, int64_t n_in)
{
    memcpy(laid_out, x, (size_t)(n_rows * n_in) * sizeof *x);
}

void fbt_tiles_begin(void)
{
}

void fbt_tiles_end(void)
{
}

void fbt_tiles_multiply(const fbt_tile_product *product)
{
    (void)product;
}

#endif
