#!/usr/bin/env python3
"""What the sweep scripts know of job files, run folders and results. Plain Python, 3.6 or newer.

  sweep_jobs.py list JOBS                 checks the job file; prints line, status and device of each job
  sweep_jobs.py words JOBS LINE THREADS   prints the run folder, then the arguments for sgdscope, each ended by NUL
  sweep_jobs.py report JOBS LINE          prints the job's status, and what to tell of it
  sweep_jobs.py table JOBS                writes sweep.csv beside JOBS and prints it short; exit status 1 unless all are done

A job's status is that in its run folder's manifest, or 'crashed' where that says 'running' and no process does, or 'failed'
where the last thing the job printed, in logs/LINE.log beside JOBS, is an error, or 'not begun'.
"""

import argparse
import csv
import fcntl
import json
import os
import re
import shlex
import sys


STATUSES = ("done", "diverged", "failed", "crashed", "interrupted", "running", "not begun")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)


def run_parser():
    parser = Parser(prog="sgdscope run", allow_abbrev=False, add_help=False)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[])
    for short_form in ("seed", "device", "output"):
        parser.add_argument("--" + short_form)
    parser.add_argument("--quiet", action="store_true")
    return parser


RUN_PARSER = run_parser()


class Job:
    def __init__(self, line, text):
        """Raises ValueError for what is not a run."""
        words = shlex.split(text)
        if words[:2] != ["sgdscope", "run"]:
            raise ValueError("a job begins with 'sgdscope run'; scripts/grid.sh prints such lines")
        arguments = RUN_PARSER.parse_args(words[2:])
        self.line = line
        self.words = words[1:]
        self.config = arguments.config
        self.overrides = dict(assignment.partition("=")[::2] for assignment in arguments.set)
        for key in ("seed", "device", "output"):
            if getattr(arguments, key) is not None:
                self.overrides[key] = getattr(arguments, key)
        self.output = self.overrides.pop("output", None)
        if not self.output:
            raise ValueError("there is no --output DIR: each job of a sweep needs a folder of its own; scripts/grid.sh "
                             "writes it")

    def title(self):
        overrides = " ".join("%s=%s" % pair for pair in self.overrides.items())
        return "line %d (%s)" % (self.line, overrides or self.output)


def read_jobs(path, only=None):
    """All jobs, or the one of a line. Raises ValueError with all that is wrong."""
    jobs, problems, folders = [], [], {}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().split("\n")
    for line, text in enumerate(lines, 1):
        if only not in (None, line) or not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            job = Job(line, text)
            first = folders.setdefault(os.path.realpath(job.output), job)
            if first is not job:
                raise ValueError("the --output of line %d too is %s; give each job its own" % (first.line, job.output))
            jobs.append(job)
        except ValueError as error:
            problems.append("%s:%d: %s" % (path, line, error))
    if only and not jobs and not problems:
        problems.append("%s:%d: there is no job in this line" % (path, only))
    elif not jobs and not problems:
        problems.append("%s: there are no jobs in it; scripts/grid.sh CONFIG --out DIR ... > %s makes some" % (path, path))
    if problems:
        raise ValueError("\n".join(problems))
    return jobs


def read_json(path):
    """None for what is absent or no JSON. Comments are allowed, as in the program."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return json.loads(re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda m: m.group(1) or " ", text, flags=re.S))
    except (OSError, ValueError):
        return None


def asked_for(job):
    """The config that the job asks for, without defaults; where that needs the program to tell, what is easily told."""
    config = read_json(job.config)
    for path, text in job.overrides.items():
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        keys = [int(index) if index else key for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
        try:
            node = config
            for key in keys[:-1]:
                node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
            node[keys[-1]] = value
        except (TypeError, LookupError, AttributeError):
            pass
    return config if isinstance(config, dict) else {}


def contradicts(asked, saved):
    """Whether a saved config, which has all defaults too, cannot be that of the one asked for."""
    if isinstance(asked, dict) and isinstance(saved, dict):
        return any(value is not None and (key not in saved or contradicts(value, saved[key]))
                   for key, value in asked.items() if key != "output")
    if isinstance(asked, list) and isinstance(saved, list):
        return len(asked) != len(saved) or any(map(contradicts, asked, saved))
    if isinstance(asked, (dict, list)) or isinstance(saved, (dict, list)) or asked == "":
        return False  # a short form, or a default that the program fills in
    return asked != saved


def is_locked(folder):
    try:
        with open(os.path.join(folder, ".lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def last_attempt(jobs_path, job):
    """What the job printed when it was started last."""
    path = os.path.join(os.path.dirname(jobs_path), "logs", "%d.log" % job.line)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return re.split(r"(?m)^--- .*\n", file.read())[-1]
    except OSError:
        return ""


def from_last(pattern, text):
    """The text from the last line on that matches, in one line; "" if none does."""
    starts = [match.start() for match in re.finditer(pattern, text, re.M)]
    return " ".join(text[starts[-1]:].split()) if starts else ""


def state_of(jobs_path, job):
    """Status, reason, and the manifest if it is that of this job."""
    manifest = read_json(os.path.join(job.output, "manifest.json"))
    saved = read_json(os.path.join(job.output, "config.json"))
    if not isinstance(manifest, dict) or contradicts(asked_for(job), saved):
        manifest = {}
    status, reason = manifest.get("status", "not begun"), manifest.get("reason", "")
    if status in ("done", "diverged"):
        return status, reason, manifest
    if status == "running" and is_locked(job.output):
        return status, "a process is at work on it", manifest
    # What the program complained of last came after the manifest, or instead of it. Others complain too: Slurm, the
    # dynamic linker.
    attempt = last_attempt(jobs_path, job)
    complaint = from_last(r"^error: ", attempt)
    if complaint:
        return "failed", complaint[len("error: "):], manifest
    complaint = from_last(r"\berror\b", attempt)
    if status == "running":
        return "crashed", complaint or "it ended without a word; killed, perhaps for its memory", manifest
    if not manifest and attempt.strip():
        return "failed", complaint or attempt.split("\n")[-2], manifest
    return status, reason, manifest


def last_evaluation(job):
    try:
        with open(os.path.join(job.output, "eval.csv"), newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return rows[-1] if rows else {}


def result_row(jobs_path, job):
    status, reason, manifest = state_of(jobs_path, job)
    row = {"line": job.line, "output": job.output}
    row.update(job.overrides)
    row.update(status=status, reason=reason, steps_done=manifest.get("steps_done", ""),
               wall_seconds=manifest.get("wall_seconds", ""))
    if manifest:
        row.update(("eval." + key, value) for key, value in last_evaluation(job).items())
    return row


def columns_of(jobs, rows):
    columns = {"line": None, "output": None}  # a dict, as an ordered set
    for job in jobs:
        columns.update(dict.fromkeys(job.overrides))
    columns.update(dict.fromkeys(["status", "reason", "steps_done", "wall_seconds"]))
    for row in rows:
        columns.update(dict.fromkeys(row))
    return list(columns)


def write_csv(path, columns, rows):
    try:
        with open(path + ".part", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".part", path)
    except OSError as error:
        raise ValueError("cannot write %s: %s; the results are in the run folders, so call this again when it can be "
                         "written" % (path, error.strerror))


def short(value):
    try:
        return "%.4g" % float(value) if "." in str(value) else str(value)
    except ValueError:
        return str(value)


def print_short(columns, rows):
    """Only what tells jobs apart, and how they went."""
    said_elsewhere = ("output", "reason", "eval.step", "eval.epoch")
    shown = [column for column in columns if column not in said_elsewhere and
             (column in ("line", "status") or len({row.get(column) for row in rows}) > 1)]
    cells = [[column.replace("eval.", "").split(".")[-1] for column in shown]]
    cells += [[short(row.get(column, "")) for column in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def table(jobs_path, jobs):
    path = os.path.join(os.path.dirname(jobs_path), "sweep.csv")
    rows = [result_row(jobs_path, job) for job in jobs]
    columns = columns_of(jobs, rows)
    write_csv(path, columns, rows)
    print_short(columns, rows)
    statuses = [row["status"] for row in rows]
    counts = ", ".join("%d %s" % (statuses.count(status), status) for status in STATUSES if status in statuses)
    print("%d jobs: %s; the table: %s" % (len(jobs), counts, path))
    return 0 if set(statuses) == {"done"} else 1


def main(command, path, line=None, threads=""):
    jobs = read_jobs(path, line and int(line))
    if command == "list":
        for job in jobs:
            cuda = asked_for(job).get("device") == "cuda"
            print(job.line, state_of(path, job)[0], "cuda" if cuda else "cpu", sep="\t")
        return 0
    if command == "table":
        return table(path, jobs)
    job = jobs[0]
    if command == "words":
        saved = read_json(os.path.join(job.output, "config.json")) or {}
        words = [job.output] + job.words + ["--resume"]
        if "threads" not in asked_for(job):
            words += ["--set", "threads=%s" % saved.get("threads", threads)]
        sys.stdout.buffer.write(b"".join(os.fsencode(word) + b"\0" for word in words))
    if command == "report":
        status, reason, manifest = state_of(path, job)
        if status == "done":
            reason = "%s steps in %s s" % (manifest.get("steps_done"), short(manifest.get("wall_seconds")))
        print("%s\t%s: %s%s" % (status, job.title(), status, reason and ": " + reason))
    return 0


if __name__ == "__main__":
    # Names of files need not be UTF-8.
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    try:
        sys.exit(main(*sys.argv[1:]))
    except OSError as error:
        sys.exit("error: %s: %s; scripts/grid.sh makes a job file" % (error.filename, error.strerror))
    except ValueError as error:
        sys.exit("error: %s" % error)
