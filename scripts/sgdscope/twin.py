"""The network of a run as a `torch.nn.Module`, whose parameters lie in the order of theta.

It is made from the list of layers that the run keeps in network.json; its modules are named as the program names layers, with
_ in place of a dot. Convolutions and linear layers have weights in the same layout.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdscope.errors import DATA, Error

Layer = Mapping[str, Any]


class Norm(nn.BatchNorm1d):
    """Batch normalization of lists of numbers or of images; of `ghost` examples at a time, the last may be fewer."""

    def __init__(self, channels: int, momentum: float, ghost: int | None) -> None:
        super().__init__(channels, momentum=momentum)
        self.ghost = ghost

    def forward(self, h: Tensor) -> Tensor:
        flat = h.flatten(2) if h.dim() > 2 else h
        parts = flat.split(self.ghost) if self.training and self.ghost else [flat]
        return torch.cat([super(Norm, self).forward(part) for part in parts]).view_as(h)


class Gain(nn.Module):
    """One number, which starts at 0, at the end of a residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, h: Tensor) -> Tensor:
        return self.weight * h


class Residual(nn.Module):
    """shortcut(h) + branch(h)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, h: Tensor) -> Tensor:
        return self.shortcut(h) + self.branch(h)


class Builder:
    """Makes the modules of a list of layers; `model` has the fields of the model `layers`."""

    def __init__(self, model: Layer, classes: int) -> None:
        self.model, self.classes = model, classes

    def sequence(self, layers: Sequence[Layer], shape: Sequence[int]) -> nn.Sequential:
        """The layers one after another, for examples of this shape."""
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        count: Counter[str] = Counter()
        for layer in layers:
            kind = layer["name"]
            count[kind] += 1
            name = (layer.get("label") or f"{kind}{count[kind]}").replace(".", "_")
            modules[name] = self.module(layer, shape)
            shape = shape_behind(modules[name], shape)
        return nn.Sequential(modules)

    def module(self, layer: Layer, shape: Sequence[int]) -> nn.Module:
        """One layer, for examples of this shape."""
        match layer["name"]:
            case "linear":
                return nn.Linear(shape[0], layer.get("units", self.classes), bias=layer["bias"])
            case "conv2d":
                kernel = layer["kernel"]
                padding = layer.get("padding", (kernel - 1) // 2)
                return nn.Conv2d(shape[0], layer["channels"], kernel, layer["stride"], padding, bias=layer["bias"])
            case "batch_norm":
                # Of older runs the model has one for all of its layers.
                ghost = layer.get("ghost_batch_size", self.model.get("ghost_batch_size"))
                return Norm(shape[0], self.model["statistics_momentum"], ghost)
            case "layer_norm":
                return nn.LayerNorm(tuple(shape))
            case "group_norm":
                return nn.GroupNorm(layer["groups"], shape[0])
            case "max_pool":
                return nn.MaxPool2d(layer["size"], layer.get("stride"))
            case "average_pool":
                return nn.AvgPool2d(layer["size"], layer.get("stride"))
            case "global_average_pool":
                return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            case "residual":
                parts = (layer["branch"], layer["shortcut"])
                return Residual(*(self.sequence(part, shape) for part in parts))
            case "repeat":
                modules = nn.Sequential()
                for _ in range(layer["times"]):
                    modules.append(self.sequence(layer["layers"], shape))
                    shape = shape_behind(modules[-1], shape)
                return modules
            case kind if kind in SIMPLE:
                return SIMPLE[kind]()
            case kind:
                sized = (
                    "average_pool, batch_norm, conv2d, global_average_pool, group_norm, layer_norm, linear, max_pool"
                )
                known = f"{sized}, repeat, residual, {', '.join(SIMPLE)}"
                raise Error(
                    "network.json", f"the layer '{kind}' has no twin in PyTorch", f"those that have one: {known}", DATA
                )


SIMPLE: dict[str, Callable[[], nn.Module]] = {
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, "tanh"),
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "scale": Gain,
    "tanh": nn.Tanh,
}


def shape_behind(module: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape that an example of `shape` has behind the module."""
    training = module.training
    with torch.no_grad():
        behind = module.eval()(torch.zeros(1, *shape))
    module.train(training)
    return tuple(behind.shape[1:])


def module_of(network: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> nn.Sequential:
    """The network of a run's network.json with theta, and a checkpoint's running statistics where there are any."""
    theta = torch.from_numpy(arrays["theta"].copy())
    model = network["model"]
    module = Builder(model, network["classes"]).sequence(model["layers"], network["shape"]).to(theta.dtype)
    parameters = list(module.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    if size != theta.numel():
        what = f"the layers have {size} parameters, but theta has {theta.numel()} numbers"
        raise Error("network.json", what, "take network.json and the weights from the same run", DATA)
    nn.utils.vector_to_parameters(theta, parameters)
    if "running" in arrays:
        norms = [part for part in module.modules() if isinstance(part, Norm)]
        sizes = [norm.num_features for norm in norms for _ in range(2)]
        of_norms = torch.from_numpy(arrays["running"].copy()).split(sizes)
        for norm, mean, variance in zip(norms, of_norms[::2], of_norms[1::2]):
            norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
    return module
