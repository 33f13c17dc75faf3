"""Reads theta from the snapshots of a run: safetensors files, which are the length of a header, the header, and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def theta_at(folder: Path, step: int) -> np.ndarray:
    """All parameters at a step, in double, from the run folder's snapshot of it."""
    data = (folder / "snapshots" / f"step_{step}.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    theta = json.loads(data[8:begin])["theta"]
    first, end = theta["data_offsets"]
    numbers = np.frombuffer(data[begin + first : begin + end], {"F32": "<f4", "F64": "<f8"}[theta["dtype"]])
    return numbers.astype(np.float64)
