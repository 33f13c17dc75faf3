"""Ways to the gradients of a batch's single losses in PyTorch; g_i is the gradient of example i's own loss.

Each way takes the model as made by pytorch.network and offers

  gradients  g, one [n, *shape] for each parameter
  blocks     g again, as blocks [weights, n], parameter by parameter. All but WholeOuterProducts lay the examples last
             in memory, in blocks that fit into the cache: selecting among them is 2 to 8 times faster so
  moments    |g_i|^2 [n], and the mean over i of g_i for each parameter
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgdscope.errors import MissingPeer

# Gradients in a block: 4 MB; on a GPU as many as torch.quantile takes in every version.
CPU_BLOCK, GPU_BLOCK = 1 << 20, 1 << 24

Moments = tuple[Tensor, Sequence[Tensor]]


def sum_of_losses(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="sum")


def weights_per_block(examples: Tensor) -> int:
    """How many weights' gradients make a block for a batch [n, ...]."""
    return max(1, (GPU_BLOCK if examples.is_cuda else CPU_BLOCK) // len(examples))


class OuterProducts:
    """g_i of a linear layer is delta_i x_i^T, with its input x_i and the loss' gradient delta_i by its output."""

    name = "outer products"

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model

    def factors(self, inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(delta [n, out], x [n, in]) of each linear layer."""
        layer_inputs, layer_outputs, hidden = [], [], inputs
        for layer in self.model:
            before, hidden = hidden, layer(hidden)
            if isinstance(layer, nn.Linear):
                layer_inputs.append(before.detach())
                layer_outputs.append(hidden)
        return list(zip(torch.autograd.grad(sum_of_losses(hidden, labels), layer_outputs), layer_inputs))

    def gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        factors = self.factors(inputs, labels)
        return [part for delta, x in factors for part in (torch.einsum("no,ni->noi", delta, x), delta)]

    def blocks(self, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """Formed block by block, so that [n, p] is never whole in memory."""
        for delta, x in self.factors(inputs, labels):
            by_output, by_input = delta.t().contiguous(), x.t().contiguous()  # [out, n], [in, n]
            for outputs in by_output.split(max(1, weights_per_block(inputs) // len(by_input))):
                yield (outputs.unsqueeze(1) * by_input).flatten(0, 1)
            yield by_output

    def moments(self, inputs: Tensor, labels: Tensor) -> Moments:
        """|delta_i x_i^T|^2 is |delta_i|^2 |x_i|^2."""
        squares, means = [], []
        for delta, x in self.factors(inputs, labels):
            squares.append(delta.square().sum(1) * (x.square().sum(1) + 1))
            means += [delta.t() @ x / len(x), delta.mean(0)]
        return torch.stack(squares).sum(0), means


class WholeOuterProducts(OuterProducts):
    """[n, p] as it is usually written: whole layers, the examples first."""

    name = "whole outer products"

    def blocks(self, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
        for gradient in self.gradients(inputs, labels):
            yield gradient.flatten(1).t()


class WholeGradients:
    """What follows from gradients [n, *shape] that come whole."""

    def gradients(self, inputs: Tensor, labels: Tensor) -> Sequence[Tensor]:
        raise NotImplementedError

    def blocks(self, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
        for gradient in self.gradients(inputs, labels):
            for block in gradient.flatten(1).split(weights_per_block(inputs), dim=1):
                yield block.t().contiguous()

    def moments(self, inputs: Tensor, labels: Tensor) -> Moments:
        gradients = self.gradients(inputs, labels)
        norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
        return norms.square().sum(0), [gradient.mean(0) for gradient in gradients]


class TorchFunc(WholeGradients):
    """vmap(grad) of a functional call."""

    name = "torch.func"

    def __init__(self, model: nn.Sequential) -> None:
        try:
            from torch.func import functional_call, grad, vmap
        except ImportError:
            raise MissingPeer(self.name, f"not in PyTorch {torch.__version__}", "'torch>=2'") from None
        self.parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def loss_of_one(parameters: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(model, parameters, (x.unsqueeze(0),))
            return sum_of_losses(logits, label.unsqueeze(0))

        self.gradients_of = vmap(grad(loss_of_one), in_dims=(None, 0, 0))

    def gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        return list(self.gradients_of(self.parameters, inputs, labels).values())


class Opacus(WholeGradients):
    """GradSampleModule, whose hooks leave per-example gradients beside each parameter's own."""

    name = "Opacus"

    def __init__(self, model: nn.Sequential) -> None:
        self.module = opacus("GradSampleModule")(model, loss_reduction="sum")
        self.parameters = list(model.parameters())

    def gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        sum_of_losses(self.module(inputs), labels).backward()
        gradients = [parameter.grad_sample for parameter in self.parameters]
        self.module.zero_grad(set_to_none=True)
        return gradients


class OpacusGhostNorms:
    """Opacus' norms without gradients ('ghost clipping'): moments only."""

    name = "Opacus, ghost norms"

    def __init__(self, model: nn.Sequential) -> None:
        module = opacus("GradSampleModuleFastGradientClipping")
        self.module = module(model, max_grad_norm=1.0, use_ghost_clipping=True, loss_reduction="sum")
        self.parameters = list(model.parameters())

    def moments(self, inputs: Tensor, labels: Tensor) -> Moments:
        sum_of_losses(self.module(inputs), labels).backward()
        squares = self.module.get_norm_sample().square()
        means = [parameter.grad / len(inputs) for parameter in self.parameters]
        self.module.zero_grad(set_to_none=True)
        return squares, means


def opacus(name: str) -> type[nn.Module]:
    """The class of opacus.grad_sample with this name, or a MissingPeer."""
    try:
        from opacus import grad_sample
    except ImportError:
        raise MissingPeer("Opacus", "not installed", "opacus") from None
    warnings.filterwarnings("ignore", message="Full backward hook is firing")  # inputs need no gradient, indeed
    return getattr(grad_sample, name)
