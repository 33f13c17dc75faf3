"""Run folders that tests of the Python scripts make up. Importing this puts scripts/ into the path."""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

NAN = float("nan")


def csv_text(columns: Mapping[str, Sequence[float]]) -> str:
    """A CSV file as the program writes it: shortest numbers, empty cells for NaN."""
    rows = zip(*[np.asarray(values).tolist() for values in columns.values()])
    lines = [",".join("" if value != value else repr(value) for value in row) for row in rows]
    return "".join(line + "\n" for line in [",".join(columns), *lines])


def falling_loss(steps: int) -> np.ndarray:
    """A loss that falls like that of a network."""
    return 2.3 / np.sqrt(1 + np.arange(steps) / 20)


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
