#!/usr/bin/env bash
# Sets up, builds and runs all quick tests. Enough alone on a fresh machine.
#
#   scripts/test.sh [--preset NAME] [--build-dir DIR] [--torch-file FILE] [--folders NAME[,NAME]...] \
#     [-- CTEST ARGUMENT...]
#
#   --preset      a CMake preset (default: release)
#   --build-dir   default: build/PRESET
#   --torch-file  build against the LibTorch named in FILE, which scripts/setup.sh --torch-file FILE wrote; without this,
#                 scripts/setup.sh is called and chooses
#   --folders     builds and runs the C++ tests of these folders of tests/ alone, which takes less time
#   --            the rest is for ctest: -R 'plot|reader'

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

preset=release build_dir='' torch_file='' folders=''
while (($#)); do
  case $1 in
    --preset) needs_value "$@" && preset=$2 && shift 2 ;;
    --build-dir) needs_value "$@" && build_dir=$(absolute "$2") && shift 2 ;;
    --torch-file) needs_value "$@" && torch_file=$(absolute "$2") && shift 2 ;;
    --folders) needs_value "$@" && folders=$2 && shift 2 ;;
    --help) help; exit ;;
    --) shift && break ;;
    *) die_usage "there is no option '$1'; ctest's own come after --; see scripts/test.sh --help" ;;
  esac
done
build_dir=${build_dir:-build/$preset}

chosen=()
if [[ $folders ]]; then
  for folder in ${folders//,/ }; do
    compgen -G "tests/$folder/*_test.cpp" >/dev/null ||
      die_usage "--folders $folder: tests/$folder has no tests; there are $(dirname tests/*/*_test.cpp | sort -u | xargs -n 1 basename | paste -sd ,)"
  done
  chosen=(--label-regex "^(${folders//,/|})\$")
  build_target=sgdscope_tests
fi
[[ $torch_file ]] || scripts/setup.sh
build "$preset" "$build_dir" "${torch_file:-$libtorch_file}" -DSGDSCOPE_TEST_FOLDERS="${folders//,/;}"
ctest --test-dir "$build_dir" -LE slow --parallel "$(processors)" --output-on-failure --no-tests=error "${chosen[@]}" "$@"
