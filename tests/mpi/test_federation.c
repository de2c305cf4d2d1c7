/* Whole federations with the toy model, on any number of ranks: the same numbers as on one, and no hang when one rank
 * fails alone. Failures are counted, and the job's count is every rank's exit status. */
#include "base/memory.h"
#include "mpi_test.h"
#include "optim/cma.h"
#include "toy.h"

#include <stdlib.h>
#include <string.h>

enum { N_ROUNDS = 3, MAX_ASSIGNMENTS = 12 };

/* ---- The same numbers on any number of ranks ---- */

typedef struct run_case {
    const char *name;
    const char *assignments[MAX_ASSIGNMENTS];
} run_case;

/* Each adds what could tie a result to a rank: which clients are hosted where, who takes part, whether C is dense, what
 * is deferred, in which order things are added. */
static const run_case cases[] = {
    {"nvflare", {"fed.protocol=nvflare"}},
    {"nvflare, some take part, perturbed",
     {"fed.protocol=nvflare", "fed.participation=0.5", "perturb.rate=0.4", "perturb.fitness=sum_of_ratios"}},
    {"nvflare, shared seeds, pycma's constants",
     {"fed.protocol=nvflare", "fed.client_seeds=shared", "cma.constants=pycma", "cma.decomposition=eigen"}},
    {"nvflare, deferred updates", {"fed.protocol=nvflare", "cma.dimension=40", "fed.participation=0.75"}},
    {"paper, Dirichlet", {"fed.protocol=paper", "fed.partition=dirichlet", "fed.dirichlet_alpha=0.3"}},
    {"paper, separable, perturbed everywhere",
     {"fed.protocol=paper", "cma.covariance=separable", "perturb.rate=0.8", "perturb.scope=all"}},
    {"fedavg-bbt, full", {"fed.protocol=fedavg-bbt", "cma.covariance=full", "fed.participation=0.75"}},
    {"fedavg-bbt, separable", {"fed.protocol=fedavg-bbt", "cma.covariance=separable"}},
    {"fedavg-bbt, isotropic, one takes part",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.participation=0.25"}},
    {"fedavg-bbt, full, float64", {"fed.protocol=fedavg-bbt", "cma.covariance=full", "fed.wire=float64"}},
    {"fedavg-bbt, by samples",
     {"fed.protocol=fedavg-bbt", "cma.covariance=full", "fed.weighting=samples", "fed.participation=0.75"}},
    {"a client alone", {"fed.protocol=fedavg-bbt", "fed.only_client=1", "fed.average_means=2"}},
    {"paper, by improvement", {"fed.protocol=paper", "fed.ranking=improvement", "perturb.rate=0.4"}},
    {"synchronous, float64, eigen", {"fed.protocol=synchronous", "fed.wire=float64", "cma.decomposition=eigen"}},
    {"synchronous", {"fed.protocol=synchronous", "cma.constants=pycma"}},
    {"synchronous, some take part, perturbed",
     {"fed.protocol=synchronous", "fed.participation=0.5", "perturb.rate=0.4"}},
    {"openai-es", {"fed.protocol=synchronous", "fed.optimiser=openai-es", "fed.participation=0.75"}},
    {"openai-es of clients", {"fed.protocol=fedavg-bbt", "fed.optimiser=openai-es", "es.weight_decay=0.1"}},
    {"spsa", {"fed.protocol=synchronous", "fed.optimiser=spsa", "perturb.rate=0.4"}},
    {"spsa of clients", {"fed.protocol=fedavg-bbt", "fed.optimiser=spsa", "fed.participation=0.75"}},
    {"lm-ma", {"fed.protocol=synchronous", "fed.optimiser=lm-ma", "cma.dimension=40"}},
    {"lm-ma of clients", {"fed.protocol=fedavg-bbt", "fed.optimiser=lm-ma"}},
    {"cem", {"fed.protocol=synchronous", "fed.optimiser=cem"}},
    {"cem, nvflare", {"fed.protocol=nvflare", "fed.optimiser=cem", "fed.participation=0.75"}},
    {"cem, paper, some drop out", {"fed.protocol=paper", "fed.optimiser=cem", "faults.dropout=0.3"}},
    {"cem, paper, float64", {"fed.protocol=paper", "fed.optimiser=cem", "fed.wire=float64"}},
    {"cem, fedavg-bbt", {"fed.protocol=fedavg-bbt", "fed.optimiser=cem", "fed.participation=0.75"}},
    {"random", {"fed.protocol=synchronous", "fed.optimiser=random", "fed.participation=0.5"}},
    {"nvflare, bounded points", {"fed.protocol=nvflare", "cma.norm_bound=0.5", "cma.norm_growth=0.1"}},
    {"feedsign", {"fed.protocol=feedsign", "fed.optimiser=spsa", "fed.participation=0.75"}},
    {"bdpl",
     {"fed.protocol=synchronous", "fed.optimiser=bdpl", "prompt.projection=words", "prompt.mode=input",
      "prompt.tokens=6", "prompt.vocabulary=9", "es.learning_rate=0.1", "perturb.rate=0.4"}},
    {"bdpl of clients, one takes part",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=bdpl", "prompt.projection=words", "prompt.mode=input",
      "prompt.tokens=6", "prompt.vocabulary=9", "es.learning_rate=0.1", "fed.participants=1"}},
    {"bdpl of clients, 4 bits",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=bdpl", "prompt.projection=words", "prompt.mode=input",
      "prompt.tokens=6", "prompt.vocabulary=9", "fed.quantise_bits=4"}},
    {"random of clients", {"fed.protocol=fedavg-bbt", "fed.optimiser=random"}},
    {"kseed", {"fed.protocol=synchronous", "fed.optimiser=kseed", "es.seeds=5", "fed.participation=0.75"}},
    {"kseed of clients, by samples", {"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "fed.weighting=samples"}},
    {"kseed of clients, 2 bits, error feedback, some drop out",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "es.seeds=9", "fed.quantise_bits=2", "fed.error_feedback=true",
      "faults.dropout=0.3"}},
    {"kseed of clients, private, secure",
     {"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "es.seeds=9", "fed.secure_aggregation=true", "privacy.clip=0.1",
      "privacy.noise_multiplier=0.1"}},
    {"synchronous, unequal clients",
     {"fed.protocol=synchronous", "fed.sizes=dirichlet", "fed.size_alpha=0.5", "perturb.rate=0.4"}},
    {"paper, unequal clients and mixes, some take part",
     {"fed.protocol=paper", "fed.sizes=lognormal", "fed.partition=dirichlet", "fed.participation=0.75"}},
    {"nvflare, 4 bits", {"fed.protocol=nvflare", "fed.quantise_bits=4"}},
    {"fedavg-bbt, full, 8 bits", {"fed.protocol=fedavg-bbt", "cma.covariance=full", "fed.quantise_bits=8"}},
    {"synchronous, 1 bit", {"fed.protocol=synchronous", "fed.quantise_bits=1", "fed.wire=float64"}},
    {"fedavg-bbt, private, some take part",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "privacy.clip=2", "privacy.noise_multiplier=0.5",
      "fed.participation=0.75"}},
    {"synchronous, private, secure",
     {"fed.protocol=synchronous", "privacy.clip=0.5", "privacy.noise_multiplier=1", "fed.secure_aggregation=true"}},
    {"fedavg-bbt, weighted, private, secure",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.weighting=samples", "fed.secure_aggregation=true",
      "privacy.clip=2", "privacy.noise_multiplier=0.1"}},
    {"fedavg-bbt, weighted, secure",
     {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.weighting=samples", "fed.secure_aggregation=true"}},
    {"synchronous, secure", {"fed.protocol=synchronous", "fed.secure_aggregation=true", "fed.participation=0.5"}},
    {"paper, 1 bit, error feedback, some take part",
     {"fed.protocol=paper", "fed.quantise_bits=1", "fed.error_feedback=true", "fed.participation=0.5"}},
    {"nvflare, half drop out, mirrored", {"fed.protocol=nvflare", "faults.dropout=0.5", "cma.constants=pycma"}},
    {"paper, half drop out by client",
     {"fed.protocol=paper", "faults.dropout=0.5", "faults.dropout_kind=client", "cma.covariance=separable"}},
    {"fedavg-bbt, full, two in three drop out",
     {"fed.protocol=fedavg-bbt", "cma.covariance=full", "faults.dropout=0.67"}},
    {"synchronous, over-selected, with a deadline",
     {"fed.protocol=synchronous", "fed.participation=0.5", "fed.over_selection=1.5", "faults.dropout=0.2",
      "pace.compute_seconds=20", "pace.compute_sigma=1", "pace.bytes_per_second=1000", "pace.bandwidth_sigma=1",
      "pace.deadline_seconds=1.2"}},
    {"nobody reports", {"fed.protocol=nvflare", "faults.dropout=1", "pace.latency_seconds=0.5"}},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* A finished run as doubles: the rows, then the last checkpoint. */
typedef struct run_result {
    double *doubles;
    int64_t n;
    int64_t largest_batch;
    int most_streams_at_once;
} run_result;

static void keep_checkpoint(fbt_federation *federation, run_result *result)
{
    const fbt_array *arrays;
    CHECK(fbt_federation_checkpoint(federation, &arrays) == FBT_OK, "%s", fbt_error_message());
    for (; arrays->name != NULL; arrays++) {
        result->doubles = realloc(result->doubles, (size_t)(result->n + arrays->n_values) * sizeof(double));
        memcpy(result->doubles + result->n, arrays->values, (size_t)arrays->n_values * FBT_ARRAY_VALUE_BYTES);
        result->n += arrays->n_values;
    }
}

/* Runs on `world`; on failure the status of the first call that failed. */
static fbt_status run(const toy_problem *problem, const fbt_comm *world, fbt_model *model, run_result *result)
{
    fbt_status status = FBT_OK;
    const int64_t n = toy_row_doubles(problem);
    fbt_federation *federation = NULL;
    fbt_round_row row;
    *result = (run_result){.doubles = calloc((size_t)(n * (N_ROUNDS + 1)), sizeof(double)), .n = n * (N_ROUNDS + 1)};
    FBT_TRY(toy_federation_new(problem, world, model, &federation));
    FBT_TRY(fbt_federation_start(federation, &row));
    toy_row_copy(problem, &row, result->doubles);
    for (uint32_t round = 1; round <= N_ROUNDS; round++) {
        FBT_TRY(fbt_federation_round(federation, round, round != 2, &row));
        toy_row_copy(problem, &row, result->doubles + round * n);
    }
    keep_checkpoint(federation, result);
    result->largest_batch = model->largest.n_rows;
    result->most_streams_at_once = model->most_streams_at_once;
done:
    fbt_federation_free(federation);
    return status;
}

/* One case with batches of at most `batch_tokens` rows on n_streams streams, of which two and more share prompts. */
static run_result run_alone_or_together(const run_case *c, const fbt_comm *world, const char *batch_tokens,
                                        int n_streams)
{
    toy_problem problem;
    run_result result;
    const char *assignments[MAX_ASSIGNMENTS + 1] = {batch_tokens};
    memcpy(assignments + 1, c->assignments, sizeof c->assignments);
    toy_problem_init(&problem, assignments);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    model->n_streams = n_streams;
    model->options.full_sequences = n_streams == 1;
    const fbt_status status = run(&problem, world, model, &result);
    CHECK(status == FBT_OK, "%s: %s: %s", c->name, fbt_status_text(status), fbt_error_message());
    toy_model_free(model);
    toy_problem_clear(&problem);
    return result;
}

/* Broken by: a loss summed where a batch was cut, a slot filled twice or by nobody, a candidate drawn from the wrong
 * stream, a server that changed where it hosts clients only, -0.0, a client that missed a restart. */
static void check_case(const run_case *c, const fbt_comm *world, const fbt_comm *self)
{
    run_result alone = run_alone_or_together(c, self, "backend.batch_tokens=100000", 1);
    const char *const cuts[] = {"backend.batch_tokens=1", "backend.batch_tokens=33", "backend.batch_tokens=100000"};
    for (int i = 0; i < 3; i++) {
        const int n_streams = 3 - i;
        run_result together = run_alone_or_together(c, world, cuts[i], n_streams);
        CHECK(together.most_streams_at_once <= n_streams, "%s", c->name);
        CHECK(together.n == alone.n, "%s", c->name);
        for (int64_t k = 0; k < alone.n && k < together.n; k++) {
            if (memcmp(alone.doubles + k, together.doubles + k, sizeof(double)) != 0) {
                CHECK(false, "%s, %s: value %lld of %lld is %.17g instead of %.17g", c->name, cuts[i], (long long)k,
                      (long long)alone.n, together.doubles[k], alone.doubles[k]);
                break;
            }
        }
        CHECK(i > 1 || together.largest_batch <= 33, "%s: a batch of %lld rows", cuts[i],
              (long long)together.largest_batch);
        free(together.doubles);
    }
    free(alone.doubles);
}

/* ---- One rank fails alone ---- */

/* The call, counted from 1 over all wrapped functions, that fails on this rank. 0: none. */
static int64_t fault_at, n_calls;

static fbt_status fault(void)
{
    n_calls++;
    return n_calls == fault_at ? fbt_fail(FBT_ERR_MEMORY, "call %lld fails", (long long)n_calls) : FBT_OK;
}

#define WRAP(name, parameters, arguments)                                                                              \
    fbt_status __real_##name parameters;                                                                               \
    fbt_status __wrap_##name parameters;                                                                               \
    fbt_status __wrap_##name parameters                                                                                \
    {                                                                                                                  \
        const fbt_status status = fault();                                                                             \
        return status == FBT_OK ? __real_##name arguments : status;                                                    \
    }
WRAP(fbt_cma_ask_all, (fbt_cma * cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x), (cma, rng, stream, x))
WRAP(fbt_cma_tell, (fbt_cma * cma, int64_t n, const double *x, const double *fitness), (cma, n, x, fitness))
WRAP(fbt_cma_tell_foreign, (fbt_cma * cma, int64_t n, const double *x, const double *fitness, const bool *is_foreign),
     (cma, n, x, fitness, is_foreign))
WRAP(fbt_cma_set_step_size, (fbt_cma * cma, double step_size), (cma, step_size))
WRAP(fbt_cma_set_mean, (fbt_cma * cma, const double *mean), (cma, mean))
WRAP(fbt_cma_set_covariance, (fbt_cma * cma, const double *covariance), (cma, covariance))
WRAP(fbt_cma_covariance_full, (fbt_cma * cma, double *covariance), (cma, covariance))
WRAP(fbt_cma_covariance_diagonal, (fbt_cma * cma, double *diagonal), (cma, diagonal))
WRAP(fbt_cma_restart_from, (fbt_cma * local, fbt_cma *server, double step_size), (local, server, step_size))

fbt_status __real_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);
fbt_status __wrap_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);
fbt_status __wrap_fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes)
{
    const void *none = NULL;
    const fbt_status status = fault();
    memcpy(memory, &none, sizeof none);
    return status == FBT_OK ? __real_fbt_memory_alloc(memory, n_items, item_bytes) : status;
}

/* A local search that hosts several clients scores some on one stream while others step. Broken by a search that waits
 * for what it has started before it starts more. */
static void check_streams(const fbt_comm *self)
{
    const run_case *c = &cases[0];
    for (int n_streams = 1; n_streams <= TOY_MAX_LANES; n_streams++) {
        run_result result = run_alone_or_together(c, self, "backend.batch_tokens=100000", n_streams);
        CHECK(result.most_streams_at_once == n_streams, "%d of %d streams", result.most_streams_at_once, n_streams);
        free(result.doubles);
    }
}

/* Broken by a rank that waits while others search: by clients that stay where they are, whoever takes part. */
static void check_that_all_work(const fbt_comm *world)
{
    static const char *const some_take_part[] = {"fed.participation=0.5", NULL};
    toy_problem problem;
    fbt_federation *federation = NULL;
    fbt_round_row row;
    toy_problem_init(&problem, some_take_part);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    CHECK(toy_federation_new(&problem, world, model, &federation) == FBT_OK, "%s", fbt_error_message());
    for (uint32_t round = 1; round <= 10; round++) {
        const int64_t n_before = model->n_calls;
        CHECK(fbt_federation_round(federation, round, false, &row) == FBT_OK, "%s", fbt_error_message());
        CHECK(model->n_calls > n_before, "there was nothing to do in round %d", (int)round);
    }
    fbt_federation_free(federation);
    toy_model_free(model);
    toy_problem_clear(&problem);
}

/* Start and one round, in which this rank's call number `place` fails; 0: none. */
static fbt_status run_short(const toy_problem *problem, const fbt_comm *world, fbt_model *model, int64_t place)
{
    fbt_status status = FBT_OK;
    fbt_federation *federation = NULL;
    fbt_round_row row;
    n_calls = 0;
    fault_at = place;
    FBT_TRY(toy_federation_new(problem, world, model, &federation));
    FBT_TRY(fbt_federation_start(federation, &row));
    FBT_TRY(fbt_federation_round(federation, 1, true, &row));
done:
    fault_at = 0;
    fbt_federation_free(federation);
    return status;
}

/* After a failure on rank `failing` alone: every rank has failed, and all stand at the same place. A rank that went on
 * or came back early would meet another's Allreduce here, or wait for ever. */
static void check_failed(const fbt_comm *world, fbt_status status, fbt_status own, int failing, const char *what,
                         int64_t place)
{
    int64_t sum = 1000 + rank;
    fbt_comm_sum_int(world, &sum, 1);
    CHECK(sum == 1000 * size + size * (size - 1) / 2, "%s: the ranks are out of step after call %lld", what,
          (long long)place);
    CHECK(status == (rank == failing ? own : FBT_ERR_PEER), "%s: %s after call %lld failed on rank %d", what,
          fbt_status_text(status), (long long)place, failing);
    fbt_error_clear();
}

static int64_t of_rank(const fbt_comm *world, int64_t value, int from)
{
    int64_t given = rank == from ? value : 0;
    fbt_comm_sum_int(world, &given, 1);
    return given;
}

static const run_case fault_cases[] = {
    {"nvflare", {"fed.protocol=nvflare", "perturb.rate=0.4"}},
    {"paper", {"fed.protocol=paper", "fed.participation=0.75"}},
    {"fedavg-bbt", {"fed.protocol=fedavg-bbt", "cma.covariance=separable"}},
    {"synchronous", {"fed.protocol=synchronous"}},
    {"fedavg-bbt, half drop out", {"fed.protocol=fedavg-bbt", "faults.dropout=0.5"}},
    {"cem, nvflare", {"fed.protocol=nvflare", "fed.optimiser=cem"}},
    {"nvflare, some drop out", {"fed.protocol=nvflare", "faults.dropout=0.3"}},
};
enum { N_FAULT_CASES = sizeof fault_cases / sizeof fault_cases[0] };

/* All n places of a run, which with the leak checker also shows that every path frees; with many ranks some, spread
 * out. */
static int64_t n_places(int64_t n)
{
    const int64_t most = size <= 3 ? n : 40;
    return n < most ? n : most;
}

/* Every place where an allocation or a step of the optimiser can fail, on the first and on the last rank. Broken by any
 * rank-local failure that is not agreed on before the next collective call. */
static void check_faults(const run_case *c, const fbt_comm *world, int failing)
{
    toy_problem problem;
    toy_problem_init(&problem, c->assignments);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    model->n_streams = 2;
    CHECK(run_short(&problem, world, model, 0) == FBT_OK, "%s: %s", c->name, fbt_error_message());
    const int64_t n = of_rank(world, n_calls, failing);
    for (int64_t i = 0; i < n_places(n); i++) {
        const int64_t place = 1 + (2 * i + 1) * n / (2 * n_places(n));
        const fbt_status status = run_short(&problem, world, model, rank == failing ? place : 0);
        check_failed(world, status, FBT_ERR_MEMORY, failing, c->name, place);
    }
    toy_model_free(model);
    toy_problem_clear(&problem);
}

/* A forward pass that fails, or gives a NaN, on one rank. A NaN in the scores of the server's mean reaches all ranks,
 * which then all name it themselves. */
static void check_model_faults(const run_case *c, const fbt_comm *world, int failing)
{
    toy_problem problem;
    toy_problem_init(&problem, c->assignments);
    fbt_model *model = toy_model_new(problem.settings.cma.dimension);
    model->n_streams = 2;
    CHECK(run_short(&problem, world, model, 0) == FBT_OK, "%s: %s", c->name, fbt_error_message());
    const int64_t n = of_rank(world, model->n_calls, failing);
    for (int64_t call = 1; call <= n; call++) {
        model->n_calls = 0;
        model->fail_call = rank == failing ? call : 0;
        check_failed(world, run_short(&problem, world, model, 0), FBT_ERR_BACKEND, failing, c->name, call);
        model->fail_call = 0;
        model->n_calls = 0;
        model->nan_call = rank == failing ? call : 0;
        const fbt_status status = run_short(&problem, world, model, 0);
        model->nan_call = 0;
        CHECK(rank == failing ? status == FBT_ERR_NUMERIC : status == FBT_ERR_NUMERIC || status == FBT_ERR_PEER,
              "%s: NaN in call %lld: %s", c->name, (long long)call, fbt_status_text(status));
        CHECK(fbt_comm_agree(world, FBT_OK) == FBT_OK, "%s", c->name);
        fbt_error_clear();
    }
    toy_model_free(model);
    toy_problem_clear(&problem);
}

static void check_all(fbt_comm *world, fbt_comm *self)
{
    for (int i = 0; i < N_CASES; i++) {
        check_case(&cases[i], world, self);
    }
    check_streams(self);
    check_that_all_work(world);
    for (int i = 0; i < N_FAULT_CASES; i++) {
        for (int failing = 0; failing<size; failing += size> 1 ? size - 1 : 1) {
            check_faults(&fault_cases[i], world, failing);
            check_model_faults(&fault_cases[i], world, failing);
        }
    }
}

int main(int argc, char **argv)
{
    return run_checks(argc, argv, check_all);
}
