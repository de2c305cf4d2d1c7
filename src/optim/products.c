/* Which copy of the products to use. */
#include "optim/products.h"

#include <stddef.h>

extern const fbt_products fbt_products_plain;
#ifdef FBT_X86
extern const fbt_products fbt_products_avx2, fbt_products_avx512;
#endif

const fbt_products *const *fbt_products_all(void)
{
#ifdef FBT_X86
    static const fbt_products *const all[] = {&fbt_products_avx512, &fbt_products_avx2, &fbt_products_plain, NULL};
    if (__builtin_cpu_supports("avx512f")) {
        return all;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? all + 1 : all + 2;
#else
    static const fbt_products *const all[] = {&fbt_products_plain, NULL};
    return all;
#endif
}

const fbt_products *fbt_products_get(void)
{
    return fbt_products_all()[0];
}
