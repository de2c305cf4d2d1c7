#include "kernels/features.h"

#include "kernels/backend_ops.h"

#include <inttypes.h>

const char *fbt_feature_name(fbt_feature feature)
{
    switch (feature) {
    case FBT_FEATURE_RMS_NORM:
        return "norms of kind rms";
    case FBT_FEATURE_KV_HEADS:
        return "fewer heads of keys than of queries (n_kv_heads)";
    case FBT_FEATURE_KEY_ROWS:
        return "keys with rows of their own";
    case FBT_FEATURE_CAUSAL:
        return "causal attention (is_causal)";
    case FBT_FEATURE_PREFIX:
        return "shared prefixes";
    case FBT_FEATURE_SILU:
        return "the activation silu";
    case FBT_FEATURE_LOG_PROBS:
        return "log-probabilities of tokens";
    }
    return "this";
}

static fbt_status lacks(const fbt_backend *b, fbt_feature feature, const char *what)
{
    return fbt_fail(FBT_ERR_UNSUPPORTED, "%s: backend %s does not compute %s", what, b->info.name,
                    fbt_feature_name(feature));
}

static fbt_status require(const fbt_backend *b, fbt_feature feature, const char *what)
{
    return (b->info.features & feature) != 0 ? FBT_OK : lacks(b, feature, what);
}

int64_t fbt_attention_kv_heads(const fbt_attention *a)
{
    return a->n_kv_heads == 0 ? a->n_heads : a->n_kv_heads;
}

const fbt_packed *fbt_attention_keys(const fbt_attention *a)
{
    return a->keys == NULL ? a->packed : a->keys;
}

int64_t fbt_attention_prefix_rows(const fbt_attention *a, int64_t sequence)
{
    int64_t n_rows = 0, i = sequence;
    for (const fbt_prefix *prefix = a->prefix; prefix != NULL; prefix = prefix->before) {
        i = prefix->host_index[i];
        if (i < 0) {
            break;
        }
        n_rows += prefix->packed->host_offsets[i + 1] - prefix->packed->host_offsets[i];
    }
    return n_rows;
}

fbt_status fbt_check_norm_features(const fbt_backend *b, const fbt_norm *norm, const char *what)
{
    fbt_status status = FBT_OK;
    if (norm->kind != FBT_NORM_LAYER && norm->kind != FBT_NORM_RMS) {
        FBT_FAIL(FBT_ERR_ARG, "%s: there is no norm of kind %d", what, (int)norm->kind);
    }
    if (norm->kind == FBT_NORM_RMS) {
        FBT_TRY(require(b, FBT_FEATURE_RMS_NORM, what));
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
    if (a->prefix != NULL && !a->is_causal) {
        FBT_FAIL(FBT_ERR_ARG, "attention: there is a prefix, but is_causal is 0");
    }
    FBT_TRY(fbt_attention_kv_heads(a) != a->n_heads ? require(b, FBT_FEATURE_KV_HEADS, what) : FBT_OK);
    FBT_TRY(a->keys != NULL ? require(b, FBT_FEATURE_KEY_ROWS, what) : FBT_OK);
    FBT_TRY(a->is_causal ? require(b, FBT_FEATURE_CAUSAL, what) : FBT_OK);
    FBT_TRY(a->prefix != NULL ? require(b, FBT_FEATURE_PREFIX, what) : FBT_OK);
done:
    return status;
}

fbt_status fbt_check_embedding_features(const fbt_backend *b, const fbt_embedding *e)
{
    return e->norm.kind == FBT_NORM_LAYER ? FBT_OK : lacks(b, FBT_FEATURE_RMS_NORM, "embed");
}

fbt_status fbt_check_activation(fbt_activation activation, const char *what)
{
    return (unsigned)activation <= FBT_ACT_SILU
               ? FBT_OK
               : fbt_fail(FBT_ERR_ARG, "%s: there is no activation %d", what, (int)activation);
}

fbt_status fbt_check_activation_features(const fbt_backend *b, fbt_activation activation)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_activation(activation, "linear"));
    FBT_TRY(activation == FBT_ACT_SILU ? require(b, FBT_FEATURE_SILU, "linear") : FBT_OK);
done:
    return status;
}
