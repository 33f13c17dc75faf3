#!/usr/bin/env bash
# The archive in a fresh Debian without Python, then the wheel in the same one with Python and without a compiler: both are made
# of what the build folder holds, and train the quickstart's network to the same bytes as the program there. Skipped, with status
# 77, where no fresh Debian can be made or what it needs cannot be fetched.

set -euo pipefail
trap 'echo "stopped at line $LINENO of $0: $BASH_COMMAND" >&2' ERR

repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
skip() { echo "skipped: $*" && exit 77; }
((EUID == 0)) || skip "only root can make a Debian of its own"
unshare --mount --propagation private true 2>/dev/null || skip "a process may have no mounts of its own here"
# What is mounted in here is gone when this ends, however it ends.
[[ ${mounts_are_ours:-} ]] || exec env mounts_are_ours=yes unshare --mount --propagation private "$0"

program=$(realpath "${SGDSCOPE:-$repository/build/release/sgdscope}")
build=$(dirname "$program")
python=$(bash -c "source '$repository/scripts/lib.sh' && realpath -s \"\$(command -v \"\$(project_python)\")\"")
torch=$(sed -n 's/^SGDSCOPE_TORCH_DIR:[A-Z]*=//p' "$build/CMakeCache.txt")
[[ -e $torch/version.py ]] || skip "the build folder's LibTorch is no torch of Python's, which the wheel needs"
data=/usr/share/datasets/fashion-mnist
[[ -d $data ]] || skip "there is no Fashion-MNIST in $data"
# shellcheck source=/dev/null
distribution=$(source /etc/os-release && echo "$ID")
[[ $distribution == debian ]] || skip "this is no Debian"
bash -c "source '$repository/scripts/lib.sh' && need_packages debootstrap" || skip "there is no package debootstrap"

# Some GB in tens of thousands of files: in memory, which goes with the mount, if there is twice as much of it.
work=$(mktemp -d -p /var/tmp)
available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
((available < 8000000)) || mount -t tmpfs -o size=4g install_test "$work"
debootstrap=''
clean_up() {
  [[ ! $debootstrap ]] || kill -- "-$debootstrap" 2>/dev/null || true
  cd /
  umount "$work"/root/{proc,dev} 2>/dev/null || true
  ! mountpoint --quiet "$work" || umount --lazy "$work"
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
cd "$work"
size() { du -sm "$1" | cut -f1; }
now() { date +%s%N; }
seconds_since() { printf '%d.%d' $((($(now) - $1) / 1000000000)) $((($(now) - $1) / 100000000 % 10)); }
quietly() { "$@" >log 2>&1 || { cat log >&2 && exit 1; }; }
fetched() { "$@" >log 2>&1 || skip "$1 cannot fetch what is needed: $(tail -1 log)"; }

passed=0
check() { # check WHAT COMMAND...
  "${@:2}" >output 2>&1 || { printf 'FAILED: %s (%s)\n%s\n' "$1" "${*:2}" "$(cat output)" >&2 && exit 1; }
  passed=$((passed + 1))
}
refuses() { ! "$@"; }
exits() { # exits STATUS COMMAND...
  local status=0
  "${@:2}" || status=$?
  ((status == $1))
}

# It unpacks while the rest is made.
# shellcheck source=/dev/null
setsid debootstrap --variant=minbase "$(source /etc/os-release && echo "$VERSION_CODENAME")" root &>debootstrap.log &
debootstrap=$!

# --- What is to be installed ------------------------------------------------------------------------------------------

start=$(now)
quietly cpack -G TGZ --config "$build/CPackConfig.cmake" -B "$work/packed"
archive=$(echo packed/sgdscope-*.tar.gz)
echo "the archive: $(size "$archive") MB, in $(seconds_since "$start") s"

start=$(now)
fetched "$python" -m pip install --target tools --only-binary=:all: scikit-build-core
quietly env PYTHONPATH="$work/tools" "$python" -m pip wheel --no-deps --no-build-isolation --wheel-dir wheels \
  --config-settings=build-dir="$work/wheel" --config-settings=cmake.define.SGDSCOPE_BUILT="$build" "$repository"
wheel=$(echo wheels/sgdscope-*.whl)
echo "the wheel: $(du -k "$wheel" | cut -f1) kB, in $(seconds_since "$start") s"
fetched "$python" -m pip download --only-binary=:all: --dest wheels "torch==$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")" \
  numpy scipy matplotlib

quickstart=(run quickstart.json --quiet --set data.path=data --output)
prepare() { # prepare FOLDER: the quickstart's config and data
  mkdir -p "$1"
  cp "$repository/configs/quickstart.json" "$1"
  cp -r "$data" "$1/data"
}
prepare here
(cd here && quietly "$program" "${quickstart[@]}" run)

# --- A Debian without Python: the archive -----------------------------------------------------------------------------

wait "$debootstrap" || skip "no fresh Debian can be made: $(tail -1 debootstrap.log)"
debootstrap=''
for folder in proc dev; do mount --bind /$folder root/$folder || skip "folders cannot be mounted here"; done
prepare root/day
inside() { chroot root /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root sh -c 'cd /day && "$@"' - "$@"; }
has() { inside which "$1"; }
check "there is no Python" refuses has python3
check "and no compiler" refuses has c++

mkdir root/opt/any && tar -xf "$archive" -C root/opt/any --strip-components=1
check "the archive's program runs" inside /opt/any/bin/sgdscope "${quickstart[@]}" standalone --set epochs=1
check "as the one that was built" cmp <(head -601 here/run/metrics.csv) root/day/standalone/metrics.csv
check "with the configs that it brings" inside /opt/any/bin/sgdscope validate /opt/any/share/sgdscope/configs/quickstart.json
check "and the licences of what it carries" test -s root/opt/any/share/sgdscope/licenses/torch/LICENSE
echo "unpacked it has $(size root/opt/any) MB"
rm -r root/opt/any

# --- With Python and without a compiler: the wheel --------------------------------------------------------------------

start=$(now)
fetched chroot root apt-get update
fetched chroot root apt-get install --yes --no-install-recommends python3-venv
echo "Python, in $(seconds_since "$start") s"
check "there is no compiler" refuses has c++
mv wheels root/wheels
quietly inside python3 -m venv /venv
start=$(now)
check "the wheel is installed" inside /venv/bin/pip install --no-index --find-links /wheels 'sgdscope[pictures]'
echo "pip install, in $(seconds_since "$start") s"
check "its program runs" inside /venv/bin/sgdscope "${quickstart[@]}" installed
check "the picture is drawn" inside /venv/bin/sgdscope-plot installed --columns taylor.updating.penalty,stability.step_ratio \
  --out steps.png
echo "from pip install to the picture: $(seconds_since "$start") s"
check "it is there" test -s root/day/steps.png
check "the run is that of the one that was built" cmp here/run/metrics.csv root/day/installed/metrics.csv
check "Python reads it" inside /venv/bin/python -c 'import sgdscope; assert len(sgdscope.read("installed")[0].metrics["loss"]) == 3000'
check "the page is served" inside /venv/bin/sgdscope-watch --help
check "a usage error has its status" exits 2 inside /venv/bin/sgdscope run nowhere.json
sed -i "s/^__version__ = .*/__version__ = '2.12.0'/" root/venv/lib/python3*/site-packages/torch/version.py
check "a torch of another version is refused" exits 5 inside /venv/bin/sgdscope --version
cp output words
check "with the remedy" grep -q "pip install torch==" words

echo "$passed passed, 0 failed"
