/* Stands in for NVIDIA's management library: one GPU that takes 1.5 J between two readings, and one without a counter.
 */
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, STEP_MJ = 1500 };

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlDeviceGetHandleByUUID(const char *id, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy_mj);

static unsigned long long fake = 123456789, old;

int nvmlInit_v2(void)
{
    return SUCCESS;
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    return code == NOT_SUPPORTED ? "Not Supported" : "Not Found";
}

int nvmlDeviceGetHandleByUUID(const char *id, void **device)
{
    *device = strcmp(id, "GPU-fake") == 0 ? &fake : &old;
    return strcmp(id, "GPU-fake") == 0 || strcmp(id, "GPU-old") == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy_mj)
{
    if (device != &fake) {
        return NOT_SUPPORTED;
    }
    fake += STEP_MJ;
    *energy_mj = fake;
    return SUCCESS;
}
