/* Warp operations on what the 32 lanes brought along: matrix products, matrix loads, shuffles, votes. Called by
 * fibers.cc once all lanes have arrived. */
#ifndef FBT_CUDA_EMULATED_WARP_H
#define FBT_CUDA_EMULATED_WARP_H

#include <stdint.h>

namespace emulated
{

struct Mma {
    float *d;          /* [4] */
    const uint32_t *a; /* [4] */
    const uint32_t *b; /* [2] */
};
void perform_mma(void *const (&arguments)[32]);

struct Ldmatrix {
    uint32_t *r; /* [4] */
    const void *row;
};
void perform_ldmatrix(void *const (&arguments)[32]);
void perform_ldmatrix_trans(void *const (&arguments)[32]);

struct Shuffle {
    uint64_t given, taken;
    int source; /* lane; as the operation computed it from its own operands */
};
void perform_shuffle(void *const (&arguments)[32]);

struct Vote {
    bool given;
    unsigned taken; /* bit l: lane l gave true */
};
void perform_vote(void *const (&arguments)[32]);

} // namespace emulated

#endif
