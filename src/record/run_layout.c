#include "record/run_layout.h"

#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(fbt_round_row, member)
#define SCALAR(name, member, long_name)                                                                                \
    {                                                                                                                  \
        "", name, FBT_RUN_REAL, FBT_RUN_SCALAR, AT(member), false, long_name, "1", FBT_RUN_ALWAYS                      \
    }
#define COUNT(group, name, member, long_name, unit)                                                                    \
    {                                                                                                                  \
        group, name, FBT_RUN_INTEGER, FBT_RUN_SCALAR, AT(member), false, long_name, unit, FBT_RUN_ALWAYS               \
    }
#define CHECK(name, member, long_name)                                                                                 \
    {                                                                                                                  \
        "", name, FBT_RUN_REAL, FBT_RUN_SCALAR, AT(member), false, long_name, "1", FBT_RUN_WITH_CHECKS                 \
    }
#define ENERGY(name, member, long_name)                                                                                \
    {                                                                                                                  \
        "cost", name, FBT_RUN_REAL, FBT_RUN_SCALAR, AT(member), false, long_name, "J", FBT_RUN_LATER                   \
    }
#define CLIENTS(name, member, long_name)                                                                               \
    {                                                                                                                  \
        "client", name, FBT_RUN_REAL, FBT_RUN_SLOTS, AT(member), false, long_name, "1", FBT_RUN_ALWAYS                 \
    }

static const fbt_run_column table[] = {
    COUNT("", "index", index, "round; 0 is the state before tuning", "1"),
    {"", "z", FBT_RUN_REAL, FBT_RUN_DIMENSION, AT(z), true, "mean of the server's search distribution", "1",
     FBT_RUN_ALWAYS},
    SCALAR("step_size", step_size, "step size of the server's search distribution"),
    SCALAR("step_size_local", step_size_local, "step size with which clients start the next round"),
    SCALAR("train_loss", train_loss, "mean loss over the training samples that are scored"),
    SCALAR("train_accuracy", train_accuracy, "accuracy over the training samples that are scored"),
    SCALAR("dev_loss", dev_loss, "mean loss over the dev samples"),
    SCALAR("dev_accuracy", dev_accuracy, "accuracy over the dev samples"),
    SCALAR("dev_f1", dev_f1, "F1 over the dev samples"),
    SCALAR("test_loss", test_loss, "mean loss over the test samples"),
    SCALAR("test_accuracy", test_accuracy, "accuracy over the test samples"),
    SCALAR("test_f1", test_f1, "F1 over the test samples"),
    SCALAR("condition_number", condition_number, "condition number of the server's covariance"),
    SCALAR("axis_ratio", axis_ratio, "longest over shortest axis of the server's covariance"),
    SCALAR("path_sigma_norm", path_sigma_norm, "length of the server's conjugate evolution path"),
    {"", "resets", FBT_RUN_INTEGER, FBT_RUN_SCALAR, AT(n_resets), false,
     "searches that collapsed (condition limit, step size) and began anew from their mean, clients' and server's", "1",
     FBT_RUN_LATER},
    CHECK("precision_tau", precision_tau,
          "Kendall's tau-b of the fitness in the run's precision and in fp32 over one client's population"),
    CHECK("precision_overlap", precision_overlap, "fraction of that population's parents that both precisions choose"),
    CHECK("precision_loss_error", precision_loss_error,
          "root mean square over that population of the difference between the losses in both precisions"),
    {"", "precision_fell_back", FBT_RUN_INTEGER, FBT_RUN_SCALAR, AT(precision_fell_back), false,
     "1: the guard has fallen back, the rounds after this one are computed in fp32", "1", FBT_RUN_WITH_CHECKS},
    {"", "epsilon", FBT_RUN_REAL, FBT_RUN_SCALAR, AT(epsilon), false,
     "epsilon of the clients' differential privacy so far, for privacy.delta; NaN: no noise", "1", FBT_RUN_LATER},
    {"", "participants", FBT_RUN_INTEGER, FBT_RUN_SLOTS, AT(participants), false,
     "clients that took part, rising; the clients' values are in their order; -1: none", "1", FBT_RUN_ALWAYS},
    CLIENTS("fitness", client_fitness, "fitness of the client's final mean"),
    CLIENTS("loss", client_loss, "loss of the client's final mean on its samples"),
    CLIENTS("loss_perturbed", client_loss_perturbed, "loss of the client's final mean on its perturbed samples"),
    {"client", "mean", FBT_RUN_REAL, FBT_RUN_SLOTS_DIMENSION, AT(client_mean), false, "final mean of the client", "1",
     FBT_RUN_WITH_MEANS},
    {"client", "step_size", FBT_RUN_REAL, FBT_RUN_SLOTS_GENERATIONS, AT(client_step_size), false,
     "step size with which the client sampled each generation", "1", FBT_RUN_ALWAYS},
    CLIENTS("condition", client_condition, "condition number of the client's final covariance"),
    {"client", "evaluations", FBT_RUN_INTEGER, FBT_RUN_SLOTS, AT(client_evaluations), false,
     "forward passes over the client's samples", "1", FBT_RUN_ALWAYS},
    {"cost", "seconds", FBT_RUN_REAL, FBT_RUN_PHASES, AT(phase_s), false,
     "wall-clock time of each phase (attribute phases), largest over ranks", "s", FBT_RUN_ALWAYS},
    COUNT("cost", "bytes_up", bytes_up, "bytes that all clients together would send to a server", "byte"),
    COUNT("cost", "bytes_down", bytes_down, "bytes that a server would send to all clients together", "byte"),
    COUNT("cost", "tokens", n_tokens, "tokens through the model, all ranks together", "1"),
    COUNT("cost", "peak_memory", peak_memory_bytes, "largest resident memory so far, largest over ranks", "byte"),
    ENERGY("energy_cpu", energy_cpu, "energy of the processor packages of all nodes, whatever else ran there"),
    ENERGY("energy_gpu", energy_gpu, "energy of all GPUs that ranks computed on, whatever else ran there"),
};

const fbt_run_column *fbt_run_columns(int64_t *n)
{
    *n = (int64_t)(sizeof table / sizeof table[0]);
    return table;
}

void fbt_run_column_path(const fbt_run_column *column, char path[FBT_RUN_COLUMN_PATH_BYTES])
{
    snprintf(path, FBT_RUN_COLUMN_PATH_BYTES, "rounds/%s%s%s", column->group, column->group[0] == '\0' ? "" : "/",
             column->name);
}

int64_t fbt_run_column_find(const char *path)
{
    int64_t n;
    char own[FBT_RUN_COLUMN_PATH_BYTES];
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        fbt_run_column_path(&columns[i], own);
        if (strcmp(own, path) == 0) {
            return i;
        }
    }
    return -1;
}

bool fbt_run_column_is_of_participants(const fbt_run_column *column)
{
    return column->shape == FBT_RUN_SLOTS || column->shape == FBT_RUN_SLOTS_GENERATIONS ||
           column->shape == FBT_RUN_SLOTS_DIMENSION;
}

bool fbt_run_column_is_participants(const fbt_run_column *column)
{
    return column->offset == AT(participants);
}

fbt_run_type fbt_run_column_type(const fbt_run_column *column, int64_t version)
{
    return version == FBT_RUN_FORMAT_WIDE && fbt_run_column_is_participants(column) ? FBT_RUN_BYTE : column->type;
}

bool fbt_run_column_is_kept(const fbt_run_column *column, const fbt_run_header *header)
{
    return column->presence == FBT_RUN_WITH_MEANS    ? header->client_means
           : column->presence == FBT_RUN_WITH_CHECKS ? header->precision_checks
                                                     : true;
}

int fbt_run_shape_dims(fbt_run_shape shape, const fbt_run_header *header, int64_t dims[2])
{
    dims[0] = header->n_slots;
    dims[1] = shape == FBT_RUN_SLOTS_GENERATIONS ? header->n_generations : header->dimension;
    switch (shape) {
    case FBT_RUN_SCALAR:
        return 0;
    case FBT_RUN_DIMENSION:
        dims[0] = header->dimension;
        return 1;
    case FBT_RUN_PHASES:
        dims[0] = header->n_phases;
        return 1;
    case FBT_RUN_SLOTS:
        return 1;
    case FBT_RUN_SLOTS_GENERATIONS:
    case FBT_RUN_SLOTS_DIMENSION:
        break;
    }
    return 2;
}

static const char *const status_names[] = {"running", "interrupted", "finished", "failed"};

const char *fbt_run_status_name(fbt_run_status run_status)
{
    return status_names[run_status];
}

bool fbt_run_status_of_name(const char *name, fbt_run_status *run_status)
{
    for (int i = 0; i <= FBT_RUN_FAILED; i++) {
        if (strcmp(status_names[i], name) == 0) {
            *run_status = (fbt_run_status)i;
            return true;
        }
    }
    return false;
}
