/* fedbpt bench */
#include "base/choices.h"
#include "cli/bench_report.h"
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COUNT = 1 << 20 };

typedef struct arguments {
    const char *precision; /* NULL: all that the backend has */
    const char *readout;   /* NULL: embedding for minilm-l6, else mask */
    const char *mode;
    bool json;
    fbt_timing_plan plan; /* all else */
} arguments;

static const char *const readouts[] = {"mask", "embedding", NULL}; /* of random weights, which have no `last` */

#define COUNT(field, name, key, help) FBT_OPTION_COUNT(plan.field, name, key, "N", help, 1, MAX_COUNT)

static const fbt_cli_option options[] = {
    FBT_OPTION_TEXT(plan.shape, "shape", 's', "NAME",
                    "random weights: roberta-large (default), roberta-base, bert-base, minilm-l6 or distilbert-base"),
    FBT_OPTION_TEXT(plan.backend, "backend", 'b', "NAME", "cpu (default) or cuda"),
    FBT_OPTION_CHOICE(precision, "precision", 'p', "fp32|tf32|bf16",
                      "default: one after the other, of those that the backend has", fbt_precision_names),
    COUNT(threads, "threads", 't', "default: all processors that this process may use"),
    COUNT(samples, "samples", 'n', "samples of a client (8)"),
    COUNT(candidates, "candidates", 'c', "candidates of a generation (5)"),
    COUNT(copies, "copies", 'k', "copies of every sample: 2 (default) with the perturbed one"),
    COUNT(length, "length", 'l', "tokens of a sequence, without the prompt of modes cat and input (71)"),
    FBT_OPTION_CHOICE(mode, "prompt-mode", 'm', "none|add|cat|input", "default: add", fbt_prompt_mode_names),
    COUNT(prompt_tokens, "prompt-tokens", 'P', "default: 50"),
    FBT_OPTION_CHOICE(readout, "readout", 'r', "mask|embedding", "default: mask; embedding for minilm-l6", readouts),
    COUNT(repeats, "repeats", 'R', "default: 5"),
    FBT_OPTION_FLAG(json, "json", 'j', "print JSON"),
    {.about = {0}},
};

static const arguments defaults = {.mode = "add",
                                   .plan = {.shape = "roberta-large",
                                            .backend = "cpu",
                                            .samples = 8,
                                            .candidates = 5,
                                            .copies = 2,
                                            .length = 71,
                                            .prompt_tokens = 50,
                                            .repeats = 5}};

static void complete(void *given, const struct argp_state *state)
{
    arguments *a = given;
    (void)state;
    if (a->readout == NULL) {
        a->readout = a->plan.model == NULL && strcmp(a->plan.shape, "minilm-l6") == 0 ? "embedding" : "mask";
    }
    a->plan.readout = strcmp(a->readout, "embedding") == 0 ? FBT_READOUT_EMBEDDING : FBT_READOUT_MASK;
    a->plan.mode = (fbt_prompt_mode)fbt_choice_find(fbt_prompt_mode_names, a->mode);
}

/* One precision from opening to printing. `results`: where JSON is collected. */
static fbt_status bench_precision(arguments *a, const char *precision, json_t *results)
{
    fbt_status status = FBT_OK;
    fbt_timing_result m = {0};
    a->plan.precision = precision;
    FBT_TRY(fbt_timing_measure(&a->plan, &m));
    if (a->json) {
        json_array_append_new(results, fbt_bench_describe(&a->plan, &m));
    } else {
        fbt_bench_print(&a->plan, &m);
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

static fbt_status bench(void *given, const fbt_comm *world, int *code)
{
    arguments *a = given;
    json_t *results = json_array();
    (void)world;
    (void)code;
    const fbt_status status = bench_all(a, results);
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
    .file = {"[MODEL]", "model", NULL, NULL, offsetof(arguments, plan.model)},
    .arguments_bytes = sizeof(arguments),
    .defaults = &defaults,
    .check = complete,
    .run = bench,
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
