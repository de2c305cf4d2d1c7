/* fedbpt bench */
#include "backend.h"
#include "batch.h"
#include "cli.h"
#include "memory.h"
#include "model.h"
#include "prompt.h"
#include "rng.h"
#include "timer.h"

#include <argp.h>
#include <errno.h>
#include <gsl/gsl_randist.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 1, N_SEARCH = 500, N_LABELS = 2, FIRST_WORD = 3, MAX_COUNT = 1 << 20 };

typedef struct arguments {
    const char *model; /* folder, or NULL: */
    const char *shape; /* random weights   */
    const char *backend;
    const char *precision; /* NULL: both */
    const char *readout;   /* NULL: embedding for minilm-l6, else mask */
    fbt_prompt_mode mode;
    int64_t threads, samples, candidates, copies, length, prompt_tokens, repeats;
    bool json;
} arguments;

static const struct argp_option options[] = {
    {"shape", 's', "NAME", 0, "random weights: roberta-large (default), roberta-base, bert-base or minilm-l6", 0},
    {"backend", 'b', "NAME", 0, "cpu (default) or cuda", 0},
    {"precision", 'p', "fp32|bf16", 0, "default: one after the other", 0},
    {"threads", 't', "N", 0, "default: all processors that this process may use", 0},
    {"samples", 'n', "N", 0, "samples of a client (8)", 0},
    {"candidates", 'c', "N", 0, "candidates of a generation (5)", 0},
    {"copies", 'k', "N", 0, "copies of every sample: 2 (default) with the perturbed one", 0},
    {"length", 'l', "N", 0, "tokens of a sequence, without the prompt of modes cat and input (71)", 0},
    {"prompt-mode", 'm', "none|add|cat|input", 0, "default: add", 0},
    {"prompt-tokens", 'P', "N", 0, "default: 50", 0},
    {"readout", 'r', "mask|embedding", 0, "default: mask; embedding for minilm-l6", 0},
    {"repeats", 'R', "N", 0, "default: 5", 0},
    {"json", 'j', NULL, 0, "print JSON", 0},
    {0},
};

static int64_t parse_count(struct argp_state *state, const char *what, const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *text == '\0' || *end != '\0' || value < 1 || value > MAX_COUNT) {
        argp_error(state, "--%s is '%s', not a number from 1 to %d", what, text, MAX_COUNT);
    }
    return value;
}

static fbt_prompt_mode parse_mode(struct argp_state *state, const char *text)
{
    static const char *const names[] = {"none", "add", "cat", "input"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (fbt_prompt_mode)i;
        }
    }
    argp_error(state, "--prompt-mode is '%s', not none, add, cat or input", text);
    return FBT_PROMPT_NONE;
}

static const char *parse_choice(struct argp_state *state, const char *what, const char *text, const char *a,
                                const char *b)
{
    if (strcmp(text, a) != 0 && strcmp(text, b) != 0) {
        argp_error(state, "--%s is '%s', not %s or %s", what, text, a, b);
    }
    return text;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    const struct {
        int key;
        const char *name;
        int64_t *count;
    } counts[] = {
        {'t', "threads", &a->threads}, {'n', "samples", &a->samples}, {'c', "candidates", &a->candidates},
        {'k', "copies", &a->copies},   {'l', "length", &a->length},   {'P', "prompt-tokens", &a->prompt_tokens},
        {'R', "repeats", &a->repeats},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (key == counts[i].key) {
            *counts[i].count = parse_count(state, counts[i].name, value);
            return 0;
        }
    }
    switch (key) {
    case 's':
        a->shape = value;
        return 0;
    case 'b':
        a->backend = value;
        return 0;
    case 'p':
        a->precision = parse_choice(state, "precision", value, "fp32", "bf16");
        return 0;
    case 'r':
        a->readout = parse_choice(state, "readout", value, "mask", "embedding");
        return 0;
    case 'm':
        a->mode = parse_mode(state, value);
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->model != NULL) {
            argp_error(state, "one model at a time: '%s' is too many", value);
        }
        a->model = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "[MODEL]",
    .doc = "Times a population batch, samples x candidates x copies sequences, of a model folder or of a named shape "
           "with random weights. The peak that it is compared with is the best large matrix product of the backend's library "
           "(oneDNN), timed in turn with the batches."
           "\vExamples:\n"
           "  fedbpt bench --shape roberta-large --precision bf16 --threads 2\n"
           "  fedbpt bench models/all-MiniLM-L6-v2 --readout embedding --length 14\n"
           "  fedbpt bench --shape roberta-base --json > bench.json",
};

/* Times of one precision. */
typedef struct measurement {
    fbt_backend_info info;
    fbt_model_shape shape;
    int64_t n_parameters, n_sequences, n_rows;
    double load_s;
    double *batch_s;           /* [repeats]: prompts and evaluation, unmeasured inside      */
    double *peaks;             /* [repeats + 1]: best product before each batch, and at last */
    double best_s, median_s;   /* of batch_s                                                */
    fbt_model_profile profile; /* the fastest of [repeats] evaluations measured inside      */
    double profile_s;
    double matrix_flops, attention_flops;
    double peak; /* flops per second, best of all */
    double fraction, fraction_median;
    int64_t peak_size[3]; /* n_rows, n_out, n_in of that product */
} measurement;

/* What is timed. */
typedef struct subject {
    const arguments *a;
    fbt_backend *b;
    fbt_model *model;
    fbt_batch batch;
    double *z;     /* [candidates, N_SEARCH] */
    float *losses; /* [n_sequences] */
} subject;

static fbt_status open_model(const arguments *a, fbt_backend *b, fbt_model **model)
{
    static const int32_t label_ids[N_LABELS] = {FIRST_WORD, FIRST_WORD + 1};
    static const int64_t label_offsets[N_LABELS + 1] = {0, 1, 2};
    fbt_status status = FBT_OK;
    fbt_model_shape shape;
    bool is_embedding = a->readout != NULL ? strcmp(a->readout, "embedding") == 0
                                           : a->model == NULL && strcmp(a->shape, "minilm-l6") == 0;
    const fbt_model_options model_options = {
        .readout = is_embedding ? FBT_READOUT_EMBEDDING : FBT_READOUT_MASK,
        .prompt_mode = a->mode,
        .n_prompt_tokens = a->mode == FBT_PROMPT_NONE ? 0 : a->prompt_tokens,
        .n_labels = N_LABELS,
        .label_token_ids = label_ids,
        .label_tokens = label_ids,
        .label_offsets = label_offsets,
        .embedding_scale = 20,
    };
    if (a->model != NULL) {
        FBT_TRY(fbt_model_open(b, a->model, &model_options, model));
    } else {
        FBT_TRY(fbt_model_named_shape(a->shape, &shape));
        FBT_TRY(fbt_model_open_random(b, &shape, &model_options, SEED, model));
    }
done:
    return status;
}

static fbt_status set_projection(fbt_model *model, const arguments *a)
{
    fbt_status status = FBT_OK;
    float *projection = NULL;
    int64_t n_out = a->prompt_tokens * fbt_model_get_shape(model)->n_hidden;
    if (a->mode == FBT_PROMPT_NONE) {
        goto done;
    }
    FBT_TRY(fbt_memory_alloc(&projection, n_out * N_SEARCH, sizeof *projection));
    FBT_TRY(fbt_prompt_projection(FBT_PROJECTION_NORMAL, SEED, fbt_model_embedding_std(model) / sqrt(N_SEARCH), n_out,
                                  N_SEARCH, projection));
    FBT_TRY(fbt_model_set_projection(model, projection, NULL, N_SEARCH));
done:
    free(projection);
    return status;
}

/* Random words, and random z. */
static fbt_status fill_batch(subject *s, gsl_rng *rng)
{
    fbt_status status = FBT_OK;
    const arguments *a = s->a;
    int32_t *tokens = NULL;
    int64_t n_words = fbt_model_get_shape(s->model)->vocab_size;
    int64_t n_placeholders = a->mode == FBT_PROMPT_CAT || a->mode == FBT_PROMPT_INPUT ? a->prompt_tokens : 0;
    FBT_TRY(fbt_memory_alloc(&tokens, a->length, sizeof *tokens));
    FBT_TRY(fbt_memory_alloc(&s->z, a->candidates * N_SEARCH, sizeof *s->z));
    FBT_TRY(fbt_memory_alloc(&s->losses, a->samples * a->candidates * a->copies, sizeof *s->losses));
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = SEED, .purpose = FBT_RNG_SYNTHETIC, .client = 1});
    for (int64_t i = 0; i < a->candidates * N_SEARCH; i++) {
        s->z[i] = gsl_ran_gaussian_ziggurat(rng, 1);
    }
    fbt_batch_reset(&s->batch);
    for (int64_t i = 0; i < a->samples * a->candidates * a->copies; i++) {
        for (int64_t k = 0; k < a->length; k++) {
            tokens[k] = (int32_t)gsl_rng_uniform_int(rng, (unsigned long)n_words);
        }
        FBT_TRY(fbt_batch_append(&s->batch, tokens, a->length, n_placeholders, (int32_t)(a->length - 1), 0,
                                 (int32_t)(i % a->candidates)));
    }
done:
    free(tokens);
    return status;
}

static fbt_status open_subject(subject *s)
{
    fbt_status status = FBT_OK;
    gsl_rng *rng = NULL;
    FBT_TRY(open_model(s->a, s->b, &s->model));
    FBT_TRY(set_projection(s->model, s->a));
    FBT_TRY(fbt_rng_new(&rng));
    FBT_TRY(fill_batch(s, rng));
done:
    gsl_rng_free(rng);
    return status;
}

static void close_subject(subject *s)
{
    fbt_model_close(s->model);
    fbt_batch_clear(&s->batch);
    free(s->z);
    free(s->losses);
    if (s->b != NULL) {
        s->b->ops->close(s->b);
    }
}

/* One generation: prompts of all candidates, then their losses. */
static fbt_status run_batch(subject *s, double *seconds)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_timer_now_s();
    FBT_TRY(fbt_model_set_prompts(s->model, s->z, s->a->candidates));
    FBT_TRY(fbt_model_evaluate(s->model, &s->batch, FBT_LOSS_CE, &(fbt_model_result){.losses = s->losses}));
    *seconds = fbt_timer_now_s() - begin_s;
done:
    return status;
}

static fbt_status run_profiled(subject *s, measurement *m)
{
    fbt_status status = FBT_OK;
    fbt_model_profile profile = {{0}, {0}};
    double seconds;
    fbt_model_set_profile(s->model, &profile);
    FBT_TRY(run_batch(s, &seconds));
    if (m->profile_s == 0 || seconds < m->profile_s) {
        m->profile = profile;
        m->profile_s = seconds;
    }
done:
    fbt_model_set_profile(s->model, NULL);
    return status;
}

/* The library's best rate over some large products; keeps the best of all in *m. */
static fbt_status time_library(fbt_backend *b, measurement *m, double *peak)
{
    static const int64_t sizes[][3] = {{4096, 4096, 4096}, {4096, 4096, 1024}, {5680, 3072, 1024}, {2048, 2048, 2048}};
    enum { N_SIZES = sizeof sizes / sizeof sizes[0], N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    for (int i = 0; i < N_SIZES; i++) {
        double best_s;
        FBT_TRY(b->ops->library_product(b, b->precision, sizes[i], N_REPEATS, &best_s));
        double rate = 2.0 * (double)sizes[i][0] * (double)sizes[i][1] * (double)sizes[i][2] / best_s;
        *peak = fmax(*peak, rate);
        if (rate > m->peak) {
            m->peak = rate;
            memcpy(m->peak_size, sizes[i], sizeof m->peak_size);
        }
    }
done:
    return status;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double sort_for_median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

/* Two fractions of the peak: the best batch over the best product, and the median over the repeats of a batch over the
 * better of its neighbouring products, which stays meaningful where other work takes processors away for seconds. */
static void summarise(measurement *m, int64_t repeats)
{
    for (int i = 0; i < FBT_MODEL_N_OPERATIONS; i++) {
        *(i == FBT_MODEL_ATTENTION ? &m->attention_flops : &m->matrix_flops) += m->profile.flops[i];
    }
    for (int64_t r = 0; r < repeats; r++) {
        m->peaks[r] = m->matrix_flops / m->batch_s[r] / fmax(m->peaks[r], m->peaks[r + 1]);
    }
    m->fraction_median = sort_for_median(m->peaks, repeats);
    m->median_s = sort_for_median(m->batch_s, repeats);
    m->best_s = m->batch_s[0];
    m->fraction = m->matrix_flops / m->best_s / m->peak;
}

/* Batches and products in turn, so that a noisy machine treats them alike. The first batch warms up. */
static fbt_status measure(subject *s, measurement *m)
{
    fbt_status status = FBT_OK;
    double seconds;
    FBT_TRY(fbt_memory_alloc(&m->batch_s, s->a->repeats, sizeof *m->batch_s));
    FBT_TRY(fbt_memory_alloc(&m->peaks, s->a->repeats + 1, sizeof *m->peaks));
    FBT_TRY(run_batch(s, &seconds));
    for (int64_t r = 0; r <= s->a->repeats; r++) {
        FBT_TRY(time_library(s->b, m, &m->peaks[r]));
        if (r < s->a->repeats) {
            FBT_TRY(run_batch(s, &m->batch_s[r]));
        }
    }
    for (int64_t r = 0; r < s->a->repeats; r++) {
        FBT_TRY(run_profiled(s, m));
    }
    summarise(m, s->a->repeats);
done:
    return status;
}

static void print_table(const arguments *a, const measurement *m)
{
    static const char *const modes[] = {"none", "add", "cat", "input"};
    const fbt_model_profile *p = &m->profile;
    printf("%s %s: %s, %" PRId64 " layers of %" PRId64 ", %.1f million parameters in use, ready in %.1f s\n",
           m->info.name, fbt_precision_name(m->info.precision), a->model != NULL ? a->model : a->shape,
           m->shape.n_layers, m->shape.n_hidden, 1e-6 * (double)m->n_parameters, m->load_s);
    printf("%s, %s, %s, %d threads\n", m->info.device, m->info.isa, m->info.libraries, m->info.n_threads);
    printf("%" PRId64 " samples x %" PRId64 " candidates x %" PRId64 " copies = %" PRId64 " sequences, %" PRId64
           " rows; prompt mode %s\n\n",
           a->samples, a->candidates, a->copies, m->n_sequences, m->n_rows, modes[a->mode]);
    printf("%-10s %9s %6s %9s %9s %7s\n", "operation", "seconds", "share", "GFLOP", "GFLOP/s", "of peak");
    for (int i = 0; i < FBT_MODEL_N_OPERATIONS; i++) {
        printf("%-10s %9.4f %5.1f%%", fbt_model_operation_name((fbt_model_operation)i), p->seconds[i],
               100 * p->seconds[i] / m->profile_s);
        if (p->flops[i] > 0) {
            printf(" %9.2f %9.1f %6.1f%%", 1e-9 * p->flops[i], 1e-9 * p->flops[i] / p->seconds[i],
                   100 * p->flops[i] / p->seconds[i] / m->peak);
        }
        printf("\n");
    }
    printf("\nbatch: %.4f s (median of %" PRId64 ": %.4f s), %.1f sequences/s\n", m->best_s, a->repeats, m->median_s,
           (double)m->n_sequences / m->best_s);
    printf("matrix products over the whole time: %.1f GFLOP/s; with attention's: %.1f GFLOP/s\n",
           1e-9 * m->matrix_flops / m->best_s, 1e-9 * (m->matrix_flops + m->attention_flops) / m->best_s);
    printf("peak: %.1f GFLOP/s, [%" PRId64 ", %" PRId64 "] x [%" PRId64 ", %" PRId64 "]\n", 1e-9 * m->peak,
           m->peak_size[0], m->peak_size[2], m->peak_size[2], m->peak_size[1]);
    printf("fraction of peak: %.1f%% best over best, %.1f%% median beside its neighbours (attention's operations not "
           "counted, "
           "its time is)\n\n",
           100 * m->fraction, 100 * m->fraction_median);
}

static json_t *describe_operations(const measurement *m)
{
    json_t *operations = json_object();
    for (int i = 0; i < FBT_MODEL_N_OPERATIONS; i++) {
        json_object_set_new(operations, fbt_model_operation_name((fbt_model_operation)i),
                            json_pack("{sfsf}", "seconds", m->profile.seconds[i], "gflop", 1e-9 * m->profile.flops[i]));
    }
    return operations;
}

static json_t *describe(const arguments *a, const measurement *m)
{
    json_t *batch =
        json_pack("{sI sI sI sI sI sI}", "samples", (json_int_t)a->samples, "candidates", (json_int_t)a->candidates,
                  "copies", (json_int_t)a->copies, "length", (json_int_t)a->length, "sequences",
                  (json_int_t)m->n_sequences, "rows", (json_int_t)m->n_rows);
    json_t *machine =
        json_pack("{ss ss ss ss si}", "backend", m->info.name, "device", m->info.device, "instruction_set", m->info.isa,
                  "libraries", m->info.libraries, "threads", m->info.n_threads);
    json_t *result =
        json_pack("{ss ss so so sf sf sf sf sf sf sf sf so}", "model", a->model != NULL ? a->model : a->shape,
                  "precision", fbt_precision_name(m->info.precision), "machine", machine, "batch", batch, "seconds",
                  m->best_s, "seconds_median", m->median_s, "matrix_gflops", 1e-9 * m->matrix_flops / m->best_s,
                  "all_gflops", 1e-9 * (m->matrix_flops + m->attention_flops) / m->best_s, "peak_gflops",
                  1e-9 * m->peak, "fraction_of_peak", m->fraction, "fraction_of_peak_median", m->fraction_median,
                  "profiled_seconds", m->profile_s, "operations", describe_operations(m));
    return result;
}

/* One precision from opening to printing. `results`: where JSON is collected. */
static fbt_status bench_precision(const arguments *a, const char *precision, json_t *results)
{
    fbt_status status = FBT_OK;
    subject s = {.a = a};
    measurement m = {0};
    const fbt_backend_options backend_options = {
        .name = a->backend, .precision = precision, .n_threads = (int)a->threads, .n_local_ranks = 1};
    double begin_s = fbt_timer_now_s();
    FBT_TRY(fbt_backend_open(&backend_options, &s.b));
    FBT_TRY(open_subject(&s));
    s.b->ops->info(s.b, &m.info);
    m.load_s = fbt_timer_now_s() - begin_s;
    m.shape = *fbt_model_get_shape(s.model);
    m.n_parameters = fbt_model_n_parameters(s.model);
    m.n_sequences = s.batch.n_sequences;
    m.n_rows = s.batch.n_rows;
    FBT_TRY(measure(&s, &m));
    if (a->json) {
        json_array_append_new(results, describe(a, &m));
    } else {
        print_table(a, &m);
    }
done:
    free(m.batch_s);
    free(m.peaks);
    close_subject(&s);
    return status;
}

/* Both precisions, the second only where the processor has it. */
static fbt_status bench(const arguments *a, json_t *results)
{
    fbt_status status = FBT_OK;
    if (a->precision != NULL) {
        FBT_TRY(bench_precision(a, a->precision, results));
        goto done;
    }
    FBT_TRY(bench_precision(a, "fp32", results));
    status = bench_precision(a, "bf16", results);
    if (status == FBT_ERR_CONFIG) {
        fprintf(stderr, "fedbpt: bf16 is left out: %s\n", fbt_error_message());
        fbt_error_clear();
        status = FBT_OK;
    }
done:
    return status;
}

int fbt_cli_bench(int argc, char **argv)
{
    arguments a = {.shape = "roberta-large",
                   .backend = "cpu",
                   .mode = FBT_PROMPT_ADD,
                   .samples = 8,
                   .candidates = 5,
                   .copies = 2,
                   .length = 71,
                   .prompt_tokens = 50,
                   .repeats = 5};
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    json_t *results = json_array();
    fbt_status status = bench(&a, results);
    if (status != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
    } else if (a.json) {
        json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    }
    json_decref(results);
    return status == FBT_OK ? FBT_EXIT_OK : FBT_EXIT_FAILURE;
}
