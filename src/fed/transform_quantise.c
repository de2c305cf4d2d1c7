/* Numbers of 1, 2, 4 or 8 bits (fed.quantise_bits = b): codes q = 0 .. L, L = 2^b - 1, stand for scale (2 q / L - 1).
 *
 * An update is quantised as its difference from the server's numbers, compared numbers (losses) as theirs from their
 * mean. A field is: the scale in float32; of compared numbers that mean in float32; the codes, the first in the lowest
 * bits of the first byte. All other fields travel as they are: step sizes, and the fitness that clients are ranked by.
 *
 * Rounding is stochastic: x = scale (2 t / L - 1) becomes the code floor(t) + 1 with probability t - floor(t), else
 * floor(t), so that its expectation is x and its variance (2 scale / L)^2 (t - floor(t)) (1 - t + floor(t)). The scale
 * is the largest |x|, rounded up to a float: QSGD (Alistarh et al. 2017, arXiv 1610.02132, 3.1) by the largest in place
 * of the Euclidean norm, and with one grid for every b, whose case b = 1 is that of scaled stochastic signs.
 *
 * With error feedback (fed.error_feedback; Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847, algorithm 2)
 * a client adds what its last message left out, and keeps what this one does. That needs a contraction, which
 * stochastic rounding is not (at 1 bit its error is larger than what is sent): an update is rounded to the nearest code
 * then, and the scale is the one of least squares, sum x g / sum g^2 over g = 2 q / L - 1. As every g has x's sign, the
 * error is shorter than x. At 1 bit that is sign(x) times the mean of |x|. */
#include "fed/transform.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Residuals are on every rank and in every round's checkpoint. */
enum { RESIDUALS_MAX = 1 << 24, RESIDUALS_MAX_MB = RESIDUALS_MAX / 1000000 * 8 };

static bool is_on(const fbt_settings *settings)
{
    return settings->fed.quantise_bits > 0;
}

static fbt_status check_feedback(const fbt_settings *settings, const fbt_schema *up)
{
    fbt_status status = FBT_OK;
    const fbt_field *update = fbt_schema_sent_update(up);
    if (update == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.error_feedback: clients of fed.protocol %s send no means, and losses of one population say "
                 "nothing about the next; set it to false",
                 fbt_settings_choice_name("fed.protocol", settings->fed.protocol));
    }
    if (settings->fed.clients > RESIDUALS_MAX / (update->count * fbt_settings_n_blocks(settings))) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.error_feedback: %" PRId64 " clients (fed.clients) that send %" PRId64
                 " numbers each (their %s) would keep more than %d numbers, %d MB on every rank and in every "
                 "checkpoint; lower one of them, or set it to false",
                 settings->fed.clients, update->count, update->name, RESIDUALS_MAX, RESIDUALS_MAX_MB);
    }
done:
    return status;
}

/* Whether there are fields whose senders weigh them. */
static bool sends_weighted(const fbt_settings *settings, const fbt_schema *up)
{
    return fbt_schema_n_summed(up) > 0 && fbt_settings_weighs_by_samples(settings);
}

static bool encodes(const fbt_field *field)
{
    return field->type == FBT_FIELD_UPDATE || field->type == FBT_FIELD_COMPARED;
}

static bool encodes_any(const fbt_schema *up)
{
    for (int f = 0; f < up->n_fields; f++) {
        if (encodes(&up->fields[f])) {
            return true;
        }
    }
    return false;
}

static fbt_status check(const fbt_settings *settings, const fbt_schema *up)
{
    const int64_t bits = settings->fed.quantise_bits;
    if (bits != 1 && bits != 2 && bits != 4 && bits != 8) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.quantise_bits: numbers of %" PRId64 " bits are not computed; use 1, 2, 4 or 8, or 0 for "
                        "none",
                        bits);
    }
    if (!encodes_any(up)) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.quantise_bits: clients of fed.protocol %s send no numbers to round; set it to 0",
                        fbt_settings_choice_name("fed.protocol", settings->fed.protocol));
    }
    if (sends_weighted(settings, up)) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.quantise_bits: with fed.weighting samples clients send covariances times their numbers of "
                        "samples, which are no update to quantise; use cma.covariance isotropic, or fed.weighting "
                        "uniform");
    }
    return settings->fed.error_feedback ? check_feedback(settings, up) : FBT_OK;
}

static int64_t head_bytes(const fbt_field *field)
{
    return (int64_t)sizeof(float) * (field->type == FBT_FIELD_COMPARED ? 2 : 1);
}

static int64_t n_bytes(const fbt_settings *settings, const fbt_field *field)
{
    return head_bytes(field) + (field->count * settings->fed.quantise_bits + 7) / 8;
}

/* A field while it is quantised. */
typedef struct grid {
    const fbt_passage *p;
    const double *values;
    const double *kept; /* [count]: what the sender's last message left out; NULL: nothing */
    int bits, largest;  /* code */
    float scale, level; /* level: what compared numbers are taken from */
} grid;

/* The number that is quantised in place of value i. */
static double number(const grid *g, int64_t i)
{
    const double base = g->p->reference != NULL ? g->p->reference[i] : (double)g->level;
    return g->values[i] - base + (g->kept != NULL ? g->kept[i] : 0);
}

static double of_code(const grid *g, int code)
{
    return 2 * (double)code / g->largest - 1;
}

/* Where x lies among the codes: in [0, L]. */
static double place(const grid *g, double x)
{
    return g->scale > 0 ? (x / (double)g->scale + 1) / 2 * g->largest : 0;
}

/* The code above with the probability of the part of the way to it, by one random number a value. */
static int round_stochastically(const grid *g, const fbt_rng_stream *stream, int64_t i)
{
    uint32_t words[4];
    const double t = place(g, number(g, i)), below = fmin(floor(t), g->largest - 1);
    fbt_rng_block(stream, (uint32_t)(i / 2), words);
    return (int)below + (fbt_rng_uniform_of(words + 2 * (i % 2)) < t - below);
}

static int round_to_nearest(const grid *g, int64_t i)
{
    return (int)fmin(floor(place(g, number(g, i)) + 0.5), g->largest);
}

static void put_code(const grid *g, unsigned char *codes, int64_t i, int code)
{
    const int64_t bit = i * g->bits;
    codes[bit / 8] = (unsigned char)(codes[bit / 8] | code << bit % 8);
}

static int get_code(const grid *g, const unsigned char *codes, int64_t i)
{
    const int64_t bit = i * g->bits;
    return codes[bit / 8] >> bit % 8 & g->largest;
}

/* A number that is none would become a code like any other. */
static fbt_status find_scale(grid *g)
{
    double largest = 0;
    for (int64_t i = 0; i < g->p->field->count; i++) {
        const double x = fabs(number(g, i));
        largest = x > largest || isnan(x) ? x : largest;
    }
    g->scale = (float)largest;
    if ((double)g->scale < largest) {
        g->scale = nextafterf(g->scale, INFINITY);
    }
    if (!isfinite(g->scale)) {
        return fbt_fail(FBT_ERR_NUMERIC, "a message's %s holds %g, which fed.quantise_bits cannot quantise; use 0",
                        g->p->field->name, largest);
    }
    return FBT_OK;
}

static void find_level(grid *g)
{
    double sum = 0;
    for (int64_t i = 0; g->p->field->type == FBT_FIELD_COMPARED && i < g->p->field->count; i++) {
        sum += g->values[i];
    }
    g->level = (float)(sum / (double)g->p->field->count);
}

/* The scale by which the codes are nearest to the numbers. */
static float least_squares(const grid *g, const unsigned char *codes)
{
    double product = 0, square = 0;
    for (int64_t i = 0; i < g->p->field->count; i++) {
        const double of = of_code(g, get_code(g, codes, i));
        product += number(g, i) * of;
        square += of * of;
    }
    return (float)(product / square);
}

static void keep_residual(const grid *g, const unsigned char *codes)
{
    for (int64_t i = 0; i < g->p->field->count; i++) {
        g->p->residual[i] = number(g, i) - (double)g->scale * of_code(g, get_code(g, codes, i));
    }
}

static grid grid_of(const fbt_passage *p, const double *values)
{
    const int bits = (int)p->uplink->settings->fed.quantise_bits;
    return (grid){.p = p,
                  .values = values,
                  .kept = p->residual == NULL ? NULL : fbt_uplink_residual(p->uplink, p->field, fbt_passage_client(p)),
                  .bits = bits,
                  .largest = (1 << bits) - 1};
}

static fbt_status encode(const fbt_passage *p, const double *values, void *bytes)
{
    fbt_status status = FBT_OK;
    grid g = grid_of(p, values);
    const fbt_rng_stream stream = fbt_passage_stream(p, FBT_RNG_QUANTISE);
    unsigned char *codes = (unsigned char *)bytes + head_bytes(p->field);
    find_level(&g);
    FBT_TRY(find_scale(&g));
    memset(bytes, 0, (size_t)n_bytes(p->uplink->settings, p->field));
    for (int64_t i = 0; i < p->field->count; i++) {
        put_code(&g, codes, i, g.kept != NULL ? round_to_nearest(&g, i) : round_stochastically(&g, &stream, i));
    }
    if (g.kept != NULL) {
        g.scale = least_squares(&g, codes);
        keep_residual(&g, codes);
    }
    memcpy(bytes, &g.scale, sizeof g.scale);
    if (p->field->type == FBT_FIELD_COMPARED) {
        memcpy((char *)bytes + sizeof g.scale, &g.level, sizeof g.level);
    }
done:
    return status;
}

static void decode(const fbt_passage *p, const void *bytes, double *values)
{
    grid g = grid_of(p, values);
    const unsigned char *codes = (const unsigned char *)bytes + head_bytes(p->field);
    memcpy(&g.scale, bytes, sizeof g.scale);
    if (p->field->type == FBT_FIELD_COMPARED) {
        memcpy(&g.level, (const char *)bytes + sizeof g.scale, sizeof g.level);
    }
    for (int64_t i = 0; i < p->field->count; i++) {
        const double base = p->reference != NULL ? p->reference[i] : (double)g.level;
        values[i] = base + (double)g.scale * of_code(&g, get_code(&g, codes, i));
    }
}

const fbt_transform fbt_transform_quantise = {
    .is_on = is_on,
    .check = check,
    .encodes = encodes,
    .n_bytes = n_bytes,
    .encode = encode,
    .decode = decode,
};
