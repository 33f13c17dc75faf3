"""The work of figure 3 of inherent_noise: a step that measures the Taylor penalty on three batches."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from sgdscope.peers.data import Dataset
from sgdscope.peers.pytorch import LEARNING_RATE, PlainStep, candidates_of, name_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio

WIDTHS = (64, 2000, 8000)
RECENT_LAG, LONG_AGO_LAG = 10, 300

BENCHMARKS = {"PlainStep": "plain", "TaylorStep": "taylor", "CsvRow": "csv"}

# The targets of bench/: PyTorch's time over ours for a plain step, and the cost of measuring as a share of ours.
MIN_SPEEDUP = {name_of([64]): 1.5, name_of([2000]): 1.0, name_of([8000]): 1.0}
MAX_TAYLOR, MAX_CSV = 4.2, 0.02


class TaylorStep(PlainStep):
    """A training step that measures equation 11 of inherent_noise on three batches."""

    def __init__(self, hidden: Sequence[int], data: Dataset) -> None:
        super().__init__(hidden, data)
        self.parameters = list(self.model.parameters())
        past = (self.shuffle.next() for _ in range(LONG_AGO_LAG))
        self.past = collections.deque(past, maxlen=LONG_AGO_LAG + 1)

    def __call__(self) -> None:
        self.past.append(self.shuffle.next())
        lags = (0, RECENT_LAG, LONG_AGO_LAG)
        batches = [self.fetch(self.past[-1 - lag]) for lag in lags]
        losses = [self.loss_of(batch) for batch in batches]
        gradients = [torch.autograd.grad(loss, self.parameters) for loss in losses]
        before = torch.stack([loss.detach() for loss in losses])
        dots = LEARNING_RATE * torch.stack([self.dot(gradient, gradients[0]) for gradient in gradients])
        for parameter, gradient in zip(self.parameters, gradients[0]):
            parameter.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            after = torch.stack([self.loss_of(batch) for batch in batches])
        delta_losses = before - after
        self.kept = torch.stack([dots, delta_losses, delta_losses - dots])

    @staticmethod
    def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b)]).sum()


def pytorch_candidates(hidden: int, data: Dataset, turns: Turns) -> list[Candidate]:
    """Both kinds of step with both kinds of data, each with a network of its own from the same seed."""
    ways = [("plain", " data", PlainStep), ("taylor", " data", TaylorStep)]
    return candidates_of(ways, [hidden], data, turns)


def measure(hidden: int, data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch and sgdscope on the network with one hidden layer of `hidden` units."""
    benchmarks = {f"{name}/{hidden}": kind for name, kind in BENCHMARKS.items()}
    return measure_beside(name_of([hidden]), pytorch_candidates(hidden, data, turns), ours, benchmarks, turns)


def targets_of(measured: Measured) -> list[Target]:
    """Each target for this network; none without sgdscope's side."""
    name = measured.network
    plain, taylor, csv = (measured.best(SGDSCOPE, kind) for kind in ("plain", "taylor", "csv"))
    if not plain:
        return []
    return [
        Target(
            f"{name}: plain step, PyTorch / sgdscope",
            ratio(measured.best(PYTORCH, "plain"), plain),
            MIN_SPEEDUP[name],
            True,
        ),
        Target(f"{name}: sgdscope, Taylor step / plain step", ratio(taylor, plain), MAX_TAYLOR, False),
        Target(f"{name}: sgdscope, CSV row / plain step", ratio(csv, plain), MAX_CSV, False),
    ]


def report(results: Sequence[Measured]) -> str:
    return f"{table(results)}\n{pytorch_costs(results)}"


def table(results: Sequence[Measured]) -> str:
    """One line for each network and kind of step."""
    lines = [
        f"{'network':<13}{'step':<8}{'sgdscope µs':>13}{'PyTorch µs':>13}  {'variant':<12}PyTorch / sgdscope (rounds)"
    ]
    for measured in results:
        for kind in ("plain", "taylor"):
            best, ours = measured.best(PYTORCH, kind), measured.best(SGDSCOPE, kind)
            columns = f"{statistics.median(ours):13.1f}" if ours else f"{'-':>13}"
            columns += f"{statistics.median(best):13.1f}  {measured.best_variant(PYTORCH, kind):<12}"
            lines.append(f"{measured.network:<13}{kind:<8}{columns}{ratio(best, ours) if ours else '-'}")
        if csv := measured.best(SGDSCOPE, "csv"):
            lines.append(f"{measured.network:<13}{'csv row':<8}{statistics.median(csv):13.2f}{'-':>13}")
    return "\n".join(line.rstrip() for line in lines)


def pytorch_costs(results: Sequence[Measured]) -> str:
    """What measuring costs in PyTorch, as a ratio to its plain step."""
    lines = ["", "PyTorch, Taylor step / plain step:"]
    for measured in results:
        cost = ratio(measured.best(PYTORCH, "taylor"), measured.best(PYTORCH, "plain"))
        lines.append(f"  {measured.network:<12} {cost}")
    return "\n".join(lines)
