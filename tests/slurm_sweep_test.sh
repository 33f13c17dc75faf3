#!/usr/bin/env bash
# scripts/slurm_sweep.sh on a Slurm of our own, started here and stopped at the end: the twelve jobs, one of them requeued
# while it runs, must give the table that scripts/sweep.sh gives. Skipped, with status 77, where Slurm cannot be had.

# shellcheck source=tests/sweep_helper.sh
source "$(dirname "$0")/sweep_helper.sh"

slurm_sweep=$scripts/slurm_sweep.sh
skip() { echo "skipped: $*" && exit 77; }

# --- Slurm ------------------------------------------------------------------------------------------------------------

((EUID == 0)) || skip "only root can run jobs under a Slurm of its own"
bash -c "source '$scripts/lib.sh' && need_packages slurm-wlm munge" || skip "there are no packages slurm-wlm and munge"

daemons=()
stop_slurm() {
  scancel --user=root --quiet 2>/dev/null || true
  kill "${daemons[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap stop_slurm EXIT

daemon() { # daemon COMMAND...: in the foreground of the background, with a log named after it
  "$@" &>"$work/${1##*/}.log" &
  daemons+=($!)
}
read -r controller_port node_port < <("$python" -c 'import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("", 0))
print(*[s.getsockname()[1] for s in sockets])')
export SLURM_CONF=$work/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
KillWait=10
MaxArraySize=100
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES
CONF
mkdir state spool
head -c 1024 /dev/urandom >munge.key && chmod 400 munge.key
daemon munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
  --log-file="$work/munged.log" --seed-file="$work/munged.seed"
await test -S munge.socket
daemon slurmctld -D
daemon slurmd -D -N "$(hostname -s)"
is_up() { [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]]; }
(await is_up) || { tail -5 ./*.log && skip "this machine cannot run Slurm; its last words are above"; }

# --- The same jobs here and there -------------------------------------------------------------------------------------

jobs_in() { # jobs_in DIR: the twelve, and a long one in line 14
  twelve_jobs "$1"
  echo "sgdscope run small.json --set steps=30000 --set eval.every=7000 --output '$1/long run'"
}
jobs_in "on this machine" >here.jobs
jobs_in "on a cluster, 100%" >cluster.jobs
check "the sweep to compare with" exits 1 "$scripts/sweep.sh" here.jobs --threads 1

: >starts
long="on a cluster, 100%/long run"
check "--no-wait submits" exits 0 "$slurm_sweep" cluster.jobs --no-wait -- --comment="a word of the user's"
check "and says how to go on" says "with --collect for the table"
array=$(<cluster.sweep/slurm_job)
check "options are for sbatch" grep -q "a word of the user's" <(scontrol show job "$array")

is_under_way() { grep -qE '"steps_done": [1-9]' "$long/manifest.json"; } 2>/dev/null
await is_under_way
check "a job is requeued while it runs" exits 0 scontrol requeue "${array}_14"
is_pending() { [[ $(squeue --noheader --array --jobs="${array}_14" --format=%t) == PD ]]; }
await is_pending
check "at which it checkpoints" grep -q '"status": "interrupted"' "$long/manifest.json"
cp cluster.jobs copy
echo "sgdscope run small.json --output more" >>cluster.jobs
check "an edited file is not mixed with what is queued" exits 1 "$slurm_sweep" cluster.jobs
check "and both ways out are told" says "wait until that ends, or stop it: scancel $array"
mv copy cluster.jobs
cp small.json copy
sed -i 's/, "momentum": 0.9//' small.json
check "nor is an edited config" exits 1 "$slurm_sweep" cluster.jobs
check "which is told too" says "cluster.jobs, or a config that it names, was edited since array job $array was submitted"
mv copy small.json

start_now() { scontrol update JobId="${array}_14" StartTime=now; } # Slurm waits two minutes before it starts a requeued job
start_now
is_running() { [[ $(squeue --noheader --array --jobs="${array}_14" --format=%t) == R ]] && went_on; }
steps_of_long() { grep -o '"steps_done": [0-9]*' "$long/manifest.json" | cut -d' ' -f2; }
went_on() { (($(steps_of_long) > reached)); }
reached=$(steps_of_long)
await is_running
check "the warning before its time limit" exits 0 scancel --batch --signal=USR1 "${array}_14"
await is_pending
check "requeues it too" grep -q '"status": "interrupted"' "$long/manifest.json"
start_now
check "a second call waits, and tells of failures" exits 1 "$slurm_sweep" cluster.jobs
check "it submits nothing" says "array job $array of an earlier call is queued still"
check "failures are told" says "line 13 (update.learning_rat=0.1): failed: update.learning_rat: unknown key"
check "each good job was started once, the requeued one three times" equal "$(started)" 14
check "it was resumed" grep -q "^resuming at step" cluster.sweep/logs/14.log
check "to the same metrics" cmp "on this machine/long run/metrics.csv" "$long/metrics.csv"
check "and evaluations" cmp "on this machine/long run/eval.csv" "$long/eval.csv"

check_table cluster.sweep/sweep.csv
comparable here.sweep/sweep.csv >here
check "the tables are the same" cmp here <(comparable cluster.sweep/sweep.csv)
check "it has all jobs" equal "$(grep -c "'status': 'done'" here)" 11

# --- Calls that submit little or nothing ------------------------------------------------------------------------------

cp cluster.sweep/sweep.csv table
rm cluster.sweep/sweep.csv
check "--collect makes the table" exits 1 "$slurm_sweep" cluster.jobs --collect
check "the same one" cmp table cluster.sweep/sweep.csv
: >starts
rm -r "on a cluster, 100%/hidden=16,seed=3"
check "another call" exits 1 "$slurm_sweep" cluster.jobs
check "submits what is missing" says "1 of 13 jobs are submitted"
check "alone" equal "$(grep -c "hidden=16,seed=3" starts)" "$(started)"

grep -v misspelt cluster.jobs | grep -v diverging >good.jobs
check "where all is done" exits 0 "$slurm_sweep" good.jobs
check "nothing is submitted" absent good.sweep/slurm_job

# A config that is edited between the submission and the run.
cp small.json held.json
echo "sgdscope run held.json --output held" >held.jobs
check "a job is held" exits 0 "$slurm_sweep" held.jobs --no-wait -- --hold
sed -i 's/, "momentum": 0.9//' held.json
scontrol release "$(<held.sweep/slurm_job)"
is_done() { grep -q '"status": "done"' held/manifest.json; } 2>/dev/null
await is_done
check "a job runs from what was submitted" grep -q '"momentum": 0.9' held/config.json
is_over() { [[ ! $(squeue --noheader --jobs="$(<held.sweep/slurm_job)") ]]; } 2>/dev/null
await is_over
check "the next call tells of the edit" exits 1 "$slurm_sweep" held.jobs
check "in words" says "this run was made by another config: update.momentum is 0.9 there and 0.0 here"

threads="sgdscope run small.json --set steps=1 --output threads"
echo "$threads" >threads.jobs
check "CPUs are given to sbatch" exits 0 "$slurm_sweep" threads.jobs -- --cpus-per-task=2
check "and become threads" grep -q '"threads": 2' threads/config.json

(printf '\n%.0s' {1..99} && echo "${threads}2") >high.jobs
check "a line beyond the array's limit" exits 1 "$slurm_sweep" high.jobs
check "is told with a remedy" says "line 100 of high.jobs is beyond the largest task of an array here, 99 (MaxArraySize)"
check "sbatch's refusal" exits 1 "$slurm_sweep" high.jobs -- --partition=none
check "an unknown option" exits 2 "$slurm_sweep" threads.jobs --partition=all
check "is sent behind the dashes" says "sbatch's own come after --"
check "--collect before all" exits 1 "$slurm_sweep" here.job --collect
mkdir empty && ln -s "$(command -v bash)" "$(command -v dirname)" empty
check "a machine without Slurm" exits 1 env PATH="$work/empty" "$slurm_sweep" threads.jobs
check "is told so" says "Slurm's sbatch is not here"

echo "$passed passed, 0 failed"
