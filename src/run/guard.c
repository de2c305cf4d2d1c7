#include "run/guard.h"

#include "run/limits.h"

#include <inttypes.h>
#include <string.h>

enum { TELL_EVERY = 10 }; /* low checks */

static char reference_name[] = "fp32";

fbt_settings fbt_guard_settings(const fbt_experiment *e, bool fell_back)
{
    fbt_settings settings = e->settings;
    settings.backend.precision = fell_back ? reference_name : settings.backend.precision;
    return settings;
}

fbt_settings fbt_guard_reference_settings(const fbt_experiment *e)
{
    fbt_backend_info info;
    fbt_settings settings = fbt_guard_settings(e, true);
    fbt_backend_get_info(e->inputs->backend, &info);
    settings.backend.threads = info.n_threads; /* the open backend has bound them: not to be found out anew */
    return settings;
}

bool fbt_guard_needs_reference(const fbt_experiment *e)
{
    if (!e->checks || e->restored.fell_back) {
        return false;
    }
    for (int64_t round = e->restored.last_round + 1; round <= fbt_experiment_last_round(e); round++) {
        if (fbt_settings_checks_round(&e->settings, round)) {
            return true;
        }
    }
    return false;
}

fbt_status fbt_guard_open(fbt_guard *guard, fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_model_limits limits;
    guard->fell_back = e->restored.fell_back;
    if (!fbt_guard_needs_reference(e)) {
        return FBT_OK;
    }
    const fbt_settings settings = fbt_guard_reference_settings(e);
    fbt_inputs_borrow(&guard->reference, e->inputs);
    fbt_limits_of_checks(&settings, &e->inputs->dataset, &e->partition, &limits);
    FBT_TRY(fbt_inputs_open_model(&guard->reference, &settings, &limits, NULL, e->comm));
done:
    if (status == FBT_ERR_MEMORY) {
        fbt_refail(status, "the model in fp32 for precision checks: %s; or set backend.precision_check_every to 0",
                   fbt_error_message());
    }
    return status;
}

bool fbt_guard_is_low(const fbt_settings *settings, const fbt_round_row *row)
{
    return row->precision_tau < settings->backend.precision_guard_tau; /* not where it is NaN */
}

void fbt_guard_judge(fbt_guard *guard, const fbt_settings *settings, fbt_round_row *row)
{
    if (fbt_guard_is_low(settings, row)) {
        guard->n_low++;
        guard->must_switch = settings->backend.precision_guard == FBT_PRECISION_GUARD_FALLBACK;
        guard->fell_back = guard->fell_back || guard->must_switch;
    }
    row->precision_fell_back = guard->fell_back;
}

void fbt_guard_tell(const fbt_guard *guard, const fbt_experiment *e, const fbt_run_observer *told,
                    const fbt_round_row *row)
{
    const int what = e->settings.backend.precision_guard;
    const bool is_due = what == FBT_PRECISION_GUARD_WARN && guard->n_low % TELL_EVERY == 1;
    if (!fbt_guard_is_low(&e->settings, row) || (!is_due && !guard->must_switch)) {
        return;
    }
    fbt_observer_note(told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(e),
                      "warning: round %" PRId64
                      ": %s does not rank candidates as fp32 does (Kendall's tau %.2f, backend.precision_guard_tau is "
                      "%g; %.0f%% of the parents are the same): %s",
                      row->index, fbt_backend_types(e->inputs->backend)->name, row->precision_tau,
                      e->settings.backend.precision_guard_tau, 100 * row->precision_overlap,
                      guard->must_switch ? "the rounds from here on are computed in fp32"
                                         : "set backend.precision=fp32, or backend.precision_guard=fallback");
}

fbt_status fbt_guard_switch(fbt_guard *guard, fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_model_limits limits;
    const fbt_settings settings = fbt_guard_settings(e, true);
    fbt_guard_close(guard);
    guard->must_switch = false;
    fbt_limits_of_run(&settings, &e->inputs->dataset, &e->partition, &e->placement, fbt_comm_size(e->comm),
                      fbt_comm_rank(e->comm), &limits);
    FBT_TRY(fbt_inputs_open_model(e->inputs, &settings, &limits, e->plan->observer, e->comm));
done:
    return status;
}

void fbt_guard_close(fbt_guard *guard)
{
    fbt_inputs_close(&guard->reference);
}
