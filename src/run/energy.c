#include "run/energy.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CPU, GPU, N_KINDS, REASON_BYTES = 1024 };

/* Keeps in words why a counter is not open; any other failure stays one. */
static fbt_status note_reason(fbt_status status, char reason[REASON_BYTES])
{
    char host[HOST_NAME_MAX + 1] = "";
    if (status != FBT_ERR_UNSUPPORTED && status != FBT_ERR_IO) {
        return status;
    }
    gethostname(host, sizeof host - 1);
    snprintf(reason, REASON_BYTES, "%s: %s", host, fbt_error_take());
    return FBT_OK;
}

/* The processors of a node are its first rank's. *expected: it has counters, whether they can be read or not.
 * Collective. */
static fbt_status open_cpu(fbt_energy *energy, const fbt_experiment *e, char reason[REASON_BYTES], bool *expected)
{
    fbt_status status = FBT_OK;
    fbt_comm *node = NULL;
    const char *root = e->plan->powercap != NULL ? e->plan->powercap : FBT_RAPL_ROOT;
    FBT_TRY(fbt_comm_split_node(e->comm, &node));
    if (fbt_comm_rank(node) == 0) {
        status = fbt_rapl_open(root, FBT_RAPL_EVERY_S, &energy->cpu);
        *expected = status != FBT_ERR_UNSUPPORTED;
        status = note_reason(status, reason);
    }
done:
    fbt_comm_free(node);
    return status;
}

/* A GPU is its first rank's. */
static fbt_status open_gpu(fbt_energy *energy, const fbt_experiment *e, char reason[REASON_BYTES])
{
    fbt_backend_info info;
    const char *library = e->plan->nvml != NULL ? e->plan->nvml : FBT_NVML_LIBRARY;
    fbt_backend_get_info(e->inputs->backend, &info);
    if (info.device_id[0] == '\0' || fbt_comm_rank(e->inputs->device) != 0) {
        return FBT_OK;
    }
    return note_reason(fbt_nvml_open(library, info.device_id, &energy->gpu), reason);
}

/* Tells the first reason that a rank has. Collective. */
static fbt_status tell_reason(const fbt_experiment *e, const char *what, const char *reason,
                              const fbt_run_observer *told)
{
    fbt_status status = FBT_OK;
    char *lines = NULL;
    FBT_TRY(fbt_comm_lines(e->comm, reason, &lines));
    char *first = lines + strspn(lines, "\n");
    first[strcspn(first, "\n")] = '\0';
    if (first[0] != '\0' && e->plan->sweep_name == NULL) { /* each run of a sweep would say the same */
        fbt_observer_note(told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(e), "energy of the %s is not measured: %s",
                          what, first);
    }
done:
    free(lines);
    return status;
}

fbt_status fbt_energy_open(fbt_energy *energy, const fbt_experiment *e, const fbt_run_observer *told)
{
    fbt_status status = FBT_OK;
    char reasons[N_KINDS][REASON_BYTES] = {"", ""};
    bool expected = false;
    energy->comm = e->comm;
    FBT_TRY(fbt_comm_agree(e->comm, open_cpu(energy, e, reasons[CPU], &expected)));
    FBT_TRY(fbt_comm_agree(e->comm, open_gpu(energy, e, reasons[GPU])));
    double counts[2 * N_KINDS + 1] = {energy->cpu != NULL, energy->gpu != NULL, reasons[CPU][0] != '\0',
                                      reasons[GPU][0] != '\0', expected};
    fbt_comm_max(e->comm, counts, 2 * N_KINDS + 1);
    for (int kind = 0; kind < N_KINDS; kind++) {
        energy->none[kind] = counts[kind] == 0 || counts[N_KINDS + kind] > 0;
    }
    if (counts[2 * N_KINDS] >
        0) { /* machines without counters, mostly virtual ones, are not worth a word in every run */
        FBT_TRY(tell_reason(e, "processors", reasons[CPU], told));
    }
    FBT_TRY(tell_reason(e, "GPUs", reasons[GPU], told));
done:
    return status;
}

void fbt_energy_fill(fbt_energy *energy, fbt_round_row *row)
{
    const double now[N_KINDS] = {energy->cpu == NULL ? 0 : fbt_rapl_read_j(energy->cpu),
                                 energy->gpu == NULL ? 0 : fbt_nvml_read_j(energy->gpu)};
    double taken[N_KINDS];
    for (int kind = 0; kind < N_KINDS; kind++) {
        taken[kind] = energy->none[kind] ? NAN : now[kind] - energy->past[kind];
        energy->past[kind] = now[kind];
    }
    fbt_comm_sum(energy->comm, taken, N_KINDS);
    row->energy_cpu = taken[CPU];
    row->energy_gpu = taken[GPU];
}

void fbt_energy_close(fbt_energy *energy)
{
    fbt_rapl_close(energy->cpu);
    fbt_nvml_close(energy->gpu);
    *energy = (fbt_energy){.cpu = NULL};
}
