# shellcheck shell=bash
# Shared parts of the job scripts: the site's settings, stopping before the clock ends, and requeueing. Sourced after project.sh.

if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: this is not a SLURM job; submit the script with sbatch" >&2
    exit 2
fi

# SLURM announces the end of the job to this shell alone (--signal=B:USR1@...): it passes the warning on. The end itself, or scancel,
# reaches the ranks without help: this shell only has to outlive them. Bash handles a trap once the command in the foreground has
# ended, so that the step runs in the background.
fbt_step_pid=""
fbt_warned=false
trap 'fbt_warned=true; [ -z "$fbt_step_pid" ] || kill -USR1 "$fbt_step_pid" 2>/dev/null || true' USR1
trap : TERM

# shellcheck source=jobs/sites/debian.sh
source "${FEDBPT_SITE:-$FBT_ROOT/jobs/sites/debian.sh}"

FBT_STOPPED=75 # exit code of fedbpt: stopped before the end, everything finished is on disk, --resume goes on

# SLURM 23.11 and later set this; earlier ones are asked. The program stops itself in time for the last round to be written.
if [ -z "${SLURM_JOB_END_TIME:-}" ] && end="$(squeue --noheader --job "$SLURM_JOB_ID" --format %e 2>/dev/null | head -n 1)" &&
    end="$(date --date "$end" +%s 2>/dev/null)"; then
    export SLURM_JOB_END_TIME="$end"
fi

# Ranks get what the site's file exports, whatever sbatch was told of its own variables: srun takes that from here (sbatch --export=NONE,
# the default of some sites, would leave the ranks without any).
export SLURM_EXPORT_ENV=ALL
unset SRUN_EXPORT_ENV

# srun of SLURM 22.05 and later does not take this from the job.
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
    export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
fi

# Runs one step on all ranks; returns the largest exit code.
fbt_step() {
    local code=0
    "$fbt_warned" && return "$FBT_STOPPED"
    "${FBT_LAUNCH[@]}" "$@" &
    fbt_step_pid=$!
    until wait "$fbt_step_pid" || ! kill -0 "$fbt_step_pid" 2>/dev/null; do :; done # a trap ends `wait` as well
    wait "$fbt_step_pid" || code=$?
    fbt_step_pid=""
    if "$fbt_warned" && [ "$code" -eq $((128 + $(kill -l USR1))) ]; then
        code="$FBT_STOPPED" # warned before the program had begun to listen: nothing is lost
    fi
    return "$code"
}

# Whether the job ends by itself or by its time limit: what is cancelled stays cancelled, and what is preempted SLURM requeues.
fbt_may_requeue() {
    local job
    job="$(scontrol show job "$SLURM_JOB_ID" --oneliner)"
    [[ "$job" == *" JobState=RUNNING "* || "$job" == *" Reason=TimeLimit "* ]]
}

# Whether the given number of nodes, of the list, still start anything.
fbt_nodes_answer() {
    timeout 60 srun --mpi=none --overlap --nodes="$1" --ntasks="$1" --ntasks-per-node=1 --nodelist="$2" true
}

# Whether a node of the job has been lost. MPI may notice sooner than SLURM, which would requeue the job, and end the step.
fbt_node_lost() {
    [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ] && fbt_nodes_answer 1 "$SLURMD_NODENAME" &&
        ! fbt_nodes_answer "$SLURM_JOB_NUM_NODES" "$SLURM_JOB_NODELIST"
}

# Puts the job back into the queue, up to FEDBPT_MAX_REQUEUES times (default 20), if the program was stopped (code 75) or a node lost.
# Otherwise ends it with the code.
fbt_finish() {
    local code="$1" restarts="${SLURM_RESTART_COUNT:-0}" limit="${FEDBPT_MAX_REQUEUES:-20}" cause="stopped before the end"
    if [ "$code" -eq 0 ]; then
        exit 0
    elif [ "$code" -ne "$FBT_STOPPED" ]; then
        fbt_node_lost || exit "$code"
        cause="a node was lost"
    fi
    fbt_may_requeue || exit "$code"
    if [ "$restarts" -ge "$limit" ]; then
        echo "job: $cause (start $((restarts + 1))); not requeued again (FEDBPT_MAX_REQUEUES=$limit)"
        exit "$code"
    fi
    echo "job: $cause (start $((restarts + 1))), back into the queue"
    scontrol requeue "$SLURM_JOB_ID" || exit "$code"
}
