/* Matrix products by panels. Compiled once for each kind (CMakeLists.txt): FBT_ISA names it, FBT_PANELS_BF16 says
 * that it multiplies bfloat16. The backend picks one when it opens (isa.c). */
#include "kernels/cpu/panels.h"
#include "kernels/cpu/activate.h"
#include "kernels/cpu/simd_typed.h"

/* A step of a sum takes a word of 32 bits of each operand: an element in fp32, a pair of them in bfloat16. */
#ifdef FBT_PANELS_BF16
enum { DTYPE = FBT_BF16, ELEMENTS = 2 };
#else
enum { DTYPE = FBT_F32, ELEMENTS = 1 };
#endif
enum { ELEMENT_BYTES = 4 / ELEMENTS };

/* Rows and outputs whose sums stay in registers: 12 of 16, or 24 of 32. */
enum { ROWS = VF == 16 ? 12 : 6, OUTPUTS = 2 * VF };

/* Words of a sum that are added up in registers, and the distance between rows of x in scratch memory: a whole
 * number of lines of the cache that is no power of two, so that the rows of a strip lie in different sets. On AVX2 the
 * products of MiniLM (n_in 384) are 5% slower at 256; on AVX-512 those of RoBERTa-large are 3% slower at 384. */
enum { DEPTH = VF == 16 ? 768 : 384, X_STRIDE = DEPTH + 16 };

static int64_t x_floats(int64_t n_rows)
{
    return n_rows * X_STRIDE;
}

static int64_t sum_floats(int64_t n_rows, int64_t n_out)
{
    return n_rows * fbt_n_parts(n_out, OUTPUTS) * OUTPUTS;
}

static int64_t scratch_bytes(int64_t n_rows, int64_t n_out)
{
    return (x_floats(n_rows) + sum_floats(n_rows, n_out)) * (int64_t)sizeof(float);
}

static int64_t panel_bytes(int64_t n_in)
{
    return fbt_n_parts(n_in, ELEMENTS) * OUTPUTS * (int64_t)sizeof(float);
}

static void pack(void *weights, const void *rows, int64_t n_out, int64_t n_in)
{
    char *to = weights;
    const char *from = rows;
    memset(to, 0, (size_t)panel_bytes(n_in));
    for (int64_t o = 0; o < n_out; o++) {
        for (int64_t k = 0; k < n_in; k++) {
            const int64_t place = (k / ELEMENTS * OUTPUTS + o) * ELEMENTS + k % ELEMENTS;
            memcpy(to + place * ELEMENT_BYTES, from + (o * n_in + k) * ELEMENT_BYTES, ELEMENT_BYTES);
        }
    }
}

/* sum + x w, in bfloat16 for both elements of a word: first that of the lower half, as the processor does it. */
VF_INLINE vf add_word(vf sum, vf x, vf w)
{
#ifdef FBT_PANELS_BF16
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
#else
    return vf_fma(x, w, sum);
#endif
}

/* sums[r][o] += sum over k < depth of x[r][k] weights[k][o], by words. With a constant n_rows all sums are in
 * registers.
 */
VF_INLINE void add_products(float *sums, const float *x, const float *weights, int64_t depth, int n_rows)
{
    vf s[ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < n_rows; r++) {
        s[r][0] = s[r][1] = vf_set(0);
    }
    for (int64_t k = 0; k < depth; k++, weights += OUTPUTS) {
        const vf w0 = vf_load(weights), w1 = vf_load(weights + VF);
#pragma GCC unroll 12
        for (int r = 0; r < n_rows; r++) {
            const vf xr = vf_set(x[r * X_STRIDE + k]);
            s[r][0] = add_word(s[r][0], xr, w0);
            s[r][1] = add_word(s[r][1], xr, w1);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < n_rows; r++, sums += OUTPUTS) {
        vf_store(sums, vf_add(vf_load(sums), s[r][0]));
        vf_store(sums + VF, vf_add(vf_load(sums + VF), s[r][1]));
    }
}

/* Rows of the next strip, of so many that are left: as many as there is a case for in add_strip. */
static int64_t strip_rows(int64_t n_left)
{
    return n_left >= ROWS ? ROWS : n_left >= ROWS / 2 ? ROWS / 2 : n_left >= 2 ? 2 : 1;
}

static void add_strip(float *sums, const float *x, const float *weights, int64_t depth, int64_t n_rows)
{
    switch (n_rows) {
    case ROWS:
        add_products(sums, x, weights, depth, ROWS);
        break;
    case ROWS / 2:
        add_products(sums, x, weights, depth, ROWS / 2);
        break;
    case 2:
        add_products(sums, x, weights, depth, 2);
        break;
    default:
        add_products(sums, x, weights, depth, 1);
    }
}

/* A result of a strip and a panel, whose sums are complete; at: its first element in y. factor_sums, factor_bias: of a
 * gate's other half, or NULL. */
typedef struct strip_result {
    const float *sums, *bias, *factor_sums, *factor_bias;
    int64_t at, n_rows, n_out;
} strip_result;

/* Bias, activation, factor, residual and the place in y of n outputs, at most a vector, from output `o` of row `r`. */
VF_INLINE void finish_vector(const fbt_panel_product *p, const strip_result *s, fbt_activation activation, int64_t r,
                             int64_t o, int64_t n)
{
    const fbt_dtype dtype = (int)DTYPE == (int)FBT_F32 ? FBT_F32 : p->y_dtype;
    const int64_t i = r * OUTPUTS + o, at = s->at + r * p->y_stride + o;
    vf y = vf_activate(activation, vf_add(vf_load(s->sums + i), vf_load(s->bias + o)));
    if (s->factor_sums != NULL) {
        y = vf_mul(y, vf_add(vf_load(s->factor_sums + i), vf_load(s->factor_bias + o)));
    }
    if (p->residual != NULL) {
        y = vf_add(y, vf_load_typed_n(p->residual, dtype, at, n));
    }
    vf_store_typed_n(p->y, dtype, at, y, n);
}

VF_INLINE void finish_as(const fbt_panel_product *p, const strip_result *s, fbt_activation activation)
{
    for (int64_t r = 0; r < s->n_rows; r++) {
        finish_vector(p, s, activation, r, 0, fbt_smaller(s->n_out, VF));
        if (s->n_out > VF) {
            finish_vector(p, s, activation, r, VF, s->n_out - VF);
        }
    }
}

/* With a constant activation its coefficients stay in registers. */
static void finish_strip(const fbt_panel_product *p, const strip_result *s)
{
    switch (p->activation) {
    case FBT_ACT_NONE:
        finish_as(p, s, FBT_ACT_NONE);
        break;
    case FBT_ACT_GELU_ERF:
        finish_as(p, s, FBT_ACT_GELU_ERF);
        break;
    case FBT_ACT_GELU_TANH:
        finish_as(p, s, FBT_ACT_GELU_TANH);
        break;
    case FBT_ACT_SILU:
        finish_as(p, s, FBT_ACT_SILU);
        break;
    default:
        finish_as(p, s, p->activation);
    }
}

/* One panel, over a block of words of the sums. */
typedef struct panel_step {
    int64_t output, depth;
    int finishes;                /* the sums are complete then, and those of factor_sums are */
    const float *weights, *next; /* next: the weights that come next */
    float *sums;
    const float *factor_sums; /* of a gate's other half, or NULL */
} panel_step;

/* All strips of rows; each fetches its share of the next weights. */
static void add_panel(const fbt_panel_product *p, const float *x, const panel_step *step)
{
    const int64_t share = fbt_n_parts(step->depth, fbt_n_parts(p->n_rows, ROWS)) * OUTPUTS;
    const float *next = step->next;
    for (int64_t row = 0, n; row < p->n_rows; row += n, next += share) {
        n = strip_rows(p->n_rows - row);
        float *sums = step->sums + row * OUTPUTS;
        const int is_gated = step->factor_sums != NULL;
        const strip_result result = {.sums = sums,
                                     .bias = p->bias + step->output,
                                     .factor_sums = is_gated ? step->factor_sums + row * OUTPUTS : NULL,
                                     .factor_bias = is_gated ? p->factor_bias + step->output : NULL,
                                     .at = row * p->y_stride + step->output,
                                     .n_rows = n,
                                     .n_out = fbt_smaller(p->n_out - step->output, OUTPUTS)};
        for (int64_t i = 0; i < share; i += 16) {
            __builtin_prefetch(next + i, 0, 2);
        }
        if (step->finishes) {
            vf_fetch_rows(p->y, p->residual, p->y_dtype, result.at, p->y_stride, n);
        }
        add_strip(sums, x + row * X_STRIDE, step->weights, step->depth, n);
        if (step->finishes) {
            finish_strip(p, &result);
        }
    }
}

/* Words first .. first + depth - 1 of every row; a last pair that is half a pair: with zero. */
static void copy_rows(float *x, const fbt_panel_product *p, int64_t first, int64_t depth)
{
    const int64_t n = fbt_smaller(p->n_in - first * ELEMENTS, depth * ELEMENTS);
    for (int64_t r = 0; r < p->n_rows; r++, x += X_STRIDE) {
        x[depth - 1] = 0;
        memcpy(x, (const char *)p->x + (r * p->n_in + first * ELEMENTS) * ELEMENT_BYTES, (size_t)(n * ELEMENT_BYTES));
    }
}

/* Panel j over words k .. k + depth - 1 of the sums; of a gate, that of the other half before it. */
static void add_outputs(const fbt_panel_product *p, const float *x, float *sums, int64_t j, int64_t k, int64_t depth)
{
    const int64_t n_words = fbt_n_parts(p->n_in, ELEMENTS), place = (j * n_words + k) * OUTPUTS;
    const int64_t n_panels = fbt_n_parts(p->n_out, OUTPUTS), panel_sums = sum_floats(p->n_rows, 1);
    const int64_t after = j + 1 < n_panels ? place + n_words * OUTPUTS : (k + depth) * OUTPUTS;
    const float *weights = p->weights, *factor_weights = p->factor_weights;
    panel_step step = {.output = j * OUTPUTS,
                       .depth = depth,
                       .finishes = k + depth == n_words,
                       .weights = weights + place,
                       .next = (factor_weights != NULL ? factor_weights : weights) + after,
                       .sums = sums + j * panel_sums};
    if (factor_weights != NULL) {
        const panel_step factor = {.output = j * OUTPUTS,
                                   .depth = depth,
                                   .weights = factor_weights + place,
                                   .next = step.weights,
                                   .sums = sums + (n_panels + j) * panel_sums};
        add_panel(p, x, &factor);
        step.factor_sums = factor.sums;
    }
    add_panel(p, x, &step);
}

static void multiply(const fbt_panel_product *p, void *scratch)
{
    float *x = scratch, *sums = x + x_floats(p->n_rows);
    const int64_t n_panels = fbt_n_parts(p->n_out, OUTPUTS), n_words = fbt_n_parts(p->n_in, ELEMENTS);
    const int64_t n_sums = sum_floats(p->n_rows, p->n_out) * (p->factor_weights != NULL ? 2 : 1);
    memset(sums, 0, (size_t)n_sums * sizeof *sums);
    for (int64_t k = 0; k < n_words; k += DEPTH) {
        const int64_t depth = fbt_smaller(n_words - k, DEPTH);
        copy_rows(x, p, k, depth);
        for (int64_t j = 0; j < n_panels; j++) {
            add_outputs(p, x, sums, j, k, depth);
        }
    }
}

#define NAME_OF(isa) fbt_panels_##isa
#define NAME(isa) NAME_OF(isa)

const fbt_panel_kernels NAME(FBT_ISA) = {.dtype = (fbt_dtype)DTYPE,
                                         .n_rows = ROWS,
                                         .n_outputs = OUTPUTS,
                                         .panel_bytes = panel_bytes,
                                         .pack = pack,
                                         .multiply = multiply,
                                         .scratch_bytes = scratch_bytes};
