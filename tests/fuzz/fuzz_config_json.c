/* config.json of a model. */
#include "fuzz.h"

#include "model/model.h"

#include <string.h>

/* What later code multiplies and allocates by. */
static void check_shape(const fbt_model_shape *s)
{
    FUZZ_REQUIRE(strcmp(s->family, "bert") == 0 || strcmp(s->family, "roberta") == 0);
    FUZZ_REQUIRE(s->n_layers >= 1 && s->n_hidden >= 1 && s->n_heads >= 1 && s->n_intermediate >= 1);
    FUZZ_REQUIRE(s->vocab_size >= 1 && s->n_positions >= 1 && s->position_offset >= 0 && s->n_types >= 0);
    FUZZ_REQUIRE(s->n_hidden % s->n_heads == 0);
    const int64_t sizes[] = {s->vocab_size, s->n_intermediate, s->n_positions + s->position_offset, s->n_types};
    for (int i = 0; i < 4; i++) {
        int64_t n;
        FUZZ_REQUIRE(!__builtin_mul_overflow(sizes[i], 4 * s->n_hidden, &n));
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
