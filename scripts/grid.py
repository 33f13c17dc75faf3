"""The part of scripts/grid.sh that makes the jobs: a study of what its command line says, or one in a file.

    scripts/grid.py PROGRAM ARGUMENT...      PROGRAM checks the jobs, by `resolve`; the arguments are those of grid.sh

Needs nothing but Python's standard library, from 3.9 on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sgdscope.errors import RESOURCE, Error, exit_status_of
from sgdscope.studies import MOST_IN_NAME, Job, Study, expand, load_study, plain

STUDY = ".study.json"
HELP = "see scripts/grid.sh --help"


@dataclass
class CommandLine:
    """What a command line of scripts/grid.sh asks for."""

    file: str = ""  # a config or a study
    out: str = ""
    size: str = ""
    sets: dict[str, str] = field(default_factory=dict)
    varies: dict[str, list[str]] = field(default_factory=dict)


def parse(arguments: Sequence[str]) -> CommandLine:
    """Reads the command line, of which --vary takes all values up to the next option."""
    found, rest = CommandLine(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("--out", "--size"):
            setattr(found, word[2:], _value_of(word, rest))
        elif word == "--set":
            path, given, value = (override := _value_of(word, rest)).partition("=")
            if not given:
                raise Error(
                    word, f"there is no '=' in '{override}'", "write PATH=VALUE, as in update.learning_rate=0.1"
                )
            found.sets[_new_path(path, found)] = value
        elif word in ("--vary", "--seeds"):
            path = _new_path("seed" if word == "--seeds" else _value_of(word, rest), found)
            found.varies[path] = list(_values_of(f"--vary {path}", rest))
        elif word.startswith("--"):
            raise Error(word, "there is no such option", HELP)
        elif found.file:
            raise Error("scripts/grid.sh", f"takes one config, but was given '{found.file}' and '{word}'", "name one")
        else:
            found.file = word
    return found


def _value_of(option: str, rest: list[str]) -> str:
    if not rest:
        raise Error(option, "needs a value", HELP)
    if not rest[0]:
        raise Error(option, f"the value of {option} is empty: an unset variable?", HELP)
    if rest[0].startswith("-"):
        raise Error(
            option, f"{option} needs a value, not the option {rest[0]} (a file of that name is ./{rest[0]})", HELP
        )
    return rest.pop(0)


def _values_of(option: str, rest: list[str]) -> Iterator[str]:
    if not rest or rest[0].startswith("--"):
        raise Error(option, "needs values", f"--seeds takes them, too; {HELP}")
    while rest and not rest[0].startswith("--"):
        if not rest[0]:
            raise Error(option, "one of its values is empty: an unset variable?", HELP)
        yield rest.pop(0)


def _new_path(path: str, found: CommandLine) -> str:
    if not path[:1].isascii() or not (path[:1].isalpha() or path[:1] == "_") or re.search("[=/{}]", path):
        raise Error(path, "is no PATH of a field, such as update.learning_rate", HELP)
    if path in found.sets or path in found.varies:
        raise Error(path, "is given twice", "name each field once")
    return path


def study_of(line: CommandLine) -> Study:
    """The grid of a command line, of which each run has a folder that is named after what varies."""
    if not line.file or not line.out:
        raise Error("scripts/grid.sh", "needs CONFIG and --out DIR", HELP)
    if not line.varies:
        raise Error(line.file, "nothing varies", "give --vary or --seeds")
    labels: list[str] = []
    for path, values in line.varies.items():
        last = path.rpartition(".")[2]
        labels.append(path if last in labels else last)
        _refuse_twins(path, labels[-1], values)
    _refuse_long_names(zip(labels, line.varies.values()))
    every = {"config": [line.file], **{path: [value] for path, value in line.sets.items()}, **line.varies}
    names = {path: f"value{i}" for i, path in enumerate(every)}
    raw: dict[str, Any] = {
        "config": f"{{{names.pop('config')}}}",
        "name": ",".join(f"{label}={{plain({names[path]})}}" for label, path in zip(labels, line.varies)),
        "set": {path: f"{{{name}}}" for path, name in names.items()},
        "curves": {"grid": {"vary": {f"value{i}": values for i, values in enumerate(every.values())}}},
    }
    return expand(raw, "scripts/grid.sh")


def _meaning(text: str) -> str:
    """What a value means, so that 0.1 and 1e-1 are alike: JSON with exact numbers, or else the text."""

    def number(digits: str) -> Decimal:
        return Decimal(digits).normalize()

    try:
        return repr(json.loads(text, parse_int=number, parse_float=number))
    except (ValueError, ArithmeticError):
        return repr(text)


def _refuse_twins(path: str, label: str, values: Iterable[str]) -> None:
    """Values that are the same, or would share a folder."""
    meant: dict[str, str] = {}
    shown: dict[str, str] = {}
    for value in values:
        twin = meant.setdefault(_meaning(value), value)
        if len(meant) == len(shown):
            raise Error("--vary", f"'{twin}' and '{value}' are the same value of {path}", "leave one of them out")
        if plain(value) in shown:
            what = f"the values '{shown[plain(value)]}' and '{value}' of {path} would share the folder name"
            raise Error("--vary", f"{what} {label}={plain(value)}", "leave one of them out")
        shown[plain(value)] = value


def _refuse_long_names(labelled: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Labels with values after which a folder cannot be named."""
    name = ",".join(f"{label}={max(map(plain, values), key=len)}" for label, values in labelled)
    if len(name) > MOST_IN_NAME:
        what = f"a run's folder would have a name of {len(name)} characters, and at most {MOST_IN_NAME} are allowed: {name}"
        hint = 'write a study, whose "name" may be a word for each value: scripts/sgdscope/studies.py tells how'
        raise Error("--vary", what, hint)


def _refuse_stages(study: Study, file: str) -> None:
    """Settings that begin from weights which other runs of the study have yet to make."""
    for setting in study.settings:
        if setting.after:
            what = (
                f"{setting.name} begins from weights of {setting.after}, and the runs of one job file are in no order"
            )
            hint = (
                'make two: one of the first runs, by "only", and then, without "after", one of the others, where each line '
                "gets --set init.from=RUN/checkpoints/step_….safetensors"
            )
            raise Error(f"{file}: after", what, hint)


def quote(word: str) -> str:
    """A word as shells and Python's shlex read it back."""
    safe = word and all(letter.isascii() and (letter.isalnum() or letter in "_./=:,@%+-") for letter in word)
    return word if safe else "'" + word.replace("'", "'\\''") + "'"


def lines_of(jobs: Iterable[Job], out: str) -> Iterator[str]:
    """A line for each job."""
    for job in jobs:
        yield " ".join(map(quote, [*job.words(), "--output", f"{out.removesuffix('/')}/{job.folder}"]))


def _refuse_invalid(program: str, lines: Sequence[str]) -> None:
    """Has the program check the jobs. Of those that are refused for one cause, the words of the first are told."""
    text = "".join(f"{line}\n" for line in lines)
    resolve, hint = [program, "resolve", "--jobs", "/dev/stdin"], f"see whether it runs: {quote(program)} --version"
    try:
        found = subprocess.run(resolve, input=text, capture_output=True, encoding="utf-8", errors="surrogateescape")
        records = [json.loads(record) for record in found.stdout.split("\n") if record]  # other breaks may be in names
        refused = [record for record in records if "error" in record]
    except (OSError, ValueError, TypeError) as error:
        raise Error(program, f"could not check the jobs: {error}", hint, RESOURCE) from None
    if len(records) < len(lines) or (found.returncode and not refused):
        what = f"could not check the jobs (exit status {found.returncode}): {found.stderr.strip() or 'it said nothing'}"
        raise Error(program, what, hint, RESOURCE)
    causes: dict[str, list[dict[str, Any]]] = {}
    for record in refused:  # in what is wrong, the values differ
        causes.setdefault(re.sub(r"[\w.+-]*\d[\w.+-]*", "0", record["error"]), []).append(record)
    told = []
    for first, *others in causes.values():
        more = f"\n  the same holds for {len(others)} more" if others else ""
        told.append(f"{first['error']}\n  in: {lines[first['line'] - 1]}{more}".replace("\n", "\n  "))
    if told:
        what = f"not all jobs are valid, so none is printed: {len(refused)} of {len(lines)} are refused"
        raise Error("scripts/grid.sh", what, "\n  ".join(told))


def print_jobs(program: str, arguments: Sequence[str]) -> None:
    """Prints the job file."""
    if any("\n" in word for word in arguments):
        raise Error("scripts/grid.sh", "a word has a line break in it, but a job is one line", "write it without")
    line = parse(arguments)
    if line.file.endswith(STUDY):
        if line.sets or line.varies:
            raise Error(line.file, "is a study, which says itself what varies", "leave out --set, --vary and --seeds")
        study = load_study(line.file, line.size)
        _refuse_stages(study, line.file)
        name = os.path.basename(line.file)[: -len(STUDY)]
        out = line.out or os.path.join("runs", "_".join(filter(None, [name, line.size])))
    else:
        if line.size:
            raise Error(line.file, "is a config, which has no sizes", f"leave out --size, or name a file *{STUDY}")
        study, out = study_of(line), line.out
    lines = list(lines_of(study.jobs(), out))
    _refuse_invalid(program, lines)
    print("#", *map(quote, ["scripts/grid.sh", *arguments]))
    print(*lines, sep="\n")


if __name__ == "__main__":
    # Names of files need not be UTF-8.
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.exit(exit_status_of(lambda: print_jobs(sys.argv[1], sys.argv[2:])))
