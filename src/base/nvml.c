#include "base/nvml.h"

#include "base/memory.h"

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

enum { NVML_SUCCESS = 0 };

/* The functions in use, as nvml.h of the CUDA toolkit declares them; a device is a pointer of the library's own. */
typedef struct functions {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int);
    int (*find)(const char *id, void **device);
    int (*read)(void *device, unsigned long long *energy_mj);
} functions;

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"nvmlInit_v2", offsetof(functions, init)},
    {"nvmlShutdown", offsetof(functions, shutdown)},
    {"nvmlErrorString", offsetof(functions, error_string)},
    {"nvmlDeviceGetHandleByUUID", offsetof(functions, find)},
    {"nvmlDeviceGetTotalEnergyConsumption", offsetof(functions, read)},
};

struct fbt_nvml {
    void *library;
    functions call;
    bool began;
    void *device;
    unsigned long long start_mj;
};

static fbt_status load(fbt_nvml *nvml, const char *library)
{
    fbt_status status = FBT_OK;
    nvml->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (nvml->library == NULL) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "%s cannot be loaded (%s); where joules are wanted, install it with the driver",
                 library, dlerror());
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void **function = (void **)(void *)((char *)&nvml->call + symbols[i].offset);
        *function = dlsym(nvml->library, symbols[i].name);
        if (*function == NULL) {
            FBT_FAIL(FBT_ERR_UNSUPPORTED, "%s has no %s; where joules are wanted, install a newer driver", library,
                     symbols[i].name);
        }
    }
done:
    return status;
}

static fbt_status check(const fbt_nvml *nvml, int code, const char *id, const char *what)
{
    return code == NVML_SUCCESS
               ? FBT_OK
               : fbt_fail(FBT_ERR_UNSUPPORTED,
                          "%s: NVML does not %s (%s); joules need a whole GPU, Volta or later, that is visible to it",
                          id, what, nvml->call.error_string(code));
}

fbt_status fbt_nvml_open(const char *library, const char *id, fbt_nvml **nvml)
{
    fbt_status status = FBT_OK;
    fbt_nvml *made = NULL;
    *nvml = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(load(made, library));
    FBT_TRY(check(made, made->call.init(), id, "begin"));
    made->began = true;
    FBT_TRY(check(made, made->call.find(id, &made->device), id, "know it"));
    FBT_TRY(check(made, made->call.read(made->device, &made->start_mj), id, "tell its energy"));
    *nvml = made;
    made = NULL;
done:
    fbt_nvml_close(made);
    return status;
}

double fbt_nvml_read_j(fbt_nvml *nvml)
{
    unsigned long long now_mj;
    if (nvml->call.read(nvml->device, &now_mj) != NVML_SUCCESS || now_mj < nvml->start_mj) {
        return NAN; /* also after the driver was loaded anew */
    }
    return 1e-3 * (double)(now_mj - nvml->start_mj);
}

void fbt_nvml_close(fbt_nvml *nvml)
{
    if (nvml == NULL) {
        return;
    }
    if (nvml->began) {
        nvml->call.shutdown();
    }
    if (nvml->library != NULL) {
        dlclose(nvml->library);
    }
    free(nvml);
}
