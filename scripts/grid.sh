#!/usr/bin/env bash
# Prints a job file for scripts/sweep.sh: one run for each combination of the values, or the runs of a study.
#
#   scripts/grid.sh CONFIG --out DIR [--set PATH=VALUE]... [--vary PATH VALUE...]... [--seeds N...] > x.jobs
#   scripts/grid.sh NAME.study.json [--size SIZE] [--out DIR] > x.jobs
#
#   CONFIG   the experiment, which all runs share
#   --out    each run gets a folder in DIR, named after what varies: learning_rate=0.1,hidden=64_64,seed=1; of a study its
#            setting and seed, and the default is runs/NAME_SIZE
#   --set    for all runs
#   --vary   a field and its values: --vary update.learning_rate 0.05 0.1 --vary model.hidden '[64]' '[64,64]'
#   --seeds  short for --vary seed
#   --size   one of the study's sizes
#
# A study says as data what varies, with values that depend on others; scripts/sgdscope/studies.py tells how, and
# configs/PAPER/FIGURE.study.json are examples. Paths stay as you give them. `sgdscope resolve` checks every job:
# where one is wrong, none is printed. Exit status: 0 printed, 1 no program or no Python, 2 wrong usage or a wrong job,
# 3 a study that cannot be read, 5 a program that cannot check the jobs.

# shellcheck source=scripts/sweep_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep_lib.sh"

[[ ${1:-} != --help ]] || { help; exit; }
need_program
# The system's own starts faster than a wrapper that may stand before it in PATH, but it may be too old.
for python in /usr/bin/python3 python3; do
  "$python" -S -E -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && break
  python=''
done
[[ $python ]] || die "there is no python3 from 3.9 on; install one, and have it in PATH"
exec "$python" -S -E "$repository/scripts/grid.py" "$sgdscope" "$@"
