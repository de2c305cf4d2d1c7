/* The axes of a sweep file. */
#include "sweep/sweep_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void fbt_sweep_items_clear(fbt_sweep_items *items)
{
    for (int64_t i = 0; items->items != NULL && i < items->n; i++) {
        free(items->items[i].text);
    }
    free(items->items);
    *items = (fbt_sweep_items){0};
}

int64_t fbt_sweep_length(const yaml_node_t *node)
{
    if (node->type == YAML_SEQUENCE_NODE) {
        return node->data.sequence.items.top - node->data.sequence.items.start;
    }
    return node->data.mapping.pairs.top - node->data.mapping.pairs.start;
}

fbt_status fbt_sweep_check_list(const fbt_yaml *yaml, const char *key, const yaml_node_t *node)
{
    char where[FBT_YAML_WHERE_BYTES];
    if (node->type != YAML_SEQUENCE_NODE || fbt_sweep_length(node) == 0) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: expected a list with something in it, as in `[1, 2]`",
                        fbt_yaml_where(yaml, node, where), key);
    }
    return FBT_OK;
}

fbt_status fbt_sweep_check_mapping(const fbt_yaml *yaml, const char *key, const yaml_node_t *node)
{
    char where[FBT_YAML_WHERE_BYTES];
    if (node->type != YAML_MAPPING_NODE || fbt_sweep_length(node) == 0) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: expected settings, as in `cma.sigma: ...`",
                        fbt_yaml_where(yaml, node, where), key);
    }
    return FBT_OK;
}

const yaml_node_t *fbt_sweep_find(const fbt_yaml *yaml, const yaml_node_t *mapping, const char *key)
{
    const yaml_node_pair_t *top = mapping->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < top; p++) {
        if (strcmp(fbt_yaml_text(fbt_yaml_node(yaml, p->key)), key) == 0) {
            return fbt_yaml_node(yaml, p->value);
        }
    }
    return NULL;
}

/* Settings that belong to the call, not to the experiment. */
static bool is_reserved(const char *key)
{
    static const char *const reserved[] = {"run.output", "run.overwrite", "run.max_seconds", "run.stop_margin_seconds"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(reserved[i], key) == 0) {
            return true;
        }
    }
    return false;
}

fbt_status fbt_sweep_find_option(const fbt_sweep_spec *spec, const yaml_node_t *key, const fbt_option **option)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    FBT_TRY(fbt_yaml_check_key(spec->yaml, key, "write settings as section.key; `fedbpt run --options` lists all"));
    *option = fbt_option_find(fbt_yaml_text(key));
    if (*option == NULL) {
        status = fbt_option_unknown(fbt_yaml_where(spec->yaml, key, where), fbt_yaml_text(key));
    }
done:
    return status;
}

fbt_status fbt_sweep_read_key(const fbt_sweep_spec *spec, const yaml_node_t *key, const fbt_option **option)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    FBT_TRY(fbt_sweep_find_option(spec, key, option));
    if (is_reserved(
            (*option)->key)) { /* NOLINT(clang-analyzer-core.NullDereference): an unknown key is an error above */
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s cannot vary from run to run; remove it from the sweep",
                 fbt_yaml_where(spec->yaml, key, where), (*option)->key);
    }
done:
    return status;
}

int64_t fbt_sweep_find_axis(const fbt_sweep_spec *spec, const fbt_option *option)
{
    for (int64_t i = 0; i < spec->n_axes; i++) {
        if (spec->axes[i] == option) {
            return i;
        }
    }
    return -1;
}

fbt_status fbt_sweep_add_axis(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *key)
{
    char where[FBT_YAML_WHERE_BYTES];
    int64_t axis = fbt_sweep_find_axis(spec, option);
    if (axis >= 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "%s%s varies already (line %zu); one of grid, sets, random and seeds may vary it",
                        fbt_yaml_where(spec->yaml, key, where), option->key, spec->axis_line[axis]);
    }
    for (int64_t i = 0; i < spec->fixed.n; i++) {
        if (spec->fixed.items[i].option == option) {
            return fbt_fail(FBT_ERR_CONFIG,
                            "%s%s varies, but settings give it to all runs (line %zu); remove one of the two",
                            fbt_yaml_where(spec->yaml, key, where), option->key, spec->fixed.items[i].line);
        }
    }
    spec->axes[spec->n_axes] = option;
    spec->axis_line[spec->n_axes++] = fbt_yaml_line(key);
    return FBT_OK;
}

fbt_status fbt_sweep_read_item(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *value,
                               fbt_sweep_item *item)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    fbt_yaml_where(spec->yaml, value, where);
    FBT_TRY(fbt_yaml_check_scalar(where, option->key, value));
    fbt_option_input input = fbt_yaml_input(where, value);
    FBT_TRY(fbt_option_set(option, &input, &spec->scratch));
    item->option = option;
    item->line = fbt_yaml_line(value);
    FBT_TRY(fbt_option_value_text(option, &spec->scratch, &item->text));
done:
    return status;
}

/* A dimension of n points of one setting each. */
static fbt_status new_points(fbt_sweep_spec *spec, int64_t n, int64_t n_items, fbt_sweep_dimension **dimension)
{
    fbt_status status = FBT_OK;
    fbt_sweep_dimension *made = &spec->dimensions[spec->n_dimensions++];
    FBT_TRY(fbt_memory_alloc(&made->points, n, sizeof *made->points));
    made->n_points = n;
    for (int64_t i = 0; i < n && n_items > 0; i++) {
        FBT_TRY(fbt_memory_alloc(&made->points[i].items, n_items, sizeof *made->points[i].items));
        made->points[i].n = n_items;
    }
    *dimension = made;
done:
    return status;
}

/* A value twice in one list is a slip: it would make no further run. */
static fbt_status check_distinct(const fbt_sweep_spec *spec, const fbt_sweep_dimension *d, int64_t i,
                                 const yaml_node_t *node)
{
    char where[FBT_YAML_WHERE_BYTES];
    const fbt_sweep_item *item = &d->points[i].items[0];
    for (int64_t j = 0; j < i; j++) {
        if (strcmp(d->points[j].items[0].text, item->text) == 0) {
            return fbt_fail(FBT_ERR_CONFIG, "%s%s: the value %.64s is repeated; remove one of the two",
                            fbt_yaml_where(spec->yaml, node, where), item->option->key, item->text);
        }
    }
    return FBT_OK;
}

/* A list of values of one setting. */
static fbt_status read_list(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *key,
                            const yaml_node_t *list)
{
    fbt_status status = FBT_OK;
    fbt_sweep_dimension *d;
    FBT_TRY(fbt_sweep_add_axis(spec, option, key));
    FBT_TRY(fbt_sweep_check_list(spec->yaml, fbt_yaml_text(key), list));
    FBT_TRY(new_points(spec, fbt_sweep_length(list), 1, &d));
    for (int64_t i = 0; i < d->n_points; i++) {
        const yaml_node_t *value = fbt_yaml_node(spec->yaml, list->data.sequence.items.start[i]);
        FBT_TRY(fbt_sweep_read_item(spec, option, value, &d->points[i].items[0]));
        FBT_TRY(check_distinct(spec, d, i, value));
    }
done:
    return status;
}

static fbt_status read_grid(fbt_sweep_spec *spec, const yaml_node_t *grid)
{
    fbt_status status = FBT_OK;
    const fbt_option *option;
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "grid", grid));
    const yaml_node_pair_t *top = grid->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = grid->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(spec->yaml, p->key);
        FBT_TRY(fbt_sweep_read_key(spec, key, &option));
        FBT_TRY(read_list(spec, option, key, fbt_yaml_node(spec->yaml, p->value)));
    }
done:
    return status;
}

/* The settings of one set. Other sets may vary the same ones. */
static fbt_status read_set(fbt_sweep_spec *spec, int64_t n_axes_before, const yaml_node_t *set, fbt_sweep_items *point)
{
    fbt_status status = FBT_OK;
    const fbt_option *option;
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "sets", set));
    FBT_TRY(fbt_memory_alloc(&point->items, fbt_sweep_length(set), sizeof *point->items));
    const yaml_node_pair_t *top = set->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = set->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(spec->yaml, p->key);
        FBT_TRY(fbt_sweep_read_key(spec, key, &option));
        FBT_TRY(fbt_yaml_check_once(spec->yaml, set, p, "key"));
        if (fbt_sweep_find_axis(spec, option) < n_axes_before) {
            FBT_TRY(fbt_sweep_add_axis(spec, option, key));
        }
        FBT_TRY(fbt_sweep_read_item(spec, option, fbt_yaml_node(spec->yaml, p->value), &point->items[point->n]));
        point->n++;
    }
done:
    return status;
}

static fbt_status read_sets(fbt_sweep_spec *spec, const yaml_node_t *sets)
{
    fbt_status status = FBT_OK;
    int64_t n_axes_before = spec->n_axes;
    fbt_sweep_dimension *d;
    FBT_TRY(fbt_sweep_check_list(spec->yaml, "sets", sets));
    FBT_TRY(new_points(spec, fbt_sweep_length(sets), 0, &d));
    for (int64_t i = 0; i < d->n_points; i++) {
        const yaml_node_t *set = fbt_yaml_node(spec->yaml, sets->data.sequence.items.start[i]);
        FBT_TRY(read_set(spec, n_axes_before, set, &d->points[i]));
    }
done:
    return status;
}

/* `repeats: n`: run.seed from the base's upwards. */
static fbt_status read_repeats(fbt_sweep_spec *spec, const yaml_node_t *key, const yaml_node_t *value)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    const fbt_option *option = fbt_option_find("run.seed");
    fbt_sweep_dimension *d;
    fbt_yaml_where(spec->yaml, value, where);
    FBT_TRY(fbt_yaml_check_scalar(where, "repeats", value));
    const char *text = fbt_yaml_text(value);
    int64_t n = strspn(text, "0123456789") == strlen(text) && strlen(text) < 7 ? atol(text) : 0;
    if (n < 1 || n > FBT_SWEEP_RUNS_MAX || value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        FBT_FAIL(FBT_ERR_CONFIG, "%srepeats: expected an integer from 1 to %d, not %s", where, FBT_SWEEP_RUNS_MAX,
                 fbt_option_quote(text, value->data.scalar.length, quote));
    }
    if (spec->base.run.seed > INT64_MAX - n) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "%srepeats: there are not %" PRId64 " seeds from run.seed %" PRId64 " upwards; use seeds", where, n,
                 spec->base.run.seed);
    }
    FBT_TRY(fbt_sweep_add_axis(spec, option, key));
    FBT_TRY(new_points(spec, n, 1, &d));
    for (int64_t i = 0; i < n; i++) {
        fbt_sweep_item *item = &d->points[i].items[0];
        char seed[24];
        snprintf(seed, sizeof seed, "%" PRId64, (spec->base.run.seed + i));
        *item = (fbt_sweep_item){.option = option, .line = fbt_yaml_line(value)};
        FBT_TRY(fbt_memory_strdup(&item->text, seed));
    }
done:
    return status;
}

/* The key of a pair of the root. */
static const yaml_node_t *key_node(const fbt_sweep_spec *spec, const yaml_node_t *root, const char *key)
{
    const yaml_node_pair_t *p = root->data.mapping.pairs.start;
    while (strcmp(fbt_yaml_text(fbt_yaml_node(spec->yaml, p->key)), key) != 0) {
        p++;
    }
    return fbt_yaml_node(spec->yaml, p->key);
}

fbt_status fbt_sweep_read_axes(fbt_sweep_spec *spec, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    const yaml_node_t *grid = fbt_sweep_find(spec->yaml, root, "grid");
    const yaml_node_t *sets = fbt_sweep_find(spec->yaml, root, "sets");
    const yaml_node_t *random = fbt_sweep_find(spec->yaml, root, "random");
    const yaml_node_t *seeds = fbt_sweep_find(spec->yaml, root, "seeds");
    const yaml_node_t *repeats = fbt_sweep_find(spec->yaml, root, "repeats");
    if (grid != NULL) {
        FBT_TRY(read_grid(spec, grid));
    }
    if (sets != NULL) {
        FBT_TRY(read_sets(spec, sets));
    }
    if (random != NULL) {
        FBT_TRY(fbt_sweep_read_random(spec, random, &spec->dimensions[spec->n_dimensions++]));
    }
    if (seeds != NULL) {
        FBT_TRY(read_list(spec, fbt_option_find("run.seed"), key_node(spec, root, "seeds"), seeds));
    }
    if (repeats != NULL) {
        FBT_TRY(read_repeats(spec, key_node(spec, root, "repeats"), repeats));
    }
done:
    return status;
}
