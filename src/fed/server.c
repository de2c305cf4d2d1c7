#include "fed/server.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const char optimiser_prefix[] = "server_", step_size_name[] = "step_size_local";

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
    *server = (fbt_server){0};
}

fbt_status fbt_server_export(const fbt_server *server, const char *prefix, fbt_array_list *checkpoint)
{
    fbt_status status = FBT_OK;
    char name[FBT_OPTIMISER_NAME_BYTES];
    fbt_optimiser_array_name(prefix, optimiser_prefix, name);
    FBT_TRY(fbt_optimiser_export(server->optimiser, name, checkpoint));
    fbt_optimiser_array_name(prefix, step_size_name, name);
    FBT_TRY(
        fbt_array_list_add(checkpoint, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = 1,
                                                    .values = &server->step_size_local,
                                                    .long_name = "step size with which clients start the next round"}));
done:
    return status;
}

fbt_status fbt_server_import(fbt_server *server, const char *prefix, const fbt_array *checkpoint)
{
    fbt_status status = FBT_OK;
    const fbt_array *step_size;
    char name[FBT_OPTIMISER_NAME_BYTES];
    fbt_optimiser_array_name(prefix, step_size_name, name);
    FBT_TRY(fbt_array_get_reals(checkpoint, name, &step_size));
    const double *value = step_size->values;
    if (step_size->n_values != 1 || !(value[0] > 0)) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s is not one positive number: the file is damaged", name);
    }
    fbt_optimiser_array_name(prefix, optimiser_prefix, name);
    FBT_TRY(fbt_optimiser_import(server->optimiser, name, checkpoint));
    server->step_size_local = value[0];
done:
    return status;
}
