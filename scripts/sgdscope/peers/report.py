"""What the numbers hold for, and everything as JSON."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sgdscope.peers.data import Dataset
from sgdscope.peers.sgdscope_bench import SgdscopeBench
from sgdscope.peers.timing import JAX, PYTORCH, SGDSCOPE, Measured, Target, Turns


def about(data: Dataset, turns: Turns, ours: SgdscopeBench | None, load: float) -> dict[str, Any]:
    """What the numbers hold for."""
    device = torch.cuda.get_device_name() if data.images.is_cuda else processor()
    context = {
        key: value for key, value in (ours.context if ours else {}).items() if key not in ("host_name", "executable")
    }
    return {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "data": data.name,
        "rounds": turns.rounds,
        "block_seconds": turns.seconds,
        "clock": turns.clock,
        "budget_seconds": turns.budget if math.isfinite(turns.budget) else None,
        "load_before": round(load, 2),
        "sgdscope_bench": context,
    }


def processor() -> str:
    """The processor's name as far as the system tells."""
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def as_json(results: Sequence[Measured], targets: Sequence[Target], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, round by round, in microseconds, and the targets."""
    return {
        "about": facts,
        "networks": {measured.network: network_as_json(measured) for measured in results},
        "targets": [
            {"what": t.what, "ratio": t.ratio.median, "low": t.ratio.low, "high": t.ratio.high, "bound": t.bound,
             "at_least": t.at_least, "met": t.met()}
            for t in targets
        ],
    }  # fmt: skip


def network_as_json(measured: Measured) -> dict[str, Any]:
    """The times by program, of sgdscope without variants; and what was verified and left out, if anything."""
    times = {f"{program.lower()}_us": measured.times.get(program, {}) for program in (PYTORCH, JAX)}
    parts = {
        **times,
        "sgdscope_us": {kind: variants[""] for kind, variants in measured.times.get(SGDSCOPE, {}).items()},
        "difference_from_double": measured.differences,
        "remarks": measured.remarks,
    }
    return {key: part for key, part in parts.items() if part or key in ("pytorch_us", "sgdscope_us")}
