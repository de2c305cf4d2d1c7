/* Joules of a run's rounds: of the processors of all nodes that the ranks are on, whatever else runs there, and of the
 * GPUs that they compute on. Where one of the counters cannot be read, rounds have no such number at all, rather than a
 * part of it. */
#ifndef FBT_RUN_ENERGY_H
#define FBT_RUN_ENERGY_H

#include "base/nvml.h"
#include "base/rapl.h"
#include "run/experiment_internal.h"

/* Zero-initialise; fbt_energy_open; fbt_energy_close, after a failure too. */
typedef struct fbt_energy {
    const fbt_comm *comm;
    fbt_rapl *cpu;  /* on the first rank of a node; NULL: others, or it cannot be read */
    fbt_nvml *gpu;  /* on the first rank of a GPU; likewise */
    double past[2]; /* joules that earlier rounds have taken of either: this rank's */
    bool none[2];   /* of processors and GPUs: no rank's counters are used */
} fbt_energy;

/* Opens the counters. Where they cannot be read told hears why, once, on the first rank; NULL is fine. The model is
 * open. Collective over the experiment's comm. Errors: FBT_ERR_MEMORY, agreed. */
fbt_status fbt_energy_open(fbt_energy *energy, const fbt_experiment *e, const fbt_run_observer *told);

/* Fills in energy_cpu and energy_gpu of a row: since the row before, or since it was opened. The same on every rank.
 * Collective. */
void fbt_energy_fill(fbt_energy *energy, fbt_round_row *row);

void fbt_energy_close(fbt_energy *energy);

#endif
