/* From what a sweep file says to its runs. */
#include "sweep/sweep_internal.h"

#include "base/memory.h"
#include "fed/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMBINATIONS_MAX = 1000000 };

/* One combination: a point of every dimension. */
typedef struct combination {
    int64_t *point;               /* [n_dimensions] */
    const fbt_sweep_item **items; /* [n_items]: all settings of these points; room for n_axes */
    int64_t n_items;
    const fbt_sweep_item **on_axis; /* [n_axes]: the same by axis, or NULL */
} combination;

static void collect(const fbt_sweep_spec *spec, combination *c)
{
    c->n_items = 0;
    memset(c->on_axis, 0, (size_t)spec->n_axes * sizeof *c->on_axis);
    for (int64_t i = 0; i < spec->n_dimensions; i++) {
        const fbt_sweep_items *point = &spec->dimensions[i].points[c->point[i]];
        for (int64_t k = 0; k < point->n; k++) {
            c->items[c->n_items++] = &point->items[k];
            c->on_axis[fbt_sweep_find_axis(spec, point->items[k].option)] = &point->items[k];
        }
    }
}

/* The next combination, the last dimension changing fastest; false after the last. */
static bool advance(const fbt_sweep_spec *spec, combination *c)
{
    for (int64_t i = spec->n_dimensions - 1; i >= 0; i--) {
        if (++c->point[i] < spec->dimensions[i].n_points) {
            return true;
        }
        c->point[i] = 0;
    }
    return false;
}

/* Whether one of the exclusion's values for `option` is the combination's. Where a set leaves the setting out, the
 * base's value counts. */
static fbt_status matches_option(const fbt_sweep_spec *spec, const combination *c, const fbt_sweep_items *exclusion,
                                 const fbt_option *option, bool *matches)
{
    fbt_status status = FBT_OK;
    char *base = NULL;
    const fbt_sweep_item *own = c->on_axis[fbt_sweep_find_axis(spec, option)];
    FBT_TRY(fbt_option_value_text(option, &spec->base, &base));
    *matches = false;
    for (int64_t i = 0; i < exclusion->n; i++) {
        const fbt_sweep_item *item = &exclusion->items[i];
        *matches = *matches || (item->option == option && strcmp(item->text, own == NULL ? base : own->text) == 0);
    }
done:
    free(base);
    return status;
}

static fbt_status is_excluded(const fbt_sweep_spec *spec, const combination *c, bool *excluded)
{
    fbt_status status = FBT_OK;
    *excluded = false;
    for (int64_t i = 0; i < spec->n_exclusions && !*excluded; i++) {
        const fbt_sweep_items *exclusion = &spec->exclusions[i];
        bool all = true;
        for (int64_t k = 0; k < exclusion->n && all; k++) {
            FBT_TRY(matches_option(spec, c, exclusion, exclusion->items[k].option, &all));
        }
        *excluded = all;
    }
done:
    return status;
}

static fbt_status assign(fbt_sweep_run *run, const char *key, const char *value)
{
    if (asprintf(&run->assignments[run->n_assignments], "%s=%s", key, value) < 0) {
        run->assignments[run->n_assignments] = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: settings of a run");
    }
    run->n_assignments++;
    return FBT_OK;
}

/* "fed.protocol=paper cma.sigma=1.5" */
static fbt_status join_axes(const combination *c, char **text)
{
    size_t n_bytes;
    FILE *out = open_memstream(text, &n_bytes);
    if (out == NULL) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: settings of a run");
    }
    for (int64_t i = 0; i < c->n_items; i++) {
        fprintf(out, "%s%s=%s", i > 0 ? " " : "", c->items[i]->option->key, c->items[i]->text);
    }
    fclose(out);
    return FBT_OK;
}

/* As the run file counts them, over all rounds and clients. */
static double count_evaluations(const fbt_settings *s)
{
    return (double)s->fed.rounds * (double)fbt_settings_participants(s) * (double)fbt_protocol_evaluations(s);
}

/* Checks the settings of a run together; a failure names the file, a line of what varies, and the run. */
static fbt_status check_run(const fbt_sweep_spec *spec, const combination *c, const fbt_sweep *sweep,
                            fbt_sweep_run *run)
{
    fbt_settings settings = {0};
    fbt_status status = fbt_sweep_settings(sweep, run, &settings);
    if (status == FBT_OK) {
        status = fbt_settings_check(&settings);
    }
    if (status == FBT_OK) {
        status = fbt_protocol_check(&settings);
    }
    if (status == FBT_ERR_CONFIG) {
        fbt_refail(status, "%.256s:%zu: the run %.200s cannot be: %s", spec->yaml->name, c->items[0]->line, run->axes,
                   fbt_error_message());
    }
    run->evaluations = count_evaluations(&settings);
    for (int64_t i = 0; status == FBT_OK && i < sweep->n_axes; i++) {
        run->idle[i] = run->values[i] == NULL ? NULL : fbt_settings_idle(&settings, sweep->axes[i]);
    }
    fbt_settings_clear(&settings);
    return status;
}

static fbt_status make_run(const fbt_sweep_spec *spec, const combination *c, const char *const *assignments,
                           int n_assignments, const fbt_sweep *sweep, fbt_sweep_run *run)
{
    fbt_status status = FBT_OK;
    char equals[128];
    FBT_TRY(fbt_sweep_make_name(c->items, c->n_items, run->name));
    if (asprintf(&run->output, "%s/%s.h5", sweep->output, run->name) < 0) {
        run->output = NULL;
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: path of a run file");
    }
    FBT_TRY(join_axes(c, &run->axes));
    FBT_TRY(fbt_memory_alloc(&run->values, sweep->n_axes, sizeof *run->values));
    FBT_TRY(fbt_memory_alloc(&run->idle, sweep->n_axes, sizeof *run->idle));
    FBT_TRY(
        fbt_memory_alloc(&run->assignments, spec->fixed.n + n_assignments + c->n_items + 2, sizeof *run->assignments));
    for (int64_t i = 0; i < spec->fixed.n; i++) {
        FBT_TRY(assign(run, spec->fixed.items[i].option->key, spec->fixed.items[i].text));
    }
    for (int i = 0; i < n_assignments; i++) {
        const char *value = strchr(assignments[i], '=') + 1;
        snprintf(equals, sizeof equals, "%.*s", (int)(value - 1 - assignments[i]), assignments[i]);
        FBT_TRY(assign(run, equals, value));
    }
    for (int64_t i = 0; i < c->n_items; i++) {
        FBT_TRY(assign(run, c->items[i]->option->key, c->items[i]->text));
        const char *text = run->assignments[run->n_assignments - 1];
        run->values[fbt_sweep_find_axis(spec, c->items[i]->option)] = strchr(text, '=') + 1;
    }
    FBT_TRY(assign(run, "run.output", run->output));
    FBT_TRY(assign(run, "run.overwrite", "false"));
    FBT_TRY(check_run(spec, c, sweep, run));
done:
    return status;
}

static void clear_run(fbt_sweep_run *run)
{
    for (int i = 0; i < run->n_assignments; i++) {
        free(run->assignments[i]);
    }
    free(run->assignments);
    free(run->values);
    free(run->idle);
    free(run->output);
    free(run->axes);
    *run = (fbt_sweep_run){0};
}

static int by_name(const void *a, const void *b)
{
    const fbt_sweep_run *left = *(fbt_sweep_run *const *)a, *right = *(fbt_sweep_run *const *)b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : (left > right) - (left < right);
}

static bool equal_runs(const fbt_sweep *sweep, const fbt_sweep_run *a, const fbt_sweep_run *b)
{
    for (int64_t i = 0; i < sweep->n_axes; i++) {
        bool given = a->values[i] != NULL;
        if (given != (b->values[i] != NULL) || (given && strcmp(a->values[i], b->values[i]) != 0)) {
            return false;
        }
    }
    return true;
}

/* Of equal runs (draws may fall on the same value) the first stays. Unequal ones of one name would share a file. */
static fbt_status merge_equal(const char *path, fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    fbt_sweep_run **sorted = NULL;
    FBT_TRY(fbt_memory_alloc(&sorted, sweep->n_runs, sizeof *sorted));
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        sorted[i] = &sweep->runs[i];
    }
    qsort(sorted, (size_t)sweep->n_runs, sizeof *sorted, by_name);
    for (int64_t i = 1, first = 0; i < sweep->n_runs; i++) {
        if (strcmp(sorted[i]->name, sorted[first]->name) != 0) {
            first = i;
        } else if (equal_runs(sweep, sorted[i], sorted[first])) {
            clear_run(sorted[i]);
        } else {
            FBT_FAIL(FBT_ERR_CONFIG,
                     "%.256s: the runs %.200s and %.200s have the same name, %s; change a value a little", path,
                     sorted[first]->axes, sorted[i]->axes, sorted[i]->name);
        }
    }
    int64_t n_left = 0;
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        if (sweep->runs[i].output != NULL) {
            fbt_sweep_run run = sweep->runs[i];
            sweep->runs[i] = (fbt_sweep_run){0};
            sweep->runs[n_left++] = run;
        }
    }
    sweep->n_runs = n_left;
done:
    free(sorted);
    return status;
}

static fbt_status count_combinations(const fbt_sweep_spec *spec, int64_t *n)
{
    *n = 1;
    for (int64_t i = 0; i < spec->n_dimensions; i++) {
        *n *= spec->dimensions[i].n_points;
        if (*n > COMBINATIONS_MAX) {
            return fbt_fail(FBT_ERR_CONFIG, "%.256s: more than %d combinations; split the sweep", spec->yaml->name,
                            COMBINATIONS_MAX);
        }
    }
    return FBT_OK;
}

static fbt_status make_runs(const fbt_sweep_spec *spec, combination *c, const char *const *assignments,
                            int n_assignments, fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    int64_t n_combinations;
    FBT_TRY(count_combinations(spec, &n_combinations));
    int64_t n_max = n_combinations < FBT_SWEEP_RUNS_MAX ? n_combinations : FBT_SWEEP_RUNS_MAX;
    FBT_TRY(fbt_memory_alloc(&sweep->runs, n_max, sizeof *sweep->runs));
    do {
        bool excluded;
        collect(spec, c);
        FBT_TRY(is_excluded(spec, c, &excluded));
        if (!excluded && sweep->n_runs == n_max) {
            FBT_FAIL(FBT_ERR_CONFIG, "%.256s: more than %d runs; split the sweep", spec->yaml->name,
                     FBT_SWEEP_RUNS_MAX);
        }
        if (!excluded) {
            FBT_TRY(make_run(spec, c, assignments, n_assignments, sweep, &sweep->runs[sweep->n_runs++]));
        }
    } while (advance(spec, c));
    if (sweep->n_runs == 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s: exclude leaves no run; remove some of its entries", spec->yaml->name);
    }
    FBT_TRY(merge_equal(spec->yaml->name, sweep));
done:
    return status;
}

fbt_status fbt_sweep_expand(const fbt_sweep_spec *spec, const char *const *assignments, int n_assignments,
                            fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    combination c = {0};
    FBT_TRY(fbt_memory_alloc(&sweep->axes, spec->n_axes, sizeof *sweep->axes));
    for (int64_t i = 0; i < spec->n_axes; i++) {
        sweep->axes[sweep->n_axes++] = spec->axes[i]->key;
    }
    FBT_TRY(fbt_memory_alloc(&c.point, spec->n_dimensions, sizeof *c.point));
    FBT_TRY(fbt_memory_alloc(&c.items, spec->n_axes, sizeof *c.items));
    FBT_TRY(fbt_memory_alloc(&c.on_axis, spec->n_axes, sizeof *c.on_axis));
    FBT_TRY(make_runs(spec, &c, assignments, n_assignments, sweep));
done:
    free(c.point);
    free(c.items);
    free(c.on_axis);
    return status;
}

fbt_status fbt_sweep_settings(const fbt_sweep *sweep, const fbt_sweep_run *run, fbt_settings *settings)
{
    return fbt_sweep_settings_after(sweep, run, NULL, settings);
}

fbt_status fbt_sweep_settings_after(const fbt_sweep *sweep, const fbt_sweep_run *run, const char *recorded,
                                    fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_settings_defaults(settings));
    if (recorded != NULL) {
        FBT_TRY(fbt_settings_defaults_before(settings, recorded, run->output));
    }
    FBT_TRY(fbt_settings_read_text(settings, sweep->base_text, sweep->base_path));
    for (int i = 0; i < run->n_assignments; i++) {
        FBT_TRY(fbt_settings_set(settings, run->assignments[i]));
    }
done:
    return status;
}

void fbt_sweep_clear(fbt_sweep *sweep)
{
    for (int64_t i = 0; sweep->runs != NULL && i < sweep->n_runs; i++) {
        clear_run(&sweep->runs[i]);
    }
    free(sweep->runs);
    free(sweep->axes);
    free(sweep->name);
    free(sweep->base_path);
    free(sweep->base_text);
    free(sweep->output);
    *sweep = (fbt_sweep){0};
}
