#include "model/forward.h"

#include "model/family.h"

static fbt_status perturb(fbt_forward *f)
{
    const fbt_buffer *frozen = f->perturbation->text_only ? f->buffers[FBT_BUFFER_FROZEN] : NULL;
    return fbt_perturb(f->b, f->buffers[FBT_BUFFER_TOKENS], f->perturbation, f->buffers[FBT_BUFFER_ORIGINS], frozen,
                       &f->packed);
}

fbt_status fbt_forward_gather(fbt_forward *f, fbt_buffer *read, const fbt_buffer *x, fbt_dtype dtype)
{
    return fbt_gather_rows(f->b, read, x, dtype, f->buffers[FBT_BUFFER_READOUT], f->n_read, f->shape->n_hidden);
}

int64_t fbt_forward_n_rows(const fbt_forward *f)
{
    return f->shape->family->is_causal ? f->levels.n_rows : f->packed.n_rows;
}

fbt_status fbt_forward_enter_layer(fbt_forward *f, int64_t layer, fbt_dtype dtype)
{
    fbt_status status = FBT_OK;
    if (f->deep_prompts != NULL && layer > 0) {
        const fbt_layer_prompts prompts = {.prompts = f->deep_prompts[layer],
                                           .rows = f->deep_rows,
                                           .adds = f->mode == FBT_PROMPT_ADD,
                                           .n_dim = f->shape->n_hidden};
        FBT_TRY(fbt_put_prompts(f->b, f->buffers[FBT_BUFFER_X], dtype, &prompts, fbt_forward_n_rows(f)));
    }
    FBT_TRY(f->watch != NULL ? f->watch(f, layer, dtype, f->watcher) : FBT_OK);
done:
    return status;
}

/* The log-probability of every token of every label, [n_sequences, n_targets]. */
static fbt_status score_tokens(fbt_forward *f, const fbt_buffer *hidden, fbt_features *features)
{
    const fbt_weights *w = f->weights;
    const fbt_token_targets *targets = &f->levels.targets;
    const fbt_table *output = w->head.output.table != NULL ? w->head.output.table : w->word.table;
    *features = (fbt_features){.buffer = f->buffers[FBT_BUFFER_LOG_PROBS],
                               .dtype = FBT_F32,
                               .n_dim = targets->n / f->packed.n_sequences,
                               .scale = 1};
    return fbt_token_log_probs(f->b, f->buffers[FBT_BUFFER_LOG_PROBS], hidden, &(fbt_vocabulary){.words = output},
                               targets, f->n_read);
}

/* Features of label words: last hidden states, or log-probabilities of tokens. */
static fbt_status score_words(fbt_forward *f, fbt_buffer *hidden, fbt_features *features)
{
    fbt_status status = FBT_OK;
    const fbt_model_family *family = f->shape->family;
    FBT_TRY(family->run_head != NULL ? family->run_head(f, hidden, &hidden) : FBT_OK);
    if (f->levels.targets.n > 0) {
        FBT_TRY(score_tokens(f, hidden, features));
    } else {
        *features = (fbt_features){
            .buffer = hidden, .dtype = fbt_backend_types(f->b)->activations, .n_dim = f->shape->n_hidden, .scale = 1};
    }
done:
    return status;
}

static fbt_status pool(fbt_forward *f, const fbt_buffer *hidden, fbt_features *features)
{
    const bool is_one_row = fbt_model_reads_one_row(f->shape, f->options->readout);
    *features = (fbt_features){.buffer = f->buffers[FBT_BUFFER_POOLED],
                               .dtype = FBT_F32,
                               .n_dim = f->shape->n_hidden,
                               .scale = f->options->embedding_scale};
    return fbt_mean_pool(f->b, f->buffers[FBT_BUFFER_POOLED], hidden, is_one_row ? &f->read_rows : &f->packed,
                         f->shape->n_hidden);
}

fbt_status fbt_forward_features(fbt_forward *f, fbt_features *features)
{
    fbt_status status = FBT_OK;
    fbt_buffer *hidden = NULL;
    FBT_TRY(f->perturbation != NULL ? perturb(f) : FBT_OK);
    FBT_TRY(f->shape->family->forward(f, &hidden));
    FBT_TRY(fbt_readout_scores_words(f->options->readout) ? score_words(f, hidden, features)
                                                          : pool(f, hidden, features));
done:
    return status;
}
