/* How far hidden states spread at each layer's input. */
#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/smaller.h"
#include "model/model_internal.h"

#include <gsl/gsl_rng.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { N_SEQUENCES = 16, N_TOKENS = 32, N_CLIPS = 5 };
static const double CLIP_STDS = 3;

/* Where the forward pass leaves what it has seen. */
typedef struct spread {
    double *stds;
    float *x;         /* X's rows, room for those of the batch ... */
    uint16_t *halves; /* ... as bf16                               */
} spread;

static void find_moments(const float *x, int64_t n, double *mean, double *std)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        squares += (x[i] - *mean) * (x[i] - *mean);
    }
    *std = sqrt(squares / (double)n);
}

/* Standard deviation of n values after the clips, in place. */
static double clipped_std(float *x, int64_t n)
{
    double mean, std;
    find_moments(x, n, &mean, &std);
    for (int clip = 0; clip < N_CLIPS; clip++) {
        const double least = mean - CLIP_STDS * std, most = mean + CLIP_STDS * std;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)fmin(fmax(x[i], least), most);
        }
        find_moments(x, n, &mean, &std);
    }
    return std;
}

/* The n items of X, of dtype, as floats. */
static fbt_status read_items(const fbt_forward *f, const spread *s, fbt_dtype dtype, int64_t n)
{
    fbt_status status = FBT_OK;
    void *items = dtype == FBT_BF16 ? (void *)s->halves : s->x;
    FBT_TRY(fbt_buffer_read(f->b, items, f->buffers[FBT_BUFFER_X], n * (int64_t)fbt_dtype_bytes(dtype)));
    FBT_TRY(fbt_stream_sync(f->b));
    for (int64_t i = 0; dtype == FBT_BF16 && i < n; i++) {
        s->x[i] = fbt_bf16_to_float(s->halves[i]);
    }
done:
    return status;
}

static fbt_status look(const fbt_forward *f, int64_t layer, fbt_dtype dtype, void *watcher)
{
    fbt_status status = FBT_OK;
    const spread *s = watcher;
    const int64_t n = fbt_forward_n_rows(f) * f->shape->n_hidden;
    if (layer == 0) {
        goto done; /* the word embeddings', which are known */
    }
    FBT_TRY(read_items(f, s, dtype, n));
    s->stds[layer] = clipped_std(s->x, n);
    if (!(s->stds[layer] > 0 && isfinite(s->stds[layer]))) {
        FBT_FAIL(FBT_ERR_NUMERIC,
                 "the hidden states of layer %" PRId64
                 " have the standard deviation %g, by which no prompt can be scaled; set prompt.hidden_std, or "
                 "prompt.deep to none",
                 layer, s->stds[layer]);
    }
done:
    return status;
}

/* Words but the padding, which positions are counted behind. */
static fbt_status draw_sequence(const fbt_model *model, gsl_rng *rng, int32_t n, int32_t *tokens, fbt_batch *batch)
{
    const fbt_model_shape *shape = &model->shape;
    const bool has_padding = shape->padding_token >= 0 && shape->padding_token < shape->vocab_size;
    const bool is_read_first = !fbt_readout_scores_words(model->options.readout);
    for (int32_t i = 0; i < n; i++) {
        const int64_t token = (int64_t)gsl_rng_uniform_int(rng, (unsigned long)(shape->vocab_size - has_padding));
        tokens[i] = (int32_t)(has_padding && token >= shape->padding_token ? token + 1 : token);
    }
    const fbt_sequence sequence = {
        .tokens = tokens, .n_tokens = n, .readout = is_read_first ? 0 : n - 1, .origin = {.client = -1}};
    return fbt_batch_append(batch, &sequence, 0, 0);
}

static fbt_status draw_batch(const fbt_model *model, uint64_t seed, fbt_batch *batch)
{
    fbt_status status = FBT_OK;
    gsl_rng *rng = NULL;
    const char *what;
    int32_t tokens[N_TOKENS];
    const int64_t room = fbt_model_max_length(&model->shape, &what) - fbt_model_label_rows(model);
    fbt_batch_reset(batch);
    FBT_TRY(fbt_rng_new(&rng));
    for (uint32_t s = 0; s < N_SEQUENCES; s++) {
        fbt_rng_seek(rng, &(fbt_rng_stream){.seed = seed, .purpose = FBT_RNG_PROJECTION, .client = 1 + s});
        FBT_TRY(draw_sequence(model, rng, (int32_t)fbt_smaller(room, N_TOKENS), tokens, batch));
    }
done:
    gsl_rng_free(rng);
    return status;
}

fbt_status fbt_model_hidden_stds(fbt_model *model, uint64_t seed, double *stds)
{
    fbt_status status = FBT_OK;
    fbt_batch batch = {0};
    fbt_forward forward;
    fbt_features features;
    spread s = {.stds = stds};
    int64_t n_items;
    stds[0] = model->weights.embedding_std;
    FBT_TRY(draw_batch(model, seed, &batch));
    FBT_TRY(fbt_model_check_batch(model, &batch, FBT_PROMPT_NONE));
    FBT_TRY(fbt_model_stage(model, &batch, FBT_PROMPT_NONE, &forward));
    n_items = fbt_forward_n_rows(&forward) * model->shape.n_hidden;
    FBT_TRY(fbt_memory_alloc(&s.x, n_items, sizeof *s.x));
    FBT_TRY(fbt_memory_alloc(&s.halves, n_items, sizeof *s.halves));
    forward.watch = look;
    forward.watcher = &s;
    FBT_TRY(fbt_forward_features(&forward, &features));
    FBT_TRY(fbt_stream_sync(model->b));
done:
    free(s.x);
    free(s.halves);
    fbt_batch_clear(&batch);
    return status;
}
