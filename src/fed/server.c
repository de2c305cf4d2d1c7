#include "fed/server.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const char prefix[] = "server_", step_size_name[] = "step_size_local";

fbt_status fbt_server_init(fbt_server *server, const fbt_optimiser_options *options, double step_size)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_optimiser_new(options, NULL, step_size, &server->optimiser));
    server->step_size_local = step_size;
done:
    return status;
}

void fbt_server_clear(fbt_server *server)
{
    fbt_optimiser_free(server->optimiser);
    fbt_mean_window_clear(&server->window);
    *server = (fbt_server){0};
}

fbt_status fbt_server_average(fbt_server *server, int64_t n_means)
{
    const int64_t d = fbt_optimiser_options_of(server->optimiser)->dimension;
    return n_means == 1 ? FBT_OK : fbt_mean_window_init(&server->window, d, n_means);
}

void fbt_server_end_round(fbt_server *server)
{
    if (server->window.size > 0) {
        fbt_mean_window_add(&server->window, fbt_optimiser_mean(server->optimiser));
    }
}

const double *fbt_server_result(const fbt_server *server)
{
    return server->window.n > 0 ? server->window.average : fbt_optimiser_mean(server->optimiser);
}

fbt_status fbt_server_export(const fbt_server *server, fbt_array_list *checkpoint)
{
    fbt_status status = FBT_OK;
    fbt_array_list_clear(checkpoint);
    FBT_TRY(fbt_optimiser_export(server->optimiser, prefix, checkpoint));
    FBT_TRY(
        fbt_array_list_add(checkpoint, &(fbt_array){.name = step_size_name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = 1,
                                                    .values = &server->step_size_local,
                                                    .long_name = "step size with which clients start the next round"}));
    FBT_TRY(server->window.size > 0 ? fbt_mean_window_export(&server->window, checkpoint) : FBT_OK);
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
static fbt_status import(fbt_server *server, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    const fbt_array *step_size;
    FBT_TRY(fbt_array_get_reals(arrays, step_size_name, &step_size));
    const double *value = step_size->values;
    if (step_size->n_values != 1 || !(value[0] > 0)) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's step_size_local is not one positive number: the file is damaged");
    }
    FBT_TRY(fbt_optimiser_import(server->optimiser, prefix, arrays));
    FBT_TRY(server->window.size > 0 ? fbt_mean_window_import(&server->window, arrays) : FBT_OK);
    server->step_size_local = value[0];
done:
    return status;
}

fbt_status fbt_server_import(fbt_server *server, const fbt_comm *world, const fbt_array *checkpoint)
{
    static const fbt_array none = {0};
    fbt_status status = FBT_OK;
    fbt_array_list shared = {0};
    FBT_TRY(share_all(world, checkpoint, &shared));
    FBT_TRY(fbt_comm_agree(world, import(server, shared.items == NULL ? &none : shared.items)));
done:
    fbt_array_list_clear(&shared);
    return status;
}
