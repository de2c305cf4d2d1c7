/* Operations of a forward pass above a backend that computes nothing: what it is called with, and what never reaches
 * it. Broken by a check that is left out, or a bad call that is handed on. */
#include "fake_backend.h"

/* The same batch for whatever takes one; LATE_BATCH: whose rows may begin behind row 0. */
#define LATE_BATCH(call)                                                                                               \
    do {                                                                                                               \
        TAKEN(call);                                                                                                   \
        WITH(REFUSED, packed.n_rows, 5, call);                                                                         \
        WITH(REFUSED, packed.n_rows, -1, call);                                                                        \
        WITH(REFUSED, packed.n_rows, 0, call);                                                                         \
        WITH(REFUSED, packed.n_sequences, 0, call);                                                                    \
        WITH(REFUSED, packed.max_length, 2, call);                                                                     \
        WITH(REFUSED, packed.host_offsets, NULL, call);                                                                \
        WITH(REFUSED, packed.offsets, NULL, call);                                                                     \
        WITH(REFUSED, packed.offsets, f.small, call);                                                                  \
        WITH(REFUSED, offsets[0], 1, call);                                                                            \
        WITH(REFUSED, offsets[0], -1, call);                                                                           \
        WITH(REFUSED, offsets[1], 0, call);                                                                            \
        WITH(REFUSED, offsets[1], 5, call);                                                                            \
        f.packed.n_sequences = f.packed.n_rows = 0;                                                                    \
        NOTHING(call);                                                                                                 \
        f.packed.n_sequences = N_SEQUENCES;                                                                            \
        f.packed.n_rows = N;                                                                                           \
    } while (0)

/* The same rows, behind `first` others. */
static void begin_at(int32_t first)
{
    const int32_t lengths[N_SEQUENCES] = {1, N - 1};
    f.offsets[0] = first;
    for (int s = 0; s < N_SEQUENCES; s++) {
        f.offsets[s + 1] = f.offsets[s] + lengths[s];
    }
}

#define AT_ROW(expectation, first, call)                                                                               \
    do {                                                                                                               \
        begin_at(first);                                                                                               \
        expectation(call);                                                                                             \
        begin_at(0);                                                                                                   \
    } while (0)

#define BATCH(call)                                                                                                    \
    do {                                                                                                               \
        LATE_BATCH(call);                                                                                              \
        AT_ROW(REFUSED, 1, call);                                                                                      \
    } while (0)

static void perturb_is_checked(void **state)
{
    (void)state;
#define CALL fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed)
    LATE_BATCH(CALL);
    AT_ROW(TAKEN, BYTES / 4 - N, CALL);
    AT_ROW(REFUSED, BYTES / 4 - N + 1, CALL);
#undef CALL
    WITH(REFUSED, p.rate, -0.1, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.rate, 1.1, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.vocab_size, 0, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    WITH(REFUSED, p.vocab_size, INT64_C(1) << 31, fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.small, &f.p, f.z, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, f.small, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, NULL, NULL, &f.packed));
    REFUSED(fbt_perturb(&f.b, f.x, &f.p, f.z, f.small, &f.packed));
}

static void embed_is_checked(void **state)
{
    (void)state;
#define CALL fbt_embed(&f.b, f.x, &f.e, &f.packed)
    BATCH(CALL);
    REFUSED(fbt_embed(&f.b, f.small, &f.e, &f.packed));
    REFUSED(fbt_embed(&f.b, NULL, &f.e, &f.packed));
    WITH(REFUSED, e.word, NULL, CALL);
    WITH(REFUSED, e.word, f.narrow, CALL);
    WITH(REFUSED, e.position, NULL, CALL);
    WITH(REFUSED, e.norm.gamma, NULL, CALL);
    WITH(REFUSED, e.position, f.narrow, CALL);
    WITH(REFUSED, e.type, f.narrow, CALL);
    WITH(REFUSED, e.position_offset, -1, CALL);
    WITH(REFUSED, e.position_offset, 6, CALL); /* 3 rows less a prompt of 1 on 7 positions */
    WITH(TAKEN, e.position_offset, 5, CALL);
    WITH(REFUSED, e.n_dim, 0, CALL);
    WITH(UNSUPPORTED, e.n_dim, 12, CALL);
    WITH(UNSUPPORTED, e.n_dim, 2048, CALL);
    WITH(REFUSED, e.norm.beta, f.small, CALL);
    WITH(REFUSED, e.mode, FBT_PROMPT_NONE, CALL);
    WITH(REFUSED, e.mode, (fbt_prompt_mode)9, CALL);
    WITH(REFUSED, e.n_prompt_tokens, 0, CALL);
    WITH(REFUSED, e.n_prompt_tokens, 2, CALL); /* the first sequence has one row */
    WITH(REFUSED, e.mode, FBT_PROMPT_ADD, CALL);
    WITH(REFUSED, e.prompts, f.small, CALL);
    WITH(REFUSED, packed.prompt_index, NULL, CALL);
    WITH(REFUSED, packed.tokens, f.small, CALL);
#undef CALL
}

static void products_are_checked(void **state)
{
    (void)state;
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    NOTHING(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, 0));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, -1));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, 65)); /* 65 rows of y: 4,160 bytes */
    REFUSED(fbt_linear(&f.b, f.y, f.small, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, NULL, f.x, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.x, f.x, f.w, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.y, f.x, NULL, FBT_ACT_NONE, N));
    REFUSED(fbt_linear(&f.b, f.y, f.x, f.w, (fbt_activation)17, N));
    TAKEN(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, N));
    NOTHING(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, 0));
    REFUSED(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, -1));
    REFUSED(fbt_linear_residual(&f.b, f.y, f.x, f.w, NULL, N));
    REFUSED(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.small, N));
    REFUSED(fbt_linear_residual(&f.b, f.y, f.x, NULL, f.y, N));
    WITH(REFUSED, b.info.types, fbt_types_find("bf16"), fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, N));
    TAKEN(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    NOTHING(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, 0));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.small, &f.norm, N));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, NULL, &f.norm, N));
    REFUSED(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &(fbt_norm){.gamma = f.z, .beta = f.small}, N));
    WITH(REFUSED, b.info.types, fbt_types_find("bf16"), fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    WITH(UNSUPPORTED, b.info.max_dim, 8, fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
    NOTHING(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, 0, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, 0));
    REFUSED(fbt_layernorm(&f.b, f.x, f.small, FBT_F32, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.small, f.x, FBT_F32, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &(fbt_norm){.beta = f.z}, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, INT64_MAX / 16, DIM)); /* its bytes cannot be counted */
    UNSUPPORTED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, 12));
    REFUSED(fbt_layernorm(&f.b, f.y, f.x, FBT_BF16, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.y, f.x, FBT_I32, &f.norm, N, DIM));
    f.b.info.types = fbt_types_find("bf16");
    TAKEN(fbt_layernorm(&f.b, f.y, f.x, FBT_F32, &f.norm, N, DIM));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, FBT_BF16, &f.norm, N, DIM));
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM)); /* y would overtake x */
}

/* With a matrix of which the backend makes gates in one, and with one where the interface does it in two. */
static void products_with_gates_are_checked(void **state)
{
    (void)state;
    fake_expect(FBT_OK, 2, fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, N), "linear and gate", __LINE__);
    f.w->makes_gate = 1;
    TAKEN(fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, N));
    NOTHING(fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, 0));
    REFUSED(fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, -1));
    REFUSED(fbt_linear_gate(&f.b, f.x, f.z, f.x, f.w, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.z, f.z, f.x, f.w, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.y, f.x, f.x, f.w, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.y, f.small, f.x, f.w, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.small, f.z, f.x, f.w, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.y, f.z, f.x, NULL, FBT_ACT_SILU, N));
    REFUSED(fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, (fbt_activation)6, N));
    WITH(REFUSED, b.info.types, fbt_types_find("bf16"), fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, N));
}

static void attention_is_checked(void **state)
{
    (void)state;
#define CALL fbt_attend(&f.b, f.y, &f.a)
    LATE_BATCH(CALL);
    AT_ROW(TAKEN, BYTES / (2 * DIM * 4) - N, CALL); /* as many rows as q has */
    AT_ROW(REFUSED, BYTES / (2 * DIM * 4) - N + 1, CALL);
    REFUSED(fbt_attend(&f.b, f.x, &f.a)); /* y is x, where the operands are */
    REFUSED(fbt_attend(&f.b, f.small, &f.a));
    WITH(REFUSED, a.n_heads, 0, CALL);
    WITH(REFUSED, a.head_dim, 0, CALL);
    WITH(REFUSED, a.scale, 0, CALL);
    WITH(UNSUPPORTED, a.head_dim, 12, CALL);
    WITH(UNSUPPORTED, a.head_dim, 72, CALL);
    WITH(REFUSED, a.q.column, -8, CALL);
    WITH(REFUSED, a.q.buffer, NULL, CALL);
    WITH(REFUSED, a.k.column, DIM + 8, CALL);
    WITH(REFUSED, a.v.stride, 8, CALL);
    WITH(REFUSED, a.v.buffer, f.small, CALL);
    WITH(UNSUPPORTED, a.k.column, 4, CALL);
    WITH(UNSUPPORTED, a.v.stride, 20, CALL);
    WITH(TAKEN, a.one_query, 1, CALL);
#undef CALL
}

/* A chain of two prefixes, each two sequences; one link is spoilt at a time. */
static void prefixes_are_checked(void **state)
{
    fbt_prefix third;
    (void)state;
    f.b.info.features = ~0u;
    f.a.prefix = &f.prefix;
    f.a.is_causal = 1;
    third = f.prefix;
#define CALL fbt_attend(&f.b, f.y, &f.a)
    TAKEN(CALL);
    WITH(REFUSED, a.is_causal, 0, CALL);
    WITH(REFUSED, a.prefix, (third.before = &f.prefix, &third), CALL); /* a chain of three */
    WITH(REFUSED, index[1], -2, CALL);
    WITH(REFUSED, index[1], 2, CALL);
    WITH(TAKEN, index[1], -1, CALL);
    WITH(REFUSED, prefix.host_index, NULL, CALL);
    WITH(REFUSED, prefix.index, NULL, CALL);
    WITH(REFUSED, before.index, f.small, CALL);
    WITH(REFUSED, before.k.buffer, f.small, CALL);
    WITH(REFUSED, prefix.v.buffer, NULL, CALL);
    WITH(REFUSED, prefix.k.buffer, f.y, CALL); /* y is an operand */
    WITH(REFUSED, before.v.buffer, f.y, CALL);
    WITH(REFUSED, prefix.k.stride, 8, CALL);
    WITH(UNSUPPORTED, prefix.v.stride, 20, CALL);
    const fbt_packed none = {.offsets = f.z, .host_offsets = f.offsets};
    WITH(REFUSED, before.packed, &none, CALL);
#undef CALL
}

static void row_embeddings_are_checked(void **state)
{
    (void)state;
#define CALL fbt_embed_rows(&f.b, f.x, &f.rows, N)
    TAKEN(CALL);
    NOTHING(fbt_embed_rows(&f.b, f.x, &f.rows, 0));
    REFUSED(fbt_embed_rows(&f.b, f.x, &f.rows, -1));
    REFUSED(fbt_embed_rows(&f.b, f.small, &f.rows, N));
    WITH(REFUSED, rows.word, NULL, CALL);
    WITH(REFUSED, rows.word, f.narrow, CALL);
    WITH(REFUSED, rows.position, f.narrow, CALL);
    WITH(REFUSED, rows.position_offset, -1, CALL);
    WITH(REFUSED, rows.n_dim, 0, CALL);
    WITH(UNSUPPORTED, rows.n_dim, 12, CALL);
    WITH(REFUSED, rows.tokens, NULL, CALL);
    WITH(REFUSED, rows.tokens, f.small, CALL);
    WITH(REFUSED, rows.positions, NULL, CALL);
    WITH(REFUSED, rows.prompts, NULL, CALL);
    WITH(REFUSED, rows.prompts, f.small, CALL);
    WITH(REFUSED, rows.prompt_rows, NULL, CALL);
    WITH(REFUSED, rows.prompt_rows, f.small, CALL);
    f.rows.prompts = f.rows.prompt_rows = NULL;
    TAKEN(CALL);
    f.rows.position = NULL;
    WITH(TAKEN, rows.positions, NULL, CALL);
#undef CALL
}

static void heads_are_checked(void **state)
{
    (void)state;
    f.b.info.features = FBT_FEATURE_RMS_NORM;
#define CALL fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.rms, N)
    TAKEN(CALL);
    NOTHING(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.rms, 0));
    REFUSED(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.rms, -1));
    REFUSED(fbt_norm_heads(&f.b, f.y, &f.a.q, 2, 8, &f.rms, N));
    REFUSED(fbt_norm_heads(&f.b, f.x, &f.a.q, 0, 8, &f.rms, N));
    REFUSED(fbt_norm_heads(&f.b, f.x, &f.a.q, 5, 8, &f.rms, N)); /* more than a row has */
    REFUSED(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 0, &f.rms, N));
    UNSUPPORTED(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 12, &f.rms, N));
    REFUSED(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.norm, N)); /* of kind layer */
    WITH(REFUSED, rms.gamma, NULL, CALL);
    WITH(REFUSED, a.q.column, 24, CALL);
    WITH(UNSUPPORTED, b.info.features, 0, CALL);
#undef CALL
#define CALL fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &f.rotary, N)
    TAKEN(CALL);
    NOTHING(fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &f.rotary, 0));
    REFUSED(fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &f.rotary, -1));
    REFUSED(fbt_rotate(&f.b, f.y, &f.a.q, 2, 8, &f.rotary, N));
    REFUSED(fbt_rotate(&f.b, f.x, &f.a.q, 5, 8, &f.rotary, N));
    WITH(REFUSED, rotary.n_rotated, 0, CALL);
    WITH(REFUSED, rotary.n_rotated, 7, CALL);
    WITH(REFUSED, rotary.n_rotated, 16, CALL);
    WITH(REFUSED, rotary.n_rotated, 6, CALL); /* the tables have rows of 4 */
    WITH(REFUSED, rotary.cosine, NULL, CALL);
    WITH(REFUSED, rotary.sine, f.narrow, CALL);
    WITH(REFUSED, turns->dtype, FBT_F16, CALL);
    WITH(REFUSED, rotary.positions, NULL, CALL);
    WITH(REFUSED, rotary.positions, f.small, CALL);
    fbt_table *shorter;
    const float rows[8] = {0};
    assert_int_equal(fbt_table_new(&f.b, rows, FBT_F32, 2, 4, &shorter), FBT_OK);
    fake.n_calls = 0;
    WITH(REFUSED, rotary.sine, shorter, CALL);
    fbt_table_free(&f.b, shorter);
#undef CALL
}

static void gates_are_checked(void **state)
{
    (void)state;
    TAKEN(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, DIM));
    NOTHING(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, 0, DIM));
    REFUSED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, -1, DIM));
    REFUSED(fbt_gate(&f.b, f.y, f.x, (fbt_activation)6, N, DIM));
    REFUSED(fbt_gate(&f.b, f.x, f.x, FBT_ACT_SILU, N, DIM));
    REFUSED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, 0));
    UNSUPPORTED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, 12));
    TAKEN(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, 32, DIM));
    REFUSED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, 33, DIM)); /* rows of x are twice as long as those of y */
    REFUSED(fbt_gate(&f.b, f.small, f.x, FBT_ACT_SILU, N, DIM));
}

/* With and without the feature. Broken by a field that the backend passes over, or one that has no feature. */
static void features_are_asked_for(void **state)
{
    (void)state;
    const fbt_packed fewer = {
        .offsets = f.z, .host_offsets = f.offsets, .n_sequences = 1, .n_rows = 1, .max_length = 3};
    const int32_t one_and_two[] = {0, 1, 3};
    const fbt_packed short_of_one = {
        .offsets = f.z, .host_offsets = one_and_two, .n_sequences = 2, .n_rows = 3, .max_length = 2};
    const fbt_norm odd = {.gamma = f.z, .beta = f.z, .kind = FBT_NORM_RMS};
    for (int i = 0; i < 2; i++) {
        f.b.info.features = i == 0 ? 0 : ~0u;
#define FEATURE(member, value, call)                                                                                   \
    do {                                                                                                               \
        if (i == 0) {                                                                                                  \
            WITH(UNSUPPORTED, member, value, call);                                                                    \
        } else {                                                                                                       \
            WITH(TAKEN, member, value, call);                                                                          \
        }                                                                                                              \
    } while (0)
        FEATURE(a.n_kv_heads, 1, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(a.keys, &f.packed, fbt_attend(&f.b, f.y, &f.a));
        FEATURE(a.is_causal, 1, fbt_attend(&f.b, f.y, &f.a));
        f.b.info.features |= FBT_FEATURE_CAUSAL;
        f.a.is_causal = 1;
        FEATURE(a.prefix, &f.prefix, fbt_attend(&f.b, f.y, &f.a));
        f.a.is_causal = 0;
        FEATURE(norm, f.rms, fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
        FEATURE(norm, f.rms, fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
        FEATURE(packed, f.packed, fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_SILU, N));
#undef FEATURE
        WITH(TAKEN, a.n_kv_heads, 2, fbt_attend(&f.b, f.y, &f.a));
    }
    WITH(REFUSED, a.n_kv_heads, 3, fbt_attend(&f.b, f.y, &f.a));
    WITH(REFUSED, a.n_kv_heads, -2, fbt_attend(&f.b, f.y, &f.a));
    WITH(REFUSED, a.keys, &fewer, fbt_attend(&f.b, f.y, &f.a));
    f.a.is_causal = 1;
    WITH(REFUSED, a.keys, &short_of_one, fbt_attend(&f.b, f.y, &f.a)); /* queries that see nothing */
    f.a.is_causal = 0;
    REFUSED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &odd, N, DIM));
    WITH(REFUSED, norm.beta, NULL, fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
    WITH(REFUSED, norm.kind, (fbt_norm_kind)2, fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
}

static void readout_is_checked(void **state)
{
    (void)state;
    BATCH(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.small, f.x, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.y, NULL, &f.packed, DIM));
    REFUSED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, 0));
    UNSUPPORTED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, 12));
    TAKEN(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.z, N, DIM));
    NOTHING(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.z, 0, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.z, -1, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.z, N, -8));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.small, FBT_F32, f.z, N, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.small, f.x, FBT_F32, f.z, N, DIM));
    REFUSED(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.small, N, DIM));
    TAKEN(fbt_label_logits(&f.b, f.y, f.x, FBT_BF16, f.z, NULL, 1, N, 2, DIM));
    NOTHING(fbt_label_logits(&f.b, f.y, f.x, FBT_BF16, f.z, NULL, 1, 0, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F16, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 0, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 2, 0));
    REFUSED(fbt_label_logits(&f.b, f.small, f.x, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.small, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.small, NULL, 1, N, 2, DIM));
    REFUSED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, f.small, 1, N, 2, DIM));
    TAKEN(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    NOTHING(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, 0, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 0));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, (fbt_loss)5, N, 2));
    REFUSED(fbt_losses(&f.b, f.small, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.small, f.z, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.small, f.z, FBT_LOSS_CE, N, 2));
    REFUSED(fbt_losses(&f.b, f.y, f.x, f.z, f.small, FBT_LOSS_CE, N, 2));
}

static void prompts_of_layers_are_checked(void **state)
{
    fbt_layer_prompts prompts = {.prompts = f.y, .rows = f.z, .n_dim = DIM};
    (void)state;
#define CALL fbt_put_prompts(&f.b, f.x, FBT_F32, &prompts, N)
    TAKEN(CALL);
    NOTHING(fbt_put_prompts(&f.b, f.x, FBT_F32, &prompts, 0));
    REFUSED(fbt_put_prompts(&f.b, f.x, FBT_F32, &prompts, -1));
    REFUSED(fbt_put_prompts(&f.b, f.small, FBT_F32, &prompts, N));
    REFUSED(fbt_put_prompts(&f.b, f.x, FBT_F16, &prompts, N));
    REFUSED(fbt_put_prompts(&f.b, f.y, FBT_F32, &prompts, N)); /* y holds the prompts */
    prompts.rows = f.small;
    REFUSED(CALL);
    prompts.rows = f.z;
    prompts.prompts = NULL;
    REFUSED(CALL);
    prompts.prompts = f.y;
    prompts.n_dim = 12;
    UNSUPPORTED(CALL);
#undef CALL
}

/* A backend that computes nothing at all. */
static void operations_may_be_left_out(void **state)
{
    const int64_t size[3] = {1, 2, 3};
    static fbt_backend_ops none;
    double seconds;
    (void)state;
    none = (fbt_backend_ops){
        .buffer_free = f.b.ops->buffer_free, .matrix_free = f.b.ops->matrix_free, .table_free = f.b.ops->table_free};
    f.b.ops = &none;
    UNSUPPORTED(fbt_perturb(&f.b, f.x, &f.p, f.z, NULL, &f.packed));
    UNSUPPORTED(fbt_embed(&f.b, f.x, &f.e, &f.packed));
    UNSUPPORTED(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    assert_int_equal(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N), FBT_ERR_UNSUPPORTED);
    assert_non_null(strstr(fbt_error_message(), "fake"));
    assert_non_null(strstr(fbt_error_message(), "linear_norm"));
    UNSUPPORTED(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
    UNSUPPORTED(fbt_embed_rows(&f.b, f.x, &f.rows, N));
    UNSUPPORTED(
        fbt_put_prompts(&f.b, f.x, FBT_F32, &(fbt_layer_prompts){.prompts = f.y, .rows = f.z, .n_dim = DIM}, N));
    UNSUPPORTED(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, N));
    UNSUPPORTED(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.rms, N));
    UNSUPPORTED(fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &f.rotary, N));
    UNSUPPORTED(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, 8));
    UNSUPPORTED(fbt_linear_gate(&f.b, f.y, f.z, f.x, f.w, FBT_ACT_SILU, N));
    UNSUPPORTED(fbt_attend(&f.b, f.y, &f.a));
    UNSUPPORTED(fbt_gather_rows(&f.b, f.y, f.x, FBT_F32, f.z, N, DIM));
    UNSUPPORTED(fbt_mean_pool(&f.b, f.y, f.x, &f.packed, DIM));
    UNSUPPORTED(fbt_label_logits(&f.b, f.y, f.x, FBT_F32, f.z, NULL, 1, N, 2, DIM));
    UNSUPPORTED(fbt_losses(&f.b, f.y, f.x, f.z, f.z, FBT_LOSS_CE, N, 2));
    UNSUPPORTED(fbt_library_product(&f.b, fbt_backend_types(&f.b), size, 1, &seconds));
    UNSUPPORTED(fbt_library_copy(&f.b, 1, 1, &seconds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(perturb_is_checked),
        CASE(embed_is_checked),
        CASE(products_are_checked),
        CASE(attention_is_checked),
        CASE(prefixes_are_checked),
        CASE(row_embeddings_are_checked),
        CASE(heads_are_checked),
        CASE(gates_are_checked),
        CASE(products_with_gates_are_checked),
        CASE(features_are_asked_for),
        CASE(readout_is_checked),
        CASE(operations_may_be_left_out),
        CASE(prompts_of_layers_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
