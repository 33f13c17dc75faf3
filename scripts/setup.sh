#!/usr/bin/env bash
# Makes a fresh Debian or Ubuntu machine ready to build: installs what is missing, finds LibTorch, and writes its CMake
# prefix to .libtorch. Installs nothing when all is there.
#
#   scripts/setup.sh [--torch auto|wheel|debian] [--torch-file FILE]
#
#   --torch       auto (default) takes the first of: SGDSCOPE_TORCH_DIR, CMAKE_PREFIX_PATH, the torch that python3 imports,
#                 torch by pip into .venv, Debian's libtorch-dev. wheel allows only the third and fourth, debian only the last.
#   --torch-file  the file to write instead of .libtorch

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly torch_version=2.13.0
readonly build_packages=(g++ cmake ninja-build lld ccache git ca-certificates curl python3 python3-venv python3-pip)
readonly data_package=dataset-fashion-mnist

torch=auto torch_file=$libtorch_file
while (($#)); do
  case $1 in
    --torch) needs_value "$@" && torch=$2 && shift 2 ;;
    --torch-file) needs_value "$@" && torch_file=$(absolute "$2") && shift 2 ;;
    --help) help && exit ;;
    *) die "unknown argument '$1'; see scripts/setup.sh --help" ;;
  esac
done
[[ $torch =~ ^(auto|wheel|debian)$ ]] || die "--torch is '$torch', which is none of auto, wheel, debian"

# --- Packages ---------------------------------------------------------------------------------------------------------

install_packages() {
  need_packages "${build_packages[@]}" "${library_packages[@]}"
  say "build tools and libraries are there"
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

# The project's own environment, because Debian's python3 refuses packages by pip (PEP 668). Made anew where it is broken,
# as after an upgrade of python3.
make_venv() {
  .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  quietly python3 -m venv --clear .venv || return
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
    say "not torch by pip: python3 -m venv failed"
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
