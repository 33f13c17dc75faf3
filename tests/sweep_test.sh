#!/usr/bin/env bash
# scripts/grid.sh and scripts/sweep.sh: twelve jobs of which two fail, jobs and configs that are edited, interruptions of
# every kind, threads, cores and GPUs, and what they refuse.

# shellcheck source=tests/sweep_helper.sh
source "$(dirname "$0")/sweep_helper.sh"
running="" # a job that would outlive this
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null; [[ ! $running ]] || kill -KILL "$running"; wait; rm -rf "$work"' EXIT

grid=$scripts/grid.sh sweep=$scripts/sweep.sh

# Its numbers are compared at the end with those of the same run under a sweep, which is stopped again and again.
steps=50000 # some seconds: whoever stops it must be able to come in time
long=(small.json --set "steps=$steps" --set eval.every=15000 --set threads=1)
"$program" run "${long[@]}" --output uninterrupted &>/dev/null &
uninterrupted=$!

# --- The grid ---------------------------------------------------------------------------------------------------------

jobs_in() { grep -c '^sgdscope run ' output; }
check "the grid is whole" exits 0 "$grid" small.json --out o --vary update.learning_rate 0.1 1e-3 --vary model.hidden '[8]' \
  '[8,4]' '[]' --seeds 1 2
check "with each combination" equal "$(jobs_in)" 12
check "in folders of its own" equal "$(grep -o -- '--output .*' output | sort -u | wc -l)" 12
check "with safe names" says "--output o/learning_rate=1e-3,hidden=8_4,seed=2"
check "and how it was made" says "# scripts/grid.sh small.json --out o --vary update.learning_rate 0.1 1e-3 --vary"
check "names tell fields apart" exits 0 "$grid" small.json --out o --vary data.train_size 100 --vary data.test_size 5 \
  --vary update.name sgd --vary model.name mlp
check "whose last words are the same" says "o/train_size=100,test_size=5,name=sgd,model.name=mlp"

check "a misspelt field is an error" exits 2 "$grid" small.json --out o --vary update.learning_rat 0.1
check "in the program's words" says "Did you mean 'learning_rate'?"
check "with the job, not a file that is gone" says "  in: sgdscope run small.json --set update.learning_rat=0.1 --output o/learning_rat=0.1"
check "what many jobs have in common" exits 2 "$grid" small.json --out o --vary update.learning_rat 0.1 0.2 --vary steps 5 -5 --seeds 1 2
check "is told once" equal "$(grep -c "unknown key" output)" 1
check "with how many have it" says "  the same holds for 3 more"
check "and how many there are" says "not all jobs are valid, so none is printed: 8 of 8 are refused"
check "an override without a value" exits 2 "$grid" small.json --out o --set steps --seeds 1 2
check "is told" says "--set: there is no '=' in 'steps'"
check "a value written in two ways" exits 2 "$grid" small.json --out o --vary update.learning_rate 0.1 0.2 1e-1
check "is one value" says "'0.1' and '1e-1' are the same value of update.learning_rate"
check "as in lists" exits 2 "$grid" small.json --out o --vary model.hidden '[8,4]' '[8, 4]'
check "large whole numbers are not" exits 0 "$grid" small.json --out o --seeds 9007199254740992 9007199254740993
check "a program that checks nothing" exits 5 env SGDSCOPE=/bin/false "$grid" small.json --out o --seeds 1 2
check "is told" says "/bin/false: could not check the jobs (exit status 1): it said nothing"
check "so are values with one name" exits 2 "$grid" small.json --out o --vary model.hidden '[8]' '[[8]]'
check "which are named" says "the values '[8]' and '[[8]]' of model.hidden would share the folder name hidden=8"
check "and a field given twice" exits 2 "$grid" small.json --out o --set seed=1 --seeds 2 3
check "and no values" exits 2 "$grid" small.json --out o --seeds
check "and a grid of one" exits 2 "$grid" small.json --out o --set seed=1
check "and no place" exits 2 "$grid" small.json --seeds 1
check "a CDPATH" exits 0 env -C "$repository" CDPATH=. scripts/grid.sh "$work/small.json" --out o --seeds 1
check "adds nothing" equal "$(head -1 output)" "# scripts/grid.sh $work/small.json --out o --seeds 1"
mkdir older && cp -r "$scripts" older && sed -i "s|/usr/bin/python3|$work/older/python3|" older/scripts/grid.sh
printf '#!/bin/sh\nexit 1\n' >older/python3 && chmod +x older/python3 # a Python of which the version is not enough
check "a system's Python that is too old" exits 0 older/scripts/grid.sh small.json --out o --seeds 1
check "is passed over" equal "$(jobs_in)" 1

# --- Twelve jobs ------------------------------------------------------------------------------------------------------

: >starts
twelve_jobs 'it'\''s "here"' >twelve.jobs
sed -i "s/'it's \"here\"/'it'\\\\''s \"here\"/" twelve.jobs # in the two lines that are not the grid's
check "a dry run" exits 1 "$sweep" twelve.jobs --dry-run
check "says which jobs would run" says "12 jobs, 11 of them to run, "
check "each as it stands" says "$(sed -n 2p twelve.jobs)"
check "and what is wrong" says "line 13 (update.learning_rat=0.1): failed: update.learning_rat: unknown key"
check "runs nothing" equal "$(started)" 0
check "and writes nothing" absent twelve.sweep
check "a sweep with failures says so" exits 1 "$sweep" twelve.jobs
check_table twelve.sweep/sweep.csv
check "at the end too" says "12 jobs: 10 done, 1 diverged, 1 failed; the table: twelve.sweep/sweep.csv"
check "what is wrong in a job is told" says "line 13 (update.learning_rat=0.1): failed: update.learning_rat: unknown key"
check "before any is started" equal "$(grep -n "^line " output | head -1 | cut -d' ' -f2)" 13
check "and it is not started" equal "$(started)" 11
check "paths are what they are" equal "$(find 'it'\''s "here"' -name config.json | wc -l)" 11

: >starts
comparable twelve.sweep/sweep.csv >first
rm -r "it's \"here\"/hidden=16,seed=3"
check "a second call" exits 1 script --quiet --return --command "$sweep twelve.jobs" /dev/null </dev/null
check "runs one job" equal "$(started)" 1
check "the one that is missing" grep -q "hidden=16,seed=3" starts
check "and shows its progress on a terminal" says "12 jobs, 9 done, 1 diverged, 1 failed, 1 running, 0 to come, 0:00:0"
check "and ends with the same table" cmp first <(comparable twelve.sweep/sweep.csv)
: >starts && rm twelve.sweep/sweep.csv
check "--collect makes the table" exits 1 "$sweep" twelve.jobs --collect
check "the same one" cmp first <(comparable twelve.sweep/sweep.csv)
check "with its columns below one another" equal "$(grep -v : output | awk '{print length}' | sort -u | wc -l)" 1
check "and runs nothing" equal "$(started)" 0

# --- What is half written, and output that nobody takes ---------------------------------------------------------------

collect=("$sweep" twelve.jobs --collect)
evaluations="it's \"here\"/hidden=16,seed=1/eval.csv" # of line 2
cp "$evaluations" whole.csv && printf '60,3' >>"$evaluations"
check "a row without its end" exits 1 "${collect[@]}"
check "is no evaluation" cmp first <(comparable twelve.sweep/sweep.csv)
mv whole.csv "$evaluations"

mv "it's \"here\"/hidden=16,seed=3" aside # of line 4
becomes() { # becomes LOG STATUS REASON: what the table says of a job that has left nothing but its log
  printf '%b' "$1" >twelve.sweep/logs/4.log
  exits 1 "${collect[@]}" && equal "$(cell twelve.sweep/sweep.csv 4 status)" "$2" && equal "$(cell twelve.sweep/sweep.csv 4 reason)" "$3"
}
check "a last line without its end" becomes '--- line 4 on here\nKilled' failed Killed
check "a last line with nothing in it" becomes '--- line 4 on here\nKilled\n\n' failed Killed
check "a beginning without its end" becomes 'error: of an earlier start\n--- line 4 on he' 'not begun' ''
mv aside "it's \"here\"/hidden=16,seed=3"

check "two that make the table at once" exits 0 "$python" -B - "$scripts" twelve.sweep/jobs.jsonl <<'PYTHON'
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
import sweep_jobs

def meanwhile(_):  # the first has not finished its file yet
    os.fsync = lambda _: None
    subprocess.run([sys.executable, "-B", sweep_jobs.__file__, "table", sys.argv[2]])

os.fsync = meanwhile
sys.exit(sweep_jobs.main("table", sys.argv[2]) != 1)  # 1: not all jobs are done
PYTHON
check "do so" cmp first <(comparable twelve.sweep/sweep.csv)

collect_exits() { # collect_exits STATUS: of one that prints into descriptor 8
  local status=0
  "${collect[@]}" >&8 2>output || status=$?
  equal "$status" "$1"
}
mkfifo pipe
exec 7<>pipe
exec 8>pipe 7<&-
check "a reader who has enough" collect_exits 141
check "is no error" equal "$(<output)" ""
exec 8>/dev/full
check "a full disk" collect_exits 5
check "is told" equal "$(<output)" "error: standard output cannot be written: No space left on device"
help_of() { # help_of SCRIPT: into a full disk, which has no room for it
  local status=0
  timeout 20 "$scripts/$1" --help >&8 2>output || status=$?
  [[ $status != 124 && $status != 0 ]]
}
for script in sweep.sh grid.sh reproduce.sh setup.sh test.sh slurm_sweep.sh download_data.sh quickstart.sh; do
  check "the help of $script that cannot be written ends" help_of "$script"
done
exec 8>&-

# --- A line that was edited -------------------------------------------------------------------------------------------

sed -i -e 4d -e 's/seed=1 /seed=6 /' twelve.jobs
: >starts
check "edited jobs are no longer done" exits 1 "$sweep" twelve.jobs
check "as is told" says "line 2 (model.hidden=[16] seed=6): failed: this run was made by another config: seed is 1 there and 6 here"
check "and by the table" grep -q "made by another config" <(cell twelve.sweep/sweep.csv 2 reason)
check "without the old numbers" equal "$(cell twelve.sweep/sweep.csv 2 eval.train_loss)" ""
check "the others are done still" equal "$(started)" 0
check "logs of other lines are gone" equal "$(find twelve.sweep/logs -name '*.log' | wc -l)" 0

# --- A config that was edited -----------------------------------------------------------------------------------------

sed 's/"steps": 60/"steps": 5/' small.json >first.json
edit() { sed "$1" first.json >edited.json; }
edit ''
"$grid" edited.json --out e --seeds 1 2 >edited.jobs
check "a sweep before the edit" exits 0 "$sweep" edited.jobs
: >starts
unchanged() { # unchanged SED_COMMAND
  edit "$1"
  exits 0 "$sweep" edited.jobs && equal "$(started)" 0
}
made_otherwise() { # made_otherwise SED_COMMAND DIFFERENCE
  edit "$1"
  exits 1 "$sweep" edited.jobs && equal "$(started)" 0 && says "line 2 (seed=1): failed: this run was made by another config: $2" &&
    says "2 jobs: 2 failed" && equal "$(cell edited.sweep/sweep.csv 3 steps_done)" "" && ! grep -q eval.train_loss edited.sweep/sweep.csv
}
check "comments and a default change nothing" unchanged 's/"steps"/\/* a comment *\/ "device": "cpu", "steps"/'
check "nor does a mark of the byte order" unchanged $'1s/^/\xef\xbb\xbf/'
check "a key removed is an edit" made_otherwise 's/, "momentum": 0.9//' "update.momentum is 0.9 there and 0.0 here"
check "and a key added" made_otherwise 's/"steps"/"probes": [{"name": "gradient_norm"}], "steps"/' \
  "probes is [] there and [{\"name\":\"gradient_norm\""
check "and a constant for a schedule" made_otherwise 's/0.05/{"name": "cosine", "value": 0.05}/' \
  "update.learning_rate is 0.05 there and {\"name\":\"cosine\""
check "with the remedy, which removes nothing" grep -q '; give the job another --output$' output
edit 's/"steps": 5,/"steps": 5,,/'
check "what is no JSON any more stops the sweep" exits 2 "$sweep" edited.jobs
check "with line and reason" says "edited.jobs:2: edited.json:1:"
check "and what else it concerns" says "The same holds for line 3."
rm edited.json
check "so does a config that is gone" exits 2 "$sweep" edited.jobs
check "with the reason" says "edited.json: cannot open the file: No such file or directory"
check "and starts nothing" equal "$(started)" 0

# The program, which edits the config when the first job is started.
cat >editing <<SH
#!/bin/sh
[ "\$1" != run ] || sed -i 's/, "momentum": 0.9//' during.json
exec '$program' "\$@"
SH
chmod +x editing
cp first.json during.json
"$grid" during.json --out d --seeds 1 2 3 >during.jobs
check "an edit while a sweep runs" exits 0 env SGDSCOPE=./editing "$sweep" during.jobs -j 1
check "was made" equal "$(grep -c momentum during.json)" 0
check "but changes no job of it" equal "$(cat d/*/config.json | grep -c '"momentum": 0.9')" 3
check "the next one tells" exits 1 "$sweep" during.jobs
check "all jobs" says "3 jobs: 3 failed"

# --- Nothing of a line is executed ------------------------------------------------------------------------------------

cat >tricky.jobs <<'JOBS'
# a comment

sgdscope run small.json --set steps=1 --set 'name=$(touch executed)`touch executed`;x' --output 'tricky/$(touch executed)'
  sgdscope run small.json --set steps=1 --set name=a\ b"'"c --seed 7 --output=tricky/"second; touch executed"
JOBS
check "quoting is as a shell's" exits 0 "$sweep" tricky.jobs
# shellcheck disable=SC2016
check "without expansion" grep -qF '"name": "$(touch executed)`touch executed`;x"' 'tricky/$(touch executed)/config.json'
check "with quotes and spaces" grep -qF "\"name\": \"a b'c\"" "tricky/second; touch executed/config.json"
check "nothing is executed" absent executed
check "short forms are columns" equal "$(cell tricky.sweep/sweep.csv 4 seed)" 7

# --- Interruptions ----------------------------------------------------------------------------------------------------
# One long run is stopped in four ways, each time later than the last.

wait "$uninterrupted"
echo "sgdscope run ${long[*]} --output 'long run'" >long.jobs
steps_done() { grep -o '"steps_done": [0-9]*' 'long run/manifest.json' 2>/dev/null | cut -d' ' -f2; }
went_on() {
  local now
  now=$(steps_done) && ((now > reached))
}
status_of_long() { "$python" "$scripts/sweep_jobs.py" list long.sweep/jobs.jsonl | cut -f2; }
begin() {
  reached=$(steps_done || echo 0)
  : >starts
  # A shell's background processes ignore SIGINT, and could not even trap it.
  env --default-signal=INT "$sweep" long.jobs &>output &
  sweeping=$!
  await went_on
  running=$(cut -d' ' -f1 starts)
}
ends() { # ends STATUS
  local status=0
  wait "$sweeping" 2>/dev/null || status=$?
  equal "$status" "$1"
}

: >starts
begin
kill -INT "$sweeping"
check "SIGINT stops a sweep" ends 130
check "its jobs checkpoint" equal "$(cell long.sweep/sweep.csv 1 status)" interrupted
check "before the end" test "$(steps_done)" -lt "$steps"
check "it says how to go on" says "to go on, call again: scripts/sweep.sh long.jobs"

begin
kill -TERM "$sweeping"
check "so does SIGTERM" ends 143
check "its jobs checkpoint" equal "$(cell long.sweep/sweep.csv 1 reason | cut -d' ' -f1,2)" "signal 15"

begin
kill -KILL "$sweeping" "$running"
check "SIGKILL ends a sweep" ends 137
is_gone() { ! kill -0 "$running" 2>/dev/null; }
await is_gone
check "and a job" equal "$(status_of_long)" crashed

begin
kill -STOP "$running"
kill -KILL "$sweeping"
check "SIGKILL of the sweep alone" ends 137
check "leaves its job running" equal "$(status_of_long)" running
"$sweep" long.jobs &>output &
sweeping=$!
await grep -q "^--- waiting for the process that is running it" long.sweep/logs/1.log
check "the next one says so" says "line 1 is being run by another process"
check "and is alone" exits 1 "$sweep" long.jobs
check "another is told" says "another process works on long.sweep"
kill -CONT "$running"
check "it waits and goes on" ends 0
running=''
check "the run is done" equal "$(cell long.sweep/sweep.csv 1 status)" "done"
check "with the same metrics" cmp uninterrupted/metrics.csv 'long run/metrics.csv'
check "and evaluations" cmp uninterrupted/eval.csv 'long run/eval.csv'

# --- A time limit of Slurm's ------------------------------------------------------------------------------------------
# The same run as tasks of a false Slurm, which warns it, and queues it again when asked to.

mkdir bin
cat >bin/scontrol <<'SH'
#!/bin/sh
echo "$*" >>requeued
exit "${refuses:-0}"
SH
chmod +x bin/scontrol
echo "sgdscope run ${long[*]} --output limited" >limited.jobs
mkdir -p limited.sweep && "$program" resolve --jobs limited.jobs >limited.sweep/jobs.jsonl
task() { # task COMMAND...: in the background, as Slurm starts it; with SIGHUP as it is in a batch job
  env PATH="$work/bin:$PATH" SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=1 "$scripts/slurm_job.sh" limited.sweep/jobs.jsonl 1 \
    &>output &
  task=$!
}
limited_steps() { "$python" "$scripts/sweep_jobs.py" steps limited.sweep/jobs.jsonl 1; }
goes_on_from() { (($(limited_steps) > $1)); } 2>/dev/null
task_ends() { # task_ends STATUS
  local status=0
  wait "$task" || status=$?
  equal "$status" "$1"
}
: >requeued
task
await goes_on_from 0
kill -USR1 "$task"
check "a warned task ends well" task_ends 0
check "and is queued again" equal "$(cat requeued)" "requeue 7_1"
check "its run has checkpointed" grep -q '"status": "interrupted"' limited/manifest.json
check "before its end" test "$(limited_steps)" -lt "$steps"

: >requeued && reached=$(limited_steps)
task
await goes_on_from "$reached"
kill -TERM "$task" && kill -TERM "$task"
check "what Slurm itself stops ends so" task_ends 129
check "having checkpointed" grep -q '"status": "interrupted"' limited/manifest.json
check "and is not queued again" equal "$(cat requeued)" ""

reached=$(limited_steps)
refuses=1 task
await goes_on_from "$reached"
kill -USR1 "$task"
check "where Slurm does not take it again" task_ends 129
check "that is told" says "error: scontrol cannot queue it again"

task
check "the next one goes on to the end" task_ends 0
check "with the same metrics" cmp uninterrupted/metrics.csv limited/metrics.csv
check "and evaluations" cmp uninterrupted/eval.csv limited/eval.csv

# Commands of Slurm's that know no limit and have nothing queued.
mkdir slurm
printf '#!/bin/sh\necho 7\n' >slurm/sbatch
printf '#!/bin/sh\n' | tee slurm/scontrol >slurm/squeue
cat >slurm/scancel <<'SH'
#!/bin/sh
echo "$*" >>cancelled
exit "${refuses:-0}"
SH
chmod +x slurm/*
submit() { env PATH="$work/slurm:$PATH" "$scripts/slurm_sweep.sh" "its jobs.jobs" --no-wait; }
job="sgdscope run small.json --output queued"
(printf '\n%.0s' {1..1000} && echo "$job") >"its jobs.jobs"
check "a line beyond the largest task" exits 1 submit
check "is told with Slurm's default" says "beyond the largest task of an array here, 1000 (MaxArraySize); split the file:"
check "and the remedy" says "split --lines=1000 --additional-suffix=.jobs 'its jobs.jobs' part_"
echo "$job" >"its jobs.jobs"
ln -s /dev/full "its jobs.sweep/slurm_job.part"
check "an array that cannot be noted down" exits 1 submit
check "is stopped" equal "$(<cancelled)" 7
check "as is told" says "which tells a later call of array job 7, so that is stopped again; make room"
refuses=1 check "or cannot be" exits 1 submit
check "which is told" says "before you call this again, stop it: scancel 7"
rm "its jobs.sweep/slurm_job.part" && : >"its jobs.sweep/slurm_job"
check "a note with nothing in it" exits 0 submit
check "is told" says "its jobs.sweep/slurm_job is empty, so an earlier call may have submitted jobs"
check "and keeps nothing from being submitted" equal "$(<"its jobs.sweep/slurm_job")" 7

# A program that makes no step before it is warned.
printf '#!/bin/bash\ntrap "kill \$!; exit 129" HUP; sleep 60 & echo waiting; wait\n' >waiting && chmod +x waiting
rm -r limited && : >requeued
SGDSCOPE=./waiting task
await grep -qx waiting output
kill -USR1 "$task"
check "without a step" task_ends 129
check "nothing is queued again" equal "$(cat requeued)" ""
check "and what to do is told" says "error: no step was made within the time limit; give more: -- --time="

# --- One start for many jobs ------------------------------------------------------------------------------------------

with_program() { # with_program PROGRAM COMMAND...
  local -x SGDSCOPE=$1
  "${@:2}"
}
rm -r tricky && : >starts
check "a script that calls the program" exits 0 "$sweep" tricky.jobs
check "is called for each job" equal "$(started)" 2
check "which is told" says "each job loads the program anew, which takes longer: $SGDSCOPE is not the program, but calls it"

# The dynamic linker tells of each library that it loads. The first to load the program reads the job file.
"$grid" small.json --out s --seeds 1 2 3 4 5 >shared.jobs
check "five jobs" with_program "$program" exits 0 env LD_DEBUG=files LD_DEBUG_OUTPUT="$work/loaded" "$sweep" shared.jobs --threads 1
check "load the program once" equal "$(grep -l libtorch_cpu.so loaded.* | wc -l)" 2
check "have logs of their own" equal "$(grep -l "^done: 60 steps" shared.sweep/logs/*.log | wc -l)" 5
"$program" run small.json --set threads=1 --seed 3 --output alone --quiet
for file in metrics.csv eval.csv network.json checkpoints; do
  check "do what they would do alone: $file" diff --recursive "alone/$file" "s/seed=3/$file"
done

at_work() { # at_work LINE: the process that prints into the log of an endless job
  local process
  for process in /proc/[0-9]*; do
    [[ ! $process/fd/1 -ef "no end.sweep/logs/$1.log" ]] || echo "${process#/proc/}"
  done
}
fact() { ps -o "$1=" "$(at_work "$2")"; } # fact COLUMN LINE
"$grid" small.json --out endless --set steps=1000000000 --seeds 1 2 3 >"no end.jobs"
SGDSCOPE=$program env --default-signal=INT "$sweep" "no end.jobs" -j 3 --threads 1 &>output &
sweeping=$!
has_checkpoint() { grep -qs '"steps_done": [1-9]' "endless/seed=$1/manifest.json"; }
for seed in 1 2 3; do await has_checkpoint $seed; done
check "are processes of one parent" equal "$(fact ppid 2)" "$(fact ppid 4)"
check "with sessions of their own" equal "$(fact sid 2)" "$(fact pid 2)"
kill -SEGV "$(at_work 2)"
await says "line 2 (steps=1000000000 seed=1): crashed: it ended without a word; killed, perhaps for its memory (exit status 139,"
kill -KILL "$(at_work 3)"
await says "line 3 (steps=1000000000 seed=2): crashed: it ended without a word; killed, perhaps for its memory (exit status 137,"
steps_of_third() { grep -o '"steps_done": [0-9]*' endless/seed=3/manifest.json; }
reached=$(steps_of_third)
goes_on() { [[ $(steps_of_third) != "$reached" ]]; }
await goes_on
kill -INT "$sweeping"
check "are not harmed by those that crash" ends 130
check "and checkpoint when they are to stop" equal "$(cell "no end.sweep/sweep.csv" 4 status)" interrupted
check "the next call is to share the machine alike" says "to go on, call again: scripts/sweep.sh 'no end.jobs' -j 3 --threads 1"
check "all of them" equal "$(at_work 2)$(at_work 3)$(at_work 4)" ""

cat >starts_none <<SH
#!/bin/sh
[ "\$1" != start-jobs ] || exit 9
exec '$program' "\$@"
SH
chmod +x starts_none
check "a program that starts no jobs" with_program ./starts_none exits 1 "$sweep" "no end.jobs"
check "is told" says "./starts_none cannot start jobs (the reason is above)"

# --- Threads, cores and GPUs ------------------------------------------------------------------------------------------
# The program is a false one from here on: it writes what it was given, and a manifest. With `together` in the environment
# it waits until that many are running.

cat >false_program <<'SH'
#!/bin/bash
[[ $1 == run ]] || exec "$program" "$@"
echo "gpus=${CUDA_VISIBLE_DEVICES-none} cores=$(taskset -pc $$ | sed 's/.*: //') $*" >>starts
while (($(grep -c . starts) < ${together:-1})); do sleep 0.01; done
for word; do [[ $word != --output=* ]] || output=${word#*=}; done
mkdir -p "$output" && cp "$2" "$output/config.json" && echo '{"status": "done", "steps_done": 1, "wall_seconds": 1}' >"$output/manifest.json"
SH
cat >bin/nvidia-smi <<'SH'
#!/bin/sh
for i in 0 1 2; do echo "GPU $i: NVIDIA False (UUID: GPU-$i)"; done
SH
chmod +x false_program bin/nvidia-smi
export program SGDSCOPE=./false_program PATH=$work/bin:$PATH
unset CUDA_VISIBLE_DEVICES

: >starts
with_threads() { sed "s/\"steps\"/\"threads\": $1, \"steps\"/" small.json; }
with_threads 3 >threads.json
mkdir -p f/saved && "$program" resolve small.json --set threads=5 >f/saved/config.json
printf 'sgdscope run %s --output f/%s\n' small.json plain 'small.json --set threads=7' own threads.json config \
  small.json saved >threads.jobs
usable=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)))')
check "threads are divided" exits 0 env OMP_NUM_THREADS=$((usable + 1)) "$sweep" threads.jobs -j1
check "among the jobs at a time" grep -q "output=f/plain --resume --set threads=$usable$" starts
check "a line keeps its own" grep -q "output=f/own --resume$" starts
check "which is in its config" grep -q '"threads": 7' f/own/config.json
check "a config keeps its own" grep -q "output=f/config --resume$" starts
check "which is there too" grep -q '"threads": 3' f/config/config.json
check "a run that is resumed keeps its own" grep -q "output=f/saved --resume --set threads=5$" starts
rm -r f/plain && : >starts
check "--threads gives another number" exits 0 "$sweep" threads.jobs -j 2 --threads 6
check "to those that begin" grep -q "output=f/plain --resume --set threads=6$" starts

gpus_used() { grep -o 'gpus=[^ ]*' starts | sort | paste -sd' '; }
sed 's/"steps"/"device": "cuda", "steps"/' small.json >cuda.json
printf 'sgdscope run %s --output g/%d\n' cuda.json 1 'small.json --device cuda' 2 'small.json --set device=cuda' 3 >cuda.jobs
: >starts
check "jobs on GPUs run side by side" exits 0 env together=3 timeout 30 "$sweep" cuda.jobs
check "each on one of its own" equal "$(gpus_used)" "gpus=0 gpus=1 gpus=2"
rm -r g && : >starts
printf 'sgdscope run cuda.json --output g/%d\n' {1..5} >shared.jobs
check "two jobs a GPU" exits 0 env together=5 timeout 30 "$sweep" shared.jobs --per-gpu 2
check "as many as there are" equal "$(gpus_used)" "gpus=0 gpus=0 gpus=1 gpus=1 gpus=2"
check "are told" says "5 at a time"
check "with the GPUs" says "GPUs: 0 1 2"
rm -r g && : >starts
check "visible GPUs alone are used" exits 0 env together=2 CUDA_VISIBLE_DEVICES=4,GPU-7 timeout 30 "$sweep" cuda.jobs
check "one for each slot" grep -qE "gpus=(4 gpus=4 gpus=GPU-7|4 gpus=GPU-7 gpus=GPU-7)" <(gpus_used)
printf 'sgdscope run small.json --output g/cpu\n' >cpu.jobs && : >starts
check "jobs on the CPU" exits 0 "$sweep" cpu.jobs
check "are bound to none" equal "$(gpus_used)" gpus=none
check "--per-gpu is not for them" exits 1 "$sweep" cpu.jobs --per-gpu 2
check "which is told" says "--per-gpu is for jobs on cuda"

cores_used() { grep -o 'cores=[^ ]*' starts | sort | paste -sd' '; }
all=$(taskset -pc $$ | sed 's/.*: //')
printf 'sgdscope run small.json --output h/%d\n' 1 2 >cores.jobs && : >starts
check "one job at a time" exits 0 "$sweep" cores.jobs -j 1
check "has all cores" equal "$(cores_used)" "cores=$all cores=$all"
rm -r h && : >starts
check "more jobs at a time than cores" exits 0 "$sweep" cores.jobs -j $((usable + 1))
check "share them" equal "$(cores_used)" "cores=$all cores=$all"
if ((usable > 1)); then
  rm -r h && : >starts
  check "two jobs at a time" exits 0 env together=2 timeout 30 "$sweep" cores.jobs -j 2
  check "are told their cores" says ", cores: "
  check "all cores are used, none by both" equal "$(cores_used | "$python" -c 'import re
sets = [set(range(int(a), int(b or a) + 1)) for a, b in re.findall(r"(\d+)(?:-(\d+))?", input())]
print(sum(map(len, sets)), len(set().union(*sets)))')" "$usable $usable"
  printf 'sgdscope run small.json --set threads=%d --output h/wide\n' $((usable + 1)) >wide.jobs && : >starts
  check "with more threads than its cores" exits 0 "$sweep" wide.jobs -j 2
  check "a job has all" equal "$(cores_used)" "cores=$all"
fi

# --- What is refused --------------------------------------------------------------------------------------------------

: >starts
refuses() { # refuses WORDS LINE...: a job file with these lines
  printf '%s\n' "${@:2}" >refused.jobs
  exits 2 "$sweep" refused.jobs && says "$1"
}
run="sgdscope run small.json"
check "no job file" exits 2 "$sweep" nowhere.jobs
check "is named" says "nowhere.jobs: cannot open the file: No such file or directory"
check "with the remedy" says "scripts/grid.sh makes a job file"
check "a folder" exits 2 "$sweep" bin
check "no argument" exits 2 "$sweep"
check "an empty file" refuses "refused.jobs: there are no jobs in it" "# nothing" ""
check "another command" refuses "refused.jobs:2: a job begins with 'sgdscope run'" "$run --output a" "rm -rf /"
check "no output" refuses "refused.jobs:1: there is no --output DIR" "$run --seed 1"
check "a shared output" refuses "refused.jobs:4: the --output of line 2 too is ./a/../b" "" "$run --output b" "" "$run --output ./a/../b"
check "an unquoted command" refuses "argument was not expected: executed)" "$run --output \$(touch executed)"
check "an open quote" refuses "refused.jobs:1: a quotation that begins with ' never ends" "$run --output 'a"
check "--overwrite" refuses "argument was not expected: --overwrite" "$run --output a --overwrite"
check "-j 0" exits 2 "$sweep" cpu.jobs -j 0
check "--threads x" exits 2 "$sweep" cpu.jobs --threads x
check "--per-gpu 0" exits 2 "$sweep" cuda.jobs --per-gpu 0
check "--per-gpu and -j" exits 2 "$sweep" cuda.jobs --per-gpu 2 -j 2
check "two job files" exits 2 "$sweep" cpu.jobs cuda.jobs
check "nothing was started" equal "$(cat starts)" ""
check "nothing was executed" absent executed

# Of each script, up to an option that takes a value, or up to a place that takes one.
for call in "$grid small.json --out" "$grid small.json --out o --set" "$grid small.json --out o --vary" "$sweep cpu.jobs -j" \
  "$sweep cpu.jobs --threads" "$sweep cpu.jobs --per-gpu" "$sweep" "$scripts/slurm_sweep.sh" "$scripts/setup.sh --torch" "$scripts/setup.sh --torch-file" \
  "$scripts/test.sh --preset" "$scripts/reproduce.sh inherent_noise --out" "$scripts/download_data.sh mnist" \
  "$scripts/gpu_check.sh --gather" "$scripts/gpu_check.sh libraries"; do
  read -ra words <<<"$call"
  check "an empty value: $call" exits 2 "${words[@]}" ""
  check "is told: $call" says " is empty: an unset variable?"
  [[ $call != *.sh ]] || continue # where an option may stand
  check "an option for a value: $call" exits 2 "${words[@]}" --help
  check "is told: $call" says " needs a value, not the option --help (a file of that name is ./--help)"
done
# Of each script, something that it does not know, or without what it needs.
for call in "$grid small.json --oops" "$sweep cpu.jobs --oops" "$sweep --collect" "$scripts/slurm_sweep.sh cpu.jobs --oops" \
  "$scripts/sweep_job.sh" "$scripts/slurm_job.sh" "$scripts/setup.sh --oops" "$scripts/setup.sh --torch oops" \
  "$scripts/setup.sh --torch" "$scripts/download_data.sh oops" "$scripts/quickstart.sh --oops" "$scripts/gpu_check.sh --oops" \
  "$scripts/reproduce.sh --oops" "$scripts/test.sh --folder core" "$scripts/test.sh -R plot" "$scripts/test.sh --folders oops" \
  "$repository/.ci/lint --oops"; do
  read -ra words <<<"$call"
  check "wrong usage: $call" exits 2 "${words[@]}"
  check "is told: $call" says "error: "
done
check "a folder that is there" exits 2 "$scripts/gpu_check.sh" --gather bin
check "is left alone" says "bin exists already; name a folder that does not"
check "no place for temporary files" exits 1 env TMPDIR=nowhere bash -c "source '$scripts/lib.sh' && quietly true"
check "is told with the remedy" says "cannot make anything in nowhere (the reason is above); set TMPDIR to a folder where"

# As on a file system that has no locks.
printf '#!/bin/sh\necho "flock: no locks available" >&2; exit 71\n' >bin/flock && chmod +x bin/flock
mkdir -p g/unlocked && : >g/unlocked/.lock && echo "sgdscope run small.json --output g/unlocked" >unlocked.jobs
check "no locks to be had" exits 0 "$sweep" unlocked.jobs
check "is told" says "unlocked.sweep cannot be locked (the reason is above): see to it that no other process works on it"
rm bin/flock

check "no program" with_program nowhere/sgdscope exits 1 "$sweep" cpu.jobs
check "is told with the remedy" says "there is no program nowhere/sgdscope; scripts/quickstart.sh"
: >blocked.sweep && cp cpu.jobs blocked.jobs
check "no place for the table" exits 1 "$sweep" blocked.jobs
check "is told with the remedy" says "cannot write into blocked.sweep"
mkdir -p full.sweep/sweep.csv && cp cpu.jobs full.jobs
check "no way to write the table" exits 5 "$sweep" full.jobs
check "is told" says "cannot write full.sweep/sweep.csv: Is a directory"
check "and nothing of it is left" equal "$(find full.sweep -name '*.part')" ""
mkdir noted && cp cpu.jobs noted.jobs && "$program" resolve --jobs noted.jobs >noted/jobs.jsonl && : >noted/configs
check "no place for a job's config" exits 5 "$scripts/sweep_job.sh" noted/jobs.jsonl 1
check "is told" says "error: noted/configs: "
check "a program that is another" with_program /bin/echo exits 5 "$sweep" cpu.jobs
check "is told with the remedy" says "/bin/echo resolve prints no jobs; see whether it is sgdscope: /bin/echo --version"
echo "sgdscope run small.json --output small.json/below" >below.jobs
check "no place for a run" with_program "$program" exits 1 "$sweep" below.jobs
check "is told with the status" says "(exit status 5, log below.sweep/logs/1.log)"
check "is told in the program's words" says "small.json/below: can't make this folder: Not a directory Choose another place"

echo "$passed passed, 0 failed"
