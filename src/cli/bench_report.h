/* What fedbpt bench says of a measurement. */
#ifndef FBT_CLI_BENCH_REPORT_H
#define FBT_CLI_BENCH_REPORT_H

#include "run/timing.h"

#include <jansson.h>

void fbt_bench_print(const fbt_timing_plan *p, const fbt_timing_result *m);

/* The same as JSON, the caller's. */
json_t *fbt_bench_describe(const fbt_timing_plan *p, const fbt_timing_result *m);

#endif
