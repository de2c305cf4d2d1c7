/* Energy that this machine's processors have taken, by the counters of their packages (RAPL) as Linux's power capping
 * framework shows them. Source: Linux, Documentation/power/powercap/powercap.rst. */
#ifndef FBT_BASE_RAPL_H
#define FBT_BASE_RAPL_H

#include "base/status.h"

#define FBT_RAPL_ROOT "/sys/class/powercap" /* where Linux has the zones */

typedef struct fbt_rapl fbt_rapl;

/* Opens the counters of all zones below `root` that are named package-..., each name once: two drivers may show the
 * same package. Zones inside a package (core, uncore), those of memory (dram) and of the whole platform (psys) are not
 * counted. Counters wrap around after some minutes, so that a thread of its own reads them every `every_s` seconds,
 * which must be less than that takes. Release *rapl with fbt_rapl_close. Errors: FBT_ERR_UNSUPPORTED (there are none),
 * FBT_ERR_IO (they may not be read, or no thread can be started), with what to do; FBT_ERR_MEMORY. */
enum { FBT_RAPL_EVERY_S = 20 }; /* 3 kW a package would wrap the smallest counter, of 65 kJ */
fbt_status fbt_rapl_open(const char *root, double every_s, fbt_rapl **rapl);

/* Joules of all packages together since they were opened; NAN from the first time on that one could not be read. */
double fbt_rapl_read_j(fbt_rapl *rapl);

/* NULL is fine. */
void fbt_rapl_close(fbt_rapl *rapl);

#endif
