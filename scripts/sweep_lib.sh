# shellcheck shell=bash
# What the sweep scripts share, besides lib.sh. They work in the folder where they were called, so that the paths in a job
# file mean what they mean to a shell there.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
readonly repository=$PWD
cd "$called_from"
readonly sgdscope=${SGDSCOPE:-$repository/build/release/sgdscope}

need_program() {
  command -v -- "$sgdscope" >/dev/null || die "there is no program $sgdscope; scripts/quickstart.sh or scripts/test.sh" \
    "builds it, or set SGDSCOPE to where you have it"
}

# A word as shells and Python's shlex read it back, in REPLY.
quote() {
  REPLY=$1
  [[ $1 && $1 != *[^A-Za-z0-9_./=:,@%+-]* ]] || REPLY="'${1//\'/\'\\\'\'}'"
}

# Words in one line, in REPLY.
quote_all() {
  local word line=''
  for word; do
    quote "$word"
    line+=" $REPLY"
  done
  REPLY=${line# }
}

# The system's own python3 starts faster than a wrapper that may stand before it in PATH.
sweep_jobs() { # sweep_jobs COMMAND ARGUMENT...: see there
  local python
  python=$(command -v /usr/bin/python3 || command -v python3) || die "python3 is missing; install any version from 3.6 on"
  "$python" -S -E "$repository/scripts/sweep_jobs.py" "$@"
}

# --- The sweep's folder: for x.jobs it is x.sweep ---------------------------------------------------------------------

sweep=''             # the folder
resolved=''          # what the program makes of each job, a line a job
lines=()             # of all jobs, as numbers in the job file
pending=()           # of those jobs that are to be run: not refused, and neither done nor diverged yet
declare -A device=() # by line
declare -A own=()    # threads of those that set them, by line
declare -A tally=()  # jobs by status: those that need no run, and those that ended since

needs_jobs() { # needs_jobs JOBS
  [[ $1 ]] || die_usage "needs a job file, such as scripts/grid.sh prints; see ${0##*/} --help"
}

# Has the program resolve the jobs, as their configs are now.
resolve_jobs() { # resolve_jobs JOBS
  needs_jobs "$1"
  need_program
  resolved=$(sweep_jobs resolve "$sgdscope" "$1") || exit
}

# The same, and takes the sweep for this process alone.
open_sweep() { # open_sweep JOBS
  local locked=0
  resolve_jobs "$1"
  sweep=${1%.jobs}.sweep
  { mkdir -p -- "$sweep/logs" && exec {sweep_lock}>"$sweep/.lock"; } ||
    die "cannot write into $sweep, where the table and the logs go (the reason is above); have $1 where you may write"
  flock --nonblock "$sweep_lock" || locked=$?
  ((locked != 1)) || die "another process works on $sweep; wait until it ends, or stop it"
  ((locked == 0)) || tell "$sweep cannot be locked (the reason is above): see to it that no other process works on it"
}

are_same_jobs() { cmp --silent -- <(printf '%s\n' "$resolved") "$sweep/jobs.jsonl"; }

# Jobs are run from a copy of all that they ask for, so that editing a job file or a config changes nothing under a sweep.
# Logs are named by line: with other jobs they begin anew.
take_jobs() {
  if ! are_same_jobs; then
    rm -rf -- "$sweep/configs" "$sweep"/logs/*.log
    { printf '%s\n' "$resolved" >"$sweep/jobs.part" && mv -- "$sweep/jobs.part" "$sweep/jobs.jsonl"; } ||
      die "cannot write into $sweep (the reason is above)"
  fi
  read_plan "$sweep/jobs.jsonl"
}

# Which of the resolved jobs are done and which are to be run.
read_plan() { # read_plan FILE
  local plan line status where count words
  plan=$(sweep_jobs list "$1") || exit
  while IFS=$'\t' read -r line status where count words; do
    # shellcheck disable=SC2034  # used by sweep.sh
    lines+=("$line") device[$line]=$where own[$line]=${count#-}
    case $status in
      done | diverged) tally[$status]=$((${tally[$status]:-0} + 1)) ;;
      refused) tally[failed]=$((${tally[failed]:-0} + 1)) && tell "$words" ;;
      running) pending+=("$line") && tell "line $line is being run by another process; its turn will wait for that" ;;
      *) pending+=("$line") ;;
    esac
  done <<<"$plan"
}

# Where what a job prints begins when it is started.
begin_log() { # begin_log LINE
  printf -- '--- line %s on %s, %(%F %T)T\n' "$1" "$HOSTNAME" -1
}

# Makes the table of what there is, of the jobs as the sweep has taken them.
collect() { # collect JOBS
  local taken=${1%.jobs}.sweep/jobs.jsonl
  needs_jobs "$1"
  [[ -e $taken ]] || die "no sweep of '$1' has begun, so there is nothing to collect"
  sweep_jobs table "$taken"
}

# --- Progress ---------------------------------------------------------------------------------------------------------

tell() { # a line of its own, above the progress line
  [[ ! -t 2 ]] || printf '\r\033[K' >&2 || true # the terminal may be gone, which must not end a sweep
  printf '%s\n' "$*" >&2 || true
}

# Counts a job that has ended, and tells of it; what went well, not on a terminal, where the progress line shows it.
ended() { # ended LINE STATUS WORDS [EXIT_STATUS]
  local words=$3
  tally[$2]=$((${tally[$2]:-0} + 1))
  [[ $2 == "done" ]] || words+=" (${4:+exit status $4, }log $sweep/logs/$1.log)"
  if [[ $2 != "done" || ! -t 2 ]]; then tell "$words"; fi
}

duration() { printf '%d:%02d:%02d' $(($1 / 3600)) $(($1 / 60 % 60)) $(($1 % 60)); }

# One line on a terminal, written over and over.
show_progress() { # show_progress RUNNING
  local kind text='' left=${#lines[@]} over
  [[ -t 2 ]] || return 0
  for kind in 'done' diverged failed crashed interrupted running 'not begun'; do
    [[ ${tally[$kind]:-} ]] || continue
    text+=", ${tally[$kind]} $kind"
    left=$((left - ${tally[$kind]}))
  done
  over=$((${#pending[@]} - left)) # those that ended in this call
  text+=", $1 running, $((left - $1)) to come, $(duration "$SECONDS") so far"
  ((over < 1 || left < 1)) || text+=", about $(duration $((SECONDS * left / over))) to go"
  printf '\r\033[K%s' "${#lines[@]} jobs${text}" >&2
}
