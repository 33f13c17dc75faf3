#!/usr/bin/env python3
"""What the sweep scripts know of jobs, run folders and results. Plain Python, 3.6 or newer.

  sweep_jobs.py resolve PROGRAM JOBS         has the program resolve a job file; prints the jobs, if all lines are jobs
  sweep_jobs.py list RESOLVED                prints line, status, device and own threads (or -) of each job, and what to tell
                                             of a refused one
  sweep_jobs.py words RESOLVED LINE THREADS  prints the run folder, then the arguments for sgdscope, each ended by NUL
  sweep_jobs.py commands RESOLVED THREADS    prints of each job on the CPU that has not begun: line, run folder, and the
                                             command 'sgdscope ...' as a shell would take it, each ended by NUL
  sweep_jobs.py start RESOLVED PROGRAM       has the program start jobs (sgdscope start-jobs --help); prints its path, and a
                                             row for each job that ends: line, exit status, and what `report` prints
  sweep_jobs.py report RESOLVED LINE         prints the job's status, and what to tell of it
  sweep_jobs.py steps RESOLVED LINE          prints how many steps of the job are done
  sweep_jobs.py table RESOLVED               writes sweep.csv and prints it short; exit status 1 unless all are done
  sweep_jobs.py cores SLOTS                  prints for each slot the processors that it has to itself, a line a slot

RESOLVED is a file in the sweep's folder with what `resolve` prints: a JSON object a line, as `sgdscope resolve --jobs` has it.

A job's status is that in its run folder's manifest, or 'crashed' where that says 'running' and no process does, or 'failed'
where the program refuses its config, where another config made the run that is there, or where the last thing the job
printed, in logs/LINE.log beside RESOLVED, is an error; or 'not begun'.

Exit status: 0 done, 2 wrong usage, a wrong job file or a config that cannot be read, 5 a program that cannot be run or no
place to write, 141 where whoever reads what is printed has enough; `table` ends with 1 unless all jobs are done.
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

Job = Dict[str, Any]  # a line of RESOLVED
Row = Dict[str, Any]  # cells of the table, by column

USAGE, RESOURCE = 2, 5  # exit statuses, as the executable's
BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends

STATUSES = ("done", "diverged", "failed", "crashed", "interrupted", "running", "not begun")


class Error(Exception):
    """What was wrong, and the exit status for it."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


def resolve(program: str, path: str) -> str:
    """The program's word on each line of a job file. Raises Error with all lines that are no jobs."""
    command = [program, "resolve", "--jobs", path]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: UP022
    text = ended.stdout.decode("utf-8")
    if ended.returncode not in (0, 2) or not text:
        said = ended.stderr.decode("utf-8", "surrogateescape").strip()
        said = said or f"{program} resolve ended with status {ended.returncode}"
        raise Error(re.sub("^error: ", "", said), USAGE if ended.returncode == USAGE else RESOURCE)
    try:
        jobs = [json.loads(line) for line in text.split("\n") if line]
    except ValueError:
        raise Error(
            f"{program} resolve prints no jobs; see whether it is sgdscope: {program} --version", RESOURCE
        ) from None
    problems = {}  # type: Dict[str, List[int]]
    for job in jobs:
        if "output" not in job:
            problems.setdefault(job["error"], []).append(job["line"])
    if problems:
        told = [f"{path}:{lines[0]}: {error}{also(lines[1:])}" for error, lines in problems.items()]
        raise Error("\n".join(told), USAGE)
    return text


def also(lines: List[int]) -> str:
    """That other lines have the same error."""
    if not lines:
        return ""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"\n  The same holds for line {lines[0]}{more}."


def read_jobs(path: str, line: Optional[int] = None) -> List[Job]:
    """All resolved jobs, or the one of a line of the job file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(text) for text in file if line is None or text.startswith(f'{{"line":{line},')]


def read_json(path: str) -> Any:
    """The content of a file that the program wrote; None for what is absent or no JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def title(job: Job) -> str:
    """How messages call the job."""
    overrides = " ".join(f"{path}={value}" for path, value in job["overrides"].items())
    return f"line {job['line']} ({overrides or job['output']})"


def first_difference(there: Any, here: Any, path: str = "") -> str:
    """Where two configs differ first, in the program's words; "" if they are equal."""
    if there == here:
        return ""
    if isinstance(there, dict) and isinstance(here, dict):
        steps = [(key, path + "." + key if path else key) for key in list(there) + list(here)]
        values = [(there.get(key, absent), here.get(key, absent), below) for key, below in steps]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        values = [(one, other, f"{path}[{i}]") for i, (one, other) in enumerate(zip(there, here))]
    else:
        return f"{path} is {in_short(there)} there and {in_short(here)} here"
    return next(found for found in (first_difference(*value) for value in values) if found)


absent = object()  # in place of a value


def in_short(value: Any) -> str:
    """A value as the program writes it."""
    return "absent" if value is absent else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def refusal_of(job: Job) -> str:
    """Why the job is not to be run, in one line; "" if it may be."""
    if "error" in job:
        return " ".join(job["error"].split())
    saved = read_json(os.path.join(job["output"], "config.json"))
    if not isinstance(saved, dict):
        return ""
    # A folder may be named in another way; a number of threads that nobody asked for is the sweep's.
    left_out = ("output",) if job["sets_threads"] else ("output", "threads")
    there, here = saved.copy(), job["config"].copy()
    for key in left_out:
        there.pop(key, None)
        here.pop(key, None)
    difference = first_difference(there, here)
    return difference and f"this run was made by another config: {difference}; give the job another --output"


def is_locked(folder: str) -> bool:
    """Whether a process is at work on a run folder."""
    try:
        with open(os.path.join(folder, ".lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def last_attempt(path: str, job: Job) -> str:
    """What the job printed when it was started last."""
    log = os.path.join(os.path.dirname(path), "logs", f"{job['line']}.log")
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            return re.split(r"(?m)^--- .*(?:\n|\Z)", file.read())[-1]  # a full disk may have cut the last line
    except OSError:
        return ""


def from_last(pattern: str, text: str) -> str:
    """The text from the last line on that matches, in one line; "" if none does."""
    starts = [match.start() for match in re.finditer(pattern, text, re.M)]
    return " ".join(text[starts[-1] :].split()) if starts else ""


def state_of(path: str, job: Job) -> Tuple[str, str, Dict[str, Any]]:
    """Status, reason, and the manifest if it is that of this job."""
    refusal = refusal_of(job)
    if refusal:
        return "failed", refusal, {}
    manifest = read_json(os.path.join(job["output"], "manifest.json"))
    if not isinstance(manifest, dict) or read_json(os.path.join(job["output"], "config.json")) is None:
        manifest = {}
    status, reason = manifest.get("status", "not begun"), manifest.get("reason", "")
    if status in ("done", "diverged"):
        return status, reason, manifest
    if status == "running" and is_locked(job["output"]):
        return status, "a process is at work on it", manifest
    # What the program complained of last came after the manifest, or instead of it. Others complain too: Slurm, the
    # dynamic linker.
    attempt = last_attempt(path, job)
    complaint = from_last(r"^error: ", attempt)
    if complaint:
        return "failed", complaint[len("error: ") :], manifest
    complaint = from_last(r"\berror\b", attempt)
    if status == "running":
        return "crashed", complaint or "it ended without a word; killed, perhaps for its memory", manifest
    if not manifest and attempt.strip():
        return "failed", complaint or attempt.rstrip().split("\n")[-1], manifest
    return status, reason, manifest


def write_atomically(path: str, text: str) -> None:
    """A reader sees the old file or the new one. Raises Error with the reason if there is no writing it."""
    temporary = f"{path}.{os.getpid()}.part"  # of this process alone: others may write the same file
    try:
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        what = f"cannot write {path}: {error.strerror}; call this again when it can be written"
        raise Error(what, RESOURCE) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def threads_of(job: Job) -> Optional[int]:
    """The threads that the job sets itself, or had when it began; None for as many as the sweep gives it."""
    if job["sets_threads"]:
        return job["config"]["threads"]
    saved = read_json(os.path.join(job["output"], "config.json")) or {}
    return saved.get("threads")


def words_of(path: str, job: Job, threads: str) -> List[str]:
    """The run folder, then the program's arguments: the run is made from a copy of the resolved config beside `path`."""
    if "error" in job:
        raise Error(job["error"], USAGE)
    folder = os.path.join(os.path.dirname(path), "configs")
    os.makedirs(folder, exist_ok=True)
    config = os.path.join(folder, f"{job['line']}.json")
    write_atomically(config, json.dumps(job["config"], ensure_ascii=False, indent=2) + "\n")
    words = [job["output"], "run", config] + ["--quiet"] * job["quiet"] + ["--output=" + job["output"], "--resume"]
    if not job["sets_threads"]:
        words += ["--set", f"threads={threads_of(job) or threads}"]
    return words


def print_commands(path: str, jobs: List[Job], threads: str) -> None:
    """How jobs may begin as copies of a process that has loaded the program; those on a GPU set up CUDA in one of their own."""
    for job in jobs:
        if refusal_of(job) or job["config"]["device"] != "cpu" or os.path.exists(os.path.join(job["output"], ".lock")):
            continue
        folder, *arguments = words_of(path, job, threads)
        print(job["line"], folder, " ".join(map(shlex.quote, ["sgdscope"] + arguments)), sep="\0", end="\0")


def start(path: str, jobs: List[Job], program: str) -> int:
    """Stands between the sweep and the program that starts its jobs, to say how they went; its exit status."""
    os.setsid()  # a terminal's signals are the sweep's
    by_line = {str(job["line"]): job for job in jobs}
    starter = subprocess.Popen([program, "start-jobs"], stdout=subprocess.PIPE)
    with starter.stdout or io.BytesIO() as ended:
        print(os.fsdecode(ended.readline()), end="", flush=True)
        for row in ended:
            line, status = row.decode().split()
            print(line, status, reported(path, by_line[line]), sep="\t", flush=True)
    return starter.wait()


def last_evaluation(job: Job) -> Dict[str, str]:
    """The last row of the run's eval.csv, by column; a row is whole where its line has ended."""
    try:
        with open(os.path.join(job["output"], "eval.csv"), newline="", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return {}
    rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    return rows[-1] if rows else {}


def result_row(path: str, job: Job) -> Row:
    """What the table says of a job."""
    status, reason, manifest = state_of(path, job)
    row = {"line": job["line"], "output": job["output"]}
    row.update(job["overrides"])
    row.update(status=status, reason=reason)
    row.update((key, manifest.get(key, "")) for key in ("steps_done", "wall_seconds"))
    if manifest:
        row.update(("eval." + key, value) for key, value in last_evaluation(job).items())
    return row


def columns_of(jobs: List[Job], rows: List[Row]) -> List[str]:
    """All columns of the table, in their order."""
    columns = {"line": None, "output": None}  # a dict, as an ordered set
    for job in jobs:
        columns.update(dict.fromkeys(job["overrides"]))
    columns.update(dict.fromkeys(["status", "reason", "steps_done", "wall_seconds"]))
    for row in rows:
        columns.update(dict.fromkeys(row))
    return list(columns)


def write_csv(path: str, columns: List[str], rows: List[Row]) -> None:
    """The table, with an empty cell where a row has no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def short(value: Any) -> str:
    """A cell of the short table."""
    try:
        return f"{float(value):.4g}" if "." in str(value) else str(value)
    except ValueError:
        return str(value)


def print_short(columns: List[str], rows: List[Row]) -> None:
    """Prints the columns that tell jobs apart, and how the jobs went."""
    said_elsewhere = ("output", "reason", "eval.step", "eval.epoch")
    differs = {column: len({row.get(column) for row in rows}) > 1 for column in columns}
    differs.update(line=True, status=True)
    shown = [column for column in columns if differs[column] and column not in said_elsewhere]
    cells = [[column.replace("eval.", "").split(".")[-1] for column in shown]]
    cells += [[short(row.get(column, "")) for column in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def table(path: str, jobs: List[Job]) -> int:
    """Writes and prints the table; the exit status."""
    file = os.path.join(os.path.dirname(path), "sweep.csv")
    rows = [result_row(path, job) for job in jobs]
    columns = columns_of(jobs, rows)
    write_csv(file, columns, rows)
    print_short(columns, rows)
    statuses = [row["status"] for row in rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES if status in statuses)
    print(f"{len(jobs)} jobs: {counts}; the table: {file}")
    return 0 if set(statuses) == {"done"} else 1


def print_list(path: str, jobs: List[Job]) -> None:
    """Which jobs there are to run; a refused one comes with what to tell of it."""
    for job in jobs:
        refusal = refusal_of(job)
        if refusal:
            print(job["line"], "refused", "-", "-", f"{title(job)}: failed: {refusal}", sep="\t")
        else:
            print(job["line"], state_of(path, job)[0], job["config"]["device"], threads_of(job) or "-", "", sep="\t")


def reported(path: str, job: Job) -> str:
    """How a job that has ended went: its status, and what to tell of it."""
    status, reason, manifest = state_of(path, job)
    if status == "done":
        reason = f"{manifest.get('steps_done')} steps in {short(manifest.get('wall_seconds'))} s"
    return f"{status}\t{title(job)}: {status}{reason and ': ' + reason}"


def place_of(processor: int) -> Tuple[int, int, int]:
    """Socket, core and number of a processor: in this order those that share a core or a cache are neighbours."""
    place = []
    for name in ("physical_package_id", "core_id"):
        try:
            with open(f"/sys/devices/system/cpu/cpu{processor}/topology/{name}") as file:
                place.append(int(file.read()))
        except (OSError, ValueError):
            place.append(0)
    return place[0], place[1], processor


def cores(slots: int) -> List[str]:
    """The processors that this process may use, shared out to slots, as taskset takes them; none if there are more slots."""
    usable = sorted(os.sched_getaffinity(0), key=place_of)
    if slots > len(usable):
        return []
    bounds = [len(usable) * slot // slots for slot in range(slots + 1)]
    return [",".join(map(str, sorted(usable[first:end]))) for first, end in zip(bounds, bounds[1:])]


def main(command: str, path: str, *arguments: str) -> int:
    """Does what the command line asks for; the exit status."""
    if command == "resolve":
        print(resolve(path, arguments[0]), end="")
        return 0
    if command == "cores":
        print("\n".join(cores(int(path))))
        return 0
    of_all = command in ("list", "table", "commands", "start")
    jobs = read_jobs(path, None if of_all else int(arguments[0]))
    if not of_all and not jobs:
        raise Error(f"{path}: it has no job of line {arguments[0]}", USAGE)
    if command == "start":
        return start(path, jobs, arguments[0])
    if command == "table":
        return table(path, jobs)
    if command == "list":
        print_list(path, jobs)
    if command == "commands":
        print_commands(path, jobs, arguments[0])
    if command == "words":
        sys.stdout.buffer.write(b"".join(os.fsencode(word) + b"\0" for word in words_of(path, jobs[0], arguments[1])))
    if command == "report":
        print(reported(path, jobs[0]))
    if command == "steps":
        print((read_json(os.path.join(jobs[0]["output"], "manifest.json")) or {}).get("steps_done", 0))
    return 0


def exit_status_of(words: List[str]) -> int:
    """Does what the command line asks for and says what was wrong, if anything was; the exit status."""
    try:
        status = main(*words)
        sys.stdout.flush()
        return status
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        discard_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:
            discard_output()
        print(f"error: {error.filename or 'standard output cannot be written'}: {error.strerror}", file=sys.stderr)
        return RESOURCE
    except ValueError as error:  # a number that is none, or a file that is not RESOLVED
        print(f"error: {error}", file=sys.stderr)
        return USAGE


def discard_output() -> None:
    """What is still to be printed goes nowhere, where standard output cannot take it: Python prints it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    # Names of files need not be UTF-8.
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.exit(exit_status_of(sys.argv[1:]))
