#include "fed/searches.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_searches_init(fbt_searches *searches, const fbt_optimiser_options *options, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    fbt_searches *s = searches;
    s->d = settings->cma.dimension;
    FBT_TRY(fbt_memory_alloc(&s->z, s->d, sizeof *s->z));
    FBT_TRY(fbt_memory_alloc(&s->servers, fbt_settings_n_blocks(settings), sizeof *s->servers));
    while (s->n < fbt_settings_n_blocks(settings)) {
        FBT_TRY(fbt_server_init(&s->servers[s->n++], options, settings->cma.sigma));
    }
    if (settings->fed.average_means > 1) {
        FBT_TRY(fbt_mean_window_init(&s->window, s->d, settings->fed.average_means));
    }
    fbt_searches_begin_round(s, settings, 1);
done:
    return status;
}

void fbt_searches_clear(fbt_searches *searches)
{
    for (int64_t b = 0; b < searches->n; b++) {
        fbt_server_clear(&searches->servers[b]);
    }
    free(searches->servers);
    free(searches->z);
    fbt_mean_window_clear(&searches->window);
    *searches = (fbt_searches){0};
}

void fbt_searches_begin_round(fbt_searches *searches, const fbt_settings *settings, uint32_t round)
{
    searches->block =
        (fbt_block){.z = searches->z, .first = fbt_block_first(settings, round), .n = fbt_settings_searched(settings)};
    searches->server = &searches->servers[fbt_block_of_round(settings, round)];
}

static void take_mean(fbt_searches *s, int64_t block)
{
    const int64_t n = s->d / s->n;
    memcpy(s->z + block * n, fbt_optimiser_mean(s->servers[block].optimiser), (size_t)n * sizeof *s->z);
}

void fbt_searches_end_round(fbt_searches *searches)
{
    take_mean(searches, searches->server - searches->servers);
    if (searches->window.size > 0) {
        fbt_mean_window_add(&searches->window, searches->z);
    }
}

const double *fbt_searches_result(const fbt_searches *searches)
{
    return searches->window.n > 0 ? searches->window.average : searches->z;
}

int64_t fbt_searches_n_resets(const fbt_searches *searches)
{
    int64_t n = 0;
    for (int64_t b = 0; b < searches->n; b++) {
        fbt_optimiser_health health;
        fbt_optimiser_health_get(searches->servers[b].optimiser, &health);
        n += health.n_resets;
    }
    return n;
}

/* ---- Checkpoint ---- */

enum { PREFIX_BYTES = 32 };

/* Prefix of the names of a block's arrays; none where there is one block. */
static void name_block(const fbt_searches *s, int64_t block, char prefix[PREFIX_BYTES])
{
    prefix[0] = '\0';
    if (s->n > 1) {
        snprintf(prefix, PREFIX_BYTES, "layer_%" PRId64 "_", block + 1);
    }
}

fbt_status fbt_searches_export(const fbt_searches *searches, fbt_array_list *checkpoint)
{
    fbt_status status = FBT_OK;
    char prefix[PREFIX_BYTES];
    fbt_array_list_clear(checkpoint);
    for (int64_t b = 0; b < searches->n; b++) {
        name_block(searches, b, prefix);
        FBT_TRY(fbt_server_export(&searches->servers[b], prefix, checkpoint));
    }
    FBT_TRY(searches->window.size > 0 ? fbt_mean_window_export(&searches->window, checkpoint) : FBT_OK);
done:
    return status;
}

/* Rank 0's array (NULL elsewhere) on every rank, appended to the list. Collective. */
static fbt_status share_array(const fbt_comm *world, const fbt_array *array, fbt_array_list *list)
{
    fbt_status status = FBT_OK;
    char name[256] = "";
    fbt_array shared = {.name = name};
    if (array != NULL) {
        shared = *array;
        snprintf(name, sizeof name, "%s", array->name);
    }
    fbt_comm_broadcast(world, name, sizeof name);
    fbt_comm_broadcast(world, &shared.type, sizeof shared.type);
    fbt_comm_broadcast(world, &shared.n_values, sizeof shared.n_values);
    shared.name = name;
    shared.long_name = NULL;
    FBT_TRY(fbt_comm_agree(world, fbt_array_list_add(list, &shared)));
    fbt_comm_broadcast(world, (void *)(uintptr_t)list->items[list->n - 1].values,
                       shared.n_values * FBT_ARRAY_VALUE_BYTES);
done:
    return status;
}

static fbt_status share_all(const fbt_comm *world, const fbt_array *arrays, fbt_array_list *list)
{
    fbt_status status = FBT_OK;
    int64_t n = 0;
    while (fbt_comm_rank(world) == 0 && arrays[n].name != NULL) {
        n++;
    }
    fbt_comm_broadcast(world, &n, sizeof n);
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(share_array(world, fbt_comm_rank(world) == 0 ? &arrays[i] : NULL, list));
    }
done:
    return status;
}

/* Does every rank's own part with the arrays. */
static fbt_status import(fbt_searches *s, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    char prefix[PREFIX_BYTES];
    for (int64_t b = 0; b < s->n; b++) {
        name_block(s, b, prefix);
        FBT_TRY(fbt_server_import(&s->servers[b], prefix, arrays));
        take_mean(s, b);
    }
    FBT_TRY(s->window.size > 0 ? fbt_mean_window_import(&s->window, arrays) : FBT_OK);
done:
    return status;
}

fbt_status fbt_searches_import(fbt_searches *searches, const fbt_comm *world, const fbt_array *checkpoint)
{
    static const fbt_array none = {0};
    fbt_status status = FBT_OK;
    fbt_array_list shared = {0};
    FBT_TRY(share_all(world, checkpoint, &shared));
    FBT_TRY(fbt_comm_agree(world, import(searches, shared.items == NULL ? &none : shared.items)));
done:
    fbt_array_list_clear(&shared);
    return status;
}
