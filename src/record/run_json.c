/* A run file as one JSON object. */
#include "record/run_reader.h"

#include "base/utf8.h"
#include "record/hdf5_util.h"
#include "record/run_rounds.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 17 }; /* so that every double reads back as it was */

/* Sets a member; takes over `value`. jansson reports lack of memory as NULL or -1. */
static fbt_status put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) != 0) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the JSON text of %s", name);
    }
    return FBT_OK;
}

/* Any text: a name of a file, or a record of an older program, need not be UTF-8, as JSON must. */
static json_t *string(const char *text)
{
    char *sound = NULL;
    json_t *value = fbt_utf8_repair(text, &sound) == FBT_OK ? json_string(sound) : NULL;
    free(sound);
    return value;
}

/* JSON has neither NaN nor infinity. */
static json_t *number(double value, bool integer)
{
    if (!isfinite(value)) {
        return json_null();
    }
    return integer ? json_integer((json_int_t)value) : json_real(value);
}

static fbt_status put_entry(void *user, const char *name, const char *const *texts, int64_t n_texts)
{
    if (n_texts == 1) {
        return put(user, name, string(texts[0]));
    }
    json_t *list = json_array();
    fbt_status status = put(user, name, list);
    for (int64_t i = 0; status == FBT_OK && i < n_texts; i++) {
        if (json_array_append_new(list, string(texts[i])) != 0) {
            status = fbt_fail(FBT_ERR_MEMORY, "out of memory: the JSON text of %s", name);
        }
    }
    return status;
}

static fbt_status put_texts(json_t *object, hid_t file, const char *group)
{
    json_t *member = json_object();
    fbt_status status = put(object, group, member);
    return status == FBT_OK ? fbt_run_rounds_visit_texts(file, group, put_entry, member) : status;
}

/* The list of sessions being made. */
typedef struct sessions {
    hid_t file;
    json_t *list;
} sessions;

static fbt_status put_session(void *user, const fbt_run_session *session)
{
    sessions *s = user;
    json_t *object = json_object();
    if (json_array_append_new(s->list, object) != 0) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the sessions as JSON");
    }
    fbt_status status = put(object, "first_round", json_integer(session->first_round));
    return status == FBT_OK ? fbt_run_rounds_visit_texts(s->file, session->group, put_entry, object) : status;
}

static fbt_status put_sessions(json_t *object, hid_t file)
{
    sessions s = {.file = file, .list = json_array()};
    fbt_status status = put(object, "sessions", s.list);
    return status == FBT_OK ? fbt_run_rounds_visit_sessions(file, put_session, &s) : status;
}

static fbt_status put_head(json_t *object, hid_t file)
{
    static const char *const names[] = {"program_version", "git_commit", "status", "created"};
    fbt_status status = FBT_OK;
    char *text = NULL;
    int64_t version;
    double wall_time_s;
    FBT_TRY(fbt_hdf5_read_int(file, "format_version", &version));
    FBT_TRY(put(object, "format_version", json_integer(version)));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        FBT_TRY(fbt_hdf5_read_text(file, names[i], &text));
        FBT_TRY(put(object, names[i], string(text)));
        free(text);
        text = NULL;
    }
    FBT_TRY(fbt_hdf5_read_real(file, "wall_time_s", &wall_time_s));
    FBT_TRY(put(object, "wall_time_s", number(wall_time_s, false)));
done:
    free(text);
    return status;
}

/* {"index": 3, "train_loss": 1.1, ..., "bytes_up": 20360, ..., "seconds": {"forward": 0.5, ...}} */
static fbt_status put_round(json_t *list, const fbt_run_rounds *rounds, int64_t r)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    json_t *object = json_object(), *seconds = json_object();
    if (json_array_append_new(list, object) != 0) {
        json_decref(seconds);
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the rounds as JSON");
    }
    status = put(object, "seconds", seconds);
    for (int64_t i = 0; status == FBT_OK && i < n; i++) {
        if (rounds->scalars[i] != NULL) {
            status = put(object, columns[i].name, number(rounds->scalars[i][r], columns[i].type == FBT_RUN_INTEGER));
        }
    }
    for (int64_t p = 0; status == FBT_OK && p < rounds->n_phases; p++) {
        status = put(seconds, rounds->phases[p], number(rounds->seconds[r * rounds->n_phases + p], false));
    }
    return status;
}

static fbt_status put_rounds(json_t *object, const fbt_run_rounds *rounds)
{
    fbt_status status = FBT_OK;
    json_t *list = json_array();
    FBT_TRY(put(object, "rounds", list));
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        FBT_TRY(put_round(list, rounds, r));
    }
    FBT_TRY(put(object, "best_round", rounds->best_round < 0 ? json_null() : json_integer(rounds->best_round)));
    FBT_TRY(put(object, "last_round", rounds->last_round < 0 ? json_null() : json_integer(rounds->last_round)));
done:
    return status;
}

fbt_status fbt_run_reader_show_json(const char *path, FILE *stream)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    fbt_run_rounds rounds = {0};
    json_t *object = json_object();
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(fbt_run_rounds_read(file, &rounds));
    FBT_TRY(put(object, "path", string(path)));
    FBT_TRY(put_head(object, file));
    FBT_TRY(put_texts(object, file, "config"));
    FBT_TRY(put_texts(object, file, "inputs"));
    FBT_TRY(put_texts(object, file, "environment"));
    FBT_TRY(put_sessions(object, file));
    FBT_TRY(put_rounds(object, &rounds));
    if (json_dumpf(object, stream, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) != 0 || fputc('\n', stream) == EOF) {
        FBT_FAIL(FBT_ERR_IO, "the JSON text of %.400s cannot be written", path);
    }
done:
    json_decref(object);
    fbt_run_rounds_clear(&rounds);
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}
