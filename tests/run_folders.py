"""Run folders that tests of the Python scripts make up, and figures' results of them. Puts scripts/ into the path."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import unittest
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

# isort: split
from sgdscope.catalogue import ROOT, study_of
from sgdscope.claims import Claim, Verdict
from sgdscope.figure import Figure
from sgdscope.results import Results, load_outcome
from sgdscope.studies import Setting, Study

NAN = float("nan")
SIZES = ("quick", "full")
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)  # of made-up runs: enough for every kind of claim
PROGRAM = os.environ.get("SGDSCOPE", str(ROOT / "build/release/sgdscope"))


def study(figure: Figure, size: str = "quick") -> Study:
    """The study of what a figure runs, with as many seeds as its claims need to be decided."""
    _, paper, name = figure.draw.__module__.split(".")
    found = study_of(paper, name, size)
    return found if len(found.seeds) >= len(SEEDS) else replace(found, seeds=SEEDS)


def named(figure: Figure, name: str, size: str = "quick") -> Setting:
    """A setting of a figure by its name."""
    (found,) = [setting for setting in study(figure, size).settings if setting.name == name]
    return found


def csv_text(columns: Mapping[str, Sequence[float]]) -> str:
    """A CSV file as the program writes it: shortest numbers, empty cells for NaN."""
    rows = zip(*[np.asarray(values).tolist() for values in columns.values()])
    lines = [",".join(map(repr, row)).replace("nan", "") for row in rows]
    return "".join(line + "\n" for line in [",".join(columns), *lines])


def falling_loss(steps: int) -> np.ndarray:
    """A loss that falls like that of a network."""
    return 2.3 / np.sqrt(1 + np.arange(steps) / 20)


def wobble(name: str, seed: int) -> float:
    """A factor that differs from 1 by less than 1e-10, another one for each setting and seed.

    Without it made-up numbers would differ by just as much with all seeds, of which no more is concluded than from signs.
    """
    return 1 + 1e-10 * (zlib.crc32(f"{name} {seed}".encode()) / 2**32 - 0.5)


class RunFolders(unittest.TestCase):
    """A temporary folder to make runs in."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def make(
        self,
        name: str,
        metrics: Mapping[str, Sequence[float]],
        evaluations: Mapping[str, Sequence[float]] | None = None,
        hidden: int = 64,
        config: Mapping[str, Any] | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes a run folder and returns its path. `config` and `manifest` are added to what is there anyway."""
        folder = self.root / name
        folder.mkdir(parents=True)
        whole_config = {"name": name, "model": {"name": "mlp", "hidden": [hidden]}, **(config or {})}
        (folder / "config.json").write_text(json.dumps(whole_config))
        (folder / "manifest.json").write_text(json.dumps({"status": "done", **(manifest or {})}))
        (folder / "metrics.csv").write_text(csv_text(metrics))
        if evaluations is not None:
            (folder / "eval.csv").write_text(csv_text(evaluations))
        return str(folder)

    def write_snapshot(self, folder: str, step: int, theta: np.ndarray) -> None:
        """A safetensors file in which something comes before theta."""
        of_theta = {"dtype": "F64", "shape": [theta.size], "data_offsets": [8, 8 + 8 * theta.size]}
        header = {
            "__metadata__": {"step": "0"},
            "g": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
            "theta": of_theta,
        }
        text = json.dumps(header).encode()
        file = self.root / "runs" / folder / "snapshots" / f"step_{step}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(len(text).to_bytes(8, "little") + text + b"\xff" * 8 + theta.tobytes())

    def results(self, figure: Figure, size: str = "quick") -> Results:
        """What came of a figure's jobs."""
        found = study(figure, size)
        return Results(found, [load_outcome(job, self.root / "runs") for job in found.jobs()])

    def judge(self, figure: Figure, size: str = "quick") -> list[Claim]:
        """The figure's claims, no two of which say the same."""
        found = list(figure.claims(self.results(figure, size)))
        self.assertEqual(len({(claim.says, claim.place, claim.quantity) for claim in found}), len(found))
        return found

    def assert_verdicts(self, figure: Figure, *expected: Verdict) -> None:
        """Asserts the verdicts of the claims, in their order."""
        claims = self.judge(figure)
        told = "\n".join(f"{claim.verdict.value}: {claim.says} {claim.measured}" for claim in claims)
        self.assertEqual([claim.verdict for claim in claims], list(expected), told)
