/* Row kernels: softmax attention of a group of heads with bfloat16 products and fp32 sums, for AVX-512 with bfloat16
 * and for AMX.
 *
 * Both products are made in squares of 32 x 32 from operands laid out as in tiles.h:
 *
 *     scores = Q K^T                 as rows: queries         [32 queries, head_dim]     sums over the head's elements
 *     [32 queries, keys]             as weights: keys         output = key, input = element of the head
 *
 *     y = P V                        as rows: probabilities   [32 queries, keys]         sums over the keys
 *     [32 queries, head_dim]         as weights: values       output = element of the head, input = key
 *
 * K's rows are already outputs: a tile is 16 keys of 16 pairs, transposed as words of 32 bits (a pair each). V's rows
 * are inputs: two rows at a time are interleaved, which makes the pairs (v[key], v[key + 1]) of 16 outputs.
 *
 * Rows are pairs of a query and a head, all heads of one query before those of the next, so that those of a square see
 * about as many keys. A row's sums run over pairs of elements in order, its probabilities are zero for keys that it
 * does not see, and adding nothing changes no sum: its result depends neither on its neighbours nor on where a part of
 * the keys ends. Scores and softmax are fp32; probabilities are rounded to bfloat16 before they are divided by their
 * sum.
 */
#include "kernels/cpu/rows.h"

#ifdef __AVX512BF16__

#include "kernels/cpu/key_walk.h"
#include "kernels/cpu/simd.h"

enum { SQUARE = 32, TILE = 512, STEP = 2 * TILE }; /* elements of a tile, and of the two tiles of one step */

typedef struct head_scratch {
    uint16_t *keys;    /* [key blocks][head steps][STEP]    */
    uint16_t *values;  /* [head blocks][key steps][STEP]    */
    uint16_t *queries; /* [head steps][STEP]                */
    uint16_t *weights; /* [key steps][STEP]: probabilities  */
    float *scores;     /* [SQUARE, 32 key steps]            */
    float *sums;       /* [SQUARE, 32 head steps]           */
    int64_t key_steps, head_steps;
} head_scratch;

static int64_t scratch_bytes(head_scratch *s, int64_t n_keys, int64_t head_dim, char *base)
{
    s->key_steps = (n_keys + SQUARE - 1) / SQUARE;
    s->head_steps = (head_dim + SQUARE - 1) / SQUARE;
    const int64_t operand = s->key_steps * s->head_steps * STEP * 2;
    const int64_t key_row = s->key_steps * STEP * 2, head_row = s->head_steps * STEP * 2;
    if (base != NULL) {
        s->keys = (uint16_t *)base;
        s->values = (uint16_t *)(base + operand);
        s->queries = (uint16_t *)(base + 2 * operand);
        s->weights = (uint16_t *)(base + 2 * operand + head_row);
        s->scores = (float *)(base + 2 * operand + head_row + key_row);
        s->sums = (float *)(base + 2 * operand + head_row + 3 * key_row);
    }
    return 2 * operand + 3 * head_row + 3 * key_row;
}

int64_t FBT_ROWS(attention_bf16_bytes)(int64_t max_keys, int64_t head_dim)
{
    head_scratch s = {0};
    return scratch_bytes(&s, max_keys, head_dim, NULL);
}

/* The first n of 32 elements, zero beyond; n may be negative or more than 32. */
VF_INLINE __m512i load_32(const uint16_t *x, int64_t n)
{
    const __mmask32 mask = n >= SQUARE ? ~(__mmask32)0 : n <= 0 ? 0 : ((__mmask32)1 << n) - 1;
    return _mm512_maskz_loadu_epi16(mask, x);
}

/* Elements from `start` on of a row of head_dim elements, zero beyond; x NULL: zeros. */
VF_INLINE __m512i load_part(const uint16_t *x, int64_t start, int64_t head_dim)
{
    return x != NULL ? load_32(x + start, head_dim - start) : _mm512_setzero_si512();
}

/* Keys as weights: output = key, input = element of the head. */
VF_INLINE void lay_out_keys(const fbt_head_group *group, const head_scratch *s)
{
    fbt_key_walk walk = {group->parts, 0};
    for (int64_t j = 0; j < s->key_steps * 2; j++) { /* 16 keys */
        const uint16_t *keys[16];
        for (int r = 0; r < 16; r++) {
            keys[r] = j * 16 + r < group->n_keys ? fbt_walk_key(&walk, FBT_BF16) : NULL;
        }
        for (int64_t c = 0; c < s->head_steps; c++) {
            __m512i rows[16];
            uint16_t *tile = s->keys + (j / 2 * s->head_steps + c) * STEP + j % 2 * TILE;
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                rows[r] = load_part(keys[r], c * SQUARE, group->head_dim);
            }
            vf_transpose((vf *)rows); /* words of 32 bits: a pair each */
#pragma GCC unroll 16
            for (int p = 0; p < 16; p++) {
                _mm512_store_si512(tile + p * 32, rows[p]);
            }
        }
    }
}

/* Values as weights: output = element of the head, input = key. Two rows at a time, their elements interleaved. */
VF_INLINE void lay_out_values(const fbt_head_group *group, const head_scratch *s)
{
    fbt_key_walk walk = {group->parts, 0};
    for (int64_t pair = 0; pair < s->key_steps * 16; pair++) {
        const uint16_t *first = 2 * pair < group->n_keys ? fbt_walk_value(&walk, FBT_BF16) : NULL;
        const uint16_t *second = 2 * pair + 1 < group->n_keys ? fbt_walk_value(&walk, FBT_BF16) : NULL;
        for (int64_t c = 0; c < s->head_steps; c++) {
            const __m512i a = load_part(first, c * SQUARE, group->head_dim);
            const __m512i b = load_part(second, c * SQUARE, group->head_dim);
            uint16_t *y = s->values + (c * s->key_steps + pair / 16) * STEP + pair % 16 * 32;
            const __m512i a0 = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(a)),
                          b0 = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(b));
            const __m512i a1 = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(a, 1));
            const __m512i b1 = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(b, 1));
            _mm512_store_si512(y, _mm512_or_si512(a0, _mm512_slli_epi32(b0, 16)));
            _mm512_store_si512(y + TILE, _mm512_or_si512(a1, _mm512_slli_epi32(b1, 16)));
        }
    }
}

#ifdef FBT_AMX

/* y = x W^T for one square; all 32 rows are written. The caller's thread has its tiles configured. */
VF_INLINE void square_product(float *y, int64_t y_stride, const uint16_t *x, const uint16_t *w, int64_t steps,
                              int64_t n_rows)
{
    (void)n_rows;
    __asm__ volatile("" : : : "memory"); /* GCC 12's _tile_loadd does not say that it reads memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < steps; k++, x += STEP, w += STEP) {
        _tile_loadd(4, x, 64);
        _tile_loadd(6, w, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x + TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, y, y_stride * 4);
    _tile_stored(1, y + 16, y_stride * 4);
    _tile_stored(2, y + 16 * y_stride, y_stride * 4);
    _tile_stored(3, y + 16 * y_stride + 16, y_stride * 4);
    __asm__ volatile("" : : : "memory");
}

#else

enum { GROUP = 8 }; /* rows at a time: 16 registers of sums */

/* y = x W^T for one square; rows up to n_rows, in groups of 8, are written. */
VF_INLINE void square_product(float *y, int64_t y_stride, const uint16_t *x, const uint16_t *w, int64_t steps,
                              int64_t n_rows)
{
    for (int64_t r = 0; r < n_rows; r += GROUP) {
        __m512 sums[GROUP][2];
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++) {
            sums[i][0] = sums[i][1] = _mm512_setzero_ps();
        }
        for (int64_t k = 0; k < steps; k++) {
            for (int p = 0; p < 16; p++) {
                const __m512bh w0 = (__m512bh)_mm512_load_si512(w + k * STEP + p * 32);
                const __m512bh w1 = (__m512bh)_mm512_load_si512(w + k * STEP + TILE + p * 32);
#pragma GCC unroll 8
                for (int i = 0; i < GROUP; i++) {
                    int32_t pair;
                    memcpy(&pair, x + k * STEP + (r + i) * SQUARE + p * 2, sizeof pair);
                    const __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
                    sums[i][0] = _mm512_dpbf16_ps(sums[i][0], factor, w0);
                    sums[i][1] = _mm512_dpbf16_ps(sums[i][1], factor, w1);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++) {
            _mm512_store_ps(y + (r + i) * y_stride, sums[i][0]);
            _mm512_store_ps(y + (r + i) * y_stride + 16, sums[i][1]);
        }
    }
}

#endif

/* weights = exp(scale (scores - largest)) for the first n of n_columns keys and zero beyond, for row r; returns their
 * sum. */
VF_INLINE float softmax_row(const head_scratch *s, int64_t r, int64_t n, int64_t n_columns, float scale)
{
    const float *scores = s->scores + r * s->key_steps * SQUARE;
    vf largest = vf_set(-INFINITY), sum = vf_set(0);
    int64_t j = 0;
    for (; j + VF <= n; j += VF) {
        largest = vf_max(largest, vf_load(scores + j));
    }
    if (j < n) {
        largest = _mm512_mask_max_ps(largest, vf_mask(n - j), largest, vf_load(scores + j));
    }
    const vf factor = vf_set(scale), shift = vf_set(-vf_largest(largest) * scale);
    for (j = 0; j < n_columns; j += VF) {
        vf e = vf_set(0);
        if (j < n) {
            e = vf_exp(vf_fma(vf_load(scores + j), factor, shift));
            e = _mm512_maskz_mov_ps(n - j < VF ? vf_mask(n - j) : 0xffff, e);
        }
        sum = vf_add(sum, e);
        vf_store_bf16(s->weights + j / SQUARE * STEP + r * SQUARE + j % SQUARE, e);
    }
    return vf_sum(sum);
}

/* A pair of a query and a head: where its row of q and of y begins, and how many keys it sees. */
typedef struct head_row {
    const uint16_t *q;
    uint16_t *y;
    int64_t n_seen;
} head_row;

VF_INLINE head_row row_of(const fbt_head_group *group, int64_t pair)
{
    const int64_t i = pair / group->n_heads, column = pair % group->n_heads * group->head_dim;
    return (head_row){.q = (const uint16_t *)group->q + i * group->q_stride + column,
                      .y = (uint16_t *)group->y + i * group->y_stride + column,
                      .n_seen = group->is_causal ? group->n_keys - group->n_queries + i + 1 : group->n_keys};
}

/* Rows `first` .. first + n - 1, n at most 32. The last sees the most keys. */
VF_INLINE void attend(const fbt_head_group *group, const head_scratch *s, int64_t first, int64_t n)
{
    const int64_t key_stride = s->key_steps * SQUARE, head_stride = s->head_steps * SQUARE;
    const int64_t key_steps = (row_of(group, first + n - 1).n_seen + SQUARE - 1) / SQUARE;
    float totals[SQUARE];
    for (int64_t r = 0; r < n; r++) {
        const uint16_t *q = row_of(group, first + r).q;
        for (int64_t k = 0; k < s->head_steps; k++) {
            _mm512_store_si512(s->queries + k * STEP + r * SQUARE, load_part(q, k * SQUARE, group->head_dim));
        }
    }
    for (int64_t k = 0; k < key_steps; k++) {
        square_product(s->scores + k * SQUARE, key_stride, s->queries, s->keys + k * s->head_steps * STEP,
                       s->head_steps, n);
    }
    for (int64_t r = 0; r < n; r++) {
        totals[r] = softmax_row(s, r, row_of(group, first + r).n_seen, key_steps * SQUARE, group->scale);
    }
    for (int64_t c = 0; c < s->head_steps; c++) {
        square_product(s->sums + c * SQUARE, head_stride, s->weights, s->values + c * s->key_steps * STEP, key_steps,
                       n);
    }
    for (int64_t r = 0; r < n; r++) {
        const vf factor = vf_set(1.0f / totals[r]);
        uint16_t *y = row_of(group, first + r).y;
        for (int64_t c = 0; c < group->head_dim; c += VF) {
            const int64_t m = group->head_dim - c < VF ? group->head_dim - c : VF;
            vf_store_bf16_n(y + c, vf_mul(vf_load(s->sums + r * head_stride + c), factor), m);
        }
    }
}

void FBT_ROWS(attention_bf16)(const fbt_head_group *group, void *scratch)
{
    const int64_t n_rows = group->n_queries * group->n_heads;
    head_scratch s = {0};
    scratch_bytes(&s, group->n_keys, group->head_dim, scratch);
    lay_out_keys(group, &s);
    lay_out_values(group, &s);
    for (int64_t first = 0; first < n_rows; first += SQUARE) {
        attend(group, &s, first, n_rows - first < SQUARE ? n_rows - first : SQUARE);
    }
}

#endif
