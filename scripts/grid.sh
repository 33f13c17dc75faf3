#!/usr/bin/env bash
# Prints a job file for scripts/sweep.sh: one run for each combination of the values.
#
#   scripts/grid.sh CONFIG --out DIR [--set PATH=VALUE]... [--vary PATH VALUE...]... [--seeds N...] > x.jobs
#
#   CONFIG   the experiment, which all runs share
#   --out    each run gets a folder in DIR, named after what varies: learning_rate=0.1,hidden=64_64,seed=1
#   --set    for all runs
#   --vary   a field and its values: --vary update.learning_rate 0.05 0.1 --vary model.hidden '[64]' '[64,64]'
#   --seeds  short for --vary seed
#
# Paths stay as you give them. The first run is checked with `sgdscope validate`, which tells a misspelt PATH; a value that
# only other runs have is checked when the sweep comes to them.

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"

config='' out=''
common=''           # arguments of all runs, quoted
runs=('') names=('') # of the grid so far: quoted arguments, and folder names
declare -A taken=() # paths that are set or varied, and labels

take() { # take PATH
  [[ $1 == [A-Za-z_]* && $1 != *=* ]] || die "'$1' is no PATH of a field, such as update.learning_rate; see --help"
  [[ ! ${taken[$1]:-} ]] || die "$1 is given twice; name each field once"
  taken[$1]=yes
}

# What is left of a value in a name: no character that a shell, a URL or another file system takes amiss.
plain() {
  REPLY=${1//[^A-Za-z0-9.+-]/_}
  while [[ $REPLY == *__* ]]; do REPLY=${REPLY//__/_}; done
  REPLY=${REPLY#_}
  REPLY=${REPLY%_}
}

# Multiplies the grid by the values of a field.
vary() { # vary PATH VALUE...
  local label=${1##*.} value i more_runs=() more_names=()
  local -A shown=()
  (($# > 1)) || die "--vary $1 needs values (and --seeds too); see scripts/grid.sh --help"
  [[ ! ${taken[label $label]:-} ]] || label=$1
  taken[label $label]=yes
  for value in "${@:2}"; do
    plain "$value"
    [[ ! ${shown[=$REPLY]+there} ]] || die "the values '${shown[=$REPLY]}' and '$value' of $1 would share the folder" \
      "name $label=$REPLY; leave one of them out"
    shown[=$REPLY]=$value
  done
  for i in "${!runs[@]}"; do
    for value in "${@:2}"; do
      plain "$value"
      more_names+=("${names[i]:+${names[i]},}$label=$REPLY")
      quote "$1=$value"
      more_runs+=("${runs[i]} --set $REPLY")
    done
  done
  runs=("${more_runs[@]}") names=("${more_names[@]}")
}

[[ ${1:-} != --help ]] || { help && exit; }
made_by="scripts/grid.sh"
for word; do quote "$word" && made_by+=" $REPLY"; done
while (($#)); do
  case $1 in
    --out) needs_value "$@" && out=$2 && shift 2 ;;
    --set)
      needs_value "$@" && take "${2%%=*}"
      quote "$2" && common+=" --set $REPLY" && shift 2
      ;;
    --vary | --seeds)
      if [[ $1 == --seeds ]]; then field=seed && shift; else needs_value "$@" && field=$2 && shift 2; fi
      list=()
      while (($#)) && [[ $1 != --* ]]; do list+=("$1") && shift; done
      take "$field" && vary "$field" "${list[@]}"
      ;;
    --*) die "there is no option $1; see scripts/grid.sh --help" ;;
    *) [[ ! $config ]] || die "takes one config, but was given '$config' and '$1'" && config=$1 && shift ;;
  esac
done
[[ $config && $out ]] || die "needs CONFIG and --out DIR; see scripts/grid.sh --help"
[[ ${names[0]} ]] || die "nothing varies; give --vary or --seeds"
[[ $made_by != *$'\n'* ]] || die "a word has a line break in it, but a job is one line"

quote "$config"
common="sgdscope run $REPLY$common"
need_program
jobs=()
for i in "${!names[@]}"; do
  ((${#names[i]} <= 200)) || die "the folder name ${names[i]} is too long; put the long values into configs of their own"
  quote "${out%/}/${names[i]}"
  jobs+=("$common${runs[i]} --output $REPLY")
done
quietly xargs --arg-file=<(echo "${jobs[0]#sgdscope run }") "$sgdscope" validate ||
  die "the first run is not valid; sgdscope's own words are above"
printf '%s\n' "# $made_by" "${jobs[@]}"
