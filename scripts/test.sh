#!/usr/bin/env bash
# Sets up, builds and runs all quick tests. Enough alone on a fresh machine.
#
#   scripts/test.sh [--preset NAME] [--build-dir DIR] [--torch-file FILE] [CTEST ARGUMENT...]
#
#   --preset      a CMake preset (default: release)
#   --build-dir   default: build/PRESET
#   --torch-file  build against the LibTorch named in FILE, which scripts/setup.sh --torch-file FILE wrote; without this,
#                 scripts/setup.sh is called and chooses

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

preset=release build_dir='' torch_file=''
while (($#)); do
  case $1 in
    --preset) needs_value "$@" && preset=$2 && shift 2 ;;
    --build-dir) needs_value "$@" && build_dir=$(absolute "$2") && shift 2 ;;
    --torch-file) needs_value "$@" && torch_file=$(absolute "$2") && shift 2 ;;
    --help) help && exit ;;
    *) break ;; # the rest is for ctest
  esac
done
build_dir=${build_dir:-build/$preset}

[[ $torch_file ]] || scripts/setup.sh
build "$preset" "$build_dir" "${torch_file:-$libtorch_file}"
ctest --test-dir "$build_dir" -LE slow --parallel "$(nproc)" --output-on-failure --no-tests=error "$@"
