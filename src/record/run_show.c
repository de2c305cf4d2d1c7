/* A run file as text for people. */
#include "record/run_reader.h"

#include "record/hdf5_util.h"
#include "record/journal.h"
#include "record/real_path.h"
#include "record/run_clients.h"
#include "record/run_rounds.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A column of the table of rounds. */
typedef struct shown {
    const char *group; /* below /rounds */
    const char *name;  /* NULL: seconds, summed over phases */
    const char *title;
    int width;
    int decimals; /* < 0: significant digits */
} shown;

static const shown table[] = {
    {"", "index", "round", 5, 0},
    {"", "train_loss", "train loss", 10, 4},
    {"", "train_accuracy", "train acc", 9, 4},
    {"", "dev_loss", "dev loss", 9, 4},
    {"", "dev_accuracy", "dev acc", 8, 4},
    {"", "dev_f1", "dev F1", 8, 4},
    {"", "test_loss", "test loss", 9, 4},
    {"", "test_accuracy", "test acc", 8, 4},
    {"", "test_f1", "test F1", 8, 4},
    {"", "step_size", "step size", 10, -5},
    {"cost", NULL, "seconds", 9, 2},
    {"cost", "energy_cpu", "CPU J", 9, 1},
    {"cost", "energy_gpu", "GPU J", 9, 1},
};
enum { N_SHOWN = sizeof table / sizeof table[0] };

static double value_at(const fbt_run_rounds *rounds, const shown *column, int64_t r)
{
    double sum = 0;
    if (column->name != NULL) {
        const double *values = fbt_run_rounds_scalar(rounds, column->group, column->name);
        return values == NULL ? NAN : values[r]; /* of a file without the column */
    }
    for (int64_t p = 0; p < rounds->n_phases; p++) {
        sum += rounds->seconds[r * rounds->n_phases + p];
    }
    return sum;
}

/* Columns without any number (no dev samples, metric accuracy) are left out. */
static bool has_numbers(const fbt_run_rounds *rounds, const shown *column)
{
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        if (!isnan(value_at(rounds, column, r))) {
            return true;
        }
    }
    return false;
}

static void show_value(FILE *stream, const shown *column, double value)
{
    if (isnan(value)) {
        fprintf(stream, "  %*s", column->width, "-");
    } else if (column->decimals < 0) {
        fprintf(stream, "  %*.*g", column->width, -column->decimals, value);
    } else {
        fprintf(stream, "  %*.*f", column->width, column->decimals, value);
    }
}

static void show_rounds(FILE *stream, const fbt_run_rounds *rounds)
{
    bool wanted[N_SHOWN];
    const double *index = fbt_run_rounds_scalar(rounds, "", "index");
    fprintf(stream, "\nRounds\n");
    if (rounds->n_rounds == 0) {
        fprintf(stream, "  none yet\n");
        return;
    }
    for (int i = 0; i < N_SHOWN; i++) {
        wanted[i] = has_numbers(rounds, &table[i]);
        if (wanted[i]) {
            fprintf(stream, "  %*s", table[i].width, table[i].title);
        }
    }
    fprintf(stream, "\n");
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        for (int i = 0; i < N_SHOWN; i++) {
            if (wanted[i]) {
                show_value(stream, &table[i], value_at(rounds, &table[i], r));
            }
        }
        fprintf(stream, "%s%s\n", (int64_t)index[r] == rounds->best_round ? "  best" : "",
                (int64_t)index[r] == rounds->last_round ? "  last" : "");
    }
}

static fbt_status show_entry(void *user, const char *name, const char *const *texts, int64_t n_texts)
{
    fprintf(user, "  %-22s ", name);
    for (int64_t i = 0; i < n_texts; i++) {
        fprintf(user, "%s%s", i > 0 ? ", " : "", texts[i]);
    }
    fprintf(user, "\n");
    return FBT_OK;
}

static fbt_status show_head(hid_t file, const char *path, FILE *stream)
{
    static const char *const names[] = {"status", "created", "program_version", "git_commit"};
    fbt_status status = FBT_OK;
    char *text = NULL;
    double wall_time_s;
    fprintf(stream, "%s\n", path);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        FBT_TRY(fbt_hdf5_read_text(file, names[i], &text));
        show_entry(stream, names[i], (const char *const *)&text, 1);
        free(text);
        text = NULL;
    }
    FBT_TRY(fbt_hdf5_read_real(file, "wall_time_s", &wall_time_s));
    fprintf(stream, "  %-22s %.1f\n", "wall_time_s", wall_time_s);
done:
    free(text);
    return status;
}

/* The resolved settings, indented. */
static fbt_status show_settings(hid_t file, FILE *stream)
{
    fbt_status status = FBT_OK;
    hid_t config = -1;
    char *text = NULL, *rest = NULL;
    FBT_HDF5(config = H5Gopen2(file, "config", H5P_DEFAULT), "group config is missing");
    FBT_TRY(fbt_hdf5_read_text(config, "resolved", &text));
    fprintf(stream, "\nSettings\n");
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        fprintf(stream, "  %s\n", line);
    }
done:
    free(text);
    fbt_hdf5_close(config);
    return status;
}

/* The list of sessions being shown. */
typedef struct sessions {
    hid_t file;
    FILE *stream;
} sessions;

static fbt_status show_session(void *user, const fbt_run_session *session)
{
    static const char *const names[] = {"started", "ranks", "hosts"};
    sessions *s = user;
    fbt_status status = FBT_OK;
    hid_t group = -1;
    char *texts[3] = {NULL};
    FBT_HDF5(group = H5Gopen2(s->file, session->group, H5P_DEFAULT), "group %s is damaged", session->group);
    for (int i = 0; i < 3; i++) {
        FBT_TRY(fbt_hdf5_read_text(group, names[i], &texts[i]));
    }
    fprintf(s->stream, "  from round %-12" PRId64 "%s, ranks %s on %s\n", session->first_round, texts[0], texts[1],
            texts[2]);
done:
    for (int i = 0; i < 3; i++) {
        free(texts[i]);
    }
    fbt_hdf5_close(group);
    return status;
}

static void show_resets(FILE *stream, const fbt_run_rounds *rounds)
{
    const double *resets = fbt_run_rounds_scalar(rounds, "", "resets"),
                 *index = fbt_run_rounds_scalar(rounds, "", "index");
    double n = 0, first = 0;
    for (int64_t r = 0; resets != NULL && r < rounds->n_rounds; r++) {
        first = n == 0 && resets[r] > 0 ? index[r] : first;
        n += resets[r];
    }
    if (n > 0) {
        fprintf(stream, "  %.0f search%s collapsed and began anew, the first in round %.0f\n", n, n == 1 ? "" : "es",
                first);
    }
}

/* Findings of the checks of a low precision. */
static void show_checks(FILE *stream, const fbt_run_rounds *rounds)
{
    const double *tau = fbt_run_rounds_scalar(rounds, "", "precision_tau"),
                 *fell_back = fbt_run_rounds_scalar(rounds, "", "precision_fell_back"),
                 *index = fbt_run_rounds_scalar(rounds, "", "index");
    int64_t n = 0, lowest = 0, first = -1;
    for (int64_t r = 0; tau != NULL && fell_back != NULL && r < rounds->n_rounds; r++) {
        lowest = !isnan(tau[r]) && (n == 0 || tau[r] < tau[lowest]) ? r : lowest;
        n += !isnan(tau[r]);
        first = first < 0 && fell_back[r] != 0 ? r : first;
    }
    if (n > 0) {
        fprintf(stream, "  %" PRId64 " check%s of the ranking against fp32, the lowest tau %.3f in round %.0f\n", n,
                n == 1 ? "" : "s", tau[lowest], index[lowest]);
    }
    if (first >= 0) {
        fprintf(stream, "  fell back to fp32 after round %.0f\n", index[first]);
    }
}

/* Rounds that are not in the run file yet. Whatever keeps the journal from being read: whoever goes on with it is told.
 */
static void show_journal(const char *path, FILE *stream)
{
    fbt_journal *journal = NULL;
    char *folder = NULL, *file = NULL;
    int64_t n_bytes = 0;
    if (fbt_real_path(path, &folder, &file) == FBT_OK && fbt_journal_new(file, path, &journal) == FBT_OK &&
        fbt_journal_find(journal, &n_bytes) == FBT_OK && n_bytes > 0) {
        fprintf(stream,
                "  %" PRId64 " more in %s.journal: this file takes them up while the run goes on, or with "
                "fedbpt run --resume\n",
                fbt_journal_records(journal), path);
    }
    fbt_error_clear();
    fbt_journal_free(journal);
    free(folder);
    free(file);
}

fbt_status fbt_run_reader_show(const char *path, FILE *stream)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    fbt_run_rounds rounds = {0};
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(fbt_run_rounds_read(file, &rounds));
    FBT_TRY(show_head(file, path, stream));
    FBT_TRY(show_settings(file, stream));
    fprintf(stream, "\nInputs\n");
    FBT_TRY(fbt_run_rounds_visit_texts(file, "inputs", show_entry, stream));
    FBT_TRY(fbt_run_clients_show(file, stream));
    fprintf(stream, "\nEnvironment\n");
    FBT_TRY(fbt_run_rounds_visit_texts(file, "environment", show_entry, stream));
    fprintf(stream, "\nSessions\n");
    FBT_TRY(fbt_run_rounds_visit_sessions(file, show_session, &(sessions){file, stream}));
    show_rounds(stream, &rounds);
    show_resets(stream, &rounds);
    show_checks(stream, &rounds);
    show_journal(path, stream);
done:
    fbt_run_rounds_clear(&rounds);
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}
