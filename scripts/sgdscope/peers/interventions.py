"""Estimators of interventions on 784-256-256-256-10: clipped gradients, beside Opacus' ghost clipping, noise and SAM."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sgdscope.errors import MissingPeer
from sgdscope.peers.coherent_gradients import HIDDEN, from_seed, note
from sgdscope.peers.data import BATCH_SIZE, CLASSES, INPUTS, Dataset
from sgdscope.peers.per_example import OuterProducts
from sgdscope.peers.pytorch import PlainStep, name_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio, synchronize, timed
from sgdscope.peers.winsorize import reference_gradients, relative_difference, rounding_bound

NORM = 1.0  # that no single gradient is longer than
RHO = 0.05
Batch = tuple[Tensor, Tensor]

# sgdscope's times as multiples of its own plain step, by benchmark: kind of step, bound.
MAX_COST = {
    "PlainStep3x256": ("plain step", None),
    "ClippedStep3x256/0": ("clipped", 1.25),
    "GaussianNoiseStep3x256": ("Gaussian noise", 1.5),
    "IsotropicNoiseStep3x256": ("isotropic noise", None),
    "SamStep3x256/100": ("sam", 2.1),
    "AsamStep3x256": ("asam", None),
}
BENCHMARKS = {benchmark: kind for benchmark, (kind, _) in MAX_COST.items()}


class GivenStep(PlainStep):
    """A step along another gradient than that of the loss."""

    def __init__(self, data: Dataset) -> None:
        super().__init__(HIDDEN, data)
        self.parameters = list(self.model.parameters())

    def gradient(self, batch: Batch) -> Sequence[Tensor]:
        """What is descended along, one for each parameter."""
        raise NotImplementedError

    def __call__(self) -> None:
        for parameter, part in zip(self.parameters, self.gradient(self.fetch(self.shuffle.next()))):
            parameter.grad = part
        self.optimizer.step()


class ClippedStep(GivenStep):
    """By one backward pass: norms and weighted products from each layer's inputs and output gradients."""

    def gradient(self, batch: Batch) -> Sequence[Tensor]:
        factors = OuterProducts(self.model).factors(*batch)
        squares = torch.stack([d.square().sum(1) * (x.square().sum(1) + 1) for d, x in factors]).sum(0)
        weights = (NORM / squares.sqrt()).clamp(max=1).div(len(squares)).unsqueeze(1)
        return [part for d, x in factors for part in ((d * weights).t() @ x, (d * weights).sum(0))]


class OpacusStep(GivenStep):
    """Opacus' ghost clipping: a backward pass for the norms, and one of the weighted losses."""

    def __init__(self, data: Dataset) -> None:
        super().__init__(data)
        try:
            from opacus.grad_sample import GradSampleModuleFastGradientClipping
            from opacus.optimizers import DPOptimizerFastGradientClipping
            from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
        except ImportError:
            raise MissingPeer("Opacus", "not installed", "opacus") from None
        warnings.filterwarnings("ignore", message="Full backward hook is firing")  # inputs need no gradient, indeed
        self.module = GradSampleModuleFastGradientClipping(self.model, max_grad_norm=NORM, use_ghost_clipping=True)
        self.private = DPOptimizerFastGradientClipping(
            self.optimizer, noise_multiplier=0.0, max_grad_norm=NORM, expected_batch_size=BATCH_SIZE
        )
        self.loss = DPLossFastGradientClipping(self.module, self.private, nn.CrossEntropyLoss())

    def gradient(self, batch: Batch) -> Sequence[Tensor]:
        self.private.zero_grad()
        self.loss(self.module(batch[0]), batch[1]).backward()
        self.private.pre_step()
        return [parameter.grad for parameter in self.parameters]


class SamStep(GivenStep):
    """The gradient at theta + rho g / |g|, by two passes."""

    def gradient(self, batch: Batch) -> Sequence[Tensor]:
        uphill = torch.autograd.grad(self.loss_of(batch), self.parameters)
        norm = torch.stack([part.square().sum() for part in uphill]).sum().sqrt()
        moves = torch._foreach_mul(uphill, RHO / norm)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, moves)
        found = torch.autograd.grad(self.loss_of(batch), self.parameters)
        with torch.no_grad():
            torch._foreach_sub_(self.parameters, moves)
        return found


def reference_clipped(gradients: np.ndarray) -> np.ndarray:
    """The mean [p] of single gradients [n, p] that are scaled down to NORM where they are longer."""
    return (gradients * np.minimum(1, NORM / np.linalg.norm(gradients, axis=1, keepdims=True))).mean(0)


def peers_of(data: Dataset, turns: Turns) -> tuple[list[Candidate], list[str]]:
    """PyTorch's and Opacus' steps that compute what they should, and what is to be said of others."""
    candidates, remarks = [], Measured("")
    ways: list[tuple[str, str, Callable[[Dataset], PlainStep]]] = [
        ("plain step", "PyTorch", lambda given: PlainStep(HIDDEN, given)),
        ("clipped", "outer products", ClippedStep),
        ("clipped", "Opacus, ghost clipping", OpacusStep),
        ("sam", "PyTorch", SamStep),
    ]
    for kind, variant, make in ways:
        try:
            step = from_seed(make, data)
        except MissingPeer as missing:
            note(remarks, missing)
            continue
        if isinstance(step, GivenStep) and kind == "clipped":
            batch = step.fetch(torch.arange(BATCH_SIZE, device=data.images.device))
            expected = reference_clipped(reference_gradients(step.model, *batch))
            found = torch.cat([part.flatten() for part in step.gradient(batch)])
            difference = relative_difference(found, expected)
            if difference > rounding_bound((INPUTS, *HIDDEN, CLASSES), BATCH_SIZE):
                remarks.remarks.append(f"not counted: {variant}, which is off by {difference:.1e} of double precision")
                continue
        candidates.append(timed(PYTORCH, kind, variant, step, lambda: synchronize(data.images.device), turns))
    return candidates, remarks.remarks


def measure(data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """PyTorch, Opacus and sgdscope."""
    peers, remarks = peers_of(data.as_float(), turns)
    measured = measure_beside(name_of(HIDDEN), peers, ours, BENCHMARKS, turns)
    measured.remarks += remarks
    return measured


def targets_of(measured: Measured) -> list[Target]:
    """sgdscope's steps over its plain one; none without its side."""
    plain = measured.best(SGDSCOPE, "plain step")
    return [
        Target(f"sgdscope, {kind} / plain step", ratio(times, plain), bound, False)
        for kind, bound in MAX_COST.values()
        if bound and (times := measured.best(SGDSCOPE, kind))
    ]


def report(results: Sequence[Measured]) -> str:
    """Of each kind of step every program's variants: microseconds, and over the plain step of the same program."""
    (measured,) = results
    lines = [measured.network, f"{'step':<18}{'program':<10}{'variant':<24}{'µs':>10}  / its plain step (rounds)"]
    for kind, _ in MAX_COST.values():
        for program in (SGDSCOPE, PYTORCH):
            for variant, times in measured.of(program, kind).items():
                over = ratio(times, measured.best(program, "plain step"))
                lines.append(f"{kind:<18}{program:<10}{variant or '-':<24}{statistics.median(times):10.1f}  {over}")
    return "\n".join([*lines, *measured.remarks])
