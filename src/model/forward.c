#include "model/forward.h"

#include "model/family.h"

static fbt_status perturb(fbt_forward *f)
{
    const fbt_buffer *frozen = f->perturbation->text_only ? f->buffers[FBT_BUFFER_FROZEN] : NULL;
    return fbt_perturb(f->b, f->buffers[FBT_BUFFER_TOKENS], f->perturbation, f->buffers[FBT_BUFFER_ORIGINS], frozen,
                       &f->packed);
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
        FBT_TRY(fbt_mean_pool(f->b, f->buffers[FBT_BUFFER_POOLED], hidden, is_one_row ? &f->read_rows : &f->packed,
                              f->shape->n_hidden));
        *features = (fbt_features){
            .buffer = f->buffers[FBT_BUFFER_POOLED], .dtype = FBT_F32, .scale = f->options->embedding_scale};
    }
done:
    return status;
}
