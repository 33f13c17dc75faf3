#!/usr/bin/env python3
"""Measures a training step in PyTorch, and next to it the same step in sgdscope.

    scripts/bench_peers.py --sgdscope-bench build/release/sgdscope_bench --out bench.json

The work: the three networks of figure 3 of inherent_noise, 784-64-10, 784-2000-10 and 784-8000-10, with
ReLU, cross-entropy, batches of 100, SGD with learning rate 0.1, float32.

  plain step    draw a batch, forward, backward, update; the loss is kept and not read back.
  Taylor step   the same, and on the updating, a recent and a long-ago batch: the dot product of its gradient
                with the updating batch's, its loss before and after the update, and the penalty.

PyTorch runs each as a careful user writes it, once with its data kept as uint8 and once converted to float
beforehand; the faster of the two counts. sgdscope's numbers come from sgdscope_bench (Google Benchmark:
PlainStep/64, TaylorStep/64, CsvRow/64 and so on), which is called anew in each round.

All candidates take turns, in rounds of about 0.3 s each, in an order that moves on from round to round; what
is reported are medians over the rounds, and of ratios the median of each round's ratio. So a machine
that is busy for a while does not favour one of them. Exit status: 0 measured (targets met or not),
2 wrong usage, 3 unusable data or benchmark, 5 no PyTorch or no such device.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError as error:
    print(
        f"error: {error.name}: this Python has none\n  run scripts/setup.sh, which finds or installs PyTorch, and call "
        f"this with .venv/bin/python where it made one; or: {sys.executable or 'python3'} -m pip install numpy torch",
        file=sys.stderr,
    )
    sys.exit(5)

USAGE, DATA, RESOURCE = 2, 3, 5  # exit statuses, as the executable's (DESIGN.md, section 5)

WIDTHS = (64, 2000, 8000)
INPUTS, CLASSES = 784, 10
BATCH_SIZE, LEARNING_RATE = 100, 0.1
RECENT_LAG, LONG_AGO_LAG = 10, 300

BENCHMARKS = {"PlainStep": "plain", "TaylorStep": "taylor", "CsvRow": "csv"}

# The targets of bench/: PyTorch's time over ours for a plain step, and the cost of measuring as a share of ours.
MIN_SPEEDUP = {64: 1.5, 2000: 1.0, 8000: 1.0}
MAX_TAYLOR, MAX_CSV = 4.2, 0.02


class PeerError(Exception):
    """Where, what was wrong and what is allowed, what to do next, and the exit status for it."""

    def __init__(self, where: str, what: str, hint: str, status: int = USAGE) -> None:
        super().__init__(f"{where}: {what}\n  {hint}")
        self.status = status


# ----------------------------------------------------------------------------------------------- data


@dataclass
class Dataset:
    """Images [n, 784] as bytes, or as floats in 0..1, and labels [n], on the device."""

    images: Tensor
    labels: Tensor
    name: str

    def as_float(self) -> Dataset:
        return Dataset(self.images.float().div_(255), self.labels, self.name)


def read_idx(folder: Path, name: str, magic: int, dimensions: int) -> np.ndarray:
    """An IDX file of bytes, plain or .gz."""
    file = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if file is None:
        hint = "give the folder with MNIST's or Fashion-MNIST's four files, or leave out --data"
        raise PeerError(str(folder), f"has no {name} and no {name}.gz", hint)
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise PeerError(
            str(file), f"cannot be read: {error}", "fetch it again: scripts/download_data.sh", DATA
        ) from None
    offset = 4 * (dimensions + 1)
    header = np.frombuffer(content[:offset].ljust(offset, b"\0"), dtype=">u4").astype(np.int64)
    if header[0] != magic or len(content) != offset + np.prod(header[1:]):
        what = f"is no whole IDX file of {dimensions} dimensions (magic number {magic:#010x})"
        raise PeerError(str(file), what, "fetch it again: scripts/download_data.sh", DATA)
    return np.frombuffer(content, dtype=np.uint8, offset=offset).reshape(header[1:])


def load_data(folder: str | None, device: torch.device) -> Dataset:
    """The training set in `folder`; without one, seeded random images with MNIST's share of zeros."""
    if folder is None:
        random = np.random.default_rng(1)
        images = random.integers(1, 256, (60000, INPUTS), dtype=np.uint8)
        images *= random.random(images.shape, dtype=np.float32) >= 0.8
        labels, name = random.integers(0, CLASSES, 60000, dtype=np.uint8), "synthetic"
    else:
        images = read_idx(Path(folder), "train-images-idx3-ubyte", 0x803, 3)
        labels = read_idx(Path(folder), "train-labels-idx1-ubyte", 0x801, 1)
        images, name = images.reshape(len(images), -1), Path(folder).resolve().name
        if (
            images.shape[1] != INPUTS
            or len(labels) != len(images)
            or labels.max() >= CLASSES
            or len(images) < BATCH_SIZE
        ):
            what = f"{len(images)} images of {images.shape[1]} pixels, {len(labels)} labels up to {labels.max()}"
            hint = f"expected {BATCH_SIZE} or more images of {INPUTS} pixels, with as many labels below {CLASSES}"
            raise PeerError(folder, what, hint, DATA)
    return Dataset(torch.tensor(images, device=device), torch.tensor(labels, dtype=torch.int64, device=device), name)


class Shuffle:
    """The indices of one batch after another; a new permutation for each epoch, an incomplete batch dropped."""

    def __init__(self, examples: int, device: torch.device) -> None:
        self.examples, self.device = examples, device
        self.position = examples

    def next(self) -> Tensor:
        if self.position + BATCH_SIZE > self.examples:
            self.permutation = torch.randperm(self.examples, device=self.device)
            self.position = 0
        self.position += BATCH_SIZE
        return self.permutation[self.position - BATCH_SIZE : self.position]


# ----------------------------------------------------------------------------- the steps, in PyTorch


class PlainStep:
    """A training step as a careful user of PyTorch writes it; the loss stays on the device."""

    def __init__(self, hidden: int, data: Dataset) -> None:
        device = data.images.device
        self.images, self.labels = data.images, data.labels
        self.shuffle = Shuffle(len(data.images), device)
        layers = nn.Sequential(nn.Linear(INPUTS, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
        self.model = layers.to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [n, 784] in 0..1 and labels [n] of a batch."""
        inputs = self.images.index_select(0, indices)
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255)
        return inputs, self.labels.index_select(0, indices)

    def loss_of(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def __call__(self) -> None:
        batch = self.fetch(self.shuffle.next())
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(batch)
        loss.backward()
        self.optimizer.step()
        self.kept = loss.detach()


class TaylorStep(PlainStep):
    """A training step that measures equation 11 of inherent_noise on three batches."""

    def __init__(self, hidden: int, data: Dataset) -> None:
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


# ------------------------------------------------------------------------------------------ measuring


@dataclass
class Candidate:
    """Something that takes part in every round and reports microseconds by kind of step."""

    name: str
    measure: Callable[[], dict[str, float]]


def pytorch_candidate(
    kind: str, step: Callable[[], None], variant: str, device: torch.device, seconds: float
) -> Candidate:
    """Warms the step up, and chooses how many of it make a block of `seconds`."""

    def block(steps: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
        return (time.perf_counter() - start) / steps

    block(3)
    steps = max(3, round(seconds / block(max(3, round(seconds / 4 / block(3))))))
    return Candidate(variant, lambda: {kind: block(steps) * 1e6})


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pytorch_candidates(hidden: int, data: Dataset, seconds: float) -> list[Candidate]:
    """Both kinds of step with both kinds of data, each with a network of its own from the same seed."""
    candidates = []
    for variant, variant_data in (("uint8 data", data), ("float data", data.as_float())):
        for kind, make_step in (("plain", PlainStep), ("taylor", TaylorStep)):
            torch.manual_seed(1)
            step = make_step(hidden, variant_data)
            candidates.append(pytorch_candidate(kind, step, variant, data.images.device, seconds))
    return candidates


class SgdscopeBench:
    """Our benchmark executable, called for one network at a time."""

    def __init__(self, program: str, device: str, threads: int, seconds: float) -> None:
        self.program, self.device, self.seconds = program, device, seconds
        count = str(threads)
        self.environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "SGDSCOPE_BENCH_DEVICE": device,
        }
        self.context: dict[str, Any] = {}
        if not os.access(program, os.X_OK) or Path(program).is_dir():
            raise PeerError(
                "--sgdscope-bench", f"'{program}' is no program", "build it: scripts/test.sh builds sgdscope_bench, too"
            )

    def measure(self, hidden: int) -> dict[str, float]:
        """Microseconds of plain step, Taylor step and CSV row."""
        names = "|".join(BENCHMARKS)
        output = self._run(f"--benchmark_filter=^({names})/{hidden}(/|$)")
        self.context = output.get("context", {})
        self._check_device()
        times = dict(pair for entry in output.get("benchmarks", []) for pair in self._time(entry, hidden))
        if missing := [name for name, kind in BENCHMARKS.items() if kind not in times]:
            what = f"reported no {', '.join(f'{name}/{hidden}' for name in missing)}"
            raise PeerError(self.program, what, "--benchmark_list_tests lists what it has", DATA)
        return times

    def _run(self, benchmark_filter: str) -> dict[str, Any]:
        program = os.path.abspath(self.program)  # a bare name would be looked for in PATH
        command = [program, benchmark_filter, "--benchmark_format=json", f"--benchmark_min_time={self.seconds:g}"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            what = f"ended with status {done.returncode}: {done.stderr.strip()[-500:] or 'nothing on stderr'}"
            raise PeerError(self.program, what, f"try it alone: {shlex.join(command)}", DATA)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            hint = "only JSON may go to its standard output"
            raise PeerError(self.program, f"printed no JSON ({error}): '{done.stdout[:80]}'", hint, DATA) from None

    def _check_device(self) -> None:
        found = str(self.context.get("device", "cpu"))
        if found != self.device:
            hint = "it takes the device from SGDSCOPE_BENCH_DEVICE, and names it as 'device' in its JSON context"
            raise PeerError(self.program, f"measured on {found}, PyTorch on {self.device}", hint, DATA)

    def _time(self, entry: dict[str, Any], hidden: int) -> list[tuple[str, float]]:
        """(kind, microseconds) of one entry; none for an aggregate or another network."""
        name = re.match(r"(\w+)/(\d+)", entry.get("name", ""))
        if entry.get("error_occurred"):
            raise PeerError(
                self.program, f"{entry.get('name')}: {entry.get('error_message')}", "repair the benchmark", DATA
            )
        if not name or name[1] not in BENCHMARKS or int(name[2]) != hidden or entry.get("run_type") == "aggregate":
            return []
        scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[entry["time_unit"]]
        return [(BENCHMARKS[name[1]], entry["real_time"] * scale)]


@dataclass
class Measured:
    """Microseconds of every round for one network: pytorch[kind][variant], sgdscope[kind]."""

    hidden: int
    pytorch: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sgdscope: dict[str, list[float]] = field(default_factory=dict)

    def best_variant(self, kind: str) -> str:
        """PyTorch's fastest variant by its median."""
        variants = self.pytorch[kind]
        return min(variants, key=lambda name: statistics.median(variants[name]))

    def best(self, kind: str) -> list[float]:
        return self.pytorch[kind][self.best_variant(kind)]


def measure_network(hidden: int, data: Dataset, ours: SgdscopeBench | None, rounds: int, seconds: float) -> Measured:
    """All candidates in turn, `rounds` times; each round begins with another one."""
    measured = Measured(hidden)
    candidates = pytorch_candidates(hidden, data, seconds)
    if ours:
        candidates.append(Candidate("sgdscope", lambda: ours.measure(hidden)))
    for i in range(rounds):
        first = i % len(candidates)
        for candidate in candidates[first:] + candidates[:first]:
            for kind, microseconds in candidate.measure().items():
                if candidate.name == "sgdscope":
                    measured.sgdscope.setdefault(kind, []).append(microseconds)
                else:
                    measured.pytorch.setdefault(kind, {}).setdefault(candidate.name, []).append(microseconds)
    return measured


# ------------------------------------------------------------------------------------------ reporting


@dataclass
class Ratio:
    """The median of the rounds' ratios, with their extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        median, low, high = (f"{x:.2f}" if x >= 0.1 else f"{x:.4f}" for x in (self.median, self.low, self.high))
        return f"{median} ({low} to {high})"


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Round by round, because the two of a round were measured at nearly the same time."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


@dataclass
class Target:
    """A number that was measured and the bound that it shall keep."""

    what: str
    ratio: Ratio
    bound: float
    at_least: bool

    def met(self) -> bool:
        return self.ratio.median >= self.bound if self.at_least else self.ratio.median <= self.bound

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{self.what:<52} {self.ratio!s:<24} {sign} {self.bound:<5g} {'met' if self.met() else 'NOT MET'}"


def name_of(hidden: int) -> str:
    return f"{INPUTS}-{hidden}-{CLASSES}"


def targets_of(measured: Measured) -> list[Target]:
    """Each target for this network; none without sgdscope's side."""
    if not measured.sgdscope:
        return []
    name, plain = name_of(measured.hidden), measured.sgdscope["plain"]
    return [
        Target(
            f"{name}: plain step, PyTorch / sgdscope",
            ratio(measured.best("plain"), plain),
            MIN_SPEEDUP[measured.hidden],
            True,
        ),
        Target(
            f"{name}: sgdscope, Taylor step / plain step", ratio(measured.sgdscope["taylor"], plain), MAX_TAYLOR, False
        ),
        Target(f"{name}: sgdscope, CSV row / plain step", ratio(measured.sgdscope["csv"], plain), MAX_CSV, False),
    ]


def table(results: Sequence[Measured]) -> str:
    """One line for each network and kind of step."""
    lines = [
        f"{'network':<13}{'step':<8}{'sgdscope µs':>13}{'PyTorch µs':>13}  {'variant':<12}PyTorch / sgdscope (rounds)"
    ]
    for measured in results:
        for kind in ("plain", "taylor"):
            best = measured.best(kind)
            ours = measured.sgdscope.get(kind)
            columns = f"{statistics.median(ours):13.1f}" if ours else f"{'-':>13}"
            columns += f"{statistics.median(best):13.1f}  {measured.best_variant(kind):<12}"
            lines.append(f"{name_of(measured.hidden):<13}{kind:<8}{columns}{ratio(best, ours) if ours else '-'}")
        if csv := measured.sgdscope.get("csv"):
            lines.append(f"{name_of(measured.hidden):<13}{'csv row':<8}{statistics.median(csv):13.2f}{'-':>13}")
    return "\n".join(line.rstrip() for line in lines)


def pytorch_costs(results: Sequence[Measured]) -> str:
    """What measuring costs in PyTorch, as a ratio to its plain step."""
    lines = ["", "PyTorch, Taylor step / plain step:"]
    lines += [f"  {name_of(m.hidden):<12} {ratio(m.best('taylor'), m.best('plain'))}" for m in results]
    return "\n".join(lines)


def about(data: Dataset, options: argparse.Namespace, ours: SgdscopeBench | None, load: float) -> dict[str, Any]:
    """What the numbers hold for."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    context = {
        key: value for key, value in (ours.context if ours else {}).items() if key not in ("host_name", "executable")
    }
    return {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "data": data.name,
        "rounds": options.rounds,
        "block_seconds": options.seconds,
        "load_before": round(load, 2),
        "sgdscope_bench": context,
    }


def processor() -> str:
    """The processor's name as far as the system tells."""
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def as_json(results: Sequence[Measured], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, round by round, in microseconds, and the targets."""
    networks = {name_of(m.hidden): {"pytorch_us": m.pytorch, "sgdscope_us": m.sgdscope} for m in results}
    targets = [
        {"what": t.what, "ratio": t.ratio.median, "low": t.ratio.low, "high": t.ratio.high, "bound": t.bound,
         "at_least": t.at_least, "met": t.met()}
        for m in results for t in targets_of(m)
    ]  # fmt: skip
    return {"about": facts, "networks": networks, "targets": targets}


def write_atomically(path: Path, content: str) -> None:
    """Writes under a temporary name and renames."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise PeerError(
            str(path), f"cannot be written: {error.strerror}", "choose another place with --out", RESOURCE
        ) from None


# --------------------------------------------------------------------------------------- command line


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="bench_peers.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch and of sgdscope (default: 1)")
    parser.add_argument("--data", metavar="DIR", help="a folder with MNIST-like IDX files (default: random images)")
    parser.add_argument(
        "--sgdscope-bench", metavar="FILE", help="our benchmark executable; without it PyTorch is measured alone"
    )
    parser.add_argument(
        "--networks", metavar="A,B,...", default=",".join(map(str, WIDTHS)), help="hidden units (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each takes its turn (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a turn lasts (default: 0.3)")
    parser.add_argument("--out", metavar="FILE.json", help="also write every round's times as JSON")
    options = parser.parse_args(arguments)
    known = {str(width): width for width in WIDTHS}
    if unknown := [name for name in options.networks.split(",") if name not in known]:
        raise PeerError("--networks", f"no network of '{unknown[0]}' units", f"choose from {', '.join(known)}")
    options.networks = [known[name] for name in options.networks.split(",")]
    for name in ("threads", "rounds", "seconds"):
        if getattr(options, name) <= 0:
            raise PeerError(f"--{name}", f"found {getattr(options, name)}", "give a number above 0")
    if options.device == "cuda" and not torch.cuda.is_available():
        hint = "use --device cpu, or a CUDA build of PyTorch on a machine with an NVIDIA GPU"
        raise PeerError("--device", "this PyTorch sees no CUDA device", hint, RESOURCE)
    return options


def measure_all(options: argparse.Namespace) -> list[Measured]:
    """Measures every network, prints the results, writes the JSON."""
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    if load + options.threads > (os.cpu_count() or 1):
        print(f"note: the machine is busy (load {load:.1f}): trust the ratios rather than the times", file=sys.stderr)
    ours = None
    if options.sgdscope_bench:
        ours = SgdscopeBench(options.sgdscope_bench, options.device, options.threads, options.seconds)
    data = load_data(options.data, torch.device(options.device))
    results = []
    for hidden in options.networks:
        print(f"measuring {name_of(hidden)} ...", file=sys.stderr, flush=True)
        results.append(measure_network(hidden, data, ours, options.rounds, options.seconds))
    facts = about(data, options, ours, load)
    print(f"{facts['device']}, PyTorch {facts['torch']}, {facts['threads']} thread(s)", end=", ")
    print(f"data: {facts['data']}, {facts['rounds']} rounds\n")
    print(table(results))
    print(pytorch_costs(results))
    if targets := [target for measured in results for target in targets_of(measured)]:
        print("\ntargets (median and extremes of the rounds' ratios):")
        print("\n".join(f"  {target}" for target in targets))
    if options.out:
        write_atomically(Path(options.out), json.dumps(as_json(results, facts), indent=1) + "\n")
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and reports; the exit status."""
    try:
        measure_all(parse_arguments(sys.argv[1:] if arguments is None else arguments))
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
