"""The Hessian of 2,000 examples on 784-256-256-256-10: its products with vectors, and its largest eigenvalue each ten steps.
And products with that of 32 images on ResNet-18."""

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
from sgdscope.peers.image_networks import CHANNELS, NETWORKS, PIXELS
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
MLP, RESNET = "MLP", "ResNet18"
IMAGES = 32  # of the latter
BENCHMARKS = {
    MLP: {"Gradient3x256": "gradient", "HessianProduct3x256": "product", "TenStepsLargestEigenvalue3x256": "ten steps"},
    RESNET: {"GradientResNet18": "gradient", "HessianProductResNet18": "product"},
}

# The targets of bench/: our product over our gradient, and the fastest peer's ten steps over ours.
MAX_PRODUCT, MAX_RESNET_PRODUCT, MIN_SPEEDUP = 2.2, 2.6, 5.0

# Whose Hessian: the model, inputs [n, ...] and labels [n].
Problem = tuple[nn.Module, Tensor, Tensor]


def parts_of(v: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """v [p] in the parameters' shapes."""
    sizes = [parameter.numel() for parameter in parameters]
    return [part.view_as(parameter) for part, parameter in zip(v.split(sizes), parameters)]


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
        along = parts_of(v, self.parameters)
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
            from pyhessian import hessian, utils
        except ImportError:
            raise MissingPeer(self.name, "not installed", "pyhessian") from None
        self.make: Callable[..., Any] = hessian
        self.multiply: Callable[..., Any] = utils.hessian_vector_product

    def refresh(self) -> None:
        data = (self.inputs, self.labels)
        self.found = self.make(self.model, nn.CrossEntropyLoss(), data=data, cuda=self.inputs.is_cuda)

    def product(self, v: Tensor) -> Tensor:
        parts = self.multiply(self.found.gradsH, self.found.params, parts_of(v, self.parameters))
        return torch.cat([part.flatten() for part in parts])

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


def by_batch(model: nn.Module) -> nn.Module:
    """The model, normalized by the batch's statistics in evaluation mode, too (PyHessian's), and keeping no running ones, which
    torch.func refuses (curvlinops)."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


def problem_of(network_name: str, data: Dataset) -> Problem:
    """A network as it begins, and the examples as floats; of ResNet-18 random ones."""
    torch.manual_seed(1)
    device = data.images.device
    if network_name == RESNET:
        images = torch.rand((IMAGES, CHANNELS, PIXELS, PIXELS))
        model = by_batch(NETWORKS["ResNet18"]())
        return model.to(device), images.to(device), torch.randint(CLASSES, (IMAGES,)).to(device)
    model = network((INPUTS, *HIDDEN, CLASSES)).to(device)
    return model, data.images[:EXAMPLES].float().div(255), data.labels[:EXAMPLES]


def candidates(network_name: str, data: Dataset, turns: Turns, remarks: list[str]) -> list[Candidate]:
    """Each way to products, and of the MLP to the eigenvalue; those that are missing are named in `remarks`."""

    def finish() -> None:
        synchronize(data.images.device)

    plain = DoubleBackward(problem_of(network_name, data))

    def gradient() -> object:
        loss = functional.cross_entropy(plain.model(plain.inputs), plain.labels)
        return torch.autograd.grad(loss, plain.parameters)

    made = [timed(PYTORCH, "gradient", "autograd", gradient, finish, turns)]
    for way in (DoubleBackward, Curvlinops, PyHessian):
        try:
            products = way(problem_of(network_name, data))
            products.refresh()
        except MissingPeer as missing:
            remarks.append(f"not measured: {missing}")
            continue
        v = torch.cat([parameter.detach().sign().flatten() for parameter in products.parameters])
        made.append(timed(PYTORCH, "product", way.name, partial(products.product, v), finish, turns))
        if network_name == MLP:
            torch.manual_seed(1)
            made.append(timed(PYTORCH, "ten steps", way.name, TenSteps(way, data.as_float()), finish, turns, 1))
    return made


def measure(network_name: str, data: Dataset, ours: SgdscopeBench | None, turns: Turns) -> Measured:
    """The peers and sgdscope."""
    remarks: list[str] = []
    peers = candidates(network_name, data, turns, remarks)
    name = RESNET if network_name == RESNET else name_of(HIDDEN)
    measured = measure_beside(name, peers, ours, BENCHMARKS[network_name], turns)
    measured.remarks += remarks
    return measured


def targets_of(measured: Measured) -> list[Target]:
    """Each target; none without sgdscope's side."""
    name = measured.network
    gradient, product = (measured.best(SGDSCOPE, kind) for kind in ("gradient", "product"))
    if not gradient:
        return []
    bound = MAX_RESNET_PRODUCT if name == RESNET else MAX_PRODUCT
    targets = [Target(f"{name}: sgdscope, product / gradient", ratio(product, gradient), bound, False)]
    if steps := measured.best(SGDSCOPE, "ten steps"):
        peers = ratio(measured.best(PYTORCH, "ten steps"), steps)
        targets.append(Target(f"{name}: ten steps, fastest peer / sgdscope", peers, MIN_SPEEDUP, True))
    return targets


def report(results: Sequence[Measured]) -> str:
    """One line for each network, kind and variant, each with its ratio to ours."""
    lines = [
        f"the Hessian of {EXAMPLES} examples, on {RESNET} of {IMAGES}; ten steps with its largest eigenvalue to {ACCURACY:g}",
        f"{'network':<22}{'kind':<12}{'sgdscope ms':>12}{'peer ms':>12}  {'peer':<18}peer / sgdscope (rounds)",
    ]
    for measured in results:
        for kind in BENCHMARKS[MLP].values():
            ours = measured.best(SGDSCOPE, kind)
            for variant, times in measured.of(PYTORCH, kind).items():
                columns = f"{statistics.median(ours) / 1e3:12.2f}" if ours else f"{'-':>12}"
                columns += f"{statistics.median(times) / 1e3:12.2f}  {variant:<18}"
                lines.append(f"{measured.network:<22}{kind:<12}{columns}{ratio(times, ours) if ours else '-'}")
        if gradient := measured.best(PYTORCH, "gradient"):
            cost = ratio(measured.best(PYTORCH, "product"), gradient)
            lines.append(f"{measured.network}: fastest peer, product / PyTorch's gradient {cost}")
    return "\n".join([*lines, *dict.fromkeys(remark for measured in results for remark in measured.remarks)])
