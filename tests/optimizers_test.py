#!/usr/bin/env python3
"""Update rules beside PyTorch's optimizers, step by step on a run's own gradients: python tests/optimizers_test.py"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path

try:
    import numpy as np
    import torch
except ImportError:
    print("skipped: this Python has no PyTorch")
    sys.exit(77)

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("SGDSCOPE", str(ROOT / "build/release/sgdscope"))
STEPS = 25

Optimizer = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


def snapshot(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of numbers of a safetensors file: the length of its header, the header, and the numbers."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:begin]).items():
        if entry.get("dtype") == "F64":
            first, end = entry["data_offsets"]
            found[name] = torch.tensor(np.frombuffer(data[begin + first : begin + end], "<f8"))
    return found


def snapshots(update: dict) -> list[dict[str, torch.Tensor]]:
    """theta, g and delta of each step of a run with this rule, on a small network in double precision."""
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "name": "optimizers", "seed": 4, "steps": STEPS, "batch_size": 9, "dtype": "float64",
            "data": {"name": "synthetic", "train_size": 45, "test_size": 5, "shape": [6], "classes": 4},
            "model": {"name": "mlp", "hidden": [8, 5]},
            "update": update,
            "probes": [{"name": "snapshot", "every": 1}],
            "output": f"{folder}/run",
        }  # fmt: skip
        file = Path(folder, "config.json")
        file.write_text(json.dumps(config))
        done = subprocess.run([PROGRAM, "run", str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [snapshot(Path(folder, f"run/snapshots/step_{step}.safetensors")) for step in range(STEPS)]


class Optimizers(unittest.TestCase):
    def compare(self, update: dict, make: Optimizer) -> None:
        """Theta of a run against an optimizer that is given the run's gradients, from its first weights on.

        A step rounds a few times numbers of the size of theta: 1e-14 is 45 units of 25 steps."""
        steps = snapshots(update)
        theta = steps[0]["theta"].clone().requires_grad_()
        optimizer = make([theta])
        for i, step in enumerate(steps):
            expected = theta.detach()
            difference = float((step["theta"] - expected).norm() / expected.norm())
            self.assertLessEqual(difference, 1e-14, f"step {i} of {update}")
            theta.grad = step["g"]
            optimizer.step()
        moved = float((theta.detach() - steps[0]["theta"]).norm() / theta.detach().norm())
        self.assertGreater(moved, 0.05, f"{update} went too little for its differences to be seen")

    def test_momentum_with_dampening(self) -> None:
        self.compare(
            {"name": "sgd", "learning_rate": 0.2, "momentum": 0.9, "dampening": 0.6, "weight_decay": 0.1},
            lambda theta: torch.optim.SGD(theta, lr=0.2, momentum=0.9, dampening=0.6, weight_decay=0.1),
        )

    def test_nesterov(self) -> None:
        self.compare(
            {"name": "sgd", "learning_rate": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
            lambda theta: torch.optim.SGD(theta, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
        )

    def test_adam(self) -> None:
        self.compare(
            {"name": "adam", "learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95},
            lambda theta: torch.optim.Adam(theta, lr=0.02, betas=(0.8, 0.95)),
        )

    def test_adamw(self) -> None:
        self.compare({"name": "adamw", "learning_rate": 0.02}, lambda theta: torch.optim.AdamW(theta, lr=0.02))
        self.compare(
            {"name": "adamw", "learning_rate": 0.02, "weight_decay": 2},
            lambda theta: torch.optim.AdamW(theta, lr=0.02, weight_decay=2),
        )

    def test_rmsprop(self) -> None:
        self.compare({"name": "rmsprop", "learning_rate": 0.01}, lambda theta: torch.optim.RMSprop(theta, lr=0.01))
        self.compare(
            {"name": "rmsprop", "learning_rate": 0.01, "beta2": 0.9, "epsilon": 0.01, "momentum": 0.7},
            lambda theta: torch.optim.RMSprop(theta, lr=0.01, alpha=0.9, eps=0.01, momentum=0.7),
        )


if __name__ == "__main__":
    unittest.main()
