/* The order in which searches take solutions. */
#ifndef FBT_OPTIM_ORDER_H
#define FBT_OPTIM_ORDER_H

#include <stdint.h>

/* order: [n], the indices by rising fitness; of equal ones the lower index first. fitness: [n], not NaN. */
void fbt_order_by_fitness(int64_t n, const double *fitness, int64_t *order);

#endif
