/* The operations of decoders that are one kernel each. */
#include "kernels/cuda/cuda.h"

/* Rows of prompts are counted by their buffer. */
static fbt_cuda_lookup prompts_of(const fbt_row_embedding *e)
{
    return e->prompts == NULL ? (fbt_cuda_lookup){0}
                              : (fbt_cuda_lookup){.rows = e->prompts->data,
                                                  .dtype = FBT_F32,
                                                  .n_rows = e->prompts->n_bytes / (e->n_dim * (int64_t)sizeof(float))};
}

fbt_status fbt_cuda_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows)
{
    const fbt_cuda_stream *stream = fbt_cuda_of(b)->stream;
    const fbt_cuda_embed_rows_args args = {.x = x->data,
                                           .dtype = b->info.types->residual,
                                           .word = fbt_cuda_lookup_of(e->word),
                                           .position = fbt_cuda_lookup_of(e->position),
                                           .prompt = prompts_of(e),
                                           .position_offset = e->position_offset,
                                           .tokens = e->tokens->data,
                                           .positions = fbt_cuda_data(e->positions),
                                           .prompt_rows = fbt_cuda_data(e->prompt_rows),
                                           .n_rows = n_rows,
                                           .n_dim = e->n_dim,
                                           .error = stream->device_error};
    return fbt_cuda_status(fbt_cuda_launch_embed_rows(stream->handle, &args), "launch the embedding of rows");
}

fbt_status fbt_cuda_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                                int64_t n_rows)
{
    const fbt_cuda_stream *stream = fbt_cuda_of(b)->stream;
    const int64_t n_dim = prompts->n_dim;
    const fbt_cuda_put_prompts_args args = {.x = x->data,
                                            .dtype = dtype,
                                            .prompts = prompts->prompts->data,
                                            .n_prompt_rows =
                                                prompts->prompts->n_bytes / (n_dim * (int64_t)sizeof(float)),
                                            .rows = prompts->rows->data,
                                            .adds = prompts->adds,
                                            .n_rows = n_rows,
                                            .n_dim = n_dim,
                                            .error = stream->device_error};
    return fbt_cuda_status(fbt_cuda_launch_put_prompts(stream->handle, &args), "launch the prompts of a layer");
}

static fbt_cuda_rows_of_heads describe_heads(const fbt_backend *b, const fbt_heads *heads, int64_t n_heads,
                                             int64_t head_dim, int64_t n_rows)
{
    const fbt_dtype dtype = b->info.types->activations;
    return (fbt_cuda_rows_of_heads){.data = fbt_cuda_first_head(heads, dtype),
                                    .stride = heads->stride,
                                    .dtype = dtype,
                                    .n_rows = n_rows,
                                    .n_heads = n_heads,
                                    .head_dim = head_dim};
}

fbt_status fbt_cuda_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                           const fbt_rotary *rotary, int64_t n_rows)
{
    const fbt_cuda_stream *stream = fbt_cuda_of(b)->stream;
    const fbt_cuda_rows_of_heads described = describe_heads(b, heads, n_heads, head_dim, n_rows);
    const fbt_cuda_rotary args = {.cosine = rotary->cosine->rows,
                                  .sine = rotary->sine->rows,
                                  .n_positions = rotary->cosine->n_rows,
                                  .n_rotated = rotary->n_rotated,
                                  .positions = rotary->positions->data,
                                  .error = stream->device_error};
    (void)x;
    return fbt_cuda_status(fbt_cuda_launch_rotate(stream->handle, &described, &args), "launch the rotation");
}

fbt_status fbt_cuda_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                               const fbt_norm *norm, int64_t n_rows)
{
    const fbt_cuda_rows_of_heads described = describe_heads(b, heads, n_heads, head_dim, n_rows);
    const fbt_cuda_norm args = fbt_cuda_norm_of(norm);
    (void)x;
    return fbt_cuda_status(fbt_cuda_launch_norm_heads(fbt_cuda_of(b)->stream->handle, &described, &args),
                           "launch the norm of heads");
}

fbt_status fbt_cuda_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                         int64_t n_dim)
{
    return fbt_cuda_status(fbt_cuda_launch_gate(fbt_cuda_of(b)->stream->handle, y->data, x->data, activation,
                                                b->info.types->activations, n_rows, n_dim),
                           "launch the gate");
}
