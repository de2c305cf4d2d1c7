/* Scores of a split from per-sample results. */
#ifndef FBT_FED_METRICS_H
#define FBT_FED_METRICS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_metrics {
    double loss;     /* mean; NaN when there are no samples */
    double accuracy; /* fraction of right predictions */
    double f1;       /* two labels: F1 of label 1; more: the unweighted mean of the labels' F1 (macro). A label that is
                        neither       predicted nor present counts 0. */
} fbt_metrics;

/* losses, predictions, labels: [n]. Sums in the samples' order, in double. */
fbt_metrics fbt_metrics_compute(const double *losses, const double *predictions, const int32_t *labels, int64_t n,
                                int64_t n_labels);

#ifdef __cplusplus
}
#endif

#endif
