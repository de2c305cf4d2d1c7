/* Matrices: weights laid out as oneDNN or the tiles want them, and oneDNN's primitives. */
#include "kernels/cpu/matrix.h"
#include "base/memory.h"
#include "kernels/cpu/tiles.h"

#include <stdlib.h>
#include <string.h>

static dnnl_data_type_t dnnl_type(fbt_dtype dtype)
{
    return dtype == FBT_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, fbt_activation activation)
{
    switch (activation) {
    case FBT_ACT_GELU_ERF:
        return fbt_onednn_append_eltwise(ops, dnnl_eltwise_gelu_erf);
    case FBT_ACT_GELU_TANH:
        return fbt_onednn_append_eltwise(ops, dnnl_eltwise_gelu_tanh);
    case FBT_ACT_RELU:
        return fbt_onednn_append_eltwise(ops, dnnl_eltwise_relu);
    case FBT_ACT_TANH:
        return fbt_onednn_append_eltwise(ops, dnnl_eltwise_tanh);
    default:
        return dnnl_success;
    }
}

/* Attributes of a product. Strict mathematics: an environment variable must not turn fp32 products into bf16 ones. */
static fbt_status make_attributes(fbt_activation activation, int accumulates, dnnl_primitive_attr_t *attributes)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t code = dnnl_primitive_attr_create(attributes);
    if (code == dnnl_success) {
        code = dnnl_post_ops_create(&ops);
    }
    if (code == dnnl_success) {
        code = append_activation(ops, activation);
    }
    if (code == dnnl_success && accumulates) {
        code = fbt_onednn_append_sum(ops);
    }
    if (code == dnnl_success) {
        code = dnnl_primitive_attr_set_post_ops(*attributes, ops);
    }
    if (code == dnnl_success) {
        code = dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user);
    }
    if (code == dnnl_success) {
        code = dnnl_primitive_attr_set_fpmath_mode(*attributes, dnnl_fpmath_mode_strict);
    }
    if (ops != NULL) {
        dnnl_post_ops_destroy(ops);
    }
    return fbt_cpu_dnnl_status(code, "describe a matrix product");
}

/* The primitive's description; weights_desc may leave the layout open. */
static fbt_status describe_product(fbt_cpu *cpu, const fbt_cpu_matrix *w, fbt_activation activation, int accumulates,
                                   dnnl_primitive_desc_t *description)
{
    fbt_status status = FBT_OK;
    dnnl_primitive_attr_t attributes = NULL;
    *description = NULL;
    FBT_TRY(make_attributes(activation, accumulates, &attributes));
    FBT_TRY(fbt_cpu_dnnl_status(fbt_onednn_matmul(description, cpu->engine, w->x_desc, w->weights_desc,
                                                  w->bias != NULL ? w->bias_desc : NULL, w->y_desc, attributes),
                                "find a matrix product"));
done:
    if (attributes != NULL) {
        dnnl_primitive_attr_destroy(attributes);
    }
    return status;
}

fbt_status fbt_cpu_matrix_product(fbt_cpu *cpu, fbt_cpu_matrix *w, fbt_activation activation, int accumulates,
                                  const fbt_matrix_product **product)
{
    fbt_status status = FBT_OK;
    dnnl_primitive_desc_t description = NULL;
    fbt_matrix_product *made = accumulates ? &w->accumulating : &w->products[activation];
    *product = made;
    if (made->primitive != NULL) {
        return FBT_OK;
    }
    const int n_threads =
        fbt_cpu_one_thread_begin(); /* a primitive is planned for the threads it sees when it is made */
    FBT_TRY(describe_product(cpu, w, activation, accumulates, &description));
    FBT_TRY(fbt_cpu_dnnl_status(fbt_onednn_desc_query(&made->scratch_desc, description, dnnl_query_scratchpad_md),
                                "plan a matrix product"));
    made->scratch_bytes = (int64_t)dnnl_memory_desc_get_size(made->scratch_desc);
    FBT_TRY(fbt_cpu_dnnl_status(dnnl_primitive_create(&made->primitive, description), "compile a matrix product"));
done:
    fbt_cpu_one_thread_end(n_threads);
    if (description != NULL) {
        dnnl_primitive_desc_destroy(description);
    }
    return status;
}

/* Shapes of a block, and the layout that oneDNN prefers for the weights. */
static fbt_status choose_layout(fbt_cpu *cpu, fbt_cpu_matrix *w)
{
    fbt_status status = FBT_OK;
    dnnl_primitive_desc_t description = NULL;
    const dnnl_data_type_t type = dnnl_type(w->base.types->activations);
    const dnnl_dims_t x_dims = {w->block_rows, w->base.n_in}, y_dims = {w->block_rows, w->base.n_out};
    const dnnl_dims_t weight_dims = {w->base.n_in, w->base.n_out}, bias_dims = {1, w->base.n_out};
    const int n_threads = fbt_cpu_one_thread_begin();
    dnnl_status_t code = fbt_onednn_desc_new(&w->x_desc, 2, x_dims, type, dnnl_ab);
    code = code ? code : fbt_onednn_desc_new(&w->y_desc, 2, y_dims, type, dnnl_ab);
    code = code ? code : fbt_onednn_desc_new(&w->weights_desc, 2, weight_dims, type, dnnl_format_tag_any);
    code = code ? code : fbt_onednn_desc_new(&w->bias_desc, 2, bias_dims, dnnl_f32, dnnl_ab);
    FBT_TRY(fbt_cpu_dnnl_status(code, "describe a matrix"));
    FBT_TRY(describe_product(cpu, w, FBT_ACT_NONE, 0, &description));
    fbt_onednn_desc_free(w->weights_desc);
    w->weights_desc = NULL;
    FBT_TRY(fbt_cpu_dnnl_status(fbt_onednn_desc_query(&w->weights_desc, description, dnnl_query_weights_md),
                                "lay out a matrix"));
done:
    fbt_cpu_one_thread_end(n_threads);
    if (description != NULL) {
        dnnl_primitive_desc_destroy(description);
    }
    return status;
}

/* Writes the weights, given as [n_out, n_in] of `dtype` (F32 or BF16), in the chosen layout. */
static fbt_status lay_out(fbt_cpu *cpu, fbt_cpu_matrix *w, const void *weight, fbt_dtype dtype)
{
    fbt_status status = FBT_OK;
    fbt_onednn_desc plain = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;
    const dnnl_dims_t dims = {w->base.n_in, w->base.n_out};
    dnnl_status_t code = fbt_onednn_desc_new(&plain, 2, dims, dnnl_type(dtype), dnnl_ba);
    code = code ? code : dnnl_memory_create(&from, plain, cpu->engine, (void *)(uintptr_t)weight);
    code = code ? code : dnnl_memory_create(&to, w->weights_desc, cpu->engine, w->weights);
    code =
        code ? code
             : dnnl_reorder_primitive_desc_create(&description, plain, cpu->engine, w->weights_desc, cpu->engine, NULL);
    code = code ? code : dnnl_primitive_create(&reorder, description);
    if (code == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        code = dnnl_primitive_execute(reorder, cpu->streams[0], 2, arguments);
    }
    code = code ? code : dnnl_stream_wait(cpu->streams[0]);
    FBT_TRY(fbt_cpu_dnnl_status(code, "lay out a matrix"));
done:
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(description);
    dnnl_memory_destroy(to);
    dnnl_memory_destroy(from);
    fbt_onednn_desc_free(plain);
    return status;
}

/* As lay_out, from any type: oneDNN does not convert all of them. */
static fbt_status convert_and_lay_out(fbt_cpu *cpu, fbt_cpu_matrix *w, const void *weight, fbt_dtype dtype)
{
    fbt_status status = FBT_OK;
    float *wide = NULL;
    if (dtype == FBT_F32 || (dtype == FBT_BF16 && w->base.types->compute == FBT_COMPUTE_BF16)) {
        return lay_out(cpu, w, weight, dtype);
    }
    FBT_TRY(fbt_memory_alloc(&wide, w->base.n_in * w->base.n_out, sizeof *wide));
    cpu->rows->convert(wide, FBT_F32, weight, dtype, w->base.n_in * w->base.n_out);
    FBT_TRY(lay_out(cpu, w, wide, FBT_F32));
done:
    free(wide);
    return status;
}

static fbt_status lay_out_tiles(fbt_cpu *cpu, fbt_cpu_matrix *w, const void *weight, fbt_dtype dtype)
{
    fbt_status status = FBT_OK;
    const int64_t row_bytes = w->base.n_in * (int64_t)fbt_dtype_bytes(dtype),
                  strip = fbt_tiles_count(FBT_TILE_ROWS, w->base.n_in);
    uint16_t *rows = NULL;
    FBT_TRY(fbt_memory_alloc(&rows, FBT_TILE_ROWS * w->base.n_in, sizeof *rows));
    for (int64_t o = 0; o < w->base.n_out; o += FBT_TILE_ROWS) {
        const int64_t n = w->base.n_out - o < FBT_TILE_ROWS ? w->base.n_out - o : FBT_TILE_ROWS;
        cpu->rows->convert(rows, FBT_BF16, (const char *)weight + o * row_bytes, dtype, n * w->base.n_in);
        fbt_tiles_lay_out_weights((uint16_t *)w->weights + o / FBT_TILE_ROWS * strip, rows, n, w->base.n_in);
    }
done:
    free(rows);
    return status;
}

/* How the weights are laid out, and how many bytes that takes. */
static fbt_status choose(fbt_cpu *cpu, fbt_cpu_matrix *w, int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    w->is_tiled = cpu->has_tiles && w->base.types->compute == FBT_COMPUTE_BF16;
    if (w->is_tiled) {
        *n_bytes = fbt_tiles_count(w->base.n_out, w->base.n_in) * (int64_t)sizeof(uint16_t);
        return FBT_OK;
    }
    /* A matrix so tall is the prompt projection: a few rows come in, and padding them would cost more than they do. */
    w->block_rows =
        w->base.n_out > 32 * w->base.n_in ? FBT_MATRIX_FEW_ROWS : fbt_cpu_block_rows(w->base.types->compute);
    FBT_TRY(choose_layout(cpu, w));
    *n_bytes = (int64_t)dnnl_memory_desc_get_size(w->weights_desc);
done:
    return status;
}

/* Takes memory for weights and bias, and fills it. */
static fbt_status fill(fbt_cpu *cpu, fbt_cpu_matrix *w, const fbt_matrix_spec *spec, const fbt_cpu_constant *constant)
{
    fbt_status status = FBT_OK;
    if (constant->bias_bytes > 0) {
        FBT_TRY(fbt_memory_alloc(&w->bias, constant->bias_bytes, 1));
        memcpy(w->bias, spec->bias != NULL ? spec->bias : w->bias,
               spec->bias != NULL ? (size_t)w->base.n_out * sizeof *spec->bias : 0);
    }
    FBT_TRY(fbt_cpu_block_new(constant->weight_bytes, &w->weights));
    FBT_TRY(w->is_tiled ? lay_out_tiles(cpu, w, spec->weight, spec->dtype)
                        : convert_and_lay_out(cpu, w, spec->weight, spec->dtype));
done:
    return status;
}

/* The weights that another process has laid out, or its own. */
static fbt_status make(fbt_cpu *cpu, fbt_cpu_matrix *w, const fbt_matrix_spec *spec)
{
    fbt_status status = FBT_OK;
    const int64_t n_padded = (w->base.n_out + FBT_TILE_ROWS - 1) / FBT_TILE_ROWS * FBT_TILE_ROWS;
    fbt_cpu_constant constant = {.shape = {.n_rows = w->base.n_out,
                                           .n_columns = w->base.n_in,
                                           .type = (int32_t)w->base.types->compute,
                                           .has_bias = (int16_t)(spec->bias != NULL)},
                                 .weights = &w->weights,
                                 .bias_bytes =
                                     spec->bias != NULL || cpu->has_tiles ? n_padded * (int64_t)sizeof(float) : 0};
    FBT_TRY(choose(cpu, w, &constant.weight_bytes));
    FBT_TRY(fbt_cpu_constants_find(&cpu->constants, &constant.shape, constant.weight_bytes, constant.bias_bytes,
                                   &w->weights, &w->bias));
    if (w->weights == NULL) {
        FBT_TRY(fill(cpu, w, spec, &constant));
    }
    constant.bias = w->bias != NULL ? &w->bias : NULL;
    FBT_TRY(fbt_cpu_constants_add(&cpu->constants, &constant));
done:
    return status;
}

fbt_status fbt_cpu_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = fbt_cpu_of(b);
    fbt_cpu_matrix *w = NULL;
    *matrix = NULL;
    if (spec->n_out > INT32_MAX || spec->n_in > INT32_MAX ||
        (spec->types->compute == FBT_COMPUTE_BF16 && !fbt_cpu_has_bf16())) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "a %s matrix of %lld x %lld cannot be made on this processor", spec->types->name,
                 (long long)spec->n_out, (long long)spec->n_in);
    }
    FBT_TRY(fbt_memory_alloc(&w, 1, sizeof *w));
    w->base = (fbt_matrix){.n_out = spec->n_out, .n_in = spec->n_in, .types = spec->types};
    FBT_TRY(make(cpu, w, spec));
    *matrix = &w->base;
    w = NULL;
done:
    if (w != NULL) {
        fbt_cpu_matrix_free(b, &w->base);
    }
    return status;
}

static void product_clear(fbt_matrix_product *product)
{
    dnnl_primitive_destroy(product->primitive);
    fbt_onednn_desc_free(product->scratch_desc);
}

void fbt_cpu_matrix_free(fbt_backend *b, fbt_matrix *w)
{
    fbt_cpu_matrix *matrix = (fbt_cpu_matrix *)w;
    int is_mapped;
    fbt_cpu_constants_remove(&fbt_cpu_of(b)->constants, &matrix->weights, &is_mapped);
    for (int a = 0; a < FBT_N_ACTIVATIONS; a++) {
        product_clear(&matrix->products[a]);
    }
    product_clear(&matrix->accumulating);
    fbt_onednn_desc_free(matrix->weights_desc);
    fbt_onednn_desc_free(matrix->bias_desc);
    fbt_onednn_desc_free(matrix->x_desc);
    fbt_onednn_desc_free(matrix->y_desc);
    if (!is_mapped) {
        free(matrix->weights);
        free(matrix->bias);
    }
    free(matrix);
}
