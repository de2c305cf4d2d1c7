/* fedbpt bench */
#include "base/choices.h"
#include "cli/bench_cma.h"
#include "cli/bench_report.h"
#include "cli/bench_scale.h"
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COUNT = 1 << 20 };

typedef struct arguments {
    const char *precision; /* NULL: all that the backend has */
    const char *readout;   /* NULL: embedding for minilm-l6, else the model's own */
    const char *mode;
    const char *optimiser; /* NULL: CMA-ES */
    int64_t dimension;
    bool cma, json;
    fbt_bench_scale scale;
    fbt_timing_plan plan; /* all else */
} arguments;

#define COUNT(field, name, key, help) FBT_OPTION_COUNT(plan.field, name, key, "N", help, 1, MAX_COUNT)

static const fbt_cli_option options[] = {
    FBT_OPTION_TEXT(plan.shape, "shape", 's', "NAME",
                    "random weights: roberta-large (default), bert-base, minilm-l6, smollm2-135m, llama-2-7b, ..."),
    COUNT(layers, "layers", 'L', "of the shape's layers the first so many; default: all"),
    FBT_OPTION_TEXT(plan.backend, "backend", 'b', "NAME", "cpu (default) or cuda"),
    FBT_OPTION_CHOICE(precision, "precision", 'p', "fp32|tf32|bf16|int8",
                      "default: one after the other, of those that the backend has", fbt_precision_names),
    COUNT(threads, "threads", 't', "default: all processors that this process may use"),
    COUNT(samples, "samples", 'n', "samples of a client (8)"),
    COUNT(candidates, "candidates", 'c', "candidates of a generation (5)"),
    COUNT(copies, "copies", 'k', "copies of every sample: 2 (default) with the perturbed one"),
    FBT_OPTION_TEXT(plan.data, "data", 'd', "FILE",
                    "time the first training samples of this data set, with its prompt; default: random words"),
    COUNT(length, "length", 'l', "tokens of a sequence, without the prompt of modes cat and input (71)"),
    FBT_OPTION_CHOICE(mode, "prompt-mode", 'm', "none|add|cat|input", "default: add", fbt_prompt_mode_names),
    COUNT(prompt_tokens, "prompt-tokens", 'P', "default: 50; in mode add fewer than --length"),
    FBT_OPTION_CHOICE(readout, "readout", 'r', "mask|embedding|last",
                      "default: mask, or last for decoders; embedding for minilm-l6", fbt_readout_names),
    COUNT(repeats, "repeats", 'R', "default: 5"),
    FBT_OPTION_FLAG(cma, "cma-es", 'C',
                    "time CMA-ES itself instead, for the population --candidates, or 5 and 20, beside pycma where that "
                    "is installed"),
    FBT_OPTION_CHOICE(optimiser, "optimiser", 'O', "NAME", "with --cma-es: time this search, as fed.optimiser names it",
                      fbt_optimiser_names),
    FBT_OPTION_COUNT(dimension, "dimension", 'D', "N", "with --cma-es; default: 500", 2, 1000000),
    FBT_OPTION_FLAG(
        scale.wanted, "scale", 'S',
        "predict rounds on many ranks instead, from a finished run or from the timing of one client's batch"),
    FBT_OPTION_TEXT(scale.ranks, "ranks", FBT_BENCH_RANKS, "N,...", "with --scale; default: 1 to 4096"),
    FBT_OPTION_TEXT(scale.clients, "clients", FBT_BENCH_CLIENTS, "N,...", "with --scale; default: 10 to 1000000"),
    FBT_OPTION_TEXT(scale.latency, "latency", FBT_BENCH_LATENCY, "TIME",
                    "of a small message, with --scale: 2us; default: measured under mpirun"),
    FBT_OPTION_TEXT(scale.bandwidth, "bandwidth", FBT_BENCH_BANDWIDTH, "RATE",
                    "of a large message, with --scale: 12.5GB/s; default: measured under mpirun"),
    FBT_OPTION_COUNT(scale.ranks_per_node, "ranks-per-node", FBT_BENCH_NODE, "N", "with --scale; default: 16", 1,
                     MAX_COUNT),
    FBT_OPTION_COUNT(scale.spread, "spread", FBT_BENCH_SPREAD, "N",
                     "standard deviation of a sample's tokens, with --scale and a shape; default: 0", 0, MAX_COUNT),
    FBT_OPTION_COUNT(scale.speed, "speed", FBT_BENCH_SPEED, "N",
                     "tokens a second of a rank, with --scale and a shape; default: timed", 1, INT32_MAX),
    FBT_OPTION_COUNT(scale.test_samples, "test-samples", FBT_BENCH_TEST, "N",
                     "that every round scores, with --scale and a shape; default: 0", 0, MAX_COUNT),
    FBT_OPTION_FLAG(json, "json", 'j', "print JSON"),
    {.about = {0}},
};

static const arguments defaults = {
    .scale = {.ranks = "1,4,16,64,256,1024,4096", .clients = "10,128,1024,10000,100000,1000000", .ranks_per_node = 16},
    .plan = {.shape = "roberta-large", .backend = "cpu", .samples = 8, .copies = 2, .repeats = 5}};

enum { CANDIDATES = 5, PROMPT_TOKENS = 50, LENGTH = 71 };

/* Completes the plan for random words, which bring nothing of their own. */
static void complete_words(arguments *a)
{
    if (a->readout == NULL && a->plan.model == NULL && strcmp(a->plan.shape, "minilm-l6") == 0) {
        a->readout = "embedding";
    }
    a->plan.readout = a->readout != NULL ? fbt_choice_find(fbt_readout_names, a->readout) : -1;
    a->plan.mode = (fbt_prompt_mode)fbt_choice_find(fbt_prompt_mode_names, a->mode != NULL ? a->mode : "add");
    a->plan.length = a->plan.length == 0 ? LENGTH : a->plan.length;
    if (a->plan.prompt_tokens == 0) {
        const bool is_short = a->plan.mode == FBT_PROMPT_ADD && a->plan.length <= PROMPT_TOKENS;
        a->plan.prompt_tokens = !is_short ? PROMPT_TOKENS : a->plan.length > 1 ? a->plan.length - 1 : 1;
    }
}

/* Whether an option was given that --scale alone has. */
static bool has_scale_options(const fbt_bench_scale *given)
{
    const fbt_bench_scale *usual = &defaults.scale;
    return given->ranks != usual->ranks || given->clients != usual->clients || given->latency != NULL ||
           given->bandwidth != NULL || given->ranks_per_node != usual->ranks_per_node || given->spread > 0 ||
           given->speed > 0 || given->test_samples > 0;
}

/* Where options do not go together with --scale, or only with it. */
static void complete_scale(arguments *a, const struct argp_state *state)
{
    fbt_timing_plan timing = a->plan;
    timing.model = NULL;
    if (!a->scale.wanted && has_scale_options(&a->scale)) {
        argp_error(state,
                   "--ranks, --clients, --latency, --bandwidth, --ranks-per-node, --spread, --speed and --test-samples "
                   "are options of --scale: give it too");
    }
    if (!a->scale.wanted) {
        return;
    }
    if (a->cma) {
        argp_error(state, "--scale times CMA-ES by itself: leave --cma-es out");
    }
    if (a->plan.data != NULL) {
        argp_error(state, "--scale takes samples from a run or random words: leave --data out");
    }
    if (fbt_bench_scale_is_run(a->plan.model)) {
        if (a->scale.spread > 0 || a->scale.speed > 0 || a->scale.test_samples > 0 || a->precision != NULL ||
            a->readout != NULL || a->mode != defaults.mode || memcmp(&timing, &defaults.plan, sizeof timing) != 0) {
            argp_error(state, "--scale %s takes samples, lengths and speeds from the run: leave their options out",
                       a->plan.model);
        }
        a->scale.run = a->plan.model;
    }
    if (a->scale.speed > 0 && a->plan.layers > 0) {
        argp_error(state, "--speed is of the whole model: leave --layers out");
    }
    fbt_bench_scale_check(&a->scale, state);
}

static void complete(void *given, const struct argp_state *state)
{
    arguments *a = given;
    complete_scale(a, state);
    if (!a->cma && (a->optimiser != NULL || a->dimension > 0)) {
        argp_error(state, "--optimiser and --dimension are options of --cma-es: give it too");
    }
    if (a->cma) {
        if (a->plan.model != NULL) {
            argp_error(state, "--cma-es times no model: leave %s out", a->plan.model);
        }
        if (a->plan.data != NULL) {
            argp_error(state, "--cma-es times no data: leave --data out");
        }
        if (a->plan.candidates == 1) {
            argp_error(state, "--candidates: CMA-ES ranks at least 2");
        }
        return;
    }
    a->plan.candidates = a->plan.candidates == 0 ? CANDIDATES : a->plan.candidates;
    if (a->plan.data == NULL) {
        complete_words(a);
    } else if (a->readout != NULL || a->mode != NULL || a->plan.length > 0 || a->plan.prompt_tokens > 0) {
        argp_error(state,
                   "--data has its own readout, prompt mode, prompt tokens and lengths: leave these options out");
    }
}

/* One precision from opening to printing. `results`: where JSON is collected. */
static fbt_status bench_precision(arguments *a, const char *precision, json_t *results)
{
    fbt_status status = FBT_OK;
    fbt_timing_result m = {0};
    a->plan.precision = precision;
    FBT_TRY(fbt_timing_measure(&a->plan, &m));
    fbt_bench_warn(&m);
    if (a->json) {
        json_array_append_new(results, fbt_bench_describe(&m));
    } else {
        fbt_bench_print(&m);
    }
done:
    fbt_timing_clear(&m);
    return status;
}

/* The precision asked for, or all that the backend has on this machine. */
static fbt_status bench_all(arguments *a, json_t *results)
{
    fbt_status status = FBT_OK;
    const fbt_backend_driver *driver = fbt_backend_find(a->plan.backend);
    if (a->precision != NULL || driver == NULL || driver->missing != NULL) {
        return bench_precision(a, a->precision != NULL ? a->precision : "auto", results);
    }
    for (int i = 0; i < FBT_MAX_TYPES && driver->types[i] != NULL; i++) {
        status = bench_precision(a, driver->types[i], results);
        if (status == FBT_ERR_CONFIG && i > 0) {
            fprintf(stderr, "fedbpt: %s is left out: %s\n", driver->types[i], fbt_error_take());
            status = FBT_OK;
        }
        FBT_TRY(status);
    }
done:
    return status;
}

static fbt_status bench_cma(const arguments *a, json_t *results)
{
    static const int64_t usual[] = {5, 20};
    const bool given = a->plan.candidates > 0;
    const int kind = a->optimiser != NULL ? fbt_choice_find(fbt_optimiser_names, a->optimiser) : 0;
    const fbt_bench_search search = {.kind = (fbt_optimiser_kind)kind, .dimension = a->dimension};
    return fbt_bench_cma(&search, given ? 1 : 2, given ? &a->plan.candidates : usual, a->json ? results : NULL);
}

static fbt_status bench_scale(arguments *a, const fbt_comm *world)
{
    a->plan.precision = a->precision != NULL ? a->precision : "auto";
    return fbt_bench_scale_run(&a->scale, &a->plan, world, a->json);
}

static fbt_status bench(void *given, const fbt_comm *world, int *code)
{
    arguments *a = given;
    (void)code;
    if (a->scale.wanted) {
        return bench_scale(a, world);
    }
    json_t *results = json_array();
    const fbt_status status = a->cma ? bench_cma(a, results) : bench_all(a, results);
    if (status == FBT_OK && a->json) {
        json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    }
    json_decref(results);
    return status;
}

const fbt_command fbt_command_bench = {
    .name = "bench",
    .summary = "time a population batch against the machine's own peak",
    .options = options,
    .file = {"[MODEL|RUN.h5]", "model", NULL, NULL, offsetof(arguments, plan.model)},
    .arguments_bytes = sizeof(arguments),
    .defaults = &defaults,
    .check = complete,
    .uses_mpi = true,
    .run = bench,
    .doc =
        "Times a population batch, samples x candidates x copies sequences, of a model folder or of a named shape "
        "with random weights, and tells for each operation what it reaches of what the machine would allow: of the "
        "best large "
        "matrix product and the best copy of memory that the backend's libraries make, timed in turn with the "
        "batches. An "
        "operation is bounded by the one or by the other, whichever would take it longer (the roofline); what it "
        "moves is "
        "counted as if every operand were read once and every result written once. A decoder's batch is timed and "
        "counted without shared prefixes, too; with several streams, as on a GPU, so is the batch in parts on all of "
        "them. A "
        "warning names the products below 80% of the peak.\n"
        "With --cma-es it times what the optimiser itself takes of a generation, ask and tell without any model, and "
        "with "
        "--optimiser the same of another search.\n"
        "With --scale it predicts seconds of a round, efficiency and memory for numbers of ranks and clients, from "
        "the speeds of a finished run, or of one client's batch, CMA-ES and the disk as they are timed here, from "
        "the placement "
        "that a run makes, and from latency and bandwidth of the network (docs/scaling.md). Clients beyond the run's "
        "own are like its own, in turn."
        "\vExamples:\n"
        "  fedbpt bench --shape roberta-large --precision bf16 --threads 2\n"
        "  fedbpt bench models/all-MiniLM-L6-v2 --readout embedding --length 14\n"
        "  fedbpt bench models/all-MiniLM-L6-v2 --data datasets/bbc-headlines.h5\n"
        "  fedbpt bench --shape roberta-base --json > bench.json\n"
        "  fedbpt bench --cma-es\n"
        "  fedbpt bench --cma-es --optimiser lm-ma --dimension 100000 --candidates 38\n"
        "  fedbpt bench --scale runs/mine.h5 --ranks 1,16,1024 --clients 10,1024 --latency 2us --bandwidth 12.5GB/s\n"
        "  mpirun -n 2 fedbpt bench --scale --shape roberta-large --precision bf16 --test-samples 872",
};
