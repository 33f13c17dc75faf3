"""AlexNet, ResNet-18 and Wide-ResNet 10-1 on images of 3 x 32 x 32, in PyTorch: as models/ of sgdscope builds them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS, PIXELS, CLASSES = 3, 32, 10


class AlexNet(nn.Sequential):
    """Five convolutions, three fully connected layers."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = CHANNELS
        for outputs, kernel, stride, pool in ((64, 3, 2, True), (192, 5, 1, True), (384, 3, 1, False), (256, 3, 1, False),
                                              (256, 3, 1, True)):  # fmt: skip
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
            inputs = outputs
        layers += [nn.Flatten(), nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
        super().__init__(*layers, nn.Linear(4096, CLASSES))


def normed(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """A convolution without bias, then batch normalization."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """ResNet-18's block: activations after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = normed(inputs, outputs, 3, stride)
        self.second = normed(outputs, outputs, 3, 1)
        changes = inputs != outputs or stride != 1
        self.shortcut = normed(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        return functional.relu(self.shortcut(h) + self.second(functional.relu(self.first(h))))


class ResNet18(nn.Sequential):
    """The form for small images, with batch normalization."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [normed(CHANNELS, 64, 3, 1), nn.ReLU()]
        inputs = 64
        for group, outputs in enumerate((64, 128, 256, 512)):
            for block in range(2):
                layers.append(BasicBlock(inputs, outputs, 2 if group > 0 and block == 0 else 1))
                inputs = outputs
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


class SkipInitBlock(nn.Module):
    """A Wide-ResNet's block without normalization: a gain that starts at 0 ends the branch."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.gain = nn.Parameter(torch.zeros(1))
        changes = inputs != outputs or stride != 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else None

    def forward(self, h: Tensor) -> Tensor:
        active = functional.relu(h)
        branch = self.gain * self.second(functional.relu(self.first(active)))
        return (h if self.shortcut is None else self.shortcut(active)) + branch


class WideResNet(nn.Sequential):
    """Depth 10, widening factor 1, SkipInit."""

    def __init__(self) -> None:
        blocks = [SkipInitBlock(16, 16, 1), SkipInitBlock(16, 32, 2), SkipInitBlock(32, 64, 2)]
        super().__init__(
            nn.Conv2d(CHANNELS, 16, 3, 1, 1),
            *blocks,
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, CLASSES),
        )


NETWORKS: dict[str, type[nn.Module]] = {"AlexNet": AlexNet, "ResNet18": ResNet18, "WideResNet": WideResNet}
