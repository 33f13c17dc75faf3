"""The same steps in JAX: one jit-compiled function each, per-example gradients by vmap(grad)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdscope.errors import MissingPeer
from sgdscope.peers.data import Shuffle
from sgdscope.peers.pytorch import LEARNING_RATE


def load_jax(device: str, threads: int) -> Any:
    """The module, with as many threads as PyTorch; settings are read at its first import."""
    if threads == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    os.environ |= {"NPROC": str(threads), "PJRT_NPROC": str(threads)}
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax
    except ImportError:
        raise MissingPeer("JAX", "not installed", "jax" if device == "cpu" else "'jax[cuda12]'") from None
    if device != "cpu" and jax.default_backend() == "cpu":
        raise MissingPeer("JAX", "sees no GPU", "'jax[cuda12]'")
    return jax


def as_jax(jax: Any, values: Tensor) -> Any:
    return jax.numpy.asarray(values.detach().cpu().numpy())


JaxData = tuple[Any, Any]  # images [n, 784] in 0..1, labels [n]


class JaxStep:
    """A training step that starts from a PyTorch network's weights. `kind`: plain, winsorized, norms or trace."""

    def __init__(self, jax: Any, model: nn.Sequential, data: JaxData, kind: str, percentile: float) -> None:
        self.jax, self.percentile = jax, percentile
        self.images, self.labels = data
        self.shuffle = Shuffle(len(self.images), torch.device("cpu"))
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        self.parameters = [tuple(as_jax(jax, part) for part in (layer.weight, layer.bias)) for layer in layers]
        self.evaluate = {
            "plain": self.plain, "winsorized": self.winsorized, "norms": self.norms, "trace": self.trace,
        }[kind]  # fmt: skip
        self.train = jax.jit(self.update)

    def __call__(self) -> None:
        indices = self.shuffle.next().numpy()
        self.parameters, self.kept = self.train(self.parameters, self.images, self.labels, indices)

    def finish(self) -> None:
        self.jax.block_until_ready(self.parameters)

    def value(self, indices: Tensor) -> Tensor:
        """What the step measures of a batch."""
        measured = self.train(self.parameters, self.images, self.labels, indices.cpu().numpy())[1]
        return torch.tensor(np.array(measured))

    def update(self, parameters: Any, images: Any, labels: Any, indices: Any) -> tuple[Any, Any]:
        """The next parameters, and what was measured."""
        gradient, measured = self.evaluate(parameters, images[indices], labels[indices])
        return self.jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradient), measured

    def loss(self, parameters: Any, x: Any, label: Any) -> Any:
        """The loss of one example."""
        for i, (weight, bias) in enumerate(parameters):
            x = weight @ (x if i == 0 else self.jax.nn.relu(x)) + bias
        return -self.jax.nn.log_softmax(x)[label]

    def per_example(self, parameters: Any, inputs: Any, labels: Any, axis: int) -> Any:
        """Gradients with the examples along `axis`."""
        return self.jax.vmap(self.jax.grad(self.loss), (None, 0, 0), axis)(parameters, inputs, labels)

    def plain(self, parameters: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        def loss_of_batch(parameters: Any) -> Any:
            return self.jax.vmap(self.loss, (None, 0, 0))(parameters, inputs, labels).mean()

        loss, gradient = self.jax.value_and_grad(loss_of_batch)(parameters)
        return gradient, loss

    def winsorized(self, parameters: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """The examples last, which XLA sorts faster than the examples first."""
        levels = self.jax.numpy.array([self.percentile, 100 - self.percentile])

        def reduce(values: Any) -> Any:
            bounds = self.jax.numpy.percentile(values, levels, axis=-1, method="nearest", keepdims=True)
            return self.jax.numpy.clip(values, *bounds).mean(-1)

        gradient = self.jax.tree.map(reduce, self.per_example(parameters, inputs, labels, -1))
        return gradient, self.jax.numpy.concatenate([part.ravel() for part in self.jax.tree.leaves(gradient)])

    def moments(self, parameters: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """The mean gradient, and |g_i|^2 [n]. A mean of its own leaves XLA free to form no g_i in memory."""
        gradients = self.per_example(parameters, inputs, labels, 0)
        squares = sum((part.reshape(len(inputs), -1) ** 2).sum(1) for part in self.jax.tree.leaves(gradients))
        return self.plain(parameters, inputs, labels)[0], squares

    def norms(self, parameters: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        mean, squares = self.moments(parameters, inputs, labels)
        return mean, self.jax.numpy.sqrt(squares)

    def trace(self, parameters: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        mean, squares = self.moments(parameters, inputs, labels)
        n, of_mean = len(inputs), sum((part**2).sum() for part in self.jax.tree.leaves(mean))
        return mean, (squares.sum() - n * of_mean) / (n - 1)
