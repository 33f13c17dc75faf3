#!/usr/bin/env bash
# Builds for CUDA, runs the quick tests, our kernels under compute-sanitizer, and the benchmarks, on a machine with an
# NVIDIA GPU and no network.
#
#   scripts/gpu_check.sh --gather DEPS_DIR     first, on a Debian or Ubuntu machine with a network
#   scripts/gpu_check.sh DEPS_DIR OUT_DIR      then, on the machine with the GPU
#
#   DEPS_DIR  the libraries we build on, unpacked from their packages; a few MB to carry over
#   OUT_DIR   receives logs and JSON results
#
# The GPU machine brings g++, CMake, Ninja, the CUDA toolkit with compute-sanitizer, and a python3 that imports a CUDA
# build of torch. It should not be older than the machine that gathered: the libraries need its C library.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# --- Gather -----------------------------------------------------------------------------------------------------------

closure() { # the named packages and all that they depend on
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep '^[a-z0-9]' | sort -u
}

gather() { # gather DEPS_DIR
  local deps=$1 debs link packages
  [[ ! -e $deps ]] || die_usage "$deps exists already; name a folder that does not"
  apt_update
  # What a compiler depends on, the C library above all, is the GPU machine's own. zlib is among that, but its two
  # packages must agree on their version.
  mapfile -t packages < <(comm -23 <(closure "${library_packages[@]}") <(closure g++) && echo zlib1g)
  say "fetching ${packages[*]}"
  debs=$(mktemp -d) || no_temporary
  (cd "$debs" && quietly apt-get -q -o APT::Sandbox::User=root download "${packages[@]}") ||
    die "apt-get could not fetch them (its own words are above)"
  mkdir -p "$deps"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$deps"; done
  rm -r "$debs" "$deps/usr/share/doc"
  # One tree without absolute links, which would point to the other machine's libraries.
  if [[ -d $deps/lib ]]; then cp -a "$deps/lib" "$deps/usr/" && rm -r "${deps:?}/lib"; fi
  while read -r link; do
    ln -srf "$deps/usr/lib/$(sed -E 's|^(/usr)?/lib/||' <<<"$(readlink "$link")")" "$link"
  done < <(find "$deps" -lname '/*')
  [[ ! $(find "$deps" -xtype l) ]] || die "these links in $deps lead nowhere: $(find "$deps" -xtype l)"
  say "$deps is ready ($(du -sh "$deps" | cut -f1)); carry it over and call: scripts/gpu_check.sh DEPS_DIR OUT_DIR"
}

# --- Check ------------------------------------------------------------------------------------------------------------

require_machine() { # require_machine DEPS_DIR
  local tool
  [[ -d $1/usr/include ]] || die "$1 holds no usr/include; make it with: scripts/gpu_check.sh --gather DEPS_DIR"
  nvidia-smi -L >/dev/null 2>&1 || die "no NVIDIA GPU answers to nvidia-smi -L; call this on a machine that has one"
  export PATH=$PATH:/usr/local/cuda/bin
  for tool in g++ cmake ninja nvcc compute-sanitizer python3; do
    command -v "$tool" >/dev/null || die "$tool is missing on this machine; install it, and have it in PATH"
  done
  python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
    die "python3 ($(command -v python3)) imports no torch that sees the GPU; put the python3 that does first in PATH"
}

# Runs one part with its output in OUT_DIR/NAME.log. A failure is told, and does not keep the other parts from running.
failures=0
part() { # part NAME COMMAND...
  local outcome=passed start=$SECONDS
  "${@:2}" >"$out/$1.log" 2>&1 || outcome="FAILED with status $?"
  printf '%-6s %s after %d s, see %s\n' "$1" "$outcome" $((SECONDS - start)) "$1.log" | tee -a "$out/summary.txt"
  [[ $outcome != passed ]] || return 0
  failures=$((failures + 1))
  tail -20 "$out/$1.log"
}

check() { # check DEPS_DIR OUT_DIR
  local deps=$1 libraries tool torch_file=build/cuda.libtorch
  out=$2
  require_machine "$deps"
  mkdir -p "$out" build
  libraries=$(dirname "$deps"/usr/lib/*/libspdlog.so)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' >"$torch_file"
  { nvidia-smi -L && python3 -c 'import torch; print("torch", torch.__version__)'; } | tee "$out/summary.txt"

  part build build cuda build/cuda "$torch_file" -DCMAKE_PREFIX_PATH="$deps/usr"
  ((failures == 0)) || exit 1
  export LD_LIBRARY_PATH=$libraries
  part tests ctest --test-dir build/cuda -LE slow --output-on-failure --no-tests=error
  part nvcc ctest --test-dir build/cuda -R '^kernels.cuda_compiles$' --verbose --no-tests=error
  for tool in memcheck racecheck; do
    part "$tool" compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 1 \
      build/cuda/sgdscope_tests --gtest_filter='ReduceOnCuda.*'
  done
  part bench env SGDSCOPE_BENCH_DEVICE=cuda build/cuda/sgdscope_bench --benchmark_out="$out/bench.json" \
    --benchmark_out_format=json
  part peers python3 scripts/bench_peers.py --device cuda --sgdscope-bench build/cuda/sgdscope_bench --out "$out/peers.json"
  say "logs and results are in $out"
  ((failures == 0))
}

case ${1:-} in
  --help) help ;;
  --gather)
    (($# == 2)) || die_usage "--gather takes one folder; see scripts/gpu_check.sh --help"
    is_given DEPS_DIR "$2"
    gather "$(absolute "$2")"
    ;;
  *)
    (($# == 2)) || die_usage "needs DEPS_DIR and OUT_DIR, or --gather DEPS_DIR; see scripts/gpu_check.sh --help"
    is_given DEPS_DIR "$1"
    is_given OUT_DIR "$2"
    check "$(absolute "$1")" "$(absolute "$2")"
    ;;
esac
