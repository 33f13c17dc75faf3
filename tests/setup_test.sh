#!/usr/bin/env bash
# scripts/setup.sh where there is no Debian and no root to install packages: what it takes from PyPI, and what it says must be there.
# It is run from a copy of the repository's scripts, with a false compiler, and with a folder in the place of PyPI.

set -euo pipefail
trap 'echo "stopped at line $LINENO of $0: $BASH_COMMAND" >&2' ERR
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

passed=0
check() { # check WHAT COMMAND...
  "${@:2}" || { printf 'FAILED: %s (%s)\nsetup.sh said:\n%s\n' "$1" "${*:2}" "$(cat output)" >&2 && exit 1; }
  passed=$((passed + 1))
}
says() { grep -qF -- "$1" output; }

mkdir "temporary files" repository && cp -r "$repository"/{scripts,pyproject.toml} repository
cp -rs /usr/bin bin && rm -f bin/dpkg* bin/apt* bin/sudo bin/c++ bin/cmake bin/ninja

# Its include folders hold what .venv/include does, and the headers that are named in `headers`.
cat >bin/c++ <<'SH'
#!/bin/bash
header=$(sed -n 's/#include <\(.*\)>/\1/p')
[[ -e .venv/include/$header ]] || grep -qxF "$header" "$work/headers"
SH
for program in cmake ninja; do printf '#!/bin/sh\n' >bin/$program; done
chmod +x bin/{c++,cmake,ninja}

python3 - <<'PYTHON'
import zipfile
for name, version, header in (
    ("pgm_build_deps", "2026.10.26.92", "cli11/include/CLI/CLI.hpp"),
    ("nlohmann_json", "3.12.0", "include/nlohmann/json.hpp"),
    ("tokenspeed_spdlog", "1.17.0", "include/spdlog/spdlog.h"),
):
    with zipfile.ZipFile(f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/{header}", f"// {name}\n")
        info = f"{name}-{version}.dist-info"
        wheel.writestr(f"{info}/licenses/LICENSE", f"licence of {name}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
PYTHON

setup() { # setup HEADER...: with these in the system; what comes after the libraries ends it here
  printf '%s\n' "$@" >headers
  env -u CXX -u PIP_EXTRA_INDEX_URL work="$work" PATH="$work/bin" TMPDIR="$work/temporary files" PIP_CONFIG_FILE=/dev/null \
    PIP_NO_INDEX=1 PIP_FIND_LINKS="$work" repository/scripts/setup.sh &>output && echo "ended well" >>output
  true
}
setup source_location zlib.h CLI/CLI.hpp
check "another file of that name is not taken" says "pip cannot download nlohmann-json==3.12.0"
for wheel in *.whl; do # from here on these are the files that it wants
  name=${wheel%%-*} digest=$(sha256sum "$wheel" | cut -d' ' -f1)
  sed -i "/${name//_/-}==/{n;s/[0-9a-f]\{64\}/$digest/}" repository/scripts/setup.sh
done
setup
check "no compiler" says "there is no C++20 compiler, or not as c++; install GCC 11"
setup source_location
check "no zlib" says "there is no zlib.h; install zlib's headers (zlib1g-dev, zlib-devel)"
setup source_location zlib.h CLI/CLI.hpp
check "what is there is not taken" test ! -e repository/.venv/include/CLI
check "what is missing is" says "taking spdlog/spdlog.h from PyPI (tokenspeed-spdlog==1.17.0)"
check "to where CMake looks" grep -qx "// tokenspeed_spdlog" repository/.venv/include/spdlog/spdlog.h
check "with its licence" grep -qx "licence of nlohmann_json" repository/.venv/share/doc/nlohmann-json3-dev/copyright
check "what PyPI has not is told" says "there is no Highway, which PyPI does not have. Unpack a release of"
rm pgm_build_deps*
setup source_location zlib.h hwy/highway.h
check "no PyPI" says "pip cannot download pgm-build-deps==2026.10.26.92 (its own words are above); copy the folder CLI of the library"
setup source_location zlib.h hwy/highway.h CLI/CLI.hpp
check "with all of it" says "build tools and libraries are there"
check "nothing more is taken" test "$(grep -c ' from PyPI (' output)" -eq 0
touch repository/.venv/mine && rm -r repository/.venv/lib/python3*/site-packages/pip* # as other tools make one
setup source_location zlib.h hwy/highway.h CLI/CLI.hpp
check "a .venv without pip is given one" repository/.venv/bin/python -m pip --version
check "and keeps what is in it" test -e repository/.venv/mine

echo "$passed passed, 0 failed"
