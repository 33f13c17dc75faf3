"""The work of noise_enhancement: plain and noise-enhanced steps (equation 6) of its network F1."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sgdscope.peers.data import Dataset, Shuffle
from sgdscope.peers.pytorch import PlainStep, candidates_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio

HIDDEN = (500,) * 7
BATCH_SIZES = (100, 1000)
ALPHA = 2.0

BENCHMARKS = {"PlainStepF1": "plain", "NoiseEnhancedStepF1": "noise enhanced"}
MIN_SPEEDUP = 1.0
MAX_COST = 2.1


class TwoLosses(PlainStep):
    """Descends along alpha grad L_B + (1 - alpha) grad L_B', B' from a shuffle of its own: two forward passes."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int) -> None:
        super().__init__(hidden, data, batch_size)
        self.second = Shuffle(len(data.images), data.images.device, batch_size)

    def enhanced_loss(self, first: Tensor, second: Tensor) -> Tensor:
        return ALPHA * self.loss_of(self.fetch(first)) + (1 - ALPHA) * self.loss_of(self.fetch(second))

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.enhanced_loss(self.shuffle.next(), self.second.next())
        loss.backward()
        self.optimizer.step()
        self.kept = loss.detach()


class JoinedBatch(TwoLosses):
    """The noise-enhanced step in one forward pass over both batches, whose examples have different weights."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int) -> None:
        super().__init__(hidden, data, batch_size)
        weights = torch.tensor([ALPHA, 1 - ALPHA], device=data.images.device) / batch_size
        self.weights = weights.repeat_interleave(batch_size)

    def enhanced_loss(self, first: Tensor, second: Tensor) -> Tensor:
        inputs, labels = self.fetch(torch.cat([first, second]))
        return functional.cross_entropy(self.model(inputs), labels, reduction="none") @ self.weights


# PyTorch's ways: the kind of step, how the variant's name ends, and the step.
WAYS = (
    ("plain", "", PlainStep),
    ("noise enhanced", ", two losses", TwoLosses),
    ("noise enhanced", ", joined batch", JoinedBatch),
)


def pytorch_candidates(batch_size: int, data: Dataset, turns: Turns) -> list[Candidate]:
    """Every way to each kind of step with both kinds of data, each with a network of its own from the same seed."""
    return candidates_of(WAYS, HIDDEN, data, turns, batch_size)


def measure(batch_size: int, data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch and sgdscope on F1 in batches of this size."""
    benchmarks = {f"{name}/{batch_size}": kind for name, kind in BENCHMARKS.items()}
    peers = pytorch_candidates(batch_size, data, turns)
    return measure_beside(f"F1, batches of {batch_size}", peers, ours, benchmarks, turns)


def targets_of(measured: Measured) -> list[Target]:
    """Each target for this batch size; none without sgdscope's side."""
    name = measured.network
    plain, enhanced = (measured.best(SGDSCOPE, kind) for kind in BENCHMARKS.values())
    if not plain:
        return []
    targets = [Target(f"{name}: sgdscope, noise enhanced / plain step", ratio(enhanced, plain), MAX_COST, False)]
    for kind in BENCHMARKS.values():
        speedup = ratio(measured.best(PYTORCH, kind), measured.best(SGDSCOPE, kind))
        targets.append(Target(f"{name}: {kind} step, PyTorch / sgdscope", speedup, MIN_SPEEDUP, True))
    return targets


def report(results: Sequence[Measured]) -> str:
    """One line for each batch size and kind of step, then what the noise costs in PyTorch."""
    lines = [
        f"{'network':<23}{'step':<16}{'sgdscope ms':>12}{'PyTorch ms':>12}  {'variant':<22}PyTorch / sgdscope (rounds)"
    ]
    for measured in results:
        for kind in BENCHMARKS.values():
            best, ours = measured.best(PYTORCH, kind), measured.best(SGDSCOPE, kind)
            columns = f"{statistics.median(ours) / 1e3:12.2f}" if ours else f"{'-':>12}"
            columns += f"{statistics.median(best) / 1e3:12.2f}  {measured.best_variant(PYTORCH, kind):<22}"
            lines.append(f"{measured.network:<23}{kind:<16}{columns}{ratio(best, ours) if ours else '-'}")
    lines += ["", "PyTorch, noise enhanced / plain step:"]
    for measured in results:
        cost = ratio(measured.best(PYTORCH, "noise enhanced"), measured.best(PYTORCH, "plain"))
        lines.append(f"  {measured.network} {cost}")
    return "\n".join(lines)
