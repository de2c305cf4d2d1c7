#include "model/profile.h"

const char *fbt_model_operation_name(fbt_model_operation operation)
{
    static const char *const names[FBT_MODEL_N_OPERATIONS] = {"prompt", "embed", "qkv",        "attention", "output",
                                                              "up",     "down",  "activation", "norm",      "readout"};
    return (unsigned)operation < FBT_MODEL_N_OPERATIONS ? names[operation] : NULL;
}

/* The backend's, between a product and the kernel behind it. */
static fbt_status mark_product(void *profiler)
{
    fbt_profiler *p = profiler;
    p->is_product_marked = true;
    return fbt_profiler_mark(p, p->product, p->product_work);
}

void fbt_profiler_set(fbt_profiler *p, fbt_backend *b, fbt_model_profile *profile)
{
    p->b = b;
    p->profile = profile;
    p->n = 0;
    fbt_watch_products(b, profile != NULL ? mark_product : NULL, p);
}

fbt_status fbt_profiler_mark(fbt_profiler *p, fbt_model_operation operation, fbt_work work)
{
    if (p->profile == NULL) {
        return FBT_OK;
    }
    if (p->n >= FBT_MAX_STAMPS) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "more than %d operations of one evaluation cannot be timed",
                        FBT_MAX_STAMPS);
    }
    if (operation < FBT_MODEL_N_OPERATIONS) {
        p->profile->flops[operation] += work.flops;
        p->profile->bytes[operation] += work.bytes;
    }
    p->operations[p->n] = operation;
    return fbt_event_record(p->b, p->n++);
}

void fbt_profiler_begin_product(fbt_profiler *p, fbt_model_operation operation, fbt_work work)
{
    p->product = operation;
    p->product_work = work;
    p->is_product_marked = false;
}

fbt_status fbt_profiler_end_product(fbt_profiler *p, fbt_model_operation behind, double n_bytes)
{
    return p->is_product_marked ? fbt_profiler_mark(p, behind, (fbt_work){.bytes = n_bytes})
                                : fbt_profiler_mark(p, p->product, p->product_work);
}

fbt_status fbt_profiler_collect(fbt_profiler *p)
{
    fbt_status status = FBT_OK;
    double before_s = 0, now_s;
    for (int64_t i = 1; i < p->n; i++) {
        FBT_TRY(fbt_event_seconds(p->b, i, &now_s));
        if (p->operations[i] < FBT_MODEL_N_OPERATIONS) {
            p->profile->seconds[p->operations[i]] += now_s - before_s;
        }
        before_s = now_s;
    }
done:
    p->n = 0;
    return status;
}
