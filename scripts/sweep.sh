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
#   --dry-run  check all jobs, and say which would run and how; run and write nothing. Exit status: 1 if one is refused
#   --collect  run nothing, only make the table of what there is; also while a sweep is at work
#
# With several GPUs each job on cuda gets one of them (those of CUDA_VISIBLE_DEVICES, if that is set). Where there are as many
# cores as jobs at a time, each job on the CPU is kept to cores of its own, unless it has more threads than these. Jobs on the
# CPU begin as copies of one process that has loaded the program (sgdscope start-jobs), which takes a tenth of a start.
#
# For x.jobs there will be x.sweep/sweep.csv, a row a job, and x.sweep/logs/LINE.log, what each job printed. What was done
# is read from the run folders alone. Jobs are run from copies of their configs, as these are when the sweep begins; runs
# that are there and were made by another config are told and left alone. On SIGINT, SIGTERM and SIGHUP the runs checkpoint and
# stop; a second one ends them at once. SGDSCOPE names another program; where that is a script which calls it, each job is
# started anew. Exit status: 0 all jobs are done, 1 some are not, or it could not begin, 2 wrong usage, a wrong job file or a
# config that cannot be read, 5 the table cannot be written or the program cannot be run, 130 (or 143, 129) interrupted.

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"

jobs='' slots='' per_gpu='' threads='' mode=run
sharing=() # the options that say how jobs share the machine, as they were given
while (($#)); do
  case $1 in
    -j) needs_value "$@" && slots=$2 sharing+=("$1" "$2") && shift 2 ;;
    -j[0-9]*) slots=${1#-j} sharing+=("$1") && shift ;; # as make takes it
    --per-gpu) needs_value "$@" && per_gpu=$2 sharing+=("$1" "$2") && shift 2 ;;
    --threads) needs_value "$@" && threads=$2 sharing+=("$1" "$2") && shift 2 ;;
    --collect) mode=collect && shift ;;
    --dry-run) mode=dry && shift ;;
    --help) help; exit ;;
    -*) die_usage "there is no option $1; see scripts/sweep.sh --help" ;;
    *) is_given JOBS "$1" && [[ ! $jobs ]] || die_usage "takes one job file, but was given '$jobs' and '$1'" && jobs=$1 && shift ;;
  esac
done
for number in "$slots" "$per_gpu" "$threads"; do
  [[ ! $number || $number =~ ^[1-9][0-9]*$ ]] || die_usage "-j, --per-gpu and --threads take a number from 1 on, not '$number'"
done
[[ ! $slots || ! $per_gpu ]] || die_usage "give one of -j and --per-gpu"

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
  cores=$(processors)
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
shares() {
  printf '%s' "$slots at a time, threads of each: $threads"
  [[ ! ${pins[0]:-} || " ${device[*]} " != *" cpu "* ]] || printf '%s' ", cores: ${pins[*]}"
  ((${#gpus[@]} == 0)) || printf '%s' ", GPUs: ${gpus[*]}"
}

# --- Jobs -------------------------------------------------------------------------------------------------------------

declare -A slot_of=()                # of the running jobs, by line
free=()                              # slots
declare -A folder_of=() command_of=() # of jobs that may begin as copies of a process that has loaded the program

# The process that starts the jobs (sgdscope start-jobs), each in a session of its own, where the terminal's signals don't
# come: they would besides ours. Most of a start goes into loading the program, which is done once.
begin_starter() {
  local loaded commands i
  coproc starter {
    exec {sweep_lock}>&-
    sweep_jobs start "$sweep/jobs.jsonl" "$sgdscope"
  }
  starting=$!
  exec {requests}>&"${starter[1]}"- {replies}<&"${starter[0]}"-
  trap : PIPE # where it is gone, a reply is waited for in vain, which tells
  IFS= read -r -u "$replies" loaded || die "$sgdscope cannot start jobs (the reason is above)"
  if [[ ! $loaded -ef $(command -v -- "$sgdscope") ]]; then
    tell "each job loads the program anew, which takes longer: $sgdscope is not the program, but calls it ($loaded)"
    return
  fi
  mapfile -d '' commands < <(sweep_jobs commands "$sweep/jobs.jsonl" "$threads")
  for ((i = 0; i < ${#commands[@]}; i += 3)); do
    folder_of[${commands[i]}]=${commands[i + 1]} command_of[${commands[i]}]=${commands[i + 2]}
  done
}

# A run that has begun is left to sweep_job.sh, which waits for a process that may be at work on it.
start() { # start LINE SLOT
  local words=("$1" - "$sweep/logs/$1.log") job=()
  ! is_pinned "$1" "$2" || words[1]=${pins[$2]}
  if [[ ${command_of[$1]:-} && ! -e ${folder_of[$1]}/.lock ]]; then
    begin_log "$1" >>"${words[2]}" || true # the reason is told, and the program will have it too
  else
    [[ ${device[$1]} != cuda || ${#gpus[@]} == 0 ]] || job=(env "CUDA_VISIBLE_DEVICES=${gpus[$2 % ${#gpus[@]}]}")
    words+=("${job[@]}" "$repository/scripts/sweep_job.sh" "$sweep/jobs.jsonl" "$1" "$threads")
    command_of[$1]=''
  fi
  slot_of[$1]=$2
  quote_all "${words[@]}"
  ask "$REPLY ${command_of[$1]}"
}

ask() { printf '%s\n' "$1" >&"$requests" || true; }

# Waits until a job ends or a moment has passed, in which a signal may have come. A moment may end within a line.
heard=''
hear() {
  local piece='' line exit_status status words got=0
  IFS= read -r -t 0.2 -u "$replies" piece || got=$?
  heard+=$piece
  ((got <= 128)) || return 0
  ((got == 0)) || die "$sgdscope starts no jobs any more (the reason is above); ${#slot_of[@]} jobs go on by themselves:" \
    "when these have ended, call this again"
  IFS=$'\t' read -r line exit_status status words <<<"$heard"
  heard=''
  ended "$line" "$status" "$words" "$exit_status"
  free+=("${slot_of[$line]}")
  unset "slot_of[$line]"
}

signal='' signals=0 passed_on=0
for name in INT TERM HUP; do
  # shellcheck disable=SC2064  # the name is meant to be that of now
  trap "signal=$name signals=\$((signals + 1))" "$name"
done

pass_on() {
  ((passed_on < signals)) || return 0
  passed_on=$signals
  ((${#slot_of[@]})) || return 0
  ask stop
  tell "SIG$signal: ${#slot_of[@]} running jobs checkpoint and stop; a second signal ends them at once"
}

run_all() {
  local next=0
  ((${#pending[@]})) || return 0
  begin_starter
  mapfile -t free < <(seq 0 $((slots - 1)))
  while [[ ! $signal && $next -lt ${#pending[@]} ]] || ((${#slot_of[@]})); do
    while [[ ! $signal && ${#free[@]} -gt 0 && $next -lt ${#pending[@]} ]]; do
      start "${pending[next]}" "${free[0]}"
      free=("${free[@]:1}") next=$((next + 1))
    done
    show_progress "${#slot_of[@]}"
    pass_on
    hear
  done
  exec {requests}>&-
  wait "$starting" || true
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
  tell "${#lines[@]} jobs, ${#pending[@]} of them to run, $(shares); nothing was run"
  exit $((${tally[failed]:-0} > 0))
fi
open_sweep "$jobs"
take_jobs
share_machine
tell "${#lines[@]} jobs, ${#pending[@]} of them to run, $(shares); logs: $sweep/logs"
run_all
tell "$(duration "$SECONDS") in all"
status=0
sweep_jobs table "$sweep/jobs.jsonl" || status=$?
[[ $signal ]] || exit "$status"
quote_all scripts/sweep.sh "$jobs" "${sharing[@]}" # jobs that begin then are to have the threads that they would have had now
tell "stopped by SIG$signal; to go on, call again: $REPLY"
exit $((128 + $(kill -l "$signal")))
