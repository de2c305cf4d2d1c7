#include "run/probe.h"

#include "base/memory.h"
#include "base/smaller.h"
#include "fed/evaluator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct probe {
    const fbt_inputs *inputs;
    fbt_evaluator *evaluator;
    fbt_item *items;
    double *z;      /* [d]: zeros, a prompt that every model can compute */
    double *logits; /* [n, n_labels]: in one batch */
    double *alone;  /* [n_labels]                  */
    int64_t n, d, n_labels;
} probe;

static void clear(probe *p)
{
    fbt_evaluator_free(p->evaluator);
    free(p->items);
    free(p->z);
    free(p->logits);
    free(p->alone);
}

/* Samples that runs score under one prompt, as many as a batch holds. */
static fbt_status take_items(probe *p, const fbt_settings *settings, const fbt_partition *partition,
                             int64_t batch_tokens)
{
    fbt_status status = FBT_OK;
    const fbt_dataset *dataset = &p->inputs->dataset;
    const int64_t n_train = fbt_settings_scored_train(settings, partition->sample_offsets[partition->n_clients]);
    const int64_t n_most = fbt_smaller(n_train + partition->n_dev, batch_tokens); /* none is without a token */
    int64_t n_tokens = 0;
    FBT_TRY(fbt_memory_alloc(&p->items, n_most, sizeof *p->items));
    for (int64_t i = 0; i < n_most && n_tokens < batch_tokens; i++) {
        p->items[p->n] = i < n_train ? fbt_item_of(&dataset->train, partition->sample_index[i])
                                     : fbt_item_of(partition->dev_split, partition->dev_index[i - n_train]);
        n_tokens += p->items[p->n++].sequence.n_tokens;
    }
done:
    return status;
}

static fbt_status open_probe(probe *p, const fbt_settings *settings, const fbt_partition *partition)
{
    fbt_status status = FBT_OK;
    const int64_t batch_tokens = fbt_batch_tokens(settings);
    p->d = settings->cma.dimension;
    p->n_labels = p->inputs->dataset.n_labels;
    FBT_TRY(take_items(p, settings, partition, batch_tokens));
    FBT_TRY(fbt_memory_alloc(&p->z, p->d, sizeof *p->z));
    FBT_TRY(fbt_memory_alloc(&p->logits, p->n * p->n_labels, sizeof *p->logits));
    FBT_TRY(fbt_memory_alloc(&p->alone, p->n_labels, sizeof *p->alone));
    FBT_TRY(fbt_evaluator_new(p->inputs->model, FBT_LOSS_CE, batch_tokens, &p->evaluator));
done:
    return status;
}

static fbt_status score(const probe *p, int64_t first, int64_t n, double *logits)
{
    return fbt_evaluator_run(p->evaluator, &(fbt_evaluation){.items = p->items + first,
                                                             .n_items = n,
                                                             .z = p->z,
                                                             .n_candidates = 1,
                                                             .d = p->d,
                                                             .scores = {.logits = logits}});
}

static fbt_status compare(const probe *p, int64_t i)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    FBT_TRY(score(p, i, 1, p->alone));
    if (memcmp(p->alone, p->logits + i * p->n_labels, (size_t)p->n_labels * sizeof *p->alone) != 0) {
        fbt_backend_get_info(p->inputs->backend, &info);
        FBT_FAIL(FBT_ERR_BACKEND,
                 "%s (%s) gives a sequence other numbers alone than in a batch of %" PRId64
                 ": the run's results would depend on the number of ranks and on backend.batch_tokens; set "
                 "backend.precision to another one, or backend.name to cpu",
                 info.device, info.libraries, p->n);
    }
done:
    return status;
}

static fbt_status look(probe *p, const fbt_settings *settings, const fbt_partition *partition)
{
    fbt_status status = FBT_OK;
    FBT_TRY(open_probe(p, settings, partition));
    FBT_TRY(score(p, 0, p->n, p->logits));
    for (int k = 0; k < 4; k++) { /* the first, the last, and two between them */
        FBT_TRY(compare(p, (p->n - 1) * k / 3));
    }
done:
    return status;
}

fbt_status fbt_probe_batches(const fbt_inputs *inputs, const fbt_settings *settings, const fbt_partition *partition,
                             const fbt_comm *comm)
{
    probe p = {.inputs = inputs};
    fbt_backend_info info;
    fbt_backend_get_info(inputs->backend, &info);
    const fbt_status status = fbt_comm_agree(comm, info.tries_batches ? look(&p, settings, partition) : FBT_OK);
    clear(&p);
    return status;
}
