#!/usr/bin/env python3
"""Networks that begin with PyTorch's weights, and their logits beside PyTorch's: python tests/state_dict_test.py"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path

try:
    import numpy as np
    import torch
except ImportError:
    print("skipped: this Python has no PyTorch")
    sys.exit(77)

from torch import nn

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("SGDSCOPE", str(ROOT / "build/release/sgdscope"))
CLASSES = 10
TRAIN = 5  # examples
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
CLOSE = 1e-11  # relative: some hundred roundings of double precision


def save(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Writes what safetensors.torch.save_file would."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        content = tensor.contiguous().view(torch.uint8) if tensor.dim() > 0 else tensor.reshape(1).view(torch.uint8)
        begin, data = len(data), data + content.numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def load(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a snapshot."""
    data = file.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            numbers = {"F64": "<f8", "I64": "<i8"}[entry["dtype"]]
            found[name] = np.frombuffer(data[begin + first : begin + end], numbers)
    return found


class Block(nn.Module):
    """Two convolutions beside a shortcut, with the names that torchvision gives them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(branch + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 for small images, with torchvision's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        inputs = channels
        for group in range(4):
            outputs = channels << group
            stride = 1 if group == 0 else 2
            setattr(
                self, f"layer{group + 1}", nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1))
            )
            inputs = outputs
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        for group in range(4):
            x = getattr(self, f"layer{group + 1}")(x)
        return self.fc(x.mean((2, 3)))


def alexnet(channels: int) -> nn.Sequential:
    """The program's AlexNet for images of 32 x 32 pixels."""
    c, hidden = channels, 64 * channels
    return nn.Sequential(
        nn.Conv2d(3, c, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c, 3 * c, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3 * c, 6 * c, 3, 1, 1), nn.ReLU(), nn.Conv2d(6 * c, 4 * c, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(4 * c, 4 * c, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * c, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES),
    )  # fmt: skip


def vgg() -> nn.Sequential:
    """A small VGG with batch normalization."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, 1, 1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(5 * 64, CLASSES),
    )  # fmt: skip


def perturbed(model: nn.Module) -> nn.Module:
    """The model in double precision, with normalization that has been trained."""
    for name, tensor in model.state_dict().items():
        if "num_batches" not in name and tensor.dim() == 1:
            tensor.add_(torch.rand_like(tensor))
    return model.double()


class StateDict(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(3)
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        pixels = np.random.default_rng(1).integers(0, 256, (2, TRAIN, 3, 32, 32), np.uint8)
        self.labels = np.random.default_rng(2).integers(0, CLASSES, (2, TRAIN))
        for file, images, labels in zip(("train.bin", "test.bin"), pixels, self.labels):
            records = [bytes([label]) + image.tobytes() for image, label in zip(images, labels)]
            (self.folder / file).write_bytes(b"".join(records))
        self.images = torch.tensor(pixels).double() / 255

    def run_program(self, model: dict, status: int = 0) -> str:
        """A run that does not move, one example a step, from the weights that lie in the folder."""
        config = {
            "name": "state_dict", "steps": TRAIN, "batch_size": 1, "dtype": "float64",
            "data": {"name": "cifar10", "path": str(self.folder), "train_files": ["train.bin"], "test_files": ["test.bin"]},
            "model": model, "loss": "mean_squared_error", "init": {"from": str(self.folder / "weights.safetensors")},
            "update": {"name": "sgd", "learning_rate": 1e-300}, "eval": {"every": TRAIN},
            "probes": [{"name": "snapshot", "every": 1}], "output": str(self.folder / "run"),
        }  # fmt: skip
        (self.folder / "config.json").write_text(json.dumps(config))
        command = [PROGRAM, "run", str(self.folder / "config.json"), "--overwrite"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def compare(self, network: nn.Module, model: dict) -> None:
        """Logits of each example, and the mean squared error that evaluations find.

        The loss |z - e|^2 / 10 of a single example has the gradient (z - e) / 5 by the last bias."""
        self.run_program(model)
        network.double().train()
        with torch.no_grad():
            for step in range(TRAIN):
                snapshot = load(self.folder / f"run/snapshots/step_{step}.safetensors")
                example = int(snapshot["batch.updating"][0])
                found = 5 * snapshot["g"][-CLASSES:]
                found[self.labels[0][example]] += 1
                expected = network(self.images[0][example : example + 1])[0].numpy()
                self.assertLess(np.linalg.norm(found - expected), CLOSE * np.linalg.norm(expected), step)
        with (self.folder / "run/eval.csv").open() as rows:
            first = next(csv.DictReader(rows))
        # Fresh statistics of the batches above are no part of the weights.
        network.load_state_dict(self.saved)
        network.eval()
        with torch.no_grad():
            for split, column in enumerate(("train_loss", "test_loss")):
                target = nn.functional.one_hot(torch.tensor(self.labels[split]), CLASSES)
                expected = float((network(self.images[split]) - target).square().mean())
                self.assertAlmostEqual(float(first[column]) / expected, 1, delta=CLOSE)

    def check(self, network: nn.Module, model: dict) -> None:
        self.saved = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        save(self.saved, self.folder / "weights.safetensors")
        self.compare(network, model)

    def test_fully_connected(self) -> None:
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 10)
        )
        model = {"name": "mlp", "hidden": [7, 5], "activation": "tanh"}
        self.check(network.double(), model)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            self.check(network.to(dtype), model)

    def test_alexnet(self) -> None:
        self.check(alexnet(2).double(), {"name": "alexnet", "channels": 2})

    def test_vgg(self) -> None:
        self.check(perturbed(vgg()), {"name": "vgg", "depths": [1, 1], "channels": [4, 5]})

    def test_torchvisions_resnet(self) -> None:
        self.check(perturbed(ResNet18(3)), {"name": "resnet18", "channels": 3})

    def test_damage_and_other_networks(self) -> None:
        network = nn.Sequential(nn.Linear(3072, 7), nn.ReLU(), nn.Linear(7, 10)).double()
        model = {"name": "mlp", "hidden": [7]}
        file = self.folder / "weights.safetensors"
        save(network.state_dict(), file)
        told = self.run_program({"name": "mlp", "hidden": [8]}, status=2)
        self.assertIn("init.from", told)
        self.assertIn("0.weight is [7, 3072], must be [8, 3072]", told)
        file.write_bytes(file.read_bytes()[:-8])
        self.assertIn("weights.safetensors", self.run_program(model, status=3))
        file.write_bytes(b"PK\3\4 as torch.save writes it")
        self.assertIn("save_file", self.run_program(model, status=3))


if __name__ == "__main__":
    unittest.main()
