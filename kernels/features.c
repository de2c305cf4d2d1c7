#include "kernels/features.h"

#include "kernels/backend_ops.h"

#include <inttypes.h>

/* field: what asks for the feature. */
static fbt_status require(const fbt_backend *b, fbt_feature feature, const char *what, const char *field)
{
    return (b->info.features & feature) != 0
               ? FBT_OK
               : fbt_fail(FBT_ERR_UNSUPPORTED, "%s: backend %s does not compute %s", what, b->info.name, field);
}

int64_t fbt_attention_kv_heads(const fbt_attention *a)
{
    return a->n_kv_heads == 0 ? a->n_heads : a->n_kv_heads;
}

const fbt_packed *fbt_attention_keys(const fbt_attention *a)
{
    return a->keys == NULL ? a->packed : a->keys;
}

fbt_status fbt_check_norm_features(const fbt_backend *b, const fbt_norm *norm, const char *what)
{
    fbt_status status = FBT_OK;
    if (norm->kind != FBT_NORM_LAYER && norm->kind != FBT_NORM_RMS) {
        FBT_FAIL(FBT_ERR_ARG, "%s: there is no norm of kind %d", what, (int)norm->kind);
    }
    if (norm->kind == FBT_NORM_RMS) {
        FBT_TRY(require(b, FBT_FEATURE_RMS_NORM, what, "norms of kind rms"));
    }
    if ((norm->beta == NULL) != (norm->kind == FBT_NORM_RMS)) {
        FBT_FAIL(FBT_ERR_ARG, "%s: a norm of kind %s has %s beta", what, norm->beta == NULL ? "layer" : "rms",
                 norm->beta == NULL ? "a" : "no");
    }
done:
    return status;
}

fbt_status fbt_check_attention_features(const fbt_backend *b, const fbt_attention *a)
{
    static const char *const what = "attention";
    fbt_status status = FBT_OK;
    if (a->n_kv_heads < 0 || (a->n_kv_heads > 0 && a->n_heads % a->n_kv_heads != 0)) {
        FBT_FAIL(FBT_ERR_ARG, "attention: n_kv_heads %" PRId64 " does not divide n_heads %" PRId64, a->n_kv_heads,
                 a->n_heads);
    }
    if (a->keys != NULL && a->keys->n_sequences != a->packed->n_sequences) {
        FBT_FAIL(FBT_ERR_ARG, "attention: keys of %" PRId64 " sequences for queries of %" PRId64, a->keys->n_sequences,
                 a->packed->n_sequences);
    }
    FBT_TRY(fbt_attention_kv_heads(a) != a->n_heads ? require(b, FBT_FEATURE_KV_HEADS, what, "n_kv_heads below n_heads")
                                                    : FBT_OK);
    FBT_TRY(a->keys != NULL ? require(b, FBT_FEATURE_KEY_ROWS, what, "keys with rows of their own") : FBT_OK);
    FBT_TRY(a->is_causal ? require(b, FBT_FEATURE_CAUSAL, what, "is_causal") : FBT_OK);
    FBT_TRY(a->prefix != NULL ? require(b, FBT_FEATURE_PREFIX, what, "a prefix") : FBT_OK);
done:
    return status;
}

fbt_status fbt_check_embedding_features(const fbt_backend *b, const fbt_embedding *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(e->position == NULL ? require(b, FBT_FEATURE_PLAIN_EMBEDDING, "embed", "tokens without position table")
                                : FBT_OK);
    FBT_TRY(e->norm.gamma == NULL ? require(b, FBT_FEATURE_PLAIN_EMBEDDING, "embed", "tokens without norm") : FBT_OK);
    if (e->norm.kind != FBT_NORM_LAYER) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "embed: backend %s does not compute norms of kind rms", b->info.name);
    }
done:
    return status;
}

fbt_status fbt_check_activation_features(const fbt_backend *b, fbt_activation activation)
{
    if ((unsigned)activation > FBT_ACT_SILU) {
        return fbt_fail(FBT_ERR_ARG, "linear: there is no activation %d", (int)activation);
    }
    return activation == FBT_ACT_SILU ? require(b, FBT_FEATURE_SILU, "linear", "the activation silu") : FBT_OK;
}
