#include "fed/metrics.h"

#include <math.h>

static double f1_of_label(const double *predictions, const int32_t *labels, int64_t n, int64_t label)
{
    int64_t n_right = 0;
    int64_t n_named = 0; /* predicted + present */
    for (int64_t i = 0; i < n; i++) {
        int predicted = (int64_t)predictions[i] == label;
        int present = labels[i] == label;
        n_right += predicted && present;
        n_named += predicted + present;
    }
    return n_named == 0 ? 0 : 2.0 * (double)n_right / (double)n_named;
}

static double f1(const double *predictions, const int32_t *labels, int64_t n, int64_t n_labels)
{
    double sum = 0;
    if (n_labels == 2) {
        return f1_of_label(predictions, labels, n, 1);
    }
    for (int64_t label = 0; label < n_labels; label++) {
        sum += f1_of_label(predictions, labels, n, label);
    }
    return sum / (double)n_labels;
}

fbt_metrics fbt_metrics_compute(const double *losses, const double *predictions, const int32_t *labels, int64_t n,
                                int64_t n_labels)
{
    fbt_metrics metrics = {NAN, NAN, NAN};
    double loss = 0;
    int64_t n_right = 0;
    if (n == 0) {
        return metrics;
    }
    for (int64_t i = 0; i < n; i++) {
        loss += losses[i];
        n_right += (int32_t)predictions[i] == labels[i];
    }
    metrics.loss = loss / (double)n;
    metrics.accuracy = (double)n_right / (double)n;
    metrics.f1 = f1(predictions, labels, n, n_labels);
    return metrics;
}
