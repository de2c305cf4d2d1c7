/* Differential privacy of clients: the guarantee of the noise that transform_privacy.c adds (docs/privacy.md). */
#ifndef FBT_FED_PRIVACY_H
#define FBT_FED_PRIVACY_H

#include "config/settings.h"

/* Epsilon of (epsilon, privacy.delta)-differential privacy after so many rounds. Each of n_exchanges averages a round
 * is a Gaussian mechanism of noise multiplier z: rho = 1 / (2 z^2) of zero-concentrated differential privacy, which
 * adds up, and epsilon = rho + 2 sqrt(rho ln(1 / delta)) (Bun and Steinke 2016, arXiv 1605.02065, proposition 1.6,
 * lemma 1.7 and proposition 1.3). A client is taken to take part in every round. NaN: no noise is added. */
double fbt_privacy_epsilon(const fbt_settings *settings, int64_t n_exchanges, int64_t n_rounds);

#endif
