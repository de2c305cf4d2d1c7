#include "fed/privacy.h"

#include <math.h>

double fbt_privacy_epsilon(const fbt_settings *settings, int64_t n_exchanges, int64_t n_rounds)
{
    const double z = settings->privacy.noise_multiplier;
    const double rho = (double)(n_rounds * n_exchanges) / (2 * z * z);
    return z > 0 ? rho + 2 * sqrt(rho * -log(settings->privacy.delta)) : NAN;
}
