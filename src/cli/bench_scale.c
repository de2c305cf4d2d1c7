/* fedbpt bench --scale: predictions as a table or as JSON. */
#include "cli/bench_scale.h"

#include "base/memory.h"
#include "run/scale.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_RANKS = 1 << 16, MAX_CLIENTS = 10000000, MAX_NUMBERS = 32 };

bool fbt_bench_scale_is_run(const char *path)
{
    struct stat info;
    return path != NULL && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode));
}

/* ---- Reading ---- */

/* "1,16,1024"; returns how many, 0: no such list. */
static int read_numbers(const char *text, int64_t most, int64_t numbers[MAX_NUMBERS])
{
    int n = 0;
    for (const char *at = text; n < MAX_NUMBERS; at++) {
        char *end;
        errno = 0;
        numbers[n++] = strtoll(at, &end, 10);
        if (*at < '0' || *at > '9' || errno != 0 || numbers[n - 1] < 1 || numbers[n - 1] > most) {
            return 0;
        }
        if (*end == '\0') {
            return n;
        }
        at = end;
        if (*at != ',') {
            return 0;
        }
    }
    return 0;
}

typedef struct unit {
    const char *name;
    double value;
} unit;

static const unit times[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
static const unit rates[] = {{"MB/s", 1e6}, {"GB/s", 1e9}, {NULL, 0}};

/* A number above 0 with its unit; 0: no such quantity. NULL stays 0. */
static double read_quantity(const char *text, const unit *units)
{
    char *end;
    if (text == NULL) {
        return 0;
    }
    const double number = strtod(text, &end);
    for (const unit *u = units; u->name != NULL; u++) {
        if (end != text && strcmp(end, u->name) == 0 && number > 0 && isfinite(number)) {
            return number * u->value;
        }
    }
    return 0;
}

void fbt_bench_scale_check(const fbt_bench_scale *scale, const struct argp_state *state)
{
    int64_t numbers[MAX_NUMBERS];
    const struct {
        const char *name, *text;
        int64_t most;
    } lists[] = {{"ranks", scale->ranks, MAX_RANKS}, {"clients", scale->clients, MAX_CLIENTS}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        if (read_numbers(lists[i].text, lists[i].most, numbers) == 0) {
            argp_error(state, "--%s is '%s', not at most %d numbers from 1 to %" PRId64 " with commas between them",
                       lists[i].name, lists[i].text, MAX_NUMBERS, lists[i].most);
        }
    }
    if (scale->latency != NULL && read_quantity(scale->latency, times) == 0) {
        argp_error(state, "--latency is '%s', not a time such as 2us (ns, us, ms, s)", scale->latency);
    }
    if (scale->bandwidth != NULL && read_quantity(scale->bandwidth, rates) == 0) {
        argp_error(state, "--bandwidth is '%s', not a rate such as 12.5GB/s (MB/s, GB/s)", scale->bandwidth);
    }
}

/* ---- Printing ---- */

static void print_head(const fbt_scale *s)
{
    const fbt_rank_speeds *v = &s->c.speeds;
    printf("predicted from %s\n", s->source);
    printf("network, %s: latency %.3g us, bandwidth %.3g GB/s; %d ranks a node at most\n\n",
           s->pinged ? "measured here between the first and the last rank" : "as given", 1e6 * v->latency_s,
           1e-9 * v->bytes_per_s, s->c.ranks_per_node);
    printf("%6s %8s %11s %8s %8s  %10s %10s %10s %10s %10s %9s %9s\n", "ranks", "clients", "s a round", "effic.",
           "balance", "search", "optimise", "exchange", "score", "record", "GB a rank", "GB a node");
}

static void print_row(const fbt_prediction *p)
{
    printf("%6d %8" PRId64 " %11.4g %7.1f%% %7.1f%%  %10.3g %10.3g %10.3g %10.3g %10.3g %9.3g %9.3g\n", p->n_ranks,
           p->n_clients, p->round_s, 100 * p->efficiency, 100 * p->balance, p->search_s, p->optimise_s, p->exchange_s,
           p->score_s, p->record_s, 1e-9 * p->rank_bytes, 1e-9 * p->node_bytes);
}

static json_t *describe_row(const fbt_prediction *p)
{
    json_t *seconds = json_pack("{sf sf sf sf sf sf}", "search", p->search_s, "optimise", p->optimise_s, "exchange",
                                p->exchange_s, "score", p->score_s, "record", p->record_s, "check", p->check_s);
    return json_pack("{si sI sI sf sf sf sf sf so}", "ranks", p->n_ranks, "clients", (json_int_t)p->n_clients,
                     "participants", (json_int_t)p->n_participants, "seconds", p->round_s, "efficiency", p->efficiency,
                     "balance", p->balance, "rank_bytes", p->rank_bytes, "node_bytes", p->node_bytes, "phases",
                     seconds);
}

static json_t *describe_head(const fbt_scale *s)
{
    const fbt_rank_speeds *v = &s->c.speeds;
    json_t *speeds = json_pack("{sf sf sf sf sf sf sf sf}", "token_seconds", v->token_s, "score_token_seconds",
                               v->score_token_s, "client_seconds", v->client_s, "server_seconds", v->server_s,
                               "server_participant_seconds", v->server_participant_s, "record_seconds", v->record_s,
                               "record_byte_seconds", v->record_byte_s, "check_seconds", v->check_s);
    return json_pack("{ss si so s{sb sf sf} si}", "source", s->source, "source_ranks", s->n_ranks, "speeds", speeds,
                     "network", "measured", s->pinged, "latency_seconds", v->latency_s, "bytes_per_second",
                     v->bytes_per_s, "ranks_per_node", s->c.ranks_per_node);
}

/* On rank 0. rows: where JSON is collected; NULL: a table. */
static fbt_status predict_all(const fbt_bench_scale *scale, const fbt_scale *s, json_t *rows)
{
    fbt_status status = FBT_OK;
    int64_t ranks[MAX_NUMBERS], clients[MAX_NUMBERS];
    const int n_ranks = read_numbers(scale->ranks, MAX_RANKS, ranks);
    const int n_clients = read_numbers(scale->clients, MAX_CLIENTS, clients);
    for (int k = 0; k < n_clients; k++) {
        for (int r = 0; r < n_ranks; r++) {
            fbt_prediction p;
            FBT_TRY(fbt_prediction_make(&s->c, clients[k], (int)ranks[r], &p));
            if (rows != NULL) {
                json_array_append_new(rows, describe_row(&p));
            } else {
                print_row(&p);
            }
        }
    }
done:
    return status;
}

static fbt_status report(const fbt_bench_scale *scale, const fbt_scale *s, bool as_json)
{
    fbt_status status = FBT_OK;
    json_t *result = as_json ? describe_head(s) : NULL, *rows = as_json ? json_array() : NULL;
    if (!as_json) {
        print_head(s);
    }
    FBT_TRY(predict_all(scale, s, rows));
    if (as_json) {
        json_object_set(result, "predictions", rows);
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    }
done:
    json_decref(rows);
    json_decref(result);
    return status;
}

fbt_status fbt_bench_scale_run(const fbt_bench_scale *scale, const fbt_timing_plan *timing, const fbt_comm *world,
                               bool as_json)
{
    fbt_status status = FBT_OK;
    fbt_scale s = {0};
    const fbt_scale_plan plan = {.run = scale->run,
                                 .timing = timing,
                                 .spread = scale->spread,
                                 .tokens_per_s = scale->speed,
                                 .test_samples = scale->test_samples,
                                 .latency_s = read_quantity(scale->latency, times),
                                 .bytes_per_s = read_quantity(scale->bandwidth, rates),
                                 .ranks_per_node = (int)scale->ranks_per_node};
    FBT_TRY(fbt_scale_open(&plan, world, &s));
    if (fbt_comm_rank(world) == 0) {
        status = report(scale, &s, as_json);
    }
    FBT_TRY(fbt_comm_agree(world, status));
done:
    fbt_scale_close(&s);
    return status;
}
