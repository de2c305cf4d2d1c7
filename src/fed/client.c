#include "client.h"

#include "memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_client_init(fbt_client *client, int64_t id, const fbt_split *train, const fbt_partition *partition,
                           bool perturbed)
{
    fbt_status status = FBT_OK;
    const int64_t *rows = partition->sample_index + partition->sample_offsets[id];
    int64_t n_tokens = 0;
    client->id = id;
    client->n_samples = partition->sample_offsets[id + 1] - partition->sample_offsets[id];
    FBT_TRY(fbt_memory_alloc(&client->items, client->n_samples, sizeof *client->items));
    FBT_TRY(fbt_memory_alloc(&client->frozen, client->n_samples, sizeof *client->frozen));
    for (int64_t i = 0; i < client->n_samples; i++) {
        client->items[i] = fbt_item_of(train, rows[i]);
        client->frozen[i] = train->frozen + train->offsets[rows[i]];
        n_tokens += client->items[i].n_tokens;
    }
    if (perturbed) {
        int32_t *tokens;
        FBT_TRY(fbt_memory_alloc(&client->perturbed, client->n_samples, sizeof *client->perturbed));
        FBT_TRY(fbt_memory_alloc(&client->perturbed_tokens, n_tokens, sizeof *client->perturbed_tokens));
        tokens = client->perturbed_tokens;
        for (int64_t i = 0; i < client->n_samples; i++) {
            client->perturbed[i] = client->items[i];
            client->perturbed[i].tokens = tokens;
            tokens += client->items[i].n_tokens;
        }
    }
done:
    return status;
}

void fbt_client_clear(fbt_client *client)
{
    free(client->items);
    free(client->perturbed);
    free(client->perturbed_tokens);
    free(client->frozen);
    *client = (fbt_client){0};
}

void fbt_client_perturb(fbt_client *client, const fbt_perturbation *perturbation, uint32_t round)
{
    int32_t *out = client->perturbed_tokens;
    for (int64_t i = 0; client->perturbed != NULL && i < client->n_samples; i++) {
        const fbt_item *item = &client->items[i];
        fbt_perturb(perturbation, round, (uint32_t)client->id, (uint32_t)i, item->tokens, client->frozen[i],
                    item->n_tokens, out);
        out += item->n_tokens;
    }
}

static int64_t copies(const fbt_client *client)
{
    return client->perturbed == NULL ? 1 : 2;
}

/* Item order: population, candidate, {original, perturbed}, sample. */
static void list_items(const fbt_population *populations, int64_t n_populations, fbt_item *items)
{
    int32_t candidate = 0;
    for (int64_t p = 0; p < n_populations; p++) {
        const fbt_client *client = populations[p].client;
        for (int64_t c = 0; c < populations[p].n_candidates; c++, candidate++) {
            for (int64_t copy = 0; copy < copies(client); copy++) {
                const fbt_item *source = copy == 0 ? client->items : client->perturbed;
                for (int64_t i = 0; i < client->n_samples; i++) {
                    *items = source[i];
                    (items++)->candidate = candidate;
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
    if (client->perturbed == NULL) {
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

static fbt_status reduce_all(const fbt_population *populations, int64_t n_populations, const double *losses,
                             fbt_fitness_kind kind)
{
    for (int64_t p = 0; p < n_populations; p++) {
        const fbt_client *client = populations[p].client;
        for (int64_t c = 0; c < populations[p].n_candidates; c++) {
            populations[p].fitness[c] = reduce(client, losses, kind);
            losses += copies(client) * client->n_samples;
            if (!isfinite(populations[p].fitness[c].fitness)) {
                return fbt_fail(FBT_ERR_NUMERIC,
                                "client %lld: the fitness is not a number: a loss on the perturbed samples is 0",
                                (long long)client->id);
            }
        }
    }
    return FBT_OK;
}

static fbt_status reserve(int64_t n_items, int64_t n_values, fbt_item **items, double **losses, double **z)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(items, n_items, sizeof **items));
    FBT_TRY(fbt_memory_alloc(losses, n_items, sizeof **losses));
    FBT_TRY(fbt_memory_alloc(z, n_values, sizeof **z));
done:
    return status;
}

fbt_status fbt_client_score(fbt_evaluator *evaluator, const fbt_population *populations, int64_t n_populations,
                            int64_t d, fbt_fitness_kind kind, const fbt_comm *share)
{
    fbt_status status = FBT_OK;
    fbt_item *items = NULL;
    double *losses = NULL;
    double *z = NULL;
    int64_t n_items = 0;
    int64_t n_candidates = 0;
    for (int64_t p = 0; p < n_populations; p++) {
        n_items += populations[p].n_candidates * copies(populations[p].client) * populations[p].client->n_samples;
        n_candidates += populations[p].n_candidates;
    }
    status = reserve(n_items, n_candidates * d, &items, &losses, &z);
    if (share != NULL) {
        status = fbt_comm_agree(share, status);
    }
    FBT_TRY(status);
    list_items(populations, n_populations, items);
    for (int64_t p = 0, row = 0; p < n_populations; row += populations[p].n_candidates, p++) {
        memcpy(z + row * d, populations[p].z, (size_t)(populations[p].n_candidates * d) * sizeof *z);
    }
    FBT_TRY(fbt_evaluator_run(evaluator, items, n_items, z, n_candidates, d, share, &(fbt_scores){.losses = losses}));
    FBT_TRY(reduce_all(populations, n_populations, losses, kind));
done:
    free(items);
    free(losses);
    free(z);
    return status;
}
