#include "fed/client_values.h"

#include "base/memory.h"
#include "fed/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_client_values_init(fbt_client_values *values, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    fbt_client_values *v = values;
    const int64_t m = fbt_settings_participants(settings);
    v->m = m;
    v->n_generations = settings->fed.local_generations;
    v->d = settings->cma.dimension;
    FBT_TRY(fbt_memory_alloc(&v->participants, m, sizeof *v->participants));
    FBT_TRY(fbt_memory_alloc(&v->fitness, m, sizeof *v->fitness));
    FBT_TRY(fbt_memory_alloc(&v->loss, m, sizeof *v->loss));
    FBT_TRY(fbt_memory_alloc(&v->loss_perturbed, m, sizeof *v->loss_perturbed));
    FBT_TRY(fbt_memory_alloc(&v->condition, m, sizeof *v->condition));
    FBT_TRY(fbt_memory_alloc(&v->step_size, m * v->n_generations, sizeof *v->step_size));
    FBT_TRY(fbt_memory_alloc(&v->evaluations, m, sizeof *v->evaluations));
    if (settings->run.client_means) {
        FBT_TRY(fbt_memory_alloc(&v->mean, m * v->d, sizeof *v->mean));
    }
done:
    return status;
}

void fbt_client_values_clear(fbt_client_values *values)
{
    free(values->participants);
    free(values->fitness);
    free(values->loss);
    free(values->loss_perturbed);
    free(values->condition);
    free(values->step_size);
    free(values->mean);
    free(values->evaluations);
    *values = (fbt_client_values){0};
}

static void fill_nan(double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        values[i] = NAN;
    }
}

void fbt_client_values_empty(fbt_client_values *values)
{
    fbt_client_values *v = values;
    fill_nan(v->fitness, v->m);
    fill_nan(v->loss, v->m);
    fill_nan(v->loss_perturbed, v->m);
    fill_nan(v->condition, v->m);
    fill_nan(v->step_size, v->m * v->n_generations);
    fill_nan(v->mean, v->mean == NULL ? 0 : v->m * v->d);
    for (int64_t i = 0; i < v->m; i++) {
        v->participants[i] = -1;
        v->evaluations[i] = 0;
    }
}

/* Participant i's value of a field; NaN where the protocol has no such field. */
static double value_of(const fbt_messages *up, const char *field, int64_t i)
{
    const double *value = fbt_messages_at(up, field, i);
    return value == NULL ? NAN : *value;
}

void fbt_client_values_fill(fbt_client_values *values, const fbt_settings *settings, const fbt_round_reports *round,
                            const fbt_messages *up, const fbt_block *block)
{
    fbt_client_values *v = values;
    fbt_client_values_empty(v);
    for (int64_t i = 0; i < round->n; i++) {
        const double *step_size = fbt_messages_at(up, "step_size", i), *mean = fbt_messages_at(up, "mean", i);
        v->participants[i] = round->clients[i];
        v->evaluations[i] = fbt_protocol_evaluations(settings);
        v->fitness[i] = value_of(up, "fitness", i);
        v->loss[i] = value_of(up, "loss", i);
        v->loss_perturbed[i] = value_of(up, "loss_perturbed", i);
        v->condition[i] = value_of(up, "condition", i);
        if (step_size != NULL) {
            memcpy(v->step_size + i * v->n_generations, step_size, (size_t)v->n_generations * sizeof *step_size);
        }
        if (v->mean != NULL) {
            fbt_block_complete(block, v->d, 1, mean != NULL ? mean : block->z + block->first, v->mean + i * v->d);
        }
    }
}
