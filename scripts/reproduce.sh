#!/usr/bin/env bash
# Reproduces a figure of a paper, or all of its figures: makes the runs, draws, and reports which of the paper's claims hold.
#
#   scripts/reproduce.sh PAPER[/FIGURE] [--quick | --desk | --size SIZE] [-j N] [--threads T] [--out DIR] [--data-path DIR] \
#     [--device cuda] [--record-durations] [--slurm [-- SBATCH OPTION...]]
#   scripts/reproduce.sh --list
#
#   --size       full (the default): the paper's own setting; desk: the paper's kind of network, at the size that two cores
#                manage in three hours a figure; quick: minutes, to try the machinery; or another size of the figures'
#                studies, configs/PAPER/FIGURE.study.json. --quick and --desk are short for --size quick and --size desk
#   -j           runs at a time; default: the number of GPUs if runs are on cuda, otherwise of cores, but never more than
#                there are runs
#   --threads    of each run; default: the cores divided by the runs at a time, so that with -j 1 a run has all of them. The last
#                bits of results depend on it
#   --out        folder for the runs, pictures and reports; default: reproductions/PAPER_SIZE
#   --data-path  folder of the files of MNIST, CIFAR-10 or CIFAR-100, once for each; default: data/mnist, data/cifar10,
#                data/cifar100. Where MNIST is missing, Fashion-MNIST stands in; where only CIFAR-10's test batch is, its
#                batch 5 is the test set. Runs of which the data are missing are left out, if there are others
#   --device     cpu or cuda; default: what the figures' configs say, cpu
#   --record-durations  afterwards, keep how long the runs took in configs/PAPER/durations.json, which --list tells
#   --slurm      have the runs made as a Slurm job array; where some begin from others' weights, as one after the other
#   --list       all papers and figures, and how long they take
#
# Called again after an interruption it goes on. Figures of one paper share their runs. Exit status: 0 also where claims do
# not hold, and where runs diverged of which a study says that they may; 1 if other runs did, or failed, or where the
# program or Python's libraries are missing; 2 for wrong usage; 3 for unusable data; 5 for no place to write; 130 (or 143, 129)
# if interrupted.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arguments=() target='' sharing=() slurm='' record=()
while (($#)); do
  case $1 in
    --quick | --desk) arguments+=("$1") && shift ;;
    --record-durations) record=("$1") && shift ;;
    --device | --size) needs_value "$@" && arguments+=("$1" "$2") && shift 2 ;;
    -j | --threads) needs_value "$@" && sharing+=("$1" "$2") && shift 2 ;;
    --out | --data-path) needs_value "$@" && arguments+=("$1" "$(absolute "$2")") && shift 2 ;;
    --slurm) slurm=yes && shift ;;
    --list) target=--list && shift ;;
    --help) help; exit ;;
    --) shift && break ;;
    -*) die_usage "there is no option $1; see scripts/reproduce.sh --help" ;;
    *) [[ ! $target ]] || die_usage "takes one PAPER or PAPER/FIGURE, but was given '$target' and '$1'" && target=$1 && shift ;;
  esac
done
[[ $target ]] || die_usage "needs PAPER or PAPER/FIGURE; scripts/reproduce.sh --list shows them"
[[ $slurm || $# == 0 ]] || die_usage "what comes after -- is for sbatch, and there is no --slurm"
[[ ! $slurm || ${#sharing[@]} == 0 ]] || die_usage "give one of --slurm and -j or --threads: Slurm decides how many runs there are at a" \
  "time, and --cpus-per-task=T after -- how many threads each has"

python=$(project_python) || die "no python3 here has numpy, scipy and matplotlib; scripts/setup.sh installs them"
[[ $target != --list ]] || exec "$python" scripts/reproduce.py list

# Runs a command, to which signals are passed on, and waits for its end.
passing_signals_on() {
  local name child status=0
  set -m # so that the terminal's signals reach it through us alone
  "$@" &
  child=$!
  set +m
  # shellcheck disable=SC2064  # the names are meant to be those of now
  for name in INT TERM HUP; do trap "kill -$name $child 2>/dev/null || true" "$name"; done
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
  done
  trap - INT TERM HUP
  return "$status"
}

[[ ${SGDSCOPE:-} != */* ]] || SGDSCOPE=$(absolute "$SGDSCOPE") # sweep.sh is called from another folder than we
command -v -- "${SGDSCOPE:-build/release/sgdscope}" >/dev/null || die "there is no program ${SGDSCOPE:-build/release/sgdscope};" \
  "scripts/quickstart.sh or scripts/test.sh builds it, or set SGDSCOPE to where you have it"
status=0
for ((stage = 1; ; stage++)); do # most have but one
  jobs=$("$python" scripts/reproduce.py plan "${arguments[@]}" --stage "$stage" -- "$target")
  [[ -e $jobs ]] || break
  sweep=(scripts/sweep.sh "$jobs" "${sharing[@]}")
  [[ ! $slurm ]] || sweep=(scripts/slurm_sweep.sh "$jobs" -- "$@")
  passing_signals_on "${sweep[@]}" || status=$?
  if ((status > 1)); then
    ((status == 2)) || say "stopped while making the runs; called again, it goes on" >&2 # 2: the usage is wrong, as it has said
    exit "$status"
  fi
done
folder=$(dirname "$jobs")
"$python" scripts/reproduce.py report "$folder" "${record[@]}"
((status == 0)) || exec "$python" scripts/reproduce.py ended "$folder" "$target"
