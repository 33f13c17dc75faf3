# shellcheck shell=bash
# What the tests of the sweep scripts share: a folder to work in, checks, and twelve small jobs. Source it.

set -euo pipefail
trap 'echo "stopped at line $LINENO of $0: $BASH_COMMAND" >&2' ERR

repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
scripts=$repository/scripts
program=${SGDSCOPE:-$repository/build/release/sgdscope} # to be what ctest has built
python=$(command -v /usr/bin/python3 || command -v python3)
work=$(mktemp -d)
cd "$work"

passed=0
check() { # check WHAT COMMAND...
  if ! "${@:2}"; then
    printf 'FAILED: %s (%s)\nthe last command said:\n%s\n' "$1" "${*:2}" "$(cat output)" >&2
    exit 1
  fi
  passed=$((passed + 1))
}
says() { grep -qF -- "$1" output; }
absent() { [[ ! -e $1 ]]; }
equal() { [[ $1 == "$2" ]] || { echo "found '$1', expected '$2'" && return 1; }; }
exits() { # exits STATUS COMMAND...
  local status=0
  "${@:2}" >output 2>&1 || status=$?
  equal "$status" "$1"
}

# Waits until a command succeeds. What takes a minute hangs.
await() {
  local end=$((SECONDS + 60))
  until "$@"; do
    ((SECONDS < end)) || { echo "in vain waited for: $*" >&2 && exit 1; }
    sleep 0.02
  done
}

cell() { # cell TABLE LINE COLUMN: from a sweep.csv
  "$python" -c 'import csv, sys
print([row for row in csv.DictReader(open(sys.argv[1])) if row["line"] == sys.argv[2]][0][sys.argv[3]])' "$@"
}

comparable() { # comparable TABLE: without folders and times
  "$python" -c 'import csv, sys
for row in csv.DictReader(open(sys.argv[1])):
    print({key: value for key, value in row.items() if key not in ("output", "wall_seconds")})' "$1"
}

# The program; of a run it first writes its process, its GPUs and its arguments into `starts`.
cat >starting <<SH
#!/bin/sh
[ "\$1" != run ] || echo "\$\$ gpus=\${CUDA_VISIBLE_DEVICES-none} \$*" >>'$work/starts'
exec '$program' "\$@"
SH
chmod +x starting
export SGDSCOPE=$work/starting
: >starts
started() { grep -c . starts; }

cat >small.json <<'JSON'
{ "name": "small", "steps": 60, "batch_size": 20, // comments are allowed
  "data": {"name": "synthetic", "train_size": 200, "test_size": 50, "shape": [8], "classes": 4},
  "model": {"name": "mlp", "hidden": [16]},
  "update": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
  "eval": {"every": 25},
  "checkpoint": {"every_steps": 100} }
JSON

# Lines 2 to 11 are good; 12 diverges, and 13 has a misspelt field.
twelve_jobs() { # twelve_jobs DIR [GRID OPTION...]
  "$scripts/grid.sh" small.json --out "$1" "${@:2}" --vary model.hidden '[16]' '[16,8]' --seeds 1 2 3 4 5
  printf '%s\n' "sgdscope run small.json --set update.learning_rate=1e30 --output '$1/diverging'" \
    "sgdscope run small.json --set update.learning_rat=0.1 --output '$1/misspelt'"
}

# What the table of twelve_jobs must say.
check_table() { # check_table TABLE
  local line folder
  for line in {2..11}; do
    folder=$(cell "$1" "$line" output)
    check "job $line is done" equal "$(cell "$1" "$line" status)" "done"
    check "all of it" equal "$(cell "$1" "$line" eval.step)" "$(cell "$1" "$line" steps_done)"
    check "with the seed of its line" equal "$(cell "$1" "$line" seed)" $(((line - 2) % 5 + 1))
    check "which is that of its run" grep -q "\"seed\": $(cell "$1" "$line" seed)," "$folder/config.json"
    check "and the run's accuracy" equal "$(cell "$1" "$line" eval.test_accuracy)" "$(tail -1 "$folder/eval.csv" | cut -d, -f6)"
  done
  check "the diverging job is told" equal "$(cell "$1" 12 status)" diverged
  check "with its override" equal "$(cell "$1" 12 update.learning_rate)" 1e30
  check "and the reason" equal "$(cell "$1" 12 reason)" "the loss of step 1 is not finite"
  check "the misspelt job is told" equal "$(cell "$1" 13 status)" failed
  check "with the program's words" grep -qF "unknown key, its value is 0.1 Did you mean 'learning_rate'?" <(cell "$1" 13 reason)
  check "and no numbers" equal "$(cell "$1" 13 steps_done)$(cell "$1" 13 wall_seconds)$(cell "$1" 13 eval.train_loss)" ""
}
