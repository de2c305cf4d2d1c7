#include "sweep/sweep_queue.h"

#include "base/memory.h"
#include "sweep/sweep_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

fbt_status fbt_sweep_queue_open(fbt_sweep_queue *queue, const fbt_sweep *sweep, const int64_t *order, int64_t n)
{
    fbt_status status = FBT_OK;
    queue->sweep = sweep;
    queue->order = order;
    queue->n = n;
    FBT_TRY(fbt_memory_alloc(&queue->done, n, sizeof *queue->done));
    FBT_TRY(fbt_memory_alloc(&queue->lives, n, sizeof *queue->lives));
    FBT_TRY(fbt_memory_alloc(&queue->watch, n, sizeof *queue->watch));
done:
    return status;
}

void fbt_sweep_queue_close(fbt_sweep_queue *queue)
{
    free(queue->done);
    free(queue->lives);
    free(queue->watch);
    *queue = (fbt_sweep_queue){0};
}

/* Another process has the run. Whether it lives is known, or shows by its next sign of life. */
static void watch(fbt_sweep_queue *queue, int64_t i, const fbt_claim_holder *holder)
{
    fbt_sweep_watch *seen = &queue->watch[i];
    bool same = strcmp(seen->identity, holder->identity) == 0;
    queue->lives[i] = holder->alive && (holder->certain || (same && seen->beat_ns != holder->beat_ns));
    memcpy(seen->identity, holder->identity, sizeof seen->identity);
    seen->beat_ns = holder->beat_ns;
}

static bool is_open(fbt_sweep_state state)
{
    return state == FBT_SWEEP_TO_DO || state == FBT_SWEEP_INTERRUPTED;
}

/* Looks at the i-th run of the order and claims it if it is to be made. What was seen before the claim may be out of
 * date. */
static fbt_status try_run(fbt_sweep_queue *queue, int64_t i, fbt_claim **claim)
{
    fbt_status status = FBT_OK;
    fbt_sweep_standing standing = {0};
    fbt_claim_holder holder;
    const fbt_sweep_run *run = &queue->sweep->runs[queue->order[i]];
    *claim = NULL;
    FBT_TRY(fbt_sweep_look(queue->sweep, run, true, &standing));
    if (standing.state == FBT_SWEEP_RUNNING) {
        watch(queue, i, &standing.holder);
        goto done;
    }
    if (is_open(standing.state)) {
        FBT_TRY(fbt_claim_take(run->output, claim, &holder));
        if (*claim == NULL) {
            watch(queue, i, &holder);
            goto done;
        }
        fbt_sweep_standing_clear(&standing);
        FBT_TRY(fbt_sweep_look(queue->sweep, run, false, &standing));
    }
    queue->done[i] = true; /* by this group or by nobody */
    if (*claim != NULL && !is_open(standing.state)) {
        fbt_claim_release(*claim);
        *claim = NULL;
    }
done:
    fbt_sweep_standing_clear(&standing);
    return status;
}

fbt_status fbt_sweep_queue_next(fbt_sweep_queue *queue, bool (*stop)(void *user), void *user, int64_t *index,
                                fbt_claim **claim)
{
    fbt_status status = FBT_OK;
    const struct timespec pause = {.tv_sec = 1};
    *index = -1;
    *claim = NULL;
    memset(queue->lives, 0, (size_t)queue->n * sizeof *queue->lives); /* who lived before may be dead */
    for (bool waits = true; waits && !stop(user);) {
        waits = false;
        for (int64_t i = 0; i < queue->n; i++) {
            if (queue->done[i] || queue->lives[i]) {
                continue;
            }
            FBT_TRY(try_run(queue, i, claim));
            if (*claim != NULL) {
                *index = queue->order[i];
                goto done;
            }
            waits = waits || !(queue->done[i] || queue->lives[i]);
        }
        if (waits) {
            nanosleep(&pause, NULL);
        }
    }
done:
    return status;
}
