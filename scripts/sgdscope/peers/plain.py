"""Plain training steps of fully connected and convolutional networks: PyTorch eager and compiled, JAX, and sgdscope."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sgdscope.errors import MissingPeer
from sgdscope.peers.data import CLASSES, INPUTS, Dataset, Shuffle
from sgdscope.peers.image_networks import COLOUR, NETWORKS, fully_connected, module_of
from sgdscope.peers.jax_networks import JaxNetwork
from sgdscope.peers.jax_peer import as_jax, load_jax
from sgdscope.peers.pytorch import LEARNING_RATE
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import (
    JAX,
    PROCESSOR,
    PYTORCH,
    SGDSCOPE,
    Candidate,
    Measured,
    Target,
    Turns,
    quartiles,
    ratio,
    ratios,
    synchronize,
    timed,
)
from sgdscope.twin import Layer

MIN_SPEEDUP, MIN_SPEEDUP_OF_IMAGES = 1.15, 1.0  # of the fastest peer's time over ours
PEAK_OPERATIONS = 2**26  # of the benchmark Peak, on all threads together
CHECKED = 100  # examples at most, of the step in double precision that peers are compared with
# Of a peer's loss and step from those, relative. A rounded number may turn a unit of ReLU on or off or choose another maximum;
# a step is moved by 1 % so.
LARGEST_DIFFERENCES = {"loss": 1e-4, "step": 0.03}
COLOUR_IMAGES = 16000
ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Network:
    """Layers, the shape of an example, the size of batches, and the benchmark of sgdscope_bench."""

    name: str
    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    batch_size: int
    benchmark: str

    @property
    def title(self) -> str:
        return f"{self.name}, batches of {self.batch_size}"

    def module(self) -> nn.Sequential:
        """From the same seed each time."""
        torch.manual_seed(1)
        return module_of(self.layers, self.shape)

    def operations(self) -> float:
        """Multiplications and additions of a step's products: forward, by the weights, and by all inputs but the first."""
        counts: list[int] = []

        def count(layer: Any, _: object, outputs: Tensor) -> None:
            counts.append(layer.weight.numel() * outputs[0, 0].numel())

        module = self.module().eval()
        for layer in module.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.register_forward_hook(count)
        with torch.no_grad():
            module(torch.zeros(1, *self.shape))
        return 2 * self.batch_size * (3 * sum(counts) - counts[0])


def of_layers(name: str, hidden: Sequence[int], batch_size: int, benchmark: str) -> Network:
    return Network(name, tuple(fully_connected(*hidden)), (INPUTS,), batch_size, benchmark)


LINES = (
    of_layers("784-64x7-10", (64,) * 7, 25, "PlainStep7x64"),
    of_layers("784-64-10", (64,), 100, "PlainStep/64"),
    of_layers("784-256x3-10", (256,) * 3, 100, "PlainStep3x256"),
    of_layers("784-500x7-10", (500,) * 7, 100, "PlainStepF1/100"),
    of_layers("784-2000-10", (2000,), 100, "PlainStep/2000"),
    of_layers("784-4096x3-10", (4096,) * 3, 16, "PlainStep3x4096"),
    *(
        Network(name, tuple(of.layers()), of.shape, batch_size, f"ImagePlainStep/{name}/{batch_size}")
        for name, of in NETWORKS.items()
        for batch_size in (16, 100, 1000)
    ),
)


@cache
def colour_images() -> Dataset:
    """Random ones, as many as sgdscope_bench makes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (COLOUR_IMAGES, *COLOUR), dtype=torch.uint8, generator=generator)
    return Dataset(images, torch.randint(CLASSES, (COLOUR_IMAGES,), generator=generator), "random")


def examples_of(network: Network, data: Dataset) -> Dataset:
    """Images of the network's shape: of `data` where they fit, else random ones."""
    if network.shape != COLOUR:
        return Dataset(data.images.view(-1, *network.shape), data.labels, data.name)
    colour, device = colour_images(), data.images.device
    return Dataset(colour.images.to(device), colour.labels.to(device), colour.name)


class TorchStep:
    """A plain step; with `compiled` network and loss, and with them the way back, by torch.compile."""

    def __init__(
        self,
        network: Network,
        data: Dataset,
        layout: torch.memory_format = torch.contiguous_format,
        compiled: bool = False,
    ) -> None:
        self.data, self.layout, self.device = data, layout, data.images.device
        self.shuffle = Shuffle(len(data.images), self.device, network.batch_size)
        self.model = network.module().to(device=self.device, memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)
        self.evaluate = torch.compile(self.loss, dynamic=False) if compiled else self.loss

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.model(inputs), labels)

    def take(self, indices: Tensor) -> None:
        """A step on these examples."""
        inputs = self.data.images.index_select(0, indices)
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255)
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=self.layout)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.evaluate(inputs, self.data.labels.index_select(0, indices))
        loss.backward()
        self.optimizer.step()
        self.kept = loss.detach()

    def __call__(self) -> None:
        self.take(self.shuffle.next())

    def finish(self) -> None:
        synchronize(self.device)

    def theta(self) -> np.ndarray:
        """All parameters in double, in the network's order."""
        return np.concatenate([part.detach().double().cpu().numpy().ravel() for part in self.model.parameters()])


class JaxStep:
    """A plain step in JAX that gives its parameters' memory to the next ones; convolutions' weights with the outputs last."""

    def __init__(self, jax: Any, network: Network, data: Dataset, reshaped: bool = False) -> None:
        self.jax, self.network = jax, JaxNetwork(jax, network.layers, reshaped)
        images = data.images.permute(0, 2, 3, 1) if data.images.dim() == 4 else data.images
        self.data = as_jax(jax, images), as_jax(jax, data.labels)
        self.shuffle = Shuffle(len(data.images), torch.device("cpu"), network.batch_size)
        parameters = network.module().parameters()
        self.parameters = [as_jax(jax, part.permute(2, 3, 1, 0) if part.dim() == 4 else part) for part in parameters]
        self.train = jax.jit(self.update, donate_argnums=0)

    def loss(self, parameters: Any, inputs: Any, labels: Any) -> Any:
        logits = self.jax.nn.log_softmax(self.network(parameters, inputs))
        return -self.jax.numpy.take_along_axis(logits, labels[:, None], 1).mean()

    def update(self, parameters: Any, images: Any, labels: Any, indices: Any) -> tuple[Any, Any]:
        """The next parameters, and the loss."""
        loss, gradient = self.jax.value_and_grad(self.loss)(parameters, images[indices], labels[indices])
        return [p - LEARNING_RATE * g for p, g in zip(parameters, gradient)], loss

    def take(self, indices: Tensor) -> None:
        """A step on these examples."""
        self.parameters, self.kept = self.train(self.parameters, *self.data, indices.numpy())

    def __call__(self) -> None:
        self.take(self.shuffle.next())

    def finish(self) -> None:
        self.jax.block_until_ready(self.parameters)

    def theta(self) -> np.ndarray:
        """All parameters in double, in the network's order."""
        parts = [np.asarray(part, np.float64) for part in self.parameters]
        return np.concatenate([(part.transpose(3, 2, 0, 1) if part.ndim == 4 else part).ravel() for part in parts])


class Check:
    """Compares steps on the same few examples with one in double precision."""

    def __init__(self, network: Network, data: Dataset) -> None:
        self.indices = torch.arange(min(network.batch_size, CHECKED), device=data.images.device)
        few = Dataset(data.images[: len(self.indices)].double().div_(255), data.labels[: len(self.indices)], "")
        step = TorchStep(network, few)
        step.model.double()
        self.start = step.theta()
        step.take(self.indices)
        self.loss, self.move = float(step.kept), step.theta() - self.start

    def differences(self, step: TorchStep | JaxStep) -> dict[str, float]:
        """Of loss and step from those in double, relative, but for what parameters in single precision round."""
        step.take(self.indices)
        difference = np.linalg.norm(step.theta() - self.start - self.move)
        rounded = ROUNDING * np.linalg.norm(self.start)
        return {
            "loss": abs(float(step.kept) - self.loss) / self.loss,
            "step": float(max(0, difference - rounded) / np.linalg.norm(self.move)),
        }


def steps_of(network: Network, data: Dataset, threads: int) -> Iterable[tuple[str, str, TorchStep | JaxStep]]:
    """Program, variant and step of each peer."""
    as_float = data.as_float()
    if len(network.shape) == 1:
        yield PYTORCH, "uint8", TorchStep(network, data)
        yield PYTORCH, "float", TorchStep(network, as_float)
        yield PYTORCH, "compiled", TorchStep(network, as_float, compiled=True)
    else:
        yield PYTORCH, "contiguous", TorchStep(network, as_float)
        yield PYTORCH, "channels last", TorchStep(network, as_float, torch.channels_last)
        yield PYTORCH, "compiled", TorchStep(network, as_float, compiled=True)  # which chooses layouts itself
    jax = load_jax(data.images.device.type, threads)
    yield JAX, "jit", JaxStep(jax, network, as_float)
    if any(layer["name"] == "max_pool" for layer in network.layers):
        yield JAX, "jit, reshaped pools", JaxStep(jax, network, as_float, reshaped=True)


def peers_of(network: Network, data: Dataset, turns: Turns, threads: int, measured: Measured) -> list[Candidate]:
    """The candidates that are installed and compute the step; remarks on the others."""
    torch.compiler.reset()  # which compiles a function for a few networks, and no more
    data = examples_of(network, data)
    check, candidates = Check(network, data), []
    try:
        for program, variant, step in steps_of(network, data, threads):
            differences = check.differences(step)
            for what, difference in differences.items():
                measured.differences.setdefault(what, {})[f"{program}, {variant}"] = difference
            if wrong := [what for what, bound in LARGEST_DIFFERENCES.items() if not differences[what] <= bound]:
                away = f"its {wrong[0]} is {differences[wrong[0]]:.1e} away from that in double precision"
                measured.remarks.append(f"not counted: {program}, {variant}: {away}")
            else:
                candidates.append(timed(program, "plain", variant, step, step.finish, turns, least=1))
    except MissingPeer as missing:
        measured.remarks.append(f"not measured: {missing}")
    return candidates


def measure(network: Network, data: Dataset, ours: SgdscopeBench | None, turns: Turns, threads: int) -> Measured:
    """All of them on one network; ours also at what the processor can do at most."""
    checked = Measured(network.title)
    peers = peers_of(network, data, turns, threads, checked)
    measured = measure_beside(network.title, peers, ours, {network.benchmark: "plain", "Peak": "peak"}, turns)
    measured.remarks += checked.remarks
    measured.differences = checked.differences
    print("\n".join(lines_of(measured)), file=sys.stderr, flush=True)
    return measured


def endings_of(measured: Measured) -> list[str]:
    """What the kinds of step end in, for each clock that was read."""
    kinds = {kind for of_program in measured.times.values() for kind in of_program}
    return [ending for ending in ("", PROCESSOR) if f"plain{ending}" in kinds]


def targets_of(measured: Measured) -> list[Target]:
    """That each peer takes longer; none without sgdscope's side."""
    bound = MIN_SPEEDUP if measured.network[0].isdigit() else MIN_SPEEDUP_OF_IMAGES
    return [
        Target(
            f"{measured.network}{ending}: {program} / sgdscope",
            ratio(measured.best(program, f"plain{ending}"), measured.best(SGDSCOPE, f"plain{ending}")),
            bound,
            True,
        )
        for ending in endings_of(measured)
        if measured.of(SGDSCOPE, f"plain{ending}")
        for program in (PYTORCH, JAX)
        if measured.of(program, f"plain{ending}")
    ]


def lines_of(measured: Measured) -> list[str]:
    """A line for each clock, then the remarks."""
    network = next(line for line in LINES if line.title == measured.network)
    lines = []
    for ending in endings_of(measured):
        of_pytorch = dict(measured.of(PYTORCH, f"plain{ending}"))
        compiled = of_pytorch.pop("compiled", [])
        eager = min(of_pytorch.values(), key=statistics.median, default=[])
        peers = [eager, compiled, measured.best(JAX, f"plain{ending}")]
        ours, peak = (measured.best(SGDSCOPE, f"{kind}{ending}") for kind in ("plain", "peak"))
        cells = [f"{statistics.median(times) / 1e3:11.3f}" if times else f"{'-':>11}" for times in (ours, *peers)]
        share, verdict = f"{'-':>6}", ""
        if ours and peak:
            needed = network.operations() / PEAK_OPERATIONS
            share = f"{needed * statistics.median(ratios(peak, ours)):6.0%}"
        if ours:
            cells += [f" {quartiles(ratios(times, ours))!s:>19}" if times else f"{'-':>20}" for times in peers]
            if ahead := [statistics.median(ratios(times, ours)) for times in peers if times]:
                verdict = f"  {'yes' if min(ahead) > 1 else 'no'}, by {min(ahead):.2f}"
        rounds = len(next(times for times in (ours, *peers) if times))
        lines.append(f"{measured.network + ending:<46}{rounds:>7}{share}{''.join(cells)}{verdict}".rstrip())
    return lines + [f"  {remark}" for remark in measured.remarks]


def report(results: Sequence[Measured]) -> str:
    """Medians in ms, the share of the measured peak that our products reach at the least, and ratios with their quartiles."""
    columns = "".join(f"{name:>11}" for name in ("sgdscope", "eager", "compiled", "JAX"))
    relative = "".join(f"{f'{name} / ours':>20}" for name in ("eager", "compiled", "JAX"))
    header = f"{'network (ms)':<46}{'rounds':>7}{'peak':>6}{columns}{relative}  ahead of every peer"
    return "\n".join([header, *(line for measured in results for line in lines_of(measured))])
