/* linear by oneDNN: blocks of rows over threads, each block one product on one thread. A residual is what the product
 * accumulates on. */
#include "kernels/cpu/matrix.h"

#include <omp.h>
#include <string.h>

/* One thread's arguments of the primitive, and its memory: a padded block of x, one of y, oneDNN's scratchpad. */
typedef struct fbt_linear_worker {
    dnnl_stream_t stream;
    dnnl_memory_t x, y, weights, bias, scratchpad;
    char *x_block, *y_block;
} fbt_linear_worker;

static int64_t aligned_bytes(int64_t n_bytes)
{
    return (n_bytes + 63) / 64 * 64;
}

static dnnl_status_t worker_init(fbt_linear_worker *worker, fbt_cpu *cpu, const fbt_linear_call *call, int thread)
{
    const fbt_cpu_matrix *w = call->w;
    *worker = (fbt_linear_worker){.stream = cpu->streams[thread]};
    worker->x_block = cpu->scratch[thread].data;
    worker->y_block = worker->x_block + aligned_bytes(w->block_rows * call->x_row_bytes);
    char *scratchpad = worker->y_block + aligned_bytes(w->block_rows * call->y_row_bytes);
    dnnl_status_t code = dnnl_memory_create(&worker->x, w->x_desc, cpu->engine, DNNL_MEMORY_NONE);
    code = code ? code : dnnl_memory_create(&worker->y, w->y_desc, cpu->engine, DNNL_MEMORY_NONE);
    code = code ? code : dnnl_memory_create(&worker->weights, w->weights_desc, cpu->engine, w->weights);
    if (w->bias != NULL) {
        code = code ? code : dnnl_memory_create(&worker->bias, w->bias_desc, cpu->engine, w->bias);
    }
    return code ? code : dnnl_memory_create(&worker->scratchpad, call->product->scratch_desc, cpu->engine, scratchpad);
}

static void worker_clear(fbt_linear_worker *worker)
{
    dnnl_memory_destroy(worker->x);
    dnnl_memory_destroy(worker->y);
    dnnl_memory_destroy(worker->weights);
    dnnl_memory_destroy(worker->bias);
    dnnl_memory_destroy(worker->scratchpad);
}

static dnnl_status_t multiply(const fbt_linear_worker *worker, const fbt_linear_call *call, const char *x, char *y)
{
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, worker->x},           {DNNL_ARG_DST, worker->y},
        {DNNL_ARG_WEIGHTS, worker->weights}, {DNNL_ARG_SCRATCHPAD, worker->scratchpad},
        {DNNL_ARG_BIAS, worker->bias},
    };
    dnnl_status_t code = dnnl_memory_set_data_handle(worker->x, (void *)(uintptr_t)x);
    code = code ? code : dnnl_memory_set_data_handle(worker->y, y);
    code = code ? code
                : dnnl_primitive_execute(call->product->primitive, worker->stream, call->w->bias != NULL ? 5 : 4,
                                         arguments);
    return code ? code : dnnl_stream_wait(worker->stream);
}

/* y = activation(x W^T + bias) for a block of which n rows count; as the product is, added to y. */
static dnnl_status_t multiply_rows(const fbt_linear_worker *worker, const fbt_linear_call *call, const char *x, char *y,
                                   int64_t n)
{
    const fbt_cpu_matrix *w = call->w;
    const size_t x_bytes = (size_t)(n * call->x_row_bytes), y_bytes = (size_t)(n * call->y_row_bytes);
    if (n == w->block_rows) {
        return multiply(worker, call, x, y);
    }
    memcpy(worker->x_block, x, x_bytes);
    memset(worker->x_block + x_bytes, 0, (size_t)(w->block_rows * call->x_row_bytes) - x_bytes);
    memset(worker->y_block, 0, (size_t)(w->block_rows * call->y_row_bytes));
    memcpy(worker->y_block, y, call->residual != NULL ? y_bytes : 0);
    const dnnl_status_t code = multiply(worker, call, worker->x_block, worker->y_block);
    memcpy(y, worker->y_block, y_bytes);
    return code;
}

/* Rows `row` .. row + n - 1, n at most a block. */
static dnnl_status_t linear_block(const fbt_linear_worker *worker, const fbt_linear_call *call, int64_t row, int64_t n)
{
    const char *x = call->x + row * call->x_row_bytes;
    char *y = call->y + row * call->y_row_bytes;
    if (call->residual != NULL && call->residual != call->y) {
        memcpy(y, call->residual + row * call->y_row_bytes, (size_t)(n * call->y_row_bytes));
    }
    return multiply_rows(worker, call, x, y, n);
}

static dnnl_status_t linear_blocks(fbt_cpu *cpu, const fbt_linear_call *call)
{
    const int64_t block_rows = call->w->block_rows, n_blocks = (call->n_rows + block_rows - 1) / block_rows;
    const int n_threads = n_blocks < cpu->n_threads ? (int)n_blocks : cpu->n_threads;
    dnnl_status_t result = dnnl_success;
#pragma omp parallel num_threads(n_threads)
    {
        fbt_linear_worker worker;
        omp_set_num_threads(1); /* of this region alone: oneDNN must not fork again, which it may in a team of one */
        dnnl_status_t code = worker_init(&worker, cpu, call, omp_get_thread_num());
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n_blocks; i++) {
            const int64_t row = i * block_rows, rest = call->n_rows - row;
            if (code == dnnl_success) {
                code = linear_block(&worker, call, row, rest < block_rows ? rest : block_rows);
            }
        }
        if (code != dnnl_success) {
#pragma omp atomic write
            result = code;
        }
        worker_clear(&worker);
    }
    return result;
}

fbt_status fbt_cpu_linear_dnnl(fbt_cpu *cpu, fbt_linear_call *call)
{
    fbt_status status = FBT_OK;
    const fbt_cpu_matrix *w = call->w;
    /* A matrix is constant to its user; the products compiled for it are kept with it. */
    FBT_TRY(fbt_cpu_matrix_product(cpu, (fbt_cpu_matrix *)(uintptr_t)w, call->activation, call->residual != NULL,
                                   &call->product));
    FBT_TRY(fbt_cpu_scratch_need(cpu, aligned_bytes(w->block_rows * call->x_row_bytes) +
                                          aligned_bytes(w->block_rows * call->y_row_bytes) +
                                          aligned_bytes(call->product->scratch_bytes + 1)));
    FBT_TRY(fbt_cpu_dnnl_status(linear_blocks(cpu, call), "multiply by a matrix"));
done:
    return status;
}
