"""The network of a run as a `torch.nn.Module`, whose parameters lie in the order of theta.

Its modules are named as the program names layers; convolutions and linear layers have weights in the same layout.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdscope.errors import DATA, Error

SHAPES = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "identity": nn.Identity}
BLOCKS = {"resnet18": ((2, 2, 2, 2), 0, 1), "wide_resnet50_2": ((3, 4, 6, 3), 2, 4)}  # a group, bottleneck, expansion
WITHOUT = ("none", "skipinit")  # values of `norm` with biases in place of normalization

Layers = OrderedDict[str, nn.Module]


class GhostNorm(nn.BatchNorm2d):
    """Batch normalization of so many examples at a time; the last may be fewer."""

    def __init__(self, channels: int, momentum: float, ghost: int) -> None:
        super().__init__(channels, momentum=momentum)
        self.ghost = ghost

    def forward(self, h: Tensor) -> Tensor:
        if not self.training:
            return super().forward(h)
        return torch.cat([super(GhostNorm, self).forward(part) for part in h.split(self.ghost)])


class Gain(nn.Module):
    """One number, which starts at 0, at the end of a residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, h: Tensor) -> Tensor:
        return self.weight * h


class Residual(nn.Module):
    """shortcut(h) + branch(h)."""

    def __init__(self, branch: Layers, shortcut: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(branch)
        self.shortcut = nn.Sequential(shortcut)

    def forward(self, h: Tensor) -> Tensor:
        return self.shortcut(h) + self.branch(h)


class Builder:
    """Makes the layers of a model from its fields in the resolved config."""

    def __init__(self, model: Mapping[str, Any], shape: Sequence[int], classes: int) -> None:
        self.model, self.shape, self.classes = model, tuple(shape), classes
        self.norm = model.get("norm", "none")
        self.layers: Layers = OrderedDict()

    def build(self) -> nn.Sequential:
        """The whole network."""
        makers = {"mlp": self.mlp, "convnet": self.convnet, "vgg": self.vgg, "wide_resnet": self.wide_resnet}
        makers |= dict.fromkeys(("alexnet", "alexnet_small"), self.alexnet) | dict.fromkeys(BLOCKS, self.resnet)
        name = self.model["name"]
        if name not in makers:
            raise Error("model", f"'{name}' has no twin in PyTorch", f"those that have one: {', '.join(makers)}", DATA)
        makers[name]()
        return nn.Sequential(self.layers)

    def mlp(self) -> None:
        self.end(self.model["hidden"], self.model["activation"], self.model["bias"])

    def convnet(self) -> None:
        inputs, kernel, pool = self.shape[0], self.model["kernel"], self.model["pool"]
        for i, outputs in enumerate(self.model["channels"], 1):
            self.layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=self.model["bias"])
            self.layers[f"activation{i}"] = ACTIVATIONS[self.model["activation"]]()
            if pool > 1:
                self.layers[f"pool{i}"] = nn.MaxPool2d(pool)
            inputs = outputs
        self.end(self.model["hidden"], self.model["activation"], self.model["bias"])

    def alexnet(self) -> None:
        inputs, channels = self.shape[0], self.model["channels"]
        stages = ((1, 3, 2, True), (3, 5, 1, True), (6, 3, 1, False), (4, 3, 1, False), (4, 3, 1, True))
        for i, (times, kernel, stride, pool) in enumerate(stages, 1):
            self.layers[f"conv{i}"] = nn.Conv2d(inputs, times * channels, kernel, stride, kernel // 2)
            self.layers[f"relu{i}"] = nn.ReLU()
            if pool:
                self.layers[f"pool{i}"] = nn.MaxPool2d(2)
            inputs = times * channels
        self.end([times * channels for times in ((64, 64) if self.model["name"] == "alexnet" else (4,))])

    def vgg(self) -> None:
        inputs = self.shape[0]
        for i, (depth, channels) in enumerate(zip(self.model["depths"], self.model["channels"]), 1):
            for j in range(1, depth + 1):
                self.normed(self.layers, f"stack{i}_conv{j}", inputs, channels, 3, 1)
                self.layers[f"stack{i}_relu{j}"] = nn.ReLU()
                inputs = channels
            self.layers[f"stack{i}_pool"] = nn.MaxPool2d(2)
        self.end(self.model["hidden"])

    def resnet(self) -> None:
        blocks, bottleneck, expansion = BLOCKS[self.model["name"]]
        inputs = self.model["channels"]
        self.normed(self.layers, "conv", self.shape[0], inputs, 3, 1)
        self.layers["relu"] = nn.ReLU()
        for group, count in enumerate(blocks):
            inner = self.model["channels"] << group
            for block in range(count):
                stride, outputs = 2 if group > 0 and block == 0 else 1, inner * expansion
                middle = inner * bottleneck
                convolutions = [(inputs, middle, 1, 1), (middle, middle, 3, stride), (middle, outputs, 1, 1)]
                if not bottleneck:
                    convolutions = [(inputs, inner, 3, stride), (inner, inner, 3, 1)]
                branch, shortcut = Layers(), Layers()
                for i, convolution in enumerate(convolutions, 1):
                    if i > 1:
                        branch[f"relu{i - 1}"] = nn.ReLU()
                    self.normed(branch, f"conv{i}", *convolution)
                self.end_branch(branch)
                if inputs != outputs or stride != 1:
                    self.normed(shortcut, "conv", inputs, outputs, 1, stride)
                name = f"group{group + 1}_block{block + 1}"
                self.layers[name] = Residual(branch, shortcut)
                self.layers[f"{name}_relu"] = nn.ReLU()
                inputs = outputs
        self.mean_and_linear(inputs)

    def wide_resnet(self) -> None:
        inputs = self.model["channels"]
        self.convolution(self.layers, "conv", self.shape[0], inputs, 3, 1)
        for group in range(3):
            outputs = self.model["channels"] * self.model["width"] << group
            for block in range((self.model["depth"] - 4) // 6):
                stride, name = 2 if group > 0 and block == 0 else 1, f"group{group + 1}_block{block + 1}"
                changes = inputs != outputs or stride != 1
                branch, shortcut = Layers(), Layers()
                prefix = f"{name}_" if changes else ""
                self.normalization(self.layers if changes else branch, f"{prefix}norm1", inputs)
                (self.layers if changes else branch)[f"{prefix}relu1"] = nn.ReLU()
                self.convolution(branch, "conv1", inputs, outputs, 3, stride)
                self.normalization(branch, "norm2", outputs)
                branch["relu2"] = nn.ReLU()
                self.convolution(branch, "conv2", outputs, outputs, 3, 1)
                self.end_branch(branch)
                if changes:
                    self.convolution(shortcut, "conv", inputs, outputs, 1, stride)
                self.layers[name] = Residual(branch, shortcut)
                inputs = outputs
        self.normalization(self.layers, "norm", inputs)
        self.layers["relu"] = nn.ReLU()
        self.mean_and_linear(inputs)

    def convolution(self, layers: Layers, name: str, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        """Keeps the image's size, but for the stride; has a bias where nothing normalizes."""
        layers[name] = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=self.norm in WITHOUT)

    def normalization(self, layers: Layers, name: str, channels: int) -> None:
        if self.norm in WITHOUT:
            return
        momentum = self.model["statistics_momentum"]
        ghost = self.norm == "ghost"
        layers[name] = GhostNorm(channels, momentum, self.model["ghost_batch_size"]) if ghost else nn.BatchNorm2d(
            channels, momentum=momentum
        )  # fmt: skip

    def normed(self, layers: Layers, name: str, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        self.convolution(layers, name, inputs, outputs, kernel, stride)
        self.normalization(layers, f"{name}_norm", outputs)

    def end_branch(self, branch: Layers) -> None:
        if self.norm in WITHOUT:
            branch["gain"] = Gain()

    def mean_and_linear(self, inputs: int) -> None:
        self.layers["mean"], self.layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.layers["linear"] = nn.Linear(inputs, self.classes)

    def end(self, hidden: Sequence[int], activation: str = "relu", bias: bool = True) -> None:
        """Fully connected layers behind what there is so far."""
        with torch.no_grad():
            before = nn.Sequential(self.layers)(torch.zeros(1, *self.shape))
        self.layers["flatten"] = nn.Flatten()
        inputs = before.numel()
        for i, outputs in enumerate((*hidden, self.classes), 1):
            self.layers[f"linear{i}"] = nn.Linear(inputs, outputs, bias=bias)
            if i <= len(hidden):
                self.layers[f"linear{i}_activation"] = ACTIVATIONS[activation]()
            inputs = outputs


def shape_and_classes(data: Mapping[str, Any]) -> tuple[Sequence[int] | None, int | None]:
    """The shape of an example and the number of classes, where the config tells them."""
    name = data.get("name", "")
    if name == "synthetic":
        return data["shape"], data["classes"]
    classes = {"cifar100": 20 if data.get("labels") == "coarse" else 100, "arrays": data.get("classes")}
    return SHAPES.get(name), classes.get(name, 10)


def module_of(
    config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], shape: Sequence[int] | None, classes: int | None
) -> nn.Sequential:
    """The network of a config with a snapshot's theta, and a checkpoint's running statistics where there are any."""
    known = shape_and_classes(config["data"])
    shape, classes = shape or known[0], classes or known[1]
    if shape is None or classes is None:
        what = "doesn't tell the shape of an example and the number of classes"
        raise Error("data", f"the config {what}", "give them: run.module(step, shape=(1, 28, 28), classes=10)")
    theta = torch.from_numpy(arrays["theta"].copy())
    network = Builder(config["model"], shape, classes).build().to(theta.dtype)
    parameters = list(network.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    if size != theta.numel():
        what = f"theta has {theta.numel()} numbers, but the network for examples {list(shape)} has {size}"
        raise Error("model", what, "check shape and classes", DATA)
    nn.utils.vector_to_parameters(theta, parameters)
    if "running" in arrays:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        sizes = [norm.num_features for norm in norms for _ in range(2)]
        of_norms = torch.from_numpy(arrays["running"].copy()).split(sizes)
        for norm, mean, variance in zip(norms, of_norms[::2], of_norms[1::2]):
            norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
    return network
