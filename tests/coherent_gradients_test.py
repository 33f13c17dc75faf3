#!/usr/bin/env python3
"""Tests of the figures of coherent_gradients on runs made up here: python tests/coherent_gradients_test.py"""

from __future__ import annotations

import collections
import itertools
import json
import math
import unittest
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from run_folders import NAN, SEEDS, SIZES, RunFolders, csv_text, named, study, wobble

# isort: split
from papers.coherent_gradients import (
    MIXED,
    NOISE,
    NULLS,
    _shares,
    _winsorized,
    at_step,
    beyond_convnet,
    evaluated,
    fig1,
    fig2,
    fig3,
    fig4,
    full_batch_and_width,
    noise_name,
    patterns,
    steps_until,
)
from sgdscope.catalogue import figures, jobs_of, study_of
from sgdscope.claims import Claim, TooLittle, Verdict
from sgdscope.durations import Durations
from sgdscope.figure import Figure
from sgdscope.plots.style import house_style
from sgdscope.results import Results
from sgdscope.runs import Run, open_run
from sgdscope.studies import read_json

STEPS = np.unique(np.concatenate([[0], np.round(10 ** np.arange(0, 3.41, 0.1)), [3000]]))
EXAMPLES, BATCH = 20_000, 10
HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN


def learned(half: float) -> np.ndarray:
    """A share of examples at STEPS, half of them at step `half`."""
    return 1 / (1 + (half / np.maximum(STEPS, 1e-9)) ** 3)


def peaked(end: float, peak: float = 0.9) -> np.ndarray:
    """An accuracy that rises to its peak by the middle step and then changes to `end`."""
    return np.interp(np.arange(STEPS.size), [0, STEPS.size // 2, STEPS.size - 1], [0.0, peak, end])


def shares(f_p: np.ndarray, world: str = "", of: str = "whole") -> dict[str, np.ndarray]:
    """The columns of f_p and f_c of the whole set or a sample: one probe has the steps to 100, the other those from 90 on."""
    step = np.arange(f_p.size)
    early, late = np.where(step <= 100, f_p, NAN), np.where(step >= 90, f_p, NAN)
    probes = (("early", early), ("late", late))
    return {
        f"{probe}.{of}.{world}{part}": values for probe, f in probes for part, values in (("f_p", f), ("f_c", 1 - f))
    }


class Made(RunFolders):
    """Runs of known curves, and the results that they make."""

    def make_run(
        self, name: str, curves: Mapping[str, Sequence[float]], metrics: Mapping[str, Sequence[float]] | None = None
    ) -> Run:
        """A run folder with evaluations at STEPS."""
        step = np.arange(STEPS[-1] + 1) if metrics else STEPS
        rows = {"step": step, "epoch": step, "loss": step, **(metrics or {})}
        evaluations = {"step": STEPS, "epoch": STEPS * BATCH / EXAMPLES, **curves}
        return open_run(self.make(f"runs/{name}", rows, evaluations, config={"batch_size": BATCH}))

    def make_seeds(
        self, name: str, curves: Mapping[str, Sequence[float]], metrics: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Runs of all seeds, of which nothing but the wobble of their curves tells one from another."""
        for seed in SEEDS:
            factor = wobble(name, seed)
            of_seed = {column: np.asarray(values) * factor for column, values in curves.items()}
            self.make_run(f"{name},seed={seed}", of_seed, metrics)

    def by_words(self, figure: Figure) -> dict[str, Claim]:
        """The figure's claims by what they say."""
        return {claim.says: claim for claim in self.judge(figure)}

    def assert_all(self, claims: Mapping[str, Claim], expected: Callable[[str], Verdict]) -> None:
        """Asserts the verdict of each claim, as `expected` has it for what the claim says."""
        for says, claim in claims.items():
            self.assertEqual(claim.verdict, expected(says), f"{says} {claim.measured}")


class Evaluations(Made):
    def test_steps_until_a_level_lie_between_evaluations(self) -> None:
        run = self.make_run("a", {"train_accuracy": learned(100)})
        self.assertAlmostEqual(steps_until(run, "train_accuracy", 0.5), 100, delta=1e-9)  # is evaluated
        self.assertAlmostEqual(steps_until(run, "train_accuracy", 0.6), 100 * 1.5 ** (1 / 3), delta=1.5)
        self.assertEqual(steps_until(run, "train_accuracy", 0.0), 0)
        with self.assertRaisesRegex(TooLittle, "a: train_accuracy does not reach 1"):
            steps_until(run, "train_accuracy", 1)

    def test_the_first_time_counts_and_empty_cells_do_not(self) -> None:
        curve = np.where(STEPS == 10, NAN, np.where((STEPS == 20) | (STEPS > 1000), 1.0, 0.0))
        run = self.make_run("a", {"test_accuracy": curve})
        self.assertNotIn(10, evaluated(run, "test_accuracy").x)
        self.assertLess(steps_until(run, "test_accuracy", 0.9), 20)

    def test_a_value_at_a_step_is_the_inverse_of_the_step_at_a_value(self) -> None:
        run = self.make_run("a", {"train_accuracy": learned(100)})
        for level in (0.2, 0.5, 0.83):
            step = steps_until(run, "train_accuracy", level)
            self.assertAlmostEqual(at_step(evaluated(run, "train_accuracy"), step), level, places=12)


class Jobs(Made):
    def test_figures_1_to_3_share_their_runs_and_each_seed_is_one(self) -> None:
        for size in SIZES:
            first = {job.folder: job for job in study(fig1.FIGURE, size).jobs()}
            self.assertEqual(len(first), len(NOISE) * len(SEEDS))
            for figure in (fig2.FIGURE, fig3.FIGURE):
                self.assertTrue(all(first[job.folder] == job for job in study(figure, size).jobs()))
            self.assertEqual(len(study(fig4.FIGURE, size).settings), 25)

    def test_the_full_size_is_the_papers(self) -> None:
        for figure, hidden, steps in ((fig1.FIGURE, [2048], 100_000), (fig4.FIGURE, [256] * 3, 60_000)):
            jobs = study(figure, "full").jobs()
            (file,) = {job.config for job in jobs}
            config = read_json(file)
            self.assertEqual((config["steps"], config["batch_size"], config["model"]["hidden"]), (steps, 100, hidden))
            self.assertEqual(config["update"], {"name": "sgd", "learning_rate": 0.1})
            self.assertFalse([word for job in jobs for word in job.overrides if "limit" in word or "steps" in word])

    def test_quick_takes_less_than_10_minutes_on_two_cores(self) -> None:
        jobs = jobs_of("coherent_gradients", figures("coherent_gradients"), "quick")
        self.assertLess(Durations.load("coherent_gradients").of_all("quick", jobs), 10 * 60)

    def test_quick_goes_over_its_examples_as_often_as_the_paper(self) -> None:
        for setting in study(fig1.FIGURE).settings:
            words = dict(word.split("=", 1) for word in setting.overrides)
            self.assertGreaterEqual(int(words["steps"]) * 100 / int(words["data.train_limit"]), 100_000 * 100 / 60_000)

    def test_what_was_decided_late_is_judged_with_other_seeds(self) -> None:
        found = 0
        for figure in (fig1.FIGURE, fig2.FIGURE, fig3.FIGURE):
            seeds = study_of("coherent_gradients", figure.draw.__module__.split(".")[-1], "quick").seeds
            late = [claim for claim in self.judge(figure) if claim.decided_after]
            self.assertEqual({tuple(claim.decided_after.seen("quick", seeds)) for claim in late}, {()})
            found += len(late)
        self.assertEqual(found, 10 + 15 + 6)

    def test_names_are_those_that_are_drawn(self) -> None:
        for one in (fig4, beyond_convnet):
            names = {name for names in one.NAMES.values() for name in names}
            self.assertEqual({setting.name for setting in study(one.FIGURE).settings}, names)


class LabelNoise(Made):
    def make_runs(self, pristine: Sequence[float], corrupt: Sequence[float], ends: Sequence[float]) -> None:
        """For each share of noise the steps until half is learned, and the test accuracy in the end."""
        for seed in SEEDS:
            for percent, p, c, end in zip(NOISE, pristine, corrupt, ends):
                of = {"pristine": learned(p * (1 + 0.02 * seed)), "corrupt": learned(c * (1 + 0.02 * seed))}
                accuracy = (1 - percent / 100) * of["pristine"] + percent / 100 * of["corrupt"]
                curves = {f"train_{group}_accuracy": values for group, values in of.items()}
                curves |= {"train_accuracy": accuracy, "train_loss": 2.3 * (1 - accuracy)}
                curves["test_accuracy"] = peaked(end) * wobble(noise_name(percent), seed)
                self.make_run(f"{noise_name(percent)},seed={seed}", curves)

    def test_noise_that_slows_learning(self) -> None:
        self.make_runs((10, 12, 14, 16, 50), (300, 310, 330, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        claims = self.by_words(fig1.FIGURE)
        self.assert_all(claims, lambda _: HOLDS)
        later = claims["Pristine examples are learned before corrupt ones (50 % noise)."]
        self.assertAlmostEqual(later.measured.summary.mean, math.log2(330 / 14), delta=0.03)
        slower = claims["The fewer pristine examples there are, the more slowly they are learned."]
        self.assertAlmostEqual(slower.parts[2].summary.mean, math.log2(16 / 14), delta=0.03)
        (nearer,) = [claim for says, claim in claims.items() if "at a rate nearer" in says and "(75 %)" in says]
        self.assertAlmostEqual(nearer.measured.summary.mean, (1 / 16 - 1 / 430) / (1 / 10 - 1 / 430), delta=0.03)

    def test_what_is_learned_a_third_as_fast_is_not_near_the_rate_without_noise(self) -> None:
        # In logarithms it would be: all noise takes 30 times as long.
        self.make_runs((10, 30, 30, 30, 50), (300, 310, 330, 370, 300), (0.9, 0.7, 0.5, 0.3, 0.1))
        nearer = {says: claim for says, claim in self.by_words(fig1.FIGURE).items() if "at a rate nearer" in says}
        self.assertEqual(len(nearer), 3)
        self.assert_all(nearer, lambda _: FAILS)

    def test_in_general_is_a_trend_of_which_a_neighbour_may_be_an_exception(self) -> None:
        halves = (10, 20, 15, 40, 80)
        self.make_runs(halves, halves, (0.9, 0.7, 0.5, 0.3, 0.1))
        longer = {says: claim for says, claim in self.by_words(fig1.FIGURE).items() if "longer it takes" in says}
        self.assertEqual(len(longer), 3)
        self.assert_all(longer, lambda _: HOLDS)
        slope = np.polyfit(np.array(NOISE) / 100, np.log2(halves), 1)[0]
        self.assertAlmostEqual(next(iter(longer.values())).measured.summary.mean, slope, delta=0.03)

    def test_noise_that_speeds_learning(self) -> None:
        # Corrupt examples come first, and more noise makes both faster; test accuracy rises to its end.
        self.make_runs((500, 400, 350, 300, 30), (30, 28, 26, 24, 22), (0.90, 0.91, 0.92, 0.93, 0.94))
        rising = "They generalize the less", "Stopping early"
        claims = self.by_words(fig1.FIGURE)
        failing = {says: claim for says, claim in claims.items() if says.startswith(rising)}
        self.assert_all(failing, lambda _: FAILS)
        for says in ("Pristine examples are learned before corrupt ones (25 % noise).",):
            (claim,) = [claim for words, claim in claims.items() if words.startswith(says)]
            self.assertEqual(claim.verdict, FAILS, claim.measured)
        slower = claims["The fewer pristine examples there are, the more slowly they are learned."]
        self.assertEqual(slower.verdict, FAILS)
        longer = {says: claim for says, claim in claims.items() if "longer it takes" in says}
        self.assert_all(longer, lambda _: FAILS)

    def test_what_is_nearly_fitted_is_not_fitted(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 330, 370, 560), (0.9, 0.7, 0.5, 0.3, 0.1))
        fitted = self.by_words(fig1.FIGURE)["All variants, also that of random labels, come to be fitted."]
        self.assertAlmostEqual(fitted.weakest[1].summary.mean, 0.992, delta=0.001)
        self.assertEqual(fitted.verdict, FAILS)

    def test_what_is_never_learned_is_not_decided(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 1e6, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        claim = self.by_words(fig1.FIGURE)["Pristine examples are learned before corrupt ones (50 % noise)."]
        self.assertEqual(claim.verdict, OPEN)
        self.assertIn("train_corrupt_accuracy does not reach 0.5", claim.reason)

    def test_the_picture(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 330, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        with house_style():
            (picture,) = fig1.FIGURE.draw(self.results(fig1.FIGURE)).values()
        lines = [sum(line.get_xdata().size > 0 for line in axes.lines) for axes in picture.axes]
        # Nothing is corrupt without noise, and nothing pristine with all of it.
        self.assertEqual(lines, [n * len(SEEDS) for n in (5, 5, 5, 4 + 4)])


class Coherence(Made):
    OFF = -0.2  # of f_p as the paper samples it from the exact one

    def make_runs(
        self,
        first: Mapping[int, float],
        later: Mapping[int, float],
        lead: float,
        null_lead: float,
        nulls: Mapping[int, tuple[float, float]] | None = None,
        end: float = 0.5,
        turn: int = 10,
    ) -> None:
        """f_p of the steps up to `turn`, of those after and of the end, by noise; and i_p / i_c − 1, real and of null worlds.

        `nulls` are the first two f_p of null worlds; they are the shares of pristine examples if it is left out. Half of
        the pristine examples are learned at step 3, half of the corrupt ones at step 500.
        """
        step = np.arange(STEPS[-1] + 1)
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            for percent in MIXED:
                metrics = {}
                for world, name in enumerate(("", *(f"{null}." for null in NULLS))):
                    share = 1 - 0.9 * percent / 100
                    of_null = nulls[percent] if nulls else (share, share)
                    values = of_null if world else (first[percent], later[percent])
                    f_p = np.where(step < turn, *values) + 0.001 * random.standard_normal()
                    f_p[step > 1100] = f_p[step > 1100] if world else end
                    f_p[~np.isin(step, STEPS)] = NAN
                    i = (step + 1.0) * (1 + 0.01 * random.standard_normal())
                    metrics |= shares(f_p, name) | shares(f_p + self.OFF, name, "sample")
                    metrics |= {f"batch.{name}i_c": i, f"batch.{name}i_p": i * (1 + (null_lead if world else lead))}
                curves = {"train_corrupt_accuracy": learned(500), "train_pristine_accuracy": learned(3)}
                curves["proper_accuracy"] = np.full(STEPS.size, 1 - 0.9 * percent / 100)
                self.make_run(f"{noise_name(percent)},seed={seed}", curves, metrics)

    def test_pristine_examples_that_come_first(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        claims = self.by_words(fig2.FIGURE)
        self.assertEqual(len(claims), 2 * 6 + 3)
        self.assert_all(claims, lambda _: HOLDS)
        first = claims["At first the pristine examples bring down the loss by more than the corrupt ones (50 % noise)."]
        self.assertAlmostEqual(first.measured.summary.mean, 2 * (0.65 - 0.55), delta=0.01)
        fitted = claims["When the curves cross, the pristine examples are fitted (50 % noise)."]
        self.assertAlmostEqual(fitted.measured.summary.mean, math.log2(9 / (3 * 99 ** (1 / 3))), delta=0.15)
        claims = self.by_words(fig3.FIGURE)
        self.assert_all(claims, lambda _: HOLDS)
        p, c = 0.9 / 0.775, 0.1 / 0.225
        self.assertAlmostEqual(next(iter(claims.values())).measured.summary.mean, (p - c) / (p + c), delta=0.003)

    def test_corrupt_examples_that_come_first(self) -> None:
        self.make_runs({25: 0.4, 50: 0.3, 75: 0.6}, {25: 0.9, 50: 0.65, 75: 0.7}, -0.5, 0.1)

        def of_shares(says: str) -> Verdict:
            # The curves meet in the end, whichever is the larger one before; they do not change places.
            return HOLDS if "random" in says or "In the end" in says else OPEN if "are fitted (" in says else FAILS

        self.assert_all(self.by_words(fig2.FIGURE), of_shares)
        # With 75 % noise there are so few pristine examples that one of them has the larger share.
        self.assert_all(self.by_words(fig3.FIGURE), lambda says: HOLDS if "75 %" in says else FAILS)

    def test_null_worlds_that_do_as_the_real_data(self) -> None:
        # The real shares fall, but those of the null worlds fall by more, and come to the other side.
        nulls = {25: (0.9, 0.4), 50: (0.9, 0.4), 75: (0.9, 0.6)}
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.7, 50: 0.45, 75: 0.3}, 0.8, 2.0, nulls, end=0.6)
        claims = self.by_words(fig2.FIGURE)
        falls = {says: claim for says, claim in claims.items() if "more than chance" in says}
        self.assertEqual(len(falls), 3)
        self.assert_all(falls, lambda _: FAILS)
        crossing = [claim for says, claim in claims.items() if "random" in says]
        self.assertEqual([claim.verdict for claim in crossing], [FAILS] * 3)
        never = claims["When the curves cross, the pristine examples are fitted (25 % noise)."]
        self.assertIn("noise25,seed=1: the curves do not cross", never.reason)

        def expected(says: str) -> Verdict:
            return HOLDS if "chance" not in says else OPEN if "25 %" in says else FAILS  # with 25 % they are the same

        self.assert_all(self.by_words(fig3.FIGURE), expected)

    def test_null_worlds_that_begin_on_the_other_side(self) -> None:
        nulls = {25: (0.4, 0.775), 50: (0.4, 0.55), 75: (0.6, 0.325)}
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1, nulls)
        crossing = {says: claim for says, claim in self.by_words(fig2.FIGURE).items() if "random" in says}
        self.assertEqual(len(crossing), 3)
        self.assert_all(crossing, lambda _: FAILS)

    def test_curves_that_cross_long_after_the_pristine_examples_are_fitted(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1, turn=200)
        fitted = {says: claim for says, claim in self.by_words(fig2.FIGURE).items() if "are fitted (" in says}
        self.assertEqual(len(fitted), 2)
        self.assert_all(fitted, lambda _: FAILS)

    def test_a_lead_that_the_number_of_examples_gives_is_none(self) -> None:
        self.make_runs({25: 0.775, 50: 0.55, 75: 0.325}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        leads = {says: claim for says, claim in self.by_words(fig2.FIGURE).items() if says.startswith("At first")}
        self.assertEqual(len(leads), 2)
        self.assert_all(leads, lambda _: OPEN)

    def test_curves_that_part_for_good(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1, end=0.1)
        together = {says: claim for says, claim in self.by_words(fig2.FIGURE).items() if says.startswith("In the end")}
        self.assertEqual(len(together), 2)
        self.assert_all(together, lambda _: FAILS)

    def test_the_pictures(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        for figure in (fig2.FIGURE, fig3.FIGURE):
            with house_style():
                pictures = figure.draw(self.results(figure))
            self.assertEqual(set(pictures), set(figure.shows))
            self.assertEqual({len(picture.axes) for picture in pictures.values()}, {4 * 3})
        exact, sampled = (
            picture.axes[0].lines[1].get_ydata() for picture in fig2.draw(self.results(fig2.FIGURE)).values()
        )
        np.testing.assert_allclose(sampled, exact + self.OFF)
        line = fig2.draw(self.results(fig2.FIGURE))["fig2"].axes[0].lines[1]
        self.assertEqual(line.get_xdata().tolist(), (STEPS + 1).tolist())
        seen = dict(zip(line.get_xdata(), line.get_ydata()))
        for step, share in ((0, 0.9), (8, 0.9), (10, 0.4), (1000, 0.4), (3000, 0.5)):
            self.assertAlmostEqual(seen[step + 1], share, delta=0.01)

    def test_fig3_has_a_line_for_every_seed(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        results = self.results(fig3.FIGURE)
        for seeds in (5, 7):
            some = [outcome for outcome in results.outcomes if outcome.job.seed in range(1, seeds + 1)]
            with house_style():
                (picture,) = fig3.draw(Results(results.study, some)).values()
            for axes in picture.axes:
                looks = collections.Counter((line.get_color(), line.get_linestyle()) for line in axes.lines)
                self.assertEqual(list(looks.values()), [seeds] * 2)  # pristine and corrupt

    def test_the_paper_s_sample_beside_the_exact_shares(self) -> None:
        # With 50 % noise the sample leads to the other side at first, from 0.3 to −0.1.
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        (table,) = fig2.FIGURE.tables(self.results(fig2.FIGURE))
        self.assertEqual([row[0] for row in table.rows], ["25 %", "50 %", "75 %"])
        found = [float(str(cell).split(" ")[0]) for cell in table.rows[1][1:]]
        run = open_run(str(self.root / "runs" / "noise50,seed=1"))
        line = _shares.lead(run)
        opposite = np.mean((line.y >= 0) & (line.y < -2 * self.OFF))
        expected = [0.3, 0.3 + 2 * self.OFF, -0.4, -0.4 + 2 * self.OFF, -self.OFF, opposite]
        np.testing.assert_allclose(found, expected, atol=0.02)

    def test_first_steps_that_were_not_measured(self) -> None:
        step = np.arange(3001)
        thin = np.where(np.isin(step, [0, 5, 9, 10, 20]), 0.5, NAN)
        curves = {"train_corrupt_accuracy": learned(500)}
        run = self.make_run("thin", curves, {**shares(thin), "batch.i_p": thin})
        with self.assertRaisesRegex(TooLittle, "thin measures 3 of the first 10 steps"):
            _shares.lead_first(run)
        with self.assertRaisesRegex(TooLittle, "batch.i_p at each of the first 10"):
            fig3.first_steps(run, "batch.i_p")
        with self.assertRaisesRegex(TooLittle, "thin measures no shares from step 500 on"):
            _shares.lead_later(run)


class Shares(Made):
    def make_lead(self, name: str, at: Mapping[int, float], corrupt: np.ndarray | None = None) -> Run:
        """A run in which f_p − f_c is measured at some steps."""
        lead = np.full(3001, NAN)
        lead[list(at)] = list(at.values())
        curves = {"train_corrupt_accuracy": learned(200) if corrupt is None else corrupt}
        return self.make_run(name, curves, shares((1 + lead) / 2))

    def test_later_is_a_median_over_the_logarithm_of_the_step(self) -> None:
        # Linear in log(1 + step): its median is its value in the middle, whatever the steps between.
        def linear(step: float) -> float:
            return 1 - 0.25 * math.log1p(step)

        for name, between in (("none", ()), ("few", (150, 220, 230)), ("many", range(50, 2000, 7))):
            run = self.make_lead(name, {step: linear(step) for step in (0, *between, 3000)})
            begin, end = (steps_until(run, "train_corrupt_accuracy", share) for share in (0.5, 0.9))
            expected = (linear(begin) + linear(end)) / 2
            self.assertAlmostEqual(_shares.lead_later(run), expected, places=12, msg=name)

    def test_later_goes_to_the_end_where_not_all_is_learned(self) -> None:
        run = self.make_lead("half", {0: 1.0, 999: 0.0, 3000: 0.0}, learned(2500))
        self.assertAlmostEqual(_shares.lead_later(run), 0.0, places=12)
        run = self.make_lead("end", {0: 1.0, 3000: -1.0}, learned(2500))
        begin = steps_until(run, "train_corrupt_accuracy", 0.5)
        self.assertAlmostEqual(_shares.lead_later(run), (at_step(_shares.lead(run), begin) - 1) / 2, places=12)

    def test_one_step_with_a_short_gradient_does_not_decide_what_comes_later(self) -> None:
        at = {0: 0.5, 200: 0.1, 250: 0.1, 300: -90.0, 350: 0.1, 400: 0.1, 3000: 0.1}
        self.assertAlmostEqual(_shares.lead_later(self.make_lead("one", at)), 0.1, places=12)

    def test_the_crossing_lies_between_measured_steps(self) -> None:
        run = self.make_lead("crossing", {0: 0.5, 9: 0.2, 99: -0.1, 300: -0.1, 3000: 0.2})
        self.assertAlmostEqual(math.log1p(_shares.crossing(run)), math.log(10) + 2 / 3 * math.log(10), places=12)
        for name, first in (("below", -0.5), ("above", 0.5)):
            with self.assertRaisesRegex(TooLittle, f"{name}: the curves do not cross"):
                _shares.crossing(self.make_lead(name, {0: first, 9: first, 3000: first}))

    def test_curves_that_touch_by_chance_have_not_crossed_and_what_comes_in_the_end_is_no_crossing(self) -> None:
        at = {0: 0.5, 9: 0.2, 11: -0.01, 13: 0.2, 99: 0.1, 120: -0.3, 500: -0.3, 600: 0.3, 900: -0.3, 1500: 0.3}
        self.assertTrue(99 < _shares.crossing(self.make_lead("touch", at)) < 120)

    def test_curves_far_apart_on_either_side_in_turn_do_not_come_together(self) -> None:
        before = {0: 0.5, 100: -0.2, 430: -0.2}
        wild = dict(zip(range(450, 3001, 50), itertools.cycle([3.0, -3.0])))
        self.assertLess(_shares.comes_together(self.make_lead("wild", before | wild)), -1)
        one = dict.fromkeys(range(450, 3001, 50), 0.01) | {1500: 9.0}
        self.assertAlmostEqual(_shares.comes_together(self.make_lead("one", before | one)), 0.19, delta=0.001)
        never = {0: 0.5, 100: 0.05, 430: 0.05} | dict.fromkeys(range(450, 3001, 50), 0.0)
        self.assertAlmostEqual(_shares.comes_together(self.make_lead("never", never)), 0.05, delta=0.001)

    def test_curves_that_cross_between_what_comes_first_and_what_comes_later(self) -> None:
        apart = {0: -0.2, 9: -0.2, 19: -0.2, 200: -0.3, 420: -0.3, 3000: 0.9}  # in the end they may cross
        self.assertAlmostEqual(_shares.least_lead(self.make_lead("apart", apart), sign=-1), 0.2, delta=0.01)
        crossing = self.make_lead("crossing", apart | {20: 0.3, 150: 0.3})
        self.assertAlmostEqual(_shares.lead_first(self.make_lead("first", dict.fromkeys(range(10), -0.2))), -0.2)
        self.assertLess(_shares.lead_later(crossing), 0)
        self.assertLess(_shares.least_lead(crossing, sign=-1), -0.2)


class Winsorized(Made):
    def make_runs(self, fit: Callable[[float, float, int], float], fall: Callable[[int], float]) -> None:
        """`fit` is the training accuracy in the end, by noise, proper accuracy and c.

        `fall` is by how much the accuracies then lie below their peaks; below 0, how far the training accuracy still rises.
        """
        for c in fig4.PERCENTILES:
            for percent, name in zip(NOISE, fig4.NAMES[c]):
                noise = percent / 100
                proper = 1 - 0.9 * noise
                end = fit(noise, proper, c)
                train, test = peaked(end, end + fall(c)), peaked(0.9 - max(fall(c), 0) * (1 + noise), 0.9)
                curves = {
                    "train_accuracy": train,
                    "test_accuracy": test,
                    "proper_accuracy": np.full(STEPS.size, proper),
                }
                curves["overfit"] = train - (noise / 10 + (1 - noise) * test)
                curves["train_pristine_accuracy"] = peaked(0.95, 0.95)
                self.make_seeds(name, curves)

    def test_clipping_that_keeps_noise_out(self) -> None:
        # The less of the noise is learned, the larger c; none from c = 2 on.
        noise_learned, proper_kept = {0: 0.95, 1: 0.6}, {0: 1, 1: 0.99, 2: 0.98, 4: 0.93, 8: 0.85}

        def highest(proper: float, c: int) -> float:
            return proper_kept[c] * proper + noise_learned.get(c, 0) * (1 - proper)

        def fall(c: int) -> float:
            return 0.02 + c / 200 if c > 1 else -0.2

        self.make_runs(lambda noise, proper, c: highest(proper, c) - max(fall(c), 0), fall)
        claims = self.by_words(fig4.FIGURE)
        self.assertEqual(len(claims), 1 + 2 * 3 + 4 * 4 + 3)
        maxima = [claim for says, claim in claims.items() if "reaches a maximum" in says or says.startswith("So does")]
        self.assertEqual([claim.verdict for claim in maxima], [HOLDS, HOLDS])
        self.assertGreater(maxima[1].weakest[1].summary.mean, 0)
        fitted = [claim for says, claim in claims.items() if "fitted less well" in says]
        self.assertEqual([claim.verdict for claim in fitted], [HOLDS] * 4)
        exceeds = [claim for says, claim in claims.items() if "by no more than" in says]
        self.assertEqual([claim.verdict for claim in exceeds], [HOLDS] * 6)
        (over_time,) = [claim for says, claim in claims.items() if "in the course of time" in says]
        self.assertEqual(over_time.verdict, HOLDS)
        ends = [claim for says, claim in claims.items() if says.startswith("In the end")]
        self.assertEqual([claim.verdict for claim in ends[:2]], [HOLDS] * 2)
        slower = [claim for says, claim in claims.items() if "more slowly" in says]
        self.assertEqual([claim.verdict for claim in slower[:2]], [HOLDS] * 2)
        (control,) = [claim for says, claim in claims.items() if says.startswith("Without clipping")]
        self.assertEqual(
            (control.verdict, list(control.conditions)), (HOLDS, [f"{percent} % noise" for percent in MIXED])
        )
        equal = [claim for says, claim in claims.items() if "equally many pristine" in says]
        self.assertEqual(equal[0].verdict, HOLDS)

    def test_clipping_that_does_nothing(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.99, lambda c: 0.0)
        claims = self.by_words(fig4.FIGURE)
        failing = {says: claim for says, claim in claims.items() if "by no more than" in says}
        self.assert_all(failing, lambda _: FAILS)
        for says, claim in claims.items():
            if "than with c" in says:
                self.assertEqual(claim.verdict, OPEN, says)
                for part in claim.parts:
                    self.assertAlmostEqual(part.summary.mean, 0, delta=1e-9, msg=says)

    def test_without_noise_learned_there_is_nothing_for_clipping_to_keep_out(self) -> None:
        self.make_runs(lambda noise, proper, c: proper, lambda c: 0.0)
        self.assertEqual(self.judge(fig4.FIGURE)[0].verdict, FAILS)

    def test_clipping_that_makes_it_worse(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.8 + c / 50 + 0.01 * noise * c, lambda c: 0.0)
        claims = self.by_words(fig4.FIGURE)
        pairs = {says: claim for says, claim in claims.items() if "than with c" in says}
        self.assertEqual(len(pairs), 16)
        self.assert_all(pairs, lambda _: FAILS)

    def test_shares_of_noise_are_conditions_and_seeds_are_the_replicates(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.95, lambda c: 0.0)
        claim = self.judge(fig4.FIGURE)[1]
        for part, noise in zip(claim.parts, (0.25, 0.5, 0.75), strict=True):
            np.testing.assert_allclose(part.values, [1 - 0.9 * noise - 0.95] * len(SEEDS))
        self.assertEqual({part.seeds for one in self.judge(fig4.FIGURE) for part in one.parts}, {len(SEEDS)})

    def test_one_share_of_noise_does_not_speak_for_the_others(self) -> None:
        # With 75 % noise clipping takes away much, with 25 % it makes a little worse; the mean would hold.
        self.make_runs(lambda noise, proper, c: 0.9 - 0.05 * c * (noise - 0.3), lambda c: 0.0)
        claims = self.by_words(fig4.FIGURE)
        for says in ("In the end there is less of it with c = 1 than with c = 0.",
                     "The training set is fitted less well with c = 1 than with c = 0."):  # fmt: skip
            self.assertEqual(claims[says].verdict, FAILS)
            self.assertGreater(np.mean([part.summary.mean for part in claims[says].parts[-2:]]), 0.01)

    def make_course(self, curve: np.ndarray) -> None:
        for name in fig4.NAMES[8]:
            self.make_seeds(name, {"train_accuracy": curve, "test_accuracy": curve, "proper_accuracy": 1 + 0 * STEPS})

    def maxima(self) -> list[Claim]:
        """The claims that an accuracy reaches a maximum and then goes down."""
        claims = self.by_words(fig4.FIGURE).items()
        found = [claim for says, claim in claims if "reaches a maximum" in says or says.startswith("So does")]
        self.assertEqual([len(claim.parts) for claim in found], [4, 4])  # random labels cannot be told, and go nowhere
        return found

    def test_a_maximum_in_the_last_part_of_the_axis_is_one(self) -> None:
        # From there to the end are 80 of 100 steps, and a fifth of the axis.
        self.make_course(np.interp(np.log1p(STEPS), np.log1p([0, 600, 3000]), [0.1, 0.9, 0.82]))
        for claim in self.maxima():
            self.assertEqual(claim.verdict, HOLDS, claim.measured)

    def test_a_few_evaluations_show_no_course(self) -> None:
        self.make_course(np.where((STEPS < 8) | (STEPS == 3000), 0.5, NAN))
        for claim in self.maxima():
            self.assertIn("has 7 evaluations before its end, of which it takes 8", claim.reason)

    def test_what_rises_to_the_end_has_no_maximum(self) -> None:
        self.make_course(np.interp(np.log1p(STEPS), np.log1p([0, 600, 3000]), [0.1, 0.85, 0.9]))
        self.assertEqual([claim.verdict for claim in self.maxima()], [FAILS] * 2)

    def test_the_end_is_a_mean_over_the_last_fifth_of_the_steps(self) -> None:
        run = self.make_run("line", {"overfit": STEPS / STEPS[-1]})
        end = float(np.mean(STEPS[STEPS >= 2400])) / 3000
        self.assertAlmostEqual(_winsorized.at_end("overfit")(run), end, places=12)
        self.assertAlmostEqual(fig4.overfit_gained(run).value, end - 0.1, places=12)

    def test_an_overfit_that_grows_later_or_never(self) -> None:
        plain, later, never, hardly = (
            self.make_run(name, {"overfit": curve})
            for name, curve in (
                ("plain", 0.4 * learned(100)),
                ("later", 0.4 * learned(400)),
                ("never", np.where(STEPS < 3, 0.3, 0.1)),  # by chance it begins above
                ("hardly", 0.01 * learned(10)),
            )
        )
        self.assertAlmostEqual(_winsorized.slower(plain, later).value, 2, delta=0.02)
        self.assertAlmostEqual(_winsorized.slower(later, plain).value, -2, delta=0.02)
        self.assertAlmostEqual(_winsorized.slower(plain, never).value, math.log2(30), delta=0.02)
        with self.assertRaisesRegex(TooLittle, "hardly has an overfit of 0.010 in the end"):
            _winsorized.slower(hardly, plain)

    def test_a_network_that_is_only_slower_has_as_much_overfit_where_it_has_learned_as_much(self) -> None:
        def make(name: str, times: float) -> Run:
            return self.make_run(
                name, {"overfit": 0.4 * learned(100 * times), "train_pristine_accuracy": learned(10 * times)}
            )

        plain, slow = make("plain", 1), make("slow", 50)
        self.assertGreater(_winsorized.drop(_winsorized.at_end("overfit"))(plain, slow).value, 0.2)
        self.assertAlmostEqual(_winsorized.drop_at_equal_accuracy(plain, slow).value, 0, delta=0.005)

    def test_the_picture(self) -> None:
        self.make_runs(lambda noise, proper, c: proper, lambda c: 0.0)
        with house_style():
            (picture,) = fig4.FIGURE.draw(self.results(fig4.FIGURE)).values()
        self.assertEqual([len(axes.lines) for axes in picture.axes], [4 * len(SEEDS)] * 25)


class Probes(unittest.TestCase):
    def test_the_first_ten_steps_are_logged_and_sums_over_logged_steps_are_those_over_all(self) -> None:
        overrides = dict(word.split("=", 1) for word in named(fig3.FIGURE, "noise50").overrides)
        probes = json.loads(overrides["probes"])
        logged = {
            probe["label"]: {0, *(round(10 ** (k / probe["per_decade"])) for k in range(60))}
            for probe in probes
            if "at" in probe
        }
        self.assertLessEqual(set(range(fig3.FIRST)), logged["batch"])
        self.assertGreaterEqual(len(logged["early"] & set(range(_shares.FIRST))), _shares.MIN_FIRST)
        self.assertEqual({probe["label"]: probe["cumulative"] for probe in probes}["batch"], "logged")
        self.assertEqual({f"{probe['label']}.whole." for probe in probes if probe.get("whole_set")}, set(_shares.OF))
        # 400 examples and 300 weights of each of two layers, as the paper has it.
        sampled = {
            f"{probe['label']}.sample.": probe["sample_examples"] for probe in probes if "sample_examples" in probe
        }
        self.assertEqual(sampled, dict.fromkeys(_shares.SAMPLED, 400))


class ConvNet(Made):
    def make_runs(self, noise_learned: Mapping[int, float], corrupt: float, later: float) -> None:
        """By c, which part of the noise is learned in the end; steps until half of the corrupt are; and f_p then."""
        step = np.arange(STEPS[-1] + 1)
        for c, percent in itertools.product(beyond_convnet.PERCENTILES, beyond_convnet.NOISE):
            noise = percent / 100
            proper = 1 - 0.9 * noise
            test = peaked(0.9 - 0.2 * noise * noise_learned[c])
            curves = {"train_accuracy": peaked(proper + noise_learned[c] * (1 - proper), proper), "test_accuracy": test}
            curves["proper_accuracy"] = np.full(STEPS.size, proper)
            curves["overfit"] = curves["train_accuracy"] - (noise / 10 + (1 - noise) * test)
            curves |= {"train_pristine_accuracy": learned(50 + percent), "train_corrupt_accuracy": learned(corrupt)}
            f_p = np.where(np.isin(step, STEPS), np.where(step < 30, 0.95 - noise / 2, later), NAN)
            with_shares = c == 0 and percent > 0
            self.make_seeds(f"convnet_noise{percent}_c{c}", curves, shares(f_p) if with_shares else None)

    def test_a_network_that_does_as_the_paper_says(self) -> None:
        self.make_runs({0: 0.9, 2: 0.0}, corrupt=1000, later=0.3)
        claims = self.by_words(beyond_convnet.FIGURE)
        self.assertEqual(len(claims), 8)
        self.assert_all(claims, lambda _: HOLDS)
        (later,) = [claim for says, claim in claims.items() if says.startswith("Pristine")]
        for part, half in zip(later.parts, (75, 100), strict=True):
            self.assertAlmostEqual(part.summary.mean, math.log10(1000 / half), delta=0.02)
        (first,) = [claim for says, claim in claims.items() if says.startswith("At first")]
        self.assertAlmostEqual(first.parts[0].summary.mean, 2 * (0.825 - 0.775), places=6)
        (learns,) = [claim for says, claim in claims.items() if says.startswith("Without clipping")]
        self.assertAlmostEqual(learns.parts[0].summary.mean, 0.9 * 0.225, places=12)  # of 25 and 50 % the lesser

    def test_a_network_that_does_not(self) -> None:
        # Clipping makes it learn the noise, which it does not without; corrupt examples come first, and pristine later.
        self.make_runs({0: 0.0, 2: 0.9}, corrupt=20, later=0.8)
        claims = self.by_words(beyond_convnet.FIGURE)
        none = "more slowly"  # up to where there is overfit without clipping, both are the same
        self.assert_all(claims, lambda says: HOLDS if says.startswith("At first") else OPEN if none in says else FAILS)

    def test_the_pictures(self) -> None:
        self.make_runs({0: 0.9, 2: 0.0}, corrupt=1000, later=0.3)
        with house_style():
            pictures = beyond_convnet.FIGURE.draw(self.results(beyond_convnet.FIGURE))
        self.assertEqual(set(pictures), set(beyond_convnet.FIGURE.shows))
        self.assertEqual([len(axes.lines) for axes in pictures["beyond_convnet"].axes], [4 * len(SEEDS)] * 6)
        groups = pictures["beyond_convnet_groups"].axes
        self.assertEqual(
            [sum(len(line.get_xdata()) > 2 for line in axes.lines) for axes in groups],
            [4 * len(SEEDS)] * 2 + [2 * len(SEEDS)] * 2,
        )

    def test_the_probe_is_where_there_are_both_kinds_of_examples(self) -> None:
        for size in SIZES:
            jobs = study(beyond_convnet.FIGURE, size).jobs()
            probed = {job.name for job in jobs if any("probes" in word for word in job.overrides)}
            self.assertEqual(probed, {"convnet_noise25_c0", "convnet_noise50_c0"})


class FullBatchAndWidth(Made):
    def make_runs(
        self, ends: Mapping[int, float], half: Mapping[int, float], of_batches: float, widths: Sequence[float]
    ) -> None:
        """Test accuracy at the end and steps until half is fitted, by noise; that of small batches; and that by width."""
        found = study(full_batch_and_width.FIGURE, "desk")
        wide = [setting.name for setting in found.curve("widths")]
        accuracies = dict(zip(wide, widths)) | {found.curve("batches")[0].name: of_batches}
        for setting in found.curve("full_batch"):
            accuracies[setting.name] = ends[setting["noise"]]
        for setting in found.settings:
            for seed in found.seeds:
                late = half[setting["noise"]] * (1 + 0.01 * seed)
                curves = {
                    "train_accuracy": learned(late),
                    "test_accuracy": peaked(accuracies[setting.name] + 1e-4 * seed),
                }
                curves |= {"train_pristine_accuracy": learned(half[0]), "train_corrupt_accuracy": learned(late)}
                self.make_run(f"{setting.name},seed={seed}", curves)

    def verdicts(self) -> list[Verdict]:
        """Of the size at which it is judged."""
        return [claim.verdict for claim in self.judge(full_batch_and_width.FIGURE, "desk")]

    def test_what_the_paper_says(self) -> None:
        self.make_runs({0: 0.8, 50: 0.5, 100: 0.1}, {0: 10, 50: 100, 100: 300}, 0.81, (0.6, 0.7, 0.8, 0.81))
        self.assertEqual(self.verdicts(), [HOLDS] * 5)
        with house_style():
            pictures = full_batch_and_width.FIGURE.draw(self.results(full_batch_and_width.FIGURE, "desk"))
        self.assertEqual(set(pictures), set(full_batch_and_width.FIGURE.shows))

    def test_the_contrary(self) -> None:
        self.make_runs({0: 0.5, 50: 0.4, 100: 0.3}, {0: 300, 50: 100, 100: 10}, 0.9, (0.95, 0.94, 0.93, 0.9))
        self.assertEqual(self.verdicts(), [FAILS] * 5)

    def test_the_batch_is_the_training_set(self) -> None:
        for size in ("quick", "desk", "full"):
            for setting in study(full_batch_and_width.FIGURE, size).curve("full_batch"):
                words = dict(word.split("=", 1) for word in setting.overrides)
                self.assertEqual(words["batch_size"], words["data.train_limit"])


class Patterns(Made):
    DIGITS, EXAMPLES = 4, 800

    def make_runs(self, sooner: float) -> None:
        """Random labels of random digits; those that are common are right sooner, or later where that is negative."""
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            digit, label = random.integers(self.DIGITS, size=(2, self.EXAMPLES))
            label[digit == 1] = random.integers(self.DIGITS + 3, size=np.count_nonzero(digit == 1)) % self.DIGITS
            examples = patterns.Examples(digit, label, np.zeros(self.EXAMPLES))
            first = np.round(
                100 * np.exp(-3 * sooner * (examples.common - 1) + 0.3 * random.standard_normal(digit.size))
            )
            first[random.random(digit.size) < 0.1] = NAN  # never
            folder = self.make(f"runs/{patterns.NAME},seed={seed}", {"step": [0], "epoch": [0], "loss": [2.3]})
            columns = {"example": np.arange(digit.size), "label": label, "original_label": digit, "first_right": first}
            (Path(folder) / "learned.csv").write_text(csv_text(columns))

    def test_patterns_that_are_learned_first(self) -> None:
        self.make_runs(1.0)
        self.assert_verdicts(patterns.FIGURE, HOLDS)
        with house_style():
            (picture,) = patterns.FIGURE.draw(self.results(patterns.FIGURE)).values()
        left, right = picture.axes
        self.assertEqual(len(left.lines), 3 * len(SEEDS))
        for least, most in zip(left.lines[::3], left.lines[2::3]):
            self.assertLess(np.median(most.get_xdata()), np.median(least.get_xdata()))
            self.assertAlmostEqual(most.get_ydata()[-1], 0.9, delta=0.05)  # the others are never right
        points, means, _ = [line.get_ydata() for line in right.lines]
        self.assertEqual(points.size, self.DIGITS**2 * len(SEEDS))
        self.assertLess(means[-1], means[0])

    def test_patterns_that_are_learned_last(self) -> None:
        self.make_runs(-1.0)
        self.assert_verdicts(patterns.FIGURE, FAILS)

    def test_without_patterns_nothing_is_decided(self) -> None:
        self.make_runs(0.0)
        self.assert_verdicts(patterns.FIGURE, OPEN)
        self.assertAlmostEqual(self.judge(patterns.FIGURE)[0].measured.summary.mean, 0, delta=0.05)

    def test_what_is_common_does_not_depend_on_how_common_digit_and_label_are(self) -> None:
        digit, label = np.repeat([0, 0, 1, 1], [60, 30, 20, 10]), np.repeat([0, 1, 0, 1], [60, 30, 20, 10])
        examples = patterns.Examples(digit, label, np.zeros(120))
        np.testing.assert_allclose(examples.common, 1)

    def test_equal_values_share_their_places_and_what_is_never_right_comes_last(self) -> None:
        self.assertEqual(patterns.ranks(np.array([3.0, np.inf, 1.0, 3.0, np.inf])).tolist(), [2.5, 4.5, 1.0, 2.5, 4.5])


class Missing(Made):
    def test_without_runs_nothing_is_decided(self) -> None:
        for figure in (
            fig1.FIGURE,
            fig2.FIGURE,
            fig3.FIGURE,
            fig4.FIGURE,
            beyond_convnet.FIGURE,
            full_batch_and_width.FIGURE,
            patterns.FIGURE,
        ):
            claims = self.by_words(figure)
            self.assert_all(claims, lambda _: OPEN)
            self.assertIn("not run yet", next(iter(claims.values())).reason)
            with self.assertRaises(TooLittle):
                figure.draw(self.results(figure))


if __name__ == "__main__":
    unittest.main()
