#include "optim/optimiser.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct fbt_optimiser {
    const fbt_optimiser_type *type;
    fbt_optimiser_options options;
    void *self;
};

const fbt_optimiser_type *fbt_optimiser_type_get(fbt_optimiser_kind kind)
{
    static const fbt_optimiser_type *const types[] = {
#define FBT_OPTIMISER_OBJECT(value, name, object, ...) [value] = &(object),
        FBT_OPTIMISER_LIST(FBT_OPTIMISER_OBJECT)
#undef FBT_OPTIMISER_OBJECT
    };
    return types[kind];
}

fbt_status fbt_optimiser_check(const fbt_optimiser_options *options)
{
    const fbt_optimiser_type *type = fbt_optimiser_type_get(options->kind);
    return type->check == NULL ? FBT_OK : type->check(options);
}

bool fbt_optimiser_learns_foreign(fbt_optimiser_kind kind)
{
    return fbt_optimiser_type_get(kind)->tell_foreign != NULL;
}

bool fbt_optimiser_mean_follows_shape(fbt_optimiser_kind kind)
{
    return fbt_optimiser_type_get(kind)->set_mean == NULL;
}

fbt_status fbt_optimiser_new_of(const fbt_optimiser_type *type, const fbt_optimiser_options *options,
                                const double *mean, double step_size, fbt_optimiser **optimiser)
{
    fbt_status status = FBT_OK;
    fbt_optimiser *made = NULL;
    double *zero = NULL;
    *optimiser = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(type->check == NULL ? FBT_OK : type->check(options));
    made->type = type;
    made->options = *options;
    FBT_TRY(mean == NULL ? fbt_memory_alloc(&zero, options->dimension, sizeof *zero) : FBT_OK);
    FBT_TRY(type->new (options, mean == NULL ? zero : mean, step_size, &made->self));
    *optimiser = made;
    made = NULL;
done:
    free(made);
    free(zero);
    return status;
}

fbt_status fbt_optimiser_new(const fbt_optimiser_options *options, const double *mean, double step_size,
                             fbt_optimiser **optimiser)
{
    return fbt_optimiser_new_of(fbt_optimiser_type_get(options->kind), options, mean, step_size, optimiser);
}

void fbt_optimiser_free(fbt_optimiser *optimiser)
{
    if (optimiser != NULL) {
        optimiser->type->free(optimiser->self);
        free(optimiser);
    }
}

fbt_status fbt_optimiser_restart_from(fbt_optimiser *local, fbt_optimiser *server, double step_size)
{
    if (local->type != server->type) {
        return fbt_fail(FBT_ERR_ARG, "a search cannot restart from an optimiser of another type");
    }
    return local->type->restart_from(local->self, server->self, step_size);
}

fbt_status fbt_optimiser_settle(fbt_optimiser *optimiser)
{
    return optimiser->type->settle(optimiser->self);
}

fbt_status fbt_optimiser_reset(fbt_optimiser *optimiser)
{
    return optimiser->type->reset(optimiser->self);
}

fbt_status fbt_optimiser_ask(fbt_optimiser *optimiser, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    return optimiser->type->ask(optimiser->self, rng, stream, x);
}

fbt_status fbt_optimiser_tell(fbt_optimiser *optimiser, int64_t n, const double *x, const double *fitness)
{
    return optimiser->type->tell(optimiser->self, n, x, fitness);
}

fbt_status fbt_optimiser_tell_foreign(fbt_optimiser *optimiser, int64_t n, const double *x, const double *fitness)
{
    if (optimiser->type->tell_foreign == NULL) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "this optimiser learns from its own candidates alone");
    }
    return optimiser->type->tell_foreign(optimiser->self, n, x, fitness);
}

const double *fbt_optimiser_mean(const fbt_optimiser *optimiser)
{
    return optimiser->type->mean(optimiser->self);
}

double fbt_optimiser_step_size(const fbt_optimiser *optimiser)
{
    return optimiser->type->step_size(optimiser->self);
}

fbt_status fbt_optimiser_set_mean(fbt_optimiser *optimiser, const double *mean)
{
    if (optimiser->type->set_mean == NULL) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "the mean of this optimiser follows from its shape");
    }
    return optimiser->type->set_mean(optimiser->self, mean);
}

fbt_status fbt_optimiser_set_step_size(fbt_optimiser *optimiser, double step_size)
{
    return optimiser->type->set_step_size(optimiser->self, step_size);
}

int64_t fbt_optimiser_n_shape(const fbt_optimiser_options *options)
{
    return fbt_optimiser_type_get(options->kind)->n_shape(options);
}

fbt_status fbt_optimiser_get_shape(fbt_optimiser *optimiser, double *shape)
{
    return optimiser->type->get_shape(optimiser->self, shape);
}

fbt_status fbt_optimiser_set_shape(fbt_optimiser *optimiser, const double *shape)
{
    return optimiser->type->set_shape(optimiser->self, shape);
}

void fbt_optimiser_health_get(const fbt_optimiser *optimiser, fbt_optimiser_health *health)
{
    optimiser->type->health(optimiser->self, health);
}

const fbt_optimiser_options *fbt_optimiser_options_of(const fbt_optimiser *optimiser)
{
    return &optimiser->options;
}

const fbt_optimiser_type *fbt_optimiser_type_of(const fbt_optimiser *optimiser)
{
    return optimiser->type;
}

fbt_status fbt_optimiser_export(const fbt_optimiser *optimiser, const char *prefix, fbt_array_list *arrays)
{
    return optimiser->type->export(optimiser->self, prefix, arrays);
}

fbt_status fbt_optimiser_import(fbt_optimiser *optimiser, const char *prefix, const fbt_array *arrays)
{
    return optimiser->type->import(optimiser->self, prefix, arrays);
}

void fbt_optimiser_array_name(const char *prefix, const char *what, char name[FBT_OPTIMISER_NAME_BYTES])
{
    snprintf(name, FBT_OPTIMISER_NAME_BYTES, "%s%s", prefix, what);
}

void *fbt_optimiser_self(const fbt_optimiser *optimiser, const fbt_optimiser_type *type)
{
    return optimiser->type == type ? optimiser->self : NULL;
}
