/* The peak of `fedbpt bench`: a plain large product as oneDNN does it by itself, all threads, its own layouts. */
#include "base/rng.h"
#include "base/timer.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/onednn.h"

#include <stdlib.h>
#include <string.h>

enum { X, W, Y, N_OPERANDS };

typedef struct plain_product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[N_OPERANDS];
    void *data[N_OPERANDS];
} plain_product;

static fbt_status told(dnnl_status_t code, const char *what)
{
    if (code == dnnl_success) {
        return FBT_OK;
    }
    if (code == dnnl_out_of_memory) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: oneDNN could not %s", what);
    }
    return fbt_fail(FBT_ERR_BACKEND, "oneDNN could not %s (status %d)", what, (int)code);
}

static fbt_status open_engine(plain_product *p)
{
    dnnl_status_t code = dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    code = code ? code : dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags);
    return told(code, "open the processor");
}

/* Of integers those that oneDNN is fastest with, as its unit multiplies unsigned by signed ones. */
static const dnnl_data_type_t *operand_types(fbt_compute compute)
{
    static const dnnl_data_type_t fp32[N_OPERANDS] = {dnnl_f32, dnnl_f32, dnnl_f32},
                                  bf16[N_OPERANDS] = {dnnl_bf16, dnnl_bf16, dnnl_bf16},
                                  int8[N_OPERANDS] = {dnnl_u8, dnnl_s8, dnnl_s32};
    return compute == FBT_COMPUTE_I8 ? int8 : compute == FBT_COMPUTE_BF16 ? bf16 : fp32;
}

static fbt_status describe(plain_product *p, const fbt_types *types, const int64_t size[3])
{
    const dnnl_data_type_t *of_each = operand_types(types->compute);
    const dnnl_dims_t dims[N_OPERANDS] = {{size[0], size[2]}, {size[2], size[1]}, {size[0], size[1]}};
    fbt_onednn_desc shapes[N_OPERANDS] = {NULL};
    dnnl_status_t code = dnnl_success;
    for (int i = 0; i < N_OPERANDS; i++) {
        code = code ? code : fbt_onednn_desc_new(&shapes[i], 2, dims[i], of_each[i], dnnl_format_tag_any);
    }
    code = code ? code : fbt_onednn_matmul(&p->description, p->engine, shapes[X], shapes[W], NULL, shapes[Y], NULL);
    code = code ? code : dnnl_primitive_create(&p->primitive, p->description);
    for (int i = 0; i < N_OPERANDS; i++) {
        fbt_onednn_desc_free(shapes[i]);
    }
    return told(code, "make a plain matrix product");
}

/* Random operands: on zeros and constants the processor draws less power and runs faster. As bfloat16 each 16 bits are
 * a number of size 0.5 to 2; so are each 32 as float. As integers they are any. */
static void fill_randomly(void *data, int64_t n_bytes, fbt_compute compute)
{
    const fbt_rng_stream stream = {.purpose = FBT_RNG_SYNTHETIC};
    uint32_t words[4];
    for (int64_t i = 0; i + (int64_t)sizeof words <= n_bytes; i += (int64_t)sizeof words) {
        fbt_rng_block(&stream, (uint32_t)(i / (int64_t)sizeof words), words);
        for (int k = 0; k < 4 && compute != FBT_COMPUTE_I8; k++) {
            words[k] = (words[k] & 0x80ff80ffU) | 0x3f003f00U;
        }
        memcpy((char *)data + i, words, sizeof words);
    }
}

static fbt_status make_operands(plain_product *p, fbt_compute compute)
{
    static const dnnl_query_t layouts[N_OPERANDS] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md};
    fbt_status status = FBT_OK;
    for (int i = 0; i < N_OPERANDS; i++) {
        const fbt_onednn_desc_view layout = dnnl_primitive_desc_query_md(p->description, layouts[i], 0);
        const int64_t n_bytes = (int64_t)dnnl_memory_desc_get_size(layout);
        FBT_TRY(fbt_cpu_block_new(n_bytes, &p->data[i]));
        fill_randomly(p->data[i], n_bytes, compute);
        FBT_TRY(told(dnnl_memory_create(&p->memory[i], layout, p->engine, p->data[i]), "describe an operand"));
    }
done:
    return status;
}

static fbt_status time_once(const plain_product *p, double *seconds)
{
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, p->memory[X]}, {DNNL_ARG_WEIGHTS, p->memory[W]}, {DNNL_ARG_DST, p->memory[Y]}};
    const double begin_s = fbt_timer_now_s();
    dnnl_status_t code = dnnl_primitive_execute(p->primitive, p->stream, N_OPERANDS, arguments);
    code = code ? code : dnnl_stream_wait(p->stream);
    *seconds = fbt_timer_now_s() - begin_s;
    return told(code, "make a plain matrix product");
}

fbt_status fbt_cpu_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                   double *best_s)
{
    fbt_status status = FBT_OK;
    plain_product p = {0};
    double seconds;
    (void)b;
    FBT_TRY(open_engine(&p));
    FBT_TRY(describe(&p, types, size));
    FBT_TRY(make_operands(&p, types->compute));
    FBT_TRY(time_once(&p, best_s));
    for (int i = 0; i < n_repeats; i++) {
        FBT_TRY(time_once(&p, &seconds));
        *best_s = i == 0 || seconds < *best_s ? seconds : *best_s;
    }
done:
    for (int i = 0; i < N_OPERANDS; i++) {
        dnnl_memory_destroy(p.memory[i]);
        free(p.data[i]);
    }
    dnnl_primitive_destroy(p.primitive);
    dnnl_primitive_desc_destroy(p.description);
    dnnl_stream_destroy(p.stream);
    dnnl_engine_destroy(p.engine);
    return status;
}
