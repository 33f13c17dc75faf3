#!/usr/bin/env bash
# Runs the jobs of a job file, several at a time, and makes a table of their results. Called again it goes on: done and
# diverged jobs are left alone, begun ones resumed.
#
#   scripts/sweep.sh JOBS [-j N | --per-gpu N] [--threads T] [--dry-run] | JOBS --collect
#
#   JOBS       a file with one 'sgdscope run CONFIG ... --output DIR' a line, as scripts/grid.sh prints; quoted as for a
#              shell, though nothing is expanded; relative paths hold from the folder where you call this; empty lines and
#              lines that begin with # are skipped
#   -j         jobs at a time; default: the number of GPUs if jobs run on cuda, otherwise of cores, but never more than
#              there are jobs in the file
#   --per-gpu  jobs at a time on each GPU; small networks leave most of one idle. They share its memory
#   --threads  of each job; default: the cores divided by N. A line or config that sets threads, and a run that is resumed,
#              keep theirs. The last bits of results depend on it.
#   --dry-run  check all jobs, and say which would run and how; run and write nothing. Exit status: 1 if one is wrong
#   --collect  run nothing, only make the table of what there is; also while a sweep is at work
#
# With several GPUs each job on cuda gets one of them (those of CUDA_VISIBLE_DEVICES, if that is set). Where there are as many
# cores as jobs at a time, each job on the CPU is kept to cores of its own, unless it has more threads than these.
#
# For x.jobs there will be x.sweep/sweep.csv, a row a job, and x.sweep/logs/LINE.log, what each job printed. What was done
# is read from the run folders alone. Jobs are run from copies of their configs, as these are when the sweep begins; runs
# that are there and were made by another config are told and left alone. On SIGINT, SIGTERM and SIGHUP the runs checkpoint and stop; a second one ends them
# at once. Exit status: 0 all jobs are done, 1 some are not, 130 (or 143, 129) interrupted. SGDSCOPE names another program.

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"

jobs='' slots='' per_gpu='' threads='' mode=run
while (($#)); do
  case $1 in
    -j) needs_value "$@" && slots=$2 && shift 2 ;;
    -j[0-9]*) slots=${1#-j} && shift ;; # as make takes it
    --per-gpu) needs_value "$@" && per_gpu=$2 && shift 2 ;;
    --threads) needs_value "$@" && threads=$2 && shift 2 ;;
    --collect) mode=collect && shift ;;
    --dry-run) mode=dry && shift ;;
    --help) help && exit ;;
    -*) die "there is no option $1; see scripts/sweep.sh --help" ;;
    *) is_given JOBS "$1" && [[ ! $jobs ]] || die "takes one job file, but was given '$jobs' and '$1'" && jobs=$1 && shift ;;
  esac
done
for number in "$slots" "$per_gpu" "$threads"; do
  [[ ! $number || $number =~ ^[1-9][0-9]*$ ]] || die "-j, --per-gpu and --threads take a number from 1 on, not '$number'"
done
[[ ! $slots || ! $per_gpu ]] || die "give one of -j and --per-gpu"

# --- Cores and GPUs ---------------------------------------------------------------------------------------------------

gpus=() # as CUDA_VISIBLE_DEVICES names them
find_gpus() {
  if [[ ${CUDA_VISIBLE_DEVICES+set} ]]; then
    IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
  elif command -v nvidia-smi >/dev/null; then
    mapfile -t gpus < <(nvidia-smi -L | sed -n 's/^GPU \([0-9]*\):.*/\1/p')
  fi
}

# From the job file and the machine alone, not from what is left to do: the bits of a run depend on its threads.
share_machine() {
  local cores most
  cores=$(nproc)
  most=$cores
  if [[ " ${device[*]} " == *" cuda "* ]]; then
    find_gpus
    most=$((${#gpus[@]} ? ${#gpus[@]} * ${per_gpu:-1} : cores))
  fi
  [[ ! $per_gpu ]] || ((${#gpus[@]})) ||
    die "--per-gpu is for jobs on cuda where nvidia-smi or CUDA_VISIBLE_DEVICES names GPUs; with -j it is the jobs at a time"
  ((slots)) || slots=$((most < ${#lines[@]} ? most : ${#lines[@]}))
  ((threads)) || threads=$((cores > slots ? cores / slots : 1))
  mapfile -t pins < <(sweep_jobs cores "$slots")
}

pins=() # the processors of each slot, as taskset takes them

# Whether a job is kept to the processors of its slot.
is_pinned() { # is_pinned LINE SLOT
  local processors=${pins[$2]:-}
  processors=${processors//[^,]/}
  [[ ${pins[$2]:-} && ${device[$1]} == cpu ]] && ((${own[$1]:-$threads} <= ${#processors} + 1))
}

# How the jobs share the machine, in words.
sharing() {
  printf '%s' "$slots at a time, threads of each: $threads"
  [[ ! ${pins[0]:-} || " ${device[*]} " != *" cpu "* ]] || printf '%s' ", cores: ${pins[*]}"
  ((${#gpus[@]} == 0)) || printf '%s' ", GPUs: ${gpus[*]}"
}

# --- Jobs -------------------------------------------------------------------------------------------------------------

declare -A line_of=() slot_of=() # of the running jobs, by process
free=()                          # slots

# A session of its own keeps the terminal's signals away from the job: they would come besides ours.
start() { # start LINE SLOT
  local bind=()
  [[ ${device[$1]} != cuda || ${#gpus[@]} == 0 ]] || bind=("CUDA_VISIBLE_DEVICES=${gpus[$2 % ${#gpus[@]}]}")
  ! is_pinned "$1" "$2" || bind+=(taskset --cpu-list "${pins[$2]}")
  setsid env "${bind[@]}" "$repository/scripts/sweep_job.sh" "$sweep/jobs.jsonl" "$1" "$threads" \
    </dev/null >>"$sweep/logs/$1.log" 2>&1 {sweep_lock}>&- &
  line_of[$!]=$1 slot_of[$!]=$2
}

# Waits until a job ends, a signal comes or a second has passed.
ticker=''
pause() {
  if [[ ! $ticker ]] || ! kill -0 "$ticker" 2>/dev/null; then
    sleep 1 &>/dev/null {sweep_lock}>&- &
    ticker=$!
  fi
  wait -n 2>/dev/null || true
}

reap() {
  local running process status
  running=" $(jobs -pr) "
  running=${running//$'\n'/ }
  for process in "${!line_of[@]}"; do
    [[ $running != *" $process "* ]] || continue
    status=0
    wait "$process" 2>/dev/null || status=$?
    ended "${line_of[$process]}" "$status"
    free+=("${slot_of[$process]}")
    unset "line_of[$process]" "slot_of[$process]"
  done
}

signal='' signals=0 passed_on=0
for name in INT TERM HUP; do
  # shellcheck disable=SC2064  # the name is meant to be that of now
  trap "signal=$name signals=\$((signals + 1))" "$name"
done

# Of a job that dies by a trapped signal bash does not tell in words of its own; `ended` does.
# shellcheck disable=SC2173
trap : KILL SEGV BUS FPE ILL ABRT

pass_on() {
  ((passed_on < signals)) || return 0
  passed_on=$signals
  ((${#line_of[@]})) || return 0
  kill -TERM "${!line_of[@]}" 2>/dev/null || true
  tell "SIG$signal: ${#line_of[@]} running jobs checkpoint and stop; a second signal ends them at once"
}

run_all() {
  local next=0
  mapfile -t free < <(seq 0 $((slots - 1)))
  while [[ ! $signal && $next -lt ${#pending[@]} ]] || ((${#line_of[@]})); do
    while [[ ! $signal && ${#free[@]} -gt 0 && $next -lt ${#pending[@]} ]]; do
      start "${pending[next]}" "${free[0]}"
      free=("${free[@]:1}") next=$((next + 1))
    done
    show_progress "${#line_of[@]}"
    pause
    pass_on
    reap
  done
}

# --- All of it --------------------------------------------------------------------------------------------------------

if [[ $mode == collect ]]; then
  collect "$jobs"
  exit
fi
if [[ $mode == dry ]]; then
  resolve_jobs "$jobs"
  read_plan <(printf '%s\n' "$resolved")
  share_machine
  ((${#pending[@]} == 0)) || for line in "${pending[@]}"; do
    printf '%s: %s\n' "$line" "$(sed -n "${line}p" -- "$jobs")"
  done
  tell "${#lines[@]} jobs, ${#pending[@]} of them to run, $(sharing); nothing was run"
  exit $((${tally[failed]:-0} > 0))
fi
open_sweep "$jobs"
take_jobs
share_machine
tell "${#lines[@]} jobs, ${#pending[@]} of them to run, $(sharing); logs: $sweep/logs"
run_all
tell "$(duration "$SECONDS") in all"
status=0
sweep_jobs table "$sweep/jobs.jsonl" || status=$?
[[ $signal ]] || exit "$status"
tell "stopped by SIG$signal; to go on, call again: scripts/sweep.sh $jobs"
exit $((128 + $(kill -l "$signal")))
