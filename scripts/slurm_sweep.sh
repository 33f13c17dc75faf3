#!/usr/bin/env bash
# Submits the jobs of a job file to Slurm as one job array, waits, and makes the table that scripts/sweep.sh makes. Called
# again it waits for what is still queued, or else submits what is neither done nor diverged; begun runs are resumed. Jobs are
# run from copies of their configs, as these are when they are submitted.
#
#   scripts/slurm_sweep.sh JOBS [--no-wait | --collect] [-- SBATCH OPTION...]
#
#   JOBS       see scripts/sweep.sh --help; its paths must hold on the nodes too
#   --no-wait  only submit
#   --collect  only make the table of what there is, x.sweep/sweep.csv
#   --         the rest is for sbatch: --time=2:00:00 --cpus-per-task=4 --gres=gpu:1
#
# A run that does not say its threads has as many as --cpus-per-task, or 1. A minute before its time limit a run checkpoints,
# and its task is queued again to go on; what needs more time for this is warned earlier: -- --signal=B:USR1@300. A run that has
# made no step within the limit is not queued again. When it is preempted, requeued or cancelled Slurm sends SIGTERM, on which a
# run checkpoints and stops, within the cluster's KillWait (30 s as a rule).

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"

jobs='' mode=wait
while (($#)); do
  case $1 in
    --no-wait | --collect) [[ $mode == wait ]] || die_usage "give one of --no-wait and --collect" && mode=${1#--} && shift ;;
    --help) help; exit ;;
    --) shift && break ;;
    -*) die_usage "there is no option $1; sbatch's own come after --; see scripts/slurm_sweep.sh --help" ;;
    *) is_given JOBS "$1" && [[ ! $jobs ]] || die_usage "takes one job file, but was given '$jobs' and '$1'" && jobs=$1 && shift ;;
  esac
done

# --- The array: each task is named by the line that it runs -----------------------------------------------------------

array='' # the id of the array job
submit() { # submit SBATCH_OPTION...
  local most last=${pending[-1]} tasks
  most=$(scontrol show config | sed -n 's/^MaxArraySize *= *//p')
  most=${most:-1001} # Slurm's default
  quote "$jobs"
  ((last < most)) || die "line $last of $jobs is beyond the largest task of an array here, $((most - 1)) (MaxArraySize);" \
    "split the file: split --lines=$((most - 1)) --additional-suffix=.jobs $REPLY part_"
  quote_all "$repository/scripts/slurm_job.sh" "$sweep/jobs.jsonl"
  printf -v tasks '%s,' "${pending[@]}"
  array=$(sbatch --parsable --array="${tasks%,}" --job-name="${sweep##*/}" --requeue --open-mode=append --signal=B:USR1@60 \
    --output="$(realpath -- "$sweep" | sed 's/%/%%/g')/logs/%a.log" "$@" \
    --wrap="exec $REPLY \"\$SLURM_ARRAY_TASK_ID\" \"\${SLURM_CPUS_PER_TASK:-1}\"") ||
    die "sbatch did not take the jobs; its own words are above"
  array=${array%%;*} # without the cluster's name
  { echo "$array" >"$sweep/slurm_job.part" && mv -- "$sweep/slurm_job.part" "$sweep/slurm_job"; } || give_up
}

# Without that file a later call would submit the jobs a second time.
give_up() {
  scancel "$array" || die "$sweep/slurm_job cannot be written, which tells a later call of array job $array, nor can that be" \
    "stopped (the reasons are above); before you call this again, stop it: scancel $array"
  die "$sweep/slurm_job cannot be written (the reason is above), which tells a later call of array job $array, so that is" \
    "stopped again; make room, or have $jobs where you may write, and call this again"
}

# Which tasks are queued, in which state, and how many are running.
declare -A queued=()
running=0
look() {
  local id line state rows
  rows=$(squeue --me --noheader --array --format='%F %K %t') || return
  queued=() running=0
  while read -r id line state; do
    [[ $id == "$array" ]] || continue
    queued[$line]=$state
    [[ $state != R ]] || running=$((running + 1))
  done <<<"$rows"
}

report() { # report LINE
  local status words
  IFS=$'\t' read -r status words < <(sweep_jobs report "$sweep/jobs.jsonl" "$1") ||
    { quote "$sweep/jobs.jsonl" && die "cannot tell how line $1 went; see what this says: scripts/sweep_jobs.py report $REPLY $1"; }
  ended "$1" "$status" "$words"
}

wait_for_all() {
  local line
  local -A waiting=()
  for line in "${pending[@]}"; do waiting[$line]=yes; done
  while ((${#waiting[@]})); do
    # Where squeue fails, the controller being busy, the next time will tell.
    look && for line in "${pending[@]}"; do
      [[ ! ${waiting[$line]:-} || ${queued[$line]:-} ]] || { report "$line" && unset "waiting[$line]"; }
    done
    show_progress "$running"
    ((${#waiting[@]} == 0)) || sleep 5
  done
}

# --- All of it --------------------------------------------------------------------------------------------------------

if [[ $mode == collect ]]; then
  collect "$jobs"
  exit
fi
command -v sbatch >/dev/null || die "Slurm's sbatch is not here; call this on a login node of a cluster, or use" \
  "scripts/sweep.sh to run the jobs on this machine"
open_sweep "$jobs"
if [[ -e $sweep/slurm_job ]]; then
  array=$(<"$sweep/slurm_job")
  if [[ $array ]]; then
    look || die "squeue cannot tell whether array job $array of an earlier call still runs; try again when Slurm answers"
  else # as a full disk leaves it
    tell "$sweep/slurm_job is empty, so an earlier call may have submitted jobs that are queued still: squeue --me tells; they" \
      "would wait for those of this call, or these for them"
  fi
fi
((${#queued[@]} == 0)) || are_same_jobs || die "$jobs, or a config that it names, was edited since array job $array was" \
  "submitted, which is queued still; wait until that ends, or stop it: scancel $array"
take_jobs
if ((${#queued[@]})); then
  tell "array job $array of an earlier call is queued still, with ${#queued[@]} tasks; nothing is submitted"
elif ((${#pending[@]})); then
  submit "$@"
  tell "${#pending[@]} of ${#lines[@]} jobs are submitted as array job $array; logs: $sweep/logs"
fi
go_on="the jobs go on in Slurm; call this again to wait for them, with --collect for the table; scancel $array stops them"
[[ $mode == wait ]] || { tell "$go_on" && exit; }
trap 'tell "$go_on"; exit 130' INT
trap 'tell "$go_on"; exit 143' TERM
wait_for_all
tell "$(duration "$SECONDS") in all"
sweep_jobs table "$sweep/jobs.jsonl"
