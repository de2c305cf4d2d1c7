/* The random axes of a sweep: n draws of one or several settings. */
#include "sweep/sweep_internal.h"

#include "base/digest.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum law { LAW_UNIFORM, LAW_LOG_UNIFORM, LAW_INTEGER, LAW_CHOICE } law;
static const char *const law_names[] = {"uniform", "log_uniform", "integer", "choice"};
enum { N_LAWS = 4 };

/* How one setting is drawn. */
typedef struct source {
    const fbt_option *option;
    law law;
    size_t line;
    fbt_sweep_items values; /* low and high, or what is chosen from */
    double low, high;
} source;

/* A plain integer of the section `random` itself. */
static fbt_status read_integer(const fbt_sweep_spec *spec, const yaml_node_t *random, const char *key, int64_t low,
                               int64_t high, int64_t *number)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES], full[32];
    const yaml_node_t *value = fbt_sweep_find(spec->yaml, random, key);
    if (value == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG, "%srandom: `%s` is missing; it needs draws, seed and settings",
                 fbt_yaml_where(spec->yaml, random, where), key);
    }
    fbt_yaml_where(spec->yaml, value, where);
    snprintf(full, sizeof full, "random.%s", key);
    FBT_TRY(fbt_yaml_check_scalar(where, full, value));
    const char *text = fbt_yaml_text(value);
    errno = 0;
    *number = strtoll(text, NULL, 10);
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text) || errno != 0 || *number < low || *number > high ||
        value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: expected an integer from %" PRId64 " to %" PRId64 ", not %s", where, full, low,
                 high, fbt_option_quote(text, value->data.scalar.length, quote));
    }
done:
    return status;
}

/* `{uniform: [0, 1]}` */
static fbt_status read_law(const fbt_sweep_spec *spec, const yaml_node_t *node, source *s, const yaml_node_t **list)
{
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    fbt_yaml_where(spec->yaml, node, where);
    if (node->type != YAML_MAPPING_NODE || fbt_sweep_length(node) != 1) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "%s%s: expected one of {uniform: [low, high]}, {log_uniform: [low, high]}, "
                        "{integer: [low, high]} and {choice: [value, ...]}",
                        where, s->option->key);
    }
    const yaml_node_t *key = fbt_yaml_node(spec->yaml, node->data.mapping.pairs.start->key);
    *list = fbt_yaml_node(spec->yaml, node->data.mapping.pairs.start->value);
    for (int i = 0; key->type == YAML_SCALAR_NODE && i < N_LAWS; i++) {
        if (strcmp(law_names[i], fbt_yaml_text(key)) == 0) {
            s->law = (law)i;
            return FBT_OK;
        }
    }
    return fbt_fail(FBT_ERR_CONFIG, "%s%s: unknown distribution %s; use uniform, log_uniform, integer or choice", where,
                    s->option->key,
                    key->type == YAML_SCALAR_NODE ? fbt_option_quote(fbt_yaml_text(key), key->data.scalar.length, quote)
                                                  : "(a list)");
}

/* The bounds of what is not a choice. */
static fbt_status check_range(const fbt_sweep_spec *spec, source *s, const yaml_node_t *list)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const char *name = law_names[s->law];
    fbt_option_kind kind = s->law == LAW_INTEGER ? FBT_OPTION_INT : FBT_OPTION_REAL;
    fbt_yaml_where(spec->yaml, list, where);
    if (s->option->kind != kind) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: %s draws %s, and the setting is none; use %s", where, s->option->key, name,
                 kind == FBT_OPTION_INT ? "integers" : "numbers",
                 s->option->kind == FBT_OPTION_INT ? "integer" : "choice");
    }
    if (s->values.n != 2) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: %s needs two bounds, [low, high], not %" PRId64, where, s->option->key, name,
                 s->values.n);
    }
    s->low = strtod(s->values.items[0].text, NULL);
    s->high = strtod(s->values.items[1].text, NULL);
    if (s->low >= s->high) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: the lower bound %s is not below the upper bound %s", where, s->option->key,
                 s->values.items[0].text, s->values.items[1].text);
    }
    if (s->law == LAW_LOG_UNIFORM && s->low <= 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: log_uniform needs bounds above 0", where, s->option->key);
    }
    if (s->law == LAW_INTEGER && s->high > 4294967296.0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: integer draws up to 4294967296", where, s->option->key);
    }
done:
    return status;
}

static fbt_status read_source(fbt_sweep_spec *spec, const yaml_node_pair_t *pair, source *s)
{
    fbt_status status = FBT_OK;
    const yaml_node_t *key = fbt_yaml_node(spec->yaml, pair->key), *list = NULL;
    FBT_TRY(fbt_sweep_read_key(spec, key, &s->option));
    FBT_TRY(fbt_sweep_add_axis(spec, s->option, key));
    s->line = fbt_yaml_line(key);
    FBT_TRY(read_law(spec, fbt_yaml_node(spec->yaml, pair->value), s, &list));
    FBT_TRY(fbt_sweep_check_list(spec->yaml, s->option->key, list));
    FBT_TRY(fbt_memory_alloc(&s->values.items, fbt_sweep_length(list), sizeof *s->values.items));
    for (int64_t i = 0; i < fbt_sweep_length(list); i++) {
        const yaml_node_t *value = fbt_yaml_node(spec->yaml, list->data.sequence.items.start[i]);
        FBT_TRY(fbt_sweep_read_item(spec, s->option, value, &s->values.items[i]));
        s->values.n++;
    }
    if (s->law != LAW_CHOICE) {
        FBT_TRY(check_range(spec, s, list));
    }
done:
    return status;
}

/* 53 random bits in [0, 1): a hash of what is drawn, so that a draw depends on its seed, setting and number and on
 * nothing else. */
static fbt_status uniform(int64_t seed, const char *key, int64_t index, double *u)
{
    fbt_status status = FBT_OK;
    char text[160], hex[FBT_DIGEST_TEXT_BYTES];
    const int n = snprintf(text, sizeof text, "fedbpt sweep %" PRId64 " %s %" PRId64, seed, key, index);
    FBT_TRY(fbt_digest_bytes(text, (size_t)n, hex));
    hex[16] = '\0';
    *u = (double)(strtoull(hex, NULL, 16) >> 11) / 9007199254740992.0;
done:
    return status;
}

/* A drawn number with five significant digits, unless those lead out of the bounds. */
static void number_text(const source *s, double value, char text[32])
{
    snprintf(text, 32, "%.5g", value);
    double rounded = strtod(text, NULL);
    if (rounded < s->low || rounded > s->high) {
        snprintf(text, 32, "%.17g", value);
    }
}

static fbt_status draw(fbt_sweep_spec *spec, const source *s, int64_t seed, int64_t index, fbt_sweep_item *item)
{
    fbt_status status = FBT_OK;
    double u, width = s->high - s->low;
    char text[32];
    const char *value = text;
    FBT_TRY(uniform(seed, s->option->key, index, &u));
    switch (s->law) {
    case LAW_UNIFORM:
        number_text(s, s->low + u * width, text);
        break;
    case LAW_LOG_UNIFORM:
        number_text(s, s->low * exp(u * log(s->high / s->low)), text);
        break;
    case LAW_INTEGER:
        snprintf(text, sizeof text, "%.0f", s->low + floor(u * (width + 1)));
        break;
    case LAW_CHOICE:
        value = s->values.items[(int64_t)(u * (double)s->values.n)].text;
        break;
    }
    fbt_option_input input = {.where = "random: ", .text = value, .n_bytes = strlen(value)};
    FBT_TRY(fbt_option_set(s->option, &input, &spec->scratch));
    *item = (fbt_sweep_item){.option = s->option, .line = s->line};
    FBT_TRY(fbt_option_value_text(s->option, &spec->scratch, &item->text));
done:
    return status;
}

static fbt_status read_sources(fbt_sweep_spec *spec, const yaml_node_t *random, source **sources, int64_t *n)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const yaml_node_t *settings = fbt_sweep_find(spec->yaml, random, "settings");
    if (settings == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG, "%srandom: `settings` is missing; it needs draws, seed and settings",
                 fbt_yaml_where(spec->yaml, random, where));
    }
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "random.settings", settings));
    FBT_TRY(fbt_memory_alloc(sources, fbt_sweep_length(settings), sizeof **sources));
    const yaml_node_pair_t *top = settings->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = settings->data.mapping.pairs.start; p < top; p++) {
        FBT_TRY(read_source(spec, p, &(*sources)[(*n)++]));
    }
done:
    return status;
}

static fbt_status check_keys(const fbt_sweep_spec *spec, const yaml_node_t *random)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const char *advice = "random has draws, seed and settings";
    const yaml_node_pair_t *top = random->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = random->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(spec->yaml, p->key);
        FBT_TRY(fbt_yaml_check_key(spec->yaml, key, advice));
        FBT_TRY(fbt_yaml_check_once(spec->yaml, random, p, "key"));
        const char *text = fbt_yaml_text(key);
        if (strcmp(text, "draws") != 0 && strcmp(text, "seed") != 0 && strcmp(text, "settings") != 0) {
            FBT_FAIL(FBT_ERR_CONFIG, "%sunknown key '%s'; %s", fbt_yaml_where(spec->yaml, key, where), text, advice);
        }
    }
done:
    return status;
}

fbt_status fbt_sweep_read_random(fbt_sweep_spec *spec, const yaml_node_t *random, fbt_sweep_dimension *dimension)
{
    fbt_status status = FBT_OK;
    int64_t n_draws, seed, n_sources = 0;
    source *sources = NULL;
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "random", random));
    FBT_TRY(check_keys(spec, random));
    FBT_TRY(read_integer(spec, random, "draws", 1, FBT_SWEEP_RUNS_MAX, &n_draws));
    FBT_TRY(read_integer(spec, random, "seed", 0, INT64_MAX, &seed));
    FBT_TRY(read_sources(spec, random, &sources, &n_sources));
    FBT_TRY(fbt_memory_alloc(&dimension->points, n_draws, sizeof *dimension->points));
    dimension->n_points = n_draws;
    for (int64_t i = 0; i < n_draws; i++) {
        fbt_sweep_items *point = &dimension->points[i];
        FBT_TRY(fbt_memory_alloc(&point->items, n_sources, sizeof *point->items));
        for (int64_t k = 0; k < n_sources; k++) {
            FBT_TRY(draw(spec, &sources[k], seed, i, &point->items[k]));
            point->n++;
        }
    }
done:
    for (int64_t k = 0; k < n_sources; k++) {
        fbt_sweep_items_clear(&sources[k].values);
    }
    free(sources);
    return status;
}
