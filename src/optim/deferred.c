/* The lazy covariance matrix: rank-one terms are kept until someone needs their sum. */
#include "optim/cma_internal.h"

#include "base/memory.h"
#include "optim/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Grows *array from n_old to n_new items. */
static fbt_status grow(void *array, int64_t n_old, int64_t n_new, size_t item_bytes)
{
    void *old, *larger;
    memcpy(&old, array, sizeof old);
    const fbt_status status = fbt_memory_alloc(&larger, n_new, item_bytes);
    if (status == FBT_OK) {
        if (old != NULL) {
            memcpy(larger, old, (size_t)n_old * item_bytes);
        }
        free(old);
        memcpy(array, &larger, sizeof larger);
    }
    return status;
}

fbt_status fbt_deferred_reserve(fbt_deferred *deferred, int64_t n_rows, int64_t d)
{
    fbt_status status = FBT_OK;
    if (deferred->n_updates + 1 > deferred->max_updates || deferred->first_row == NULL) {
        const int64_t max = 2 * deferred->max_updates + 2;
        FBT_TRY(grow(&deferred->decay, deferred->n_updates, max, sizeof *deferred->decay));
        FBT_TRY(grow(&deferred->first_row, deferred->first_row == NULL ? 0 : deferred->n_updates + 1, max + 1,
                     sizeof *deferred->first_row));
        deferred->max_updates = max;
    }
    if (deferred->n_rows + n_rows > deferred->max_rows) {
        const int64_t max = 2 * deferred->max_rows + n_rows;
        FBT_TRY(grow(&deferred->weight, deferred->n_rows, max, sizeof *deferred->weight));
        FBT_TRY(grow(&deferred->rows, deferred->n_rows * d, max * d, sizeof *deferred->rows));
        FBT_TRY(grow(&deferred->final_weight, 0, max, sizeof *deferred->final_weight));
        FBT_TRY(grow(&deferred->scaled, 0, max * d, sizeof *deferred->scaled));
        deferred->max_rows = max;
    }

done:
    return status;
}

void fbt_deferred_begin(fbt_deferred *deferred, double decay)
{
    deferred->decay[deferred->n_updates++] = decay;
    deferred->first_row[deferred->n_updates] = deferred->n_rows;
}

void fbt_deferred_row(fbt_deferred *deferred, double weight, const double *row, int64_t d)
{
    if (weight != 0) {
        deferred->weight[deferred->n_rows] = weight;
        memcpy(deferred->rows + deferred->n_rows * d, row, (size_t)d * sizeof *row);
        deferred->first_row[deferred->n_updates] = ++deferred->n_rows;
    }
}

void fbt_deferred_clear(fbt_deferred *deferred)
{
    deferred->n_updates = 0;
    deferred->n_rows = 0;
}

void fbt_deferred_free(fbt_deferred *deferred)
{
    free(deferred->decay);
    free(deferred->first_row);
    free(deferred->weight);
    free(deferred->rows);
    free(deferred->final_weight);
    free(deferred->scaled);
}

fbt_covariance *fbt_cma_newest(const fbt_cma *cma)
{
    return cma->current != NULL ? cma->current : cma->base;
}

/* Weights of the rows first .. end-1 as they enter C: negative ones times d / |C^(-1/2) y|^2, where C is the base that
 * y was ranked under, so a long y cannot make C indefinite [H] eq. 46. pycma's 1e-9 keeps a zero y harmless. */
static void final_weights(fbt_cma *cma, int64_t first, int64_t end)
{
    const int64_t d = cma->options.dimension;
    const fbt_deferred *deferred = &cma->deferred;
    double *w = deferred->final_weight;
    int64_t r = first;
    while (r < end) {
        int64_t next = r; /* behind the negative weights from r on, of which lengths are made at once */
        while (next < end && deferred->weight[next] < 0) {
            next++;
        }
        fbt_covariance_lengths(cma->base, next - r, deferred->rows + r * d, w + r, cma->work, &cma->statistics);
        for (; r < next; r++) {
            const double length = w[r] + 1e-9;
            w[r] = deferred->weight[r] * ((double)d / (length * length));
        }
        if (r < end) {
            w[r] = deferred->weight[r];
            r++;
        }
    }
}

fbt_status fbt_cma_apply_deferred(fbt_cma *cma)
{
    fbt_status status = FBT_OK;
    const fbt_deferred *deferred = &cma->deferred;
    const int64_t from = cma->n_applied;
    if (from == deferred->n_updates) {
        return FBT_OK;
    }
    /* Once factored, `current` may be the start of local searches and goes with its factor. */
    if (cma->current == NULL || cma->current->factored) {
        FBT_TRY(fbt_covariance_densify(fbt_cma_newest(cma), &cma->spare));
        cma->statistics.n_matrix_copies += fbt_cma_newest(cma)->kind == FBT_COVARIANCE_DENSE;
        fbt_covariance_release(cma->current);
        cma->current = cma->spare;
        cma->spare = NULL;
    }
    final_weights(cma, deferred->first_row[from], deferred->n_rows);
    const fbt_terms terms = {.n_updates = deferred->n_updates - from,
                             .decay = deferred->decay + from,
                             .first_row = deferred->first_row + from,
                             .w = deferred->final_weight,
                             .y = deferred->rows,
                             .scaled = deferred->scaled};
    const fbt_products *products = fbt_products_get();
    (cma->options.decomposition == FBT_CMA_CHOLESKY ? products->add_terms_fused : products->add_terms)(
        cma->options.dimension, &terms, cma->current->values);
    cma->statistics.n_rank_one += deferred->n_rows - deferred->first_row[from];
    cma->n_applied = deferred->n_updates;

done:
    return status;
}

fbt_status fbt_cma_refresh(fbt_cma *cma, bool always)
{
    fbt_status status = FBT_OK;
    const int64_t n_updates = cma->deferred.n_updates;
    if (n_updates == 0 || (!always && (double)n_updates < cma->parameters.lazy_gap)) {
        return FBT_OK;
    }
    FBT_TRY(fbt_cma_apply_deferred(cma));
    status = fbt_covariance_factor(cma->current, cma->options.decomposition, &cma->statistics);
    if (status == FBT_ERR_NUMERIC) {
        return fbt_cma_reset(cma);
    }
    FBT_TRY(status);
    fbt_covariance *newest = cma->current;
    cma->current = NULL;
    if (cma->base->kind == FBT_COVARIANCE_DENSE && fbt_covariance_is_mine(cma->base)) {
        fbt_covariance_release(cma->spare);
        cma->spare = fbt_covariance_share(cma->base); /* its last user, once it is not the base any more */
    }
    fbt_cma_adopt(cma, newest);

done:
    return status;
}

void fbt_cma_adopt(fbt_cma *cma, fbt_covariance *covariance)
{
    fbt_covariance_release(cma->base);
    fbt_covariance_release(cma->current);
    cma->base = covariance;
    cma->current = NULL;
    cma->n_applied = 0;
    fbt_deferred_clear(&cma->deferred);
}
