"""The networks on images, as lists of layers: those that models/ of sgdscope writes. And their modules in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sgdscope.twin import Builder, Gain, Layer

CHANNELS, PIXELS, CLASSES = 3, 32, 10
GHOST_BATCH = 100
COLOUR, GREY = (CHANNELS, PIXELS, PIXELS), (1, 28, 28)
GAIN = 0.5  # of residual branches, which at 0 would hide whatever stands in them

RELU: Layer = {"name": "relu"}
MAX_POOL: Layer = {"name": "max_pool", "size": 2}
GLOBAL_POOL: Layer = {"name": "global_average_pool"}


def conv(channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> Layer:
    return {"name": "conv2d", "channels": channels, "kernel": kernel, "stride": stride, "bias": bias}


def normed(channels: int, kernel: int = 3, stride: int = 1, **norm: int) -> list[Layer]:
    """A convolution without bias, then batch normalization."""
    return [conv(channels, kernel, stride, bias=False), {"name": "batch_norm", **norm}]


def residual(branch: list[Layer], shortcut: list[Layer]) -> Layer:
    return {"name": "residual", "branch": branch, "shortcut": shortcut}


def fully_connected(*hidden: int) -> list[Layer]:
    """Linear layers with ReLU between them; the last has an output for each class."""
    layers: list[Layer] = []
    for units in hidden:
        layers += [{"name": "linear", "units": units, "bias": True}, RELU]
    return [*layers, {"name": "linear", "bias": True}]


def alexnet() -> list[Layer]:
    """Five convolutions, three fully connected layers."""
    layers: list[Layer] = []
    for channels, kernel, stride, pool in ((64, 3, 2, True), (192, 5, 1, True), (384, 3, 1, False), (256, 3, 1, False),
                                           (256, 3, 1, True)):  # fmt: skip
        layers += [conv(channels, kernel, stride), RELU, *([MAX_POOL] if pool else [])]
    return [*layers, {"name": "flatten"}, *fully_connected(4096, 4096)]


def convnet() -> list[Layer]:
    """The convolutional network beside `coherent_gradients`."""
    return [conv(8), RELU, MAX_POOL, conv(16), RELU, MAX_POOL, {"name": "flatten"}, *fully_connected(64)]


def c1() -> list[Layer]:
    """The network C1 of `noise_enhancement`: ghost batches are normalized."""
    layers: list[Layer] = []
    for channels in (64, 128, 256):
        layers += [*[*normed(channels, ghost_batch_size=GHOST_BATCH), RELU] * 3, MAX_POOL]
    return [*layers, {"name": "flatten"}, *fully_connected()]


def resnet18() -> list[Layer]:
    """The form for small images, with batch normalization; activations after the sum."""
    layers, inputs = [*normed(64), RELU], 64
    for channels in (64, 64, 128, 128, 256, 256, 512, 512):
        stride = 1 if channels == inputs else 2
        branch = [*normed(channels, 3, stride), RELU, *normed(channels)]
        layers += [residual(branch, normed(channels, 1, stride) if stride == 2 else []), RELU]
        inputs = channels
    return [*layers, GLOBAL_POOL, *fully_connected()]


def wide_resnet(channels: int) -> list[Layer]:
    """Depth 10, widening factor 1, SkipInit: a gain ends each branch in place of normalization."""
    first = residual([RELU, conv(channels), RELU, conv(channels), {"name": "scale"}], [])
    layers = [conv(channels), first]
    for outputs in (2 * channels, 4 * channels):
        branch = [conv(outputs, 3, 2), RELU, conv(outputs), {"name": "scale"}]
        layers += [RELU, residual(branch, [conv(outputs, 1, 2)])]
    return [*layers, RELU, GLOBAL_POOL, *fully_connected()]


class GhostNorm(nn.BatchNorm2d):
    """Batch normalization of so many images at a time."""

    def __init__(self, channels: int, ghost: int) -> None:
        super().__init__(channels)
        self.ghost = ghost

    def forward(self, h: Tensor) -> Tensor:
        if len(h) <= self.ghost:
            return super().forward(h)
        return torch.cat([super(GhostNorm, self).forward(part) for part in h.split(self.ghost)])


class FastBuilder(Builder):
    """The twin, with batch normalization as users of PyTorch write it."""

    def module(self, layer: Layer, shape: Sequence[int]) -> nn.Module:
        if layer["name"] != "batch_norm":
            return super().module(layer, shape)
        ghost = layer.get("ghost_batch_size")
        return GhostNorm(shape[0], ghost) if ghost else nn.BatchNorm2d(shape[0])


def module_of(layers: Sequence[Layer], shape: Sequence[int]) -> nn.Sequential:
    """The layers, for examples of this shape, as PyTorch initializes them."""
    module = FastBuilder({}, CLASSES).sequence(layers, shape)
    for part in module.modules():
        if isinstance(part, Gain):
            nn.init.constant_(part.weight, GAIN)
    return module


@dataclass(frozen=True)
class Images:
    """A network on images: makes its layers; the shape of an example; the model's fields in a config of sgdscope."""

    layers: Callable[[], list[Layer]]
    shape: tuple[int, ...]
    model: dict[str, Any]

    def __call__(self) -> nn.Sequential:
        return module_of(self.layers(), self.shape)


SKIPINIT = {"name": "wide_resnet", "depth": 10, "width": 1, "norm": "skipinit"}
STACKS = {"depths": [3, 3, 3], "channels": [64, 128, 256], "norm": "ghost", "ghost_batch_size": GHOST_BATCH}
NETWORKS = {
    "ConvNet": Images(convnet, GREY, {"name": "convnet", "channels": [8, 16], "hidden": [64]}),
    "C1": Images(c1, COLOUR, {"name": "vgg", **STACKS}),
    "WideResNet": Images(partial(wide_resnet, 16), COLOUR, SKIPINIT),
    "WideResNet8": Images(partial(wide_resnet, 8), COLOUR, {**SKIPINIT, "channels": 8}),
    "ResNet18": Images(resnet18, COLOUR, {"name": "resnet18"}),
    "AlexNet": Images(alexnet, COLOUR, {"name": "alexnet"}),
}
