/* The list of backends, and the way from a name to an open one. */
#include "kernels/backend.h"

#include "base/choices.h"
#include "kernels/backend_ops.h"

#include <string.h>

#define DECLARE(driver, ...) extern const fbt_backend_driver driver;
#define ADDRESS(driver, ...) &driver,
FBT_BACKEND_LIST(DECLARE)
static const fbt_backend_driver *const drivers[] = {FBT_BACKEND_LIST(ADDRESS)};

/* In builds without it. */
#ifndef FBT_HAVE_CUDA
const fbt_backend_driver fbt_cuda_driver = {.name = "cuda",
                                            .summary = "NVIDIA devices",
                                            .types = {"fp32", "tf32", "bf16"},
                                            .batch_tokens = 65536,
                                            .missing = "configure with the preset cuda"};
#endif

enum { N_DRIVERS = sizeof drivers / sizeof drivers[0], WORDS_BYTES = 128 };

const fbt_backend_driver *fbt_backend_find(const char *name)
{
    for (int i = 0; i < N_DRIVERS; i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            return drivers[i];
        }
    }
    return NULL;
}

int fbt_backend_has_types(const fbt_backend_driver *driver, const char *name)
{
    for (int i = 0; i < FBT_MAX_TYPES && driver->types[i] != NULL; i++) {
        if (strcmp(driver->types[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

static fbt_status refuse_name(const char *name)
{
    char words[WORDS_BYTES];
    fbt_choice_list(fbt_backend_names, words, sizeof words);
    return fbt_fail(FBT_ERR_CONFIG, "backend.name is '%s': it must be %s", name, words);
}

static fbt_status refuse_types(const fbt_backend_driver *driver, const char *precision)
{
    const char *own[FBT_MAX_TYPES + 2] = {"auto"}, *having[N_DRIVERS + 1] = {NULL};
    char words[WORDS_BYTES], others[WORDS_BYTES];
    for (int i = 0; i < FBT_MAX_TYPES && driver->types[i] != NULL; i++) {
        own[i + 1] = driver->types[i];
    }
    fbt_choice_list(own, words, sizeof words);
    if (fbt_types_find(precision) == NULL) {
        return fbt_fail(FBT_ERR_CONFIG, "backend.precision is '%s': it must be %s", precision, words);
    }
    for (int i = 0, n = 0; i < N_DRIVERS; i++) {
        if (fbt_backend_has_types(drivers[i], precision)) {
            having[n++] = drivers[i]->name;
        }
    }
    fbt_choice_list(having, others, sizeof others);
    return fbt_fail(FBT_ERR_CONFIG, "backend.precision is %s, which backend.name %s does not have%s%s%s: set it to %s",
                    precision, driver->name, others[0] != '\0' ? " (" : "", others, others[0] != '\0' ? " does)" : "",
                    words);
}

static fbt_status check_options(const fbt_backend_options *options)
{
    if (options->n_threads < 0 || options->n_local_ranks < 1 || options->local_rank < 0 ||
        options->local_rank >= options->n_local_ranks) {
        return fbt_fail(FBT_ERR_ARG, "a backend cannot have %d threads on local rank %d of %d", options->n_threads,
                        options->local_rank, options->n_local_ranks);
    }
    return FBT_OK;
}

static fbt_status check_presence(const fbt_backend_driver *driver)
{
    return driver->missing == NULL ? FBT_OK
                                   : fbt_fail(FBT_ERR_CONFIG, "backend.name is %s, which this build does not have: %s",
                                              driver->name, driver->missing);
}

fbt_status fbt_backend_open(const fbt_backend_options *options, fbt_backend **b)
{
    fbt_status status = FBT_OK;
    const fbt_backend_driver *driver = fbt_backend_find(options->name);
    const int is_auto = strcmp(options->precision, "auto") == 0;
    *b = NULL;
    FBT_TRY(check_options(options));
    FBT_TRY(driver != NULL ? FBT_OK : refuse_name(options->name));
    FBT_TRY(check_presence(driver));
    FBT_TRY(is_auto || fbt_backend_has_types(driver, options->precision) ? FBT_OK
                                                                         : refuse_types(driver, options->precision));
    FBT_TRY(driver->open(options, is_auto ? NULL : fbt_types_find(options->precision), b));
    (*b)->driver = driver;
done:
    return status;
}

const fbt_backend_driver *fbt_backend_driver_at(int i)
{
    return i >= 0 && i < N_DRIVERS ? drivers[i] : NULL;
}

fbt_status fbt_backend_probe(const fbt_backend_driver *driver)
{
    fbt_status status = check_presence(driver);
    return status == FBT_OK && driver->probe != NULL ? driver->probe() : status;
}
