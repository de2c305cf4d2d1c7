/* fedbpt bench */
#include "cli/bench.h"
#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/rng.h"
#include "base/timer.h"
#include "cli/cli.h"
#include "data/batch.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/prompt.h"

#include <argp.h>
#include <errno.h>
#include <gsl/gsl_randist.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 1, N_SEARCH = 500, N_LABELS = 2, FIRST_WORD = 3, MAX_COUNT = 1 << 20 };

static const struct argp_option options[] = {
    {"shape", 's', "NAME", 0,
     "random weights: roberta-large (default), roberta-base, bert-base, minilm-l6 or distilbert-base", 0},
    {"backend", 'b', "NAME", 0, "cpu (default) or cuda", 0},
    {"precision", 'p', "fp32|tf32|bf16", 0, "default: one after the other, of those that the backend has", 0},
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

/* names: ended by NULL. Returns which of them it is. */
static int parse_choice(struct argp_state *state, const char *what, const char *text, const char *const *names)
{
    char choices[80];
    const int found = fbt_choice_find(names, text);
    if (found < 0) {
        fbt_choice_list(names, choices, sizeof choices);
        argp_error(state, "--%s is '%s', not %s", what, text, choices);
    }
    return found;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    static const char *const readouts[] = {"mask", "embedding", NULL}; /* of random weights, which have no `last` */
    fbt_bench_arguments *a = state->input;
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
        a->precision = fbt_precision_names[parse_choice(state, "precision", value, fbt_precision_names)];
        return 0;
    case 'r':
        a->readout = readouts[parse_choice(state, "readout", value, readouts)];
        return 0;
    case 'm':
        a->mode = (fbt_prompt_mode)parse_choice(state, "prompt-mode", value, fbt_prompt_mode_names);
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
           "with random weights, and tells for each operation what it reaches of what the machine would allow: of the "
           "best large "
           "matrix product and the best copy of memory that the backend's libraries make, timed in turn with the "
           "batches. An "
           "operation is bounded by the one or by the other, whichever would take it longer (the roofline); what it "
           "moves is "
           "counted as if every operand were read once and every result written once."
           "\vExamples:\n"
           "  fedbpt bench --shape roberta-large --precision bf16 --threads 2\n"
           "  fedbpt bench models/all-MiniLM-L6-v2 --readout embedding --length 14\n"
           "  fedbpt bench --shape roberta-base --json > bench.json",
};

/* What is timed. */
typedef struct subject {
    const fbt_bench_arguments *a;
    fbt_backend *b;
    fbt_model *model;
    fbt_batch batch;
    double *z;     /* [candidates, N_SEARCH] */
    float *losses; /* [n_sequences] */
} subject;

static fbt_status open_model(const fbt_bench_arguments *a, fbt_backend *b, fbt_model **model)
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
        .n_prompt_tokens = fbt_prompt_rows(a->mode, a->prompt_tokens),
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

static fbt_status set_projection(fbt_model *model, const fbt_bench_arguments *a)
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
    const fbt_bench_arguments *a = s->a;
    int32_t *tokens = NULL;
    int64_t n_words = fbt_model_get_shape(s->model)->vocab_size;
    int64_t n_placeholders = fbt_prompt_rows_in_front(a->mode, a->prompt_tokens);
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
        const fbt_sequence sequence = {.tokens = tokens,
                                       .n_tokens = (int32_t)a->length,
                                       .readout = (int32_t)(a->length - 1),
                                       .origin = {.client = -1}};
        FBT_TRY(fbt_batch_append(&s->batch, &sequence, n_placeholders, (int32_t)(i % a->candidates)));
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
        fbt_backend_close(s->b);
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

static fbt_status run_profiled(subject *s, fbt_bench_result *m)
{
    fbt_status status = FBT_OK;
    fbt_profile profile = {{0}, {0}, {0}};
    double seconds;
    fbt_profile_start(s->b, &profile);
    FBT_TRY(run_batch(s, &seconds));
    if (m->profile_s == 0 || seconds < m->profile_s) {
        m->profile = profile;
        m->profile_s = seconds;
    }
done:
    fbt_profile_stop(s->b);
    return status;
}

static double product_flops(const int64_t size[3])
{
    return 2.0 * (double)size[0] * (double)size[1] * (double)size[2];
}

/* Best copy of memory so far: twice the bytes, which are read and written, by its time. */
static fbt_status time_copy(fbt_backend *b, fbt_bench_result *m)
{
    enum { COPY_BYTES = 1 << 28, N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    double best_s;
    FBT_TRY(fbt_library_copy(b, COPY_BYTES, N_REPEATS, &best_s));
    m->copy_rate = fmax(m->copy_rate, 2.0 * COPY_BYTES / best_s);
done:
    return status;
}

/* Products that the peak is looked for in, small ones first: a fast device is at its best in large ones, a slow one
 * takes too long for them. */
static const int64_t peak_sizes[][3] = {{128, 128, 128},    {256, 256, 256},    {512, 512, 512},    {1024, 1024, 1024},
                                        {2048, 2048, 2048}, {4096, 4096, 1024}, {5680, 3072, 1024}, {4096, 4096, 4096}};
enum { N_PEAK_SIZES = sizeof peak_sizes / sizeof peak_sizes[0], N_TIMED = 4 };

static fbt_status time_product(fbt_backend *b, int i, double *flops_per_s)
{
    enum { N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    double best_s;
    FBT_TRY(fbt_library_product(b, fbt_backend_types(b), peak_sizes[i], N_REPEATS, &best_s));
    *flops_per_s = product_flops(peak_sizes[i]) / best_s;
done:
    return status;
}

/* How many of the products come before the first that would take longer than a second to time, going by the one before
 * it. */
static fbt_status count_peak_sizes(fbt_backend *b, int *n)
{
    const double longest_s = 1;
    fbt_status status = FBT_OK;
    double flops_in_time = INFINITY, rate;
    for (*n = 0; *n < N_PEAK_SIZES && product_flops(peak_sizes[*n]) <= flops_in_time; ++*n) {
        const double begin_s = fbt_timer_now_s();
        FBT_TRY(time_product(b, *n, &rate));
        flops_in_time = product_flops(peak_sizes[*n]) * longest_s / (fbt_timer_now_s() - begin_s);
    }
done:
    return status;
}

/* The library's best rate over the largest products that there is time for; keeps the best of all in *m. */
static fbt_status time_library(fbt_backend *b, fbt_bench_result *m, double *peak)
{
    fbt_status status = FBT_OK;
    for (int i = m->n_peak_sizes > N_TIMED ? m->n_peak_sizes - N_TIMED : 0; i < m->n_peak_sizes; i++) {
        double rate;
        FBT_TRY(time_product(b, i, &rate));
        *peak = fmax(*peak, rate);
        if (rate > m->peak) {
            m->peak = rate;
            memcpy(m->peak_size, peak_sizes[i], sizeof m->peak_size);
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
static void summarise(fbt_bench_result *m, int64_t repeats)
{
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        *(i == FBT_OP_ATTENTION ? &m->attention_flops : &m->matrix_flops) += m->profile.flops[i];
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
static fbt_status measure(subject *s, fbt_bench_result *m)
{
    fbt_status status = FBT_OK;
    double seconds;
    FBT_TRY(fbt_memory_alloc(&m->batch_s, s->a->repeats, sizeof *m->batch_s));
    FBT_TRY(fbt_memory_alloc(&m->peaks, s->a->repeats + 1, sizeof *m->peaks));
    FBT_TRY(run_batch(s, &seconds));
    FBT_TRY(count_peak_sizes(s->b, &m->n_peak_sizes));
    for (int64_t r = 0; r <= s->a->repeats; r++) {
        FBT_TRY(time_library(s->b, m, &m->peaks[r]));
        FBT_TRY(time_copy(s->b, m));
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

/* One precision from opening to printing. `results`: where JSON is collected. */
static fbt_status bench_precision(const fbt_bench_arguments *a, const char *precision, json_t *results)
{
    fbt_status status = FBT_OK;
    subject s = {.a = a};
    fbt_bench_result m = {0};
    const fbt_backend_options backend_options = {
        .name = a->backend, .precision = precision, .n_threads = (int)a->threads, .n_local_ranks = 1};
    double begin_s = fbt_timer_now_s();
    FBT_TRY(fbt_backend_open(&backend_options, &s.b));
    FBT_TRY(open_subject(&s));
    fbt_backend_get_info(s.b, &m.info);
    m.load_s = fbt_timer_now_s() - begin_s;
    m.shape = *fbt_model_get_shape(s.model);
    m.n_parameters = fbt_model_n_parameters(s.model);
    m.n_sequences = s.batch.n_sequences;
    m.n_rows = s.batch.n_rows;
    FBT_TRY(measure(&s, &m));
    if (a->json) {
        json_array_append_new(results, fbt_bench_describe(a, &m));
    } else {
        fbt_bench_print(a, &m);
    }
done:
    free(m.batch_s);
    free(m.peaks);
    close_subject(&s);
    return status;
}

/* The precision asked for, or all that the backend has on this machine. */
static fbt_status bench(const fbt_bench_arguments *a, json_t *results)
{
    fbt_status status = FBT_OK;
    const fbt_backend_driver *driver = fbt_backend_find(a->backend);
    if (a->precision != NULL || driver == NULL || driver->missing != NULL) {
        return bench_precision(a, a->precision != NULL ? a->precision : "auto", results);
    }
    for (int i = 0; i < FBT_MAX_TYPES && driver->types[i] != NULL; i++) {
        status = bench_precision(a, driver->types[i], results);
        if (status == FBT_ERR_CONFIG && i > 0) {
            fprintf(stderr, "fedbpt: %s is left out: %s\n", driver->types[i], fbt_error_message());
            fbt_error_clear();
            status = FBT_OK;
        }
        FBT_TRY(status);
    }
done:
    return status;
}

int fbt_cli_bench(int argc, char **argv)
{
    fbt_bench_arguments a = {.shape = "roberta-large",
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
