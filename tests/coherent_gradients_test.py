#!/usr/bin/env python3
"""Tests of the figures of coherent_gradients on runs made up here: python tests/coherent_gradients_test.py"""

from __future__ import annotations

import math
import unittest
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from run_folders import NAN, RunFolders

# isort: split
from figures.coherent_gradients import MIXED, NOISE, NULLS, evaluated, fig1, fig2, fig3, fig4, noise_name, steps_until
from reproduction.claims import Claim, TooLittle, Verdict
from reproduction.figure import Figure, Job
from reproduction.plan import ROOT, read_config, unique_jobs
from reproduction.results import Results, load_outcome
from sgdplot.runs import Run, open_run
from sgdplot.style import house_style

SEEDS = (1, 2)
STEPS = np.unique(np.concatenate([[0], np.round(10 ** np.arange(0, 3.41, 0.1)), [3000]]))
EXAMPLES, BATCH = 20_000, 10
HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN


def learned(half: float) -> np.ndarray:
    """A share of examples at STEPS, half of them at step `half`."""
    return 1 / (1 + (half / np.maximum(STEPS, 1e-9)) ** 3)


def peaked(end: float, peak: float = 0.9) -> np.ndarray:
    """An accuracy that rises to its peak by the middle step and then changes to `end`."""
    return np.interp(np.arange(STEPS.size), [0, STEPS.size // 2, STEPS.size - 1], [0.0, peak, end])


class Made(RunFolders):
    """Runs of known curves, and the results that they make."""

    def make_run(
        self, name: str, curves: Mapping[str, Sequence[float]], metrics: Mapping[str, Sequence[float]] | None = None
    ) -> Run:
        """A run folder with evaluations at STEPS."""
        step = np.arange(STEPS[-1])
        rows = {"step": step, "epoch": step, "loss": step, **(metrics or {})}
        evaluations = {"step": STEPS, "epoch": STEPS * BATCH / EXAMPLES, **curves}
        return open_run(self.make(f"runs/{name}", rows, evaluations, config={"batch_size": BATCH}))

    def results(self, figure: Figure) -> Results:
        """What came of a figure's jobs."""
        return Results([load_outcome(job, self.root / "runs") for job in figure.jobs(True)])

    def judge(self, figure: Figure) -> dict[str, Claim]:
        """The figure's claims by what they say."""
        claims = figure.claims(self.results(figure))
        found = {claim.says: claim for claim in claims}
        self.assertEqual(len(found), len(claims))
        return found

    def assert_verdicts(self, claims: Mapping[str, Claim], expected: Callable[[str], Verdict]) -> None:
        """Of each claim, by what it says."""
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


class Jobs(Made):
    def test_figures_1_to_3_share_their_runs_and_each_seed_is_one(self) -> None:
        for quick in (True, False):
            first = {job.folder: job for job in fig1.FIGURE.jobs(quick)}
            self.assertEqual(len(first), len(NOISE) * len(SEEDS))
            for figure in (fig2.FIGURE, fig3.FIGURE):
                self.assertTrue(all(first[job.folder] == job for job in figure.jobs(quick)))
            self.assertEqual(len(unique_jobs(fig4.FIGURE.jobs(quick))), 25)

    def test_the_full_variant_is_the_papers(self) -> None:
        for figure, hidden, steps in ((fig1.FIGURE, [2048], 100_000), (fig4.FIGURE, [256] * 3, 60_000)):
            jobs: Sequence[Job] = figure.jobs(False)
            (file,) = {job.config for job in jobs}
            config = read_config(ROOT / file)
            self.assertEqual((config["steps"], config["batch_size"], config["model"]["hidden"]), (steps, 100, hidden))
            self.assertEqual(config["update"], {"name": "sgd", "learning_rate": 0.1})
            self.assertFalse([word for job in jobs for word in job.overrides if "limit" in word or "steps" in word])


class LabelNoise(Made):
    def make_runs(self, pristine: Sequence[float], corrupt: Sequence[float], ends: Sequence[float]) -> None:
        """For each share of noise the steps until half is learned, and the test accuracy in the end."""
        for seed in SEEDS:
            for percent, p, c, end in zip(NOISE, pristine, corrupt, ends):
                of = {"pristine": learned(p * (1 + 0.02 * seed)), "corrupt": learned(c * (1 + 0.02 * seed))}
                accuracy = (1 - percent / 100) * of["pristine"] + percent / 100 * of["corrupt"]
                curves = {f"train_{group}_accuracy": values for group, values in of.items()}
                curves |= {"train_accuracy": accuracy, "train_loss": 2.3 * (1 - accuracy), "test_accuracy": peaked(end)}
                self.make_run(f"{noise_name(percent)},seed={seed}", curves)

    def test_noise_that_slows_learning(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 330, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        claims = self.judge(fig1.FIGURE)
        self.assert_verdicts(claims, lambda _: HOLDS)
        later = claims["Pristine examples are learned before corrupt ones (50 % noise)."]
        self.assertAlmostEqual(later.measured.summary.mean, 11, delta=0.2)
        slower = claims["The fewer pristine examples there are, the more slowly they are learned."]
        self.assertAlmostEqual(slower.measured.summary.mean, 4 / 3, delta=0.02)

    def test_noise_that_speeds_learning(self) -> None:
        # Corrupt examples come first, and more noise makes both faster; test accuracy rises to its end.
        self.make_runs((500, 400, 350, 300, 30), (30, 28, 26, 24, 22), (0.90, 0.91, 0.92, 0.93, 0.94))
        rising = "They generalize the less", "Stopping early"
        claims = self.judge(fig1.FIGURE)
        failing = {says: claim for says, claim in claims.items() if says.startswith(rising)}
        self.assert_verdicts(failing, lambda _: FAILS)
        for says in ("Pristine examples are learned before corrupt ones (25 % noise).", "All variants, also that of"):
            (claim,) = [claim for words, claim in claims.items() if words.startswith(says)]
            self.assertEqual(claim.verdict, FAILS if "before" in says else HOLDS, claim.measured)
        slower = claims["The fewer pristine examples there are, the more slowly they are learned."]
        self.assertEqual(slower.verdict, FAILS)
        nearer = [claim for says, claim in claims.items() if "at a rate nearer" in says]
        self.assertEqual({claim.verdict for claim in nearer}, {FAILS})

    def test_what_is_never_learned_is_not_decided(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 1e6, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        claim = self.judge(fig1.FIGURE)["Pristine examples are learned before corrupt ones (50 % noise)."]
        self.assertEqual(claim.verdict, OPEN)
        self.assertIn("train_corrupt_accuracy does not reach 0.5", claim.reason)

    def test_the_picture(self) -> None:
        self.make_runs((10, 20, 30, 40, 50), (300, 310, 330, 370, 430), (0.9, 0.7, 0.5, 0.3, 0.1))
        with house_style():
            (picture,) = fig1.FIGURE.draw(self.results(fig1.FIGURE)).values()
        lines = [sum(line.get_xdata().size > 0 for line in axes.lines) for axes in picture.axes]
        self.assertEqual(lines, [10, 10, 10, 8 + 8])  # nothing corrupt without noise, and pristine ones not with all noise


class Coherence(Made):
    def make_runs(
        self,
        first: Mapping[int, float],
        later: Mapping[int, float],
        lead: float,
        null_lead: float,
        nulls: Mapping[int, tuple[float, float]] | None = None,
    ) -> None:
        """f_p of the first 10 steps and of those after, by noise; and i_p / i_c − 1 of the real data and of null worlds.

        `nulls` are both f_p of null worlds; they are the shares of pristine examples if it is left out.
        """
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            for percent in MIXED:
                step = np.arange(STEPS[-1])
                metrics = {}
                for world, name in enumerate(("", *(f"{null}." for null in NULLS))):
                    share = 1 - 0.9 * percent / 100
                    of_null = nulls[percent] if nulls else (share, share)
                    start, end = of_null if world else (first[percent], later[percent])
                    f_p = np.where(step < 10, start, end) + 0.01 * random.standard_normal(step.size)
                    i = (step + 1.0) * (1 + 0.01 * random.standard_normal())
                    metrics |= {f"coherence.{name}f_p": f_p, f"coherence.{name}f_c": 1 - f_p, f"coherence.{name}i_c": i}
                    metrics[f"coherence.{name}i_p"] = i * (1 + (null_lead if world else lead))
                self.make_run(f"{noise_name(percent)},seed={seed}", {"train_corrupt_accuracy": learned(500)}, metrics)

    def test_pristine_examples_that_come_first(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        claims = self.judge(fig2.FIGURE)
        self.assertEqual(len(claims), 11)
        self.assert_verdicts(claims, lambda _: HOLDS)
        first = claims["At first the pristine examples bring down the loss by more than the corrupt ones (50 % noise)."]
        self.assertAlmostEqual(first.measured.summary.mean, 2 * 0.65 - 1, delta=0.02)
        self.assertEqual({sample.steps for sample in first.measured.samples.values()}, {10})
        claims = self.judge(fig3.FIGURE)
        self.assert_verdicts(claims, lambda _: HOLDS)
        self.assertAlmostEqual(next(iter(claims.values())).measured.summary.mean, 0.8 / 2.8, places=12)

    def test_corrupt_examples_that_come_first(self) -> None:
        self.make_runs({25: 0.4, 50: 0.3, 75: 0.6}, {25: 0.9, 50: 0.65, 75: 0.7}, -0.5, 0.1)
        self.assert_verdicts(self.judge(fig2.FIGURE), lambda says: HOLDS if "random" in says else FAILS)
        self.assert_verdicts(self.judge(fig3.FIGURE), lambda _: FAILS)

    def test_null_worlds_that_do_as_the_real_data(self) -> None:
        # The real shares fall, but those of the null worlds fall by more, and come to the other side.
        nulls = {25: (0.9, 0.4), 50: (0.9, 0.4), 75: (0.9, 0.6)}
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.7, 50: 0.45, 75: 0.3}, 0.8, 2.0, nulls)
        claims = self.judge(fig2.FIGURE)
        falls = {says: claim for says, claim in claims.items() if "more than chance" in says}
        self.assertEqual(len(falls), 3)
        self.assert_verdicts(falls, lambda _: FAILS)
        crossing = [claim for says, claim in claims.items() if "random" in says]
        self.assertEqual([claim.verdict for claim in crossing], [FAILS] * 3)
        self.assert_verdicts(self.judge(fig3.FIGURE), lambda says: FAILS if "chance" in says else HOLDS)

    def test_the_pictures(self) -> None:
        self.make_runs({25: 0.9, 50: 0.65, 75: 0.4}, {25: 0.4, 50: 0.3, 75: 0.2}, 0.8, 0.1)
        for figure in (fig2.FIGURE, fig3.FIGURE):
            with house_style():
                (picture,) = figure.draw(self.results(figure)).values()
            self.assertEqual(len(picture.axes), 4 * 3)
        shares = fig2.draw(self.results(fig2.FIGURE))["fig2"].axes[0].lines[1].get_ydata()
        self.assertAlmostEqual(shares[0], 0.9, delta=0.05)
        self.assertAlmostEqual(shares[-1], 0.4, delta=0.01)

    def test_first_steps_that_were_not_measured(self) -> None:
        thin = np.where(np.arange(3000) % 2, 0.5, NAN)
        run = self.make_run("thin", {}, {f"coherence.{part}": thin for part in fig2.PARTS})
        with self.assertRaisesRegex(TooLittle, "thin measures 5 of the first 10 steps"):
            fig2.lead_first(run, "")
        with self.assertRaisesRegex(TooLittle, "coherence.f_p at each of the first 10"):
            fig3.first_steps(run, "coherence.f_p")


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
                curves = {"train_accuracy": train, "test_accuracy": test, "proper_accuracy": np.full(STEPS.size, proper)}
                curves["overfit"] = train - (noise / 10 + (1 - noise) * test)
                self.make_run(f"{name},seed=1", curves)

    def test_clipping_that_keeps_noise_out(self) -> None:
        # The less of the noise is learned, the larger c; none from c = 2 on.
        noise_learned, proper_kept = {0: 0.95, 1: 0.6}, {0: 1, 1: 1, 2: 0.98, 4: 0.93, 8: 0.85}

        def highest(proper: float, c: int) -> float:
            return proper_kept[c] * proper + noise_learned.get(c, 0) * (1 - proper)

        def fall(c: int) -> float:
            return 0.02 + c / 200 if c > 1 else -0.2

        self.make_runs(lambda noise, proper, c: highest(proper, c) - max(fall(c), 0), fall)
        claims = self.judge(fig4.FIGURE)
        self.assertEqual(len(claims), 2 * 3 + 3 * 4 + 3)
        maxima = [claim for says, claim in claims.items() if "reaches a maximum" in says or says.startswith("So does")]
        self.assertEqual([claim.verdict for claim in maxima], [HOLDS, HOLDS])
        self.assertAlmostEqual(maxima[1].measured.summary.mean, fall(8), places=12)
        fitted = [claim for says, claim in claims.items() if "fitted less well" in says]
        self.assertEqual([claim.verdict for claim in fitted], [HOLDS] * 4)
        exceeds = [claim for says, claim in claims.items() if "does not exceed" in says]
        self.assertEqual([claim.verdict for claim in exceeds], [HOLDS] * 6)
        (over_time,) = [claim for says, claim in claims.items() if "in the course of time" in says]
        self.assertEqual(over_time.verdict, HOLDS)
        ends = [claim for says, claim in claims.items() if says.startswith("In the end")]
        self.assertEqual([claim.verdict for claim in ends[:2]], [HOLDS] * 2)

    def test_clipping_that_does_nothing(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.99, lambda c: 0.0)
        claims = self.judge(fig4.FIGURE)
        failing = {says: claim for says, claim in claims.items() if "does not exceed" in says or "maximum" in says}
        self.assert_verdicts(failing, lambda _: FAILS)
        for says, claim in claims.items():
            if "more slowly" in says or "In the end" in says or "fitted less well" in says:
                self.assertEqual((claim.verdict, claim.measured.summary.mean), (OPEN, 0.0), says)

    def test_clipping_that_makes_it_worse(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.5 + c / 20 + 0.01 * noise * c, lambda c: 0.0)
        claims = self.judge(fig4.FIGURE)
        pairs = {says: claim for says, claim in claims.items() if "than with c" in says}
        self.assertEqual(len(pairs), 12)
        self.assert_verdicts(pairs, lambda _: FAILS)

    def test_errors_of_a_share_and_over_noise(self) -> None:
        self.make_runs(lambda noise, proper, c: 0.5, lambda c: 0.0)
        for claim, proper in zip(self.judge(fig4.FIGURE).values(), (1 - 0.9 * 0.75, 0.1)):  # at 75 and 100 % noise
            (sample,) = claim.measured.samples.values()
            self.assertAlmostEqual(sample.value, proper - 0.5, places=12)
            self.assertAlmostEqual(sample.error, math.sqrt(0.25 / EXAMPLES), places=12)
        found = fig4.over_noise([1.0, 2.0, 3.0, 4.0, 5.0])
        self.assertAlmostEqual(found.value, 3.0)
        self.assertAlmostEqual(found.error, math.sqrt(2.5 / 5), places=12)

    def test_mean_overfit_is_over_steps_not_over_evaluations(self) -> None:
        run = self.make_run("line", {"overfit": STEPS / STEPS[-1]})
        self.assertAlmostEqual(fig4.mean_overfit(run), 0.5, places=12)
        self.assertAlmostEqual(fig4.overfit_gained(run), 0.9, places=12)

    def test_the_picture(self) -> None:
        self.make_runs(lambda noise, proper, c: proper, lambda c: 0.0)
        with house_style():
            (picture,) = fig4.FIGURE.draw(self.results(fig4.FIGURE)).values()
        self.assertEqual([len(axes.lines) for axes in picture.axes], [4] * 25)


class Missing(Made):
    def test_without_runs_nothing_is_decided(self) -> None:
        for figure in (fig1.FIGURE, fig2.FIGURE, fig3.FIGURE, fig4.FIGURE):
            claims = self.judge(figure)
            self.assert_verdicts(claims, lambda _: OPEN)
            self.assertIn("not run yet", next(iter(claims.values())).reason)
            with self.assertRaises(TooLittle):
                figure.draw(self.results(figure))


if __name__ == "__main__":
    unittest.main()
