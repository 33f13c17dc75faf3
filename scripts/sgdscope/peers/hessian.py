"""The Hessian of 2,000 examples on 784-256-256-256-10: its products with vectors, and its largest eigenvalue each ten steps."""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sgdscope.errors import MissingPeer
from sgdscope.peers.data import CLASSES, INPUTS, Dataset
from sgdscope.peers.pytorch import PlainStep, name_of, network
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio, synchronize, timed

HIDDEN = (256, 256, 256)
EXAMPLES = 2000
STEPS = 10  # between two searches
WARM_UP = 200  # steps before the first of them
# What is asked of the eigenvalue, relative to it, and of residuals, whose squares its error is of the order of.
ACCURACY, TOLERANCE = 1e-3, 0.03
VECTORS = 3  # of ARPACK's basis: from a good start few take the fewest products; its own choice are 20
BENCHMARKS = {
    "Gradient3x256": "gradient",
    "HessianProduct3x256": "product",
    "TenStepsLargestEigenvalue3x256": "ten steps",
}

# The targets of bench/: our product over our gradient, and the fastest peer's ten steps over ours.
MAX_PRODUCT, MIN_SPEEDUP = 2.2, 5.0

# Whose Hessian: the model, inputs [n, ...] and labels [n].
Problem = tuple[nn.Module, Tensor, Tensor]


class Products:
    """Products with the Hessian at the weights of the last `refresh`, and its largest eigenvalue by them."""

    name: str

    def __init__(self, problem: Problem) -> None:
        self.model, self.inputs, self.labels = problem
        self.parameters = list(self.model.parameters())
        self.vector: np.ndarray | None = None  # the last eigenvector found, where the next search begins

    def refresh(self) -> None:
        raise NotImplementedError

    def product(self, v: Tensor) -> Tensor:
        """H v [p] of v [p]."""
        raise NotImplementedError

    def largest(self) -> float:
        """By SciPy's eigsh, ARPACK's Lanczos method with restarts, from the last vector on."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        p = sum(parameter.numel() for parameter in self.parameters)

        def multiply(v: np.ndarray) -> np.ndarray:
            return self.product(torch.from_numpy(v.astype(np.float32).ravel()).to(self.inputs)).cpu().numpy()

        matrix = LinearOperator((p, p), matvec=multiply, dtype=np.float32)
        values, vectors = eigsh(matrix, k=1, which="LA", tol=TOLERANCE, v0=self.vector, ncv=VECTORS)
        self.vector = vectors[:, 0]
        return float(values[0])


class DoubleBackward(Products):
    """As a careful user writes it: the graph of the gradient is kept from product to product."""

    name = "double backward"

    def refresh(self) -> None:
        loss = functional.cross_entropy(self.model(self.inputs), self.labels)
        self.gradient = torch.autograd.grad(loss, self.parameters, create_graph=True)

    def product(self, v: Tensor) -> Tensor:
        sizes = [parameter.numel() for parameter in self.parameters]
        along = [part.view_as(parameter) for part, parameter in zip(v.split(sizes), self.parameters)]
        parts = torch.autograd.grad(self.gradient, self.parameters, along, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])


class Curvlinops(Products):
    name = "curvlinops"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        try:
            from curvlinops import HessianLinearOperator
        except ImportError:
            raise MissingPeer(self.name, "not installed", "curvlinops-for-pytorch") from None
        self.make: Callable[..., Any] = HessianLinearOperator

    def refresh(self) -> None:
        data = [(self.inputs, self.labels)]
        loss = nn.CrossEntropyLoss()
        self.operator = self.make(self.model, loss, self.parameters, data, check_deterministic=False)

    def product(self, v: Tensor) -> Tensor:
        return self.operator @ v


class PyHessian(Products):
    """Its own search, a power iteration until the eigenvalue moves by less than ACCURACY of itself."""

    name = "PyHessian"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        try:
            from pyhessian import hessian
        except ImportError:
            raise MissingPeer(self.name, "not installed", "pyhessian") from None
        self.make: Callable[..., Any] = hessian

    def refresh(self) -> None:
        data = (self.inputs, self.labels)
        self.found = self.make(self.model, nn.CrossEntropyLoss(), data=data, cuda=self.inputs.is_cuda)

    def product(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def largest(self) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            values, _ = self.found.eigenvalues(maxIter=100, tol=ACCURACY, top_n=1)
        return float(values[0])


class TenSteps(PlainStep):
    """Training steps, and after them the largest eigenvalue."""

    def __init__(self, way: type[Products], data: Dataset) -> None:
        super().__init__(HIDDEN, data)
        for _ in range(WARM_UP):
            super().__call__()
        self.products = way((self.model, data.images[:EXAMPLES], data.labels[:EXAMPLES]))

    def __call__(self) -> None:
        for _ in range(STEPS):
            super().__call__()
        self.products.refresh()
        self.eigenvalue = self.products.largest()


def problem_of(data: Dataset) -> Problem:
    """A network as it begins, and the examples as floats."""
    torch.manual_seed(1)
    model = network((INPUTS, *HIDDEN, CLASSES)).to(data.images.device)
    return model, data.images[:EXAMPLES].float().div(255), data.labels[:EXAMPLES]


def candidates(data: Dataset, turns: Turns, remarks: list[str]) -> list[Candidate]:
    """Each way to products and to the eigenvalue; those that are missing are named in `remarks`."""

    def finish() -> None:
        synchronize(data.images.device)

    plain = DoubleBackward(problem_of(data))

    def gradient() -> object:
        loss = functional.cross_entropy(plain.model(plain.inputs), plain.labels)
        return torch.autograd.grad(loss, plain.parameters)

    made = [timed(PYTORCH, "gradient", "autograd", gradient, finish, turns)]
    for way in (DoubleBackward, Curvlinops, PyHessian):
        try:
            products = way(problem_of(data))
            torch.manual_seed(1)
            step = TenSteps(way, data.as_float())
        except MissingPeer as missing:
            remarks.append(f"not measured: {missing}")
            continue
        if way is not PyHessian:
            products.refresh()
            v = torch.cat([parameter.detach().sign().flatten() for parameter in products.parameters])
            made.append(timed(PYTORCH, "product", way.name, partial(products.product, v), finish, turns))
        made.append(timed(PYTORCH, "ten steps", way.name, step, finish, turns, 1))
    return made


def measure(data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """The peers and sgdscope."""
    remarks: list[str] = []
    peers = candidates(data, turns, remarks)
    measured = measure_beside(name_of(HIDDEN), peers, ours, BENCHMARKS, turns)
    measured.remarks += remarks
    return measured


def targets_of(measured: Measured) -> list[Target]:
    """Each target; none without sgdscope's side."""
    name = measured.network
    gradient, product, steps = (measured.best(SGDSCOPE, kind) for kind in BENCHMARKS.values())
    if not gradient:
        return []
    peers = ratio(measured.best(PYTORCH, "ten steps"), steps)
    return [
        Target(f"{name}: sgdscope, product / gradient", ratio(product, gradient), MAX_PRODUCT, False),
        Target(f"{name}: ten steps, fastest peer / sgdscope", peers, MIN_SPEEDUP, True),
    ]


def report(results: Sequence[Measured]) -> str:
    """One line for each kind and variant, each with its ratio to ours."""
    (measured,) = results
    lines = [
        f"{measured.network}, Hessian of {EXAMPLES} examples; ten steps with its largest eigenvalue to {ACCURACY:g}"
    ]
    lines.append(f"{'kind':<12}{'sgdscope ms':>12}{'peer ms':>12}  {'peer':<18}peer / sgdscope (rounds)")
    for kind in BENCHMARKS.values():
        ours = measured.best(SGDSCOPE, kind)
        for variant, times in measured.of(PYTORCH, kind).items():
            columns = f"{statistics.median(ours) / 1e3:12.2f}" if ours else f"{'-':>12}"
            columns += f"{statistics.median(times) / 1e3:12.2f}  {variant:<18}"
            lines.append(f"{kind:<12}{columns}{ratio(times, ours) if ours else '-'}")
    return "\n".join([*lines, *measured.remarks])
