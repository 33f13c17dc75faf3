#!/usr/bin/env python3
"""Measures a training step in PyTorch and other peers, and next to it the same step in sgdscope.

    scripts/bench_peers.py --sgdscope-bench build/release/sgdscope_bench --out bench.json
    scripts/bench_peers.py --work coherent_gradients --data DIR --sgdscope-bench build/release/sgdscope_bench

All with ReLU, cross-entropy, batches of 100, SGD with learning rate 0.1, float32, where nothing else is said. A plain step draws a batch, goes
forward and backward and updates; the loss is kept and not read back.

--work inherent_noise, the three networks of figure 3, 784-64-10, 784-2000-10 and 784-8000-10:

  plain step    with PyTorch's data kept as uint8, and converted to float beforehand.
  Taylor step   the same, and on the updating, a recent and a long-ago batch: the dot product of its gradient
                with the updating batch's, its loss before and after the update, and the penalty.

--work coherent_gradients, the network of figure 4, 784-256-256-256-10:

  per-example   the gradient of every example's own loss, [n, p]: by outer products of each layer's inputs and
  gradients     output gradients, by torch.func, by Opacus.
  norms, trace  a plain step with the per-example gradients' norms, or the trace of their covariance; by the same,
                and by Opacus' ghost norms, and JAX.
  winsorized    descends along the mean of per-example gradients, each weight's lowest and highest clipped to the
  step          c-th and (100 - c)-th percentile. Peers at c = 2: each way to the gradients with topk, sort, kthvalue
                and quantile, in blocks that fit into the cache; topk of whole layers, as it is usually written; JAX's
                vmap(grad) with percentile.

--work implicit_regularization, AlexNet, ResNet-18 and the Wide-ResNet 10-1 with SkipInit on 3 x 32 x 32 pixels, batches
of 32, contiguous and channels last:

  plain step    as above.
  penalty       descends along the gradient of C + (lambda / 4) |grad C|^2, by double backpropagation.

--work noise_enhancement, its network F1, 784 and seven hidden layers of 500, in batches of 100 and of 1000:

  plain step    as above.
  noise         descends along 2 grad L_B - grad L_B', B' being a second batch: by two losses, or by one pass over the
  enhanced      joined batches.

--work generalization_gap, the same network, batches of 100:

  gap step      a plain step with the change of the loss on its batch and on a test batch, and of the gap to first
                order; sgdscope's also with the trace of the covariance.

--work plain, 784-64x7-10 in batches of 25, 784-64-10, 784-256x3-10, 784-500x7-10 and 784-2000-10 in batches of 100,
784-4096x3-10 in batches of 16; the ConvNet of coherent_gradients, C1 of noise_enhancement, Wide-ResNet 10-1 with 16 and
with 8 channels, ResNet-18 and AlexNet in batches of 16, 100 and 1000 (of --networks and --batches those that are named):

  plain step    eager, of images also channels last, by torch.compile, by JAX's jit with donated parameters; ours also as
                a share of what the processor can multiply and add at most.

--work hessian, 784-256-256-256-10, the Hessian of 2,000 examples, and ResNet-18, of 32 images:

  product       with a vector, and a gradient beside it.
  ten steps     plain steps, and then the largest eigenvalue to about 1e-3, from the last one's vector on: by a graph that
                is kept and SciPy's eigsh, by curvlinops and eigsh; by PyHessian from a random vector.

--work stability, 784-256-256-256-10, batches of 8 and of 100:

  sharpness     a plain step with the batch sharpness of 100 fresh batches; PyTorch's by double backward, one by one.

--work interventions, 784-256-256-256-10:

  clipped       descends along the mean of per-example gradients of limited length; PyTorch's by outer products of each
                layer's inputs and output gradients, and Opacus' ghost clipping.
  noise         sgdscope's estimators gaussian_noise and isotropic_noise.
  sam, asam     descends along the gradient uphill of the weights.

PyTorch runs each as a careful user writes it; the fastest counts. Before a peer of coherent_gradients is timed, what it
computes is compared with a loop over single examples in double precision, as are clipped gradients; before one of plain,
its loss and step on 100 examples at most with PyTorch's in double precision. One that computes something else does not
count. Opacus, JAX, curvlinops and PyHessian are measured where they are installed. sgdscope's numbers come from
sgdscope_bench (Google Benchmark: PlainStep/64, TaylorStep/64, WinsorizedStep3x256/2 and so on), which is called anew in
each round.

With --clock both, plain steps are measured by the time that passes and, in the same rounds, by the processor time of all
threads. --budget bounds the time of a network's rounds; one is measured in any case, and each line says how many were.

All candidates take turns, in rounds of about 0.3 s each or one step, in an order that moves on from round to round;
what is reported are medians over the rounds, and of ratios the median of each round's ratio. So a machine
that is busy for a while does not favour one of them. Exit status: 0 measured (targets met or not),
2 wrong usage, 3 unusable data or benchmark, 5 no PyTorch or no such device.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sgdscope.libraries import numpy, torch  # noqa: F401

# isort: split
from sgdscope.errors import RESOURCE, Error, exit_status_of, note
from sgdscope.files import replacing
from sgdscope.peers import (
    coherent_gradients,
    generalization_gap,
    hessian,
    implicit_regularization,
    inherent_noise,
    interventions,
    noise_enhancement,
    plain,
    stability,
)
from sgdscope.peers.data import Dataset, load_data
from sgdscope.peers.report import about, as_json
from sgdscope.peers.sgdscope_bench import SgdscopeBench
from sgdscope.peers.timing import CLOCKS, Measured, Turns

WORKS = {
    "plain": plain,
    "inherent_noise": inherent_noise,
    "coherent_gradients": coherent_gradients,
    "implicit_regularization": implicit_regularization,
    "noise_enhancement": noise_enhancement,
    "generalization_gap": generalization_gap,
    "hessian": hessian,
    "stability": stability,
    "interventions": interventions,
}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="bench_peers.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--work", choices=(*WORKS, "all"), default="inherent_noise", help="(default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch and of sgdscope (default: 1)")
    parser.add_argument("--data", metavar="DIR", help="a folder with MNIST-like IDX files (default: random images)")
    parser.add_argument(
        "--sgdscope-bench", metavar="FILE", help="our benchmark executable; without it the peers are measured alone"
    )
    parser.add_argument(
        "--networks", metavar="A,B,...", help="hidden units, for inherent_noise; names, for plain (default: all)"
    )
    parser.add_argument("--batches", metavar="A,B,...", help="batch sizes, for plain (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each takes its turn (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a turn lasts (default: 0.3)")
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds for a network's rounds (default: any)")
    clocks = "cpu: processor time, for a busy machine; both: for plain (default: wall)"
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=clocks)
    parser.add_argument("--out", metavar="FILE.json", help="also write every round's times as JSON")
    options = parser.parse_args(arguments)
    choose(options)
    for name in ("threads", "rounds", "seconds", "budget"):
        if getattr(options, name) <= 0:
            raise Error(f"--{name}", f"found {getattr(options, name)}", "give a number above 0")
    if options.clock == "both" and (options.device != "cpu" or options.work != "plain"):
        raise Error(
            "--clock", "only plain steps on the CPU are read by both", "use --work plain --device cpu, or --clock wall"
        )
    if options.clock == "cpu" and (options.device != "cpu" or options.threads != 1):
        hint = "use --clock wall, or --device cpu --threads 1"
        raise Error("--clock", "processor time says nothing about a GPU or several threads", hint)
    if options.device == "cuda" and not torch.cuda.is_available():
        hint = "use --device cpu, or a CUDA build of PyTorch on a machine with an NVIDIA GPU"
        raise Error("--device", "this PyTorch sees no CUDA device", hint, RESOURCE)
    return options


def named(option: str, names: str | None, known: Iterable[object]) -> list[str]:
    """The comma-separated names; None: all that are known."""
    all_names = list(dict.fromkeys(map(str, known)))
    chosen = all_names if names is None else names.split(",")
    if unknown := [name for name in chosen if name not in all_names]:
        raise Error(option, f"found '{unknown[0]}'", f"choose from {', '.join(all_names)}")
    return chosen


def choose(options: argparse.Namespace) -> None:
    """What is to be measured: widths of inherent_noise, lines of plain."""
    names = {"inherent_noise": inherent_noise.WIDTHS, "plain": [line.name for line in plain.LINES]}
    of = {work: options.networks if work == options.work else None for work in names}
    if options.networks is not None and options.work not in names:
        raise Error(
            "--networks", f"--work {options.work} has no choice of networks", f"use --work {' or '.join(names)}"
        )
    if options.batches is not None and options.work != "plain":
        raise Error("--batches", f"--work {options.work} has no choice of batch sizes", "use --work plain")
    chosen = {work: named("--networks", of[work], known) for work, known in names.items()}
    sizes = named("--batches", options.batches, [line.batch_size for line in plain.LINES])
    options.widths = [width for width in inherent_noise.WIDTHS if str(width) in chosen["inherent_noise"]]
    options.lines = [line for line in plain.LINES if line.name in chosen["plain"] and str(line.batch_size) in sizes]
    if not options.lines:
        hint = "leave out --batches or --networks"
        raise Error("--batches", f"{options.networks} is not measured in batches of {options.batches}", hint)


def measure_work(
    work: str, options: argparse.Namespace, data: Dataset, ours: SgdscopeBench | None, turns: Turns
) -> list[Measured]:
    """Measures each network of a work."""
    device = torch.device(options.device)
    match work:
        case "plain":
            return [plain.measure(network, data, ours, turns, options.threads) for network in options.lines]
        case "inherent_noise":
            return [inherent_noise.measure(hidden, data, ours, turns) for hidden in options.widths]
        case "coherent_gradients":
            return [coherent_gradients.measure(data, ours, turns, options.threads)]
        case "implicit_regularization":
            return [
                implicit_regularization.measure(network, device, ours, turns)
                for network in implicit_regularization.BENCHMARKS
            ]
        case "noise_enhancement":
            return [noise_enhancement.measure(size, data, ours, turns) for size in noise_enhancement.BATCH_SIZES]
        case "generalization_gap":
            return [generalization_gap.measure(data, ours, turns)]
        case "hessian":
            return [hessian.measure(network, data, ours, turns) for network in hessian.BENCHMARKS]
        case "interventions":
            return [interventions.measure(data, ours, turns)]
        case _:
            return [stability.measure(size, data, ours, turns) for size in stability.SIZES]


def measure_all(options: argparse.Namespace) -> None:
    """Measures every network, prints the results, writes the JSON."""
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    if load + options.threads > (os.cpu_count() or 1):
        note(f"the machine is busy (load {load:.1f}): trust the ratios rather than the times")
    turns = Turns(options.rounds, options.seconds, options.clock, options.budget)
    ours = None
    if options.sgdscope_bench:
        ours = SgdscopeBench(options.sgdscope_bench, options.device, options.threads, options.data, turns)
    data = load_data(options.data, torch.device(options.device))
    chosen = list(WORKS) if options.work == "all" else [options.work]
    results = {work: measure_work(work, options, data, ours, turns) for work in chosen}
    targets = [
        target
        for work, of_work in results.items()
        for measured in of_work
        for target in WORKS[work].targets_of(measured)
    ]
    facts = about(data, turns, ours, load)
    budget = f" or as many as fit into {options.budget:g} s" if math.isfinite(options.budget) else ""
    print(f"{facts['device']}, PyTorch {facts['torch']}, {facts['threads']} thread(s)", end=", ")
    print(f"data: {facts['data']}, {facts['rounds']} rounds{budget}, clock: {facts['clock']}\n")
    print("\n\n".join(WORKS[work].report(of_work) for work, of_work in results.items()))
    if targets:
        print("\ntargets (median and extremes of the rounds' ratios):")
        print("\n".join(f"  {target}" for target in targets))
    if options.out:
        every = [measured for of_work in results.values() for measured in of_work]
        with replacing(Path(options.out)) as file:
            file.write_text(json.dumps(as_json(every, targets, facts), indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and reports; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: measure_all(parse_arguments(given)))


if __name__ == "__main__":
    sys.exit(main())
