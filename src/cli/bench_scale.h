/* fedbpt bench --scale */
#ifndef FBT_CLI_BENCH_SCALE_H
#define FBT_CLI_BENCH_SCALE_H

#include "base/status.h"
#include "comm/comm.h"
#include "run/timing.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

/* Keys of the options that have no letter. */
enum {
    FBT_BENCH_RANKS = 256,
    FBT_BENCH_CLIENTS,
    FBT_BENCH_LATENCY,
    FBT_BENCH_BANDWIDTH,
    FBT_BENCH_NODE,
    FBT_BENCH_SPREAD,
    FBT_BENCH_SPEED,
    FBT_BENCH_TEST
};

/* The options; texts are borrowed from the command line. */
typedef struct fbt_bench_scale {
    bool wanted;
    const char *run; /* NULL: a shape or a model folder is timed */
    const char *ranks, *clients, *latency, *bandwidth;
    int64_t ranks_per_node, spread, speed, test_samples;
} fbt_bench_scale;

/* Whether the argument of `bench --scale` is a run file: anything but a folder. NULL: no. */
bool fbt_bench_scale_is_run(const char *path);

/* Ends the program by argp_error where a list or a quantity cannot be read. */
void fbt_bench_scale_check(const fbt_bench_scale *scale, const struct argp_state *state);

/* Predicts and prints on rank 0. Collective. */
fbt_status fbt_bench_scale_run(const fbt_bench_scale *scale, const fbt_timing_plan *timing, const fbt_comm *world,
                               bool as_json);

#endif
