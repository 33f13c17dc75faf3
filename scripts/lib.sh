# shellcheck shell=bash
# What the scripts beside it share. Source it; it moves to the repository's root.

set -euo pipefail
unset CDPATH # with it, cd looks elsewhere and prints where it has gone

called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2034  # used by those who source this
readonly libtorch_file=.libtorch # one line: the CMake prefix of the LibTorch that setup.sh chose
# shellcheck disable=SC2034
readonly library_packages=(libcli11-dev nlohmann-json3-dev libspdlog-dev libgtest-dev libbenchmark-dev libhwy-dev zlib1g-dev)

PATH+=:$PWD/.venv/bin # CMake and Ninja, where setup.sh took them from PyPI

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# For a command line that is wrong: with the program's exit status for that.
die_usage() { (die "$@") || exit 2; }

# What the caller can't have meant: an unset variable, or an option in the place of a value.
is_given() { # is_given NAME VALUE
  [[ $2 ]] || die_usage "the value of $1 is empty: an unset variable? See ${0##*/} --help"
  [[ $2 != -* ]] || die_usage "$1 needs a value, not the option $2 (a file of that name is ./$2); see ${0##*/} --help"
}

needs_value() { # needs_value OPTION [VALUE]...
  (($# > 1)) || die_usage "$1 needs a value; see ${0##*/} --help"
  is_given "$1" "$2"
}

# The comment at the top of the running script is its help.
help() { sed -n '2,/^$/s/^#[ ]\{0,1\}//p' "$(absolute "$0")"; }

# How many processors this process may use. nproc by itself takes OMP_NUM_THREADS for their number.
processors() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

# A path as the caller meant it, whatever folder we are in now.
absolute() { (cd "$called_from" && realpath -m -- "$1"); }

# For where mktemp has failed.
no_temporary() {
  die "cannot make anything in ${TMPDIR:-/tmp} (the reason is above); set TMPDIR to a folder where you may write, or unset it"
}

# Runs a noisy command; what it printed is shown only if it fails.
quietly() {
  local log status=0
  log=$(mktemp) || no_temporary
  "$@" >"$log" 2>&1 </dev/null || status=$?
  ((status == 0)) || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

# --- Debian packages --------------------------------------------------------------------------------------------------

can_be_root() { ((EUID == 0)) || sudo -n true 2>/dev/null; }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

missing_packages() {
  local package
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed* ]] || printf '%s\n' "$package"
  done
}

# Fetches the package lists once a script. Offline the old lists may do, so a failure is not the end.
apt_update() {
  [[ ${apt_updated:-} ]] && return
  apt_updated=yes
  can_be_root && command -v apt-get >/dev/null || return 0
  quietly as_root apt-get -q update || say "apt-get update failed; going on with the package lists that are here"
}

package_exists() {
  apt_update
  apt-cache show "$1" >/dev/null 2>&1
}

# Installs those of the named packages that are missing.
need_packages() {
  command -v dpkg-query >/dev/null || die "this is not Debian or Ubuntu: install the equivalents of these packages yourself," \
    "set SGDSCOPE_TORCH_DIR, and build with CMake (see CONTRIBUTING.md): $*"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  can_be_root || die "not root, and sudo would ask for a password. Have this run, then call ${0##*/} again:
  apt-get update && apt-get install --yes --no-install-recommends ${missing[*]}"
  apt_update
  say "installing ${missing[*]}"
  quietly as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install ${missing[*]} (its own words are above); put that right and call ${0##*/} again"
}

# --- Python -----------------------------------------------------------------------------------------------------------

has_modules() { # has_modules PYTHON MODULE...
  "$1" -c 'import importlib.util, sys; sys.exit(any(map(lambda m: importlib.util.find_spec(m) is None, sys.argv[1:])))' \
    "${@:2}" 2>/dev/null
}

# The interpreter for our own scripts: the first that has NumPy, SciPy and matplotlib. The last candidate is the one that
# apt's packages belong to, where another python3 stands before it in PATH.
project_python() {
  local python
  for python in .venv/bin/python python3 /usr/bin/python3; do
    has_modules "$python" numpy scipy matplotlib && printf '%s\n' "$python" && return
  done
  return 1
}

# --- The build --------------------------------------------------------------------------------------------------------

build_target=all # what `build` builds; the quickstart needs no tests

# Configures and builds against the LibTorch named in a file.
build() { # build PRESET BUILD_DIR LIBTORCH_FILE [CMAKE ARGUMENT...]
  local preset=$1 dir=$2 torch
  [[ -f $3 ]] || die "there is no $3, which names the LibTorch; scripts/setup.sh --torch-file $3 writes it"
  torch=$(<"$3")
  # CMake keeps what it once found: another LibTorch needs a fresh cache.
  if [[ -f $dir/CMakeCache.txt ]] && ! grep -qx "SGDSCOPE_TORCH_DIR:[A-Z]*=$torch" "$dir/CMakeCache.txt"; then
    rm "$dir/CMakeCache.txt"
  fi
  say "building preset $preset in $dir against the LibTorch in $torch"
  local PATH=$PATH
  [[ ! -x .venv/bin/cmake ]] || PATH=$PWD/.venv/bin:$PATH # there because the system's is too old
  cmake --preset "$preset" -B "$dir" -DSGDSCOPE_TORCH_DIR="$torch" --log-level=NOTICE "${@:4}" &&
    cmake --build "$dir" --target "$build_target" --parallel "$(processors)"
}
