#!/usr/bin/env bash
# From a fresh clone to the first picture: sets up, builds, trains on Fashion-MNIST, and draws the Taylor penalty of every
# step, and its sharpness over 2/η. A second call continues a run that was interrupted, and does a finished one again.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ ${1:-} != --help ]] || { help; exit; }
(($# == 0)) || die_usage "takes no arguments, but was given '$*'; for other runs use build/release/sgdscope"

readonly run=runs/quickstart picture=runs/quickstart/steps.png

scripts/setup.sh
build_target=sgdscope
build release build/release "$libtorch_file"

arguments=()
if [[ ! -d /usr/share/datasets/fashion-mnist ]]; then
  scripts/download_data.sh fashion_mnist
  arguments+=(--set data.path=data/fashion_mnist)
fi
if grep -qE '"status": *"(running|interrupted)"' "$run/manifest.json" 2>/dev/null; then
  arguments+=(--resume)
elif [[ -e $run ]]; then
  arguments+=(--overwrite)
fi
build/release/sgdscope run configs/quickstart.json "${arguments[@]}"

"$(project_python)" scripts/plot.py "$run" --columns taylor.updating.penalty,stability.step_ratio --x step --out "$picture"
say "every step's numbers: $PWD/$run/metrics.csv"
say "their picture:        $PWD/$picture"
