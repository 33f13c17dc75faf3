"""Batch sharpness, E[gᵀ H g / |g|²] over fresh batches, on 784-256-256-256-10: a step with that of 100 batches."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from sgdscope.peers.data import Dataset, Shuffle
from sgdscope.peers.hessian import HIDDEN
from sgdscope.peers.pytorch import PlainStep, candidates_of, name_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Measured, Target, Turns, ratio

BATCHES = 100  # whose error is the same whoever measures them: so is the time to a given error, in ratio
SIZES = (8, 100)
BENCHMARK, KIND = "BatchSharpness3x256", "sharpness"

# The target of bench/: PyTorch's time over ours.
MIN_SPEEDUP = 5.0


class SharpnessStep(PlainStep):
    """A training step, and before it the sharpness of fresh batches by double backward, one after the other."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int) -> None:
        super().__init__(hidden, data, batch_size)
        self.fresh = Shuffle(len(data.images), data.images.device, batch_size)
        self.parameters = list(self.model.parameters())

    def sharpness_of(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        gradient = torch.autograd.grad(self.loss_of(batch), self.parameters, create_graph=True)
        along = [part.detach() for part in gradient]
        product = torch.autograd.grad(gradient, self.parameters, along)
        curvature = torch.stack([(v * hv).sum() for v, hv in zip(along, product)]).sum()
        return curvature / torch.stack([v.square().sum() for v in along]).sum()

    def __call__(self) -> None:
        values = torch.stack([self.sharpness_of(self.fetch(self.fresh.next())) for _ in range(BATCHES)])
        self.sharpness = values.mean(), values.std() / BATCHES**0.5
        super().__call__()


def measure(size: int, data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch and sgdscope with batches of this size."""
    peers = candidates_of([(KIND, " data", SharpnessStep)], HIDDEN, data, turns, size)
    return measure_beside(f"{name_of(HIDDEN)}, batches of {size}", peers, ours, {f"{BENCHMARK}/{size}": KIND}, turns)


def targets_of(measured: Measured) -> list[Target]:
    """PyTorch's time over ours; none without sgdscope's side."""
    ours = measured.best(SGDSCOPE, KIND)
    if not ours:
        return []
    speedup = ratio(measured.best(PYTORCH, KIND), ours)
    return [Target(f"{measured.network}: batch sharpness, PyTorch / sgdscope", speedup, MIN_SPEEDUP, True)]


def report(results: Sequence[Measured]) -> str:
    """One line for each size of batches."""
    lines = [
        f"a step with the sharpness of {BATCHES} batches",
        f"{'network':<42}{'sgdscope ms':>12}{'PyTorch ms':>12}  {'variant':<14}PyTorch / sgdscope (rounds)",
    ]
    for measured in results:
        best, ours = measured.best(PYTORCH, KIND), measured.best(SGDSCOPE, KIND)
        columns = f"{statistics.median(ours) / 1e3:12.2f}" if ours else f"{'-':>12}"
        columns += f"{statistics.median(best) / 1e3:12.2f}  {measured.best_variant(PYTORCH, KIND):<14}"
        lines.append(f"{measured.network:<42}{columns}{ratio(best, ours) if ours else '-'}")
    return "\n".join(lines)
