"""From figures to a job file: which runs there are to be, on which data, and in which folder.

A folder holds one paper at one size. Figures asked for one after the other share its runs; its reproduction.json
remembers them, and the words of every run, so that no run is ever taken for another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgdscope.catalogue import ROOT, choose, jobs_of
from sgdscope.errors import DATA, RESOURCE, Error, note
from sgdscope.files import replacing
from sgdscope.runs import read_manifest
from sgdscope.snapshots import files_in
from sgdscope.studies import Job, read_json, stages

STATE = "reproduction.json"
LOOKED_FOR = {  # such a file is where the data are
    "mnist": "train-images*idx3-ubyte*", "cifar10": "data_batch_1.bin", "cifar100": "train.bin"
}  # fmt: skip
STAND_INS = {"mnist": ("fashion_mnist", ("data/fashion_mnist", "/usr/share/datasets/fashion-mnist"))}  # same file names
CIFAR10_TEST = "test_batch.bin"
CIFAR10_SPLIT = ([f"data_batch_{i}.bin" for i in range(1, 5)], ["data_batch_5.bin"])  # train and test, without that one


@dataclass
class Reproduction:
    """What a folder of scripts/reproduce.sh is for."""

    folder: Path
    paper: str
    size: str
    figures: list[str] = field(default_factory=list)  # asked for so far
    runs: dict[str, str] = field(default_factory=dict)  # words of each, without --output, by its folder's name

    @property
    def runs_folder(self) -> Path:
        """Where the run folders are."""
        return self.folder / "runs"

    def save(self) -> None:
        """Writes what the folder is for into it."""
        state = {"paper": self.paper, "size": self.size, "figures": self.figures, "runs": self.runs}
        with replacing(self.folder / STATE) as file:
            file.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def default_folder(paper: str, size: str) -> Path:
    """Where a paper is reproduced unless the caller names a folder."""
    return ROOT / "reproductions" / f"{paper}_{size}"


MADE = "give a folder that scripts/reproduce.sh has made, say reproductions/PAPER_SIZE"
NEW = "choose another folder with --out: one that is not there yet, an empty one, or one that scripts/reproduce.sh has made"


def open_reproduction(folder: Path, hint: str = MADE) -> Reproduction:
    """Reads what a folder is for."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if "quick" in state:  # as it was written when there were two sizes
            state["size"] = "quick" if state["quick"] else "full"
        return Reproduction(folder, state["paper"], state["size"], state["figures"], state["runs"])
    except (FileNotFoundError, NotADirectoryError):
        raise Error(str(folder), f"is not a folder of scripts/reproduce.sh: it has no {STATE}", hint) from None
    except (ValueError, KeyError, TypeError):
        raise Error(str(folder / STATE), "is not what scripts/reproduce.sh wrote", hint, DATA) from None
    except OSError as error:
        raise Error(str(folder), f"cannot be read: {error.strerror}", hint, RESOURCE) from None


def plan(
    target: str, size: str, out: Path | None, data_paths: Sequence[Path], device: str | None = None, stage: int = 1
) -> Path:
    """Writes the job file of a stage of PAPER or PAPER/FIGURE, the longest jobs first, and returns its name.

    A stage after the first begins from weights of earlier ones, which are to be run by then. If nothing is in it, there
    is no such file.
    """
    paper, names = choose(target, size)
    folder = out or default_folder(paper, size)
    with _alone_in(folder):
        return _plan(_take_folder(folder, paper, size), names, data_paths, device, stage)


def _plan(
    reproduction: Reproduction, names: list[str], data_paths: Sequence[Path], device: str | None, stage: int
) -> Path:
    paper, size = reproduction.paper, reproduction.size
    configs = {job: config_of(job) for job in jobs_of(paper, names, size)}
    of_stage = dict(enumerate(stages(configs), 1)).get(stage, [])
    check_data_paths(data_paths, configs.values())
    weights = _weights(of_stage, reproduction)
    configs = _with_data({job: configs[job] for job in weights}, data_paths)
    words = {
        job.folder: shlex.join(_words(job, [*data_overrides(config, data_paths), *weights[job]], device))
        for job, config in configs.items()
    }
    for folder, new in words.items():
        old = reproduction.runs.setdefault(folder, new)
        if old != new:
            where = str(reproduction.runs_folder / folder)
            raise Error(where, f"was planned as\n    {old}\n  and not as\n    {new}", NEW)
    reproduction.figures = list(dict.fromkeys(reproduction.figures + names))
    reproduction.save()
    outputs = {folder: shlex.quote(_from_root(reproduction.runs_folder / folder)) for folder in words}
    lines = [f"{words[folder]} --output {output}\n" for folder, output in outputs.items()]
    ending = "jobs" if stage == 1 else f"stage{stage}.jobs"
    file = reproduction.folder / f"{names[0] if len(names) == 1 else 'all'}.{ending}"
    if lines:
        with replacing(file) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)
    return file


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other call plans in a folder, which it makes; so none forgets another's runs. Removes it if it stays empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError:  # what is wrong is said by who reads or writes in it
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _take_folder(folder: Path, paper: str, size: str) -> Reproduction:
    """The reproduction in a folder, or a new one if the folder is absent or empty."""
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return Reproduction(folder, paper, size)
    except NotADirectoryError:
        raise Error(str(folder), "is a file, not a folder", NEW) from None
    except OSError as error:
        raise Error(str(folder), f"cannot be read: {error.strerror}", NEW, RESOURCE) from None
    found = open_reproduction(folder, NEW)
    if (found.paper, found.size) != (paper, size):
        what = f"holds the {found.size} size of {found.paper}, not the {size} one of {paper}"
        raise Error(str(folder), what, NEW)
    return found


def _with_data(configs: dict[Job, dict[str, Any]], data_paths: Sequence[Path]) -> dict[Job, dict[str, Any]]:
    """The jobs whose data are there, and a warning for each data set that is not; an error if none is."""
    found, absent = {}, {}
    for job, config in configs.items():
        try:
            data_overrides(config, data_paths)
            found[job] = config
        except Error as error:
            absent[str(error)] = error
    if absent and not found:
        raise next(iter(absent.values()))
    for message in absent:
        note(f"{message}\n  the runs that need it are left out")
    return found


def _weights(jobs: Iterable[Job], reproduction: Reproduction) -> dict[Job, list[str]]:
    """The jobs whose first weights are there, with what overrides theirs, and a note for each run that lacks them."""
    found: dict[Job, list[str]] = {}
    left_out: dict[str, list[str]] = {}
    for job in jobs:
        if not job.after:
            found[job] = []
            continue
        before = reproduction.runs_folder / job.after
        files = files_in(before / "checkpoints")
        if files and read_manifest(before).get("status") == "done":
            found[job] = [f"init.from={_from_root(list(files.values())[-1])}"]
        else:
            left_out.setdefault(job.after, []).append(job.folder)
    for after, folders in left_out.items():
        note(f"{after} is not done\n  the runs that begin from its weights are left out: {', '.join(folders)}")
    return found


def _words(job: Job, more: Sequence[str], device: str | None) -> list[str]:
    called = dataclasses.replace(job, config=_from_root(Path(job.config)))
    return [*called.words(more), *(["--device", device] if device else [])]


def _from_root(path: Path) -> str:
    """Relative to the repository where the path lies within: there the jobs are run."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


# ---------------------------------------------------------------------------------------------------- data


def config_of(job: Job) -> dict[str, Any]:
    """The job's config, in which its overrides of the data are made: a size may have other data than the config."""
    config = read_json(job.config)
    for override in job.overrides:
        path, _, text = override.partition("=")
        if path.partition(".")[0] == "data":
            config = _with(config, path.split("."), _value_of(text))
    return config


def _with(config: dict[str, Any], path: Sequence[str], value: Any) -> Any:
    """A config in which what stands at a path is another value."""
    return {**config, path[0]: _with(config.get(path[0], {}), path[1:], value)} if path else value


def _value_of(text: str) -> Any:
    """What --set takes a text for: JSON, or else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def check_data_paths(data_paths: Sequence[Path], configs: Iterable[dict[str, Any]]) -> None:
    """Each folder that the caller names must hold a data set, and one of them a data set of the configs."""
    names = list(dict.fromkeys(name for config in configs if (name := config["data"]["name"]) in LOOKED_FOR))
    if not names or not data_paths:
        return
    useless = [path for path in data_paths if not any(_holds(path, name) for name in LOOKED_FOR)]
    if not useless and not any(_holds(path, name) for path in data_paths for name in names):
        useless = list(data_paths)
    if useless:
        what = f"there is no file {' or '.join(LOOKED_FOR[name] for name in names)}"
        fetch = " or ".join(f"scripts/download_data.sh {name}" for name in names)
        hint = f"name the folder that holds the files of {' or '.join(names)}; {fetch} fetches them"
        raise Error(str(useless[0]), what, hint, DATA)


def data_overrides(config: dict[str, Any], data_paths: Sequence[Path]) -> list[str]:
    """What of a config must be overridden for its data to be found, or for other data to stand in."""
    name, configured = config["data"]["name"], config["data"].get("path", "")
    if name not in LOOKED_FOR:
        return []
    for folder in (*map(_from_root, data_paths), f"data/{name}", configured):
        if folder and _holds(ROOT / folder, name):
            return [f"data.path={folder}", *_split(config["data"], ROOT / folder)]
    other, folders = STAND_INS.get(name, ("", ()))
    if any(_holds(ROOT / folder, name) for folder in folders):
        return [f"data.name={other}"]
    what = f"not found in data/{name}" + (f", nor is there {other} to stand in for it" if other else "")
    hint = f"scripts/download_data.sh {name} fetches it; or name the folder that has it with --data-path"
    raise Error(name, what, hint, DATA)


def _holds(folder: Path, name: str) -> bool:
    return any(folder.glob(LOOKED_FOR[name]))


def _split(data: dict[str, Any], folder: Path) -> list[str]:
    """Where CIFAR-10 lacks its test batch, and the config names no files, the last training batch is the test set."""
    if data["name"] != "cifar10" or "test_files" in data or (folder / CIFAR10_TEST).is_file():
        return []
    train, test = map(json.dumps, CIFAR10_SPLIT)
    return [f"data.train_files={train}", f"data.test_files={test}"]
