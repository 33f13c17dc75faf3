#!/usr/bin/env bash
# Compiles kernels/cuda.cu for the GPUs that we ship machine code for, also where LibTorch has no CUDA: no warning, and no
# register spilled to memory by a kernel that keeps lists in registers.
#
#   cuda_compiles_test.sh NVCC SOURCE_DIR OPTION...

set -euo pipefail
nvcc=$1 source=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for arch in 80 90; do
  "$nvcc" -std=c++17 -O3 -I"$source" "$@" -gencode="arch=compute_$arch,code=sm_$arch" -Xptxas -v \
    -c "$source/kernels/cuda.cu" -o "$work/cuda.o" >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
  # ptxas says for each kernel: 'Compiling entry function NAME', then 'N bytes spill stores', then 'Used N registers'.
  awk -v arch="$arch" '
    /Compiling entry function/ { kernel = $0 }
    /spill stores/ { spilled = !/ 0 bytes spill stores, 0 bytes spill loads/ }
    /Used [0-9]+ registers/ {
      ++kernels
      match($0, /[0-9]+ registers/)
      registers = substr($0, RSTART, RLENGTH) + 0
      if (registers > most) most = registers
      if (kernel ~ /ByLists/) {
        ++lists
        if (spilled) { print "sm_" arch " spills registers: " kernel; failed = 1 }
      }
    }
    END {
      print "sm_" arch ": " kernels " kernels, at most " most " registers"
      if (lists == 0) { print "the kernels with lists were not found"; failed = 1 }
      exit failed
    }' "$work/log"
done
