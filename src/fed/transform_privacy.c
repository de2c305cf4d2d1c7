/* Client-level differential privacy by the Gaussian mechanism (McMahan et al. 2018, arXiv 1710.06963; docs/privacy.md).
 *
 * A client's message is one vector x: its update of the mean, or its losses less their mean. It is scaled down to the
 * Euclidean norm privacy.clip = C, so that one client moves the server's average sum_k w_k x_k by w_k C at most, and
 * gets its share of noise: normal, of standard deviation z C max(w) / (w_k sqrt(m)) in every component, with z the
 * noise multiplier and m participants of weight above 0. The average then holds noise of z C max(w), z times what any
 * client can move it by, whatever the weights.
 *
 * All else that tells of a client's data stays there: step sizes arrive as the server's own, the losses' mean as 0. */
#include "fed/transform.h"

#include <math.h>

static bool is_on(const fbt_settings *settings)
{
    return settings->privacy.clip > 0 || settings->privacy.noise_multiplier > 0;
}

static bool is_vector(const fbt_field *field)
{
    return field->type == FBT_FIELD_UPDATE || field->type == FBT_FIELD_COMPARED;
}

static bool is_withheld(const fbt_field *field)
{
    return field->type == FBT_FIELD_POSITIVE;
}

/* One vector, and nothing beside it that is not withheld. */
static fbt_status check_fields(const fbt_settings *settings, const fbt_schema *up)
{
    fbt_status status = FBT_OK;
    int n_vectors = 0;
    for (int f = 0; f < up->n_fields; f++) {
        const fbt_field *field = &up->fields[f];
        if (fbt_field_travels(field)) {
            n_vectors += is_vector(field);
            if (!is_vector(field) && !is_withheld(field)) {
                FBT_FAIL(FBT_ERR_CONFIG, "privacy.clip: clients would send their %s as it is", field->name);
            }
        }
    }
    if (n_vectors != 1) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "privacy.clip: clients would send the shape of their search (fed.optimiser %s, cma.covariance %s) "
                 "beside its mean, neither clipped nor noised; use cma with cma.covariance isotropic",
                 fbt_optimiser_names[settings->fed.optimiser], fbt_cma_covariance_names[settings->cma.covariance]);
    }
done:
    return status;
}

static fbt_status check(const fbt_settings *settings, const fbt_schema *up)
{
    fbt_status status = FBT_OK;
    if (settings->privacy.clip == 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "privacy.noise_multiplier: %g times privacy.clip, which is 0; set privacy.clip to the largest norm "
                 "that a client's message may have",
                 settings->privacy.noise_multiplier);
    }
    if (settings->fed.quantise_bits > 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "fed.quantise_bits: messages are rounded one by one, which the noise of their average "
                                 "(privacy.clip) does not cover; set one of the two to 0");
    }
    FBT_TRY(check_fields(settings, up));
done:
    return status;
}

/* The largest weight by the sender's, over the root of how many have any. A weight of 0 adds nothing to the average. */
static double share_of_noise(const fbt_passage *p)
{
    const fbt_uplink *uplink = p->uplink;
    const double own = uplink->weights == NULL ? 1 : uplink->weights[p->slot];
    double largest = own;
    int64_t n = 0;
    for (int64_t i = 0; i < uplink->n_participants; i++) {
        const double weight = uplink->weights == NULL ? 1 : uplink->weights[i];
        largest = fmax(largest, weight);
        n += weight > 0;
    }
    return own > 0 ? largest / own / sqrt((double)n) : 0;
}

/* Standard normal numbers i and i + 1, i even, of a stream: Box and Muller 1958. */
static void draw_two(const fbt_rng_stream *stream, int64_t i, double normal[2])
{
    uint32_t words[4];
    fbt_rng_block(stream, (uint32_t)(i / 2), words);
    const double radius = sqrt(-2 * log(1 - fbt_rng_uniform_of(words)));
    const double angle = 2 * M_PI * fbt_rng_uniform_of(words + 2);
    normal[0] = radius * cos(angle);
    normal[1] = radius * sin(angle);
}

static void add_noise(const fbt_passage *p, double deviation, double *x)
{
    const fbt_rng_stream stream = fbt_passage_stream(p, FBT_RNG_NOISE);
    for (int64_t i = 0; i < p->field->count; i += 2) {
        double normal[2];
        draw_two(&stream, i, normal);
        for (int64_t k = i; k < i + 2 && k < p->field->count; k++) {
            x[k] += deviation * normal[k - i];
        }
    }
}

static void clip(double largest_norm, int64_t n, double *x)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++) {
        square += x[i] * x[i];
    }
    const double factor = square > largest_norm * largest_norm ? largest_norm / sqrt(square) : 1;
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

static double mean_of(int64_t n, const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / (double)n;
}

/* A number that is none has no norm: it would pass unclipped. */
static fbt_status check_numbers(const fbt_passage *p, const double *x)
{
    for (int64_t i = 0; i < p->field->count; i++) {
        if (!isfinite(x[i])) {
            return fbt_fail(FBT_ERR_NUMERIC, "a message's %s holds %g, which privacy.clip cannot clip", p->field->name,
                            x[i]);
        }
    }
    return FBT_OK;
}

static fbt_status change(const fbt_passage *p, double *values)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = p->uplink->settings;
    const int64_t n = p->field->count;
    if (!is_vector(p->field)) {
        goto done;
    }
    FBT_TRY(check_numbers(p, values));
    const double level = p->reference == NULL ? mean_of(n, values) : 0;
    for (int64_t i = 0; i < n; i++) {
        values[i] -= p->reference == NULL ? level : p->reference[i];
    }
    clip(settings->privacy.clip, n, values);
    if (settings->privacy.noise_multiplier > 0) {
        add_noise(p, settings->privacy.noise_multiplier * settings->privacy.clip * share_of_noise(p), values);
    }
    for (int64_t i = 0; p->reference != NULL && i < n; i++) {
        values[i] += p->reference[i];
    }
done:
    return status;
}

static int64_t n_bytes(const fbt_settings *settings, const fbt_field *field)
{
    (void)settings;
    (void)field;
    return 0;
}

static fbt_status encode(const fbt_passage *p, const double *values, void *bytes)
{
    (void)p;
    (void)values;
    (void)bytes;
    return FBT_OK;
}

/* The server goes on with its own. */
static void decode(const fbt_passage *p, const void *bytes, double *values)
{
    const double *own = fbt_messages_field(p->uplink->down, "step_size");
    (void)bytes;
    for (int64_t i = 0; i < p->field->count; i++) {
        values[i] = *own;
    }
}

const fbt_transform fbt_transform_privacy = {
    .is_on = is_on,
    .of_averages = "privacy.clip",
    .check = check,
    .change = change,
    .encodes = is_withheld,
    .n_bytes = n_bytes,
    .encode = encode,
    .decode = decode,
};
