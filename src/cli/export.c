/* fedbpt export */
#include "export/export.h"

#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "record/output_file.h"
#include "record/real_path.h"
#include "record/run_prompt.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_FACTS_MAX = 16, N_ARRAYS = 2, N_FILES_MAX = 2, PATH_BYTES = 4096 };

typedef struct arguments {
    const char *run;
    const char *format;
    const char *round;
    const char *output;
    bool overwrite;
} arguments;

static const struct argp_option options[] = {
    {"format", 't', "peft|npz|safetensors", 0, "what to write", 0},
    {"round", 'n', "best|last", 0, "which round's prompt (default: best, chosen on the run's dev samples)", 0},
    {"output", 'o', "PATH", 0, "the file, of peft the folder (default: beside the run file)", 0},
    {"overwrite", 'f', NULL, 0, "replace what is there", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 't':
        a->format = value;
        return 0;
    case 'n':
        a->round = value;
        return 0;
    case 'o':
        a->output = value;
        return 0;
    case 'f':
        a->overwrite = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->run != NULL) {
            argp_error(state, "one run file at a time; '%s' is one too many", value);
        }
        a->run = value;
        return 0;
    case ARGP_KEY_END:
        if (a->run == NULL) {
            argp_error(state, "the run file is missing");
        }
        if (a->format == NULL) {
            argp_error(state, "--format is missing: peft, npz or safetensors");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RUN.h5",
    .doc = "Writes the soft prompt of a run, p = A z + p0 [P, hidden size], for other programs."
           "\vExamples:\n"
           "  fedbpt export runs/a.h5 --format safetensors\n"
           "  fedbpt export runs/a.h5 --format npz --round last --output prompt.npz\n"
           "  fedbpt export runs/a.h5 --format peft --output adapters/a\n\n"
           "safetensors: the tensors prompt_embeddings [P, hidden size] and z [d]; in the metadata, as texts, the "
           "prompt mode, seed, round, the run's digest (fedbpt show --digest), the model and its SHA-256, task, "
           "template, label words and program version.\n"
           "npz: the same as arrays that numpy.load reads.\n"
           "peft: a folder that PeftModel.from_pretrained(model, FOLDER) of Hugging Face PEFT loads as a "
           "prompt-tuning adapter of the run's model, an encoder with or without its masked-language-model head. Only "
           "for prompt mode input, the one that PEFT knows: vectors before the text in place of word embeddings.\n\n"
           "The same run file gives the same bytes.",
};

typedef enum format { FORMAT_PEFT, FORMAT_NPZ, FORMAT_SAFETENSORS, N_FORMATS } format;
static const struct {
    const char *name, *ending;
} formats[N_FORMATS] = {{"peft", ".peft"}, {"npz", ".npz"}, {"safetensors", ".safetensors"}};

typedef struct job {
    const arguments *a;
    format format;
    fbt_run_prompt prompt;
    fbt_settings settings;
    char *output;
    fbt_export_array arrays[N_ARRAYS];
    fbt_export_fact facts[N_FACTS_MAX];
    int n_facts;
} job;

static fbt_status check_arguments(job *j)
{
    fbt_status status = FBT_OK;
    const arguments *a = j->a;
    const char *round = a->round == NULL ? "best" : a->round;
    while (j->format < N_FORMATS && strcmp(formats[j->format].name, a->format) != 0) {
        j->format++;
    }
    if (j->format == N_FORMATS) {
        FBT_FAIL(FBT_ERR_USAGE, "--format is '%.64s'; it must be peft, npz or safetensors", a->format);
    }
    if (strcmp(round, "best") != 0 && strcmp(round, "last") != 0) {
        FBT_FAIL(FBT_ERR_USAGE, "--round is '%.64s'; it must be best or last", round);
    }
done:
    return status;
}

/* PEFT's prompt tuning puts vectors before the word embeddings, and nothing else. */
static fbt_status check_mode(const job *j, const char *mode)
{
    if (j->format != FORMAT_PEFT || strcmp(mode, "input") == 0) {
        return FBT_OK;
    }
    return fbt_fail(
        FBT_ERR_UNSUPPORTED,
        "%.400s has prompt mode %s, whose prompt %s; PEFT's prompt tuning can only put vectors in place of word "
        "embeddings before the text (mode input): use --format safetensors or npz",
        j->a->run, mode,
        strcmp(mode, "add") == 0 ? "is added to the embeddings of fixed words of the text"
                                 : "gets no position embeddings and no LayerNorm");
}

static void add_text(job *j, const char *name, const char *text)
{
    if (text != NULL) {
        j->facts[j->n_facts++] = (fbt_export_fact){.name = name, .kind = FBT_EXPORT_TEXT, .text = text};
    }
}

static void add_integer(job *j, const char *name, int64_t value)
{
    j->facts[j->n_facts++] = (fbt_export_fact){.name = name, .kind = FBT_EXPORT_INTEGER, .integer = value};
}

/* Larger items first, as safetensors wants them. */
static void list_arrays(job *j)
{
    const fbt_run_prompt *p = &j->prompt;
    j->arrays[0] =
        (fbt_export_array){.name = "z", .is_double = true, .n_dims = 1, .shape = {p->dimension}, .values = p->z};
    j->arrays[1] = (fbt_export_array){
        .name = FBT_EXPORT_PEFT_TENSOR, .n_dims = 2, .shape = {p->n_tokens, p->n_hidden}, .values = p->prompt};
}

static void list_facts(job *j, const char *mode)
{
    const fbt_run_prompt *p = &j->prompt;
    add_text(j, "prompt_mode", mode);
    add_integer(j, "seed", j->settings.run.seed);
    add_integer(j, "round", p->round);
    add_text(j, "run_digest", p->digest);
    add_text(j, "model", p->model);
    add_text(j, "model_sha256", p->model_sha256);
    add_text(j, "model_family", p->model_family);
    add_text(j, "tokenizer_sha256", p->tokenizer_sha256);
    add_text(j, "task", p->task);
    add_text(j, "template", p->template_text);
    if (p->label_words != NULL) {
        j->facts[j->n_facts++] = (fbt_export_fact){.name = "label_words",
                                                   .kind = FBT_EXPORT_TEXTS,
                                                   .texts = (const char *const *)p->label_words,
                                                   .n_texts = p->n_labels};
    }
    add_text(j, "program_version", p->program_version);
    add_text(j, "git_commit", p->git_commit);
}

static fbt_status open_job(job *j)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_arguments(j));
    status = fbt_run_prompt_read(j->a->run, j->a->round == NULL || strcmp(j->a->round, "best") == 0, &j->prompt);
    FBT_TRY(status);
    FBT_TRY(fbt_settings_defaults(&j->settings));
    FBT_TRY(fbt_settings_read_text(&j->settings, j->prompt.config_resolved, j->a->run));
    const char *mode = fbt_settings_choice_name("prompt.mode", j->settings.prompt.mode);
    FBT_TRY(check_mode(j, mode));
    list_arrays(j);
    list_facts(j, mode);
    if (j->a->output == NULL) {
        FBT_TRY(fbt_cli_beside(j->a->run, formats[j->format].ending, &j->output));
    } else {
        FBT_TRY(fbt_memory_strdup(&j->output, j->a->output));
    }
done:
    return status;
}

/* One file to be written. */
typedef struct part {
    const char *path;
    fbt_output_format format;
    fbt_export_bytes content;
} part;

/* All paths are checked and claimed before the first file is written. */
static fbt_status write_parts(const part *parts, int n, bool overwrite)
{
    fbt_status status = FBT_OK;
    fbt_output_file *files[N_FILES_MAX] = {NULL};
    for (int i = 0; i < n; i++) {
        FBT_TRY(fbt_output_file_open(parts[i].path, parts[i].format, overwrite, &files[i]));
    }
    for (int i = 0; i < n; i++) {
        FBT_TRY(fbt_output_file_replace(files[i], parts[i].content.bytes, parts[i].content.n_bytes));
    }
done:
    for (int i = 0; i < n; i++) {
        fbt_output_file_close(files[i]);
    }
    return status;
}

static fbt_status write_one(const job *j)
{
    fbt_status status = FBT_OK;
    const fbt_export_content content = {j->arrays, N_ARRAYS, j->facts, j->n_facts};
    const bool is_npz = j->format == FORMAT_NPZ;
    part file = {.path = j->output, .format = is_npz ? FBT_OUTPUT_ZIP : FBT_OUTPUT_SAFETENSORS};
    FBT_TRY(is_npz ? fbt_export_npz(&content, &file.content) : fbt_export_safetensors(&content, &file.content));
    status = write_parts(&file, 1, j->a->overwrite);
done:
    free(file.content.bytes);
    return status;
}

/* *made: the folder was not there. */
static fbt_status make_folder(const char *path, bool *made)
{
    *made = mkdir(path, 0777) == 0;
    if (!*made && errno != EEXIST) {
        return fbt_fail(FBT_ERR_IO, "%.400s: the folder cannot be made: %s; choose another --output", path,
                        strerror(errno));
    }
    return fbt_path_check_folder(path);
}

/* The configuration comes last: without it nobody takes the folder for an adapter. */
static fbt_status write_adapter(job *j)
{
    fbt_status status = FBT_OK;
    char paths[N_FILES_MAX][PATH_BYTES];
    part parts[N_FILES_MAX] = {{.path = paths[0], .format = FBT_OUTPUT_SAFETENSORS},
                               {.path = paths[1], .format = FBT_OUTPUT_JSON}};
    bool made = false;
    add_text(j, "format", "pt");
    const fbt_export_content content = {&j->arrays[1], 1, j->facts, j->n_facts};
    snprintf(paths[0], PATH_BYTES, "%s/adapter_model.safetensors", j->output);
    snprintf(paths[1], PATH_BYTES, "%s/adapter_config.json", j->output);
    FBT_TRY(fbt_export_safetensors(&content, &parts[0].content));
    FBT_TRY(fbt_export_peft_config(j->prompt.model, j->prompt.n_tokens, j->prompt.n_hidden, &parts[1].content));
    FBT_TRY(make_folder(j->output, &made));
    status = write_parts(parts, N_FILES_MAX, j->a->overwrite);
    if (status != FBT_OK && made) {
        rmdir(j->output); /* unless something was written into it */
    }
done:
    free(parts[0].content.bytes);
    free(parts[1].content.bytes);
    return status;
}

static fbt_status export_prompt(const arguments *a)
{
    fbt_status status = FBT_OK;
    job j = {.a = a};
    FBT_TRY(open_job(&j));
    FBT_TRY(j.format == FORMAT_PEFT ? write_adapter(&j) : write_one(&j));
    printf("%s: prompt [%lld, %lld] of round %lld of %s\n", j.output, (long long)j.prompt.n_tokens,
           (long long)j.prompt.n_hidden, (long long)j.prompt.round, a->run);
done:
    fbt_run_prompt_clear(&j.prompt);
    fbt_settings_clear(&j.settings);
    free(j.output);
    return status;
}

/* Under a launcher the first rank does it. */
int fbt_cli_export(int argc, char **argv)
{
    arguments a = {0};
    fbt_comm *world = NULL;
    fbt_status status;
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    fbt_log_set_rank(fbt_comm_rank(world));
    if (fbt_comm_rank(world) == 0) {
        status = export_prompt(&a);
    }
    status = fbt_comm_agree(world, status);
done:
    status = fbt_cli_report(world, status);
    return status == FBT_OK ? FBT_EXIT_OK : FBT_EXIT_FAILURE;
}
