#include "model/forward.h"

#include "model/family.h"

/* Bytes of n activations. */
static double activation_bytes(const fbt_forward *f, double n)
{
    return n * (double)fbt_dtype_bytes(fbt_backend_types(f->b)->activations);
}

/* What a product with w has to do; n_added: further [n_rows, n_out] operands. */
static fbt_work product_work(const fbt_forward *f, const fbt_dense *w, int64_t n_rows, int64_t n_added)
{
    const double rows = (double)n_rows, n_in = (double)w->n_in, n_out = (double)w->n_out;
    return (fbt_work){.flops = 2 * rows * n_out * n_in,
                      .bytes = activation_bytes(f, rows * n_in + n_out * n_in + (double)(1 + n_added) * rows * n_out)};
}

static fbt_status mark_bytes(fbt_forward *f, fbt_model_operation operation, double n_bytes)
{
    return fbt_profiler_mark(f->profiler, operation, (fbt_work){.bytes = n_bytes});
}

fbt_status fbt_forward_linear(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_dense *w,
                              fbt_activation activation, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_profiler_begin_product(f->profiler, w->operation, product_work(f, w, n_rows, 0));
    FBT_TRY(fbt_linear(f->b, y, x, w->matrix, activation, n_rows));
    FBT_TRY(fbt_profiler_end_product(f->profiler, FBT_MODEL_ACTIVATION,
                                     activation_bytes(f, 2 * (double)n_rows * (double)w->n_out)));
done:
    return status;
}

fbt_status fbt_forward_linear_norm(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_dense *w,
                                   const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_profiler_begin_product(f->profiler, w->operation, product_work(f, w, n_rows, 1));
    FBT_TRY(fbt_linear_norm(f->b, y, x, w->matrix, y, norm, n_rows));
    FBT_TRY(fbt_profiler_end_product(f->profiler, FBT_MODEL_NORM,
                                     activation_bytes(f, 2 * (double)n_rows * (double)w->n_out)));
done:
    return status;
}

fbt_status fbt_forward_norm(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_layernorm(f->b, y, x, norm, n_rows, f->shape->n_hidden));
    FBT_TRY(mark_bytes(f, FBT_MODEL_NORM, activation_bytes(f, 2.0 * (double)n_rows * (double)f->shape->n_hidden)));
done:
    return status;
}

/* Keys that all queries see together: squared lengths, or lengths where a sequence has one query. */
static double count_pairs(const fbt_packed *packed, int one_query)
{
    double n_pairs = 0;
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        const double length = packed->host_offsets[s + 1] - packed->host_offsets[s];
        n_pairs += one_query ? length : length * length;
    }
    return n_pairs;
}

fbt_status fbt_forward_attend(fbt_forward *f, fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    const double width = (double)(a->n_heads * a->head_dim), n_keys = (double)a->packed->n_rows;
    const double n_queries = a->one_query ? (double)a->packed->n_sequences : n_keys;
    FBT_TRY(fbt_attend(f->b, y, a));
    const double n_pairs = f->profiler->profile == NULL ? 0 : count_pairs(a->packed, a->one_query);
    FBT_TRY(fbt_profiler_mark(
        f->profiler, FBT_MODEL_ATTENTION,
        (fbt_work){.flops = 4 * width * n_pairs, .bytes = activation_bytes(f, 2 * width * (n_queries + n_keys))}));
done:
    return status;
}

fbt_status fbt_forward_gather(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x)
{
    fbt_status status = FBT_OK;
    const int64_t n = f->packed.n_sequences, h = f->shape->n_hidden;
    FBT_TRY(fbt_gather_rows(f->b, y, x, f->buffers[FBT_BUFFER_READOUT], n, h));
    FBT_TRY(mark_bytes(f, FBT_MODEL_READOUT, activation_bytes(f, 2.0 * (double)n * (double)h)));
done:
    return status;
}

/* The rows of tables and prompts that each row adds up, positions once, and the result. */
static double embedding_bytes(const fbt_forward *f, const fbt_embedding *e)
{
    const double h = (double)e->n_dim, n_rows = (double)f->packed.n_rows;
    const double n_prompt = (double)(f->packed.n_sequences * e->n_prompt_tokens);
    const double n_words = e->mode == FBT_PROMPT_CAT || e->mode == FBT_PROMPT_INPUT ? n_rows - n_prompt : n_rows;
    return h * (n_words * (double)f->weights->word.item_bytes +
                (double)f->packed.max_length * (double)f->weights->position.item_bytes + n_prompt * sizeof(float)) +
           activation_bytes(f, h * n_rows);
}

fbt_status fbt_forward_embed(fbt_forward *f, fbt_buffer *x, const fbt_embedding *embedding)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_embed(f->b, x, embedding, &f->packed));
    FBT_TRY(mark_bytes(f, FBT_MODEL_EMBED, embedding_bytes(f, embedding)));
done:
    return status;
}

static fbt_status perturb(fbt_forward *f)
{
    fbt_status status = FBT_OK;
    const fbt_buffer *frozen = f->perturbation->text_only ? f->buffers[FBT_BUFFER_FROZEN] : NULL;
    FBT_TRY(fbt_perturb(f->b, f->buffers[FBT_BUFFER_TOKENS], f->perturbation, f->buffers[FBT_BUFFER_ORIGINS], frozen,
                        &f->packed));
    FBT_TRY(mark_bytes(f, FBT_MODEL_EMBED, 2.0 * sizeof(int32_t) * (double)f->packed.n_rows));
done:
    return status;
}

/* The normalised mean of each sequence's rows. */
static fbt_status pool(fbt_forward *f, const fbt_buffer *x, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    const double h = (double)f->shape->n_hidden;
    FBT_TRY(fbt_mean_pool(f->b, f->buffers[FBT_BUFFER_POOLED], x, packed, f->shape->n_hidden));
    FBT_TRY(
        mark_bytes(f, FBT_MODEL_READOUT,
                   activation_bytes(f, (double)packed->n_rows * h) + (double)packed->n_sequences * h * sizeof(float)));
done:
    return status;
}

fbt_status fbt_forward_features(fbt_forward *f, fbt_features *features)
{
    fbt_status status = FBT_OK;
    const fbt_model_family *family = f->shape->family;
    fbt_buffer *hidden = NULL;
    FBT_TRY(f->perturbation != NULL ? perturb(f) : FBT_OK);
    FBT_TRY(family->forward(f, &hidden));
    if (fbt_readout_scores_words(f->options->readout)) {
        FBT_TRY(family->run_head != NULL ? family->run_head(f, hidden, &hidden) : FBT_OK);
        *features = (fbt_features){.buffer = hidden, .dtype = fbt_backend_types(f->b)->activations, .scale = 1};
    } else {
        const bool is_one_row = fbt_model_reads_one_row(f->shape, f->options->readout);
        FBT_TRY(pool(f, hidden, is_one_row ? &f->read_rows : &f->packed));
        *features = (fbt_features){
            .buffer = f->buffers[FBT_BUFFER_POOLED], .dtype = FBT_F32, .scale = f->options->embedding_scale};
    }
done:
    return status;
}
