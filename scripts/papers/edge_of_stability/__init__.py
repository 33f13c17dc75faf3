"""The papers on the edge of stability: what their figures have in common here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sgdscope.claims import Sample, TooLittle
from sgdscope.figure import Paper
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.studies import Setting

PAPER = Paper(
    about="full-batch training drives the Hessian's largest eigenvalue to the rule's threshold and holds it there",
    sources=(
        "Jeremy M. Cohen, Simran Kaur, Yuanzhi Li, J. Zico Kolter, Ameet Talwalkar. Gradient Descent on Neural "
        "Networks Typically Occurs at the Edge of Stability. ICLR, 2021; arXiv:2103.00065.",
        "Aitor Lewkowycz, Yasaman Bahri, Ethan Dyer, Jascha Sohl-Dickstein, Guy Gur-Ari. The large learning rate "
        "phase of deep learning: the catapult mechanism. arXiv:2003.02218, 2020.",
        "Jeremy M. Cohen, Behrooz Ghorbani, Shankar Krishnan, Naman Agarwal, Sourabh Medapati, Michal Badura, Daniel "
        "Suo, David Cardoze, Zachary Nado, George E. Dahl, Justin Gilmer. Adaptive Gradient Methods at the Edge of "
        "Stability. arXiv:2207.14484, 2022.",
        "Arseniy Andreyev, Pierfrancesco Beneventano. Edge of Stochastic Stability: Revisiting the Edge of Stability "
        "for SGD. arXiv:2412.20553, 2024.",
    ),
    departures=(
        "No figure is a copy of one of the papers: networks, data and rates are ours, and so are the borders.",
        "Rates and lengths were tried with seed 1. The seeds that are judged are others, and the borders were set before any of their runs.",
    ),
    sizes={
        "quick": "1,000 images of MNIST and two hidden layers of 100 units in place of 5,000 or 8,192 of CIFAR-10 and 200 units",
        "one_seed": "one of the full runs with batches of 8, by a seed of its own",
    },
)

TOP = "hessian.eigenvalue1"
THRESHOLD = "stability.threshold"
BATCH = "stability.batch_sharpness"


def setting_of(results: Results, curve: str) -> Setting:
    """The one setting of a curve."""
    return results.study.curve(curve)[0]


def course(run: Run, names: Sequence[str]) -> list[np.ndarray]:
    """The steps at which all of the columns were measured, and the columns there."""
    run.metrics.load(["step", *names])
    rows = np.all([np.isfinite(run.metrics[name]) for name in names], axis=0)
    if np.count_nonzero(rows) < 3:
        raise TooLittle(f"{run.folder.name} measures {names[0]} at fewer than 3 steps")
    return [run.metrics[name][rows] for name in ("step", *names)]


def share_of_threshold(run: Run, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps, and a sharpness over the rule's threshold."""
    step, sharpness, threshold = course(run, [column, THRESHOLD])
    return step, sharpness / threshold


def late(values: np.ndarray) -> np.ndarray:
    """The last third of the values."""
    return values[-(len(values) // 3) :]


def late_share(column: str) -> Callable[[Run], Sample]:
    """The mean over the last third of training of a sharpness over the rule's threshold."""
    return lambda run: Sample(float(late(share_of_threshold(run, column)[1]).mean()))
