"""Plain training steps of fully connected networks: PyTorch eager and compiled, JAX, and sgdscope."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sgdscope.errors import MissingPeer
from sgdscope.peers.data import CLASSES, INPUTS, Dataset, Shuffle
from sgdscope.peers.jax_peer import JaxStep, as_jax, load_jax
from sgdscope.peers.pytorch import PlainStep, candidates_of, name_of
from sgdscope.peers.sgdscope_bench import SgdscopeBench, measure_beside
from sgdscope.peers.timing import JAX, PYTORCH, SGDSCOPE, Candidate, Measured, Target, Turns, ratio, synchronize, timed

MIN_SPEEDUP = 1.15  # of the fastest peer's time over ours
PEAK_OPERATIONS = 2**26  # of the benchmark Peak, on all threads together


@dataclass(frozen=True)
class Network:
    """Hidden widths, the size of batches, and the benchmark of sgdscope_bench."""

    hidden: tuple[int, ...]
    batch_size: int
    benchmark: str

    @property
    def name(self) -> str:
        return f"{name_of(self.hidden)}, batches of {self.batch_size}"

    def operations(self) -> float:
        """Multiplications and additions of a step's products: forward, by the weights, and by all inputs but the first."""
        widths = (INPUTS, *self.hidden, CLASSES)
        weights = sum(a * b for a, b in zip(widths, widths[1:]))
        return 2 * self.batch_size * (3 * weights - widths[0] * widths[1])


NETWORKS = (
    Network((64,) * 7, 25, "PlainStep7x64"),
    Network((64,), 100, "PlainStep/64"),
    Network((256,) * 3, 100, "PlainStep3x256"),
    Network((500,) * 7, 100, "PlainStepF1/100"),
    Network((2000,), 100, "PlainStep/2000"),
)


class CompiledStep(PlainStep):
    """Network and loss, and with them the way back, by torch.compile."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int) -> None:
        super().__init__(hidden, data, batch_size)
        self.compiled = torch.compile(lambda inputs, labels: functional.cross_entropy(self.model(inputs), labels))

    def loss_of(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss: Tensor = self.compiled(*batch)
        return loss


class DonatedStep(JaxStep):
    """A plain step in JAX that gives its parameters' memory to the next ones."""

    def __init__(self, jax: Any, network: Network, data: Dataset) -> None:
        model = PlainStep(network.hidden, data).model
        super().__init__(jax, model, (as_jax(jax, data.images), as_jax(jax, data.labels)), "plain", 0)
        self.shuffle = Shuffle(len(data.images), torch.device("cpu"), network.batch_size)
        self.train = jax.jit(self.update, donate_argnums=0)


def peers_of(network: Network, data: Dataset, turns: Turns, threads: int) -> tuple[list[Candidate], list[str]]:
    """The candidates that are installed, and remarks on those that are not."""
    candidates = candidates_of([("plain", "", PlainStep)], network.hidden, data, turns, network.batch_size)
    device, as_float = data.images.device, data.as_float()
    torch.manual_seed(1)
    compiled = CompiledStep(network.hidden, as_float, network.batch_size)
    candidates.append(timed(PYTORCH, "plain", "compiled", compiled, lambda: synchronize(device), turns))
    try:
        jax_step = DonatedStep(load_jax(device.type, threads), network, as_float)
    except MissingPeer as missing:
        return candidates, [f"not measured: {missing}"]
    candidates.append(timed(JAX, "plain", "jit", jax_step, jax_step.finish, turns))
    return candidates, []


def measure(network: Network, data: Dataset, ours: SgdscopeBench | None, turns: Turns, threads: int) -> Measured:
    """All of them on one network; ours also at what the processor can do at most."""
    peers, remarks = peers_of(network, data, turns, threads)
    measured = measure_beside(network.name, peers, ours, {network.benchmark: "plain", "Peak": "peak"}, turns)
    measured.remarks += remarks
    return measured


def targets_of(measured: Measured) -> list[Target]:
    """That each peer takes longer; none without sgdscope's side."""
    plain = measured.of(SGDSCOPE, "plain")
    if not plain:
        return []
    return [
        Target(
            f"{measured.network}: {program} / sgdscope",
            ratio(measured.best(program, "plain"), plain[""]),
            MIN_SPEEDUP,
            True,
        )
        for program in (PYTORCH, JAX)
        if measured.of(program, "plain")
    ]


def report(results: Sequence[Measured]) -> str:
    """One line for each network: times in µs, and the share of the measured peak that our products reach at the least."""
    lines = [f"{'network':<50}{'sgdscope':>10}{'of peak':>9}{'eager':>10}{'compiled':>10}{'JAX':>10}   µs"]
    by_name = {network.name: network for network in NETWORKS}
    for measured in results:
        times = measured.of(PYTORCH, "plain")
        eager = min(statistics.median(times[data]) for data in ("uint8", "float"))
        jax = measured.best(JAX, "plain")
        cells = [eager, statistics.median(times["compiled"]), statistics.median(jax) if jax else None]
        ours, share = measured.best(SGDSCOPE, "plain"), "-"
        if ours:
            peak = statistics.median(measured.best(SGDSCOPE, "peak"))
            needed = by_name[measured.network].operations() / PEAK_OPERATIONS * peak
            share = f"{needed / statistics.median(ours):.0%}"
        columns = "".join(f"{cell:10.1f}" if cell else f"{'-':>10}" for cell in cells)
        lines.append(f"{measured.network:<50}{statistics.median(ours) if ours else 0:10.1f}{share:>9}{columns}")
        lines += [f"  {remark}" for remark in measured.remarks]
    return "\n".join(lines)
