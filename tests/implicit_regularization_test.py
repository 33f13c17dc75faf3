#!/usr/bin/env python3
"""Tests of the figures of implicit_regularization on runs made up here: python tests/implicit_regularization_test.py"""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil
import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from run_folders import NAN, SEEDS, SIZES, RunFolders, named, study, wobble

# isort: split
from papers.implicit_regularization import CHANCE, fig1, fig2, fig3, fig4, fig5, fig6, fig7, modified_flow, variance
from papers.implicit_regularization._curves import (
    ACCURACY,
    Curve,
    Quantity,
    curve,
    disagreement,
    highest,
    largest_stable,
    last,
    mean_late,
    measured,
    optimum,
    slope,
    table_of_best,
)
from sgdscope.catalogue import figures, jobs_of, study_of, unique_jobs
from sgdscope.claims import Censored, TooLittle, Verdict
from sgdscope.durations import Durations
from sgdscope.figure import Figure
from sgdscope.plan import Reproduction
from sgdscope.plots.style import house_style
from sgdscope.report import write_report
from sgdscope.results import Results, load_outcome
from sgdscope.runs import open_run
from sgdscope.studies import Setting, read_json

HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN
EPOCHS = (0, 5, 10, 20, 40)
RISING = (0.1, 0.6, 0.8, 0.95, 1.0)  # of an accuracy, its part at EPOCHS
AT_ONCE = (0.1, 1.0, 1.0, 1.0, 1.0)
MANIFEST = {
    "steps_done": 40, "wall_seconds": 1.0, "peak_memory_bytes": 1e8, "device": "cpu", "threads": 1, "cpu": "a processor",
    "versions": {"sgdscope": "1", "libtorch": "2", "blas": "3"},
}  # fmt: skip
FIGURES = tuple(figures("implicit_regularization").values())


class Made(RunFolders):
    """Runs of known accuracies, and the results that they make."""

    def make_run(
        self,
        setting: Setting,
        seed: int,
        test: Sequence[float],
        train: Sequence[float] | None = None,
        loss: float = 0.1,
        regularizer: float = 1.0,
        error: float = 40.0,
        product: float = 0.01,
        cosines: tuple[float, float] = (0.02, -0.02),
    ) -> None:
        """A run with evaluations at EPOCHS; in batches of 16, with mean products and cosines of their pairs within a class and between."""
        factor = wobble(setting.name, seed)
        evaluations = {"step": EPOCHS, "epoch": EPOCHS, "test_accuracy": [factor * one for one in test]}
        evaluations["train_accuracy"] = [factor * one for one in train or test]
        evaluations["train_loss"] = [2.3, 2.0, 1.5, 1.0, loss]
        metrics = {"step": [0, 30], "epoch": [0, 30], "loss": [2.3, 0.1]}
        metrics["implicit_regularizer.regularizer"] = [9.0, regularizer]
        metrics |= {"implicit_regularizer.batch_error": [error, 40.0], "implicit_regularizer.squared_norm": [2.0, 2.0]}
        metrics |= {
            "covariance.m_coherence": [1 + 15 * 2 * product, 1.0],
            "covariance.stiffness_cos_within": [NAN, cosines[0]],  # a batch may have no such pair
            "covariance.stiffness_cos_between": [0.0, 2 * cosines[1]],
        }
        config = {"data": {"name": "cifar10", "path": "somewhere"}, "batch_size": 16}
        self.make(f"runs/{setting.name},seed={seed}", metrics, evaluations, config=config, manifest=MANIFEST)

    def make_diverged(self, setting: Setting, seed: int) -> None:
        """A run that diverged at once."""
        rows = {"step": [0], "epoch": [0], "loss": [2.3]}
        name = f"runs/{setting.name},seed={seed}"
        self.make(name, rows, manifest={"status": "diverged", "reason": "the loss is nan at step 1"})

    def assert_drawn(self, figure: Figure, lines: Sequence[int]) -> None:
        """Asserts that every panel has so many lines; caps of error bars do not count."""
        with house_style():
            (picture,) = figure.draw(self.results(figure)).values()
        found = [
            sum(len(a.get_xdata()) > 1 and a.get_linestyle() != "None" for a in axes.lines) for axes in picture.axes
        ]
        self.assertEqual(found, list(lines))


def noise(seed: int) -> float:
    """A small number for each seed, 0 in the mean of the best two."""
    return (0.001, -0.001, -0.02, -0.021, -0.022, -0.023, -0.024, -0.025)[seed - 1]


def peak(x: float, at: float, top: float, width: float) -> float:
    """An accuracy over exponents: a parabola, never below guessing."""
    return max(CHANCE, top - ((x - at) / width) ** 2)


# --------------------------------------------------------------------------------------- jobs and settings


class Jobs(Made):
    def test_every_figure_has_jobs_of_known_configs_and_all_share_without_conflict(self) -> None:
        for size, seeds in (("quick", len(SEEDS)), ("full", len(SEEDS))):
            jobs = unique_jobs([job for figure in FIGURES for job in study(figure, size).jobs()])
            self.assertEqual(len({job.config for job in jobs}), 4)
            by_name: dict[str, list[int | None]] = {}
            for job in jobs:
                by_name.setdefault(job.name, []).append(job.seed)
            del by_name[modified_flow.NAME], by_name[variance.NAME]
            self.assertEqual({tuple(found) for found in by_name.values()}, {tuple(range(1, seeds + 1))})

    def test_quick_takes_less_than_10_minutes_on_two_cores(self) -> None:
        jobs = jobs_of("implicit_regularization", figures("implicit_regularization"), "quick")
        self.assertLess(Durations.load("implicit_regularization").of_all("quick", jobs), 10 * 60)

    def test_figures_share_their_runs(self) -> None:
        for size in SIZES:
            first = {job.folder: job for job in study(fig1.FIGURE, size).jobs()}
            self.assertEqual({job.folder: job for job in study(fig5.FIGURE, size).jobs()}, first)
            second = study(fig2.FIGURE, size)
            shared = first.keys() & {job.folder for job in second.jobs()}
            self.assertEqual(len(shared), len(second.seeds) * (len(second.curves["rates"]) + 1))
            third = {job.folder for job in study(fig3.FIGURE, size).jobs()}
            self.assertGreater(len(first.keys() & third), 0)

    def test_the_full_size_is_the_papers(self) -> None:
        expected = {
            "cifar10": (6400, 32, ("wide_resnet", 10, 1), "shuffle", ("dataset", True)),
            "n_step": (400, 32, ("wide_resnet", 16, 4), "shuffle", ("dataset", True)),
            "fashion_mnist": (400, 16, ("mlp", None, None), "shuffle", ("per_image", False)),
        }
        for experiment, figure in (("cifar10", fig1), ("n_step", fig4), ("fashion_mnist", fig6)):
            full = study(figure.FIGURE, "full")
            config = read_json(full.settings[0].config)
            model, data = config["model"], config["data"]
            found = (
                config["epochs"], config["batch_size"], (model["name"], model.get("depth"), model.get("width")),
                config["sampler"]["name"], (data["normalize"], "augment" in data),
            )  # fmt: skip
            self.assertEqual(found, expected[experiment])
            self.assertEqual((config["epochs"], full.values["epochs"]), (full.values["base_epochs"],) * 2)
            self.assertEqual(config["batch_size"], full.values.get("batch", 32))
            self.assertEqual(model.get("norm", "skipinit"), "skipinit")
            self.assertEqual(model.get("hidden", [4096] * 3), [4096] * 3)
        config = read_json(study(fig1.FIGURE, "full").settings[0].config)
        self.assertEqual(config["update"]["weight_decay"], 5e-4)
        config = read_json(study(fig4.FIGURE, "full").settings[0].config)
        schedule = {"name": "step_decay", "hold": 0.5, "factor": 0.5, "every": 0.1}
        self.assertLessEqual(schedule.items(), config["update"]["learning_rate"].items())
        for job in unique_jobs([job for figure in FIGURES for job in study(figure, "full").jobs()]):
            self.assertNotIn("limit", " ".join(job.overrides))

    def test_words_of_settings(self) -> None:
        def words(figure: Figure, name: str, size: str = "full") -> str:
            return " ".join(named(figure, name, size).overrides)

        plain = words(fig1.FIGURE, "cifar10_rate2^-9")
        self.assertIn("update.learning_rate=0.001953125", plain)
        self.assertIn('"every_epochs": 6399', plain)
        regularized = words(fig1.FIGURE, "cifar10_rate2^-9_lambda2^-6")
        self.assertIn('gradient={"name": "gradient_norm_penalty", "lambda": 0.015625}', regularized)
        moves = words(fig7.FIGURE, "fashion_mnist_rate2^-5_n4")
        self.assertIn('update={"name": "n_step", "n": 4, "learning_rate": 0.03125}', moves)
        self.assertNotIn("update.", moves)
        self.assertIn("update.learning_rate.value=0.25 update.n=4", words(fig4.FIGURE, "n_step_rate2^-2_n4"))
        self.assertNotIn("n_step", words(fig6.FIGURE, "fashion_mnist_rate2^-3"))
        # Equal steps are evaluated at equal steps, equal epochs at equal epochs.
        steps = words(fig6.FIGURE, "fashion_mnist_rate2^-9_lambda2^-2_batch64_epochs1600")
        self.assertIn('batch_size=64 epochs=1600 eval={"every": 3750}', steps)
        self.assertNotIn("eval", words(fig6.FIGURE, "fashion_mnist_rate2^-7_batch64"))
        short = words(fig3.FIGURE, "cifar10_rate2^-7_lambda2^-2_batch32_epochs48", "quick")
        self.assertIn('"every_epochs": 47', short)
        for figure in (fig1, fig6):  # no step is left out with any batch size
            values = study(figure.FIGURE).values
            self.assertEqual(values["examples"] % (2 * values["base_batch"]), 0)


# ------------------------------------------------------------------------------------------ best of several


class BestOfSeveral(Made):
    def setUp(self) -> None:
        super().setUp()
        self.setting = named(fig1.FIGURE, "cifar10_rate2^-5")

    def results(self, figure: Figure, size: str = "quick") -> Results:
        """With three seeds."""
        found = replace(study(figure, size), seeds=(1, 2, 3))
        return Results(found, [load_outcome(job, self.root / "runs") for job in found.jobs()])

    def curve(self, quantity: Quantity, epochs: float = math.inf) -> Curve:
        """The curve of the one setting."""
        return curve(self.results(fig1.FIGURE), [self.setting], quantity, epochs)

    def test_the_runs_with_the_highest_test_accuracy_ever_are_kept(self) -> None:
        # Seed 2 is the worst at the end, and had the highest test accuracy on the way.
        self.make_run(self.setting, 1, (0.1, 0.2, 0.3, 0.40, 0.4), (0.1, 0.2, 0.3, 0.9, 0.8), loss=1.0, regularizer=10)
        self.make_run(self.setting, 2, (0.1, 0.2, 0.6, 0.20, 0.2), (0.1, 0.2, 0.3, 0.7, 0.6), loss=2.0, regularizer=20)
        self.make_run(self.setting, 3, (0.1, 0.5, 0.1, 0.45, 0.3), (0.1, 0.2, 0.3, 0.5, 0.4), loss=4.0, regularizer=40)
        self.assertAlmostEqual(self.curve(ACCURACY).means()[0], 0.55)
        self.assertAlmostEqual(self.curve(highest("eval.train_accuracy")).means()[0], 0.6)
        self.assertAlmostEqual(self.curve(last("eval.train_loss")).means()[0], 3.0)
        self.assertAlmostEqual(self.curve(fig1.REGULARIZER).means()[0], 30.0)
        self.assertAlmostEqual(self.curve(mean_late("eval.test_accuracy")).means()[0], 0.25)
        # Within 5 epochs seeds 1 and 3 (2 as good as 1, the first stays).
        self.assertAlmostEqual(self.curve(highest("eval.test_accuracy", 5), 5).means()[0], 0.35)
        (table,) = table_of_best(self.results(fig1.FIGURE))
        self.assertEqual(table.rows, [["`cifar10_rate2^-5`", "55.00 ± 7.07 %", "2: 60.00 %; 3: 50.00 %", "1: 40.00 %"]])

    def test_a_run_that_diverged_is_the_worst(self) -> None:
        self.make_run(self.setting, 1, RISING)
        self.make_diverged(self.setting, 2)
        self.make_run(self.setting, 3, [0.5 * value for value in RISING])
        self.assertAlmostEqual(self.curve(ACCURACY).means()[0], 0.75)
        self.assertAlmostEqual(self.curve(last("eval.train_loss")).means()[0], 0.1)
        (table,) = table_of_best(self.results(fig1.FIGURE))
        self.assertEqual(table.rows[0][2:], ["1: 100.00 %; 3: 50.00 %", "2: diverged"])

    def test_two_that_diverged_count_as_guessing_and_have_no_loss(self) -> None:
        self.make_run(self.setting, 1, RISING)
        self.make_diverged(self.setting, 2)
        self.make_diverged(self.setting, 3)
        self.assertAlmostEqual(self.curve(ACCURACY).means()[0], (1 + CHANCE) / 2)
        self.assertTrue(math.isnan(self.curve(last("eval.train_loss")).means()[0]))
        np.testing.assert_allclose(self.curve(ACCURACY).best(), [[1.0, NAN]])  # which no picture shows

    def test_a_missing_run_leaves_its_setting_open(self) -> None:
        self.make_run(self.setting, 1, RISING)
        self.make_run(self.setting, 2, RISING)
        found = self.curve(ACCURACY)
        self.assertTrue(math.isnan(found.means()[0]))
        measurement = measured(lambda mean: mean[0], found)
        self.assertEqual((measurement.samples, measurement.problems), ({}, ("cifar10_rate2^-5,seed=3: not run yet",)))
        self.assertEqual(table_of_best(self.results(fig1.FIGURE)), [])

    def test_verdicts_take_all_seeds(self) -> None:
        values = np.random.default_rng(7).normal(size=(2, 3))
        found = measured(lambda one: one[1] - one[0], Curve(("a", "b"), values, values, 2, ()))
        np.testing.assert_allclose(found.values, values[1] - values[0])

    def test_what_cannot_be_measured_says_why(self) -> None:
        def never(_: np.ndarray) -> float:
            raise TooLittle("there is nothing")

        found = measured(never, Curve(("a",), np.ones((1, 3)), np.ones((1, 3)), 2, ()))
        self.assertEqual((found.samples, found.problems), ({}, ("3 of 3 seeds give no number: there is nothing",)))

    def test_a_setting_that_diverges_with_some_seeds_only_leaves_its_number_open(self) -> None:
        def sum_of_known(one: np.ndarray) -> float:
            return float(np.nansum(one))

        values = np.array([[1.0, 1, 1], [2, 2, 2], [NAN, NAN, NAN]])  # all seeds say the same of the third
        whole = Curve(("a", "b", "c"), values, values, 3, ())
        self.assertEqual(measured(sum_of_known, whole).censored, "")
        values[1, 1] = NAN  # the mean of b would be that of the seeds that did not diverge
        found = measured(sum_of_known, whole)
        self.assertEqual(found.censored, "b diverges with 1 of 3 seeds, unlike with the others")


class Numbers(unittest.TestCase):
    def test_of_a_curve(self) -> None:
        x, y = np.array([-4, -3, -2, -1]), np.array([0.2, 0.6, 0.6, 0.1])
        self.assertEqual(optimum(x, y), -2)  # of equal ones the last
        self.assertEqual(largest_stable(x, y), -2)
        self.assertEqual(largest_stable(x, np.array([0.6, 0.1, 0.6, 0.6])), -4)
        self.assertEqual(largest_stable(x, np.array([0.15, 0.6, 0.6, 0.1])), -2)  # slow at first is not unstable
        with self.assertRaisesRegex(Censored, r"largest one tried, 2\^-1, is still stable: add 2\^0"):
            largest_stable(x, np.array([0.1, 0.6, 0.6, 0.6]))
        self.assertAlmostEqual(slope(x, np.array([8.0, 4.0, NAN, 1.0])), -1)
        with self.assertRaises(TooLittle):
            slope(x, np.array([8.0, NAN, NAN, NAN]))

    def test_disagreement_is_over_pairs_at_common_places_that_trained(self) -> None:
        first = np.array([1, 2, 3]), np.array([0.5, 0.6, 0.7])
        second = np.array([2, 3, 4]), np.array([0.5, 0.8, 0.1])
        third = np.array([4, 5]), np.array([0.9, 0.9])
        self.assertAlmostEqual(disagreement(*zip(first, second)), 0.1)
        with self.assertRaisesRegex(TooLittle, "no place"):  # the only common one did not train
            disagreement(*zip(second, third))


# ------------------------------------------------------------------------------------------------- figures


class Cifar10(Made):
    def make_runs(
        self, rate: Callable[[int], Mapping[str, float]], penalty: Callable[[int], Mapping[str, float]]
    ) -> None:
        """Of figures 1 and 5: numbers over the exponents of the learning rate and of lambda."""
        found = study(fig1.FIGURE)
        settings = [(setting, rate(setting["rate"])) for setting in found.curve("rates")]
        settings += [(setting, penalty(setting["penalty"])) for setting in found.curve("penalties")]
        for setting, number in settings:
            for seed in SEEDS:
                test, train = number["test"] + noise(seed), number["train"] + noise(seed)
                self.make_run(
                    setting, seed, [test * part for part in RISING], [train * part for part in AT_ONCE],
                    number["loss"] * (1 + noise(seed)), number["regularizer"] * (1 + noise(seed)),
                )  # fmt: skip

    def test_a_regularizer_that_does_what_a_large_learning_rate_does(self) -> None:
        def number(x: int, at: float) -> dict[str, float]:
            return {
                "test": peak(x, at, 0.6, 10), "train": peak(x, -6, 0.95, 8), "loss": 2.0**x, "regularizer": 2.0 ** (-x / 2)
            }  # fmt: skip

        self.make_runs(lambda x: number(x, -5), lambda x: number(x, -4))
        self.assert_verdicts(fig1.FIGURE, *[HOLDS] * 10)
        claims = self.judge(fig1.FIGURE)
        self.assertAlmostEqual(claims[5].measured.summary.mean, 1)  # log2 of 2
        for claim in claims[8:]:
            self.assertAlmostEqual(claim.measured.summary.mean, 0.5, places=12)
        self.assertEqual({part.seeds for claim in claims for part in claim.parts}, {len(SEEDS)})
        self.assert_verdicts(fig5.FIGURE, *[HOLDS] * 7)
        self.assertEqual(list(self.judge(fig5.FIGURE)[5].conditions), ["2^-6", "2^-5", "2^-4"])
        self.assert_drawn(fig1.FIGURE, [2 * len(SEEDS), 2 + 1, 2])
        self.assert_drawn(fig5.FIGURE, [2, 2])

    def test_one_that_does_the_contrary(self) -> None:
        rate = {"test": 0.5, "loss": 1.0}
        self.make_runs(
            lambda x: {**rate, "train": 0.9 + 0.001 * x, "regularizer": 2.0 ** (x / 2)},
            lambda x: {"test": 0.3 - 0.01 * x, "train": 0.9 - 0.001 * x, "loss": 2.0 ** (2 * x), "regularizer": 2.0**x},
        )
        # Test accuracy falls with lambda from the first one on, and does not depend on the learning rate.
        # So the best lambda is at the end of its grid, and smaller ones may be better; of equal numbers none is above the other.
        self.assert_verdicts(fig1.FIGURE, FAILS, OPEN, HOLDS, OPEN, OPEN, OPEN, OPEN, OPEN, *[FAILS] * 2)
        for place in (1, 5, 6, 7):
            self.assertIn(
                "the best λ, 2^-6, is at the end of those tried: add 2^-7", self.judge(fig1.FIGURE)[place].reason
            )
        self.assert_verdicts(fig5.FIGURE, HOLDS, OPEN, OPEN, HOLDS, FAILS, HOLDS, FAILS)

    def test_a_small_learning_rate_that_lacks_epochs_decides_nothing(self) -> None:
        # All that the regularizer and the learning rates do is to make up for time.
        number = {"loss": 1.0, "regularizer": 1.0}
        self.make_runs(
            lambda x: {**number, "test": 0.5 + 0.03 * x, "train": 0.8 + 0.03 * x},
            lambda x: {**number, "test": peak(x, -3, 0.6, 10), "train": 0.5},
        )
        claims = self.judge(fig1.FIGURE)
        for place in (0, 3, 5, 6):
            self.assertEqual(claims[place].verdict, OPEN)
            self.assertIn("cifar10_rate2^-7: the training set is fitted better", claims[place].reason)
        for claim in (self.judge(fig5.FIGURE)[place] for place in (3, 6)):
            self.assertIn("cifar10_rate2^-7: the training set is fitted better", claim.reason)

    def test_what_does_not_train_is_no_fall_and_tells_nothing_of_the_regularizer(self) -> None:
        def number(x: int) -> dict[str, float]:
            trains = x < -1
            regularizer = 2.0 ** (0.1 * x) if trains else 2.0**-20
            return {
                "test": 0.5 + 0.01 * x if trains else CHANCE, "train": 0.9 if trains else CHANCE,
                "loss": 1.0 if trains else 2.3, "regularizer": regularizer,
            }  # fmt: skip

        self.make_runs(number, number)
        claims = self.judge(fig1.FIGURE)
        self.assertEqual([claims[place].verdict for place in (1, 2, 9)], [HOLDS, OPEN, FAILS])
        self.assertIn("the best λ, 2^-2, is the largest with which all seeds train", claims[2].reason)
        self.assertAlmostEqual(claims[9].measured.summary.mean, -0.1)
        self.assertNotIn("2^-1", self.judge(fig5.FIGURE)[5].conditions)

    def test_a_seed_that_diverges_with_the_largest_lambda_leaves_the_others_to_be_judged(self) -> None:
        number = {"train": 0.9, "loss": 1.0}
        self.make_runs(
            lambda x: {**number, "test": 0.5, "regularizer": 1.0},
            lambda x: {**number, "test": peak(x, -4, 0.6, 10), "regularizer": 2.0**-x},
        )
        largest = study(fig1.FIGURE).curve("penalties")[-1]
        shutil.rmtree(self.root / "runs" / f"{largest.name},seed=1")
        self.make_diverged(largest, 1)
        claims = self.judge(fig1.FIGURE)
        self.assertEqual([claims[place].verdict for place in (2, 9)], [HOLDS, HOLDS])
        self.assertAlmostEqual(claims[2].measured.summary.mean, 0.09)  # less that at 2^-1

    def test_a_regularizer_that_falls_with_the_loss_only(self) -> None:
        """Learning rates up to 2^-6 lack time: the larger, the lower the loss, and C_reg with it; from there on it is the same."""
        number = {"test": 0.5, "train": 0.9}
        self.make_runs(
            lambda x: {**number, "loss": 2.0 ** abs(x + 6), "regularizer": 2.0 ** max(0, -x - 6) + 0.01 * x},
            lambda x: {**number, "loss": 1.0, "regularizer": 1.0},
        )
        self.assertEqual(self.judge(fig1.FIGURE)[8].verdict, FAILS)

    def test_a_smallest_lambda_that_has_most_of_the_effect_is_not_like_none(self) -> None:
        number = {"train": 0.9, "loss": 1.0, "regularizer": 1.0}
        for smallest, verdict in ((0.55, FAILS), (0.53, HOLDS), (0.47, HOLDS), (0.45, FAILS)):  # between 0.5 and 0.58
            with self.subTest(smallest=smallest):
                self.root = self.root / "next"
                self.make_runs(
                    lambda x: {**number, "test": 0.5},
                    lambda x, at=smallest: {**number, "test": {-6: at, -3: 0.58}.get(x, 0.5)},
                )
                self.assertEqual(self.judge(fig1.FIGURE)[7].verdict, verdict)

    def test_fig5_learning_rates_that_still_rise_have_reached_no_plateau(self) -> None:
        for setting in study(fig5.FIGURE).settings:
            for seed in SEEDS:
                top = (0.95 if setting["rate"] == -8 else 0.9) + noise(seed)
                self.make_run(setting, seed, [top * part for part in RISING])
        claim = self.judge(fig5.FIGURE)[2]
        self.assertEqual(
            (claim.verdict, list(claim.conditions)), (FAILS, ["ε = 2^-7", "ε = 2^-6", "ε = 2^-5", "ε = 2^-4"])
        )

    def test_fig5_common_values_do_not_make_up_for_one_another(self) -> None:
        number = {"test": 0.5, "regularizer": 1.0}
        self.make_runs(
            lambda x: {**number, "train": 0.9, "loss": 0.2 if x > -7 else 0.1},
            lambda x: {**number, "train": {-5: 0.94, -4: 0.86}.get(x, 0.9), "loss": 0.3 if x == -5 else 0.2},
        )
        claims = self.judge(fig5.FIGURE)
        self.assertEqual([claims[place].verdict for place in (5, 6)], [FAILS, FAILS])

    def test_fig5_losses_that_learning_rates_hardly_change_are_not_similar_for_being_within_a_factor_of_2(self) -> None:
        number = {"test": 0.5, "train": 0.9, "regularizer": 1.0}
        for of_penalty, verdict in ((1.0, FAILS), (1.45, HOLDS)):
            with self.subTest(of_penalty=of_penalty):
                self.root = self.root / "next"
                self.make_runs(
                    lambda x: {**number, "loss": 1.5 if x > -7 else 1.25},
                    lambda x, loss=of_penalty: {**number, "loss": loss},
                )
                self.assertEqual(self.judge(fig5.FIGURE)[6].verdict, verdict)

    def test_the_report_shows_which_seeds_were_kept(self) -> None:
        for setting in study(fig2.FIGURE).settings:
            for seed in SEEDS:
                self.make_run(
                    setting, seed, [(0.6 - 0.01 * abs(setting["rate"] + 7) + noise(seed)) * part for part in RISING]
                )
        words = {job.folder: "a command" for job in study_of("implicit_regularization", "fig2", "quick").jobs()}
        write_report(Reproduction(self.root, "implicit_regularization", "quick", ["fig2"], words))
        text = (self.root / "report.md").read_text()
        self.assertIn("| Setting | Highest test accuracy | Seeds kept | Seeds dropped |", text)
        self.assertIn("| `cifar10_rate2^-7` | 60.00 ± 0.14 % | 1: 60.10 %; 2: 59.90 % |  |", text)
        self.assertIn("Nothing is concluded from runs of this size: an MLP stands in", text)
        self.assertIn("| Claim | In the paper | What is measured | Here | Holds if |\n", text)
        rows = list(csv.DictReader((self.root / "claims.csv").read_text().splitlines()))
        self.assertEqual([(row["verdict"], row["alone"], row["p"]) for row in rows], [("", "", "")] * 2)
        self.assertTrue(all(row["mean"] and row["reason"].startswith("an MLP") for row in rows), rows)

    def test_fig2_gaps_between_the_best_learning_rates(self) -> None:
        for with_it, expected in ((0, (HOLDS, HOLDS)), (2, (HOLDS, FAILS))):
            with self.subTest(with_it=with_it):
                self.root = self.root / "next"
                for name, gap in (("rates", 2), ("rates_regularized", with_it)):
                    for setting in study(fig2.FIGURE).curve(name):
                        for seed in SEEDS:
                            test = peak(setting["rate"], -7 + gap, 0.6, 10) + noise(seed)
                            train = peak(setting["rate"], -7, 0.9, 10) + noise(seed)
                            self.make_run(setting, seed, [test * p for p in RISING], [train * p for p in RISING])
                self.assert_verdicts(fig2.FIGURE, *expected)
        self.assert_drawn(fig2.FIGURE, [1] * 4)

    def test_fig2_training_accuracies_that_lack_epochs_decide_nothing(self) -> None:
        for setting in study(fig2.FIGURE).settings:
            for seed in SEEDS:
                test, train = (peak(setting["rate"], at, 0.9, 10) + noise(seed) for at in (-7, -5))
                self.make_run(setting, seed, [test * p for p in RISING], [train * p for p in RISING])
        self.assert_verdicts(fig2.FIGURE, OPEN, OPEN)
        self.assertIn("take more epochs", self.judge(fig2.FIGURE)[0].reason)

    def test_an_optimum_at_the_end_of_its_grid_decides_nothing(self) -> None:
        for setting in study(fig2.FIGURE).settings:
            for seed in SEEDS:
                test = 0.6 + 0.01 * setting["rate"] + noise(seed)
                self.make_run(setting, seed, [test * part for part in RISING], AT_ONCE)
        self.assert_verdicts(fig2.FIGURE, OPEN, OPEN)
        self.assertIn("the best learning rate for the test set, 2^-4, is at the end", self.judge(fig2.FIGURE)[0].reason)

    def make_batches(self, figure: Figure, by_ratio: bool) -> None:
        """Accuracies that depend on the ratios to the batch size, or on the numbers themselves."""
        for curve_name, number in (("rates_by_batch", "rate"), ("penalties_by_batch", "penalty")):
            for setting in study(figure).curve(curve_name):
                x = setting["ratio" if by_ratio else number]
                for seed in SEEDS:
                    self.make_run(setting, seed, [(0.6 + 0.02 * x + noise(seed)) * part for part in RISING], AT_ONCE)

    def test_fig3_and_fig6_equal_ratios(self) -> None:
        for figure, first, panels in ((fig3, 0, [3, 3]), (fig6, 6, [2, 3, 3])):
            for by_ratio, verdict in ((True, HOLDS), (False, FAILS)):
                with self.subTest(figure=figure.__name__, by_ratio=by_ratio):
                    self.root = self.root / "next"
                    self.make_batches(figure.FIGURE, by_ratio)
                    claims = self.judge(figure.FIGURE)[first : first + 6]
                    self.assertEqual([claim.verdict for claim in claims], [verdict] * 6, claims)
                    for claim in claims[2::3]:  # the exponents
                        self.assertAlmostEqual(claim.measured.summary.mean, 1 if by_ratio else 0, places=4)
                    last = self.judge(figure.FIGURE)[-1]  # diversity, or whether smaller batches are better
                    expected = HOLDS if figure is fig3 else OPEN if by_ratio else FAILS
                    self.assertEqual(last.verdict, expected, last)
                    sizes = {round(claim.measured.summary.mean, 9) for claim in claims[::3]}
                    self.assertEqual(
                        {abs(size) for size in sizes}, {round(0.02 * self.mean_octaves(figure.FIGURE, by_ratio), 9)}
                    )
            for setting in rates_and_penalties() if figure is fig6 else ():
                for seed in SEEDS:
                    if not (self.root / "runs" / f"{setting.name},seed={seed}").exists():
                        self.make_run(setting, seed, RISING)
            self.assert_drawn(figure.FIGURE, panels)

    def test_ratios_at_which_batch_sizes_differ_do_not_make_up_for_one_another(self) -> None:
        for figure, places in ((fig3, (1, 4)), (fig6, (7, 10))):
            self.root = self.root / "next"
            for curve_name in ("rates_by_batch", "penalties_by_batch"):
                for setting in study(figure.FIGURE).curve(curve_name):
                    x, octaves = setting["ratio"], math.log2(setting["batch"])
                    for seed in SEEDS:
                        test = 0.6 + 0.01 * octaves * (-1) ** x + noise(seed)
                        self.make_run(setting, seed, [test * part for part in RISING], AT_ONCE)
            for claim in (self.judge(figure.FIGURE)[place] for place in places):
                self.assertEqual(claim.verdict, FAILS)
                self.assertAlmostEqual(np.mean([part.summary.mean for part in claim.parts]), 0, places=6)

    def test_equal_ratios_that_are_equal_lengths_of_training_decide_nothing(self) -> None:
        for figure, first in ((fig3, 0), (fig6, 6)):
            self.root = self.root / "next"
            for curve_name in ("rates_by_batch", "penalties_by_batch"):
                for setting in study(figure.FIGURE).curve(curve_name):
                    for seed in SEEDS:
                        top = 0.9 + 0.03 * setting["ratio"] + noise(seed)
                        self.make_run(setting, seed, [top * part for part in RISING])
            claims = self.judge(figure.FIGURE)[first : first + 6]
            for claim in claims[:3]:
                self.assertEqual(claim.verdict, OPEN)
                self.assertIn("the training set is fitted better at a larger learning rate", claim.reason)
            self.assertEqual(claims[3].verdict, HOLDS)  # at equal λ/B the learning rate is the same

    def test_fig3_gradients_that_agree_at_first_are_not_diverse(self) -> None:
        for setting in study(fig3.FIGURE).settings:
            for seed in SEEDS:
                top = (
                    0.9 if setting["ratio"] < -9 else CHANCE
                )  # collapsed at the largest ratio, of which nothing is asked
                self.make_run(
                    setting, seed, [max(CHANCE, top * part) for part in RISING], error=4.0 * (1 + noise(seed))
                )
        claim = self.judge(fig3.FIGURE)[-1]
        self.assertEqual((claim.verdict, len(claim.parts)), (FAILS, 3 + 3 * 3))
        self.assertEqual({round(part.summary.mean, 1) for part in claim.parts}, {1.0, 4.3})  # log2 of 2 and of 20

    @staticmethod
    def mean_octaves(figure: Figure, by_ratio: bool) -> float:
        """log2 of the ratio of two batch sizes: mean over pairs, and places that they have in common in the other view."""
        by_batch = study(figure).by("rates_by_batch", "batch")
        rates = {batch: {setting["rate"] for setting in settings} for batch, settings in by_batch.items()}
        octaves = []
        for one, other in itertools.combinations(rates, 2):
            places = len(rates[one] & rates[other]) if by_ratio else len(rates[one])
            octaves += [math.log2(other / one)] * places
        return float(np.mean(octaves))


class FashionMnist(Made):
    def test_fig6_lambda_as_learning_rate(self) -> None:
        for setting in rates_and_penalties():
            for seed in SEEDS:
                self.make_run(setting, seed, RISING)
        self.root = self.root / "next"
        for name, number, at in (("rates", "rate", -5), ("penalties", "penalty", -2)):
            for setting in study(fig6.FIGURE).curve(name):
                x = setting[number]
                for seed in SEEDS:
                    top = peak(x, at, 0.9, 20) + noise(seed)
                    self.make_run(setting, seed, [top * part for part in RISING], AT_ONCE)
        claims = self.judge(fig6.FIGURE)
        self.assertEqual([claim.verdict for claim in claims[:6]], [HOLDS] * 6)
        self.assertAlmostEqual(claims[5].measured.summary.mean, 3)  # a factor of 8
        self.assertEqual([claim.verdict for claim in claims[6:]], [OPEN] * 7)

    def test_fig6_most_of_the_gap_is_to_be_made_up_for(self) -> None:
        for part, verdict in ((0.5, FAILS), (0.9, HOLDS)):
            with self.subTest(part=part):
                self.root = self.root / "next"
                for setting in rates_and_penalties():
                    gain = part * (setting["penalty"] == -2) if "penalty" in setting.values else setting["rate"] == -5
                    for seed in SEEDS:
                        self.make_run(setting, seed, [(0.8 + 0.01 * gain + noise(seed)) * p for p in RISING], AT_ONCE)
                self.assertEqual(self.judge(fig6.FIGURE)[4].verdict, verdict)

    def make_n_step(self, by_move: bool, cost: float = 0.0) -> None:
        """Accuracies that depend on alpha, or on n alpha, and are lower by `cost` with each doubling of n."""
        for setting in study(fig7.FIGURE).settings:
            x = setting["rate"] + (0 if by_move else math.log2(setting["n"]))
            for seed in SEEDS:
                top = peak(x, -4, 0.8, 10) + noise(seed) - cost * math.log2(setting["n"])
                self.make_run(setting, seed, [top * part for part in AT_ONCE], AT_ONCE)

    def test_fig7_alpha_decides(self) -> None:
        self.make_n_step(by_move=True)
        self.assert_verdicts(fig7.FIGURE, HOLDS, HOLDS, HOLDS, HOLDS)
        self.assert_drawn(fig7.FIGURE, [3, 3, 3])

    def test_fig7_n_alpha_decides(self) -> None:
        self.make_n_step(by_move=False)
        self.assert_verdicts(fig7.FIGURE, FAILS, FAILS, HOLDS, HOLDS)

    def test_fig7_what_differs_by_as_much_as_the_effect_is_not_similar(self) -> None:
        self.make_n_step(by_move=True, cost=0.004)  # 0.8 % from n = 1 to n = 4
        self.assert_verdicts(fig7.FIGURE, HOLDS, HOLDS, FAILS, HOLDS)

    def test_fig7_learning_rates_that_lack_time_decide_nothing(self) -> None:
        for setting in study(fig7.FIGURE).settings:
            for seed in SEEDS:
                top = peak(setting["rate"], -4, 0.8, 10) + noise(seed)
                late = [top * part for part in ((0.1, 0.5, 0.5, 1, 1) if setting["rate"] < -5 else AT_ONCE)]
                self.make_run(setting, seed, late)
        self.assertEqual([claim.verdict for claim in self.judge(fig7.FIGURE)[:2]], [OPEN] * 2)
        self.assertIn("the training set is fitted better", self.judge(fig7.FIGURE)[1].reason)

    def make_pairs(self, product: float, within: float, between: float, untrained: float) -> None:
        """Runs with n = 1 whose gradients have such means over pairs; of other runs and without training `untrained`."""
        for setting in study(fig7.FIGURE).settings:
            fits = setting["n"] == 1 and setting["rate"] != -3
            for seed in SEEDS:
                test = [(0.8 + noise(seed)) * part for part in RISING] if fits else [0.1] * len(RISING)
                numbers = np.array([product, within, between] if fits else [untrained] * 3) + noise(seed)
                self.make_run(setting, seed, test, product=numbers[0], cosines=(numbers[1], numbers[2]))

    def test_fig7_orthogonal_gradients(self) -> None:
        for product, within, between, verdict in (
            (0.02, 0.05, 0.0, HOLDS), (0.05, -0.05, 0.02, HOLDS), (0.2, 0.05, 0.0, FAILS), (0.05, 0.3, -0.03, FAILS),
            (-0.2, 0.0, 0.0, FAILS), (0.0, 0.0, -0.2, FAILS), (0.117, 0.05, 0.0, OPEN),
        ):  # fmt: skip
            with self.subTest(product=product, within=within, between=between):
                self.root = self.root / "next"
                self.make_pairs(product, within, between, untrained=0.9)
                claim = self.judge(fig7.FIGURE)[-1]
                mean = np.mean([noise(seed) for seed in SEEDS])
                found = [part.summary.mean for part in claim.parts]
                np.testing.assert_allclose(found, [product + mean, within + mean, between + mean], atol=1e-12)
                self.assertEqual(claim.verdict, verdict, claim)

    def test_fig7_learning_rates_that_train_with_no_seed_say_nothing_of_gradients(self) -> None:
        with self.assertRaisesRegex(TooLittle, "no learning rate trained"):
            fig7.mean_of_trained(np.full(3, CHANCE), np.zeros(3))

    def test_fig7_gradients_are_compared_in_all_its_runs_as_in_those_that_figure_6_shares(self) -> None:
        for size in SIZES:
            for job in unique_jobs([job for figure in (fig6, fig7) for job in study(figure.FIGURE, size).jobs()]):
                (probe,) = json.loads(dict(word.split("=", 1) for word in job.overrides)["probes"])
                self.assertEqual((probe["name"], probe["gram"]), ("covariance", True))

    def test_fig7_shorter_trainings_are_the_beginning_of_longer_ones(self) -> None:
        for setting in study(fig7.FIGURE).settings:
            for seed in SEEDS:
                self.make_run(setting, seed, [(0.8 + noise(seed)) * part for part in RISING])
        results = self.results(fig7.FIGURE)
        kept = float(np.mean([noise(seed) for seed in SEEDS[:5]]))
        for n, part in ((1, 1.0), (2, 0.95), (4, 0.8)):  # at 40, 20 and 10 epochs
            for found in (fig7.equal_updates(results, n), fig7.within(results, 1, 40 // n)):
                np.testing.assert_allclose(found.means(), (0.8 + kept) * part, rtol=1e-10)
        np.testing.assert_allclose(fig7.equal_epochs(results, 4).means(), 0.8 + kept, rtol=1e-10)


class NStep(Made):
    def make_runs(self, loss: float, unstable_at: Callable[[int], int]) -> None:
        """The highest test accuracy is 0.6 - loss * log2 n, and learning rates from a certain one on diverge."""
        for setting in study(fig4.FIGURE).settings:
            for seed in SEEDS:
                if setting["rate"] >= unstable_at(setting["n"]):
                    self.make_diverged(setting, seed)
                    continue
                test = 0.6 - loss * math.log2(setting["n"]) + 0.01 * setting["rate"] + noise(seed)
                self.make_run(setting, seed, [test * part for part in RISING])

    def test_n_that_costs_stability_and_accuracy(self) -> None:
        self.make_runs(0.05, lambda n: -4 - round(math.log2(n)) // 2)
        self.assert_verdicts(fig4.FIGURE, *[HOLDS] * 6)
        stable = self.judge(fig4.FIGURE)[1].measured.summary.mean
        self.assertAlmostEqual(stable, 1)
        self.assert_drawn(fig4.FIGURE, [3, 3, 3])

    def test_n_that_gains(self) -> None:
        self.make_runs(-0.05, lambda n: -4)
        self.assert_verdicts(fig4.FIGURE, *[FAILS] * 6)

    def test_learning_rates_that_end_where_accuracy_still_rises_decide_nothing(self) -> None:
        self.make_runs(-0.05, lambda n: 0)
        self.assert_verdicts(fig4.FIGURE, *[OPEN] * 6)
        self.assertEqual(self.judge(fig4.FIGURE)[0].reason, "the best α, 2^-4, is at the end of those tried: add 2^-3")
        self.assertIn("the largest one tried, 2^-4, is still stable: add 2^-3", self.judge(fig4.FIGURE)[1].reason)


def rates_and_penalties() -> list[Setting]:
    """The settings of figure 6 that vary the learning rate, and lambda."""
    return [*study(fig6.FIGURE).curve("rates"), *study(fig6.FIGURE).curve("penalties")]


class ModifiedFlow(Made):
    def make_runs(self, orders: Mapping[str, float], flow_error: float = 1e-12, gamma: float = 2.0) -> None:
        """Distances that are exact powers of the learning rate."""
        for seed in SEEDS:
            columns = {"step": [0], "epoch": [0], "loss": [1.0]}
            columns |= {
                f"implicit_regularizer.{name}": [x] for name, x in (("shuffled_error", 2.2), ("gamma_error", gamma))
            }
            for label in modified_flow.LABELS:
                for k in range(6):
                    rate = 0.1 / 2**k
                    numbers = {name: seed * rate**power for name, power in orders.items()}
                    numbers |= {"learning_rate": rate, "flow_error": flow_error}
                    columns |= {f"{label}.halved{k}.{name}": [value] for name, value in numbers.items()}
            self.make(f"runs/modified_flow,seed={seed}", columns)

    def test_orders(self) -> None:
        theory = {"sgd_to_plain": 2, "sgd_to_gd": 2, "sgd_to_sgd": 3, "gd_to_plain": 2, "gd_to_gd": 3}
        self.make_runs(theory)
        self.assert_verdicts(modified_flow.FIGURE, *[HOLDS] * 8)
        for claim in self.judge(modified_flow.FIGURE)[:-1]:
            self.assertAlmostEqual(claim.measured.summary.mean, claim.about, places=9)
        self.assert_drawn(modified_flow.FIGURE, [5 * len(SEEDS) + 2] * 2)

    def test_the_config_has_the_probes_that_are_drawn(self) -> None:
        config = read_json(study(modified_flow.FIGURE).settings[0].config)
        probes = {probe["label"]: probe.get("n", 1) for probe in config["probes"] if probe["name"] == "modified_flow"}
        self.assertEqual(probes, {"sgd": 1, "n_step": 4})
        self.assertEqual(set(probes), set(modified_flow.LABELS))

    def test_other_orders(self) -> None:
        self.make_runs({"sgd_to_plain": 3, "sgd_to_gd": 3, "sgd_to_sgd": 2, "gd_to_plain": 2, "gd_to_gd": 2}, gamma=4.0)
        self.assert_verdicts(modified_flow.FIGURE, *[FAILS] * 8)

    def test_distances_near_the_flows_error_are_not_taken(self) -> None:
        self.make_runs(
            dict.fromkeys(modified_flow.LOOKS, 2), flow_error=1e-4
        )  # 0.1², 0.05² and 0.025² of seed 2 are above
        run = open_run(str(self.root / "runs/modified_flow,seed=1"))
        self.assertEqual(modified_flow.distances(run, "sgd", "sgd_to_sgd")[0].tolist(), [0.1, 0.05])
        with self.assertRaisesRegex(TooLittle, "fewer than three"):
            modified_flow.order("sgd", "sgd_to_sgd")(run)
        with self.assertRaisesRegex(TooLittle, "no other.halved0"):
            modified_flow.distances(run, "other", "sgd_to_sgd")


class Variance(Made):
    def make_runs(self, orders: Mapping[str, float]) -> None:
        """Numbers that are exact powers of the learning rate."""
        for seed in SEEDS:
            columns = {"step": [0], "epoch": [0], "loss": [1.0]}
            for k in range(6):
                rate = 0.1 / 2**k
                numbers = {name: seed * rate**power for name, power in orders.items()}
                numbers |= {"learning_rate": rate, "flow_error": 1e-12}
                columns |= {f"{variance.LABEL}.halved{k}.{name}": [value] for name, value in numbers.items()}
            self.make(f"runs/{variance.NAME},seed={seed}", columns)

    def test_what_the_paper_says(self) -> None:
        orders = {"redrawn_spread": 1, "once_spread": 2, "mirrored_spread": 3, "mirrored_to_sgd": 3}
        self.make_runs({**orders, "sgd_to_plain": 2, "sgd_to_sgd": 3})
        self.assert_verdicts(variance.FIGURE, *[HOLDS] * 4)
        for claim in self.judge(variance.FIGURE):
            for part in claim.parts:
                self.assertAlmostEqual(part.summary.mean, claim.about, places=9)
        self.assert_drawn(variance.FIGURE, [3 * len(SEEDS) + 3, 3 * len(SEEDS) + 3])

    def test_variance_at_first_order_whatever_the_sampling(self) -> None:
        self.make_runs(dict.fromkeys([*variance.SCATTER, *variance.FLOWS], 1.0))
        self.assert_verdicts(variance.FIGURE, HOLDS, FAILS, FAILS, FAILS)

    def test_a_bias_of_another_order_is_not_that_of_the_paper(self) -> None:
        orders = {"redrawn_spread": 1, "once_spread": 2, "mirrored_spread": 2, "mirrored_to_sgd": 2}
        self.make_runs({**orders, "sgd_to_plain": 3, "sgd_to_sgd": 3})
        self.assert_verdicts(variance.FIGURE, HOLDS, FAILS, FAILS, FAILS)

    def test_the_config_asks_for_what_is_drawn(self) -> None:
        (setting,) = study(variance.FIGURE).settings
        (probe,) = json.loads(dict(word.split("=", 1) for word in setting.overrides)["probes"])
        self.assertEqual((probe["name"], probe["label"]), ("modified_flow", variance.LABEL))
        self.assertGreater(probe["sequences"], 1)


class Late(Made):
    def test_claims_that_came_when_quick_results_were_known_say_so(self) -> None:
        late = {claim.says: claim.decided_after for figure in (fig3, fig6) for claim in self.judge(figure.FIGURE)}
        for says, what in (
            (
                "The gradients of batches are diverse, so that the second term of equation 22 dominates.",
                "the claim and its border, and that it must be so at first and with each learning rate",
            ),
            ("At equal λ/B smaller batches have slightly higher accuracies.", "the claim"),
        ):
            self.assertEqual((late[says].what, late[says].seen("quick", range(1, 11))), (what, [1, 2, 3, 4, 5]))


class Missing(Made):
    def test_without_runs_nothing_is_decided(self) -> None:
        for figure in FIGURES:
            for claim in self.judge(figure):
                self.assertEqual(claim.verdict, OPEN, claim.says)
                self.assertIn("not run yet", claim.reason)
            with self.assertRaises(TooLittle):
                figure.draw(self.results(figure))

    def test_the_smallest_learning_rate_with_regularizers_is_also_run_without(self) -> None:
        for size in SIZES:
            found = study(fig1.FIGURE, size)
            small, chosen = fig1.pair(self.results(fig1.FIGURE, size))
            self.assertEqual((small["rate"], chosen["rate"]), (found.values["small"],) * 2)
            self.assertEqual((small.values.get("penalty"), chosen["penalty"]), (None, found.values["chosen"]))


if __name__ == "__main__":
    unittest.main()
