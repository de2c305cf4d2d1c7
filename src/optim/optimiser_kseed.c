/* Gradient descent along a finite pool of random directions v_j, each drawn from its own seed j: the mean is
 * z_0 + sum_j a_j v_j, so that the accumulators a_j are all that needs to be sent (the shape).
 *
 * Source: Qin et al. 2024, "Federated full-parameter tuning of billion-sized language models with communication cost
 * under 18 kilobytes" (FedKSeed), ICML, arXiv 2312.06353, and its authors' code: every pair takes one of the K seeds,
 * all equally likely; a step goes against the two-point estimate along its direction, without momentum and at one rate
 * for ever; scalars of the same seed add up. Steps are counted in step sizes: with the paper's rate eta and its
 * epsilon, the step size, es.learning_rate is eta / epsilon^2. */
#include "optim/search.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char pool_name[] = "pool";

/* void pointers of this file's functions are of it, those of fbt_search's of its first member. */
typedef struct pool_search {
    fbt_search search;
    double *pool;   /* [d + K]: z_0, a                                                  */
    int64_t *asked; /* [population / 2]: seeds of the last pairs; -1: none was asked for */
    gsl_rng *rng;
} pool_search;

static int64_t n_pairs(const fbt_optimiser_options *options)
{
    return options->population / 2;
}

static double *accumulators(const pool_search *p)
{
    return p->pool + p->search.options.dimension;
}

static int64_t n_pool(const pool_search *p)
{
    return p->search.options.dimension + p->search.options.es.seeds;
}

static void free_pool(void *self)
{
    pool_search *p = self;
    if (p != NULL) {
        fbt_search_clear(&p->search);
        free(p->pool);
        free(p->asked);
        gsl_rng_free(p->rng);
        free(p);
    }
}

static void forget_asked(pool_search *p)
{
    for (int64_t i = 0; i < n_pairs(&p->search.options); i++) {
        p->asked[i] = -1;
    }
}

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    fbt_status status = FBT_OK;
    pool_search *p = NULL;
    FBT_TRY(fbt_memory_alloc(&p, 1, sizeof *p));
    FBT_TRY(fbt_search_init(&p->search, options, mean, step_size, 0, 0));
    FBT_TRY(fbt_memory_alloc(&p->pool, n_pool(p), sizeof *p->pool));
    FBT_TRY(fbt_memory_alloc(&p->asked, n_pairs(options), sizeof *p->asked));
    FBT_TRY(fbt_rng_new(&p->rng));
    memcpy(p->pool, mean, (size_t)options->dimension * sizeof *mean);
    forget_asked(p);
    *self = p;
    p = NULL;
done:
    free_pool(p);
    return status;
}

static fbt_status restart_from(void *self, void *server, double step_size)
{
    pool_search *p = self;
    const pool_search *from = server;
    if (n_pool(p) != n_pool(from)) {
        return fbt_fail(FBT_ERR_ARG, "a search of %" PRId64 " numbers cannot restart from one of %" PRId64, n_pool(p),
                        n_pool(from));
    }
    memcpy(p->pool, from->pool, (size_t)n_pool(p) * sizeof *p->pool);
    forget_asked(p);
    return fbt_search_restart_from(&p->search, server, step_size);
}

/* v_j: [d], the same for every search of a run; rounds count from 1, so that no candidate's stream is met. */
static void draw_direction(const pool_search *p, int64_t j, double *v)
{
    const fbt_rng_stream stream = {.seed = p->search.options.es.pool_seed, .purpose = FBT_RNG_SERVER, .round = 0};
    fbt_search_draw(p->rng, &stream, j, p->search.options.dimension, v);
}

static int64_t draw_seed(const pool_search *p, gsl_rng *rng, const fbt_rng_stream *stream, int64_t candidate)
{
    fbt_rng_stream own = *stream;
    own.candidate = (uint32_t)candidate;
    fbt_rng_seek(rng, &own);
    return (int64_t)gsl_rng_uniform_int(rng, (unsigned long)p->search.options.es.seeds);
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    pool_search *p = self;
    const fbt_search *s = &p->search;
    for (int64_t c = 0; c < s->options.population; c += 2) {
        double *pair = x + c * s->options.dimension;
        p->asked[c / 2] = draw_seed(p, rng, stream, c);
        draw_direction(p, p->asked[c / 2], pair);
        fbt_search_place_pair(s, pair);
    }
    return FBT_OK;
}

static fbt_status step(pool_search *p, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    fbt_search *s = &p->search;
    const int64_t d = s->options.dimension;
    for (int64_t c = 0; c < s->options.population; c += 2) {
        double slope;
        FBT_TRY(fbt_search_pair_slope(s, fitness, c, &slope));
        const double length = s->step_size * s->options.es.learning_rate * slope;
        accumulators(p)[p->asked[c / 2]] -= length;
        for (int64_t i = 0; i < d; i++) {
            s->mean[i] -= length * fbt_search_pair_element(s, x + c * d, i);
        }
    }
done:
    return status;
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    pool_search *p = self;
    if (p->asked[0] < 0) {
        FBT_FAIL(FBT_ERR_ARG, "a search along a pool of directions is told of candidates that it was not asked for");
    }
    FBT_TRY(fbt_search_rank(&p->search, n, x, fitness));
    FBT_TRY(step(p, x, fitness));
    p->search.generation++;
    FBT_TRY(fbt_search_check_mean(&p->search));
done:
    return status;
}

static int64_t n_shape(const fbt_optimiser_options *options)
{
    return options->es.seeds;
}

static fbt_status get_shape(void *self, double *shape)
{
    const pool_search *p = self;
    memcpy(shape, accumulators(p), (size_t)p->search.options.es.seeds * sizeof *shape);
    return FBT_OK;
}

/* Makes the mean anew from its seeds, which gives the same bits to all who have the same accumulators. */
static void rebuild_mean(pool_search *p)
{
    fbt_search *s = &p->search;
    const int64_t d = s->options.dimension;
    memcpy(s->mean, p->pool, (size_t)d * sizeof *s->mean);
    for (int64_t j = 0; j < s->options.es.seeds; j++) {
        const double a = accumulators(p)[j];
        if (a != 0) {
            draw_direction(p, j, s->scratch);
            for (int64_t i = 0; i < d; i++) {
                s->mean[i] += a * s->scratch[i];
            }
        }
    }
}

static fbt_status set_shape(void *self, const double *shape)
{
    pool_search *p = self;
    memmove(accumulators(p), shape, (size_t)p->search.options.es.seeds * sizeof *shape);
    rebuild_mean(p);
    return fbt_search_check_mean(&p->search);
}

/* Nothing but the mean is adapted. */
static fbt_status reset(void *self)
{
    ((pool_search *)self)->search.n_resets++;
    return FBT_OK;
}

static fbt_status export(const void *self, const char *prefix, fbt_array_list *arrays)
{
    fbt_status status = FBT_OK;
    const pool_search *p = self;
    char name[FBT_OPTIMISER_NAME_BYTES];
    FBT_TRY(fbt_search_export(&p->search, prefix, arrays));
    fbt_optimiser_array_name(prefix, pool_name, name);
    FBT_TRY(fbt_array_list_add(arrays, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = n_pool(p),
                                                    .values = p->pool,
                                                    .long_name = "where the search began, accumulators of its seeds"}));
done:
    return status;
}

static fbt_status import(void *self, const char *prefix, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    pool_search *p = self;
    const fbt_array *pool;
    char name[FBT_OPTIMISER_NAME_BYTES];
    fbt_optimiser_array_name(prefix, pool_name, name);
    FBT_TRY(fbt_array_get_reals(arrays, name, &pool));
    if (pool->n_values != n_pool(p)) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s is damaged, or was written with another es.seeds", name);
    }
    FBT_TRY(fbt_search_import(&p->search, prefix, arrays));
    memcpy(p->pool, pool->values, (size_t)n_pool(p) * sizeof *p->pool);
    forget_asked(p);
done:
    return status;
}

const fbt_optimiser_type fbt_optimiser_kseed = {
    .collapse = "never",
    .asks_pairs = true,
    .check = fbt_search_check_pairs,
    .new = new,
    .free = free_pool,
    .restart_from = restart_from,
    .settle = fbt_search_settle,
    .reset = reset,
    .ask = ask,
    .tell = tell,
    .mean = fbt_search_mean,
    .step_size = fbt_search_step_size,
    .set_step_size = fbt_search_set_step_size,
    .n_shape = n_shape,
    .n_shape_changed = n_pairs,
    .get_shape = get_shape,
    .set_shape = set_shape,
    .health = fbt_search_ball_health,
    .export = export,
    .import = import,
};
