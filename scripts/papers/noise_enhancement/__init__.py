"""The paper `noise_enhancement`: what its figures have in common here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sgdscope.figure import Job, Paper

SEEDS = {True: (1, 2, 3, 4, 5), False: tuple(range(1, 11))}  # quick, full
BATCHES = {True: (25, 50, 100, 200, 400, 800), False: (*range(100, 1000, 100), 1000, 2000, 3000, 5000)}
LARGE = {True: 800, False: 5000}  # the batches of which alpha varies in figure 3

PAPER = Paper(
    about="a second minibatch enhances SGD's noise at a fixed batch size, and networks generalize better",
    measured_on="2 cores of an AMD EPYC with AVX-512, LibTorch 2.13.0 and its MKL (full: by the networks' multiplications; "
    "it is meant for GPUs)",
    departures=(
        "The paper does not say how the training loss that reaches L* and L** is measured. Here: the mean of the batches' "
        "losses over each epoch, at its end. So convergence times are whole epochs.",
        "It does not say which of Glorot's initializations it takes, nor how pixels are scaled. Here: the uniform one, "
        "biases 0; to 0 … 1 (F1) or by the mean and deviation of each channel (C1, C2).",
        "CIFAR-10: trained on the training batches 1 to 4, tested on batch 5. An epoch has 40,000 images, not 50,000.",
        "An epoch leaves out the examples that don't fill its last batch, others in every epoch.",
        "C2's output layer has 100 neurons. The paper says 10, which can't be for CIFAR-100.",
        "The paper waits for every run to reach L**. Here a run ends after 300,000 (F1) or 200,000 steps (C1, C2) at the "
        "latest; a setting of which a run does not get there is left out, and the report says which.",
        "The best batch size is that of the highest mean test accuracy, which is taken of the same runs, as in the paper's "
        "tables: of several settings that are equally good the best looks better than it is, with noise enhancement and "
        "without.",
        "Standard errors: of 400 draws with replacement among the seeds, the best batch size of the drawn taken anew each "
        "time.",
        "The claims were written down before any accuracy was looked at. The quick variant's size was chosen by the times "
        "that a few runs with α = 1 took to L**, at other batch sizes, and one with α = 2.5 that was cut off. A first "
        "version, with 3 seeds and no batches below 100, left half of the claims undecided, and test accuracy still rose "
        "at its smallest batches: seeds and smaller batches were added then. No claim and no border was changed.",
    ),
    quick="an F1 with 7 hidden layers of 64 in place of 500, the first 4,000 training examples in place of 60,000, batches of "
    "25, 50, …, 800 in place of 100 to 5000, α up to 2 (figure 1) and 3 (figure 3), 5 seeds in place of 10, and at most "
    "100,000 steps. In figure 1 this network stands in for C1, and figures 2 and 3 have no C1 and C2, whose runs take hours on "
    "two cores",
)


@dataclass(frozen=True)
class Base:
    """What the runs of a network have in common, in one variant."""

    config: str
    overrides: tuple[str, ...]
    batch: int  # with which the times were taken, alpha = 1
    steps: int  # of a run with it
    power: float  # of batch / effective batch size, by which there are more steps
    step_seconds: float  # beside those of its examples
    example_seconds: float


QUICK = {
    "F1": Base(
        "f1",
        ("steps=100000", "model.hidden=[64,64,64,64,64,64,64]", "data.train_limit=4000", 'eval={"every": 100000}'),
        50, 10300, 1.0, 0.00021, 0.0000049,
    ),
}  # fmt: skip
FULL = {
    "F1": Base("f1", (), 900, 10934, 0.6, 0.005, 0.00015),
    "C1": Base("c1", (), 100, 24500, 0.6, 0.01, 0.03),
    "C2": Base("c2", (), 600, 5292, 0.6, 0.03, 0.037),
}


@dataclass(frozen=True)
class Setting:
    """What is run with all seeds."""

    network: str
    alpha: float
    batch: int

    @property
    def name(self) -> str:
        """Of the jobs."""
        return f"{self.network}_alpha{self.alpha:g}_B{self.batch}"

    def jobs(self, quick: bool) -> list[Job]:
        """One for each seed."""
        base = (QUICK if quick else FULL)[self.network]
        overrides = (*base.overrides, f"batch_size={self.batch}", f"gradient.alpha={self.alpha:g}")
        noise = self.alpha**2 + (1 - self.alpha) ** 2
        steps = base.steps * (base.batch * noise / self.batch) ** base.power
        gradients = 1 if self.alpha == 1 else 2
        seconds = round(steps * gradients * (base.step_seconds + base.example_seconds * self.batch), 1)
        config = f"configs/noise_enhancement/{base.config}.json"
        return [Job(self.name, config, seed, overrides, seconds) for seed in SEEDS[quick]]


def over_batches(network: str, alpha: float, quick: bool) -> list[Setting]:
    """All batch sizes at one alpha."""
    return [Setting(network, alpha, batch) for batch in BATCHES[quick]]


def over_alphas(network: str, alphas: Sequence[float], quick: bool) -> list[Setting]:
    """All alpha with large batches."""
    return [Setting(network, alpha, LARGE[quick]) for alpha in alphas]


def jobs_of(settings: Iterable[Setting], quick: bool) -> list[Job]:
    """All jobs of the settings, each setting once."""
    return [job for setting in dict.fromkeys(settings) for job in setting.jobs(quick)]
