/* Solutions that a search is told: whether it can learn from them, and in which order it takes them. */
#ifndef FBT_OPTIM_ORDER_H
#define FBT_OPTIM_ORDER_H

#include "base/status.h"

#include <stdint.h>

/* x: [n, d]; fitness: [n]. name, generation: of the search, for the message. Errors: FBT_ERR_NUMERIC (a fitness is NaN,
 * an x not finite). */
fbt_status fbt_order_check(const char *name, int64_t generation, int64_t n, int64_t d, const double *x,
                           const double *fitness);

/* order: [n], the indices by rising fitness; of equal ones the lower index first. fitness: [n], not NaN. */
void fbt_order_by_fitness(int64_t n, const double *fitness, int64_t *order);

#endif
