#!/usr/bin/env python3
"""Tests of the figures of noise_enhancement on runs made up here: python tests/noise_enhancement_test.py"""

from __future__ import annotations

import itertools
import math
import unittest
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from run_folders import NAN, SEEDS, RunFolders, study, wobble

# isort: split
from papers.noise_enhancement import fig1, fig2, fig3, noise, plain_sgd
from papers.noise_enhancement._curves import (
    Curve,
    Means,
    batch_growth,
    by_seed,
    curve,
    gain,
    gap_lost,
    judged,
    mean_gain,
    need_best_inside,
    peak,
    slope,
    time_growth,
    time_saved,
)
from sgdscope.catalogue import figures, jobs_of, unique_jobs
from sgdscope.claims import Censored, Claim, TooLittle, Verdict
from sgdscope.durations import Durations
from sgdscope.figure import Figure
from sgdscope.plan import Reproduction
from sgdscope.plots.style import house_style
from sgdscope.report import write_report
from sgdscope.runs import open_run
from sgdscope.studies import Setting, read_json

HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN
FIGURES = tuple(figures("noise_enhancement").values())
MANIFEST = {
    "wall_seconds": 1.0, "peak_memory_bytes": 1e8, "device": "cpu", "threads": 1, "cpu": "a processor",
    "versions": {"sgdscope": "1", "libtorch": "2", "blas": "3"},
}  # fmt: skip
REACHED = "the training loss 0.0009 is at most stop.train_loss = 0.001"


def effective(setting: Setting) -> float:
    """The effective batch size, equation 11."""
    return setting["batch"] / (setting["alpha"] ** 2 + (1 - setting["alpha"]) ** 2)


def strength(setting: Setting) -> float:
    """The noise's covariance by equations 4 and 10, in units of that of single examples."""
    examples, batch = setting["examples"], setting["batch"]
    return (setting["alpha"] ** 2 + (1 - setting["alpha"]) ** 2) / batch * (examples - batch) / (examples - 1)


class Made(RunFolders):
    """Runs of known accuracies and convergence times, and the results that they make."""

    def make_run(self, setting: Setting, seed: int, accuracy: float, steps: float, reason: str = REACHED) -> None:
        """A run that was evaluated at its beginning and at its end."""
        factor = wobble(setting.name, seed)
        evaluations = {"step": [0, factor * steps], "epoch": [0, 9], "test_accuracy": [0.1, factor * accuracy]}
        metrics = {"step": [0], "epoch": [0], "loss": [2.3]}
        config = {"data": {"name": "fashion_mnist", "path": "somewhere"}}
        manifest = {**MANIFEST, "steps_done": steps, "reason": reason}
        self.make(f"runs/{setting.name},seed={seed}", metrics, evaluations, config=config, manifest=manifest)

    def make_all(
        self,
        figure: Figure,
        accuracy: Callable[[Setting], float],
        steps: Callable[[Setting], float],
        size: str = "quick",
    ) -> None:
        """All runs of a figure. The seeds differ by little, and not in their mean."""
        seeds = study(figure, size).seeds
        for setting in study(figure, size).settings:
            for place, seed in enumerate(seeds):
                noise = place - (len(seeds) - 1) / 2
                self.make_run(setting, seed, accuracy(setting) + 1e-5 * noise, steps(setting) * (1 + 0.001 * noise))

    def assert_drawn(self, figure: Figure, lines: Sequence[int], size: str = "quick") -> None:
        """Asserts that every panel has so many lines; caps of error bars do not count."""
        with house_style():
            (picture,) = figure.draw(self.results(figure, size)).values()
        found = [sum(a.get_linestyle() != "None" for a in axes.lines) for axes in picture.axes]
        self.assertEqual(found, list(lines))


def best_at(best: Callable[[float], float], top: Callable[[float], float]) -> Callable[[Setting], float]:
    """An accuracy that is highest, for each alpha, at a certain batch size: a parabola over its logarithm."""
    return lambda setting: top(setting["alpha"]) - 0.005 * math.log2(setting["batch"] / best(setting["alpha"])) ** 2


# ----------------------------------------------------------------------------------------- jobs and numbers


class Jobs(Made):
    def test_figures_share_their_runs(self) -> None:
        for size, networks in (("quick", ["F1"]), ("full", ["F1", "C1", "C2"])):
            jobs = {figure.title: {job.folder for job in study(figure, size).jobs()} for figure in FIGURES}
            every = unique_jobs([job for figure in FIGURES for job in study(figure, size).jobs()])
            self.assertEqual({job.name.partition("_")[0] for job in every}, set(networks))
            plain = {job.folder for job in every if "_alpha1_" in job.name}
            first, second, third = (jobs[figure.title] for figure in (fig1.FIGURE, fig2.FIGURE, fig3.FIGURE))
            self.assertEqual(plain & third, plain)
            self.assertEqual(plain & (first | second), plain)
            values = study(fig3.FIGURE, size).values
            self.assertIn(values["large"], values["batches"])

    def test_the_full_size_is_the_papers(self) -> None:
        full = study(fig3.FIGURE, "full")
        batches = full.values["batches"]
        self.assertEqual(batches, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 2000, 3000, 5000])
        self.assertEqual((len(full.seeds), full.values["large"]), (10, 5000))
        expected = {"F1": ("fashion_mnist", 900, 0.01), "C1": ("cifar10", 100, 0.01), "C2": ("cifar100", 600, 0.02)}
        for network, settings in full.curves.items():
            config = read_json(settings[0].config)
            rate = config["update"]["learning_rate"]
            self.assertEqual((config["data"]["name"], config["batch_size"], rate["train_loss"]), expected[network])
            self.assertEqual((config["update"]["name"], rate["name"], rate["value"], rate["factor"]),
                             ("adam", "drop_at_loss", 0.001, 0.5))  # fmt: skip
            self.assertEqual((config["stop"], config["loss"]), ({"train_loss": 0.001}, "cross_entropy"))
            self.assertEqual(config["gradient"], {"name": "noise_enhanced", "alpha": 1})
            self.assertNotIn("augment", config["data"])
            model = config["model"]
            self.assertEqual(model["init"], "xavier_uniform")
            if network == "F1":
                self.assertEqual(model["hidden"], [500] * 7)
            else:
                self.assertEqual((model["norm"], model["ghost_batch_size"]), ("ghost", 100))
                self.assertFalse([batch for batch in batches if batch % 100])
        self.assertEqual(len(study(fig1.FIGURE, "full").jobs()), 13 * 4 * 10)
        self.assertEqual(len(study(fig2.FIGURE, "full").jobs()), 13 * 2 * 2 * 10)
        self.assertEqual(len(full.jobs()), (3 * 13 + 10 + 10 + 6) * 10)

    def test_quick_takes_less_than_10_minutes_on_two_cores(self) -> None:
        jobs = jobs_of("noise_enhancement", figures("noise_enhancement"), "quick")
        self.assertLess(Durations.load("noise_enhancement").of_all("quick", jobs), 10 * 60)

    def test_figure_3_knows_how_many_examples_there_are(self) -> None:
        of_data = {"fashion_mnist": 60000, "cifar10": 50000, "cifar100": 50000}
        for size in ("quick", "desk", "full"):
            for setting in study(fig3.FIGURE, size).settings:
                limits = [word.partition("=")[2] for word in setting.overrides if word.startswith("data.train_limit=")]
                examples = int(limits[0]) if limits else of_data[read_json(setting.config)["data"]["name"]]
                self.assertEqual(setting["examples"], examples)

    def test_quick_batches_fill_the_training_set(self) -> None:
        for setting in study(fig3.FIGURE).settings:
            (limit,) = [word.partition("=")[2] for word in setting.overrides if word.startswith("data.train_limit")]
            self.assertEqual(int(limit) % setting["batch"], 0)


class Numbers(unittest.TestCase):
    @staticmethod
    def means(
        alpha: float, accuracy: Sequence[float], steps: Sequence[float], batch: Sequence[int] = (1, 2, 4)
    ) -> Means:
        return Means(np.array(batch), np.full(len(batch), alpha), np.array(accuracy), np.array(steps))

    @staticmethod
    def curve(alpha: float, accuracy: Sequence[float], steps: Sequence[float], batch: Sequence[int]) -> Curve:
        """Two seeds that hardly differ."""
        values = [{"alpha": alpha, "batch": size, "examples": 4000} for size in batch]
        settings = tuple(Setting("", "", (), values=one) for one in values)
        return Curve(settings, np.array(accuracy)[:, None] + [0, 1e-9], np.array(steps)[:, None] + [0, 0], (), ())

    def test_numbers_of_curves(self) -> None:
        batch = (1, 2, 4, 8)
        plain = self.curve(1, [0.7, 0.8, 0.7, 0.5], [800, 400, 200, 100], batch)
        other = self.curve(2, [0.6, 0.7, 0.85, 0.8], [1600, 800, 400, 200], batch)
        self.assertAlmostEqual(gain(plain, other).summary.mean, 0.05)
        self.assertEqual(time_saved(plain, other).summary.mean, 0)  # 400 and 400
        self.assertAlmostEqual(batch_growth(plain, other).summary.mean, 1)
        self.assertAlmostEqual(time_growth(plain.means(), other.means()), 1)
        self.assertAlmostEqual(gap_lost(plain, other).summary.mean, 0.3 - 0.05)
        self.assertAlmostEqual(peak("batch", 0, other).summary.mean, 0.25)
        self.assertAlmostEqual(peak("batch", -1, other).summary.mean, 0.05)
        with self.assertRaisesRegex(TooLittle, "fewer than two"):
            slope([1], [1])

    def test_the_gap_is_compared_at_the_batch_sizes_that_both_curves_have(self) -> None:
        plain = self.curve(1, [0.8, 0.7, 0.3], [1, 1, 1], (1, 2, 4))
        strong = self.curve(2, [0.8, 0.7], [1, 1], (1, 2))  # with 4 it does not converge
        self.assertAlmostEqual(gap_lost(plain, strong).summary.mean, 0.0)

    def test_the_time_saved_knows_that_the_batch_sizes_were_chosen_by_the_same_runs(self) -> None:
        settings = tuple(Setting("", "", (), values={"alpha": 1, "batch": batch}) for batch in (25, 50, 100, 200))
        noise = 0.001 * np.array([[1, -1, 2, -2, 0], [-2, 1, 0, 1, 0], [0, 2, -1, -1, 0], [1, 0, -1, 1, -1]])
        steps = np.array([[800], [400], [200], [100]]) * (1 + 10 * noise)
        later = steps * (1 + 1e-10 * np.array([2, -1, 1, -2, 0]))
        for lead, verdict in ((0.05, HOLDS), (0.0005, OPEN)):  # of 50 over 100, which a tie tells nothing of
            accuracy = 0.9 + noise + np.array([[-0.1], [0.0], [-lead], [-0.1]])
            plain, enhanced = Curve(settings, accuracy, steps, (), ()), Curve(settings, accuracy, 0.75 * later, (), ())
            found = time_saved(plain, enhanced)
            self.assertAlmostEqual(found.summary.mean, math.log2(4 / 3), places=9)
            one = Claim("It is shorter.", "page 1", "a number", found, 0.0, "none")
            self.assertEqual(one.verdict, verdict)
        self.assertRegex(
            one.reason, "^5 seeds do not tell which setting is the best: about [0-9]+ would, if they go on"
        )
        low, high = found.interval
        self.assertTrue(low < -0.5 and high > 1.4)  # from 400 against 300, by the factor of 2 between 50 and 100

    def test_a_best_batch_size_at_the_end_of_those_tried_is_censored(self) -> None:
        one = self.curve(1.5, [0.8, 0.7, 0.6], [1, 1, 1], (25, 50, 100))
        with self.assertRaisesRegex(
            Censored, "best batch size with α = 1.5, 25, is at the end of those tried: add some below 25"
        ):
            need_best_inside(one, "batch")
        self.assertIn("add some below 25", judged(time_saved, one, one).censored)

    def test_batches_of_the_same_noise_are_those_of_equation_4(self) -> None:
        settings = study(fig3.FIGURE).curve("F1", varies="alpha")
        np.testing.assert_allclose([fig3.effective(one) for one in settings], [800, 363.6, 190.5, 75.5], atol=0.05)
        for size, figure in itertools.product(("quick", "full"), (fig3.FIGURE, plain_sgd.FIGURE)):
            for one in study(figure, size).settings:
                plain = {**one.values, "alpha": 1, "batch": fig3.effective(one)}
                self.assertAlmostEqual(strength(Setting("", "", (), values=plain)), strength(one))

    def test_an_alpha_without_batches_of_its_noise_is_left_out_and_named(self) -> None:
        batches = self.curve(1, [0.9, 0.8, 0.7], [4, 2, 1], (100, 400, 800))
        settings = [Setting("", "", (), values={"alpha": a, "batch": 800, "examples": 4000}) for a in (1, 2, 3)]
        alphas = Curve(tuple(settings), np.full((3, 2), 0.8), np.full((3, 2), 3), (), ())
        found = fig3.apart(fig3.log_time, batches, alphas)
        self.assertEqual([one["alpha"] for one in found.settings], [2])  # 190.5
        between = 2 - math.log2(4000 / 21 / 100) / 2  # log2 of the time, from 4 at 100 to 2 at 400
        np.testing.assert_allclose(found.numbers, math.log2(3) - between)
        self.assertEqual(found.left_out, ("α = 3 has the noise of batches of 75, beyond those that come to L**",))
        self.assertEqual(judged(fig3.largest_time_apart, batches, alphas).problems, found.left_out)
        with self.assertRaisesRegex(TooLittle, "α = 3 has the noise of batches of 75"):
            fig3.apart(fig3.log_time, batches, Curve(alphas.settings[2:], alphas.accuracy, alphas.steps, (), ()))

    def test_both_arms_span_the_same_effective_batch_sizes(self) -> None:
        batches = self.curve(1, [0.9, 0.8, 0.7, 0.6], [1] * 4, (25, 100, 400, 800))
        values = [{"alpha": alpha, "batch": 800, "examples": 4000} for alpha in (1, 2, 3)]  # as 800, 190, 75
        alphas = [Setting("", "", (), values=one) for one in values]
        arm = Curve(tuple(alphas), np.ones((3, 2)), np.ones((3, 2)), (), ())
        kept, _ = fig3.common_range(batches, arm)
        self.assertEqual([setting["batch"] for setting in kept.settings], [100, 400, 800])

    def test_accuracy_is_compared_at_common_batches(self) -> None:
        one, other = self.means(1, [0.5, 0.6, 0.9], [1] * 3), self.means(1.5, [0.7, 0.7], [1] * 2, (4, 2))
        self.assertAlmostEqual(mean_gain(one, other), (0.1 - 0.2) / 2)
        with self.assertRaisesRegex(TooLittle, "no batch size"):
            mean_gain(one, self.means(3, [1], [16], (9,)))

    def test_time_is_compared_at_common_batches(self) -> None:
        one, other = self.means(1, [1] * 3, [8, 4, 1]), self.means(3, [1] * 2, [16, 64], (2, 9))
        self.assertAlmostEqual(time_growth(one, other), 1)  # 4 and 16, two apart
        with self.assertRaisesRegex(TooLittle, "no batch size"):
            time_growth(one, self.means(3, [1], [16], (9,)))


# ------------------------------------------------------------------------------------------------- figures


class Figures(Made):
    def make_papers(self, figure: Figure, size: str = "quick") -> None:
        """What the paper found: more noise is better at large batches, and takes time."""
        second = study(figure, size).values["batches"][1]
        accuracy = best_at(lambda alpha: second * alpha**2, lambda alpha: 0.9 + 0.004 * (alpha - 1))
        self.make_all(figure, accuracy, lambda s: 1000 * (500 / effective(s)) ** 0.8, size)

    def test_fig1_and_fig2_as_in_the_paper(self) -> None:
        self.make_papers(fig1.FIGURE)
        claims = self.judge(fig1.FIGURE)
        self.assertGreater(claims[0].measured.summary.mean, 0.005)
        self.assertAlmostEqual(claims[1].measured.summary.mean, 0.002, delta=1e-3)
        self.assertEqual({part.seeds for claim in claims for part in claim.parts}, {len(SEEDS)})
        for claim, verdict in zip(claims, (HOLDS, HOLDS, None, HOLDS, HOLDS, HOLDS), strict=True):
            if verdict:
                self.assertEqual(claim.verdict, verdict, f"{claim.says} {claim.measured}")
        self.assert_drawn(fig1.FIGURE, [2, 2])
        verdicts = [claim.verdict for claim in self.judge(fig2.FIGURE)]  # of the same runs
        self.assertEqual(verdicts[:2] + verdicts[3:], [HOLDS] * 5)
        self.assert_drawn(fig2.FIGURE, [2, 2])
        (table,) = fig1.FIGURE.tables(self.results(fig1.FIGURE))
        self.assertEqual(table.rows[0][:4], ["F1", "1", "50", "90.00 ± 0.00"])
        self.assertEqual([row[2] for row in table.rows], ["50", "100"])
        self.assertEqual(table.rows[0][4], f"{1000 * 10**0.8:.0f} ± {np.std(SEEDS, ddof=1) * 10**0.8:.0f}")

    def test_time_at_the_best_batch_size(self) -> None:
        for power, verdict in ((3.0, HOLDS), (0.5, FAILS)):  # of alpha, in the best batch size
            with self.subTest(power=power):
                self.root = self.root / "next"
                accuracy = best_at(lambda alpha, power=power: 100 * alpha**power, lambda alpha: 0.9)
                self.make_all(fig2.FIGURE, accuracy, lambda s: 1000 * s["alpha"] / s["batch"] ** 0.5)
                self.assertEqual(self.judge(fig2.FIGURE)[2].verdict, verdict)

    def test_fig1_and_fig2_to_the_contrary(self) -> None:
        accuracy = best_at(lambda alpha: 300 / alpha**2, lambda alpha: 0.9 - 0.02 * (alpha - 1))
        self.make_all(
            fig1.FIGURE, lambda s: accuracy(s) - 0.02 * s["alpha"] * math.log10(s["batch"]), lambda s: 9000 / s["alpha"]
        )
        claims = self.judge(fig1.FIGURE)
        self.assertEqual([claim.verdict for claim in claims], [FAILS, FAILS, HOLDS, FAILS, FAILS, FAILS])
        self.assert_verdicts(fig2.FIGURE, FAILS, FAILS, HOLDS, FAILS, FAILS, FAILS)

    def test_fig3_as_in_the_paper(self) -> None:
        def accuracy(setting: Setting) -> float:
            over_best = math.log2(strength(setting) * 210)  # the noise of batches of 200 is the best
            return 0.9 + (0.003 if setting["alpha"] > 1 else 0) - 0.01 * over_best**2

        self.make_all(fig3.FIGURE, accuracy, lambda s: 1000 * (1000 * strength(s)) ** 0.8 / s["alpha"] ** 0.6)
        self.assert_verdicts(fig3.FIGURE, *[HOLDS] * 9)
        claims = self.judge(fig3.FIGURE)
        self.assertAlmostEqual(claims[0].measured.summary.mean, 0.8, delta=0.05)
        self.assertAlmostEqual(claims[7].measured.summary.mean, 0.6 * math.log2(3), delta=0.02)  # with α = 3
        self.assert_drawn(fig3.FIGURE, [2])
        best, of_equal_noise = fig3.FIGURE.tables(self.results(fig3.FIGURE))
        self.assertEqual([row[:4] for row in best.rows], [
            ["F1", "without noise enhancement", "200", "1"], ["F1", "with noise enhancement", "800", "2"],
        ])  # fmt: skip
        sizes = [["F1", "1.5", "363.6"], ["F1", "2", "190.5"], ["F1", "3", "75.5"]]
        self.assertEqual([row[:3] for row in of_equal_noise.rows], sizes)
        self.assertRegex(of_equal_noise.rows[2][3], "^-0.9[0-9] ± 0.00$")

    def test_fig3_to_the_contrary(self) -> None:
        self.make_all(
            fig3.FIGURE, lambda s: 0.9 - 0.001 * s["alpha"] - 0.0001 * s["batch"] / 1000, lambda s: 1 / strength(s)
        )
        # The best batch size is the smallest of those tried: whether there is a peak is not known.
        self.assert_verdicts(fig3.FIGURE, FAILS, FAILS, OPEN, *[FAILS] * 6)

    def test_fig3_of_noise_of_which_only_the_covariance_counts(self) -> None:
        # With the sizes of equation 11, which takes N ≫ B, times would be apart by a factor of 1.36 with α = 3.
        self.make_all(fig3.FIGURE, lambda s: 0.8 + 0.02 * math.log2(strength(s)), lambda s: 1e6 * strength(s) ** 1.5)
        time, accuracy = self.judge(fig3.FIGURE)[7:]
        self.assertEqual(time.verdict, FAILS)
        self.assertLess(time.measured.summary.mean, 0.1)
        self.assertLess(abs(accuracy.measured.summary.mean), 0.002)

    def test_fig3_where_one_alpha_does_something_else(self) -> None:
        self.make_all(
            fig3.FIGURE,
            lambda s: 0.9 - 0.01 * abs(math.log2(strength(s) * 210)) + 0.02 * (s["alpha"] == 2),
            lambda s: 1e6 * strength(s) * (0.6 if s["alpha"] == 3 else 1),
        )
        time, accuracy = self.judge(fig3.FIGURE)[
            7:
        ]  # in the mean over the α a factor of 1.19, within that of times that agree
        self.assertEqual((time.verdict, accuracy.verdict), (HOLDS, HOLDS))
        self.assertAlmostEqual(time.measured.summary.mean, -math.log2(0.6), delta=0.02)
        self.assertAlmostEqual(accuracy.measured.summary.mean, 0.02, delta=0.002)

    def test_fig3_with_smaller_batches_than_alpha_has_noise_for(self) -> None:
        def accuracy(setting: Setting) -> float:
            return 0.9 + 0.05 * (setting["batch"] == 25) + 0.02 * (setting["alpha"] == 2)

        self.make_all(fig3.FIGURE, accuracy, lambda s: 1e6 * strength(s))
        of_all, of_common = self.judge(fig3.FIGURE)[5:7]
        self.assertEqual((of_all.verdict, of_common.verdict), (FAILS, HOLDS))
        self.assertAlmostEqual(of_all.measured.summary.mean, -0.03, places=6)
        self.assertAlmostEqual(of_common.measured.summary.mean, 0.02, places=6)

    def test_what_was_changed_last_counts_as_seen(self) -> None:
        late = {figure.title: [c.decided_after for c in self.judge(figure)] for figure in FIGURES}
        seen = {
            title: sum(len(one.seen("quick", range(11, 16))) == 5 for one in of if one) for title, of in late.items()
        }
        self.assertEqual(list(seen.values()), [2, 2, 5, 4, 2])
        self.assertIn(fig3.EQUAL_NOISE, late[plain_sgd.FIGURE.title])

    def test_fig3_with_a_better_alpha_beyond_those_tried(self) -> None:
        def accuracy(setting: Setting) -> float:
            return 0.9 - 0.01 * (setting["alpha"] == 1 and setting["batch"] < 800) - 0.02 / setting["alpha"]

        self.make_all(fig3.FIGURE, lambda s: accuracy(s) + 0.05 * (s["batch"] == 100), lambda s: 9000 / effective(s))
        claims = self.judge(fig3.FIGURE)
        for best in claims[5:7]:
            self.assertLess(best.measured.summary.mean, 0)
            self.assertEqual(
                (best.verdict, best.reason), (OPEN, "the best α, 3, is at the end of those tried: add some above 3")
            )

    def test_the_full_size_has_all_networks(self) -> None:
        for figure in (fig2.FIGURE, fig3.FIGURE):
            self.root = self.root / "next"
            self.make_papers(figure, size="full")
            claims = self.judge(figure, size="full")
            self.assertEqual({part.seeds for claim in claims for part in claim.parts if not part.censored}, {10})
            networks = list(dict.fromkeys(claim.says.partition(":")[0] for claim in claims))
            self.assertEqual(networks, ["F1", "C2"] if figure is fig2.FIGURE else ["F1", "C1", "C2"])
        self.assert_drawn(fig3.FIGURE, [2, 2, 2], size="full")


class PlainSgd(Made):
    def test_as_in_the_paper(self) -> None:
        self.make_all(
            plain_sgd.FIGURE,
            lambda s: 0.8 + 0.02 * math.log2(5000 * strength(s)) + 0.01 * (s["alpha"] - 1),
            lambda s: 1e6 * strength(s) * (0.7 if s["alpha"] > 1 else 1),
            size="full",
        )
        claims = self.judge(plain_sgd.FIGURE, size="full")
        self.assertEqual([claim.verdict for claim in claims], [HOLDS] * 4)
        better, slower, faster, than_smaller = claims
        self.assertAlmostEqual(better.measured.summary.mean, 0.02 * math.log2(5) + 0.01, places=9)
        self.assertAlmostEqual(than_smaller.measured.summary.mean, 0.01, delta=2e-4)  # with α = 2
        self.assertGreater(slower.measured.summary.mean, 1.5)
        self.assertAlmostEqual(faster.measured.summary.mean, -math.log2(0.7), delta=0.01)
        self.assert_drawn(plain_sgd.FIGURE, [2 * (len(SEEDS) + 1)] * 2, size="full")

    def test_to_the_contrary(self) -> None:
        self.make_all(plain_sgd.FIGURE, lambda s: 0.8 - 0.01 * s["alpha"], lambda s: 9000 / strength(s) ** 2)
        self.assert_verdicts(plain_sgd.FIGURE, OPEN, FAILS, FAILS, OPEN)
        gained, *_, better = self.judge(plain_sgd.FIGURE)
        self.assertEqual(gained.reason, "the best α, 2, is at the end of those tried: add some above 2")
        self.assertIn("the highest with α = 2, the last that is compared: add some above", better.reason)

    def test_each_alpha_has_smaller_batches_of_its_noise(self) -> None:
        for size in ("quick", "full"):
            found = study(plain_sgd.FIGURE, size)
            batches, alphas = (found.curve("F1", varies=name) for name in ("batch", "alpha"))
            sizes = sorted(fig3.effective(s) for s in alphas)
            np.testing.assert_allclose([s["batch"] for s in batches], sizes, rtol=0.07)
            self.assertTrue(batches[0]["batch"] <= sizes[0] and sizes[-1] == batches[-1]["batch"])
            for setting in found.settings:
                self.assertIn('"name": "sgd"', " ".join(setting.overrides))

    def test_a_setting_that_does_not_converge_leaves_the_others(self) -> None:
        seeds = study(plain_sgd.FIGURE, "full").seeds
        for lost, verdicts in ((seeds, [HOLDS] * 4), (seeds[:1], [OPEN] * 4)):
            self.root = self.root / str(len(lost))
            for setting, seed in itertools.product(study(plain_sgd.FIGURE, "full").settings, seeds):
                reached = "" if setting["alpha"] == 2 and seed in lost else REACHED
                self.make_run(
                    setting, seed, 0.8 + 0.01 * setting["alpha"] + seed / 1e5, 100 * setting["alpha"], reached
                )
            claims = self.judge(plain_sgd.FIGURE, size="full")
            self.assertEqual([claim.verdict for claim in claims], verdicts)
            for claim in claims:
                told = (claim.reason, *claim.measured.problems)
                self.assertIn(f"F1_sgd2_B5000: {len(lost)} of 8 runs don't reach L**", told)


class Noise(Made):
    def make_runs(self, enhanced: float, reduced: float, of: Callable[[Setting, str], Sequence[float]]) -> None:
        """Traces by so many times what the equations say, and the kurtosis at both moments by setting and kind of noise."""
        for setting in study(noise.FIGURE).settings:
            for seed in SEEDS:
                trace = np.array([2.0, NAN, 5.0]) * (1 + 0.01 * seed)
                strong = enhanced * (1 + 1e-3 * (seed % 2 - 0.5)) * noise.factor(setting) * trace
                rows = {"step": [0, 500, 1000], "epoch": [0, 12, 25], "loss": [2.3, 1.0, 0.5]}
                rows |= {f"{noise.PLAIN}.trace": trace, f"{noise.ENHANCED}.trace": strong}
                rows[f"{noise.REDUCED}.trace"] = strong / enhanced * reduced * wobble(setting.name, seed)
                for kind in (noise.ENHANCED, noise.REDUCED):
                    first, last = of(setting, kind)
                    rows[f"{kind}.kurtosis"] = np.array([first, NAN, last]) + 0.001 * seed * (kind == noise.REDUCED)
                self.make(f"runs/{setting.name},seed={seed}", rows, manifest=MANIFEST)

    def test_what_the_paper_says(self) -> None:
        self.make_runs(1.0, 1.0, lambda s, kind: (0.2, 40 / s["reduced"] + 2) if kind == noise.REDUCED else (0.1, 0.5))
        self.assert_verdicts(noise.FIGURE, *[HOLDS] * 8)
        strength, effective, suppressed, *_ = self.judge(noise.FIGURE)
        for claim in (strength, effective):
            np.testing.assert_allclose([part.summary.mean for part in claim.parts], 1.0)
            self.assertEqual(len(claim.parts), 6)
        np.testing.assert_allclose([part.summary.mean for part in suppressed.parts], [2.5, 3.5, 11.5], atol=0.01)
        with house_style():
            (picture,) = noise.FIGURE.draw(self.results(noise.FIGURE)).values()
        self.assertEqual([len(axes.lines) for axes in picture.axes], [1 + 2 * 2 * (3 + 1)] * 2)

    def test_noise_of_another_strength_that_becomes_gaussian(self) -> None:
        self.make_runs(0.8, 1.2, lambda s, kind: (2.0, 0.1 if kind == noise.REDUCED else 0.5))
        self.assert_verdicts(noise.FIGURE, *[FAILS] * 8)

    def test_each_batch_size_is_judged_by_itself(self) -> None:
        self.make_runs(1.0, 1.0, lambda s, kind: (0.0, 16 / s["reduced"]))
        claims = self.judge(noise.FIGURE)
        found = {claim.says: claim.verdict for claim in claims if "far from Gaussian" in claim.says}
        words = "The noise of SGD in batches of {} is far from Gaussian during training."
        self.assertEqual(found, {words.format(40): FAILS, words.format(20): FAILS, words.format(4): HOLDS})

    def test_noise_that_is_far_from_gaussian_from_the_beginning(self) -> None:
        self.make_runs(1.0, 1.0, lambda s, kind: (2.0, 4.0))
        early, only = self.judge(noise.FIGURE)[-2:]
        self.assertEqual((early.verdict, only.verdict), (FAILS, HOLDS))

    def test_the_smaller_batches_are_the_effective_ones(self) -> None:
        for size in ("quick", "full"):
            for setting in study(noise.FIGURE, size).settings:
                self.assertEqual(setting["reduced"] * noise.factor(setting), 100)
                self.assertIn("batch_size=100", setting.overrides)

    def test_a_run_that_ended_too_early_gives_no_number(self) -> None:
        name = study(noise.FIGURE).settings[0].name
        rows = {"step": [0], "epoch": [0], "loss": [2.3], f"{noise.REDUCED}.kurtosis": [1.0]}
        run = open_run(self.make(f"runs/{name},seed=1", rows))
        with self.assertRaisesRegex(TooLittle, "at 1 steps, of which it takes 2"):
            noise.at(run, f"{noise.REDUCED}.kurtosis", noise.LAST)


class Missing(Made):
    def test_without_runs_nothing_is_decided(self) -> None:
        for figure in FIGURES:
            for claim in self.judge(figure):
                self.assertEqual(claim.verdict, OPEN, claim.says)
                self.assertIn("not run yet", claim.reason)
            self.assertEqual(list(figure.tables(self.results(figure))), [])
            with self.assertRaises(TooLittle):
                figure.draw(self.results(figure))

    def test_a_setting_that_does_not_converge_is_left_out_and_named(self) -> None:
        settings = study(fig2.FIGURE).curve("F1", alpha=1)
        for setting in settings:
            for seed in study(fig2.FIGURE).seeds:
                reason = "" if (setting["batch"], seed) == (200, 2) else REACHED
                self.make_run(setting, seed, 0.8 + setting["batch"] / 1e4 + seed / 1e3, 100, reason)
        found = curve(self.results(fig2.FIGURE), settings)
        self.assertEqual([setting["batch"] for setting in found.settings], [10, 25, 50, 100, 400, 800])
        np.testing.assert_allclose(found.means().accuracy, 0.8045 + found.means().batch / 1e4)
        np.testing.assert_allclose(found.means([0, 0, 2]).accuracy, 0.8 + 5 / 3e3 + found.means().batch / 1e4)
        measurement = judged(partial(by_seed, lambda one: one.steps[0]), found)
        self.assertEqual(measurement.problems, ("F1_alpha1_B200: 1 of 8 runs don't reach L**",))
        words = "F1_alpha1_B200 does not reach L** with 1 of 8 seeds, unlike with the others"
        self.assertEqual(measurement.censored, words)  # its mean is not known
        self.root = self.root / "none"
        for setting, seed in itertools.product(settings, study(fig2.FIGURE).seeds):
            if setting["batch"] != 200:
                self.make_run(setting, seed, 0.8, 100, REACHED)
        for seed in study(fig2.FIGURE).seeds:
            self.make_run(next(s for s in settings if s["batch"] == 200), seed, 0.8, 100, "")
        measurement = judged(partial(by_seed, lambda one: one.steps[0]), curve(self.results(fig2.FIGURE), settings))
        self.assertEqual(measurement.problems, ("F1_alpha1_B200: 8 of 8 runs don't reach L**",))
        self.assertEqual(measurement.censored, "")  # it does not converge: there is nothing to compare

    def test_a_report_says_which_data_were_absent(self) -> None:
        jobs = [job for job in study(fig2.FIGURE, "full").jobs() if job.name.startswith("F1")]
        self.make_all(fig2.FIGURE, best_at(lambda alpha: 500 * alpha, lambda alpha: 0.9), effective, size="full")
        for folder in (self.root / "runs").glob("C2*"):
            folder.rename(self.root / folder.name)
        write_report(
            Reproduction(self.root, "noise_enhancement", "full", ["fig2"], {job.folder: "a command" for job in jobs})
        )
        text = (self.root / "report.md").read_text()
        self.assertIn("- CIFAR-100 was not found: its runs are missing, and claims on them not decided.", text)
        self.assertIn("| Network | α | Best B | Test accuracy (%) | Convergence time |", text)
        self.assertIn("C2_alpha1_B100,seed=1: not run yet, and 129 more", text)


if __name__ == "__main__":
    unittest.main()
