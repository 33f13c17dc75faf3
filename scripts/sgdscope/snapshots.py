"""Reads snapshots and checkpoints of a run: safetensors files, which are the length of a header, the header, and numbers."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgdscope.errors import DATA, Error

TYPES = {"U8": "u1", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
CHECKSUM = b'"crc32":"'  # of the file with zeros in the checksum's own place


@dataclass(frozen=True)
class Tensors:
    """The arrays of a file by name, and the text beside them."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


def read_tensors(path: Path) -> Tensors:
    """All arrays of a safetensors file, whose checksum must be right if it has one of ours."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:begin])
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            array = np.frombuffer(data[begin + first : begin + end], TYPES[entry["dtype"]])
            arrays[name] = array.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, "is no safetensors file as `sgdscope run` writes it") from None
    if "crc32" in metadata:
        at = data.index(CHECKSUM) + len(CHECKSUM)
        if f"{zlib.crc32(data[:at] + b'0' * 8 + data[at + 8 :]):08x}" != metadata.pop("crc32"):
            raise _damaged(path, "the content has another checksum than the header says")
    return Tensors(arrays, metadata)


def _damaged(path: Path, what: str) -> Error:
    return Error(str(path), what, "the file is damaged: use another one, or make the run again", DATA)


def files_in(folder: Path, label: str = "") -> dict[int, Path]:
    """The folder's files by their steps, in ascending order. `label`: of a probe that has one of its own."""
    name = re.compile(rf"step_(\d+){re.escape('.' + label if label else '')}\.safetensors")
    found = [(name.fullmatch(file.name), file) for file in folder.glob("step_*.safetensors")]
    return dict(sorted((int(match[1]), file) for match, file in found if match))


def tensors_at(folder: Path, step: int | None = None, label: str = "") -> Tensors:
    """The arrays of the folder's file of a step, or of the last one."""
    files = files_in(folder, label)
    if step is None:
        step = max(files, default=None)
    if step not in files:
        steps = ", ".join(map(str, files)) or "none"
        what = "has no file" if step is None else f"has no file of step {step}"
        raise Error(str(folder), what, f"steps of which there is one: {steps}", DATA)
    return read_tensors(files[step])


def theta_at(folder: Path, step: int) -> np.ndarray:
    """All parameters at a step, in double, from the run folder's snapshot of it."""
    return tensors_at(folder / "snapshots", step)["theta"].astype(np.float64)
