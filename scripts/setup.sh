#!/usr/bin/env bash
# Makes a machine ready to build: installs what is missing, finds LibTorch, and writes its CMake prefix to .libtorch. Installs
# nothing when all is there. On Debian and Ubuntu it takes their packages, as root or by sudo. Without root, and elsewhere, a
# C++20 compiler with OpenMP, Python 3.10 or newer, zlib's headers and Highway's folder hwy must be there; CMake, Ninja and the
# other libraries are taken from PyPI into .venv, without GoogleTest, so that there are no tests in C++.
#
#   scripts/setup.sh [--torch auto|wheel|debian] [--torch-file FILE]
#
#   --torch       auto (default) takes the first of: SGDSCOPE_TORCH_DIR, CMAKE_PREFIX_PATH, the torch that python3 imports,
#                 torch by pip into .venv, Debian's libtorch-dev. wheel allows only the third and fourth, debian only the last.
#   --torch-file  the file to write instead of .libtorch

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

torch_version=$(sed -n 's/^dependencies = .*"torch==\([0-9.]*\)".*/\1/p' pyproject.toml)
readonly torch_version
readonly build_packages=(g++ cmake ninja-build lld git ca-certificates curl python3 python3-venv python3-pip)
readonly data_package=dataset-fashion-mnist

torch=auto torch_file=$libtorch_file
while (($#)); do
  case $1 in
    --torch) needs_value "$@" && torch=$2 && shift 2 ;;
    --torch-file) needs_value "$@" && torch_file=$(absolute "$2") && shift 2 ;;
    --help) help; exit ;;
    *) die_usage "unknown argument '$1'; see scripts/setup.sh --help" ;;
  esac
done
[[ $torch =~ ^(auto|wheel|debian)$ ]] || die_usage "--torch is '$torch', which is none of auto, wheel, debian"

# --- Packages ---------------------------------------------------------------------------------------------------------

install_packages() {
  local missing
  missing=$(missing_packages "${build_packages[@]}" "${library_packages[@]}")
  if [[ $missing ]] && { ! command -v dpkg-query >/dev/null || ! can_be_root; }; then
    take_from_pypi
  else
    need_packages "${build_packages[@]}" "${library_packages[@]}"
  fi
  say "build tools and libraries are there"
}

compiles() { # compiles HEADER
  printf '#include <%s>\n' "$1" | "${CXX:-c++}" -std=c++20 -I .venv/include -fsyntax-only -x c++ - 2>/dev/null
}

cmake_is_new() { cmake -P <(echo 'cmake_minimum_required(VERSION 3.25)') 2>/dev/null; }

# Of a package on PyPI, of which nothing is run, a library's headers and its licence, if the compiler does not find the headers.
take_headers() { # take_headers HEADER NAME PACKAGE SHA256: NAME as Debian calls the library; no other file than this one
  local folder=${1%/*} unpacked found
  ! compiles "$1" || return 0
  say "taking $1 from PyPI ($3)"
  unpacked=$(mktemp -d) || no_temporary
  quietly .venv/bin/python -m pip --disable-pip-version-check download --no-deps --dest "$unpacked" --only-binary=:all: \
    --require-hashes --requirement <(echo "$3 --hash=sha256:$4") ||
    die "pip cannot download $3 (its own words are above); copy the folder ${1%/*} of the library into $PWD/.venv/include yourself"
  .venv/bin/python - "$unpacked" <<'PYTHON'
import pathlib, shutil, sys
[file] = pathlib.Path(sys.argv[1]).iterdir()
shutil.unpack_archive(file, sys.argv[1], "zip" if file.suffix == ".whl" else None)
PYTHON
  found=$(find "$unpacked" -path "*/include/$1" | head -1)
  cp -r "${found%/*}" ".venv/include/$folder"
  mkdir -p ".venv/share/doc/$2"
  find "${found%/*/*}/.." "$unpacked"/*.dist-info -iname 'license*' -type f | head -1 | xargs -d '\n' cat >".venv/share/doc/$2/copyright"
  rm -r "$unpacked"
}

take_from_pypi() {
  say "not root, or not Debian: taking CMake, Ninja and libraries from PyPI where they are missing"
  compiles source_location || die "there is no C++20 compiler, or not as ${CXX:-c++}; install GCC 11 or newer, load its module," \
    "or name one in CXX"
  compiles zlib.h || die "there is no zlib.h; install zlib's headers (zlib1g-dev, zlib-devel), or name their folder in CPATH"
  make_venv || die "there is no .venv with pip (the reason is above); install Python 3.10 or newer with its modules venv and" \
    "ensurepip, or load its module, and remove $PWD/.venv if another Python made it"
  cmake_is_new || pip_install 'cmake>=3.25'
  command -v ninja >/dev/null || pip_install ninja
  take_headers CLI/CLI.hpp libcli11-dev pgm-build-deps==2026.10.26.92 \
    fe18d1004aa8630c5dd2c82a33b2f6b561a7c60da1d4f2484cbc39dc5236f772
  take_headers nlohmann/json.hpp nlohmann-json3-dev nlohmann-json==3.12.0 \
    5f6132720fb25d0d70bf0742f8397b49a540dcc193e7312a914f6aa49f054810
  take_headers spdlog/spdlog.h libspdlog-dev tokenspeed-spdlog==1.17.0 \
    ab985a8c6455692597f193c173276c1a3583fe30171fdff6764202e23fd7c9a5
  compiles hwy/highway.h || die "there is no Highway, which PyPI does not have. Unpack a release of github.com/google/highway," \
    "copy its folder hwy into $PWD/.venv/include, where the build finds it, and call setup.sh again"
}

# Wanted, not needed: without it scripts/download_data.sh fetches the same data.
install_fashion_mnist() {
  if [[ ! $(missing_packages $data_package) ]]; then
    say "Fashion-MNIST is there ($data_package)"
  elif ! can_be_root || ! package_exists $data_package; then
    say "Fashion-MNIST is not there, and $data_package cannot be installed; scripts/download_data.sh fashion_mnist fetches it"
  else
    need_packages $data_package
  fi
}

# --- Python for the plots ---------------------------------------------------------------------------------------------

pip_install() { .venv/bin/python -m pip --disable-pip-version-check --no-input --retries 2 install -q --only-binary=:all: "$@"; }

# The project's own environment, because Debian's python3 refuses packages by pip (PEP 668). Made anew where its Python does
# not start, as after an upgrade of python3; one without pip, as other tools make it, is given that.
make_venv() {
  .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  if .venv/bin/python -c '' 2>/dev/null; then
    quietly .venv/bin/python -m ensurepip && .venv/bin/python -m pip --version >/dev/null || return
  else
    quietly python3 -m venv --clear .venv || return
  fi
  # An older pip downloads gigabytes for a --dry-run. Offline the old one has to do: it has nothing to download from.
  pip_install --upgrade 'pip>=23.3' >/dev/null 2>&1 || say "pip cannot be upgraded; going on with the one that is here"
}

install_plotting() {
  local python
  if ! project_python >/dev/null; then
    if make_venv && pip_install numpy scipy matplotlib >/dev/null 2>&1; then
      say "installed NumPy, SciPy and matplotlib into .venv by pip"
    else
      say "pip gives no NumPy, SciPy and matplotlib; taking Debian's"
      need_packages python3-numpy python3-scipy python3-matplotlib
    fi
  fi
  python=$(project_python) || die "no python3 imports numpy, scipy and matplotlib, which scripts/plot.py needs, although they were installed;" \
    "remove .venv and call scripts/setup.sh again"
  say "plots are drawn by $python"
}

# --- LibTorch ---------------------------------------------------------------------------------------------------------
# Each from_... chooses a LibTorch by setting prefix and reason, or returns non-zero after saying why not. The prefix is
# the folder that holds both lib and share/cmake. With share/cmake itself, which torch.utils.cmake_prefix_path names, CMake
# finds the libraries of another LibTorch in /usr/lib first, and links both.

prefix='' reason=''

holds_torch() {
  local config
  for config in "$1"/{share,lib,lib/*}/cmake/Torch/TorchConfig.cmake; do
    [[ -f $config ]] && return
  done
  return 1
}

# A LibTorch that the user named is taken or refused, never passed over in silence.
from_environment() {
  local variable=SGDSCOPE_TORCH_DIR candidates candidate
  [[ ${SGDSCOPE_TORCH_DIR:-} ]] || variable=CMAKE_PREFIX_PATH
  [[ ${!variable:-} ]] || return
  IFS=':;' read -ra candidates <<<"${!variable}"
  for candidate in "${candidates[@]}"; do
    candidate=${candidate%/} candidate=${candidate%/share/cmake}
    holds_torch "$candidate" || continue
    prefix=$(realpath "$candidate") reason="named by $variable"
    return
  done
  die "$variable is '${!variable}', but there is no Torch/TorchConfig.cmake below its share/cmake, lib/cmake or lib/*/cmake." \
    "Point SGDSCOPE_TORCH_DIR to an unpacked LibTorch, or unset $variable to have one found"
}

# A CUDA build of torch is of use only with a GPU to run it and the toolkit to build against it.
cuda_works() { nvidia-smi -L >/dev/null 2>&1 && PATH=$PATH:/usr/local/cuda/bin command -v nvcc >/dev/null; }

from_python() { # from_python PYTHON REASON
  local version cuda folder
  read -r version cuda folder < <("$1" -c '
import os, torch
print(torch.__version__, torch.version.cuda or "cpu", os.path.dirname(torch.__file__))' 2>/dev/null) || return
  if ! holds_torch "$folder"; then
    say "not the torch $version that $1 imports: it came without its CMake files"
  elif [[ $cuda != cpu ]] && ! cuda_works; then
    say "not the torch $version that $1 imports: a CUDA build, and here is no GPU (nvidia-smi -L) or no CUDA toolkit (nvcc)"
  else
    prefix=$folder reason="torch $version, $2"
    return
  fi
  return 1
}

# The version of torch that pip would install, unless that drags in CUDA where it cannot be used.
resolve_torch() {
  local report words version cuda status=0
  report=$(mktemp) || no_temporary
  if ! words=$(pip_install --dry-run --ignore-installed --report "$report" "torch==$torch_version" 2>&1); then
    say "not torch $torch_version by pip, which finds no wheel for this $(python3 --version), or no index: ${words##*$'\n'}" >&2
    status=1
  else
    read -r version cuda < <(python3 - "$report" <<'PYTHON'
import json, re, sys
found = {p["metadata"]["name"].lower(): p["metadata"]["version"] for p in json.load(open(sys.argv[1]))["install"]}
print(found["torch"], sum(bool(re.match(r"nvidia-|cuda-|(pytorch-)?triton", name)) for name in found))
PYTHON
    )
    if ((cuda)) && ! cuda_works; then
      say "not torch $version by pip: a CUDA build with $cuda packages of CUDA, several GB, and here is no GPU (nvidia-smi -L)" \
        "or no CUDA toolkit (nvcc). For the CPU build point PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to where PyTorch offers it" >&2
      status=1
    else
      printf '%s\n' "$version"
    fi
  fi
  rm -f "$report"
  return "$status"
}

from_pip() {
  local version
  if [[ -x .venv/bin/python ]] && from_python .venv/bin/python "in .venv"; then return; fi
  if ! make_venv; then
    say "not torch by pip: there is no .venv with pip (the reason is above)"
    return 1
  fi
  version=$(resolve_torch) || return
  say "installing torch $version into .venv by pip"
  if ! quietly pip_install "torch==$version"; then
    say "not torch $version by pip: the installation failed"
    return 1
  fi
  from_python .venv/bin/python "installed into .venv by pip"
}

# Debian's libtorch calls BLAS from OpenMP threads, so all three libraries must be OpenBLAS's OpenMP flavour. A fresh
# installation has it so; another flavour that was there before stays in force unless it is told otherwise.
agree_on_openmp() {
  local library link wanted
  for library in libblas.so.3 liblapack.so.3 libopenblas.so.0; do
    link=$library-$(g++ -print-multiarch)
    [[ $(readlink "/etc/alternatives/$link") == */openblas-openmp/* ]] && continue
    wanted=$(update-alternatives --list "$link" | grep /openblas-openmp/) ||
      die "$link has no OpenMP flavour among its alternatives; call apt-get install --reinstall libopenblas0-openmp"
    can_be_root || die "$link is not OpenBLAS's OpenMP flavour. Have this run as root, then call setup.sh again:
  update-alternatives --set $link $wanted"
    say "switching $link to OpenBLAS's OpenMP flavour"
    quietly as_root update-alternatives --set "$link" "$wanted" || die "that failed: its own words are above"
  done
}

from_debian() {
  if [[ $(missing_packages libtorch-dev) ]] && ! package_exists libtorch-dev; then
    say "not Debian's libtorch-dev: apt knows no such package"
    return 1
  fi
  need_packages libtorch-dev libopenblas0-openmp
  agree_on_openmp
  prefix=/usr reason="Debian's libtorch-dev $(dpkg-query -W -f '${Version}' libtorch-dev)"
}

choose_torch() {
  case $torch in
    auto) from_environment || from_python python3 "which python3 imports" || from_pip || from_debian ;;
    wheel) from_python python3 "which python3 imports" || from_pip ;;
    debian) from_debian ;;
  esac || die "found no LibTorch (--torch $torch). Unpack one from PyTorch's site and point SGDSCOPE_TORCH_DIR to it"
  mkdir -p "$(dirname "$torch_file")"
  printf '%s\n' "$prefix" >"$torch_file.$$"
  mv "$torch_file.$$" "$torch_file"
  say "LibTorch: $reason ($prefix, written to ${torch_file#"$PWD/"})"
}

install_packages
install_fashion_mnist
install_plotting
choose_torch
