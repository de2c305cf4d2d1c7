/* Activations by their definitions, in double: the reference of the backends' tests. */
#ifndef FBT_TESTS_ACTIVATION_H
#define FBT_TESTS_ACTIVATION_H

#include "kernels/backend.h"

#include <math.h>

static inline double reference_activate(fbt_activation activation, double x)
{
    switch (activation) {
    case FBT_ACT_GELU_ERF:
        return 0.5 * x * erfc(-x / sqrt(2));
    case FBT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case FBT_ACT_RELU:
        return x > 0 ? x : 0;
    case FBT_ACT_TANH:
        return tanh(x);
    case FBT_ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

#endif
