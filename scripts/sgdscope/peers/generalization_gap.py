"""The work of generalization_gap: a step that measures what it does to the gap (equations 6 to 9), on network F1."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch

from sgdscope.peers.data import Dataset, Shuffle
from sgdscope.peers.inherent_noise import TaylorStep
from sgdscope.peers.noise_enhancement import HIDDEN
from sgdscope.peers.pytorch import LEARNING_RATE, PlainStep, candidates_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio

BATCH_SIZE = 100
BENCHMARKS = {"PlainStepF1": "plain", "GapStepF1": "gap", "GapCovarianceStepF1": "gap, covariance"}

# The targets of bench/: PyTorch's time over ours, the whole step over a plain one, and what tr Sigma adds to it.
MIN_SPEEDUP, MAX_COST, MAX_COVARIANCE = 1.0, 2.5, 0.3


class GapStep(PlainStep):
    """A training step with the change of the gap on a batch of its own: predicted, and measured on both batches."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int) -> None:
        super().__init__(hidden, data, batch_size)
        self.test = Shuffle(len(data.images), data.images.device, batch_size)
        self.parameters = list(self.model.parameters())

    def __call__(self) -> None:
        batches = [self.fetch(self.test.next()), self.fetch(self.shuffle.next())]
        losses = [self.loss_of(batch) for batch in batches]
        of_test, of_batch = (torch.autograd.grad(loss, self.parameters) for loss in losses)
        before = torch.stack([loss.detach() for loss in losses])
        norm, dot = TaylorStep.dot(of_batch, of_batch), TaylorStep.dot(of_batch, of_test)
        for parameter, gradient in zip(self.parameters, of_batch):
            parameter.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            changes = torch.stack([self.loss_of(batch) for batch in batches]) - before
        self.kept = torch.stack([LEARNING_RATE * (norm - dot), changes[0] - changes[1], *changes])


def pytorch_candidates(data: Dataset, turns: Turns) -> list[Candidate]:
    """Both kinds of step with both kinds of data, each with a network of its own from the same seed."""
    ways = [("plain", " data", PlainStep), ("gap", " data", GapStep)]
    return candidates_of(ways, HIDDEN, data, turns, BATCH_SIZE)


def measure(data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch and sgdscope on F1."""
    benchmarks = {f"{name}/{BATCH_SIZE}": kind for name, kind in BENCHMARKS.items()}
    return measure_beside(f"F1, batches of {BATCH_SIZE}", pytorch_candidates(data, turns), ours, benchmarks, turns)


def targets_of(measured: Measured) -> list[Target]:
    """Each target; none without sgdscope's side."""
    name = measured.network
    plain, gap, covariance = (measured.best(SGDSCOPE, kind) for kind in BENCHMARKS.values())
    if not plain:
        return []
    added = [more - less for more, less in zip(covariance, gap)]
    return [
        Target(f"{name}: gap step, PyTorch / sgdscope", ratio(measured.best(PYTORCH, "gap"), gap), MIN_SPEEDUP, True),
        Target(f"{name}: sgdscope, gap step / plain step", ratio(gap, plain), MAX_COST, False),
        Target(f"{name}: sgdscope, what tr Sigma adds / plain step", ratio(added, plain), MAX_COVARIANCE, False),
    ]


def report(results: Sequence[Measured]) -> str:
    """One line for each kind of step that PyTorch takes, then what the gap costs in PyTorch."""
    (measured,) = results
    lines = [
        f"{'network':<23}{'step':<10}{'sgdscope ms':>12}{'PyTorch ms':>12}  {'variant':<14}PyTorch / sgdscope (rounds)"
    ]
    for kind in ("plain", "gap"):
        best, ours = measured.best(PYTORCH, kind), measured.best(SGDSCOPE, kind)
        columns = f"{statistics.median(ours) / 1e3:12.2f}" if ours else f"{'-':>12}"
        columns += f"{statistics.median(best) / 1e3:12.2f}  {measured.best_variant(PYTORCH, kind):<14}"
        lines.append(f"{measured.network:<23}{kind:<10}{columns}{ratio(best, ours) if ours else '-'}")
    cost = ratio(measured.best(PYTORCH, "gap"), measured.best(PYTORCH, "plain"))
    lines += ["", f"PyTorch, gap step / plain step: {cost}"]
    return "\n".join(lines)
