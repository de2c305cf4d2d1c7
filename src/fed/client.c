#include "fed/client.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_client_init(fbt_client *client, int64_t id, const fbt_split *train, const fbt_partition *partition,
                           bool perturbed)
{
    fbt_status status = FBT_OK;
    const int64_t *rows = partition->sample_index + partition->sample_offsets[id];
    client->id = id;
    client->n_samples = partition->sample_offsets[id + 1] - partition->sample_offsets[id];
    client->perturbed = perturbed;
    FBT_TRY(fbt_memory_alloc(&client->items, client->n_samples, sizeof *client->items));
    for (int64_t i = 0; i < client->n_samples; i++) {
        client->items[i] = fbt_item_of(train, rows[i]);
    }
done:
    return status;
}

void fbt_client_clear(fbt_client *client)
{
    free(client->items);
    *client = (fbt_client){0};
}

static int64_t copies(const fbt_client *client)
{
    return client->perturbed ? 2 : 1;
}

/* Item order: population, candidate, {original, perturbed}, sample. */
static void list_items(const fbt_scoring *s)
{
    fbt_item *item = s->items;
    int32_t candidate = 0;
    for (int64_t p = 0; p < s->n_populations; p++) {
        const fbt_client *client = s->populations[p].client;
        for (int64_t c = 0; c < s->populations[p].n_candidates; c++, candidate++) {
            for (int64_t k = 0; k < copies(client) * client->n_samples; k++, item++) {
                const int64_t i = k % client->n_samples;
                *item = client->items[i];
                item->candidate = candidate;
                if (k >= client->n_samples) {
                    item->sequence.origin =
                        (fbt_origin){.client = (int32_t)client->id, .sample = (int32_t)i, .round = (int32_t)s->round};
                }
            }
        }
    }
}

static double mean(const double *values, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / (double)n;
}

/* losses: [n] of the samples, then [n] of their perturbed copies if there are any. */
static fbt_fitness reduce(const fbt_client *client, const double *losses, fbt_fitness_kind kind)
{
    int64_t n = client->n_samples;
    fbt_fitness f = {.loss = mean(losses, n), .loss_perturbed = NAN};
    if (!client->perturbed) {
        f.fitness = f.loss;
        return f;
    }
    f.loss_perturbed = mean(losses + n, n);
    if (kind == FBT_FITNESS_RATIO_OF_MEANS) {
        f.fitness = f.loss / f.loss_perturbed;
        return f;
    }
    f.fitness = 0;
    for (int64_t i = 0; i < n; i++) {
        f.fitness += losses[i] / losses[n + i];
    }
    return f;
}

static fbt_status reduce_all(const fbt_scoring *s)
{
    const double *losses = s->losses;
    for (int64_t p = 0; p < s->n_populations; p++) {
        const fbt_client *client = s->populations[p].client;
        for (int64_t c = 0; c < s->populations[p].n_candidates; c++) {
            fbt_fitness *fitness = &s->populations[p].fitness[c];
            *fitness = reduce(client, losses, s->kind);
            losses += copies(client) * client->n_samples;
            if (!isfinite(fitness->fitness)) {
                return fbt_fail(FBT_ERR_NUMERIC,
                                "client %lld: the fitness is not a number: a loss on the perturbed samples is 0",
                                (long long)client->id);
            }
        }
    }
    return FBT_OK;
}

static fbt_status reserve(fbt_scoring *s, int64_t n_items, int64_t n_values, double **z)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(&s->items, n_items, sizeof *s->items));
    FBT_TRY(fbt_memory_alloc(&s->losses, n_items, sizeof *s->losses));
    FBT_TRY(fbt_memory_alloc(z, n_values, sizeof **z));
done:
    return status;
}

fbt_status fbt_scoring_start(fbt_scoring *scoring)
{
    fbt_status status = FBT_OK;
    fbt_scoring *s = scoring;
    double *z = NULL;
    int64_t n_items = 0, n_candidates = 0;
    for (int64_t p = 0; p < s->n_populations; p++) {
        const fbt_population *population = &s->populations[p];
        n_items += population->n_candidates * copies(population->client) * population->client->n_samples;
        n_candidates += population->n_candidates;
    }
    status = reserve(s, n_items, n_candidates * s->d, &z);
    if (s->share != NULL) {
        status = fbt_comm_agree(s->share, status);
    }
    FBT_TRY(status);
    list_items(s);
    for (int64_t p = 0, row = 0; p < s->n_populations; row += s->populations[p].n_candidates, p++) {
        fbt_block_complete(&s->block, s->d, s->populations[p].n_candidates, s->populations[p].z, z + row * s->d);
    }
    fbt_evaluator_start(s->evaluator, s->stream,
                        &(fbt_evaluation){.items = s->items,
                                          .n_items = n_items,
                                          .z = z,
                                          .n_candidates = n_candidates,
                                          .d = s->d,
                                          .share = s->share,
                                          .scores = {.losses = s->losses}});
done:
    free(z);
    return status;
}

fbt_status fbt_scoring_finish(fbt_scoring *scoring)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_evaluator_finish(scoring->evaluator, scoring->stream));
    FBT_TRY(reduce_all(scoring));
done:
    return status;
}

void fbt_scoring_clear(fbt_scoring *scoring)
{
    if (scoring->items != NULL) {
        fbt_evaluator_abandon(scoring->evaluator, scoring->stream);
    }
    free(scoring->items);
    free(scoring->losses);
    scoring->items = NULL;
    scoring->losses = NULL;
}

fbt_status fbt_scoring_run(fbt_scoring *scoring)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_scoring_start(scoring));
    FBT_TRY(fbt_scoring_finish(scoring));
done:
    fbt_scoring_clear(scoring);
    return status;
}
