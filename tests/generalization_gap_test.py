#!/usr/bin/env python3
"""Tests of the figures of generalization_gap on runs made up here: python tests/generalization_gap_test.py"""

from __future__ import annotations

import json
import math
import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from run_folders import NAN, SEEDS, SIZES, RunFolders, named, study, wobble

# isort: split
from papers.generalization_gap import (
    anisotropy,
    explicit,
    gap,
    gaussian,
    gradient_statistics,
    inverse_covariance,
    l2,
    measured_rows,
    overlap,
    realizations,
    sgd_gd,
)
from papers.generalization_gap.overlap import OVERLAPS
from sgdscope.catalogue import figures, jobs_of, study_of, unique_jobs
from sgdscope.claims import TooLittle, Verdict
from sgdscope.durations import Durations
from sgdscope.figure import Figure
from sgdscope.plan import Reproduction
from sgdscope.plots.style import house_style
from sgdscope.report import write_report
from sgdscope.runs import open_run
from sgdscope.studies import read_json

HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN
NAMES = list(figures("generalization_gap"))
FIGURES = tuple(figures("generalization_gap").values())
QUICK = SEEDS
MANIFEST = {
    "steps_done": 40, "wall_seconds": 1.0, "peak_memory_bytes": 1e8, "device": "cpu", "threads": 1, "cpu": "a processor",
    "versions": {"sgdscope": "1", "libtorch": "2", "blas": "3"},
}  # fmt: skip


class Made(RunFolders):
    """Runs of known numbers, and the results that they make."""

    def make_run(
        self,
        folder: str,
        metrics: Mapping[str, Sequence[float]],
        evaluations: Mapping[str, Sequence[float]] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """A run of which `metrics` has at least the steps."""
        rows = {"epoch": metrics["step"], "loss": metrics["step"], **metrics}
        if evaluations is not None:
            evaluations = {"epoch": evaluations["step"], **evaluations}
        whole = {"data": {"name": "mnist", "path": "somewhere"}, **(config or {})}
        self.make(f"runs/{folder}", rows, evaluations, config=whole, manifest=MANIFEST)

    def draw(self, figure: Figure) -> Any:
        """The one picture of a figure."""
        with house_style():
            (picture,) = figure.draw(self.results(figure)).values()
        return picture


class Jobs(Made):
    def test_all_share_without_conflict_and_need_known_configs(self) -> None:
        for size in SIZES:
            jobs = unique_jobs([job for figure in FIGURES for job in study(figure, size).jobs()])
            for file in {job.config for job in jobs}:
                self.assertIn(read_json(file)["data"]["name"], ("mnist", "synthetic"))

    def test_quick_takes_less_than_10_minutes_on_two_cores(self) -> None:
        seconds = Durations.load("generalization_gap").of_all("quick", jobs_of("generalization_gap", NAMES, "quick"))
        self.assertLess(seconds, 10 * 60)

    def test_an_epoch_of_sgd_has_as_many_batches_as_the_regularizer_has_parts(self) -> None:
        for size in SIZES:
            for job in study(explicit.FIGURE, size).jobs():
                words = dict(word.split("=", 1) for word in job.overrides)
                gradient, batch = json.loads(words["gradient"]), int(words["batch_size"])
                examples = int(words["data.train_limit"])
                self.assertEqual(batch, explicit.BATCH if job.name.startswith("sgd") else examples)
                if gradient["name"] == "explicit_sgd":
                    self.assertEqual(gradient["updates"] * explicit.BATCH, examples)
                    self.assertEqual(gradient["learning_rate"], float(words["update.learning_rate"]))

    def test_every_kind_of_preconditioner_has_as_many_settings_as_sgd(self) -> None:
        counts = {kind: len(settings) for kind, settings in study(inverse_covariance.FIGURE).curves.items()}
        self.assertEqual(set(counts.values()), {6}, counts)

    def test_the_probes_measure_what_is_drawn(self) -> None:
        def probes(figure: Figure) -> list[dict[str, Any]]:
            (setting,) = study(figure).settings
            return json.loads(dict(word.split("=", 1) for word in setting.overrides)["probes"])

        self.assertEqual(probes(overlap.FIGURE)[0]["overlap"], list(OVERLAPS))
        tried = {probe["label"]: probe for probe in probes(sgd_gd.FIGURE)}
        self.assertEqual(tuple(tried[f"rate{i}"]["learning_rate"] for i in range(5)), sgd_gd.RATES)
        self.assertEqual(tuple(tried[f"cuts{cuts}"]["draws"] for cuts in sgd_gd.CUTS), sgd_gd.CUTS)
        noise = {probe["label"]: probe["batch_size"] for probe in probes(gaussian.FIGURE)}
        self.assertEqual(noise, {f"batch{size}": size for size in gaussian.SIZES})
        self.assertEqual(
            {probe["name"]: probe.get("learning_rate") for probe in probes(l2.FIGURE)}["sgd_gd_gap"], l2.RATE
        )

    def test_the_last_step_is_measured_at_both_sizes(self) -> None:
        for size, examples in (("quick", 10_000), ("full", 60_000)):
            words = dict(word.split("=", 1) for word in named(sgd_gd.FIGURE, "sgd_gd", size).overrides)
            steps = int(words.get("epochs", 10)) * examples // 100
            every = {probe["label"]: probe.get("every") for probe in json.loads(words["probes"])}
            for label in (gradient_statistics.END, gradient_statistics.WHOLE):
                self.assertEqual(every[label], steps - 1)

    def test_no_seed_of_the_quick_size_is_one_whose_results_were_known(self) -> None:
        for figure in FIGURES:
            for claim in self.judge(figure):
                if claim.decided_after:
                    _, paper, name = figure.draw.__module__.split(".")
                    seeds = study_of(paper, name, "quick").seeds
                    self.assertEqual(claim.decided_after.seen("quick", seeds), [], claim.says)


class Rows(Made):
    def test_only_where_all_columns_were_measured(self) -> None:
        self.make_run("a", {"step": [0, 1, 2, 3], "x": [NAN, 1, 2, 3], "y": [5, 6, NAN, 8]})
        run = open_run(str(self.root / "runs" / "a"))
        self.assertEqual([list(column) for column in measured_rows(run, ["x", "y"])], [[1, 3], [1, 3], [6, 8]])
        self.make_run("b", {"step": [0, 1], "x": [NAN, 1], "y": [5, NAN]})
        with self.assertRaisesRegex(TooLittle, "b measures x at no step"):
            measured_rows(open_run(str(self.root / "runs" / "b")), ["x", "y"])


class Gap(Made):
    STEPS, EPOCH = 400, 100

    def make_runs(
        self, slope: float, first: float, correction: tuple[float, float], evaluated: float, epoch: int = EPOCH
    ) -> None:
        """Measured over predicted; average over predicted in the first epoch; correction at both ends; gap over sum."""
        step = np.arange(self.STEPS)
        for name in gap.NAMES:
            for seed in QUICK:
                random = np.random.default_rng(seed)
                noise = random.standard_normal(self.STEPS) * 0.1
                average = np.full(self.STEPS, 2.0)
                corrections = np.linspace(*correction, self.STEPS)
                predicted = average + corrections + noise
                average[:epoch] *= first
                measured = slope * predicted + 0.01 * random.standard_normal(self.STEPS)
                metrics = {"predicted": predicted, "measured": measured, "average": average, "correction": corrections}
                metrics |= {f"cum_{stem}": np.cumsum(values) for stem, values in metrics.items()}
                rows = {f"generalization_gap.{stem}": values for stem, values in metrics.items()}
                at = np.arange(0, self.STEPS + 1, 50)
                opened = evaluated * np.concatenate([[0], np.cumsum(predicted)])[at]
                evaluations = {"step": at, "train_loss": 2.3 - 0.001 * at, "test_loss": 2.4 - 0.001 * at + opened}
                self.make_run(f"{name},seed={seed}", {"step": step, "epoch": step / epoch, **rows}, evaluations)

    def test_what_the_paper_says(self) -> None:
        self.make_runs(1.0, 1.0, (0.0, 3.0), 1.0)
        claims = self.judge(gap.FIGURE)
        self.assertEqual([claim.verdict for claim in claims], [HOLDS] * 9 + [FAILS])  # the average form says too little
        late = next(claim for claim in claims if "become different" in claim.says)
        self.assertAlmostEqual(late.measured.summary.mean, 3.0 * 0.875 / 2.0 + 1 / self.EPOCH, delta=0.01)

    def test_steps_that_are_not_small(self) -> None:
        self.make_runs(2.5, 1.0, (0.0, 3.0), 2.5)
        self.assert_verdicts(gap.FIGURE, *[FAILS] * 5, HOLDS, HOLDS, HOLDS, FAILS, FAILS)

    def test_an_average_form_that_says_nothing_and_distributions_that_stay_the_same(self) -> None:
        self.make_runs(1.0, 0.4, (0.1, 0.0), 1.0)
        claims = self.judge(gap.FIGURE)
        self.assertEqual([claim.verdict for claim in claims], [HOLDS] * 4 + [FAILS] * 4 + [HOLDS, FAILS])

    def test_a_correction_that_falls_does_not_become_larger_and_the_average_form_says_too_much(self) -> None:
        self.make_runs(1.0, 1.0, (0.0, -1.0), 1.0)
        self.assertEqual([claim.verdict for claim in self.judge(gap.FIGURE)], [HOLDS] * 6 + [FAILS] * 2 + [HOLDS] * 2)

    def test_a_correction_that_changes_its_sign_becomes_larger(self) -> None:
        self.make_runs(1.0, 1.0, (-1.6, 1.6), 1.0)  # of which the size alone would be the same at both ends
        grows = [claim for claim in self.judge(gap.FIGURE) if "becomes larger" in claim.says]
        self.assertEqual([claim.verdict for claim in grows], [HOLDS, HOLDS])

    def test_the_share_of_the_batch_in_the_training_set_is_no_correction(self) -> None:
        self.make_runs(1.0, 1.0, (-0.4, -0.4), 1.0, epoch=5)  # a fifth of the average form
        late = self.judge(gap.FIGURE)[5]
        self.assertEqual(late.verdict, FAILS)
        self.assertAlmostEqual(late.measured.summary.mean, 0.0, places=10)

    def test_where_the_batch_is_the_training_set_the_correction_is_all_of_the_predicted_change(self) -> None:
        self.make_runs(1.0, 1.0, (0.0, 3.0), 1.0, epoch=1)
        step, found, average = gap.correction(open_run(str(self.root / "runs" / "gd,seed=1")))
        np.testing.assert_allclose(found[1:], np.linspace(0, 3, self.STEPS)[1:] + average[1:])
        self.assertEqual(found[0], 0)  # of the first step the batch is new

    def test_the_sum_of_changes_that_is_not_the_gap(self) -> None:
        self.make_runs(1.0, 1.0, (0.0, 3.0), 0.5)
        self.assertEqual([claim.verdict for claim in self.judge(gap.FIGURE)], [HOLDS] * 8 + [FAILS, FAILS])

    def test_a_first_epoch_that_was_not_measured_at_every_step_gives_no_sum(self) -> None:
        step = np.arange(0, 400, 2)
        values = {f"generalization_gap.{name}": np.ones(step.size) for name in ("average", "measured")}
        for name, epoch in (("every_second", step // 100), ("short", 0 * step)):
            self.make(name, {"step": step, "epoch": epoch, "loss": np.ones(step.size), **values})
        with self.assertRaisesRegex(TooLittle, "every_second measures 50 of the first epoch's 100 steps"):
            gap.average_at_first(open_run(str(self.root / "every_second")))
        with self.assertRaisesRegex(TooLittle, "short ends within its first epoch"):
            gap.average_at_first(open_run(str(self.root / "short")))

    def test_the_picture(self) -> None:
        self.make_runs(1.0, 1.0, (0.0, 3.0), 1.0)
        picture = self.draw(gap.FIGURE)
        lines = [sum(len(line.get_xdata()) > 2 for line in axes.lines) for axes in picture.axes]
        of_sums = len(gap.LOOKS) * len(QUICK)
        self.assertEqual(lines, [1, of_sums, 1, of_sums + len(QUICK)])
        means = picture.axes[0].lines[0]
        np.testing.assert_allclose(means.get_xdata(), means.get_ydata(), rtol=0.01)


class Realizations(Made):
    RATE = 0.2
    FEW = 6  # of its many seeds
    DATA = {"name": "synthetic", "std": 1.0, "shape": [30], "classes": 4}

    def seeds(self) -> Sequence[int]:
        """Those with which there are runs."""
        return study(realizations.FIGURE).seeds[: self.FEW]

    def make_runs(self, mean: float, spreads: tuple[float, float], cuts: tuple[float, float]) -> None:
        """δε over its known mean; its spread with few examples and with many; the distance of δg from its known mean."""
        step = np.arange(0, 3000, 100)
        for examples, name, spread, away in zip(realizations.EXAMPLES, realizations.NAMES, spreads, cuts):
            for seed in self.seeds():
                random = np.random.default_rng(seed)
                folder, theta = f"{name},seed={seed}", random.standard_normal(120)
                slope = 4 * 31 / 16
                known = self.RATE * (4 * 30 / 16 + slope * float(theta @ theta)) / examples
                average = np.full(step.size, known)
                predicted = average.copy()
                predicted[0] = known * (mean + spread * (1 + 0.001 * seed))
                rows = {"predicted": predicted, "average": average, "correction": predicted - average}
                metrics = {f"generalization_gap.{stem}": values for stem, values in rows.items()}
                expected, other = 0.001 * slope / examples, random.standard_normal(120)  # −λ θ, and another vector
                other *= expected * away * (1 + 0.001 * seed) * math.sqrt(float(theta @ theta) / float(other @ other))
                found = -expected * theta + other  # equation 13's right side
                decay = -float(found @ theta) / float(theta @ theta)
                for stem, value in (("norm", math.sqrt(float(found @ found))), ("decay", decay)):
                    metrics[f"sgd_gd_gap.average.{stem}"] = np.where(step == 0, value, NAN)
                probes = [{"name": "generalization_gap"}, {"name": "sgd_gd_gap", "learning_rate": 0.001}]
                config = {
                    "batch_size": examples, "data": self.DATA, "update": {"learning_rate": self.RATE}, "probes": probes,
                }  # fmt: skip
                self.make_run(folder, {"step": step, **metrics}, config=config)
                self.write_snapshot(folder, 0, theta)

    def test_both_that_self_average(self) -> None:
        self.make_runs(1.0, (0.04, 0.01), (1.0, 0.5))
        self.assert_verdicts(realizations.FIGURE, *[HOLDS] * 3)
        run = open_run(str(self.root / "runs" / f"{realizations.NAMES[1]},seed=203"))
        self.assertAlmostEqual(realizations.away_from_decay(run), 0.5 * 1.203, places=10)

    def test_a_mean_that_is_another_and_what_does_not_self_average(self) -> None:
        self.make_runs(1.5, (0.01, 0.04), (0.5, 1.0))
        self.assert_verdicts(realizations.FIGURE, *[FAILS] * 3)

    def test_the_picture(self) -> None:
        self.make_runs(1.0, (0.04, 0.01), (1.0, 0.5))
        left, right = self.draw(realizations.FIGURE).axes
        points = [line.get_ydata() for line in left.lines if len(line.get_xdata()) == self.FEW]
        np.testing.assert_allclose(points[0], 1.0, atol=0.05)
        lines = [line.get_xdata() for line in right.lines if len(line.get_xdata()) > 2]
        self.assertEqual(len(lines), 2 * 3)
        for x in lines:  # the first step, to which nothing measured leads, is a point of its own
            self.assertEqual((x[0], x.size), (101, 29))
        self.assertEqual(sum(list(line.get_xdata()) == [1] for line in right.lines), 2 * 3)

    def test_every_training_set_is_the_batch_and_belongs_to_a_seed(self) -> None:
        for size in SIZES:
            for setting in study(realizations.FIGURE, size).settings:
                words = dict(word.split("=", 1) for word in setting.overrides)
                self.assertEqual(words["batch_size"], words["data.train_size"])
            descent = dict(word.split("=", 1) for word in named(gap.FIGURE, "gd", size).overrides)
            self.assertEqual(descent["batch_size"], descent["data.train_limit"])
            self.assertEqual(descent["data.train_draw"], "true")


class Gaussian(Made):
    def make_runs(self, power: float, last: float) -> None:
        """The excess kurtosis at the first step as a power of the batch size; at the last one so many times it."""
        for seed in QUICK:
            rows = {}
            for size in gaussian.SIZES:
                first = 5 * size ** (power + 0.001 * seed)
                rows[f"batch{size}.sgd.kurtosis"] = [first, NAN, last * first]
            self.make_run(f"{gaussian.NAME},seed={seed}", {"step": [0, 200, 400], **rows})

    def test_what_the_paper_says(self) -> None:
        self.make_runs(-1, 2)
        self.assert_verdicts(gaussian.FIGURE, HOLDS, HOLDS)
        power, kurtosis = self.judge(gaussian.FIGURE)
        self.assertAlmostEqual(power.measured.summary.mean, 1 - 0.0045, places=10)
        self.assertEqual([round(part.summary.mean, 4) for part in kurtosis.parts], [0.016, 0.0321])
        self.draw(gaussian.FIGURE)

    def test_noise_that_becomes_heavy_tailed(self) -> None:
        self.make_runs(-1, 100)
        self.assert_verdicts(gaussian.FIGURE, HOLDS, FAILS)

    def test_noise_that_does_not_become_gaussian(self) -> None:
        self.make_runs(-0.1, 1)
        self.assert_verdicts(gaussian.FIGURE, FAILS, FAILS)

    def test_a_kurtosis_that_has_no_logarithm(self) -> None:
        self.make_runs(-1, -1)
        self.assertRegex(
            self.judge(gaussian.FIGURE)[0].reason, "has an excess kurtosis of -1, of which there is no log"
        )


class Anisotropy(Made):
    def make_runs(self, spectrum: Callable[[int, int], np.ndarray]) -> None:
        """Σ with this spectrum, of so many gradients and a seed; at the last step three times as large."""
        for seed in QUICK:
            rows: dict[str, list[float]] = {}
            for count, label in anisotropy.PROBES.items():
                values = np.sort(spectrum(count, seed) * (1 + 0.01 * seed * np.arange(count - 1) / count))[::-1]
                trace = float(values.sum())
                rank = trace**2 / float((values**2).sum())
                rows |= {f"{label}.trace": [trace, NAN, 3 * trace], f"{label}.effective_rank": [rank, NAN, rank]}
                for i, value in enumerate(values[: anisotropy.MEASURED[count]], 1):
                    rows[f"{label}.eigenvalue{i}"] = [value, NAN, 3 * value]
            rows["few.trace"] = [1e6, NAN, 1e6]  # that of the batch, of which the few are no part
            self.make_run(f"{anisotropy.NAME},seed={seed}", {"step": [0, 200, 400], **rows})

    def test_few_directions_that_have_most(self) -> None:
        self.make_runs(lambda count, _: np.arange(1.0, count) ** -2)
        self.assert_verdicts(anisotropy.FIGURE, *[HOLDS] * 3)
        left, right = self.draw(anisotropy.FIGURE).axes
        self.assertEqual([len(axes.lines) for axes in (left, right)], [4 * len(QUICK) + 4, 4 * len(QUICK) + 2])
        for line in (right.lines[0], right.lines[2 * len(QUICK)]):  # of few gradients, and of many
            self.assertAlmostEqual(line.get_ydata()[9], np.sum(np.arange(1.0, 11) ** -2) / 1.64, delta=0.02)

    def test_noise_that_is_alike_in_all_directions(self) -> None:
        self.make_runs(lambda count, _: np.ones(count - 1))
        self.assert_verdicts(anisotropy.FIGURE, *[FAILS] * 3)

    def test_gradients_of_unlike_length_alike_in_all_directions_are_not_anisotropic(self) -> None:
        """In many dimensions they are at right angles, and the eigenvalues are their squared lengths."""
        for spread, verdict in ((0.7, FAILS), (1.5, OPEN)):
            with self.subTest(spread=spread):
                self.root = self.root / str(spread)
                self.make_runs(
                    lambda count, seed, of=spread: np.random.default_rng([seed, count]).lognormal(0, 2 * of, count - 1)
                )
                claim = self.judge(anisotropy.FIGURE)[0]
                self.assertEqual(claim.verdict, verdict, claim.measured)

    def test_directions_that_only_more_gradients_would_show(self) -> None:
        """A rank far below the number of gradients that grows with it says nothing of Σ."""
        self.make_runs(lambda count, _: np.concatenate([np.ones(count // 20), np.full(count - 1 - count // 20, 1e-9)]))
        self.assert_verdicts(anisotropy.FIGURE, FAILS, FAILS, FAILS)

    def test_the_probes_have_as_many_eigenvalues_and_gradients_as_are_drawn(self) -> None:
        (setting,) = study(anisotropy.FIGURE).settings
        words = dict(word.split("=", 1) for word in setting.overrides)
        probes = {probe["label"]: probe for probe in json.loads(words["probes"])}
        for count, label in anisotropy.PROBES.items():
            self.assertEqual(probes[label]["spectrum"], anisotropy.MEASURED[count])
            self.assertEqual(probes[label].get("spectrum_examples", int(words["batch_size"])), count)


class GradientStatistics(Made):
    def make_runs(self, growth: float, tied: float, gradient: float = 1.0, noise: float = 0.0) -> None:
        """How much longer ∂ tr Σ and the gradient become, and how the correction goes with the gap, beside noise."""
        for seed in QUICK:
            random = np.random.default_rng(seed)
            norm = np.array([1.0, 2.0, 3.0, NAN]) * (1 + 0.01 * seed)
            end = np.array([1.0, NAN, NAN, growth * (1 + 0.002 * seed)]) * (1 + 0.01 * seed)
            probes = [
                {"label": "cuts10", "learning_rate": 0.5}, {"label": "cuts160", "learning_rate": 0.001},
                {"label": "end", "learning_rate": 0.001}, {"label": "whole", "learning_rate": 0.1},
            ]  # fmt: skip
            config = {"batch_size": 100, "probes": probes}
            columns = {
                "cuts160.average.norm": norm, "end.average.norm": end,
                "whole.squared_norm": np.array([1.0, NAN, NAN, gradient**2]),
            }  # fmt: skip
            self.make_run(f"sgd_gd,seed={seed}", {"step": [0, 10, 1000, 1099], **columns}, config=config)
            step, at = np.arange(400), np.arange(0, 401, 50)
            opened = np.array([0, 0.2, 0.1, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0])
            correction = np.repeat(tied * opened[1:] + 0.01 * (seed % 2), 50) + noise * random.standard_normal(400)
            rows = {"generalization_gap.average": np.full(400, 2.0), "generalization_gap.correction": correction}
            evaluations = {"step": at, "train_loss": 1 - opened, "test_loss": np.ones(9)}
            for name in gap.NAMES:
                self.make_run(f"{name},seed={seed}", {"step": step, "epoch": step // 50, **rows}, evaluations)

    def test_what_the_paper_says(self) -> None:
        self.make_runs(30.0, 1.0)
        self.assert_verdicts(gradient_statistics.FIGURE, *[HOLDS] * 5)
        run = open_run(str(self.root / "runs" / "sgd_gd,seed=1"))
        line = gradient_statistics.slope_of_trace(run)
        np.testing.assert_allclose(line.y[0], 1.01 * 2 * 100 / 0.001)
        self.assertEqual(list(line.x), [0, 10, 1000, 1099])
        divergence = gradient_statistics.divergence(open_run(str(self.root / "runs" / "gd,seed=2")))
        share = np.array([0.0, *[1 / 50] * 7])  # of the batch in the training set, once its examples were seen
        np.testing.assert_allclose(divergence.y, divergence.x / 2 + share)
        self.assertEqual(len(self.draw(gradient_statistics.FIGURE).axes), 3)

    def test_a_slope_that_stays_and_a_divergence_that_goes_the_other_way(self) -> None:
        self.make_runs(2.0, -1.0)
        self.assert_verdicts(gradient_statistics.FIGURE, FAILS, FAILS, FAILS, FAILS, HOLDS)
        self.assertLess(self.judge(gradient_statistics.FIGURE)[2].measured.summary.mean, -0.9)

    def test_a_divergence_that_changes_its_sign_rises(self) -> None:
        self.make_runs(2.0, 1.0)
        for seed in QUICK:  # from −0.5 to 0.5, of which the size falls at first
            file = self.root / "runs" / f"gd,seed={seed}" / "metrics.csv"
            head, *lines = file.read_text().splitlines()
            place = head.split(",").index("generalization_gap.correction")
            cells = [line.split(",") for line in lines]
            for row in cells:
                row[place] = str(float(row[place]) - 0.5)
            file.write_text("\n".join([head, *map(",".join, cells), ""]))
        self.assertEqual(self.judge(gradient_statistics.FIGURE)[3].verdict, HOLDS)

    def test_a_trace_that_becomes_large_beside_the_gradient_alone(self) -> None:
        self.make_runs(2.0, 1.0, gradient=0.01)
        self.assertEqual([claim.verdict for claim in self.judge(gradient_statistics.FIGURE)][:2], [FAILS, HOLDS])

    def test_a_statistic_that_is_noise(self) -> None:
        self.make_runs(2.0, 0.0, noise=1.0)
        claims = self.judge(gradient_statistics.FIGURE)
        self.assertNotEqual(claims[2].verdict, HOLDS)
        self.assertEqual(claims[4].verdict, FAILS)

    def test_too_few_evaluations(self) -> None:
        step = np.arange(100)
        rows = {f"generalization_gap.{stem}": np.ones(100) for stem in ("average", "correction")}
        evaluations = {"step": [0, 50, 100], "train_loss": [1, 0, 0], "test_loss": [1, 1, 1]}
        self.make_run("gd,seed=1", {"step": step, "epoch": step // 50, **rows}, evaluations)
        with self.assertRaisesRegex(TooLittle, "evaluated 3 times, of which it takes 6"):
            gradient_statistics.divergence(open_run(str(self.root / "runs" / "gd,seed=1")))


class Overlap(Made):
    def make_runs(self, slope: float, error: float, norms: float = 0.1) -> None:
        """At three moments: the fall of the loss over the overlap, tr Sigma times `slope`, and its standard error."""
        moments, empty = np.array([1.0, 2.0, 3.0]), NAN
        for seed in QUICK:
            random = np.random.default_rng(seed)
            trace, norm = 40 * moments, norms * moments
            rows = {"covariance_trace": trace}
            for shared in OVERLAPS:
                share = shared / overlap.BATCH**2
                chance = 0.2 * error * random.standard_normal(3)
                rows[f"shared{shared}.measured"] = norm + slope * share * trace + chance
                rows[f"shared{shared}.measured_error"] = np.full(3, error)
                rows[f"shared{shared}.predicted"] = norm + share * trace
            table = {f"overlap.{stem}": np.insert(values, 1, empty) for stem, values in rows.items()}
            self.make_run(f"{overlap.NAME},seed={seed}", {"step": [0, 1, 10, 100], **table})

    def test_what_the_paper_says(self) -> None:
        self.make_runs(1.0, 0.01)
        self.assert_verdicts(overlap.FIGURE, HOLDS, HOLDS, HOLDS)

    def test_another_slope(self) -> None:
        self.make_runs(1.4, 0.01)
        self.assert_verdicts(overlap.FIGURE, FAILS, HOLDS, FAILS)

    def test_a_prediction_near_0_does_not_decide_how_large_errors_are(self) -> None:
        self.make_runs(1.0, 0.01, norms=1e-6)
        self.assert_verdicts(overlap.FIGURE, HOLDS, HOLDS, HOLDS)

    def test_error_bars_that_let_everything_pass(self) -> None:
        self.make_runs(1.0, 0.5)
        self.assertEqual([claim.verdict for claim in self.judge(overlap.FIGURE)][:2], [HOLDS, FAILS])

    def test_the_picture(self) -> None:
        self.make_runs(1.0, 0.01)
        first = self.draw(overlap.FIGURE).axes[0]
        predicted = first.lines[0]
        np.testing.assert_allclose(predicted.get_xdata(), np.array(OVERLAPS) / 100**2)
        np.testing.assert_allclose(predicted.get_ydata(), 0.1 + 40 * np.array(OVERLAPS) / 100**2)
        self.assertEqual(first.get_title(), "step 0")


class SgdGd(Made):
    def make_runs(self, power: float, ratio: float, error: float = 1.0) -> None:
        """The power of the relative error of equation 12, and the distance from equation 13 in its standard errors."""
        for seed in QUICK:
            rows = {}
            moments = np.array([0.9, 1.0, 1.2]) * (1 + 0.01 * seed)
            for i, rate in enumerate(sgd_gd.RATES):
                rows[f"rate{i}.distance"] = moments * rate**power
                rows[f"rate{i}.order"] = np.full(3, 1 + power) + 0.001 * seed
            for cuts in sgd_gd.CUTS:
                rows[f"cuts{cuts}.average.error"] = error * moments / math.sqrt(cuts)
                rows[f"cuts{cuts}.average.distance"] = ratio * error * moments / math.sqrt(cuts)
            self.make_run(f"{sgd_gd.NAME},seed={seed}", {"step": [0, 1, 10], **rows})

    def test_what_the_paper_says(self) -> None:
        self.make_runs(1.0, 1.0)
        self.assert_verdicts(sgd_gd.FIGURE, *[HOLDS] * 5)
        picture = self.draw(sgd_gd.FIGURE)
        self.assertEqual([len(axes.lines) for axes in picture.axes], [3 + 1, 3 + 1])  # moments, and what is expected

    def test_an_error_of_the_same_order(self) -> None:
        self.make_runs(0.0, 3.0)
        self.assert_verdicts(sgd_gd.FIGURE, FAILS, FAILS, FAILS, HOLDS, HOLDS)

    def test_error_bars_that_let_everything_pass(self) -> None:
        self.make_runs(1.0, 1.0, error=20)
        self.assert_verdicts(sgd_gd.FIGURE, HOLDS, HOLDS, HOLDS, FAILS, HOLDS)


class L2(Made):
    CONSTANT, SLOPE = 4 * 4 * 6 / 16, 4 * 16 * 7 / 16  # of the config: 4 s² d / k² and 4 s⁴ (d + 1) / k²

    def make_runs(self, constant: float, slope: float, decay: float, cosine: float) -> None:
        """tr Sigma over |W|², and the weight decay in units of what is known."""
        config = {"batch_size": 50, "data": {"name": "synthetic", "std": 2.0, "shape": [2, 3], "classes": 4}}
        steps = np.arange(0, 100, 20)
        for seed in QUICK:
            folder = f"{l2.NAME},seed={seed}"
            known = 0.1 * self.SLOPE / 50
            squares = []
            random = np.random.default_rng(seed)
            for step in steps:
                theta = random.standard_normal(24) * math.exp(-step / 50)
                squares.append(float(theta @ theta))
                self.write_snapshot(folder, int(step), theta)
            rows = {
                l2.TRACE: constant * self.CONSTANT + slope * self.SLOPE * np.array(squares),
                l2.DECAY: decay * known * (1 + 0.02 * random.standard_normal(5)),
                l2.COSINE: np.full(5, cosine) + 0.001 * seed,
            }
            (self.root / "runs" / folder / "snapshots").rename(self.root / f"snapshots{seed}")
            (self.root / "runs" / folder).rmdir()
            self.make_run(folder, {"step": steps, **rows}, config=config)
            (self.root / f"snapshots{seed}").rename(self.root / "runs" / folder / "snapshots")

    def test_a_linear_model(self) -> None:
        self.make_runs(1.0, 1.0, 1.0, 0.95)
        self.assert_verdicts(l2.FIGURE, *[HOLDS] * 5)
        picture = self.draw(l2.FIGURE)
        known = picture.axes[0].lines[-1]
        self.assertEqual((known.get_xy1(), known.get_slope()), ((0, self.CONSTANT), self.SLOPE))
        self.assertEqual([len(axes.lines) for axes in picture.axes], [len(QUICK) + 1] * 2)  # a colour for each seed

    def test_another_penalty(self) -> None:
        self.make_runs(1.2, 0.8, 0.5, 0.5)
        self.assert_verdicts(l2.FIGURE, HOLDS, FAILS, FAILS, FAILS, FAILS)


class Accuracies(Made):
    EVALUATED = np.arange(0, 9)

    def make_accuracy(self, name: str, seed: int, accuracy: float, test_loss: float = 1.0) -> None:
        """A run whose last quarter of evaluations has, in the mean, these values."""
        late = np.array([0.01, -0.01])
        rising = np.concatenate([np.linspace(0.1, 0.7, 7), accuracy * wobble(name, seed) + late])
        falling = np.concatenate([np.linspace(2.3, 0.5, 7), 0.25 + late])
        evaluations = {
            "step": self.EVALUATED, "test_accuracy": rising, "train_loss": falling,
            "test_loss": np.concatenate([np.linspace(2.3, 0.9, 7), test_loss + late]),
        }  # fmt: skip
        self.make_run(f"{name},seed={seed}", {"step": [0, 8]}, evaluations)

    def make_three(self, sgd: float, gd: float, with_it: float, tilt: float = 0.0) -> None:
        """The accuracies of the three; the loss on the test set is the smaller the higher they are."""
        found = study(explicit.FIGURE)
        for seed in found.seeds:
            for kind, accuracy in (("sgd", sgd), ("gd", gd), ("explicit", with_it)):
                for i, setting in enumerate(found.curve(kind)):
                    reached = accuracy + 0.01 * i + 0.0005 * (seed % 2) + (tilt * (i - 1) if kind == "explicit" else 0)
                    loss = 2 - reached * wobble(kind, seed)
                    self.make_accuracy(setting.name, seed, reached, loss)

    def test_a_regularizer_that_emulates(self) -> None:
        self.make_three(0.80, 0.78, 0.799)
        self.assert_verdicts(explicit.FIGURE, *[HOLDS] * 5)
        emulates = self.judge(explicit.FIGURE)[3]
        self.assertEqual(list(emulates.conditions), ["η = 0.05", "η = 0.1", "η = 0.2"])
        for part in emulates.parts:
            self.assertAlmostEqual(part.summary.mean, -0.001, places=9)
            self.assertEqual(part.seeds, len(SEEDS))
        picture = self.draw(explicit.FIGURE)
        self.assertEqual([len(axes.containers) for axes in picture.axes], [3, 3])

    def test_a_regularizer_that_makes_up_for_half(self) -> None:
        """It is higher than without, and nearer to SGD, which is not the same as SGD."""
        self.make_three(0.80, 0.78, 0.79)
        self.assert_verdicts(explicit.FIGURE, HOLDS, HOLDS, HOLDS, FAILS, FAILS)

    def test_a_regularizer_that_goes_too_far(self) -> None:
        self.make_three(0.80, 0.79, 0.83)
        self.assert_verdicts(explicit.FIGURE, HOLDS, HOLDS, HOLDS, FAILS, FAILS)

    def test_a_regularizer_that_is_too_much_at_one_rate_and_too_little_at_another(self) -> None:
        """Its mean over the rates is SGD's."""
        self.make_three(0.80, 0.78, 0.80, tilt=0.02)
        self.assert_verdicts(explicit.FIGURE, HOLDS, HOLDS, HOLDS, FAILS, FAILS)

    def test_a_regularizer_that_harms(self) -> None:
        self.make_three(0.78, 0.80, 0.82)
        self.assert_verdicts(explicit.FIGURE, FAILS, FAILS, HOLDS, FAILS, FAILS)

    def make_grid(self, best: Mapping[str, float]) -> None:
        """The best settings of each kind, and others below them."""
        for kind, accuracy in best.items():
            for i, setting in enumerate(study(inverse_covariance.FIGURE).curve(kind)):
                for seed in QUICK:
                    self.make_accuracy(setting.name, seed, accuracy - 0.02 * abs(i - 2) + 0.0002 * seed)

    def test_the_best_settings_are_compared(self) -> None:
        self.make_grid({"sgd": 0.90, "diagonal": 0.91, "low_rank": 0.88})
        self.assert_verdicts(inverse_covariance.FIGURE, HOLDS, OPEN)  # with other ρ it might be as good
        self.assertEqual(
            self.judge(inverse_covariance.FIGURE)[1].reason,
            "the best learning rate of 10 leading eigenpairs of Σ, 1.6, is at the end of those tried: add some above 1.6; "
            "the best ρ of 10 leading eigenpairs of Σ, 0.01, is at the end of those tried: add some below 0.01",
        )
        self.assertAlmostEqual(self.judge(inverse_covariance.FIGURE)[0].measured.summary.mean, 0.01, places=10)
        (table,) = inverse_covariance.FIGURE.tables(self.results(inverse_covariance.FIGURE))
        self.assertEqual(table.rows[0][0], "`inverse_sgd_rate0.2`")
        picture = self.draw(inverse_covariance.FIGURE)
        self.assertEqual([len(axes.containers) for axes in picture.axes], [3, 3])

    def test_what_is_a_little_worse_than_sgd_is_not_as_good(self) -> None:
        """With the largest ρ the best, which is no end: a larger one is nearer to SGD."""
        for kind, accuracy in (("sgd", 0.90), ("diagonal", 0.898), ("low_rank", 0.90)):
            for setting in study(inverse_covariance.FIGURE).curve(kind):
                away = abs(math.log2(setting["rate"] / (0.8 if kind != "sgd" else 0.2)))
                rho = 0.02 if setting.values.get("rho") in (0.0001, 0.01) else 0.0
                for seed in QUICK:
                    self.make_accuracy(setting.name, seed, accuracy - 0.02 * away - rho + 0.0002 * seed)
        diagonal, low_rank = self.judge(inverse_covariance.FIGURE)
        self.assertEqual((diagonal.verdict, low_rank.verdict), (FAILS, OPEN))
        self.assertNotIn("end of those tried", low_rank.reason)

    def test_a_setting_that_diverged_is_not_the_best_and_one_that_is_missing_leaves_all_open(self) -> None:
        self.make_grid({"sgd": 0.90, "diagonal": 0.91, "low_rank": 0.88})
        names = [setting.name for setting in study(inverse_covariance.FIGURE).curve("diagonal")]
        self.set_status(names[2], "diverged")
        claim = self.judge(inverse_covariance.FIGURE)[0]
        self.assertAlmostEqual(claim.measured.summary.mean, -0.01, places=10)
        self.assertEqual(claim.verdict, OPEN)
        self.assertEqual(claim.reason, f"{names[2]} diverges with 1 of {len(QUICK)} seeds, unlike with the others")
        self.set_status(names[0], "running")
        claim = self.judge(inverse_covariance.FIGURE)[0]
        self.assertEqual(claim.verdict, OPEN)
        self.assertIn(f"{names[0]},seed=1: running", claim.reason)

    def set_status(self, name: str, status: str) -> None:
        """Sets the status of the first seed's run."""
        manifest = self.root / "runs" / f"{name},seed=1" / "manifest.json"
        manifest.write_text(json.dumps({**MANIFEST, "status": status}))


class Nothing(Made):
    def test_without_runs_nothing_is_decided(self) -> None:
        for figure in FIGURES:
            for claim in self.judge(figure):
                self.assertEqual(claim.verdict, OPEN, claim.says)
                self.assertIn("not run yet", claim.reason)
            with self.assertRaises(TooLittle):
                figure.draw(self.results(figure))

    def test_the_report_of_nothing(self) -> None:
        runs = {job.folder: "" for job in jobs_of("generalization_gap", NAMES, "quick")}
        write_report(Reproduction(self.root, "generalization_gap", "quick", NAMES, runs))
        text = (self.root / "report.md").read_text(encoding="utf-8")
        for figure in FIGURES:
            self.assertIn(figure.title, text)


if __name__ == "__main__":
    unittest.main()
