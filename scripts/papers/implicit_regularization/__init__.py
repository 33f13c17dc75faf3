"""The paper `implicit_regularization`: what its figures have in common here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sgdscope.figure import Job, Paper

TRAIN = "eval.train_accuracy"
TEST = "eval.test_accuracy"
CHANCE = 0.1  # the accuracy of guessing one of ten classes
SEEDS = {True: (1, 2, 3), False: (1, 2, 3, 4, 5, 6, 7)}  # quick, full
KEPT = {3: 2, 7: 5}  # of so many runs the best
C_REG = {"name": "implicit_regularizer", "gamma": False}  # the probe; at the beginning of the last epoch
PEAK = 0.005  # of accuracy: less is no rise or fall to speak of, the highest of several being always above the others

PAPER = Paper(
    about="SGD with a finite learning rate follows the gradient flow of a loss with a penalty on the batch gradients' norms",
    measured_on="2 cores of an AMD EPYC with AVX-512, LibTorch 2.13.0 and its MKL (full: by its time per step there; it is "
    "meant for GPUs)",
    departures=(
        "CIFAR-10: trained on the training batches 1 to 4, tested on batch 5. An epoch has 40,000 images in place of 50,000.",
        "The paper's text names the optimal learning rates and regularizers, not which others it took. Here: powers of 2 "
        "around those optima.",
        "It does not say how weights start. Here: He's normal form, biases 0.",
        "The best runs of a setting are those with the highest test accuracy of their whole training, as evaluated; all "
        "numbers of the setting are means over them. A run that diverged is worse than any that did not, and counts with "
        "the accuracy of guessing, 10 %, where too few others are left; pictures leave such settings out.",
        "Standard errors: of 400 draws with replacement among the seeds, the best of the drawn taken anew each time.",
    ),
    quick="a network with three hidden layers of 128 in place of the Wide-ResNets and of three layers of 4096 (Wide-ResNets "
    "with 4 channels were tried: trained so briefly they have learned next to nothing), 1,024 training examples in place "
    "of 40,000 or 60,000, no crops and flips, the first 2,000 (CIFAR-10) or 5,000 (Fashion-MNIST) test examples, batches "
    "of 8, 16 and 32, 24 or 40 epochs in place of 6400 or 400, fewer and larger learning rates and regularizers, and the "
    "best 2 of 3 runs in place of the best 5 of 7. The networks fit all training examples, at most learning rates, and "
    "there is room for the effect",
)


@dataclass(frozen=True)
class Base:
    """What the settings of an experiment have in common, in one variant."""

    config: str
    overrides: tuple[str, ...]
    examples: int  # of the training set
    batch: int
    epochs: int
    evaluated: int  # once in so many epochs
    start_seconds: float  # and evaluations
    step_seconds: float
    penalty_factor: float  # of the time of a step


_NETWORK = 'model={"name": "mlp", "hidden": [128, 128, 128], "init": "he_normal"}'
_CIFAR10 = (
    'data={"name": "cifar10", "train_files": ["data_batch_1.bin"], "test_files": ["data_batch_5.bin"], '
    '"normalize": "dataset", "train_limit": 1024, "test_limit": 2000}'
)
_SHORT = ("epochs=24", "batch_size=16", "eval.every_epochs=2")

QUICK = {
    "cifar10": Base("wide_resnet", (_CIFAR10, _NETWORK, *_SHORT), 1024, 16, 24, 2, 0.8, 0.0010, 2.4),
    "n_step": Base("n_step", (_CIFAR10, _NETWORK, *_SHORT), 1024, 16, 24, 2, 0.8, 0.0010, 2.4),
    "fashion_mnist": Base(
        "fashion_mnist",
        ("model.hidden=[128,128,128]", "data.train_limit=1024", "data.test_limit=5000", "epochs=40", "eval.every_epochs=5"),
        1024, 16, 40, 5, 1.0, 0.0005, 2.4,
    ),
}  # fmt: skip
FULL = {
    "cifar10": Base("wide_resnet", (), 40_000, 32, 6400, 4, 0, 0.036, 3.6),
    "n_step": Base("n_step", (), 40_000, 32, 400, 1, 0, 0.9, 2.8),
    "fashion_mnist": Base("fashion_mnist", (), 60_000, 16, 400, 1, 0, 0.17, 2.6),
}


def base_of(experiment: str, quick: bool) -> Base:
    """Of an experiment: cifar10, n_step or fashion_mnist."""
    return (QUICK if quick else FULL)[experiment]


@dataclass(frozen=True)
class Setting:
    """What is run with all seeds. Learning rate and lambda are powers of 2, given by their exponents."""

    experiment: str
    rate: int  # of each move, where there are n on a batch
    penalty: int | None = None  # None: lambda = 0
    batch: int | None = None  # None: as in the base
    n: int = 1
    epochs: int | None = None  # None: as in the base

    @property
    def name(self) -> str:
        """Of the jobs: it says what differs from the base."""
        words = [self.experiment, f"rate2^{self.rate}"]
        words += [f"lambda2^{self.penalty}"] if self.penalty is not None else []
        words += [f"batch{self.batch}"] if self.batch is not None else []
        words += [f"n{self.n}"] if self.n > 1 else []
        words += [f"epochs{self.epochs}"] if self.epochs is not None else []
        return "_".join(words)

    def jobs(self, quick: bool) -> list[Job]:
        """One for each seed."""
        base = base_of(self.experiment, quick)
        overrides = [*base.overrides, *self._update(), *self._length(base)]
        if self.experiment == "cifar10":
            overrides.append(f"probes={json.dumps([{**C_REG, 'every_epochs': (self.epochs or base.epochs) - 1}])}")
        if self.penalty is not None:
            overrides.append(f"gradient={json.dumps({'name': 'gradient_norm_penalty', 'lambda': 2.0**self.penalty})}")
        steps = (self.epochs or base.epochs) * (base.examples // (self.batch or base.batch))
        factor = base.penalty_factor if self.penalty is not None else 1.0
        seconds = round(base.start_seconds + steps * self.n * factor * base.step_seconds, 1)
        config = f"configs/implicit_regularization/{base.config}.json"
        return [Job(self.name, config, seed, tuple(overrides), seconds) for seed in SEEDS[quick]]

    def _update(self) -> list[str]:
        rate = 2.0**self.rate
        if self.experiment == "n_step":
            return [f"update.learning_rate.value={rate!r}", f"update.n={self.n}"]
        if self.n > 1:
            return [f"update={json.dumps({'name': 'n_step', 'n': self.n, 'learning_rate': rate})}"]
        return [f"update.learning_rate={rate!r}"]

    def _length(self, base: Base) -> list[str]:
        """Batches and epochs. With both changed the steps are as many as in the base, and evaluated as often."""
        words = []
        if self.batch is not None:
            words.append(f"batch_size={self.batch}")
        if self.epochs is not None:
            words.append(f"epochs={self.epochs}")
        if self.batch is not None and self.epochs is not None:
            words.append(f"eval={json.dumps({'every': base.evaluated * (base.examples // base.batch)})}")
        return words


def same_steps(experiment: str, rate: int, penalty: int, batch: int, quick: bool) -> Setting:
    """With so many epochs that there are as many steps as with the base's batches."""
    base = base_of(experiment, quick)
    if batch == base.batch:
        return Setting(experiment, rate, penalty)
    return Setting(experiment, rate, penalty, batch, epochs=base.epochs * batch // base.batch)


def same_epochs(experiment: str, rate: int, batch: int, quick: bool) -> Setting:
    """With another batch size, if it is not the base's."""
    return Setting(experiment, rate, batch=None if batch == base_of(experiment, quick).batch else batch)


def jobs_of(settings: Sequence[Setting], quick: bool) -> list[Job]:
    """All jobs of the settings, each setting once."""
    return [job for setting in dict.fromkeys(settings) for job in setting.jobs(quick)]
