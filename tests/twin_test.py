#!/usr/bin/env python3
"""Tests that a run's network in PyTorch is the program's: losses and gradients of batches in float64, and evaluations.

SGDSCOPE names another program than build/release/sgdscope. Exit status 77: PyTorch is not here.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from run_folders import PROGRAM

if importlib.util.find_spec("torch") is None:
    sys.exit(77)

# isort: split
import torch
from torch import nn
from torch.nn import functional

from sgdscope.errors import Error
from sgdscope.runs import Run, open_run
from sgdscope.twin import Norm

SHAPE, CLASSES, EXAMPLES, BATCH = (3, 16, 16), 3, 24, 6
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [8, 5], "activation": "tanh"},
    "mlp_linear": {"name": "mlp", "hidden": [], "bias": False},
    "convnet": {"name": "convnet", "channels": [4, 5], "kernel": 5, "hidden": [7], "activation": "relu"},
    "alexnet": {"name": "alexnet", "channels": 2},
    "alexnet_small": {"name": "alexnet_small", "channels": 2},
    "vgg": {"name": "vgg", "depths": [2, 1], "channels": [3, 4], "hidden": [6], "norm": "batch"},
    "vgg_plain": {"name": "vgg", "depths": [1, 2], "channels": [3, 4], "norm": "none"},
    "resnet18": {"name": "resnet18", "channels": 2, "norm": "batch"},
    "resnet18_skipinit": {"name": "resnet18", "channels": 2, "norm": "skipinit"},
    "wide_resnet50_2": {"name": "wide_resnet50_2", "channels": 1, "norm": "batch"},
    "wide_resnet": {"name": "wide_resnet", "depth": 16, "width": 2, "channels": 2, "norm": "batch"},
    "wide_resnet_ghost": {"name": "wide_resnet", "depth": 10, "width": 1, "channels": 3, "norm": "ghost",
                          "ghost_batch_size": 3},
    "wide_resnet_skipinit": {"name": "wide_resnet", "depth": 10, "width": 1, "channels": 3, "norm": "skipinit"},
    "layers": {"name": "layers", "layers": [
        {"name": "conv2d", "channels": 4, "kernel": 4, "stride": 2, "padding": 3, "bias": False},
        {"name": "batch_norm", "ghost_batch_size": 3}, {"name": "relu"},
        {"name": "repeat", "times": 2, "label": "blocks", "layers": [
            {"name": "residual", "branch": [{"name": "conv2d", "channels": 5}, {"name": "tanh"}],
             "shortcut": [{"name": "conv2d", "channels": 5, "kernel": 1}]},
            {"name": "max_pool", "size": 3, "stride": 1}]},
        {"name": "flatten"}, {"name": "linear", "units": 6}, {"name": "batch_norm"}, {"name": "identity"},
        {"name": "linear", "bias": False}]},
    "layers_apart": {"name": "layers", "layers": [
        {"name": "layer_norm"}, {"name": "conv2d", "channels": 6, "stride": 2}, {"name": "group_norm", "groups": 3},
        {"name": "gelu"}, {"name": "average_pool", "size": 3, "stride": 2},
        {"name": "residual", "branch": [{"name": "conv2d", "channels": 6}, {"name": "scale"}]},
        {"name": "group_norm", "groups": 1}, {"name": "global_average_pool"}, {"name": "group_norm", "groups": 2},
        {"name": "linear", "units": 5}, {"name": "layer_norm"}, {"name": "gelu_tanh"}, {"name": "linear"}]},
    "layers_ghosts": {"name": "layers", "layers": [
        {"name": "conv2d", "channels": 4, "stride": 3}, {"name": "batch_norm", "ghost_batch_size": 2}, {"name": "gelu"},
        {"name": "average_pool"}, {"name": "batch_norm", "ghost_batch_size": 3}, {"name": "flatten"},
        {"name": "batch_norm"}, {"name": "linear"}]},
}  # fmt: skip
SMALL = ("layers", "layers_apart", "layers_ghosts")  # in which all kinds of layers are
STEPS = 5


class Twins(unittest.TestCase):
    """All runs are made once, on arrays of random numbers."""

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.root = Path(temporary.name)
        random = np.random.default_rng(1)
        cls.x, cls.y = random.normal(size=(EXAMPLES, *SHAPE)), random.integers(0, CLASSES, EXAMPLES)
        for split, part in (("train", slice(None)), ("test", slice(5, 19))):
            np.save(cls.root / f"{split}_inputs.npy", cls.x[part])
            np.save(cls.root / f"{split}_labels.npy", cls.y[part])
        cls.runs = {name: cls.make(name, model) for name, model in MODELS.items()}

    @classmethod
    def make(cls, name: str, model: dict[str, Any], changes: Mapping[str, Any] | None = None) -> Run:
        config = {"name": name, "seed": 1, "steps": STEPS, "batch_size": BATCH, "dtype": "float64", "model": model,
                  "data": {"name": "arrays", "path": str(cls.root), "normalize": "none", "classes": CLASSES},
                  "update": {"name": "sgd", "learning_rate": 0.05}, "output": str(cls.root / name),
                  "probes": [{"name": "snapshot", "steps": [0, STEPS - 1]}], **(changes or {})}  # fmt: skip
        file = cls.root / f"{name}.json"
        file.write_text(json.dumps(config))
        ended = subprocess.run([PROGRAM, "run", str(file), "--quiet"], capture_output=True, text=True)
        if ended.returncode != 0:
            raise AssertionError(ended.stderr)
        return open_run(str(cls.root / name))

    def test_every_model_has_a_twin(self) -> None:
        listed = subprocess.run([PROGRAM, "list", "models"], capture_output=True, text=True, check=True).stdout
        names = set(re.findall(r"^  (\w+):", listed, re.MULTILINE))
        self.assertEqual(names, {model["name"] for model in MODELS.values()})

    def test_every_layer_has_a_twin(self) -> None:
        listed = subprocess.run([PROGRAM, "list", "layers"], capture_output=True, text=True, check=True).stdout
        names = set(re.findall(r"^  (\w+):", listed, re.MULTILINE))

        def kinds(value: Any) -> set[str]:
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
            own = {value["name"]} if isinstance(value, dict) else set()
            return own.union(*map(kinds, parts))

        used = {kind for name, model in MODELS.items() if name in SMALL for kind in kinds(model["layers"])}
        self.assertEqual(names, used)

    def test_losses_and_gradients_of_batches(self) -> None:
        for name, run in self.runs.items():
            for step in (0, STEPS - 1):
                with self.subTest(name, step=step):
                    snapshot, module = run.snapshot(step), run.module(step)
                    batch = snapshot["batch.updating"]
                    loss = functional.cross_entropy(module(torch.tensor(self.x[batch])), torch.tensor(self.y[batch]))
                    loss.backward()
                    self.assertAlmostEqual(loss.item() / run.metrics["loss"][step], 1, delta=1e-12)
                    gradient = nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).numpy()
                    # Of fifty layers, each of which normalizes six examples, eps has grown by some thousands.
                    bound = (1e-12 if name in SMALL else 1e-11) * np.abs(snapshot["g"]).max()
                    np.testing.assert_allclose(gradient, snapshot["g"], rtol=0, atol=bound)

    def test_losses_and_gradients_of_targets(self) -> None:
        targets = np.random.default_rng(2).normal(size=(EXAMPLES, 2))
        np.save(self.root / "train_targets.npy", targets)
        np.save(self.root / "test_targets.npy", targets[5:19])
        data = {"name": "arrays", "path": str(self.root), "normalize": "none",
                "train_files": ["train_inputs.npy", "train_targets.npy"],
                "test_files": ["test_inputs.npy", "test_targets.npy"]}  # fmt: skip
        run = self.make("targets", MODELS["layers_apart"], {"data": data, "loss": "mean_squared_error"})
        for step in (0, STEPS - 1):
            snapshot, module = run.snapshot(step), run.module(step)
            batch = snapshot["batch.updating"]
            loss = functional.mse_loss(module(torch.tensor(self.x[batch])), torch.tensor(targets[batch]))
            loss.backward()
            self.assertAlmostEqual(loss.item() / run.metrics["loss"][step], 1, delta=1e-12)
            gradient = nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).numpy()
            bound = 1e-12 * np.abs(snapshot["g"]).max()
            np.testing.assert_allclose(gradient, snapshot["g"], rtol=0, atol=bound)
        assert run.evaluations is not None
        self.assertEqual([*run.evaluations.columns], ["step", "epoch", "train_loss", "test_loss"])
        with torch.no_grad():
            loss = functional.mse_loss(run.module().eval()(torch.tensor(self.x[5:19])), torch.tensor(targets[5:19]))
        self.assertAlmostEqual(loss.item() / run.evaluations["test_loss"][-1], 1, delta=1e-12)

    def test_evaluations_at_the_last_checkpoint(self) -> None:
        for name, run in self.runs.items():
            with self.subTest(name):
                module = run.module().eval()
                assert run.evaluations is not None
                with torch.no_grad():
                    logits = module(torch.tensor(self.x[5:19]))
                labels = torch.tensor(self.y[5:19])
                loss = functional.cross_entropy(logits, labels).item()
                self.assertAlmostEqual(loss / run.evaluations["test_loss"][-1], 1, delta=1e-12)
                accuracy = (logits.argmax(1) == labels).double().mean().item()
                self.assertAlmostEqual(accuracy, run.evaluations["test_accuracy"][-1], places=12)

    def test_the_state_fits_a_network_of_the_same_layers(self) -> None:
        state = self.runs["mlp"].module(0).state_dict()
        self.assertEqual([*state][:2], ["linear1.weight", "linear1.bias"])
        hand_made = nn.Sequential(
            nn.Flatten(), nn.Linear(768, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)
        )
        hand_made.double().load_state_dict(dict(zip(hand_made.state_dict(), state.values())))
        theta = nn.utils.parameters_to_vector(hand_made.parameters())
        np.testing.assert_array_equal(theta.detach().numpy(), self.runs["mlp"].snapshot(0)["theta"])

    def test_networks_of_older_runs_have_one_size_of_ghost_batches(self) -> None:
        file = self.runs["layers_ghosts"].folder / "network.json"
        text = file.read_text()
        self.addCleanup(file.write_text, text)
        network = json.loads(text)
        network["model"]["ghost_batch_size"] = 4
        for layer in network["model"]["layers"]:
            layer.pop("ghost_batch_size", None)
        for expected in ([2, 3, None], [4, 4, 4]):
            ghosts = [part.ghost for part in self.runs["layers_ghosts"].module(0).modules() if isinstance(part, Norm)]
            self.assertEqual(ghosts, expected)
            file.write_text(json.dumps(network))

    def test_a_layer_without_a_twin_is_named(self) -> None:
        folder = self.runs["mlp"].folder
        network = json.loads((folder / "network.json").read_text())
        self.addCleanup((folder / "network.json").write_text, json.dumps(network))
        changed = json.loads(json.dumps(network))
        changed["model"]["layers"][0]["name"] = "swish"
        (folder / "network.json").write_text(json.dumps(changed))
        with self.assertRaisesRegex(Error, "(?s)'swish' has no twin .* flatten"):
            self.runs["mlp"].module(0)
        changed["model"]["layers"][0] = {"name": "linear", "units": 4, "bias": True}
        changed["shape"] = [768]
        (folder / "network.json").write_text(json.dumps(changed))
        with self.assertRaisesRegex(Error, "layers have .* parameters, but theta has"):
            self.runs["mlp"].module(0)
        (folder / "network.json").unlink()
        with self.assertRaisesRegex(Error, "(?s)no such file.*--resume"):
            self.runs["mlp"].module(0)


if __name__ == "__main__":
    unittest.main()
