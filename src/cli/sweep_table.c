#include "cli/sweep_table.h"

#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int larger(int a, size_t b)
{
    return (size_t)a > b ? a : (int)b;
}

static int width_of_axis(const fbt_sweep *sweep, int64_t axis)
{
    int width = larger(0, strlen(sweep->axes[axis]));
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        const char *value = sweep->runs[i].values[axis];
        width = larger(width, value == NULL ? 1 : strlen(value));
    }
    return width;
}

/* Runs in which a value on the axis changes nothing; 0 where only one value is without effect: nothing varies in vain.
 */
static int64_t count_idle(const fbt_sweep *sweep, int64_t axis, const char **reason)
{
    const char *first = NULL;
    bool varies = false;
    int64_t n = 0;
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        const fbt_sweep_run *run = &sweep->runs[i];
        if (run->idle[axis] != NULL) {
            first = first == NULL ? run->values[axis] : first;
            varies = varies || strcmp(first, run->values[axis]) != 0;
            *reason = run->idle[axis];
            n++;
        }
    }
    return varies ? n : 0;
}

void fbt_sweep_warn(const fbt_sweep *sweep)
{
    for (int64_t a = 0; a < sweep->n_axes; a++) {
        const char *reason = NULL;
        const int64_t n = count_idle(sweep, a, &reason);
        if (n > 0) {
            fbt_log_info("sweep", "warning: %s varies, but changes nothing in %lld of %lld runs: %s", sweep->axes[a],
                         (long long)n, (long long)sweep->n_runs, reason);
        }
    }
}

fbt_status fbt_sweep_print_list(const fbt_sweep *sweep)
{
    fbt_status status = FBT_OK;
    double evaluations = 0;
    int *width = NULL;
    FBT_TRY(fbt_memory_alloc(&width, sweep->n_axes, sizeof *width));
    printf("index");
    for (int64_t a = 0; a < sweep->n_axes; a++) {
        width[a] = width_of_axis(sweep, a);
        printf("  %-*s", width[a], sweep->axes[a]);
    }
    printf("  %12s  name\n", "evaluations");
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        const fbt_sweep_run *run = &sweep->runs[i];
        printf("%5lld", (long long)i);
        for (int64_t a = 0; a < sweep->n_axes; a++) {
            printf("  %-*s", width[a], run->values[a] == NULL ? "-" : run->values[a]);
        }
        printf("  %12.0f  %s\n", run->evaluations, run->name);
        evaluations += run->evaluations;
    }
    printf("%lld run%s of sweep %s, %.0f evaluations (passes over a client's samples); run files in %s\n",
           (long long)sweep->n_runs, sweep->n_runs > 1 ? "s" : "", sweep->name, evaluations, sweep->output);
done:
    free(width);
    return status;
}

static void print_number(const char *format, int width, double value)
{
    if (isnan(value)) {
        printf("  %*s", width, "-");
    } else {
        printf(format, width, value);
    }
}

static void print_standing(const fbt_sweep *sweep, int64_t index, const fbt_sweep_standing *s)
{
    char rounds[48], best[24] = "-";
    snprintf(rounds, sizeof rounds, "%lld/%lld", (long long)(s->last_round < 0 ? 0 : s->last_round),
             (long long)s->n_rounds);
    if (s->best_round >= 0) {
        snprintf(best, sizeof best, "%lld", (long long)s->best_round);
    }
    printf("%5lld  %-14s  %11s  %5s", (long long)index, fbt_sweep_state_names[s->state], rounds, best);
    print_number("  %*.4f", 8, s->dev_accuracy);
    print_number("  %*.4f", 8, s->test_accuracy);
    printf("  %s\n", sweep->runs[index].name);
    if (s->state == FBT_SWEEP_RUNNING) {
        printf("       %s\n", s->holder.held);
    } else if (s->reason != NULL) {
        printf("       %s\n", s->reason);
    }
}

static void print_counts(const fbt_sweep *sweep, const int64_t *counts)
{
    const char *comma = "";
    printf("sweep %s: ", sweep->name);
    for (int i = 0; i < FBT_SWEEP_N_STATES; i++) {
        if (counts[i] > 0) {
            printf("%s%lld %s", comma, (long long)counts[i], fbt_sweep_state_names[i]);
            comma = ", ";
        }
    }
    printf("; run files in %s\n", sweep->output);
}

fbt_status fbt_sweep_print_status(const fbt_sweep *sweep, const int64_t *indices, int64_t n, int64_t *counts)
{
    fbt_status status = FBT_OK;
    fbt_sweep_standing *standings = NULL;
    memset(counts, 0, FBT_SWEEP_N_STATES * sizeof *counts);
    FBT_TRY(fbt_memory_alloc(&standings, n, sizeof *standings));
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(fbt_sweep_look(sweep, &sweep->runs[indices[i]], true, &standings[i]));
        counts[standings[i].state]++;
    }
    printf("index  %-14s  %11s  %5s  %8s  %8s  name\n", "state", "rounds", "best", "dev acc", "test acc");
    for (int64_t i = 0; i < n; i++) {
        print_standing(sweep, indices[i], &standings[i]);
    }
    print_counts(sweep, counts);
done:
    for (int64_t i = 0; standings != NULL && i < n; i++) {
        fbt_sweep_standing_clear(&standings[i]);
    }
    free(standings);
    return status;
}
