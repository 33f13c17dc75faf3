#!/usr/bin/env python3
"""Tests of the figures of interventions on runs made up here: python tests/interventions_test.py"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import numpy as np

from run_folders import RunFolders, study

# isort: split
from papers.interventions import adversarial_initialization as initialization
from papers.interventions import delta, finite_steps, noise_shape, outliers
from papers.interventions.memory_rules import ADAPTIVE, HALVINGS, RULES
from papers.interventions.penalty import PENALTY, PIECES, SECOND, share
from sgdscope.catalogue import figures
from sgdscope.claims import TooLittle, Verdict
from sgdscope.figure import Figure
from sgdscope.plots.style import house_style
from sgdscope.runs import open_run
from sgdscope.statistics import interval
from sgdscope.studies import Setting

HOLDS, FAILS = Verdict.HOLDS, Verdict.FAILS
STEPS = np.arange(60)

Made = dict[str, np.ndarray]


def spread(seed: int) -> float:
    """What a seed adds: a little, else no interval would have a width."""
    return 0.001 * (seed % 5)


class OfFigures(RunFolders):
    def results_of(self, figure: Figure, make: Callable[[Setting, int], Made]) -> Any:
        """The results of a figure whose runs are make(setting, seed): columns, those of eval.csv with 'eval.' in front."""
        for setting in study(figure).settings:
            for seed in study(figure).seeds:
                self.make_run(setting, seed, make(setting, seed))
        return self.results(figure)

    def make_run(self, setting: Setting, seed: int, made: Made) -> None:
        """One of them."""
        tables: list[Made] = [{}, {}]
        for name, values in made.items():
            tables[name.startswith("eval.")][name.removeprefix("eval.")] = values
        whole = []
        for table in tables:
            steps = np.arange(len(next(iter(table.values()), STEPS)))
            whole.append({"step": steps, "epoch": steps / 20, **table})
        self.make(
            f"runs/{setting.name},seed={seed}", {"loss": whole[0]["step"], **whole[0]}, whole[1],
            config=self.config(setting), manifest=self.manifest(setting, seed),
        )  # fmt: skip

    def config(self, setting: Setting) -> dict[str, Any]:
        """What a figure needs to know of a run's config."""
        return {}

    def manifest(self, setting: Setting, seed: int) -> dict[str, Any]:
        """And of its manifest."""
        return {}

    def verdicts(self, figure: Figure, make: Callable[[Setting, int], Made]) -> list[Verdict]:
        """One for each claim."""
        return [claim.verdict for claim in figure.claims(self.results_of(figure, make))]


class MemoryRules(OfFigures):
    FIGURE = figures("interventions")["memory_rules"]

    @staticmethod
    def made(own: float, plain: float, factors: float, sign: float) -> Callable[[Setting, int], Made]:
        """Distances of these orders; measured factors so many times the theory's, which have the sign of log epsilon."""

        def make(setting: Setting, seed: int) -> Made:
            found = {"said.squared_norm": 4.0}
            theory = {rule: 7.0 for rule in RULES}
            if "epsilon" in setting.values:
                theory |= {rule: sign * (float(np.log(setting["epsilon"])) or 0.1) for rule in ADAPTIVE}
            for rule in RULES:
                name = "factor" if rule in ADAPTIVE else "regularizer"
                found[f"said.{rule}.{name}"] = theory[rule]
                for k in range(HALVINGS + 1):
                    rate = 2.0**-k
                    stem = f"flow.halved{k}"
                    found[f"{stem}.learning_rate"] = rate
                    found[f"{stem}.{rule}_to_{rule}"] = rate ** (own + spread(seed))
                    found[f"{stem}.{rule}_to_plain"] = rate ** (plain + spread(seed))
                    found[f"{stem}.{rule}_factor"] = theory[rule] * (factors + spread(seed))
            return {name: np.full(1, value) for name, value in found.items()}

        return make

    def test_all_claims_hold_where_the_theory_does(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(3, 2, 1, 1)), [HOLDS] * 6)

    def expect_failing(self, claims: list[int], make: Callable[[Setting, int], Made]) -> None:
        found = self.verdicts(self.FIGURE, make)
        self.assertEqual(found, [FAILS if i in claims else HOLDS for i in range(6)])

    def test_a_flow_that_is_of_second_order_only_is_told(self) -> None:
        self.expect_failing([0], self.made(2, 2, 1, 1))

    def test_so_is_one_that_is_of_third_order_already(self) -> None:
        self.expect_failing([1], self.made(3, 3, 1, 1))

    def test_so_are_other_factors(self) -> None:
        self.expect_failing([2, 3], self.made(3, 2, 2, 1))

    def test_so_are_other_signs(self) -> None:
        self.expect_failing([4, 5], self.made(3, 2, 1, -1))

    def test_the_picture_has_the_measured_factors(self) -> None:
        results = self.results_of(self.FIGURE, self.made(3, 2, 1, 1))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["memory_rules"]
        points = [line for line in picture.axes[1].lines if line.get_marker() == "."]
        self.assertEqual(len(points), len(ADAPTIVE) * len(study(self.FIGURE).seeds))
        self.assertLess(points[0].get_ydata()[0], 0)
        self.assertGreater(points[0].get_ydata()[-1], 0)


class Penalty(OfFigures):
    FIGURE = figures("interventions")["penalty"]

    @staticmethod
    def made(begin: float, end: float, small: float) -> Callable[[Setting, int], Made]:
        """Shares from `begin` to `end` over training, and those of small steps."""

        def make(setting: Setting, seed: int) -> Made:
            shares = np.linspace(begin, end, len(STEPS))
            if setting.name.endswith("small"):
                shares = np.full(len(STEPS), small)
            penalty = -1 / (1.0 + STEPS)
            return {PENALTY: penalty, SECOND: -penalty * (shares + spread(seed * len(setting.name)))}

        return make

    def test_a_share_is_of_sums(self) -> None:
        columns = {PENALTY: np.array([-1.0, -3.0, -4.0]), SECOND: np.array([1.0, 2.0, 1.0])}
        steps = {"step": np.arange(3), "epoch": np.arange(3), "loss": np.arange(3)}
        run = open_run(self.make("run", {**steps, **columns}))
        self.assertEqual(share(run).value, 0.5)
        self.assertEqual(share(run, 0, 2 / 3).value, 0.75)

    def test_all_claims_hold_where_the_penalty_is_curvature(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(0.9, 0.9, 0.99)), [HOLDS] * 7)

    def test_none_holds_where_it_is_not(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(0.5, 0.5, 0.3)), [FAILS] * 7)

    def test_stretches_of_training_are_judged_by_themselves(self) -> None:
        found = self.verdicts(self.FIGURE, self.made(1.0, 0.4, 0.99))
        self.assertEqual([found[1], found[2]], [HOLDS, FAILS])

    def test_small_steps_are_compared_with_as_long_a_stretch_of_others(self) -> None:
        def made(setting: Setting, seed: int) -> Made:
            shares = (
                np.full(len(STEPS), 0.8)
                if setting.name.endswith("small")
                else 1.0 * (np.arange(len(STEPS)) < len(STEPS) / 2)
            )
            return {PENALTY: np.full(len(STEPS), -1.0), SECOND: shares + spread(seed * len(setting.name))}

        # All of training is farther from 1 than small steps are, the stretch that these see is not.
        self.assertEqual(self.verdicts(self.FIGURE, made)[-1], FAILS)

    def test_the_picture_has_a_line_for_each_run(self) -> None:
        results = self.results_of(self.FIGURE, self.made(0.9, 0.9, 0.99))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["penalty"]
        for axes in picture.axes:
            self.assertEqual(len(axes.lines), 4 * len(study(self.FIGURE).seeds) + 1)
            self.assertEqual(len(axes.lines[1].get_ydata()), PIECES)


class FiniteSteps(OfFigures):
    FIGURE = figures("interventions")["finite_steps"]

    @staticmethod
    def made(
        accuracies: dict[str, float], regularizers: dict[str, float], drawn: float = 0
    ) -> Callable[[Setting, int], Made]:
        """Of each rule the accuracy at the end, and C_reg over the loss; `drawn`: what batches with replacement add."""

        def make(setting: Setting, seed: int) -> Made:
            rule = setting.values.get("rule", "")  # the run on random labels has none
            more = spread(seed * len(setting.name)) + (drawn if setting["drawn"] == "drawn_anew" else 0)
            loss = 2.0 ** -np.arange(6)
            highest = 0.99 if rule == "svag" else 0.5  # of a moment that is not at the end
            return {
                "implicit_regularizer.loss": loss,
                "implicit_regularizer.regularizer": loss * 2 ** (regularizers[rule] + more),
                "eval.test_accuracy": np.array(
                    [0.1, highest, *[accuracies[rule] + more + one for one in (-0.01, 0.0, 0.01)]]
                ),
            }

        return make

    def test_the_regularizer_is_that_at_a_loss(self) -> None:
        over = np.array([4, 2, 0.5])
        columns = {
            "implicit_regularizer.loss": finite_steps.LEVEL * over, "implicit_regularizer.regularizer": over
        }  # fmt: skip
        steps = {"step": np.arange(3), "epoch": np.arange(3), "loss": np.arange(3)}
        self.assertAlmostEqual(finite_steps.regularizer(open_run(self.make("run", {**steps, **columns}))).value, 0)
        columns["implicit_regularizer.loss"] = finite_steps.LEVEL + over
        with self.assertRaises(TooLittle):
            finite_steps.regularizer(open_run(self.make("high", {**steps, **columns})))

    def test_where_steps_explain_what_keeps_the_temperature_does_no_better_than_short_steps(self) -> None:
        accuracies = {"sgd": 0.85, "small": 0.8, "steps": 0.78, "svag": 0.77}
        made = self.made(accuracies, {"sgd": 0, "small": 1, "steps": 1, "svag": 1})
        self.assertEqual(self.verdicts(self.FIGURE, made), [HOLDS, FAILS, FAILS, *[HOLDS] * 6])

    def test_where_temperature_explains_it_does_as_well_as_sgd(self) -> None:
        accuracies = {"sgd": 0.85, "small": 0.8, "steps": 0.87, "svag": 0.87}
        made = self.made(accuracies, {"sgd": 0, "small": 1, "steps": -1, "svag": -1})
        self.assertEqual(self.verdicts(self.FIGURE, made), [*[HOLDS] * 3, FAILS, FAILS, HOLDS, HOLDS, FAILS, FAILS])

    def test_other_batches_are_told(self) -> None:
        accuracies = {"sgd": 0.85, "small": 0.8, "steps": 0.78, "svag": 0.77}
        made = self.made(accuracies, {"sgd": 0, "small": 1, "steps": 1, "svag": 1}, drawn=0.05)
        self.assertEqual(self.verdicts(self.FIGURE, made)[5], FAILS)

    def test_the_picture_has_every_setting(self) -> None:
        results = self.results_of(self.FIGURE, self.made(dict.fromkeys(["sgd", "small", "steps", "svag"], 0.8),
                                                         dict.fromkeys(["sgd", "small", "steps", "svag"], 0)))  # fmt: skip
        with house_style():
            picture: Any = self.FIGURE.draw(results)["finite_steps"]
        dots = [line for line in picture.axes[0].lines if line.get_marker() == "."]
        self.assertEqual(len(dots), 2 * len(finite_steps.RULES))
        rows = self.FIGURE.tables(results)[0].rows
        self.assertEqual(len(rows), len(dots))
        accuracies = dots[0].get_xdata()
        expected = "{:.4f} ({:.4f} … {:.4f})".format(np.mean(accuracies), *interval(accuracies))
        self.assertEqual(rows[0][2], expected)


SGD_TRACES = np.array([4.0, 1.0, 0.001])


class NoiseShape(OfFigures):
    FIGURE = figures("interventions")["noise_shape"]
    steps: dict[str, int] = {}
    lost: tuple[str, ...] = ()  # settings that don't come to L**

    def manifest(self, setting: Setting, seed: int) -> dict[str, Any]:
        reason = "the steps are done" if setting["noise"] in self.lost else noise_shape.REACHED
        return {"reason": reason, "steps_done": self.steps[setting["noise"]] + seed}

    def found(
        self, accuracies: dict[str, float], steps: dict[str, int], traces: float = 1, kurtosis: float = 0
    ) -> list[Verdict]:
        """The verdicts; `kurtosis`: what the noise of small batches has more."""
        self.steps = steps

        def make(setting: Setting, seed: int) -> Made:
            more = spread(seed * len(setting.name)) / 10
            enhancement = setting["ratio"] if setting["noise"] == "enhanced" else 1
            small = setting["noise"] == "small_batches"
            return {
                "gradient_noise.estimator.trace": (enhancement * traces + more) * SGD_TRACES,
                "gradient_noise.sgd.trace": SGD_TRACES,
                "gradient_noise.estimator.kurtosis": np.full(3, kurtosis * small + more),
                "eval.test_accuracy": np.array([0.1, accuracies[setting["noise"]] + more]),
            }

        return self.verdicts(self.FIGURE, make)

    def test_late_moments_of_little_noise_say_little_of_its_trace(self) -> None:
        columns = {
            "gradient_noise.estimator.trace": np.array([12.0, 8.0, 0.2]), "gradient_noise.sgd.trace": np.array([6.0, 4.0, 0.001])
        }  # fmt: skip
        run = open_run(self.make("run", {**{name: np.arange(3) for name in ("step", "epoch", "loss")}, **columns}))
        self.assertAlmostEqual(noise_shape.trace_over(2)(run).value, 1.01, 3)

    def test_what_the_paper_says_holds_where_its_right(self) -> None:
        accuracies = {"small_batches": 0.84, "large_batches": 0.8, "enhanced": 0.86, "gaussian": 0.86, "isotropic": 0.8}
        steps = dict.fromkeys(noise_shape.NOISES, 4000)
        self.assertEqual(self.found(accuracies, steps, kurtosis=1), [HOLDS] * 10)

    def test_none_of_it_holds_where_it_is_not(self) -> None:
        accuracies = {
            "small_batches": 0.84,
            "large_batches": 0.85,
            "enhanced": 0.8,
            "gaussian": 0.82,
            "isotropic": 0.83,
        }
        steps = {**dict.fromkeys(noise_shape.NOISES, 8000), "small_batches": 4000}
        self.assertEqual(self.found(accuracies, steps, traces=1.3, kurtosis=-1), [FAILS] * 10)

    def test_runs_that_do_not_converge_decide_nothing(self) -> None:
        self.lost = ("isotropic",)
        accuracies = {"small_batches": 0.84, "large_batches": 0.8, "enhanced": 0.86, "gaussian": 0.86, "isotropic": 0.8}
        found = self.found(accuracies, dict.fromkeys(noise_shape.NOISES, 4000), kurtosis=1)
        self.assertEqual([i for i, verdict in enumerate(found) if verdict is Verdict.OPEN], [6, 9])
        with house_style():
            picture: Any = self.FIGURE.draw(self.results(self.FIGURE))["noise_shape"]
        self.assertEqual(sum(line.get_marker() == "." for line in picture.axes[0].lines), len(noise_shape.NOISES) - 1)


class Outliers(OfFigures):
    FIGURE = figures("interventions")["outliers"]

    @staticmethod
    def made(
        overfits: Callable[[Setting], float], highest: Callable[[Setting], float]
    ) -> Callable[[Setting, int], Made]:
        """The overfit where the training accuracy is LEVEL, and how high that comes. The proper accuracy is 0.55."""

        def make(setting: Setting, seed: int) -> Made:
            fit = np.array([0.1, outliers.LEVEL - 0.02, outliers.LEVEL + 0.02, highest(setting)])
            at_level = overfits(setting) + spread(seed * len(setting.name)) / 10
            return {
                "eval.train_accuracy": fit,
                "eval.overfit": np.array([0, at_level - 0.05, at_level + 0.05, 0.5]),
                "eval.proper_accuracy": np.full(4, 0.55),
            }

        return make

    def test_the_overfit_is_that_at_a_training_accuracy(self) -> None:
        (setting, *_) = study(self.FIGURE).settings
        self.make_run(setting, 1, self.made(lambda _: 0.2, lambda _: 0.9)(setting, 0))
        self.assertAlmostEqual(outliers.overfit(open_run(str(self.root / f"runs/{setting.name},seed=1"))).value, 0.2)

    def test_what_helps_and_what_does_not(self) -> None:
        overfits = {"mean": 0.2, "clipped": 0.1, "automatic": 0.1}
        made = self.made(
            lambda one: overfits.get(one["rule"], 0.09) - 0.0001 * one["units"],
            lambda one: 0.6 if one["rule"] == "mean" else 0.5,
        )
        self.assertEqual(self.verdicts(self.FIGURE, made), [HOLDS] * 8)

    def test_what_does_not_help_is_told(self) -> None:
        overfits = {"mean": 0.2, "winsorized": 0.21, "trimmed": 0.22, "medians": 0.22}
        made = self.made(lambda one: overfits.get(one["rule"], 0.3) + 0.0001 * one["units"], lambda _: 0.9)
        self.assertEqual(self.verdicts(self.FIGURE, made), [FAILS] * 8)


class AdversarialInitialization(OfFigures):
    FIGURE = figures("interventions")["adversarial_initialization"]

    @staticmethod
    def made(
        owed: dict[str, float], ends: dict[str, float], fits: float = 1, from_usual: dict[str, float] | None = None
    ) -> Callable[[Setting, int], Made]:
        """What a rule's overfit owes to the first weights, and its test accuracy at the end; from usual ones it is 0.9 and more."""
        from_usual = from_usual or {}

        def make(setting: Setting, seed: int) -> Made:
            more = spread(seed * len(setting.name)) / 10
            fit = np.array([0.1, initialization.LEVEL - 0.02, initialization.LEVEL + 0.02, fits])
            rule = setting.values.get("rule", "")  # the run on random labels has none
            if setting["begin"] != "adversarial":
                return {
                    "eval.train_accuracy": fit,
                    "eval.overfit": np.array([0, 0.05, 0.15, 0.2]) + more,
                    "eval.test_accuracy": np.full(4, 0.9 + from_usual.get(rule, 0) + more),
                }
            return {
                "eval.train_accuracy": fit,
                "eval.overfit": np.array([0, 0.05, 0.15, 0.2]) + owed.get(rule, 0) + more,
                "eval.test_accuracy": np.array([0.1, 0.2, 0.99, ends.get(rule, 0.9) + more]),
            }

        return make

    def test_what_the_papers_say_holds_where_it_is_so(self) -> None:
        made = self.made({"mean": 0.2, "clipped": 0.1}, {"mean": 0.8})
        self.assertEqual(self.verdicts(self.FIGURE, made), [HOLDS] * 9)

    def test_none_of_it_holds_where_it_is_not(self) -> None:
        made = self.made({"winsorized": 0.2, "clipped": 0.1}, {"momentum": 0.85, "decay": 0.85, "both": 0.5}, fits=0.93)
        self.assertEqual(self.verdicts(self.FIGURE, made), [FAILS] * 9)

    def test_what_helps_from_usual_weights_as_much_is_no_help_to_escape(self) -> None:
        made = self.made({"mean": 0.2, "clipped": 0.1}, {"mean": 0.8}, from_usual={"momentum": 0.11, "decay": 0.09})
        self.assertEqual(self.verdicts(self.FIGURE, made)[6:8], [FAILS, HOLDS])

    def test_the_picture_has_every_setting_and_every_course(self) -> None:
        results = self.results_of(self.FIGURE, self.made({"mean": 0.2}, {"mean": 0.8}))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["adversarial_initialization"]
        left, *others = picture.axes
        seeds = len(study(self.FIGURE).seeds)
        self.assertEqual(len(left.lines), len(initialization.BEGINS) * len(initialization.COURSES) * seeds + 1)
        for axes in others:
            self.assertEqual(sum(line.get_marker() == "." for line in axes.lines), 2 * len(initialization.RULES))


class Delta(OfFigures):
    FIGURE = figures("interventions")["delta"]

    def config(self, setting: Setting) -> dict[str, Any]:
        return {"update": {"learning_rate": 0.1}, "batch_size": 10}

    @staticmethod
    def made(slope: float, own: float, shift: float, trace: float, distance: float) -> Callable[[Setting, int], Made]:
        """Measured over predicted; own part over measured in the first epoch; later shift over own; own over η tr Σ/|B|."""

        def make(setting: Setting, seed: int) -> Made:
            more = 1 + spread(seed)
            predicted = 1 + STEPS / 60
            measured = slope * more * predicted
            of_own = own * measured
            found = {"predicted": predicted, "measured": measured, "own": of_own, "shift": shift * of_own * more}
            found["covariance_trace"] = of_own / trace * more / 0.01
            columns = {f"generalization_gap.{name}": values for name, values in found.items()}
            if setting["rule"] == "rmsprop":
                columns["sgd_gd_gap.average.error"] = np.where(STEPS == 0, distance / 8, np.nan)
                columns["sgd_gd_gap.average.distance"] = np.where(STEPS == 0, distance**2 / 8 * more, np.nan)
            return columns

        return make

    def test_all_holds_where_the_equations_do(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(1, 1, 0.3, 1, 1)), [HOLDS] * 6)

    def test_none_does_where_they_do_not(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(2, 0.5, 0.01, 10, 5)), [FAILS] * 6)

    def test_the_picture_has_a_line_for_each_run_and_part(self) -> None:
        results = self.results_of(self.FIGURE, self.made(1, 1, 0.3, 1, 1))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["delta"]
        self.assertEqual(len(picture.axes), len(delta.RULES))
        for axes in picture.axes:
            self.assertEqual(len(axes.lines), 3 * len(study(self.FIGURE).seeds) + 2)


if __name__ == "__main__":
    unittest.main()
