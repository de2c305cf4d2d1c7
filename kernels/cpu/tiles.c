/* Matrix products on AMX tiles. Compiled for AMX and AVX-512 with bfloat16; called where fbt_cpu_has_tiles(). */
#include "kernels/cpu/tiles.h"

#include <string.h>

#ifdef FBT_AMX

#include "kernels/cpu/activate.h"

enum { TILE_ELEMENTS = 512, STEP_ELEMENTS = 2 * TILE_ELEMENTS, RESULT_VECTORS = 64 };

/* Steps of a sum that the second-level cache (2 MiB) likes, for 256 rows; and of how many strips of 32 outputs the sums
 * up to there are kept. */
enum { MOST_STEPS = 64, GROUP_STRIPS = 8 };

static int64_t n_steps(int64_t n_in)
{
    return fbt_n_parts(n_in, FBT_TILE_STEP);
}

int64_t fbt_tiles_count(int64_t n_rows, int64_t n_in)
{
    return fbt_n_parts(n_rows, FBT_TILE_ROWS) * n_steps(n_in) * STEP_ELEMENTS;
}

int64_t fbt_tiles_partial_bytes(int64_t n_rows, int64_t n_in)
{
    const int64_t n_blocks = fbt_n_parts(n_rows, FBT_TILE_ROWS);
    return n_steps(n_in) > MOST_STEPS ? n_blocks * GROUP_STRIPS * FBT_TILE_ROWS * FBT_TILE_ROWS * (int64_t)sizeof(float)
                                      : 0;
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
    const int64_t steps = n_steps(n_in), n_all = fbt_n_parts(n_rows, FBT_TILE_ROWS) * FBT_TILE_ROWS;
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

typedef struct tile_sums {
    float sums[FBT_TILE_ROWS][32] __attribute__((aligned(64)));
} tile_sums;

/* Finished sums of 32 x 32 that await bias, activation, gate, residual and their place in y. */
typedef struct tile_result {
    const tile_sums *sums, *factors; /* factors: u of a gate, else NULL */
    const float *bias, *factor_bias;
    const void *residual;
    void *y;
    int64_t n_rows, n_columns; /* that exist, at most 32 */
    int64_t done, share;       /* vectors, 16 columns of a row each: worked off; and at a time */
} tile_result;

/* How results are finished: one copy of the loop for each. */
typedef struct tile_finish {
    fbt_activation activation;
    int is_gated, is_wide;
} tile_finish;

/* Bytes of an element of y and of a residual. */
VF_INLINE int64_t result_bytes(tile_finish how)
{
    return how.is_wide ? (int64_t)sizeof(float) : (int64_t)sizeof(uint16_t);
}

/* y = x + residual, both of float, for n of a vector's elements. */
VF_INLINE void finish_wide(float *y, const float *residual, vf x, int64_t n)
{
    if (n < VF) {
        vf_store_n(y, vf_add(x, vf_load_n(residual, n)), n);
    } else {
        vf_store(y, vf_add(x, vf_load(residual)));
    }
}

/* Works off the next vectors of a result. */
VF_INLINE void finish(tile_result *r, int64_t y_stride, tile_finish how)
{
    const int64_t to = r->done + r->share < RESULT_VECTORS ? r->done + r->share : RESULT_VECTORS;
    for (; r->done < to; r->done++) {
        const int64_t row = r->done / 2, column = r->done % 2 * 16, n = r->n_columns - column;
        const int64_t at = row * y_stride + column;
        if (n <= 0 || row >= r->n_rows) {
            continue;
        }
        vf x = vf_activate(how.activation, vf_add(vf_load(&r->sums->sums[row][column]), vf_load(r->bias + column)));
        if (how.is_wide) {
            finish_wide((float *)r->y + at, (const float *)r->residual + at, x, n);
            continue;
        }
        uint16_t *y = (uint16_t *)r->y + at;
        if (how.is_gated) {
            x = vf_mul(x, vf_add(vf_load(&r->factors->sums[row][column]), vf_load(r->factor_bias + column)));
        } else if (r->residual != NULL) {
            const uint16_t *residual = (const uint16_t *)r->residual + at;
            x = vf_add(x, n < VF ? vf_load_bf16_n(residual, n) : vf_load_bf16(residual));
        }
        if (n < VF) {
            vf_store_bf16_n(y, x, n);
        } else {
            vf_store_bf16(y, x);
        }
    }
}

/* Addresses to prefetch: needed soon, and further away than the loop can wait for. */
typedef struct tile_ahead {
    const char *y, *weights; /* where this result goes; the weights of the next block of outputs */
    int64_t y_row_bytes, n_y_rows, weight_bytes;
} tile_ahead;

VF_INLINE void load_sums(const tile_sums *from)
{
    if (from == NULL) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, &from->sums[0][0], 128);
        _tile_loadd(1, &from->sums[0][16], 128);
        _tile_loadd(2, &from->sums[16][0], 128);
        _tile_loadd(3, &from->sums[16][16], 128);
    }
}

/* One sum on the tiles, or a part of it that goes on from `from`, while the result before is finished. */
VF_INLINE void sum_tiles(const uint16_t *x, const uint16_t *weights, int64_t steps, const tile_sums *from,
                         tile_sums *sums, tile_result *before, const tile_ahead *ahead, int64_t y_stride,
                         tile_finish how)
{
    const int64_t y_share = fbt_n_parts(FBT_TILE_ROWS, steps), w_share = ahead->weight_bytes / (64 * steps);
    load_sums(from);
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
        finish(before, y_stride, how);
    }
    _tile_stored(0, &sums->sums[0][0], 128);
    _tile_stored(1, &sums->sums[0][16], 128);
    _tile_stored(2, &sums->sums[16][0], 128);
    _tile_stored(3, &sums->sums[16][16], 128);
}

/* Describes how the sums at row r and output o are finished. */
VF_INLINE tile_result describe(const fbt_tile_product *p, tile_finish how, const tile_sums sums[2], int64_t r,
                               int64_t o, int64_t share)
{
    const int64_t at = (r * p->n_out + o) * result_bytes(how);
    const int64_t rows_left = p->n_rows - r, columns_left = p->n_out - o;
    return (tile_result){.sums = &sums[0],
                         .factors = &sums[1],
                         .bias = p->bias + o,
                         .factor_bias = p->bias + (how.is_gated ? p->n_out : 0) + o,
                         .residual = p->residual != NULL ? (const char *)p->residual + at : NULL,
                         .y = (char *)p->y + at,
                         .n_rows = rows_left < FBT_TILE_ROWS ? rows_left : FBT_TILE_ROWS,
                         .n_columns = columns_left < FBT_TILE_ROWS ? columns_left : FBT_TILE_ROWS,
                         .share = share};
}

/* A product being made: sums that are too long for the cache are made in n_chunks parts of up to `chunk` steps, for a
 * group of outputs at a time. What the parts add up to is kept in fp32 in between, so that it has the bits of one sum.
 */
typedef struct tile_work {
    const fbt_tile_product *p;
    int64_t steps, chunk, n_chunks, n_blocks, n_sums, share;
    tile_sums sums[2][2]; /* of this result and the one before: g and u of gates */
    tile_result before;
    int turn;
} tile_work;

/* Where part sums of row block i, strip `strip` of a group, are kept. */
VF_INLINE tile_sums *partial_at(const tile_work *w, int64_t strip, int64_t i)
{
    return (tile_sums *)w->p->partial + strip * w->n_blocks + i;
}

/* Sums g or u (n) of row block i and output o, which become `result`, in chunk c. */
VF_INLINE void sum_chunk(tile_work *w, tile_finish how, const tile_result *result, int64_t first, int64_t o, int64_t c,
                         int64_t i, int64_t n)
{
    const fbt_tile_product *p = w->p;
    const int64_t strip = w->steps * STEP_ELEMENTS, k = c * w->chunk, left = w->steps - k;
    const int64_t steps = left < w->chunk ? left : w->chunk, share = steps * STEP_ELEMENTS * 2 / w->n_blocks;
    const uint16_t *weights = p->weights + (n * p->n_out + o) / FBT_TILE_ROWS * strip + k * STEP_ELEMENTS;
    const int is_last = c == w->n_chunks - 1;
    tile_sums *partial = w->n_chunks > 1 ? partial_at(w, (o - first) / FBT_TILE_ROWS * w->n_sums + n, i) : NULL;
    const tile_ahead ahead = {.y = result->y,
                              .y_row_bytes = p->n_out * result_bytes(how),
                              .n_y_rows = is_last && n == 0 ? result->n_rows : 0,
                              .weights = (const char *)(weights + strip) + i * share,
                              .weight_bytes = share};
    sum_tiles(p->x + i * strip + k * STEP_ELEMENTS, weights, steps, c > 0 ? partial : NULL,
              is_last ? &w->sums[w->turn][n] : partial, &w->before, &ahead, p->n_out, how);
}

/* Chunk c of outputs first .. last - 1. */
VF_INLINE void multiply_chunk(tile_work *w, tile_finish how, int64_t first, int64_t last, int64_t c)
{
    for (int64_t o = first; o < last; o += FBT_TILE_ROWS) {
        for (int64_t i = 0; i < w->n_blocks; i++) {
            const tile_result result = describe(w->p, how, w->sums[w->turn], i * FBT_TILE_ROWS, o, w->share);
            for (int64_t n = 0; n < w->n_sums; n++) {
                sum_chunk(w, how, &result, first, o, c, i, n);
            }
            if (c == w->n_chunks - 1) {
                w->before = result;
                w->turn = !w->turn;
            }
        }
    }
}

VF_INLINE void multiply(const fbt_tile_product *p, tile_finish how)
{
    const int64_t steps = n_steps(p->n_in), n_chunks = fbt_n_parts(steps, MOST_STEPS),
                  chunk = fbt_n_parts(steps, n_chunks);
    const int64_t n_sums = how.is_gated ? 2 : 1, last_steps = steps - (n_chunks - 1) * chunk;
    const int64_t group = n_chunks > 1 ? GROUP_STRIPS / n_sums * FBT_TILE_ROWS : p->n_out;
    tile_work w = {.p = p,
                   .steps = steps,
                   .chunk = chunk,
                   .n_chunks = n_chunks,
                   .n_blocks = fbt_n_parts(p->n_rows, FBT_TILE_ROWS),
                   .n_sums = n_sums,
                   .share = fbt_n_parts(RESULT_VECTORS, n_sums * last_steps),
                   .before = {.done = RESULT_VECTORS}};
    __asm__ volatile("" : : : "memory"); /* nor does its _tile_loadd say that it reads memory */
    for (int64_t first = 0; first < p->n_out; first += group) {
        const int64_t last = first + group < p->n_out ? first + group : p->n_out;
        for (int64_t c = 0; c < n_chunks; c++) {
            multiply_chunk(&w, how, first, last, c);
        }
    }
    w.before.share = RESULT_VECTORS;
    finish(&w.before, p->n_out, how);
}

VF_INLINE void multiply_activated(const fbt_tile_product *p, int is_gated)
{
    switch (p->activation) {
    case FBT_ACT_GELU_ERF:
        multiply(p, (tile_finish){FBT_ACT_GELU_ERF, is_gated, 0});
        break;
    case FBT_ACT_GELU_TANH:
        multiply(p, (tile_finish){FBT_ACT_GELU_TANH, is_gated, 0});
        break;
    case FBT_ACT_RELU:
        multiply(p, (tile_finish){FBT_ACT_RELU, is_gated, 0});
        break;
    case FBT_ACT_TANH:
        multiply(p, (tile_finish){FBT_ACT_TANH, is_gated, 0});
        break;
    case FBT_ACT_SILU:
        multiply(p, (tile_finish){FBT_ACT_SILU, is_gated, 0});
        break;
    default:
        multiply(p, (tile_finish){FBT_ACT_NONE, is_gated, 0});
    }
}

void fbt_tiles_multiply(const fbt_tile_product *p)
{
    if (p->is_wide) {
        multiply(p, (tile_finish){FBT_ACT_NONE, 0, 1});
    } else if (p->is_gated) {
        multiply_activated(p, 1);
    } else {
        multiply_activated(p, 0);
    }
}

#elif defined(FBT_X86)

_Static_assert(0, "needs the flags of kernels/CMakeLists.txt: what stands below is for processors without tiles");

#else /* another kind of processor: never called */

int64_t fbt_tiles_count(int64_t n_rows, int64_t n_in)
{
    return n_rows * n_in;
}

int64_t fbt_tiles_partial_bytes(int64_t n_rows, int64_t n_in)
{
    (void)n_rows, (void)n_in;
    return 0;
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
