#!/usr/bin/env bash
# Runs one job of a sweep as a task of Slurm's. At SIGUSR1, the warning before the time limit, the run checkpoints, and the task
# is queued again, unless the run has made no step since it was started. scripts/slurm_sweep.sh submits it.
#
#   scripts/slurm_job.sh RESOLVED LINE [THREADS]
#
#   see scripts/sweep_job.sh --help

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"
[[ ${1:-} != --help ]] || { help; exit; }
(($# == 2 || $# == 3)) || die_usage "needs RESOLVED and LINE; see scripts/slurm_job.sh --help"

# Slurm sends SIGTERM to this script, or to the run too: which, is the cluster's. A second SIGTERM would end the run at once,
# so it is passed on as a SIGHUP, which may come as often as it likes.
job='' warned=''
stop() { [[ $job ]] && kill -HUP "$job" 2>/dev/null; }
trap 'warned=yes; stop || true' USR1
trap 'stop || exit 143' TERM

begun_at=$(sweep_jobs steps "$1" "$2") || exit
"$repository/scripts/sweep_job.sh" "$@" &
job=$!
while [[ $(jobs -pr) ]]; do wait "$job" || true; done # a signal ends a wait
status=0
wait "$job" || status=$?
[[ $warned && $status -gt 128 ]] || exit "$status"
if (($(sweep_jobs steps "$1" "$2") == begun_at)); then
  echo "error: no step was made within the time limit; give more: -- --time=2:00:00"
  exit "$status"
fi
echo "--- at its time limit; queued again to go on"
scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" || {
  echo "error: scontrol cannot queue it again (the reason is above); scripts/slurm_sweep.sh, called again, does"
  exit "$status"
}
