# shellcheck shell=bash
# What the job scripts share: the site's settings, stopping before the clock ends, and requeueing. Sourced in the folder from which
# the job was submitted.

# shellcheck source=jobs/sites/debian.sh
source "${FEDBPT_SITE:-jobs/sites/debian.sh}"

FBT_STOPPED=75 # exit code of fedbpt: stopped before the end, everything finished is on disk, --resume goes on

# SLURM 23.11 and later set this; earlier ones are asked. The program stops itself in time for the last round to be written.
if [ -z "${SLURM_JOB_END_TIME:-}" ] && end="$(squeue --noheader --job "$SLURM_JOB_ID" --format %e 2>/dev/null | head -n 1)" &&
    end="$(date --date "$end" +%s 2>/dev/null)"; then
    export SLURM_JOB_END_TIME="$end"
fi

# Runs one step on all ranks, passing on the signals by which SLURM announces the end to this shell (--signal=B:USR1@..., preemption).
# Bash handles a trap only once the command in the foreground has ended: so the step runs in the background.
fbt_step() {
    local step code
    fbt_launch "$@" &
    step=$!
    trap 'kill -USR1 "$step" 2>/dev/null' USR1 TERM
    while wait "$step"; code=$?; kill -0 "$step" 2>/dev/null; do :; done
    trap - USR1 TERM
    return "$code"
}

# Puts the job back into the queue after code 75, up to FEDBPT_MAX_REQUEUES times (default 20). Otherwise ends it with the code.
fbt_finish() {
    local code="$1" restarts="${SLURM_RESTART_COUNT:-0}" limit="${FEDBPT_MAX_REQUEUES:-20}"
    if [ "$code" -eq "$FBT_STOPPED" ] && [ "$restarts" -lt "$limit" ]; then
        echo "job: stopped before the end (start $((restarts + 1))), back into the queue"
        scontrol requeue "$SLURM_JOB_ID" && exit 0
    elif [ "$code" -eq "$FBT_STOPPED" ]; then
        echo "job: stopped before the end for the $((restarts + 1)). time; not requeued again (FEDBPT_MAX_REQUEUES=$limit)"
    fi
    exit "$code"
}
