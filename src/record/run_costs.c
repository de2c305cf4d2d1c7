#include "record/run_costs.h"

#include "base/memory.h"
#include "record/hdf5_util.h"
#include "record/run_rounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Adds a row's phases by their names: files have had fewer of them. */
static void add_phases(const fbt_run_rounds *rounds, int64_t row, double phase_s[FBT_N_PHASES])
{
    for (int64_t i = 0; i < rounds->n_phases; i++) {
        for (int phase = 0; phase < FBT_N_PHASES; phase++) {
            if (strcmp(rounds->phases[i], fbt_phase_names[phase]) == 0) {
                phase_s[phase] += rounds->seconds[row * rounds->n_phases + i];
            }
        }
    }
}

static fbt_status check_precision(const fbt_run_rounds *rounds)
{
    const double *fell_back = fbt_run_rounds_scalar(rounds, "", "precision_fell_back");
    for (int64_t r = 0; fell_back != NULL && r < rounds->n_rounds; r++) {
        if (fell_back[r] > 0) {
            return fbt_fail(
                FBT_ERR_UNSUPPORTED,
                "backend.precision_guard has fallen back to fp32 behind round %.0f: predictions are of runs "
                "in one precision; give one that has not",
                fbt_run_rounds_scalar(rounds, "", "index")[r]);
        }
    }
    return FBT_OK;
}

/* Means over the rows behind the state before tuning. */
static fbt_status take_means(const fbt_run_rounds *rounds, fbt_run_costs *costs)
{
    fbt_status status = FBT_OK;
    const double *index = fbt_run_rounds_scalar(rounds, "", "index");
    const double *train = fbt_run_rounds_scalar(rounds, "", "train_loss");
    const double *test = fbt_run_rounds_scalar(rounds, "", "test_loss");
    const double *memory = fbt_run_rounds_scalar(rounds, "cost", "peak_memory");
    FBT_TRY(check_precision(rounds));
    FBT_TRY(fbt_memory_alloc(&costs->rounds, rounds->n_rounds, sizeof *costs->rounds));
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        costs->peak_memory_bytes = (int64_t)fmax((double)costs->peak_memory_bytes, memory[r]);
        if (index[r] > 0) {
            costs->rounds[costs->n_rounds++] = (int64_t)index[r];
            costs->n_scored += !isnan(train[r]);
            costs->n_tested += !isnan(test[r]);
            add_phases(rounds, r, costs->phase_s);
        }
    }
    if (costs->n_rounds == 0) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "it has no round yet behind the state before tuning: let the run make one");
    }
    for (int phase = 0; phase < FBT_N_PHASES; phase++) {
        costs->phase_s[phase] /= (double)costs->n_rounds;
    }
done:
    return status;
}

/* The sessions of a file while they are visited. */
typedef struct sessions {
    hid_t file;
    int n_ranks;
} sessions;

static fbt_status take_ranks(void *user, const char *name, const char *const *texts, int64_t n_texts)
{
    int *n_ranks = user;
    if (strcmp(name, "ranks") == 0 && n_texts == 1) {
        *n_ranks = (int)strtol(texts[0], NULL, 10);
    }
    return FBT_OK;
}

static fbt_status visit_session(void *user, const fbt_run_session *session)
{
    fbt_status status = FBT_OK;
    sessions *s = user;
    int n_ranks = 0;
    FBT_TRY(fbt_run_rounds_visit_texts(s->file, session->group, take_ranks, &n_ranks));
    if (n_ranks < 1) {
        FBT_FAIL(FBT_ERR_DATA, "%s does not tell its ranks: the file is damaged", session->group);
    }
    if (s->n_ranks > 0 && n_ranks != s->n_ranks) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED,
                 "its sessions had %d ranks and %d: predictions are of runs on one number of ranks", s->n_ranks,
                 n_ranks);
    }
    s->n_ranks = n_ranks;
done:
    return status;
}

static fbt_status read_all(hid_t file, fbt_run_rounds *rounds, fbt_run_costs *costs)
{
    fbt_status status = FBT_OK;
    hid_t config = -1, environment = -1;
    sessions found = {.file = file};
    FBT_HDF5(config = H5Gopen2(file, "config", H5P_DEFAULT), "group config is missing");
    FBT_TRY(fbt_hdf5_read_text(config, "resolved", &costs->config_resolved));
    FBT_HDF5(environment = H5Gopen2(file, "environment", H5P_DEFAULT), "group environment is missing");
    FBT_TRY(fbt_hdf5_read_text(environment, "precision", &costs->precision));
    FBT_TRY(fbt_run_rounds_visit_sessions(file, visit_session, &found));
    costs->n_ranks = found.n_ranks;
    FBT_TRY(fbt_run_rounds_read(file, rounds));
    FBT_TRY(take_means(rounds, costs));
done:
    fbt_hdf5_close(environment);
    fbt_hdf5_close(config);
    return status;
}

fbt_status fbt_run_costs_read(const char *path, fbt_run_costs *costs)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    fbt_run_rounds rounds = {0};
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(read_all(file, &rounds, costs));
done:
    fbt_run_rounds_clear(&rounds);
    fbt_hdf5_close(file);
    return status == FBT_OK ? FBT_OK : fbt_hdf5_name_file(path, status);
}

void fbt_run_costs_clear(fbt_run_costs *costs)
{
    free(costs->config_resolved);
    free(costs->precision);
    free(costs->rounds);
    *costs = (fbt_run_costs){0};
}
