#include "fed/ranking.h"

#include <math.h>

static int sign(double difference)
{
    return (difference > 0) - (difference < 0);
}

double fbt_ranking_tau(const double *a, const double *b, int64_t n)
{
    int64_t difference = 0, n_ranked_a = 0, n_ranked_b = 0; /* concordant less discordant pairs; pairs not tied */
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            const int in_a = sign(a[i] - a[j]), in_b = sign(b[i] - b[j]);
            difference += in_a * in_b;
            n_ranked_a += in_a != 0;
            n_ranked_b += in_b != 0;
        }
    }
    if (n_ranked_a == 0 || n_ranked_b == 0) {
        return n_ranked_a == n_ranked_b;
    }
    return (double)difference / sqrt((double)n_ranked_a * (double)n_ranked_b); /* of a square, exact */
}

int64_t fbt_ranking_place(const double *values, int64_t n, int64_t i)
{
    int64_t n_before = 0;
    for (int64_t j = 0; j < n; j++) {
        n_before += values[j] < values[i] || (j < i && values[j] == values[i]);
    }
    return n_before;
}

double fbt_ranking_overlap(const double *a, const double *b, int64_t n, int64_t n_parents)
{
    int64_t n_common = 0;
    for (int64_t i = 0; i < n; i++) {
        n_common += fbt_ranking_place(a, n, i) < n_parents && fbt_ranking_place(b, n, i) < n_parents;
    }
    return (double)n_common / (double)n_parents;
}
