/* Matrix products on integers of 8 bits. Compiled once per instruction set, FBT_ISA; the backend picks a copy when it
 * opens (isa.c). */
#include "kernels/cpu/int8.h"

#include "kernels/cpu/activate.h"
#include "kernels/cpu/simd_int.h"
#include "kernels/cpu/simd_typed.h"

enum { ROWS = VF == 16 ? 12 : 6, LINE = 64 };
enum { SCALES_BYTES = (2 * ROWS * 4 + LINE - 1) / LINE * LINE, HEAD_BYTES = 2 * VF * 4 };

static int64_t strip_bytes(int64_t n_in)
{
    return fbt_n_parts(SCALES_BYTES + fbt_n_parts(n_in, VF) * (VF / VI_STEP) * ROWS * 4, LINE) * LINE;
}

static int64_t panel_bytes(int64_t n_in)
{
    return fbt_n_parts(HEAD_BYTES + fbt_n_parts(n_in, VI_STEP) * VI_WEIGHT_BYTES, LINE) * LINE;
}

/* Of a row of x or of weights: its least and largest element, 0 among them; and its largest size, as integers, where
 * those of NaN are above all others. */
typedef struct int8_range {
    vf least, largest;
    vi sizes;
} int8_range;

VF_INLINE void widen(int8_range *range, vf x)
{
    range->least = vf_min(range->least, x);
    range->largest = vf_max(range->largest, x);
    range->sizes = vi_max(range->sizes, vi_size_bits(x));
}

VF_INLINE int8_range find_range(const void *x, fbt_dtype dtype, int64_t at, int64_t n)
{
    int8_range range = {vf_set(0), vf_set(0), vi_set(0)};
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        widen(&range, vf_load_typed(x, dtype, at + i));
    }
    if (i < n) {
        widen(&range, vf_load_typed_n(x, dtype, at + i, n - i));
    }
    return range;
}

/* Size of one step of a row's integers, and its inverse. */
typedef struct int8_scale {
    float scale, inverse;
} int8_scale;

/* Of a row whose elements spread over `spread`, in n steps. A NaN, or an infinity, is passed on to the scale. */
VF_INLINE int8_scale scale_of(const int8_range *range, float spread, float n)
{
    const float size = vi_largest_float(range->sizes);
    if (size < FBT_I8_LEAST) {
        return (int8_scale){0, 0};
    }
    return isfinite(size) ? (int8_scale){spread / n, n / spread} : (int8_scale){NAN, 0};
}

/* Rows r and r + 1 of a strip, which are rows of x from elements `at` on. */
VF_INLINE void quantise_pair(char *strip, int64_t r, const void *x, fbt_dtype dtype, const int64_t at[2], int64_t n_in)
{
    char *to = strip + SCALES_BYTES + r * 4;
    vf inverse[2];
    vi offset[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const int8_range range = find_range(x, dtype, at[k], n_in);
        const float least = -vf_largest(vf_sub(vf_set(0), range.least));
        const int8_scale scale = scale_of(&range, vf_largest(range.largest) - least, FBT_I8_ROW_STEPS);
        inverse[k] = vf_set(scale.inverse);
        offset[k] = vi_sub(vi_set(0), vi_round(vf_mul(vf_set(least), inverse[k])));
        ((float *)(void *)strip)[r + k] = scale.scale;
        ((int32_t *)(void *)strip)[ROWS + r + k] = vi_first(offset[k]);
    }
    for (int64_t i = 0; i < n_in; i += VF, to += VF / VI_STEP * ROWS * 4) {
        const vf a = vf_load_typed_n(x, dtype, at[0] + i, n_in - i), b = vf_load_typed_n(x, dtype, at[1] + i, n_in - i);
        vi_store_rows(to, ROWS * 4, vi_round(vf_mul(a, inverse[0])), offset[0], vi_round(vf_mul(b, inverse[1])),
                      offset[1]);
    }
}

/* Where rows end within a strip, the last one of an odd number is there twice, and the rest is left as it is: sums are
 * made of it, and dropped. */
static void quantise(char *strips, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_in)
{
    const int64_t n_bytes = strip_bytes(n_in);
    for (int64_t r = 0; r < n_rows; r += 2) {
        char *strip = strips + r / ROWS * n_bytes;
        const int64_t at[2] = {r * n_in, (r + 1 < n_rows ? r + 1 : r) * n_in};
        if (dtype == FBT_BF16) {
            quantise_pair(strip, r % ROWS, x, FBT_BF16, at, n_in);
        } else {
            quantise_pair(strip, r % ROWS, x, FBT_F32, at, n_in);
        }
    }
}

static void pack(char *panel, const float *rows, int64_t n_out, int64_t n_in)
{
    int32_t *sums = (int32_t *)(void *)panel;
    float *scales = (float *)(void *)(panel + VF * 4);
    int8_t *q = (int8_t *)panel + HEAD_BYTES;
    memset(panel, 0, (size_t)panel_bytes(n_in));
    for (int64_t o = 0; o < n_out; o++) {
        const int8_range range = find_range(rows, FBT_F32, o * n_in, n_in);
        const int8_scale scale = scale_of(&range, vi_largest_float(range.sizes), FBT_I8_WEIGHT_STEPS);
        for (int64_t i = 0; i < n_in; i++) {
            const float exact = rows[o * n_in + i] * scale.inverse;
            const int32_t rounded = isfinite(exact) ? (int32_t)rintf(exact) : 0;
            q[i / VI_STEP * VI_WEIGHT_BYTES + o * VI_STEP + i % VI_STEP] = (int8_t)rounded;
            sums[o] += rounded;
        }
        scales[o] = scale.scale;
    }
}

/* A tile: a strip and two panels. */
typedef struct int8_tile {
    const char *strip, *panels[2];
    const float *bias[2];
    int64_t row, output, n_rows, n_out; /* its first row and output in y, and how many of them there are */
} int8_tile;

/* sums[r][2 V] of the tile, all of which stay in registers. */
VF_INLINE void add_products(int32_t *sums, const int8_tile *t, int64_t n_in)
{
    vi s[ROWS][2];
    const char *x = t->strip + SCALES_BYTES, *a = t->panels[0] + HEAD_BYTES, *b = t->panels[1] + HEAD_BYTES;
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
        const int32_t offset = ((const int32_t *)(const void *)t->strip)[ROWS + r];
        s[r][0] = vi_start(offset, t->panels[0]);
        s[r][1] = vi_start(offset, t->panels[1]);
    }
    for (int64_t k = 0; k < n_in; k += VI_STEP, x += ROWS * 4, a += VI_WEIGHT_BYTES, b += VI_WEIGHT_BYTES) {
        const vi w0 = vi_load_weights(a), w1 = vi_load_weights(b);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const vi xr = vi_set_bytes(x + r * 4);
            s[r][0] = vi_dot(s[r][0], xr, w0);
            s[r][1] = vi_dot(s[r][1], xr, w1);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++, sums += 2 * VF) {
        vi_store(sums, s[r][0]);
        vi_store(sums + VF, s[r][1]);
    }
}

/* x W^T + bias of a row and panel p. */
VF_INLINE vf dequantise(const int8_tile *t, const int32_t *sums, int64_t r, int p)
{
    const float *row_scale = (const float *)(const void *)t->strip + r;
    const vf scale = vf_mul(vf_set(*row_scale), vf_load((const float *)(const void *)(t->panels[p] + VF * 4)));
    return vf_fma(vi_to_float(vi_load(sums + (2 * r + p) * VF)), scale, vf_load(t->bias[p]));
}

VF_INLINE void finish_as(const fbt_int8_product *p, const int8_tile *t, const int32_t *sums, fbt_activation activation,
                         fbt_dtype dtype)
{
    for (int64_t r = 0; r < t->n_rows; r++) {
        const int64_t at = (t->row + r) * p->n_out + t->output;
        if (p->is_gated) {
            const vf g = vf_activate(activation, dequantise(t, sums, r, 0));
            vf_store_typed(p->y, dtype, at, vf_mul(g, dequantise(t, sums, r, 1)));
            continue;
        }
        for (int64_t i = 0; i < t->n_out; i += VF) {
            vf y = vf_activate(activation, dequantise(t, sums, r, i > 0));
            if (p->residual != NULL) {
                y = vf_add(y, vf_load_typed_n(p->residual, dtype, at + i, t->n_out - i));
            }
            vf_store_typed_n(p->y, dtype, at + i, y, t->n_out - i);
        }
    }
}

/* With a constant activation its coefficients stay in registers. */
VF_INLINE void finish_typed(const fbt_int8_product *p, const int8_tile *t, const int32_t *sums, fbt_dtype dtype)
{
    switch (p->activation) {
    case FBT_ACT_NONE:
        finish_as(p, t, sums, FBT_ACT_NONE, dtype);
        break;
    case FBT_ACT_GELU_ERF:
        finish_as(p, t, sums, FBT_ACT_GELU_ERF, dtype);
        break;
    case FBT_ACT_SILU:
        finish_as(p, t, sums, FBT_ACT_SILU, dtype);
        break;
    default:
        finish_as(p, t, sums, p->activation, dtype);
    }
}

static void multiply_tile(const fbt_int8_product *p, const int8_tile *t)
{
    int32_t sums[ROWS * 2 * VF] __attribute__((aligned(LINE)));
    vf_fetch_rows(p->y, p->residual, p->dtype, t->row * p->n_out + t->output, p->n_out, t->n_rows);
    add_products(sums, t, p->n_in);
    if (p->dtype == FBT_BF16) {
        finish_typed(p, t, sums, FBT_BF16);
    } else {
        finish_typed(p, t, sums, FBT_F32);
    }
}

static void multiply(const fbt_int8_product *p)
{
    const int64_t strip = strip_bytes(p->n_in), panel = panel_bytes(p->n_in);
    const int64_t n_outputs = p->is_gated ? VF : 2 * VF, second = p->is_gated ? p->n_out : VF;
    for (int64_t o = 0; o < p->n_out; o += n_outputs) {
        const char *first_panel = p->panels + o / VF * panel;
        for (int64_t r = 0; r < p->n_rows; r += ROWS) {
            const int8_tile tile = {.strip = p->strips + r / ROWS * strip,
                                    .panels = {first_panel, first_panel + second / VF * panel},
                                    .bias = {p->bias + o, p->bias + second + o},
                                    .row = r,
                                    .output = o,
                                    .n_rows = fbt_smaller(p->n_rows - r, ROWS),
                                    .n_out = fbt_smaller(p->n_out - o, n_outputs)};
            multiply_tile(p, &tile);
        }
    }
}

#define NAME_OF(isa) fbt_int8_##isa
#define NAME(isa) NAME_OF(isa)
const fbt_int8_kernels NAME(FBT_ISA) = {.strip_rows = ROWS,
                                        .panel_outputs = VF,
                                        .strip_bytes = strip_bytes,
                                        .panel_bytes = panel_bytes,
                                        .quantise = quantise,
                                        .pack = pack,
                                        .multiply = multiply};
