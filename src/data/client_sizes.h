/* How many training samples each client holds. Every rank computes the same from the seed. */
#ifndef FBT_DATA_CLIENT_SIZES_H
#define FBT_DATA_CLIENT_SIZES_H

#include "base/choices.h"
#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_client_sizes_options {
    uint64_t seed;
    fbt_sizes_kind kind;
    double alpha; /* dirichlet: concentration, 1e-6 .. 1e6; small: most samples at few clients */
    double sigma; /* lognormal: standard deviation of a size's logarithm, up to 100         */
} fbt_client_sizes_options;

/* sizes: [n_clients], each at least 1, n_samples in all.
 *   - equal: they differ by at most one, the first clients having the larger.
 *   - else client k's share is w_k / sum w, drawn from the stream (FBT_RNG_PARTITION, client = k, generation = 3):
 *     dirichlet: w_k ~ Gamma(alpha), so that the shares are Dirichlet(alpha, ..., alpha) (Yurochkin et al. 2019);
 *     lognormal: w_k = exp(sigma N(0, 1)).
 *     Clients whose share is less than one sample have one, and the others divide the rest by their w_k; fractions are
 *     rounded by largest remainders (Hamilton's method; ties to the lower client).
 * Needs 1 <= n_clients <= n_samples < 2^24. O(n_clients) but for sorting the remainders. Errors: FBT_ERR_CONFIG (alpha
 * or sigma out of range), FBT_ERR_MEMORY. */
fbt_status fbt_client_sizes_make(const fbt_client_sizes_options *options, int64_t n_clients, int64_t n_samples,
                                 int64_t *sizes);

#ifdef __cplusplus
}
#endif

#endif
