/* A federation that goes on from a checkpoint, on another number of ranks, makes the rounds of one that never stopped;
 * a checkpoint that is damaged is refused by all ranks alike. Failures are counted, and the job's count is every rank's
 * exit status. */
#include "base/memory.h"
#include "mpi_test.h"
#include "toy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_ROUNDS = 5, MAX_ASSIGNMENTS = 8, MAX_ARRAYS = 8 };

typedef struct run_case {
    const char *name;
    const char *assignments[MAX_ASSIGNMENTS];
} run_case;

/* Every protocol, kind of covariance and part of the server's state that some other case does without: a full C,
 * deferred updates (many dimensions), mirrored populations (fewer than 6), clients' own step size. */
static const run_case cases[] = {
    {"nvflare", {"fed.protocol=nvflare", "perturb.rate=0.4", "cma.constants=pycma", "cma.decomposition=eigen"}},
    {"nvflare, deferred updates", {"fed.protocol=nvflare", "cma.dimension=40", "fed.participation=0.75"}},
    {"paper", {"fed.protocol=paper", "fed.participation=0.5"}},
    {"fedavg-bbt, full", {"fed.protocol=fedavg-bbt", "cma.covariance=full"}},
    {"fedavg-bbt, separable",
     {"fed.protocol=fedavg-bbt", "cma.covariance=separable", "fed.weighting=samples", "data.shots=3"}},
    {"nvflare, by improvement, averages", {"fed.protocol=nvflare", "fed.ranking=improvement", "fed.average_means=3"}},
    {"synchronous, mirrored", {"fed.protocol=synchronous", "cma.constants=pycma", "cma.population=5"}},
    {"synchronous, deferred updates",
     {"fed.protocol=synchronous", "cma.dimension=40", "cma.population=8", "cma.decomposition=eigen"}},
    {"synchronous, isotropic", {"fed.protocol=synchronous", "cma.covariance=isotropic"}},
    {"openai-es", {"fed.protocol=synchronous", "fed.optimiser=openai-es"}},
    {"spsa", {"fed.protocol=synchronous", "fed.optimiser=spsa"}},
    {"lm-ma", {"fed.protocol=synchronous", "fed.optimiser=lm-ma"}},
    {"openai-es, bounded points",
     {"fed.protocol=synchronous", "fed.optimiser=openai-es", "cma.norm_bound=0.5", "cma.norm_growth=0.1"}},
    {"feedsign", {"fed.protocol=feedsign", "fed.optimiser=openai-es"}},
    {"cem", {"fed.protocol=synchronous", "fed.optimiser=cem"}},
    {"cem, nvflare", {"fed.protocol=nvflare", "fed.optimiser=cem"}},
    {"bdpl",
     {"fed.protocol=synchronous", "fed.optimiser=bdpl", "prompt.projection=words", "prompt.mode=input",
      "prompt.tokens=6", "prompt.vocabulary=9"}},
    {"bdpl of clients",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=bdpl", "prompt.projection=words", "prompt.mode=input",
      "prompt.tokens=6", "prompt.vocabulary=9", "fed.participation=0.5"}},
    {"random", {"fed.protocol=synchronous", "fed.optimiser=random", "fed.participation=0.5"}},
    {"kseed", {"fed.protocol=synchronous", "fed.optimiser=kseed", "es.seeds=5"}},
    {"kseed of clients, 1 bit, error feedback",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "es.seeds=9", "fed.quantise_bits=1",
      "fed.error_feedback=true"}},
    {"nvflare, unequal clients", {"fed.protocol=nvflare", "fed.sizes=lognormal", "fed.participation=0.5"}},
    {"synchronous, 1 bit", {"fed.protocol=synchronous", "fed.quantise_bits=1"}},
    {"synchronous, private, secure",
     {"fed.protocol=synchronous", "privacy.clip=1", "privacy.noise_multiplier=1", "fed.secure_aggregation=true"}},
    {"fedavg-bbt, private",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "privacy.clip=2", "privacy.noise_multiplier=1"}},
    {"paper, 1 bit, error feedback",
     {"fed.protocol=paper", "fed.quantise_bits=1", "fed.error_feedback=true", "fed.participation=0.5"}},
    {"fedavg-bbt, 2 bits, error feedback",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.quantise_bits=2", "fed.error_feedback=true"}},
    {"nvflare, half drop out", {"fed.protocol=nvflare", "faults.dropout=0.5", "faults.dropout_kind=client"}},
    {"paper, some are late",
     {"fed.protocol=paper", "fed.participation=0.5", "fed.over_selection=1.5", "pace.compute_seconds=20",
      "pace.compute_sigma=1", "pace.deadline_seconds=1.2"}},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* A checkpoint that outlives its federation. */
typedef struct kept {
    fbt_array arrays[MAX_ARRAYS];
    void *values[MAX_ARRAYS];
    char names[MAX_ARRAYS][64];
} kept;

static void keep(fbt_federation *federation, kept *k)
{
    const fbt_array *arrays;
    *k = (kept){0};
    CHECK(fbt_federation_checkpoint(federation, &arrays) == FBT_OK, "%s", fbt_error_message());
    for (int i = 0; arrays[i].name != NULL; i++) {
        k->values[i] = calloc((size_t)arrays[i].n_values + 1, FBT_ARRAY_VALUE_BYTES);
        memcpy(k->values[i], arrays[i].values, (size_t)arrays[i].n_values * FBT_ARRAY_VALUE_BYTES);
        k->arrays[i] = arrays[i];
        k->arrays[i].values = k->values[i];
        snprintf(k->names[i], sizeof k->names[i], "%s", arrays[i].name);
        k->arrays[i].name = k->names[i];
        k->arrays[i].long_name = NULL;
    }
}

/* Makes it what earlier versions kept: doubles alone. */
static void make_older(kept *k)
{
    for (int a = 0; k->arrays[a].name != NULL; a++) {
        for (int64_t i = 0; k->arrays[a].type == FBT_ARRAY_INT64 && i < k->arrays[a].n_values; i++) {
            ((double *)k->values[a])[i] = (double)((int64_t *)k->values[a])[i];
        }
        k->arrays[a].type = FBT_ARRAY_FLOAT64;
    }
}

static void drop(kept *k)
{
    for (int i = 0; i < MAX_ARRAYS; i++) {
        free(k->values[i]);
    }
    *k = (kept){0};
}

/* Makes rounds first .. last (0: the start), after the checkpoint if there is one, into rows [last + 1, n]. */
static fbt_status run(const toy_problem *problem, const fbt_comm *world, fbt_model *model, const fbt_array *from,
                      uint32_t first, uint32_t last, double *rows, kept *to)
{
    fbt_status status = FBT_OK;
    const int64_t n = toy_row_doubles(problem);
    fbt_federation *federation = NULL;
    fbt_round_row row;
    FBT_TRY(toy_federation_new(problem, world, model, &federation));
    if (from != NULL) {
        FBT_TRY(fbt_federation_restore(federation, fbt_comm_rank(world) == 0 ? from : NULL, &FBT_NO_BEST_ROUND));
    }
    for (uint32_t round = first; round <= last; round++) {
        FBT_TRY(round == 0 ? fbt_federation_start(federation, &row)
                           : fbt_federation_round(federation, round, round % 2 == 0, &row));
        toy_row_copy(problem, &row, rows + round * n);
    }
    keep(federation, to);
done:
    fbt_federation_free(federation);
    return status;
}

/* Broken by anything that decides a later round and is neither in the checkpoint nor made from the round's number. */
static void check_case(const run_case *c, const fbt_comm *world, const fbt_comm *self)
{
    toy_problem problem;
    kept whole = {0}, end = {0};
    toy_problem_init(&problem, c->assignments);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    const int64_t n = toy_row_doubles(&problem);
    double *alone = calloc((size_t)(n * (N_ROUNDS + 1)), sizeof *alone);
    CHECK(run(&problem, self, model, NULL, 0, N_ROUNDS, alone, &whole) == FBT_OK, "%s: %s", c->name,
          fbt_error_message());
    for (uint32_t stop = 0; stop < N_ROUNDS; stop++) {
        kept checkpoint = {0};
        double *rows = calloc((size_t)(n * (N_ROUNDS + 1)), sizeof *rows);
        /* stopped alone and gone on with together, and the other way round */
        const fbt_comm *before = stop % 2 == 0 ? self : world, *after = stop % 2 == 0 ? world : self;
        CHECK(run(&problem, before, model, NULL, 0, stop, rows, &checkpoint) == FBT_OK, "%s", c->name);
        CHECK(checkpoint.arrays[0].type == FBT_ARRAY_INT64, "%s: counters are integers", c->name);
        if (stop >= N_ROUNDS / 2 && problem.settings.fed.optimiser == FBT_OPTIMISER_CMA) { /* the only one of then */
            make_older(&checkpoint);
        }
        CHECK(run(&problem, after, model, checkpoint.arrays, stop + 1, N_ROUNDS, rows, &end) == FBT_OK, "%s: %s",
              c->name, fbt_error_message());
        CHECK(memcmp(rows, alone, (size_t)(n * (N_ROUNDS + 1)) * sizeof *rows) == 0, "%s, stopped after round %u",
              c->name, stop);
        for (int i = 0; whole.arrays[i].name != NULL; i++) {
            CHECK(end.arrays[i].n_values == whole.arrays[i].n_values &&
                      memcmp(end.values[i], whole.values[i],
                             (size_t)whole.arrays[i].n_values * FBT_ARRAY_VALUE_BYTES) == 0,
                  "%s, stopped after round %u: %s", c->name, stop, whole.arrays[i].name);
        }
        drop(&end);
        drop(&checkpoint);
        free(rows);
    }
    drop(&whole);
    free(alone);
    toy_model_free(model);
    toy_problem_clear(&problem);
}

/* Each rank gets a failure of its own or hears of rank 0's, and none waits for another. */
static void check_refused(const toy_problem *problem, const fbt_comm *world, fbt_model *model, const fbt_array *arrays,
                          const char *what)
{
    kept end = {0};
    double *rows = calloc((size_t)(toy_row_doubles(problem) * (N_ROUNDS + 1)), sizeof *rows);
    const fbt_status status = run(problem, world, model, arrays, N_ROUNDS, N_ROUNDS, rows, &end);
    CHECK(status == FBT_ERR_DATA || (rank != 0 && status == FBT_ERR_PEER), "%s: %s", what, fbt_status_text(status));
    CHECK(fbt_comm_agree(world, FBT_OK) == FBT_OK, "%s", what);
    fbt_error_clear();
    drop(&end);
    free(rows);
}

/* The value at one place of an array. */
static void put(const fbt_array *array, void *values, int64_t place, double value)
{
    if (array->type == FBT_ARRAY_INT64) {
        ((int64_t *)values)[place] = value > 0x1p62 ? INT64_MAX : (int64_t)value;
    } else {
        ((double *)values)[place] = value;
    }
}

static void check_damages(const fbt_comm *world, const fbt_comm *self, bool older)
{
    static const char *const same[] = {"fed.protocol=nvflare", NULL};
    static const char *const other[] = {"fed.protocol=nvflare", "cma.dimension=7", NULL};
    static const struct {
        const char *array;
        int64_t place;
        double value;
    } damages[] = {{"server_integers", 0, 99}, {"server_integers", 1, 7},   {"server_integers", 2, 1e300},
                   {"server_integers", 13, 1}, {"server_reals", 0, -1},     {"server_reals", 3, NAN},
                   {"step_size_local", 0, -1}, {"step_size_local", 0, NAN}, {"step_size_local", 0, 0}};
    toy_problem problem;
    kept checkpoint = {0};
    toy_problem_init(&problem, same);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    double *rows = calloc((size_t)(toy_row_doubles(&problem) * (N_ROUNDS + 1)), sizeof *rows);
    CHECK(run(&problem, self, model, NULL, 0, 2, rows, &checkpoint) == FBT_OK, "%s", fbt_error_message());
    if (older) {
        make_older(&checkpoint);
    }
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        for (int a = 0; checkpoint.arrays[a].name != NULL; a++) {
            if (strcmp(checkpoint.arrays[a].name, damages[i].array) == 0) {
                const int64_t sound = ((int64_t *)checkpoint.values[a])[damages[i].place]; /* the bits of either type */
                put(&checkpoint.arrays[a], checkpoint.values[a], damages[i].place, damages[i].value);
                check_refused(&problem, world, model, checkpoint.arrays, damages[i].array);
                ((int64_t *)checkpoint.values[a])[damages[i].place] = sound;
            }
        }
    }
    for (int a = 0; checkpoint.arrays[a].name != NULL; a++) {
        const fbt_array sound = checkpoint.arrays[a];
        checkpoint.arrays[a].n_values--;
        check_refused(&problem, world, model, checkpoint.arrays, "an array cut short");
        checkpoint.arrays[a] = sound;
        checkpoint.arrays[a].name = "something else";
        check_refused(&problem, world, model, checkpoint.arrays, "an array missing");
        checkpoint.arrays[a] = sound;
        if (!older) {
            checkpoint.arrays[a].type = sound.type == FBT_ARRAY_INT64 ? FBT_ARRAY_FLOAT64 : FBT_ARRAY_INT64;
            check_refused(&problem, world, model, checkpoint.arrays, "another type");
            checkpoint.arrays[a] = sound;
        }
    }
    toy_problem_clear(&problem);
    toy_problem_init(&problem, other);
    fbt_model *larger = toy_model_new(problem.settings.cma.dimension);
    check_refused(&problem, world, larger, checkpoint.arrays, "other settings");
    drop(&checkpoint);
    free(rows);
    toy_model_free(larger);
    toy_model_free(model);
    toy_problem_clear(&problem);
}

/* The call of fbt_memory_alloc, from 1, that fails on this rank; 0: none. */
static int64_t fault_at, n_calls;

fbt_status __real_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);
fbt_status __wrap_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);

fbt_status __wrap_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes)
{
    n_calls++;
    if (n_calls == fault_at) {
        memset(memory, 0, sizeof(void *));
        return fbt_fail(FBT_ERR_MEMORY, "allocation %lld fails", (long long)n_calls);
    }
    return __real_fbt_memory_alloc(memory, n_items, item_bytes);
}

/* No hang and no leak when one rank has no memory at any place of a restore. */
static void check_memory(const fbt_comm *world, const fbt_comm *self, int failing)
{
    static const char *const assignments[] = {"fed.protocol=nvflare", NULL};
    toy_problem problem;
    kept checkpoint = {0};
    fbt_federation *federation = NULL;
    toy_problem_init(&problem, assignments);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    double *rows = calloc((size_t)(toy_row_doubles(&problem) * (N_ROUNDS + 1)), sizeof *rows);
    CHECK(run(&problem, self, model, NULL, 0, 1, rows, &checkpoint) == FBT_OK, "%s", fbt_error_message());
    CHECK(toy_federation_new(&problem, world, model, &federation) == FBT_OK, "%s", fbt_error_message());
    fbt_status status = FBT_ERR_MEMORY;
    int64_t place = 0;
    while (status != FBT_OK && place < 1000) {
        place++;
        n_calls = 0;
        fault_at = rank == failing ? place : 0;
        status = fbt_federation_restore(federation, rank == 0 ? checkpoint.arrays : NULL, &FBT_NO_BEST_ROUND);
        fault_at = 0;
        CHECK(status == FBT_OK || status == (rank == failing ? FBT_ERR_MEMORY : FBT_ERR_PEER), "%s",
              fbt_status_text(status));
        fbt_error_clear();
    }
    CHECK(place > 4 && place < 1000, "%lld places", (long long)place);
    fbt_federation_free(federation);
    drop(&checkpoint);
    free(rows);
    toy_model_free(model);
    toy_problem_clear(&problem);
}

static void check_all(fbt_comm *world, fbt_comm *self)
{
    for (int i = 0; i < N_CASES; i++) {
        check_case(&cases[i], world, self);
    }
    check_damages(world, self, false);
    check_damages(world, self, true);
    for (int failing = 0; failing<size; failing += size> 1 ? size - 1 : 1) {
        check_memory(world, self, failing);
    }
}

int main(int argc, char **argv)
{
    return run_checks(argc, argv, check_all);
}
