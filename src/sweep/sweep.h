/* A sweep: one base configuration and the settings that vary, expanded into runs with names of their own.
 *
 *     name: alpha                        # goes into every run file
 *     base: ../quickstart.yaml           # settings of all runs; relative to this file
 *     output: runs/alpha                 # folder of the run files; relative to where the program is started
 *     settings:                          # of all runs, on top of the base; not in their names
 *       fed.rounds: 10
 *     grid:                              # every value with every other
 *       fed.protocol: [nvflare, paper]
 *       cma.alpha: [0.5, 1, 2]
 *     sets:                              # settings that change together
 *       - {cma.population: 5, fed.local_generations: 8}
 *       - {cma.population: 20, fed.local_generations: 2}
 *     random:                            # values drawn once; more draws keep the earlier ones
 *       draws: 8
 *       seed: 1
 *       settings:
 *         cma.population: {integer: [4, 20]}      # or uniform, log_uniform: [low, high]; choice: [...]
 *     seeds: [1, 2, 3]                   # of run.seed; or repeats: 3, from the base's seed upwards
 *     exclude:                           # runs that match all settings of an entry are left out
 *       - {fed.protocol: paper, cma.alpha: [0.5, 2]}
 *
 * The runs are the product of the grid's settings, the sets, the draws and the seeds, in this order, the last one
 * changing fastest; combinations that are equal are one run. A run's name, and so its file, follows from its own values
 * on these axes alone: from neither their order nor the other runs.
 */
#ifndef FBT_SWEEP_H
#define FBT_SWEEP_H

#include "base/status.h"
#include "config/settings.h"

#include <stdint.h>

enum {
    FBT_SWEEP_RUNS_MAX = 100000,
    FBT_SWEEP_NAME_BYTES = 140, /* of a run, with the terminating zero */
};

typedef struct fbt_sweep_run {
    char name[FBT_SWEEP_NAME_BYTES]; /* "protocol=paper,alpha=1.5-3f2a9164": short names and a digest of the whole ones
                                      */
    char *output;                    /* path of the run file: output folder, name, ".h5"                      */
    const char **values;             /* [n_axes]: as text; NULL where the run leaves the base's value         */
    const char **idle;  /* [n_axes]: why the value changes nothing in this run (fbt_settings_idle), or NULL */
    char **assignments; /* [n_assignments]: "section.key=value", on top of the base: all of its own  */
    int n_assignments;
    char *axes;         /* "fed.protocol=paper cma.alpha=1.5"                                    */
    double evaluations; /* passes over a client's samples (client/evaluations of its run file)   */
} fbt_sweep_run;

/* Owned by the caller: zero-initialise, fbt_sweep_clear. */
typedef struct fbt_sweep {
    char *name;
    char *base_path;
    char *base_text;
    char *output;                            /* folder */
    double max_seconds, stop_margin_seconds; /* of the base and --set: they concern the whole call */
    int64_t n_axes;
    const char **axes; /* [n_axes]: "section.key", in the order of the file */
    int64_t n_runs;    /* at least 1 */
    fbt_sweep_run *runs;
} fbt_sweep;

/* Reads a sweep and its base configuration and expands it. assignments: --set, for all runs, of settings that are on no
 * axis. Every value of every run has been checked as fbt_settings_check does; data and model are not looked at.
 * Errors: FBT_ERR_CONFIG with file and line, FBT_ERR_IO. */
fbt_status fbt_sweep_read(const char *path, const char *const *assignments, int n_assignments, fbt_sweep *sweep);
void fbt_sweep_clear(fbt_sweep *sweep);

/* The settings of a run. Clear *settings also on failure. */
fbt_status fbt_sweep_settings(const fbt_sweep *sweep, const fbt_sweep_run *run, fbt_settings *settings);
/* The same for going on with a run whose file has recorded settings: fbt_settings_defaults_before. */
fbt_status fbt_sweep_settings_after(const fbt_sweep *sweep, const fbt_sweep_run *run, const char *recorded,
                                    fbt_settings *settings);

#endif
