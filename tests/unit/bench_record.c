/* Costs of recording, without a model: a run of made-up rounds with client means, as long as asked for. Each round
 * counts as ROUND_S seconds of work, by a clock that is set on. Prints for each stretch of rounds: mean and longest
 * time of a commit, bytes written a commit, the share of the run's time, the size of the file, and resident memory.
 *
 *     bench_record FOLDER CLIENTS DIMENSION ROUNDS [ROUND_S [CHECKPOINT_VALUES]]
 */
#include "base/memory.h"
#include "base/status.h"
#include "base/timer.h"
#include "record/run_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_GENERATIONS = 8, N_LABELS = 2, N_PHASES = 2, N_TOKENS = 50, N_HIDDEN = 768 };

static double set_on_s;
double __real_fbt_timer_now_s(void);
double __wrap_fbt_timer_now_s(void);

double __wrap_fbt_timer_now_s(void)
{
    return __real_fbt_timer_now_s() + set_on_s;
}

/* The numbers of one run; rounds draw from one pool, each from another place. */
typedef struct bench {
    int64_t n_clients, dimension, n_rounds, n_checkpoint;
    double round_s;
    double *pool;
    int64_t *zeros;
    float *prompt;
    fbt_run_file *file;
} bench;

static void stop_unless(bool ok)
{
    if (!ok) {
        fprintf(stderr, "bench_record: %s\n", fbt_error_message());
        exit(1);
    }
}

/* Doubles whose last bits are as random as those of a search. */
static void make_pool(bench *b)
{
    const int64_t n = 2 * b->n_clients * b->dimension + b->n_clients * N_GENERATIONS + b->n_checkpoint + 1000;
    uint64_t state = 1;
    stop_unless(fbt_memory_alloc(&b->pool, n, sizeof *b->pool) == FBT_OK &&
                fbt_memory_alloc(&b->zeros, b->n_clients * N_LABELS + 1, sizeof *b->zeros) == FBT_OK &&
                fbt_memory_alloc(&b->prompt, N_TOKENS * N_HIDDEN, sizeof *b->prompt) == FBT_OK);
    for (int64_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        b->pool[i] = (double)(state >> 11) * 0x1p-53 - 0.5;
    }
}

static void begin(bench *b, const char *folder)
{
    static const char *const phases[N_PHASES] = {"search", "record"};
    static const fbt_run_text environment[] = {{"hosts", "here"}, {"ranks", "1"}, {NULL, NULL}};
    char path[512];
    const fbt_run_header header = {.config_given = "",
                                   .config_resolved = "",
                                   .config_decides = "",
                                   .environment = environment,
                                   .n_clients = b->n_clients,
                                   .n_slots = b->n_clients,
                                   .dimension = b->dimension,
                                   .n_generations = N_GENERATIONS,
                                   .value_bytes = 4,
                                   .n_labels = N_LABELS,
                                   .n_prompt_values = {N_TOKENS, N_HIDDEN},
                                   .client_means = true,
                                   .phases = phases,
                                   .n_phases = N_PHASES,
                                   .sample_offsets = b->zeros,
                                   .sample_index = b->zeros,
                                   .train_labels = (const int32_t *)b->zeros};
    snprintf(path, sizeof path, "%s/run.h5", folder);
    stop_unless(fbt_run_file_create(path, true, &header, &b->file) == FBT_OK);
}

static double commit_round(bench *b, int64_t r)
{
    const double *client = b->pool + r % 97;
    const double begin_s = fbt_timer_now_s(), loss = 1 / (1.0 + (double)r);
    const fbt_round_row row = {.index = r,
                               .z = client,
                               .step_size = loss,
                               .train_loss = loss,
                               .dev_loss = loss,
                               .test_loss = NAN,
                               .n_participants = b->n_clients,
                               .participants = b->zeros,
                               .client_fitness = client,
                               .client_loss = client,
                               .client_loss_perturbed = client,
                               .client_step_size = client,
                               .client_mean = b->pool + r % 503,
                               .client_condition = client,
                               .client_evaluations = b->zeros,
                               .phase_s = client};
    const fbt_run_result result = {.best_round = r,
                                   .last_round = r,
                                   .best_z = row.z,
                                   .last_z = row.z,
                                   .best_prompt = b->prompt,
                                   .last_prompt = b->prompt};
    const fbt_array checkpoint[] = {
        {.name = "covariance", .values = b->pool + r % 89, .n_values = b->n_checkpoint, .long_name = "covariance"},
        {0}};
    stop_unless(fbt_run_file_add_round(b->file, &row) == FBT_OK &&
                fbt_run_file_set_result(b->file, &result) == FBT_OK &&
                fbt_run_file_set_checkpoint(b->file, checkpoint) == FBT_OK &&
                fbt_run_file_commit(b->file, r == b->n_rounds ? FBT_RUN_FINISHED : FBT_RUN_RUNNING) == FBT_OK);
    return fbt_timer_now_s() - begin_s;
}

/* Bytes that this process has written so far. */
static double written_bytes(void)
{
    double bytes = NAN;
    char line[128];
    FILE *io = fopen("/proc/self/io", "r");
    while (io != NULL && fgets(line, sizeof line, io) != NULL) {
        sscanf(line, "wchar: %lf", &bytes);
    }
    if (io != NULL) {
        fclose(io);
    }
    return bytes;
}

static bool is_mark(const bench *b, int64_t r)
{
    return r == 100 || r == 1000 || r == b->n_rounds;
}

static void run_rounds(bench *b)
{
    int64_t n = 0;
    double sum_s = 0, longest_s = 0, before = written_bytes();
    printf("rounds to   s a commit   longest s   MB a commit   of the time   file MB   memory MB\n");
    for (int64_t r = 0; r <= b->n_rounds; r++) {
        const double taken_s = commit_round(b, r);
        set_on_s += b->round_s;
        sum_s += taken_s;
        longest_s = fmax(longest_s, taken_s);
        n++;
        if (is_mark(b, r)) {
            const double now = written_bytes(), mean_s = sum_s / (double)n;
            printf("%9" PRId64 "   %10.5f   %9.3f   %11.3f   %9.2f %%   %7.1f   %9.1f\n", r, mean_s, longest_s,
                   (now - before) / (double)n / 1e6, 100 * mean_s / (mean_s + b->round_s),
                   (double)fbt_run_file_bytes(b->file) / 1e6, (double)fbt_memory_peak_bytes() / 1e6);
            fflush(stdout);
            sum_s = longest_s = 0;
            n = 0;
            before = now;
        }
    }
}

int main(int n_words, char **words)
{
    if (n_words < 5) {
        fprintf(stderr, "bench_record FOLDER CLIENTS DIMENSION ROUNDS [ROUND_S [CHECKPOINT_VALUES]]\n");
        return 2;
    }
    bench b = {.n_clients = atoll(words[2]), .dimension = atoll(words[3]), .n_rounds = atoll(words[4])};
    b.round_s = n_words > 5 ? atof(words[5]) : 1;
    b.n_checkpoint = n_words > 6 ? atoll(words[6]) : b.dimension * b.dimension;
    make_pool(&b);
    begin(&b, words[1]);
    run_rounds(&b);
    fbt_run_file_free(b.file);
    free(b.pool);
    free(b.zeros);
    free(b.prompt);
    return 0;
}
