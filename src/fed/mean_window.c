#include "fed/mean_window.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const char array_name[] = "last_means";

fbt_status fbt_mean_window_init(fbt_mean_window *window, int64_t d, int64_t size)
{
    fbt_status status = FBT_OK;
    window->d = d;
    window->size = size;
    FBT_TRY(fbt_memory_alloc(&window->means, size * d, sizeof *window->means));
    FBT_TRY(fbt_memory_alloc(&window->average, d, sizeof *window->average));
done:
    return status;
}

void fbt_mean_window_clear(fbt_mean_window *window)
{
    free(window->means);
    free(window->average);
    *window = (fbt_mean_window){0};
}

static void find_average(fbt_mean_window *window)
{
    const int64_t d = window->d;
    memset(window->average, 0, (size_t)d * sizeof *window->average);
    for (int64_t k = 0; k < window->n; k++) {
        for (int64_t i = 0; i < d; i++) {
            window->average[i] += window->means[k * d + i] / (double)window->n;
        }
    }
}

void fbt_mean_window_add(fbt_mean_window *window, const double *mean)
{
    const size_t row_bytes = (size_t)window->d * sizeof *mean;
    if (window->n == window->size) {
        memmove(window->means, window->means + window->d, (size_t)(window->n - 1) * row_bytes);
        window->n--;
    }
    memcpy(window->means + window->n * window->d, mean, row_bytes);
    window->n++;
    find_average(window);
}

fbt_status fbt_mean_window_export(const fbt_mean_window *window, fbt_array_list *checkpoint)
{
    return fbt_array_list_add(checkpoint, &(fbt_array){.name = array_name,
                                                       .type = FBT_ARRAY_FLOAT64,
                                                       .n_values = window->n * window->d,
                                                       .values = window->means,
                                                       .long_name = "the server's last means, the oldest first"});
}

fbt_status fbt_mean_window_import(fbt_mean_window *window, const fbt_array *checkpoint)
{
    fbt_status status = FBT_OK;
    const fbt_array *array;
    FBT_TRY(fbt_array_get_reals(checkpoint, array_name, &array));
    const int64_t n = array->n_values / window->d;
    if (array->n_values % window->d != 0 || n > window->size) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s are not means of %lld numbers: the file is damaged", array_name,
                 (long long)window->d);
    }
    window->n = n;
    memcpy(window->means, array->values, (size_t)array->n_values * sizeof *window->means);
    find_average(window);
done:
    return status;
}
