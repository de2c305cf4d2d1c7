#include "model/families/rotary.h"

#include <math.h>
#include <string.h>

/* ---- config.json */

static const struct {
    const char *name;
    fbt_rotary_kind kind;
    bool has_factor;
} kinds[] = {
    {"default", FBT_ROTARY_DEFAULT, false}, {"linear", FBT_ROTARY_LINEAR, true}, {"dynamic", FBT_ROTARY_DEFAULT, true},
    {"llama3", FBT_ROTARY_LLAMA3, true},    {"yarn", FBT_ROTARY_YARN, true},
};

/* The object of the older or the newer key, of which transformers prefers the older; an empty one where there is
 * neither. */
static fbt_status find_parameters(const fbt_json_file *config, fbt_json_file *parameters)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    *parameters = (fbt_json_file){.path = config->path};
    for (int i = 0; i < 2; i++) {
        json_t *value = json_object_get(config->value, keys[i]);
        if (json_object_size(value) > 0 && parameters->value == NULL) {
            parameters->value = value;
        } else if (value != NULL && !json_is_null(value) && !json_is_object(value)) {
            return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is not an object", config->path, keys[i]);
        }
    }
    return FBT_OK;
}

/* One set of parameters for every layer. */
static fbt_status refuse_nested(const fbt_json_file *parameters)
{
    const char *key;
    json_t *value;
    json_object_foreach(parameters->value, key, value)
    {
        if (json_is_object(value)) {
            return fbt_fail(FBT_ERR_MODEL,
                            "%s: rotary positions differ between layers ('%s' has parameters of its own), which this "
                            "program does not compute",
                            parameters->path, key);
        }
    }
    return FBT_OK;
}

static fbt_status read_kind(const fbt_json_file *parameters, fbt_rotary_shape *rotary, bool *has_factor)
{
    fbt_status status = FBT_OK;
    const char *name;
    FBT_TRY(fbt_json_file_text(parameters, "type", "default", &name));
    FBT_TRY(fbt_json_file_text(parameters, "rope_type", name, &name));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            rotary->kind = kinds[i].kind;
            *has_factor = kinds[i].has_factor;
            goto done;
        }
    }
    FBT_FAIL(FBT_ERR_MODEL, "%s: rope_type is '%s'; this program knows default, linear, dynamic, llama3 and yarn",
             parameters->path, name);
done:
    return status;
}

/* Yarn's factor may follow from the lengths. */
static fbt_status read_factor(const fbt_json_file *parameters, fbt_model_shape *shape)
{
    fbt_rotary_shape *rotary = &shape->decoder.rotary;
    const bool is_yarn = rotary->kind == FBT_ROTARY_YARN && json_object_get(parameters->value, "factor") != NULL;
    const double ratio = (double)shape->n_positions / rotary->original_positions;
    return fbt_json_file_number(parameters, "factor", 1e-3, 1e6, is_yarn ? ratio : NAN, &rotary->factor);
}

static fbt_status read_llama3(const fbt_json_file *parameters, fbt_rotary_shape *rotary)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_json_file_number(parameters, "low_freq_factor", 1e-6, 1e6, NAN, &rotary->low_frequency));
    FBT_TRY(fbt_json_file_number(parameters, "high_freq_factor", 1e-6, 1e6, NAN, &rotary->high_frequency));
    if (!(rotary->high_frequency > rotary->low_frequency)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: high_freq_factor %g is not above low_freq_factor %g", parameters->path,
                 rotary->high_frequency, rotary->low_frequency);
    }
done:
    return status;
}

static double yarn_scale(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

/* 0 is as good as no value to transformers. */
static double or_default(double value, double fallback)
{
    return value != 0 ? value : fallback;
}

static fbt_status read_yarn(const fbt_json_file *parameters, fbt_rotary_shape *rotary)
{
    fbt_status status = FBT_OK;
    double scale, scale_all;
    bool is_truncated;
    FBT_TRY(fbt_json_file_number(parameters, "beta_fast", 0, 1e6, 0, &rotary->beta_fast));
    FBT_TRY(fbt_json_file_number(parameters, "beta_slow", 0, 1e6, 0, &rotary->beta_slow));
    FBT_TRY(fbt_json_file_number(parameters, "mscale", 0, 1e6, 0, &scale));
    FBT_TRY(fbt_json_file_number(parameters, "mscale_all_dim", 0, 1e6, 0, &scale_all));
    FBT_TRY(fbt_json_file_flag(parameters, "truncate", true, &is_truncated));
    const bool is_scaled = scale != 0 && scale_all != 0;
    FBT_TRY(fbt_json_file_number(parameters, "attention_factor", 0, 1e6,
                                 is_scaled ? yarn_scale(rotary->factor, scale) / yarn_scale(rotary->factor, scale_all)
                                           : yarn_scale(rotary->factor, 1),
                                 &rotary->attention_factor));
    rotary->beta_fast = or_default(rotary->beta_fast, 32);
    rotary->beta_slow = or_default(rotary->beta_slow, 1);
    rotary->is_truncated = is_truncated;
done:
    return status;
}

/* Those of the kind. A length beside the parameters goes before one among them. */
static fbt_status read_scaling(const fbt_json_file *config, const fbt_json_file *parameters, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_rotary_shape *rotary = &shape->decoder.rotary;
    const char *const key = "original_max_position_embeddings";
    bool has_factor = false;
    FBT_TRY(read_kind(parameters, rotary, &has_factor));
    FBT_TRY(fbt_json_file_number(parameters, key, 1, 1e9, (double)shape->n_positions, &rotary->original_positions));
    FBT_TRY(fbt_json_file_number(config, key, 1, 1e9, rotary->original_positions, &rotary->original_positions));
    FBT_TRY(has_factor ? read_factor(parameters, shape) : FBT_OK);
    FBT_TRY(rotary->kind == FBT_ROTARY_LLAMA3 ? read_llama3(parameters, rotary) : FBT_OK);
    FBT_TRY(rotary->kind == FBT_ROTARY_YARN ? read_yarn(parameters, rotary) : FBT_OK);
done:
    return status;
}

fbt_status fbt_rotary_read(const fbt_json_file *config, const fbt_rotary_keys *keys, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_rotary_shape *rotary = &shape->decoder.rotary;
    fbt_json_file parameters;
    double share;
    *rotary = (fbt_rotary_shape){.attention_factor = 1};
    FBT_TRY(find_parameters(config, &parameters));
    FBT_TRY(refuse_nested(&parameters));
    FBT_TRY(fbt_json_file_number(config, keys->theta, 1, 1e12, 1e4, &rotary->theta));
    FBT_TRY(fbt_json_file_number(&parameters, "rope_theta", 1, 1e12, rotary->theta, &rotary->theta));
    FBT_TRY(fbt_json_file_number(config, keys->share, 0, 1, keys->default_share, &share));
    FBT_TRY(fbt_json_file_number(&parameters, "partial_rotary_factor", 0, 1, share, &share));
    FBT_TRY(read_scaling(config, &parameters, shape));
    rotary->n_rotated = (int64_t)((double)shape->head_dim * share);
    if (rotary->n_rotated < 2 || rotary->n_rotated % 2 != 0) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: rotary positions turn %g of a head of %lld, which is no even number of elements from 2 on",
                 config->path, share, (long long)shape->head_dim);
    }
done:
    return status;
}

/* ---- Tables */

/* Long waves are slowed down by the factor, short ones left as they are, and those between are blended. */
static double scale_llama3(const fbt_rotary_shape *r, double frequency)
{
    const double turns = r->original_positions * frequency / (2 * M_PI);
    const double share = (turns - r->low_frequency) / (r->high_frequency - r->low_frequency);
    const double kept = fmin(1, fmax(0, share));
    return (1 - kept) * frequency / r->factor + kept * frequency;
}

/* Number of the pair that turns so often within the original positions. */
static double yarn_pair(const fbt_rotary_shape *r, double turns)
{
    return (double)r->n_rotated * log(r->original_positions / (turns * 2 * M_PI)) / (2 * log(r->theta));
}

/* Pairs in front of `low` keep their frequency, those behind `high` are slowed down by the factor. */
static double scale_yarn(const fbt_rotary_shape *r, int64_t pair, double frequency)
{
    const double fast = yarn_pair(r, r->beta_fast), slow = yarn_pair(r, r->beta_slow);
    const double low = fmax(0, r->is_truncated ? floor(fast) : fast);
    const double end = fmin((double)r->n_rotated - 1, r->is_truncated ? ceil(slow) : slow);
    const double high = low == end ? end + 0.001 : end;
    const double slowed = fmin(1, fmax(0, ((double)pair - low) / (high - low)));
    return slowed * frequency / r->factor + (1 - slowed) * frequency;
}

/* Angle per position. The power is rounded to float as in transformers, which computes it so. */
static float frequency_of(const fbt_rotary_shape *r, int64_t pair)
{
    const float exponent = (float)(2 * pair) / (float)r->n_rotated;
    const double frequency = 1.0F / (float)pow(r->theta, (double)exponent);
    switch (r->kind) {
    case FBT_ROTARY_LINEAR:
        return (float)(frequency / r->factor);
    case FBT_ROTARY_LLAMA3:
        return (float)scale_llama3(r, frequency);
    case FBT_ROTARY_YARN:
        return (float)scale_yarn(r, pair, frequency);
    case FBT_ROTARY_DEFAULT:
        break;
    }
    return (float)frequency;
}

/* f of the angle, a float as in transformers, at every position. */
static void tabulate(const fbt_model_shape *shape, double (*f)(double), float *values)
{
    const fbt_rotary_shape *r = &shape->decoder.rotary;
    const int64_t n_pairs = r->n_rotated / 2;
    for (int64_t pair = 0; pair < n_pairs; pair++) {
        const float frequency = frequency_of(r, pair);
        for (int64_t position = 0; position < shape->n_positions; position++) {
            const float angle = (float)position * frequency;
            values[position * n_pairs + pair] = (float)(f((double)angle) * r->attention_factor);
        }
    }
}

void fbt_rotary_cosines(const fbt_model_shape *shape, float *values)
{
    tabulate(shape, cos, values);
}

void fbt_rotary_sines(const fbt_model_shape *shape, float *values)
{
    tabulate(shape, sin, values);
}
