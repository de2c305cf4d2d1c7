#include "model/profile.h"

const char *fbt_model_operation_name(fbt_model_operation operation)
{
    static const char *const names[FBT_MODEL_N_OPERATIONS] = {"prompt", "embed", "qkv",        "attention", "output",
                                                              "up",     "down",  "activation", "norm",      "readout"};
    return (unsigned)operation < FBT_MODEL_N_OPERATIONS ? names[operation] : NULL;
}

fbt_status fbt_marks_add(fbt_backend *b, fbt_marks *marks, fbt_model_operation operation, fbt_work work)
{
    if (marks->profile == NULL) {
        return FBT_OK;
    }
    if (marks->n >= FBT_MAX_STAMPS) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "more than %d operations of one evaluation cannot be timed",
                        FBT_MAX_STAMPS);
    }
    if (operation < FBT_MODEL_N_OPERATIONS) {
        marks->profile->flops[operation] += work.flops;
        marks->profile->bytes[operation] += work.bytes;
    }
    marks->operations[marks->n] = operation;
    return fbt_event_record(b, marks->n++);
}

fbt_status fbt_marks_collect(fbt_backend *b, fbt_marks *marks)
{
    fbt_status status = FBT_OK;
    double before_s = 0, now_s;
    for (int64_t i = 1; i < marks->n; i++) {
        FBT_TRY(fbt_event_seconds(b, i, &now_s));
        if (marks->operations[i] < FBT_MODEL_N_OPERATIONS) {
            marks->profile->seconds[marks->operations[i]] += now_s - before_s;
        }
        before_s = now_s;
    }
done:
    marks->n = 0;
    return status;
}
