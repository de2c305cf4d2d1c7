/* fedbpt export: the Python package fedbpt-analysis does it, which has the libraries for it. */
#include "base/memory.h"
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct arguments {
    const char *run;
    const char *format;
    const char *round;
    const char *output;
    bool overwrite;
} arguments;

static const fbt_cli_option options[] = {
    FBT_OPTION_TEXT(format, "format", 't', "peft|npz|safetensors", "what to write"),
    FBT_OPTION_TEXT(round, "round", 'n', "best|last",
                    "which round's prompt (default: best, chosen on the run's dev samples)"),
    FBT_OPTION_TEXT(output, "output", 'o', "PATH", "the file, of peft the folder (default: beside the run file)"),
    FBT_OPTION_FLAG(overwrite, "overwrite", 'f', "replace what is there"),
    {.about = {0}},
};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->format == NULL) {
        argp_error(state, "--format is missing: peft, npz or safetensors");
    }
}

/* Whether a Python has the package and what the export needs beside it. */
static bool has_package(const char *python)
{
    static const char *const question =
        "from importlib.util import find_spec as f\n"
        "from os.path import dirname, exists\n"
        "s = f('fedbpt_analysis')\n"
        "raise SystemExit(not (s and exists(dirname(s.origin) + '/export.py') and all(map(f, ('h5py', 'safetensors', "
        "'yaml')))))";
    const char *const words[] = {python, "-P", "-c", question, NULL};
    posix_spawn_file_actions_t quiet;
    pid_t process;
    int code = -1;
    if (posix_spawn_file_actions_init(&quiet) != 0) {
        return false;
    }
    posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&process, python, &quiet, NULL, (char *const *)(uintptr_t)words, environ) == 0) {
        while (waitpid(process, &code, 0) < 0 && errno == EINTR) {
        }
    }
    posix_spawn_file_actions_destroy(&quiet);
    return code == 0;
}

/* Folder that pip installs the package from: an installed copy's, else the checkout's. */
static const char *package_folder(const char *program, char text[PATH_MAX + 64])
{
    const int n_folder = (int)(strrchr(program, '/') - program);
    snprintf(text, PATH_MAX + 64, "%.*s/../share/fedbpt/analysis", n_folder, program);
    return access(text, F_OK) == 0 ? text : "./analysis";
}

/* *program: this program's path. */
static fbt_status find_python(const char *program, char **python)
{
    static const char *const venvs[] = {"../../..", ".."}; /* from build/NAME/bin, from PREFIX/bin */
    const char *given = getenv("FEDBPT_PYTHON");
    const int n_folder = (int)(strrchr(program, '/') - program);
    char package[PATH_MAX + 64];
    if (given != NULL && given[0] != '\0') {
        return has_package(given)
                   ? fbt_memory_strdup(python, given)
                   : fbt_fail(FBT_ERR_USAGE,
                              "FEDBPT_PYTHON names %.200s, which is no Python 3.11 with the package fedbpt-analysis; "
                              "install it with '%.200s -m pip install %.400s'",
                              given, given, package_folder(program, package));
    }
    if (has_package("python3")) {
        return fbt_memory_strdup(python, "python3");
    }
    for (size_t i = 0; i < sizeof venvs / sizeof venvs[0]; i++) {
        if (asprintf(python, "%.*s/%s/.venv/bin/python3", n_folder, program, venvs[i]) < 0) {
            return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of a Python");
        }
        if (has_package(*python)) {
            return FBT_OK;
        }
        free(*python);
        *python = NULL;
    }
    return fbt_fail(FBT_ERR_USAGE,
                    "exporting needs the Python package fedbpt-analysis, which python3 does not have; "
                    "install it with 'pip install %.400s', or name a Python that has it in FEDBPT_PYTHON",
                    package_folder(program, package));
}

/* Under a launcher the first process does it; MPI need not be started for that. */
static bool is_first_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *rank = getenv(names[i]);
        if (rank != NULL && rank[0] != '\0') {
            return strcmp(rank, "0") == 0;
        }
    }
    return true;
}

/* Becomes the Python program; returns after a failure alone. */
static fbt_status become_python(const arguments *a)
{
    fbt_status status = FBT_OK;
    char program[PATH_MAX] = "", *python = NULL;
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) {
        FBT_FAIL(FBT_ERR_IO, "this program cannot be found: %s; is /proc there?", strerror(errno));
    }
    FBT_TRY(find_python(program, &python));
    const char *const words[] = {python,
                                 "-P",
                                 "-m",
                                 "fedbpt_analysis.export",
                                 a->overwrite ? "--overwrite" : "--keep",
                                 "--",
                                 program,
                                 a->run,
                                 a->format,
                                 a->round == NULL ? "best" : a->round,
                                 a->output,
                                 NULL};
    execvp(python, (char *const *)(uintptr_t)words);
    status = fbt_fail(FBT_ERR_IO, "%.400s cannot be started: %s", python, strerror(errno));
done:
    free(python);
    return status;
}

static fbt_status export_prompt(void *given, const fbt_comm *world, int *code)
{
    (void)world;
    (void)code;
    return is_first_rank() ? become_python(given) : FBT_OK;
}

const fbt_command fbt_command_export = {
    .name = "export",
    .summary = "write a recorded prompt for PEFT, NumPy or any reader of safetensors",
    .options = options,
    .file = {"RUN.h5", "run file", "the run file is missing", NULL, offsetof(arguments, run)},
    .arguments_bytes = sizeof(arguments),
    .check = check,
    .run = export_prompt,
    .doc =
        "Writes the soft prompt of a run, p = A z + p0 [P, hidden size], for other programs."
        "\vExamples:\n"
        "  fedbpt export runs/a.h5 --format safetensors\n"
        "  fedbpt export runs/a.h5 --format npz --round last --output prompt.npz\n"
        "  fedbpt export runs/a.h5 --format peft --output adapters/a\n\n"
        "safetensors: the tensors prompt_embeddings [P, hidden size], of deep prompts [L, P, hidden size], and z [d]; "
        "in the metadata, as texts, the prompt mode, seed, round, the run's digest (fedbpt show --digest), the model "
        "and its SHA-256, task, template, label words, of prompts of words (prompt.projection) these, and program "
        "version.\n"
        "npz: the same as arrays that numpy.load reads.\n"
        "peft: a folder that PeftModel.from_pretrained(model, FOLDER) of Hugging Face PEFT loads as a "
        "prompt-tuning adapter of the run's model: an encoder with or without its masked-language-model head, or a "
        "causal language model. Only for prompt.deep none and prompt mode input (of a causal model also cat), the one "
        "that PEFT knows: vectors before the text in place of word embeddings.\n\n"
        "The same run file gives the same bytes. The work is done by the Python package fedbpt-analysis "
        "(pip install ./analysis, or PREFIX/share/fedbpt/analysis), looked for in the Python that FEDBPT_PYTHON "
        "names, or else in python3, in .venv of "
        "the checkout and in .venv of the folder that the program is installed in.",
};
