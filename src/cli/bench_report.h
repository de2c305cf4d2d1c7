/* Report of `fedbpt bench` on a measurement. */
#ifndef FBT_CLI_BENCH_REPORT_H
#define FBT_CLI_BENCH_REPORT_H

#include "run/timing.h"

#include <jansson.h>

/* Says to the log which products stay far below the peak though nothing but arithmetic bounds them. */
void fbt_bench_warn(const fbt_timing_result *m);

void fbt_bench_print(const fbt_timing_result *m);

/* The same as JSON, the caller's. */
json_t *fbt_bench_describe(const fbt_timing_result *m);

#endif
