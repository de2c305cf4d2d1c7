#include "base/rng.h"

typedef struct rng_state {
    fbt_rng_stream stream;
    uint32_t block;  /* the next block */
    uint32_t n_left; /* unread words of `words` */
    uint32_t words[4];
} rng_state;

static void state_set(void *memory, unsigned long seed)
{
    rng_state *state = memory;
    *state = (rng_state){.stream = {.seed = seed}};
}

static unsigned long state_get(void *memory)
{
    rng_state *state = memory;
    if (state->n_left == 0) {
        fbt_rng_block(&state->stream, state->block++, state->words);
        state->n_left = 4;
    }
    return state->words[4 - state->n_left--];
}

static double state_get_double(void *memory)
{
    const uint32_t high = (uint32_t)state_get(memory);
    return fbt_rng_uniform_of((uint32_t[]){high, (uint32_t)state_get(memory)});
}

_Static_assert((int)FBT_RNG_PURPOSES_END <= (int)FBT_RNG_N_PURPOSES, "a purpose would take bits of the client's");

static const gsl_rng_type philox_type = {
    .name = "philox4x32-10",
    .max = 0xffffffffUL,
    .min = 0,
    .size = sizeof(rng_state),
    .set = state_set,
    .get = state_get,
    .get_double = state_get_double,
};

fbt_status fbt_rng_new(gsl_rng **rng)
{
    *rng = gsl_rng_alloc(&philox_type);
    return *rng == NULL ? fbt_fail(FBT_ERR_MEMORY, "out of memory: random number generator") : FBT_OK;
}

void fbt_rng_seek(gsl_rng *rng, const fbt_rng_stream *stream)
{
    rng_state *state = rng->state;
    *state = (rng_state){.stream = *stream};
}
