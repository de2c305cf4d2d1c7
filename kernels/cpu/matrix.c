/* Matrices: weights laid out as tiles, panels or integers want them. */
#include "kernels/cpu/matrix.h"
#include "base/memory.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/tiles.h"

#include <stdlib.h>
#include <string.h>

/* Outputs that a layout keeps together, and their weights' bytes. */
static int64_t strip_outputs(const fbt_cpu_matrix *w)
{
    switch (w->layout) {
    case FBT_LAYOUT_TILES:
        return FBT_TILE_ROWS;
    case FBT_LAYOUT_INT8:
        return w->int8->panel_outputs;
    default:
        return w->panels->n_outputs;
    }
}

static int64_t strip_bytes(const fbt_cpu_matrix *w)
{
    switch (w->layout) {
    case FBT_LAYOUT_TILES:
        return fbt_tiles_count(FBT_TILE_ROWS, w->base.n_in) * (int64_t)sizeof(uint16_t);
    case FBT_LAYOUT_INT8:
        return w->int8->panel_bytes(w->base.n_in);
    default:
        return w->panels->panel_bytes(w->base.n_in);
    }
}

/* An even number of int8's, which multiplies by two at a time. */
static int64_t count_strips(const fbt_cpu_matrix *w)
{
    const int64_t n = fbt_n_parts(w->base.n_out, strip_outputs(w));
    return w->layout == FBT_LAYOUT_INT8 ? (n + 1) / 2 * 2 : n;
}

/* The type that strips are made from. */
static fbt_dtype strip_dtype(const fbt_cpu_matrix *w)
{
    switch (w->layout) {
    case FBT_LAYOUT_TILES:
        return FBT_BF16;
    case FBT_LAYOUT_INT8:
        return FBT_F32;
    default:
        return w->panels->dtype;
    }
}

/* One strip, from a row of strip_dtype for each of n outputs. */
static void lay_out_strip(const fbt_cpu_matrix *w, void *strip, const void *rows, int64_t n)
{
    switch (w->layout) {
    case FBT_LAYOUT_TILES:
        fbt_tiles_lay_out_weights(strip, rows, n, w->base.n_in);
        break;
    case FBT_LAYOUT_INT8:
        w->int8->pack(strip, rows, n, w->base.n_in);
        break;
    default:
        w->panels->pack(strip, rows, n, w->base.n_in);
    }
}

/* Writes the weights, given as [n_out, n_in] of any type. */
static fbt_status lay_out(fbt_cpu *cpu, fbt_cpu_matrix *w, const void *weight, fbt_dtype dtype)
{
    fbt_status status = FBT_OK;
    const int64_t row_bytes = w->base.n_in * (int64_t)fbt_dtype_bytes(dtype), most = strip_outputs(w);
    const int64_t n_strips = count_strips(w), n_bytes = strip_bytes(w);
    float *rows = NULL;
    FBT_TRY(fbt_memory_alloc(&rows, most * w->base.n_in, sizeof *rows));
    for (int64_t i = 0; i < n_strips; i++) {
        const int64_t left = w->base.n_out - i * most, n = left < 0 ? 0 : left < most ? left : most;
        cpu->rows->convert(rows, strip_dtype(w), (const char *)weight + i * most * row_bytes, dtype, n * w->base.n_in);
        lay_out_strip(w, (char *)w->weights + i * n_bytes, rows, n);
    }
done:
    free(rows);
    return status;
}

static void choose_layout(const fbt_cpu *cpu, fbt_cpu_matrix *w)
{
    const fbt_compute compute = w->base.types->compute;
    if (compute == FBT_COMPUTE_I8) {
        w->layout = FBT_LAYOUT_INT8;
        w->int8 = fbt_cpu_int8_kernels();
    } else if (compute == FBT_COMPUTE_BF16 && cpu->has_tiles) {
        w->layout = FBT_LAYOUT_TILES;
    } else {
        w->layout = FBT_LAYOUT_PANELS;
        w->panels = fbt_cpu_panel_kernels(compute);
    }
}

/* Takes memory for weights and bias, and fills it. */
static fbt_status fill(fbt_cpu *cpu, fbt_cpu_matrix *w, const fbt_matrix_spec *spec, const fbt_cpu_constant *constant)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(&w->bias, constant->bias_bytes, 1));
    if (spec->bias != NULL) {
        memcpy(w->bias, spec->bias, (size_t)w->base.n_out * sizeof *spec->bias);
    }
    FBT_TRY(fbt_cpu_block_new(constant->weight_bytes, &w->weights));
    FBT_TRY(lay_out(cpu, w, spec->weight, spec->dtype));
done:
    return status;
}

/* The weights that another process has laid out, or its own. */
static fbt_status make(fbt_cpu *cpu, fbt_cpu_matrix *w, const fbt_matrix_spec *spec)
{
    fbt_status status = FBT_OK;
    const int64_t n_padded = fbt_n_parts(w->base.n_out, FBT_TILE_ROWS) * FBT_TILE_ROWS;
    fbt_cpu_constant constant = {.shape = {.n_rows = w->base.n_out,
                                           .n_columns = w->base.n_in,
                                           .type = (int32_t)w->base.types->compute,
                                           .has_bias = (int16_t)(spec->bias != NULL)},
                                 .weights = &w->weights,
                                 .bias = &w->bias,
                                 .weight_bytes = count_strips(w) * strip_bytes(w),
                                 .bias_bytes = n_padded * (int64_t)sizeof(float)};
    FBT_TRY(fbt_cpu_constants_find(&cpu->constants, &constant.shape, constant.weight_bytes, constant.bias_bytes,
                                   &w->weights, &w->bias));
    if (w->weights == NULL) {
        FBT_TRY(fill(cpu, w, spec, &constant));
    }
    FBT_TRY(fbt_cpu_constants_add(&cpu->constants, &constant));
done:
    return status;
}

static int can_make(const fbt_matrix_spec *spec)
{
    if (spec->n_out > INT32_MAX || spec->n_in > INT32_MAX) {
        return 0;
    }
    switch (spec->types->compute) {
    case FBT_COMPUTE_BF16:
        return fbt_cpu_has_bf16();
    case FBT_COMPUTE_I8:
        return fbt_cpu_int8_kernels() != NULL && spec->n_in <= FBT_I8_MOST_IN;
    default:
        return 1;
    }
}

fbt_status fbt_cpu_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = fbt_cpu_of(b);
    fbt_cpu_matrix *w = NULL;
    *matrix = NULL;
    if (!can_make(spec)) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "a %s matrix of %lld x %lld cannot be made on this processor", spec->types->name,
                 (long long)spec->n_out, (long long)spec->n_in);
    }
    FBT_TRY(fbt_memory_alloc(&w, 1, sizeof *w));
    w->base = (fbt_matrix){.n_out = spec->n_out, .n_in = spec->n_in, .types = spec->types};
    choose_layout(cpu, w);
    FBT_TRY(make(cpu, w, spec));
    w->base.makes_gate = spec->n_out % (2 * strip_outputs(w)) == 0;
    *matrix = &w->base;
    w = NULL;
done:
    if (w != NULL) {
        fbt_cpu_matrix_free(b, &w->base);
    }
    return status;
}

void fbt_cpu_matrix_free(fbt_backend *b, fbt_matrix *w)
{
    fbt_cpu_matrix *matrix = (fbt_cpu_matrix *)w;
    int is_mapped;
    fbt_cpu_constants_remove(&fbt_cpu_of(b)->constants, &matrix->weights, &is_mapped);
    if (!is_mapped) {
        free(matrix->weights);
        free(matrix->bias);
    }
    free(matrix);
}
