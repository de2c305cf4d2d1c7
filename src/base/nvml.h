/* Energy that a GPU has taken, by NVIDIA's management library, which comes with the driver and is loaded when it is
 * asked for: a build needs nothing of it. Source: NVIDIA, NVML API reference, nvmlDeviceGetTotalEnergyConsumption. */
#ifndef FBT_BASE_NVML_H
#define FBT_BASE_NVML_H

#include "base/status.h"

#define FBT_NVML_LIBRARY "libnvidia-ml.so.1"

typedef struct fbt_nvml fbt_nvml;

/* Opens the counter of the GPU with this id ("GPU-1f2e..."). library: as dlopen takes it. Release *nvml with
 * fbt_nvml_close. Errors: FBT_ERR_UNSUPPORTED (no library, no such GPU, a GPU without a counter: before Volta, or a
 * part of one), with what to do; FBT_ERR_MEMORY. */
fbt_status fbt_nvml_open(const char *library, const char *id, fbt_nvml **nvml);

/* Joules since it was opened; NAN where the counter cannot be read any more. */
double fbt_nvml_read_j(fbt_nvml *nvml);

/* NULL is fine. */
void fbt_nvml_close(fbt_nvml *nvml);

#endif
