#!/usr/bin/env bash
# Runs one job of a sweep, from where that run stopped if it had begun. scripts/slurm_job.sh calls it for each job, and
# scripts/sweep.sh for those that cannot begin as copies of a process that has loaded the program. It becomes the program, so
# a signal meant for the run reaches it once, and alone.
#
#   scripts/sweep_job.sh RESOLVED LINE [THREADS]
#
#   RESOLVED the jobs as the sweep's folder has them: x.sweep/jobs.jsonl
#   LINE     of the job file
#   THREADS  of a run that does not say it itself and has not begun yet (default: 1)

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"
[[ ${1:-} != --help ]] || { help; exit; }
(($# == 2 || $# == 3)) || die_usage "needs RESOLVED and LINE; see scripts/sweep_job.sh --help"

begin_log "$2"
need_program
mapfile -d '' words < <(sweep_jobs words "$1" "$2" "${3:-1}")
wait "$!" || exit
lock=${words[0]}/.lock held=0
[[ ! -e $lock ]] || flock --nonblock -- "$lock" true || held=$?
if ((held == 1)); then # otherwise there are no locks to be had here
  echo "--- waiting for the process that is running it"
  flock -- "$lock" true
fi
exec "$sgdscope" "${words[@]:1}"
