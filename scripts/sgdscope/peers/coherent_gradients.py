"""The work of figure 4 of coherent_gradients: winsorized steps on 784-256-256-256-10, per-example norms and traces."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdscope.errors import MissingPeer
from sgdscope.peers.data import BATCH_SIZE, CLASSES, INPUTS, Dataset
from sgdscope.peers.jax_peer import JaxStep, as_jax, load_jax
from sgdscope.peers.per_example import Opacus, OpacusGhostNorms, OuterProducts, TorchFunc, WholeOuterProducts
from sgdscope.peers.pytorch import LEARNING_RATE, PlainStep, name_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench
from sgdscope.peers.timing import (
    JAX,
    PYTORCH,
    SGDSCOPE,
    Candidate,
    Measured,
    Target,
    Turns,
    measure_rounds,
    ratio,
    synchronize,
    timed,
)
from sgdscope.peers.winsorize import (
    REDUCTIONS,
    Reduction,
    by_topk,
    reference_gradients,
    reference_norms,
    reference_trace,
    reference_winsorized,
    relative_difference,
    rounding_bound,
)

HIDDEN = (256, 256, 256)
PERCENTILE = 2  # the peers'; their time hardly depends on it
WINSORIZED = f"winsorized_{PERCENTILE}"

# sgdscope's times as multiples of its own plain step, by benchmark: kind of step, bound.
MAX_COST = {
    "WinsorizedStep3x256/1": ("winsorized_1", 2.5),
    "WinsorizedStep3x256/2": ("winsorized_2", 3),
    "WinsorizedStep3x256/4": ("winsorized_4", 3.5),
    "WinsorizedStep3x256/8": ("winsorized_8", 5),
    "WinsorizedStep3x256/25": ("winsorized_25", 12),
    "WinsorizedStep3x256/50": ("winsorized_50", None),
    "CovarianceStep3x256/0": ("trace", 1.2),  # the norms are on the way to it
}
PLAIN = {"PlainStep3x256": "plain"}
OPTIONAL = {benchmark: kind for benchmark, (kind, _) in MAX_COST.items()}
MIN_SPEEDUP = 100  # PyTorch's fastest winsorized step over ours, at PERCENTILE

WAYS = (OuterProducts, TorchFunc, Opacus)
LABELS = {"plain": "plain step", "per_example": "per-example gradients", "norms": "norms", "trace": "covariance trace"}


# ------------------------------------------------------------------------------------------ the steps


class WayStep(PlainStep):
    """Has per-example gradients by one of the ways of per_example.py."""

    def __init__(self, data: Dataset, make_way: Callable[[nn.Sequential], Any]) -> None:
        super().__init__(HIDDEN, data)
        self.parameters = list(self.model.parameters())
        self.way = make_way(self.model)

    def value(self, indices: Tensor) -> Tensor:
        """What the step measures of a batch."""
        raise NotImplementedError

    def descend(self, gradient: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, part in zip(self.parameters, gradient):
                parameter.sub_(part.view_as(parameter), alpha=LEARNING_RATE)


class PerExampleGradients(WayStep):
    """[n, p] alone, in one piece for each parameter."""

    def value(self, indices: Tensor) -> Tensor:
        return torch.cat([part.flatten(1) for part in self.way.gradients(*self.fetch(indices))], dim=1)

    def __call__(self) -> None:
        self.way.gradients(*self.fetch(self.shuffle.next()))


class WinsorizedStep(WayStep):
    """Descends along the winsorized mean of the per-example gradients."""

    def __init__(self, data: Dataset, make_way: Callable[[nn.Sequential], Any], reduce: Reduction) -> None:
        super().__init__(data, make_way)
        self.reduce = reduce
        self.sizes = [parameter.numel() for parameter in self.parameters]

    def value(self, indices: Tensor) -> Tensor:
        return torch.cat([self.reduce(block, PERCENTILE) for block in self.way.blocks(*self.fetch(indices))])

    def __call__(self) -> None:
        self.descend(self.value(self.shuffle.next()).split(self.sizes))


class NormsStep(WayStep):
    """A plain step that also has |g_i| [n]."""

    def measure(self, indices: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """What is measured, and the mean gradient."""
        squares, mean = self.way.moments(*self.fetch(indices))
        return squares.sqrt(), mean

    def value(self, indices: Tensor) -> Tensor:
        return self.measure(indices)[0]

    def __call__(self) -> None:
        self.kept, mean = self.measure(self.shuffle.next())
        self.descend(mean)


class TraceStep(NormsStep):
    """A plain step that also has the trace of the covariance of the g_i, unbiased."""

    def measure(self, indices: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        squares, mean = self.way.moments(*self.fetch(indices))
        of_mean = torch.stack([part.square().sum() for part in mean]).sum()
        return (squares.sum() - len(squares) * of_mean) / (len(squares) - 1), mean


# ------------------------------------------------------------------------------------------ measuring


class Reference:
    """What every peer must find for one batch at the initial weights, in double precision."""

    def __init__(self, step: PlainStep) -> None:
        self.indices = torch.arange(BATCH_SIZE, device=step.images.device)
        gradients = reference_gradients(step.model, *step.fetch(self.indices))
        self.values: dict[str, np.ndarray] = {
            "per_example": gradients,
            WINSORIZED: reference_winsorized(gradients, PERCENTILE),
            "norms": reference_norms(gradients),
            "trace": reference_trace(gradients),
        }
        self.bound = rounding_bound((INPUTS, *HIDDEN, CLASSES), BATCH_SIZE)

    def accepts(self, measured: Measured, program: str, kind: str, variant: str, found: Tensor) -> bool:
        """Whether a peer computes what it should; notes how far it is off."""
        difference = relative_difference(found, self.values[kind])
        measured.differences.setdefault(kind, {})[variant] = difference
        if difference <= self.bound:
            return True
        measured.remarks.append(
            f"not counted: {label_of(kind)} by {program}, {variant}, which computes something else: relative "
            f"difference {difference:.1e} from double precision, allowed {self.bound:.1e}"
        )
        return False


def pytorch_steps(data: Dataset) -> Iterator[tuple[str, str, Callable[[], WayStep]]]:
    """(kind, variant, how to make it) of all that PyTorch measures beside plain steps."""
    for way in WAYS:
        yield "per_example", way.name, partial(PerExampleGradients, data, way)
        for name, reduce in REDUCTIONS.items():
            yield WINSORIZED, f"{way.name}, {name}", partial(WinsorizedStep, data, way, reduce)
    whole = WholeOuterProducts
    yield WINSORIZED, f"{whole.name}, topk", partial(WinsorizedStep, data, whole, by_topk)
    for moments in (*WAYS, OpacusGhostNorms):
        yield "norms", moments.name, partial(NormsStep, data, moments)
        yield "trace", moments.name, partial(TraceStep, data, moments)


def from_seed(make: Callable[..., Any], *arguments: object) -> Any:
    """Every step has a network of its own, with the same weights."""
    torch.manual_seed(1)
    return make(*arguments)


def pytorch_candidates(measured: Measured, data: Dataset, reference: Reference, turns: Turns) -> list[Candidate]:
    """The candidates in PyTorch that are installed here and compute what they should."""
    device, candidates, as_float = data.images.device, [], data.as_float()

    def add(kind: str, variant: str, step: Callable[[], object]) -> None:
        candidates.append(timed(PYTORCH, kind, variant, step, lambda: synchronize(device), turns, least=1))

    for variant, variant_data in (("uint8 data", data), ("float data", as_float)):
        add("plain", variant, from_seed(PlainStep, HIDDEN, variant_data))
    for kind, variant, make in pytorch_steps(as_float):
        try:
            step = from_seed(make)
        except MissingPeer as missing:
            note(measured, missing)
            continue
        if reference.accepts(measured, PYTORCH, kind, variant, step.value(reference.indices)):
            add(kind, variant, step)
    return candidates


def jax_candidates(
    measured: Measured, data: Dataset, reference: Reference, turns: Turns, threads: int
) -> list[Candidate]:
    """JAX's steps, where it is installed."""
    try:
        jax = load_jax(data.images.device.type, threads)
    except MissingPeer as missing:
        note(measured, missing)
        return []
    model, candidates = from_seed(PlainStep, HIDDEN, data).model, []
    jax_data = as_jax(jax, data.as_float().images), as_jax(jax, data.labels)
    for kind, variant in (
        ("plain", "jit"),
        (WINSORIZED, "vmap(grad), percentile"),
        ("norms", "vmap(grad)"),
        ("trace", "vmap(grad)"),
    ):
        step = JaxStep(jax, model, jax_data, kind.split("_")[0], PERCENTILE)
        if kind == "plain" or reference.accepts(measured, JAX, kind, variant, step.value(reference.indices)):
            candidates.append(timed(JAX, kind, variant, step, step.finish, turns, least=1))
    return candidates


def note(measured: Measured, missing: MissingPeer) -> None:
    """Remarks on a missing peer in one line, however many steps it concerns."""
    if (line := f"not measured: {missing}") not in measured.remarks:
        measured.remarks.append(line)


def measure(data: Dataset, ours: SgdscopeBench | None, turns: Turns, threads: int) -> Measured:
    """PyTorch with torch.func and Opacus, JAX, and sgdscope."""
    measured = Measured(name_of(HIDDEN))
    print(f"verifying the peers on {measured.network} ...", file=sys.stderr, flush=True)
    reference = Reference(from_seed(PlainStep, HIDDEN, data))
    candidates = pytorch_candidates(measured, data, reference, turns)
    candidates += jax_candidates(measured, data, reference, turns, threads)
    if ours:
        candidates.append(Candidate(SGDSCOPE, "", lambda: ours.measure(PLAIN, OPTIONAL)))
    print(f"measuring {measured.network} ...", file=sys.stderr, flush=True)
    measure_rounds(measured, candidates, turns)
    if ours:
        absent = [name for name, kind in OPTIONAL.items() if not measured.of(SGDSCOPE, kind)]
        measured.remarks += [f"not measured: {name}, which {ours.program} does not have" for name in absent]
    return measured


# ------------------------------------------------------------------------------------------ reporting


def label_of(kind: str) -> str:
    return LABELS.get(kind, kind.replace("winsorized_", "winsorized, c = "))


def targets_of(measured: Measured) -> list[Target]:
    """Each target whose two sides were measured."""
    plain = measured.best(SGDSCOPE, "plain")
    targets = [
        Target(f"sgdscope, {label_of(kind)} / plain step", ratio(times, plain), bound, False)
        for kind, bound in MAX_COST.values()
        if bound and (times := measured.best(SGDSCOPE, kind))
    ]
    peers, ours = measured.best(PYTORCH, WINSORIZED), measured.best(SGDSCOPE, WINSORIZED)
    if peers and ours:
        what = f"{label_of(WINSORIZED)}: PyTorch's best / sgdscope"
        targets.append(Target(what, ratio(peers, ours), MIN_SPEEDUP, True))
    return targets


def report(results: Sequence[Measured]) -> str:
    """The table, and what has to be said of it."""
    (measured,) = results
    return "\n".join([table(measured), *([""] if measured.remarks else []), *measured.remarks])


def table(measured: Measured) -> str:
    """Of each kind of step every program's variants, the fastest first."""
    head = f"{'step':<23}{'program':<10}{'variant':<28}{'µs':>11}{'/ its plain step':>18}{'/ sgdscope':>12}"
    lines = [measured.network, f"{head}{'relative error':>16}"]
    for kind in ("plain", "per_example", "norms", "trace", *(kind for kind in OPTIONAL.values() if "_" in kind)):
        for program in (SGDSCOPE, PYTORCH, JAX):
            variants = measured.of(program, kind)
            for variant in sorted(variants, key=lambda name: statistics.median(variants[name])):
                lines.append(row(measured, program, kind, variant))
    return "\n".join(lines)


def row(measured: Measured, program: str, kind: str, variant: str) -> str:
    """Medians: microseconds, ratios to the program's own plain step and to sgdscope's step of the same kind."""
    times = measured.of(program, kind)[variant]
    others = [measured.best(program, "plain"), [] if program == SGDSCOPE else measured.best(SGDSCOPE, kind)]
    ratios = [f"{ratio(times, other).median:.2f}" if other else "-" for other in others]
    error = measured.differences.get(kind, {}).get(variant)
    columns = f"{label_of(kind):<23}{program:<10}{variant or '-':<28}{statistics.median(times):11.1f}"
    return f"{columns}{ratios[0]:>18}{ratios[1]:>12}{'-' if error is None else f'{error:.1e}':>16}"
