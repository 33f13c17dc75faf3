"""The work of implicit_regularization, and of inherent_noise's image networks: plain steps, and the step with the
gradient-norm penalty by double backpropagation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgdscope.peers.image_networks import CHANNELS, CLASSES, NETWORKS, PIXELS
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio, synchronize, timed

BATCH_SIZE = 32
LEARNING_RATE, LAMBDA = 0.01, 0.01

# Our benchmarks and their kinds of step, by network.
BENCHMARKS = {
    "AlexNet": {"PlainStepAlexNet": "plain"},
    "ResNet18": {"PlainStepResNet18": "plain", "TaylorStepResNet18": "taylor"},
    "WideResNet": {
        "PlainStepWideResNet": "plain",
        "PenaltyStepWideResNet": "penalty",
        "PenaltyDifferenceStepWideResNet": "penalty by difference",
    },
}
MIN_SPEEDUP = 1.0
MAX_COSTS = {"taylor": 4.2, "penalty": 3.5, "penalty by difference": 2.1}


class ImageStep:
    """A plain training step on random images, as bytes in a set on the device."""

    def __init__(self, model: nn.Module, device: torch.device, layout: torch.memory_format) -> None:
        generator = torch.Generator().manual_seed(1)
        shape = (3200, CHANNELS, PIXELS, PIXELS)
        self.images = torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device)
        self.labels = torch.randint(CLASSES, (len(self.images),), generator=generator).to(device)
        self.layout = layout
        self.model = model.to(device=device, memory_format=layout)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, lr=LEARNING_RATE)

    def loss(self) -> Tensor:
        """The loss of a random batch."""
        indices = torch.randint(len(self.images), (BATCH_SIZE,)).to(self.images.device)
        inputs = self.images.index_select(0, indices).float().div_(255).contiguous(memory_format=self.layout)
        return functional.cross_entropy(self.model(inputs), self.labels.index_select(0, indices))

    def gradients(self, loss: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(loss, self.parameters)

    def __call__(self) -> None:
        loss = self.loss()
        for parameter, gradient in zip(self.parameters, self.gradients(loss)):
            parameter.grad = gradient
        self.optimizer.step()
        self.kept = loss.detach()


class PenaltyStep(ImageStep):
    """Descends along the gradient of C + (lambda / 4) |grad C|^2."""

    def gradients(self, loss: Tensor) -> Sequence[Tensor]:
        first = torch.autograd.grad(loss, self.parameters, create_graph=True)
        products = torch.autograd.grad(first, self.parameters, [gradient.detach() for gradient in first])
        return [gradient.detach() + LAMBDA / 2 * product for gradient, product in zip(first, products)]


def pytorch_candidates(network: str, device: torch.device, turns: Turns) -> list[Candidate]:
    """Every kind of step that sgdscope's side has, in both orders of memory."""
    candidates = []
    kinds = {"plain": ImageStep, "penalty": PenaltyStep}
    for variant, layout in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        for kind, make_step in kinds.items():
            if kind not in BENCHMARKS[network].values():
                continue
            torch.manual_seed(1)
            step = make_step(NETWORKS[network](), device, layout)
            candidates.append(timed(PYTORCH, kind, variant, step, lambda: synchronize(device), turns))
    return candidates


def measure(network: str, device: torch.device, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch and sgdscope on one network."""
    return measure_beside(network, pytorch_candidates(network, device, turns), ours, BENCHMARKS[network], turns)


def targets_of(measured: Measured) -> list[Target]:
    """Each target for this network; none without sgdscope's side."""
    network, plain = measured.network, measured.best(SGDSCOPE, "plain")
    if not plain:
        return []
    speedup = ratio(measured.best(PYTORCH, "plain"), plain)
    targets = [Target(f"{network}: plain step, PyTorch / sgdscope", speedup, MIN_SPEEDUP, True)]
    for kind, bound in MAX_COSTS.items():
        if ours := measured.best(SGDSCOPE, kind):
            targets.append(Target(f"{network}: sgdscope, {kind} / plain step", ratio(ours, plain), bound, False))
    return targets


def report(results: Sequence[Measured]) -> str:
    """One line for each network and kind of step, then what the penalty costs in PyTorch."""
    lines = [
        f"{'network':<12}{'step':<23}{'sgdscope ms':>12}{'PyTorch ms':>12}  {'variant':<15}PyTorch / sgdscope (rounds)"
    ]
    for measured in results:
        for kind in BENCHMARKS[measured.network].values():
            best, ours = measured.best(PYTORCH, kind), measured.best(SGDSCOPE, kind)
            line = f"{measured.network:<12}{kind:<23}"
            line += f"{statistics.median(ours) / 1e3:12.1f}" if ours else f"{'-':>12}"
            if best:
                line += f"{statistics.median(best) / 1e3:12.1f}  {measured.best_variant(PYTORCH, kind):<15}"
                line += str(ratio(best, ours)) if ours else "-"
            else:
                line += f"{'-':>12}"
            lines.append(line.rstrip())
    for measured in results:
        if penalty := measured.best(PYTORCH, "penalty"):
            cost = ratio(penalty, measured.best(PYTORCH, "plain"))
            lines += ["", f"PyTorch, penalty / plain step: {measured.network} {cost}"]
    return "\n".join(lines)
