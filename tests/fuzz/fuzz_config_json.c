/* config.json of a model. */
#include "fuzz.h"

#include "model/family.h"

/* Checks the numbers that later code multiplies and allocates by. */
static void check_shape(const fbt_model_shape *s)
{
    FUZZ_REQUIRE(s->family != NULL);
    FUZZ_REQUIRE(s->n_layers >= 1 && s->n_hidden >= 1 && s->n_heads >= 1 && s->head_dim >= 1);
    FUZZ_REQUIRE(s->vocab_size >= 1 && s->n_intermediate >= 1 && s->n_positions >= 1);
    FUZZ_REQUIRE(s->padding_token >= -1 && s->padding_token < s->vocab_size);
    for (fbt_tensor_walk walk = fbt_tensor_walk_begin(s, FBT_READOUT_MASK, false); fbt_tensor_walk_next(&walk);) {
        int64_t n;
        FUZZ_REQUIRE(walk.rows >= 1 && walk.columns >= 1 && walk.n_rules >= 1);
        FUZZ_REQUIRE(!__builtin_mul_overflow(walk.n_rules * walk.rows, 4 * walk.columns, &n));
        FUZZ_REQUIRE(!__builtin_mul_overflow(n, s->n_layers, &n));
    }
    FUZZ_REQUIRE(s->epsilon > 0 && s->epsilon <= 0.1f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fbt_model_shape shape;
    fuzz_write("config.json", data, n_bytes);
    if (fuzz_outcome(fbt_model_read_shape(fuzz_folder(), &shape))) {
        check_shape(&shape);
    }
    return 0;
}
