/* Row kernels: softmax attention of one head with bfloat16 products and fp32 sums, for AVX-512 with bfloat16 and for
 * AMX.
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
 * A query's sums run over pairs of elements in order, so its result does not depend on its
 * neighbours. Scores and softmax are fp32; probabilities are rounded to bfloat16 before they are divided by their sum.
 */
#include "kernels/cpu/rows.h"

#ifdef __AVX512BF16__

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

/* Rows of x: [n_rows <= 32, n_columns] into [steps][2][16][32]. */
VF_INLINE void lay_out_rows(uint16_t *y, const uint16_t *x, int64_t stride, int64_t n_rows, int64_t n_columns,
                            int64_t steps)
{
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t k = 0; k < steps; k++) {
            _mm512_store_si512(y + k * STEP + r * SQUARE, load_32(x + r * stride + k * SQUARE, n_columns - k * SQUARE));
        }
    }
}

/* Transposes 16 x 16 words of 32 bits: first within lanes of 128 bits, then the lanes. */
VF_INLINE void transpose_16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Keys as weights: output = key, input = element of the head. */
VF_INLINE void lay_out_keys(const fbt_head *head, const head_scratch *s)
{
    const uint16_t *k = head->k;
    for (int64_t j = 0; j < s->key_steps * 2; j++) { /* 16 keys */
        for (int64_t c = 0; c < s->head_steps; c++) {
            __m512i rows[16];
            uint16_t *tile = s->keys + (j / 2 * s->head_steps + c) * STEP + j % 2 * TILE;
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                const int64_t key = j * 16 + r;
                rows[r] = key < head->n_keys
                              ? load_32(k + key * head->k_stride + c * SQUARE, head->head_dim - c * SQUARE)
                              : _mm512_setzero_si512();
            }
            transpose_16(rows);
#pragma GCC unroll 16
            for (int p = 0; p < 16; p++) {
                _mm512_store_si512(tile + p * 32, rows[p]);
            }
        }
    }
}

/* Values as weights: output = element of the head, input = key. Two rows at a time, their elements interleaved. */
VF_INLINE void lay_out_values(const fbt_head *head, const head_scratch *s)
{
    const uint16_t *v = head->v;
    for (int64_t pair = 0; pair < s->key_steps * 16; pair++) {
        const int64_t key = 2 * pair;
        for (int64_t c = 0; c < s->head_steps; c++) {
            const int64_t n = head->head_dim - c * SQUARE;
            const __m512i zero = _mm512_setzero_si512();
            const __m512i a = key < head->n_keys ? load_32(v + key * head->v_stride + c * SQUARE, n) : zero;
            const __m512i b = key + 1 < head->n_keys ? load_32(v + (key + 1) * head->v_stride + c * SQUARE, n) : zero;
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

#ifdef __AMX_BF16__

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

/* weights = exp(scale (scores - largest)) for the first n keys and zero beyond, for row r; returns their sum. */
VF_INLINE float softmax_row(const head_scratch *s, int64_t r, int64_t n, float scale)
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
    for (j = 0; j < s->key_steps * SQUARE; j += VF) {
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

/* Queries i .. i + n - 1, n at most 32. */
VF_INLINE void attend(const fbt_head *head, const head_scratch *s, int64_t i, int64_t n)
{
    const int64_t key_stride = s->key_steps * SQUARE, head_stride = s->head_steps * SQUARE;
    lay_out_rows(s->queries, (const uint16_t *)head->q + i * head->q_stride, head->q_stride, n, head->head_dim,
                 s->head_steps);
    for (int64_t k = 0; k < s->key_steps; k++) {
        square_product(s->scores + k * SQUARE, key_stride, s->queries, s->keys + k * s->head_steps * STEP,
                       s->head_steps, n);
    }
    float totals[SQUARE];
    for (int64_t r = 0; r < n; r++) {
        totals[r] = softmax_row(s, r, head->n_keys, head->scale);
    }
    for (int64_t c = 0; c < s->head_steps; c++) {
        square_product(s->sums + c * SQUARE, head_stride, s->weights, s->values + c * s->key_steps * STEP, s->key_steps,
                       n);
    }
    for (int64_t r = 0; r < n; r++) {
        const vf factor = vf_set(1.0f / totals[r]);
        uint16_t *y = (uint16_t *)head->y + (i + r) * head->y_stride;
        for (int64_t c = 0; c < head->head_dim; c += VF) {
            const int64_t m = head->head_dim - c < VF ? head->head_dim - c : VF;
            vf_store_bf16_n(y + c, vf_mul(vf_load(s->sums + r * head_stride + c), factor), m);
        }
    }
}

void FBT_ROWS(attention_bf16)(const fbt_head *head, void *scratch)
{
    head_scratch s = {0};
    scratch_bytes(&s, head->n_keys, head->head_dim, scratch);
    lay_out_keys(head, &s);
    lay_out_values(head, &s);
    for (int64_t i = 0; i < head->n_queries; i += SQUARE) {
        attend(head, &s, i, head->n_queries - i < SQUARE ? head->n_queries - i : SQUARE);
    }
}

#endif
