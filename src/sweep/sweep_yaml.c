/* The sweep file as a whole. */
#include "sweep/sweep_internal.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const root_keys[] = {"name", "base",   "output", "settings", "grid",
                                        "sets", "random", "seeds",  "repeats",  "exclude"};
enum { N_ROOT_KEYS = sizeof root_keys / sizeof root_keys[0] };
static const char advice[] = "a sweep has name, base, output, settings, grid, sets, random, seeds, repeats and exclude";

static fbt_status check_root(const fbt_yaml *yaml, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s: expected `key: value` lines; %s", yaml->name, advice);
    }
    const yaml_node_pair_t *top = root->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(yaml, p->key);
        bool known = false;
        FBT_TRY(fbt_yaml_check_key(yaml, key, advice));
        for (int i = 0; i < N_ROOT_KEYS; i++) {
            known = known || strcmp(root_keys[i], fbt_yaml_text(key)) == 0;
        }
        if (!known) {
            FBT_FAIL(FBT_ERR_CONFIG, "%sunknown key %s; %s", fbt_yaml_where(yaml, key, where),
                     fbt_option_quote(fbt_yaml_text(key), key->data.scalar.length, quote), advice);
        }
        FBT_TRY(fbt_yaml_check_once(yaml, root, p, "key"));
    }
done:
    return status;
}

/* One of the sweep's own texts: name, base, output. */
static fbt_status read_text(const fbt_yaml *yaml, const yaml_node_t *root, const char *key, char **text)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const yaml_node_t *value = fbt_sweep_find(yaml, root, key);
    if (value == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s: `%s` is missing; %s", yaml->name, key, advice);
    }
    fbt_yaml_where(yaml, value, where);
    FBT_TRY(fbt_yaml_check_scalar(where, key, value));
    if (value->data.scalar.length == 0 || strlen(fbt_yaml_text(value)) != value->data.scalar.length ||
        value->data.scalar.length >= FBT_OPTION_TEXT_BYTES) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: expected a text of 1 to %d bytes", where, key, FBT_OPTION_TEXT_BYTES - 1);
    }
    FBT_TRY(fbt_memory_strdup(text, fbt_yaml_text(value)));
done:
    return status;
}

/* `base` as seen from the sweep file's folder. */
static fbt_status resolve_base(const char *sweep_path, char **base)
{
    const char *slash = strrchr(sweep_path, '/');
    char *joined;
    if (**base == '/' || slash == NULL) {
        return FBT_OK;
    }
    if (asprintf(&joined, "%.*s/%s", (int)(slash - sweep_path), sweep_path, *base) < 0) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of a base configuration");
    }
    free(*base);
    *base = joined;
    return FBT_OK;
}

/* Settings that the sweep itself decides. */
static bool is_own(const char *key)
{
    return strcmp(key, "run.output") == 0 || strcmp(key, "run.overwrite") == 0;
}

/* `settings`: of all runs. */
static fbt_status read_fixed(fbt_sweep_spec *spec, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const fbt_option *option;
    const yaml_node_t *settings = fbt_sweep_find(spec->yaml, root, "settings");
    if (settings == NULL) {
        return FBT_OK;
    }
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "settings", settings));
    FBT_TRY(fbt_memory_alloc(&spec->fixed.items, fbt_sweep_length(settings), sizeof *spec->fixed.items));
    const yaml_node_pair_t *top = settings->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = settings->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(spec->yaml, p->key), *value = fbt_yaml_node(spec->yaml, p->value);
        FBT_TRY(fbt_sweep_find_option(spec, key, &option));
        FBT_TRY(fbt_yaml_check_once(spec->yaml, settings, p, "key"));
        if (is_own(option->key)) {
            FBT_FAIL(FBT_ERR_CONFIG, "%s%s: a sweep's run files are named by the sweep, and kept; remove it",
                     fbt_yaml_where(spec->yaml, key, where), option->key);
        }
        FBT_TRY(fbt_sweep_read_item(spec, option, value, &spec->fixed.items[spec->fixed.n]));
        spec->fixed.n++;
        fbt_option_input input = fbt_yaml_input(fbt_yaml_where(spec->yaml, value, where), value);
        FBT_TRY(fbt_option_set(option, &input, &spec->base));
    }
done:
    return status;
}

/* Reads the settings of all runs: the base, `settings` and --set. */
static fbt_status read_base(fbt_sweep_spec *spec, const yaml_node_t *root, const char *const *assignments,
                            int n_assignments, fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_settings_defaults(&spec->base));
    FBT_TRY(fbt_settings_read_file(&spec->base, sweep->base_path, &sweep->base_text));
    FBT_TRY(read_fixed(spec, root));
    for (int i = 0; i < n_assignments; i++) {
        FBT_TRY(fbt_settings_set(&spec->base, assignments[i]));
    }
    sweep->max_seconds = spec->base.run.max_seconds;
    sweep->stop_margin_seconds = spec->base.run.stop_margin_seconds;
done:
    return status;
}

/* --set changes all runs alike, and no run's name: what varies, and where the run files lie, is the file's to say. */
static fbt_status check_assignments(const fbt_sweep_spec *spec, const char *const *assignments, int n_assignments)
{
    char key[64];
    for (int i = 0; i < n_assignments; i++) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(assignments[i], "="), assignments[i]);
        const fbt_option *option = fbt_option_find(key);
        if (fbt_sweep_find_axis(spec, option) >= 0) {
            return fbt_fail(FBT_ERR_CONFIG, "--set %s: the sweep varies this setting; change the sweep file", key);
        }
        if (is_own(key)) {
            return fbt_fail(FBT_ERR_CONFIG, "--set %s: a sweep's run files are named by the sweep, and kept", key);
        }
    }
    return FBT_OK;
}

/* One setting of an exclusion: a value, or a list of values any of which matches. */
static fbt_status read_condition(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *value,
                                 fbt_sweep_items *exclusion)
{
    fbt_status status = FBT_OK;
    bool is_list = value->type == YAML_SEQUENCE_NODE;
    if (is_list) {
        FBT_TRY(fbt_sweep_check_list(spec->yaml, option->key, value));
    }
    int64_t n = is_list ? fbt_sweep_length(value) : 1;
    fbt_sweep_item *items = realloc(exclusion->items, (size_t)(exclusion->n + n) * sizeof *items);
    if (items == NULL) {
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: a sweep's exclusions");
    }
    exclusion->items = items;
    for (int64_t i = 0; i < n; i++) {
        const yaml_node_t *node = is_list ? fbt_yaml_node(spec->yaml, value->data.sequence.items.start[i]) : value;
        FBT_TRY(fbt_sweep_read_item(spec, option, node, &items[exclusion->n]));
        exclusion->n++;
    }
done:
    return status;
}

static fbt_status read_exclusion(fbt_sweep_spec *spec, const yaml_node_t *node, fbt_sweep_items *exclusion)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES];
    const fbt_option *option;
    FBT_TRY(fbt_sweep_check_mapping(spec->yaml, "exclude", node));
    const yaml_node_pair_t *top = node->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < top; p++) {
        const yaml_node_t *key = fbt_yaml_node(spec->yaml, p->key);
        FBT_TRY(fbt_sweep_read_key(spec, key, &option));
        FBT_TRY(fbt_yaml_check_once(spec->yaml, node, p, "key"));
        if (fbt_sweep_find_axis(spec, option) < 0) {
            FBT_FAIL(FBT_ERR_CONFIG,
                     "%sexclude: %s is the same in all runs, so that it cannot tell them apart; remove it",
                     fbt_yaml_where(spec->yaml, key, where), option->key);
        }
        FBT_TRY(read_condition(spec, option, fbt_yaml_node(spec->yaml, p->value), exclusion));
    }
done:
    return status;
}

static fbt_status read_exclusions(fbt_sweep_spec *spec, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    const yaml_node_t *list = fbt_sweep_find(spec->yaml, root, "exclude");
    if (list == NULL) {
        return FBT_OK;
    }
    FBT_TRY(fbt_sweep_check_list(spec->yaml, "exclude", list));
    FBT_TRY(fbt_memory_alloc(&spec->exclusions, fbt_sweep_length(list), sizeof *spec->exclusions));
    for (int64_t i = 0; i < fbt_sweep_length(list); i++) {
        const yaml_node_t *node = fbt_yaml_node(spec->yaml, list->data.sequence.items.start[i]);
        FBT_TRY(read_exclusion(spec, node, &spec->exclusions[spec->n_exclusions++]));
    }
done:
    return status;
}

static void clear_spec(fbt_sweep_spec *spec)
{
    for (int64_t i = 0; i < spec->n_dimensions; i++) {
        for (int64_t j = 0; j < spec->dimensions[i].n_points; j++) {
            fbt_sweep_items_clear(&spec->dimensions[i].points[j]);
        }
        free(spec->dimensions[i].points);
    }
    for (int64_t i = 0; i < spec->n_exclusions; i++) {
        fbt_sweep_items_clear(&spec->exclusions[i]);
    }
    fbt_sweep_items_clear(&spec->fixed);
    free(spec->dimensions);
    free(spec->exclusions);
    free(spec->axes);
    free(spec->axis_line);
    fbt_settings_clear(&spec->base);
    fbt_settings_clear(&spec->scratch);
}

static fbt_status read_root(fbt_sweep_spec *spec, const yaml_node_t *root, const char *const *assignments,
                            int n_assignments, fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    int64_t n_options;
    fbt_options(&n_options);
    FBT_TRY(check_root(spec->yaml, root));
    FBT_TRY(read_text(spec->yaml, root, "name", &sweep->name));
    FBT_TRY(read_text(spec->yaml, root, "base", &sweep->base_path));
    FBT_TRY(read_text(spec->yaml, root, "output", &sweep->output));
    FBT_TRY(resolve_base(spec->yaml->name, &sweep->base_path));
    FBT_TRY(read_base(spec, root, assignments, n_assignments, sweep));
    FBT_TRY(fbt_memory_alloc(&spec->axes, n_options, sizeof *spec->axes));
    FBT_TRY(fbt_memory_alloc(&spec->axis_line, n_options, sizeof *spec->axis_line));
    FBT_TRY(fbt_memory_alloc(&spec->dimensions, n_options + 3, sizeof *spec->dimensions));
    FBT_TRY(fbt_sweep_read_axes(spec, root));
    if (spec->n_axes == 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s: nothing varies; give grid, sets, random, seeds or repeats", spec->yaml->name);
    }
    FBT_TRY(read_exclusions(spec, root));
    FBT_TRY(check_assignments(spec, assignments, n_assignments));
done:
    return status;
}

fbt_status fbt_sweep_read(const char *path, const char *const *assignments, int n_assignments, fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    fbt_yaml yaml = {0};
    fbt_sweep_spec spec = {.yaml = &yaml};
    char *text = NULL;
    size_t n_bytes;
    FBT_TRY(fbt_yaml_read_file(path, "sweep", &text, &n_bytes));
    FBT_TRY(fbt_yaml_load(&yaml, text, n_bytes, path, "sweep"));
    FBT_TRY(read_root(&spec, fbt_yaml_root(&yaml), assignments, n_assignments, sweep));
    FBT_TRY(fbt_sweep_expand(&spec, assignments, n_assignments, sweep));
done:
    if (status != FBT_OK) {
        fbt_sweep_clear(sweep);
    }
    clear_spec(&spec);
    fbt_yaml_clear(&yaml);
    free(text);
    return status;
}
