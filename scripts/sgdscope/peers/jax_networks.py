"""Any list of layers in JAX: images in the order [n, height, width, channels], which XLA's convolutions on the CPU prefer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sgdscope.twin import Layer

EPSILON = 1e-5  # of batch normalization, as in PyTorch


class JaxNetwork:
    """A function from parameters, one array for each of PyTorch's in the same order, and inputs to outputs."""

    def __init__(self, jax: Any, layers: Sequence[Layer], reshaped: bool = False) -> None:
        self.jax, self.layers, self.reshaped = jax, layers, reshaped

    def __call__(self, parameters: Sequence[Any], inputs: Any) -> Any:
        return self.sequence(self.layers, iter(parameters), inputs)

    def sequence(self, layers: Sequence[Layer], parts: Iterator[Any], h: Any) -> Any:
        for layer in layers:
            h = self.layer(layer, parts, h)
        return h

    def layer(self, layer: Layer, parts: Iterator[Any], h: Any) -> Any:
        """What comes out of one layer, which takes its parameters from `parts`."""
        match layer["name"]:
            case "linear":
                h = h @ next(parts).T
                return h + next(parts) if layer["bias"] else h
            case "conv2d":
                return self.convolution(layer, parts, h)
            case "batch_norm":
                return self.normalized(h, next(parts), next(parts), layer.get("ghost_batch_size", len(h)))
            case "max_pool":
                return self.pooled(h, layer["size"])
            case "global_average_pool":
                return h.mean((1, 2))
            case "flatten":
                return h.transpose(0, 3, 1, 2).reshape(len(h), -1)
            case "residual":
                branch = self.sequence(layer["branch"], parts, h)
                return self.sequence(layer["shortcut"], parts, h) + branch
            case "scale":
                return next(parts) * h
            case "relu":
                return self.jax.nn.relu(h)
            case name:
                raise NotImplementedError(f"no '{name}' in JAX")

    def convolution(self, layer: Layer, parts: Iterator[Any], h: Any) -> Any:
        kernel, stride = layer["kernel"], layer["stride"]
        padding = [((kernel - 1) // 2,) * 2] * 2
        dimensions = ("NHWC", "HWIO", "NHWC")
        h = self.jax.lax.conv_general_dilated(h, next(parts), (stride, stride), padding, dimension_numbers=dimensions)
        return h + next(parts) if layer["bias"] else h

    def pooled(self, h: Any, size: int) -> Any:
        """The largest of size x size pixels. Of the reshaped images it is faster; but its derivative asks which of them equals the
        largest, and where XLA rounds what it computes again in another way, that may be none."""
        n, height, width, channels = h.shape
        if self.reshaped:
            return h.reshape(n, height // size, size, width // size, size, channels).max((2, 4))
        window = (1, size, size, 1)
        return self.jax.lax.reduce_window(h, -self.jax.numpy.inf, self.jax.lax.max, window, window, "VALID")

    def normalized(self, h: Any, gamma: Any, beta: Any, ghost: int) -> Any:
        """By the statistics of `ghost` images at a time, or of all."""
        ghosts = h.reshape(-1, min(ghost, len(h)), *h.shape[1:])
        mean = ghosts.mean((1, 2, 3), keepdims=True)
        variance = ghosts.var((1, 2, 3), keepdims=True)
        return ((ghosts - mean) * self.jax.lax.rsqrt(variance + EPSILON) * gamma + beta).reshape(h.shape)
