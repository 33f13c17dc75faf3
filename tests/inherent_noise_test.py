#!/usr/bin/env python3
"""Tests of figures of inherent_noise, those on CIFAR-10 first, on runs made up here: python tests/inherent_noise_test.py"""

from __future__ import annotations

import itertools
import unittest
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from run_folders import NAN, SEEDS, RunFolders, falling_loss, study, wobble

# isort: split
from papers.inherent_noise import (
    IMAGE_NETWORKS,
    fig1,
    fig1_cifar10,
    fig2,
    fig2_cifar10,
    fig3,
    fig3_two_hidden,
    fig4,
    fig5,
    fig6,
    lags,
    normalization,
    perturbation,
)
from papers.inherent_noise._sums import BATCHES, POINTS, fall, fraction
from sgdscope.catalogue import figures, jobs_of, study_of, unique_jobs
from sgdscope.claims import Claim, TooLittle, Verdict
from sgdscope.durations import Durations
from sgdscope.figure import Figure
from sgdscope.plots.style import house_style
from sgdscope.runs import Run, open_run
from sgdscope.statistics import interval
from sgdscope.studies import read_json

ON_IMAGES = tuple(one.FIGURE for one in (fig1_cifar10, fig2_cifar10, fig4, fig5, fig6))
STEPS = 400
STEP = np.arange(STEPS)
LOSS = falling_loss(STEPS)  # from 2.3 to 0.5
GRAIN = (LOSS[0] - LOSS[-1]) / POINTS  # of the grid on which networks are compared
LAGS = {"updating": 0, "recent": 10, "long_ago": 300}
FIRST_ORDER = ("taylor.updating.cum_dot", 1)
HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN

Sum = Callable[[np.ndarray], np.ndarray]  # of the loss at each step


def fallen(factor: float) -> Sum:
    """A sum that grows with the reduction in loss."""
    return lambda loss: factor * (LOSS[0] - loss)


def ahead_until(crossing: float) -> Sum:
    """Above fallen(1) until the loss has come down to `crossing`, by most halfway there."""
    return lambda loss: (LOSS[0] - loss) * (1 + 0.5 * (loss - crossing))


class Made(RunFolders):
    """Runs of the Taylor probe with known sums."""

    lags: Mapping[str, int] = LAGS

    def make_run(
        self,
        name: str,
        dots: Sum = fallen(1),
        penalties: Sum = fallen(-1),
        test_loss: np.ndarray | Callable[[int], np.ndarray] = LOSS,
        loss: np.ndarray = LOSS,
        hidden: Sequence[int] = (),
    ) -> None:
        """The run folders of all seeds; evaluated at every step, so that the loss is known exactly."""
        columns: dict[str, np.ndarray] = {"step": STEP, "epoch": STEP / 40, "loss": loss}
        for batch, lag in self.lags.items():
            begun = STEP >= lag
            for value, sums in (("dot", dots(loss)), ("penalty", penalties(loss))):
                columns[f"taylor.{batch}.{value}"] = np.where(begun, np.diff(sums, append=sums[-1]), NAN)
                columns[f"taylor.{batch}.cum_{value}"] = np.where(begun, sums, NAN)
            columns[f"taylor.{batch}.cum_delta_loss"] = np.where(begun, dots(loss) + penalties(loss), NAN)
        for seed in SEEDS:
            model = {"name": name, "hidden": list(hidden)}
            tested = test_loss(seed) if callable(test_loss) else test_loss
            columns["loss"] = loss * wobble("loss", seed)
            evaluations = {"step": STEP, "epoch": STEP / 40, "train_loss": columns["loss"], "test_loss": tested}
            self.make(f"runs/{name},seed={seed}", columns, evaluations, config={"model": model})

    def run_of(self, name: str) -> Run:
        """The run of the first seed."""
        return open_run(str(self.root / "runs" / f"{name},seed=1"))

    def verdicts(self, figure: Figure) -> list[Verdict]:
        """The verdicts on the figure's claims."""
        return [claim.verdict for claim in figure.claims(self.results(figure))]

    def assert_drawn(self, figure: Figure) -> None:
        """Asserts that every picture that the figure speaks of is drawn."""
        with house_style():
            self.assertEqual(set(figure.draw(self.results(figure))), set(figure.shows))


class Plans(unittest.TestCase):
    def test_figures_share_the_runs_of_four_networks(self) -> None:
        for size in ("quick", "full"):
            on_images = [job for figure in ON_IMAGES for job in study(figure, size).jobs()]
            jobs = unique_jobs(on_images)
            self.assertEqual(len(jobs), len(SEEDS) * len(IMAGE_NETWORKS))
            self.assertEqual({bool(job.overrides) for job in jobs}, {size == "quick"})

    def test_quick_takes_less_than_10_minutes_on_two_cores(self) -> None:
        jobs = jobs_of("inherent_noise", figures("inherent_noise"), "quick")
        self.assertLess(Durations.load("inherent_noise").of_all("quick", jobs), 10 * 60)

    def test_configs_are_the_papers_and_differ_in_the_model_alone(self) -> None:
        for figure, pair in ((fig4.FIGURE, fig4.NAMES), (fig5.FIGURE, fig5.NAMES)):
            one, other = [read_json(study(figure, "full").curve(name)[0].config) for name in pair]
            self.assertEqual((one["batch_size"], one["update"]), (150, {"name": "sgd", "learning_rate": 0.01}))
            self.assertEqual([config["model"].pop("name") for config in (one, other)], list(pair))
            for config in (one, other):
                del config["name"], config["output"]
            self.assertEqual(one, other)

    def test_new_seeds_judge_at_quick(self) -> None:
        seeds = {}
        for figure in figures("inherent_noise"):
            found = study_of("inherent_noise", figure, "quick")
            seeds[figure] = found.seeds
        untried = {name for name, of_figure in seeds.items() if of_figure == (11, 12, 13, 14, 15)}
        self.assertEqual(untried, {"fig1", "fig2", "fig3", "normalization", "perturbation", "separate_updates"})
        self.assertEqual(seeds["sequential"], tuple(range(11, 20)))  # as shares that are equal take more


class Clouds(Made):
    def test_what_any_network_obeys_is_not_judged(self) -> None:
        for size in ("quick", "desk", "full"):
            self.assertIn("cannot be missed", fig2.FIGURE.unjudged[size])
            self.assertTrue(fig2_cifar10.FIGURE.unjudged[size])
        self.make_run("fc8000")
        updating, recent = [
            [claim.quantity for claim in fig1.FIGURE.claims(self.results(fig1.FIGURE))][part]
            for part in (slice(2), slice(2, 4))
        ]
        self.assertTrue(all("noise alone passes" in words for words in updating))
        self.assertFalse(any("noise" in words for words in recent))

    def test_each_network_is_judged_by_its_own_runs(self) -> None:
        self.make_run("alexnet")
        self.make_run("resnet18", dots=fallen(2))
        # All batches alike: none pays more than another.
        claims = fig1_cifar10.FIGURE.claims(self.results(fig1_cifar10.FIGURE))
        self.assertEqual([claim.quantity.split(":")[0] for claim in claims], ["AlexNet"] * 4 + ["ResNet-18"] * 4)
        self.assertEqual([claim.measured.summary.mean for claim in claims], [1.0] * 8)
        self.assertEqual(self.verdicts(fig2_cifar10.FIGURE), [FAILS, OPEN] * 2)  # a lead of exactly 0 is on the border
        for figure in (fig1_cifar10.FIGURE, fig2_cifar10.FIGURE):
            self.assert_drawn(figure)

    def test_a_network_without_runs_leaves_its_claims_open(self) -> None:
        self.make_run("alexnet")  # ratios of exactly 1 are on the border
        self.assertEqual(
            [verdict is OPEN for verdict in self.verdicts(fig1_cifar10.FIGURE)], [False, True] * 2 + [True] * 4
        )


class TwoAlexNets(Made):
    lags = {"updating": 0, "recent": 5, "long_ago": 10}  # all begin before the lead of `ahead_until` is the largest

    def make_both(self, large: Mapping[str, object]) -> tuple[Run, Run]:
        """Small AlexNet with sums of 1, and AlexNet."""
        self.make_run("alexnet_small")
        self.make_run("alexnet", **large)
        return self.run_of("alexnet_small"), self.run_of("alexnet")

    def test_where_sums_cross_and_where_the_lead_is_the_largest(self) -> None:
        small, large = self.make_both({"dots": ahead_until(0.9), "penalties": lambda loss: -ahead_until(0.9)(loss)})
        crossing, turn = [at(*FIRST_ORDER, small, large) for at in (fig4.loss_at_crossing, fig4.loss_at_turn)]
        self.assertAlmostEqual(crossing.loss, 0.9, delta=2 * GRAIN)
        # Half of the lead's growth is over halfway between the first loss and the crossing. Its top is flat, so that
        # the places of steps, where sums are known, count, not the grid.
        self.assertAlmostEqual(turn.loss, (LOSS[0] + 0.9) / 2, delta=np.abs(np.diff(LOSS)).max())
        claims = fig4.FIGURE.claims(self.results(fig4.FIGURE))
        crossing, turn = claims[6:]
        # At 0.9 on the updating batch, and at 1.1 and 1.3 on those that begin later; the lead is the largest at 1.6.
        self.assertEqual((crossing.verdict, turn.verdict), (HOLDS, FAILS))
        self.assertEqual(len(crossing.conditions), 2 * len(BATCHES))
        for what in ("dot products", "penalties"):
            found = crossing.conditions[f"{what} on the updating batch"].summary.mean
            self.assertAlmostEqual(found, np.log2(0.9), delta=3 * GRAIN)
        self.assert_drawn(fig4.FIGURE)

    def test_most_of_the_losses_are_not_the_bulk_of_training(self) -> None:
        self.make_both({"dots": ahead_until(0.9), "penalties": lambda loss: -ahead_until(0.9)(loss)})
        claim = fig4.FIGURE.claims(self.results(fig4.FIGURE))[0]
        by_loss, by_steps = [part.summary.mean for part in claim.parts]
        self.assertAlmostEqual(by_loss, (LOSS[0] - 0.9) / (LOSS[0] - LOSS[-1]), delta=0.01)
        self.assertAlmostEqual(by_steps, np.mean(LOSS > 0.9), delta=0.01)
        self.assertEqual(claim.verdict, FAILS)

    def test_penalties_of_the_other_order_count_too(self) -> None:
        self.make_both({"dots": ahead_until(0.9), "penalties": fallen(-0.5)})
        self.assertEqual(self.verdicts(fig4.FIGURE)[6:], [FAILS, FAILS])

    def test_a_lead_that_never_ends_is_no_end_at_1(self) -> None:
        small, large = self.make_both({"dots": fallen(2), "penalties": fallen(-2)})
        for at in (fig4.loss_at_crossing, fig4.loss_at_turn):
            bound = at(*FIRST_ORDER, small, large)
            self.assertEqual((round(bound.loss, 6), bound.side), (round(LOSS[-1], 6), -1))
        self.assertEqual(self.verdicts(fig4.FIGURE), [HOLDS] * 6 + [FAILS] * 2)  # at most 0.5 of 1.0

    def test_runs_that_end_near_1_decide_nothing_of_a_lead_to_the_end(self) -> None:
        self.make_run("alexnet_small", loss=np.maximum(LOSS, 0.8))
        self.make_run("alexnet", dots=fallen(2), penalties=fallen(-2), loss=np.maximum(LOSS, 0.8))
        claims = fig4.FIGURE.claims(self.results(fig4.FIGURE))[6:]
        self.assertEqual([claim.verdict for claim in claims], [OPEN, OPEN])
        self.assertIn("at most 0.8", claims[0].reason)

    def test_the_smaller_network_ahead(self) -> None:
        small, large = self.make_both({"dots": fallen(0.5), "penalties": fallen(-0.5)})
        self.assertEqual(fig4.loss_at_crossing(*FIRST_ORDER, small, large).side, 1)
        self.assertEqual(self.verdicts(fig4.FIGURE), [FAILS] * 8)

    def test_losses_agree_whichever_is_the_larger(self) -> None:
        found = [fig4.log_ratio(fig4.Bound(one), other).value for one, other in ((1, 4), (4, 1), (3, 3))]
        self.assertEqual(found, [-2, 2, 0])

    def test_bounds_count_only_beyond_the_margin(self) -> None:
        self.assertEqual(
            [fig4.log_ratio(fig4.Bound(1 / 2, -1), 1).value, fig4.log_ratio(fig4.Bound(2, 1), 1).value], [-1, 1]
        )
        for bound in (fig4.Bound(0.8, -1), fig4.Bound(2, -1), fig4.Bound(1.2, 1), fig4.Bound(0.5, 1)):
            with self.assertRaisesRegex(TooLittle, "leaves open"):
                fig4.log_ratio(bound, 1)

    def test_overfitting_begins_at_the_least_test_loss(self) -> None:
        least = 60  # of the test loss; the training loss is 1.15 there
        rising = 2 + 0.01 * np.abs(STEP - least)
        _, large = self.make_both(
            {"dots": ahead_until(0.9), "test_loss": lambda seed: rising * wobble("alexnet", seed)}
        )
        self.assertAlmostEqual(fig6.loss_at_overfitting(large), LOSS[least], places=9)
        claims = fig6.FIGURE.claims(self.results(fig6.FIGURE))
        self.assertEqual([claim.verdict for claim in claims], [HOLDS, HOLDS, HOLDS])
        found = claims[1].conditions["dot products on the updating batch"].summary.mean
        self.assertAlmostEqual(found, np.log2(0.9 / LOSS[least]), delta=3 * GRAIN)
        self.assert_drawn(fig6.FIGURE)

    def test_a_test_loss_that_falls_to_the_end_is_no_overfitting(self) -> None:
        _, large = self.make_both({"dots": ahead_until(0.9)})
        with self.assertRaisesRegex(TooLittle, "falls to the end"):
            fig6.loss_at_overfitting(large)
        self.assertEqual(self.verdicts(fig6.FIGURE), [FAILS, OPEN, OPEN])

    def test_noise_alone_is_no_overfitting(self) -> None:
        self.make_both({"test_loss": lambda seed: 1 + 0.1 * np.random.default_rng(seed).standard_normal(STEPS)})
        self.assertEqual(self.verdicts(fig6.FIGURE)[0], OPEN)


class ResidualNetworks(Made):
    def test_the_loss_is_the_mean_over_batches(self) -> None:
        self.make_run("resnet18")
        found = fall(fig5.training_loss)(self.run_of("resnet18"))
        half = fig5.BATCHES_OF_MEAN // 2
        for step in (100, 200, 350):
            self.assertAlmostEqual(found[step], -LOSS[step - half : step + half + 1].mean(), places=9)
        self.assertAlmostEqual(found[0], -LOSS[0], places=9)

    def test_verdicts_on_networks_in_the_papers_order_and_the_other(self) -> None:
        self.make_run("resnet18")
        self.make_run("wide_resnet50_2", dots=fallen(3), penalties=fallen(-0.5))
        claims: Sequence[Claim] = fig5.FIGURE.claims(self.results(fig5.FIGURE))
        self.assertEqual([claim.verdict for claim in claims], [HOLDS, FAILS] * 2 * len(BATCHES))
        self.assert_drawn(fig5.FIGURE)

    def test_equal_fractions_are_other_moments_than_equal_losses(self) -> None:
        # The wide network begins at twice the loss. It gathers 0.75 for each 1 of its loss: by the time that both have lost
        # the same fraction 1.5 times as much, from equal losses on less.
        def wide(loss: np.ndarray) -> np.ndarray:
            return 0.75 * (2 * LOSS[0] - loss)

        self.make_run("resnet18")
        self.make_run("wide_resnet50_2", dots=wide, penalties=lambda loss: -wide(loss), loss=2 * LOSS)
        self.assertEqual(
            self.verdicts(fig5.FIGURE), [HOLDS] * 6 + [FAILS] * 4 + [OPEN] * 2
        )  # long-ago ones share no loss
        run = self.run_of("wide_resnet50_2")
        found, losses = fraction(fig5.training_loss)(run), -fall(fig5.training_loss)(run)
        np.testing.assert_allclose(found, 1 - losses / (2 * LOSS[0]), atol=1e-9)


class ThreeWidths(Made):
    def judge_widths(self, dots: Sequence[float], penalties: Sequence[float]) -> list[Claim]:
        """The claims on three networks whose sums grow so fast with the reduction in loss."""
        for units, dot, penalty in zip((64, 2000, 8000), dots, penalties, strict=True):
            self.make_run(f"fc{units}", dots=fallen(dot), penalties=fallen(-penalty), hidden=(units,))
        return self.judge(fig3.FIGURE)

    def test_losses_that_rise_more_although_dot_products_are_larger(self) -> None:
        claims = self.judge_widths((1, 2, 3), (2, 4, 6))
        self.assertEqual([claim.verdict for claim in claims], [HOLDS] * 14)
        self.assertIn("64 < 2000 < 8000 units", claims[0].quantity)

    def test_losses_that_fall_less_have_not_risen(self) -> None:
        claims = self.judge_widths((3, 4, 5), (1, 2.5, 4))  # ΔL of 2, 1.5 and 1
        self.assertEqual([claim.verdict for claim in claims[-2:]], [FAILS] * 2)

    def test_losses_that_rise_more_with_smaller_dot_products_are_another_matter(self) -> None:
        claims = self.judge_widths((3, 2, 1), (4, 5, 6))
        self.assertEqual([claim.verdict for claim in claims[-2:]], [FAILS] * 2)

    def test_an_order_at_the_first_steps_alone_is_not_that_of_most_steps(self) -> None:
        turned = 1.2  # two thirds of the losses are above, and a sixth of the steps
        self.make_run("fc64")
        for units, lead in ((2000, 1), (8000, 2)):
            self.make_run(
                f"fc{units}", dots=lambda loss, lead=lead: fallen(1)(loss) + lead * (LOSS[0] - loss) * (loss - turned)
            )
        claim = self.judge(fig3.FIGURE)[0]
        self.assertEqual(
            [round(part.summary.mean, 1) for part in claim.parts], [0.6, round(float(np.mean(LOSS > turned)), 1)]
        )
        self.assertEqual(claim.verdict, FAILS)

    def test_long_ago_batches_are_less_long_ago_in_quick_runs(self) -> None:
        for figure in (fig3.FIGURE, fig3_two_hidden.FIGURE):
            for setting in study(figure, "quick").settings:
                self.assertIn("probes[0].long_ago_lag=100", setting.overrides)


class TwoHiddenLayers(Made):
    def test_both_layers_have_so_many_units_and_the_full_size_the_papers(self) -> None:
        for size, widths in (("quick", (64, 150, 500)), ("full", (64, 2000, 8000))):
            settings = study(fig3_two_hidden.FIGURE, size).settings
            for setting, units in zip(settings, widths, strict=True):
                self.assertIn(f"model.hidden=[{units}, {units}]", setting.overrides)

    def test_networks_in_the_papers_order(self) -> None:
        for units, factor in ((64, 1), (2000, 2), (8000, 3)):
            self.make_run(f"fc{units}x2", dots=fallen(factor), penalties=fallen(-factor), hidden=(units, units))
        quick = fig3_two_hidden.FIGURE.claims(self.results(fig3_two_hidden.FIGURE))
        self.assertIn("64 < 150 < 500 units", quick[0].quantity)
        results = self.results(fig3_two_hidden.FIGURE, "full")
        claims = fig3_two_hidden.FIGURE.claims(results)
        self.assertEqual([claim.verdict for claim in claims[:12]], [HOLDS] * 12)
        with house_style():
            pictures = fig3_two_hidden.FIGURE.draw(results)
        self.assertEqual(set(pictures), set(fig3_two_hidden.FIGURE.shows))


class LagsDrawn(Made):
    def test_bars_are_students_intervals_over_the_seeds(self) -> None:
        step = np.arange(300)
        probe = {"label": "near", "batches": ["updating", "recent"], "recent_lag": 1, "long_ago_lag": 3}
        for name, seed in itertools.product(lags.NAMES, SEEDS):
            columns = {
                "near.updating.penalty": np.full(300, -2.0),
                "near.recent.penalty": np.full(300, -1.0 - 0.01 * seed),
            }
            rows = {"step": step, "epoch": step, "loss": step, **columns}
            self.make(f"runs/{name},seed={seed}", rows, config={"probes": [probe]})
        with house_style():
            (picture,) = lags.draw(self.results(lags.FIGURE)).values()
        self.assertIn("Student's 95 % intervals", picture.get_supxlabel())
        (bar,) = picture.axes[2].collections  # of mean penalties over those of the updating batch
        ratios = [(1 + 0.01 * seed) / 2 for seed in SEEDS]
        np.testing.assert_allclose(bar.get_segments()[0][:, 1], interval(ratios))


class LagsJudged(Made):
    def judge_lags(self, penalties: Mapping[int, float]) -> list[Claim]:
        """The claims on runs of one stage with penalties by lag."""
        steps = 300
        probes = [
            {"label": "near", "batches": ["updating", "recent", "long_ago"], "recent_lag": 1, "long_ago_lag": 3},
            {"label": "far", "batches": ["recent", "long_ago"], "recent_lag": 10, "long_ago_lag": 30},
        ]
        names = {0: "near.updating", 1: "near.recent", 3: "near.long_ago", 10: "far.recent", 30: "far.long_ago"}
        for name, seed in itertools.product(lags.NAMES, SEEDS):
            columns = {f"{names[lag]}.penalty": np.full(steps, -value) for lag, value in penalties.items()}
            rows = {"step": np.arange(steps), "epoch": np.zeros(steps), "loss": np.ones(steps), **columns}
            self.make(f"runs/{name},seed={seed}", rows, config={"probes": probes})
        return self.judge(lags.FIGURE)

    def test_penalties_that_fall_with_the_lag(self) -> None:
        claims = self.judge_lags({0: 5, 1: 4, 3: 3, 10: 2, 30: 1})
        self.assertEqual([claim.verdict for claim in claims], [HOLDS] * 4)
        pairs = ["lag of 1 beside 3 steps", "lag of 3 beside 10 steps", "lag of 10 beside 30 steps"]
        self.assertEqual(list(claims[1].conditions), pairs)

    def test_one_pair_of_lags_in_the_other_order(self) -> None:
        # Of all six pairs five are in order, of neighbouring ones two.
        claims = self.judge_lags({0: 5, 1: 4, 3: 2, 10: 3, 30: 1})
        self.assertEqual([claim.verdict for claim in claims], [HOLDS, FAILS] * 2)

    def test_without_runs_nothing_is_decided(self) -> None:
        self.assertEqual({claim.verdict for claim in lags.FIGURE.claims(self.results(lags.FIGURE))}, {OPEN})


class Normalization(Made):
    def make_networks(self, updating: float, recent: float) -> None:
        """Penalties on both batches, and a first order of 1 a step."""
        steps = np.arange(200)
        sums = {"dot": steps + 1.0}
        for setting in study(normalization.FIGURE).settings:
            for seed in SEEDS:
                rows = {"step": steps, "epoch": steps / 100, "loss": falling_loss(200)}
                for batch, size in (("updating", updating), ("recent", recent)):
                    penalty = -size * (1 + 0.5 * (-1.0) ** (steps // 3) * (batch == "recent")) * (1 + 0.01 * seed)
                    penalty[:seed] = -5 * (batch == "recent")
                    sums |= {"penalty": penalty.cumsum()}
                    rows[f"taylor.{batch}.penalty"] = penalty
                    rows |= {f"taylor.{batch}.cum_{name}": values for name, values in sums.items()}
                evaluations = {"step": [0, 200], "epoch": [0, 2], "train_loss": [2.3, 0.5 + 0.01 * seed]}
                self.make(f"runs/{setting.name},seed={seed}", rows, evaluations)

    def test_updating_batches_that_pay_most(self) -> None:
        self.make_networks(0.5, 0.25)
        self.assert_verdicts(normalization.FIGURE, *[HOLDS] * len(normalization.NETWORKS))
        self.assert_drawn(normalization.FIGURE)
        (table,) = normalization.FIGURE.tables(self.results(normalization.FIGURE))
        self.assertEqual(len(table.rows), 2 * len(normalization.NETWORKS))
        losses = [0.5 + 0.01 * seed for seed in SEEDS]
        self.assertEqual({row[4] for row in table.rows}, {f"{np.mean(losses):.2f} ± {np.std(losses, ddof=1):.2f}"})

    def test_recent_batches_that_pay_most(self) -> None:
        self.make_networks(0.25, 1.0)
        self.assert_verdicts(normalization.FIGURE, *[FAILS] * len(normalization.NETWORKS))

    def test_networks_are_what_they_are_called(self) -> None:
        for setting in study(normalization.FIGURE).settings:
            (model,) = [word for word in setting.overrides if word.startswith("model=")]
            found = {kind: f'"{kind}"' in model for kind in ("batch_norm", "scale", "residual")}
            norm, _, skips = setting["network"].partition("_")
            self.assertEqual(
                found, {"batch_norm": norm == "batch", "scale": norm == "skipinit", "residual": skips == "skip"}
            )

    def test_every_data_set_has_its_config(self) -> None:
        for setting in study(normalization.FIGURE, "full").settings:
            self.assertEqual(read_json(setting.config)["data"]["name"], setting["data"])


class Perturbation(Made):
    def make_networks(
        self,
        change: Callable[[float, np.ndarray], np.ndarray] = lambda rate, loss: rate * loss,
        distance: Callable[[int], float] = lambda units: 1.0,
        speed: Callable[[float, int], float] = lambda rate, units: 1.0,
    ) -> None:
        """Losses that fall with a speed by learning rate and units; the change by a step, and the distance after one step.

        Distances grow with the square root of the steps.
        """
        found = study(perturbation.FIGURE)
        for setting, seed in itertools.product(found.settings, found.seeds):
            folder, steps = f"runs/{setting.name},seed={seed}", np.arange(setting["last"] + 1)
            rate, units = setting["rate"], setting["units"]
            loss = 2.3 / np.sqrt(1 + speed(rate, units) * steps / 20)
            rows = {
                "step": steps,
                "epoch": np.zeros(steps.size),
                "loss": loss,
                perturbation.DELTA_LOSS: change(rate, loss),
            }
            config = {"probes": [{"name": "taylor"}, {"name": "snapshot", "steps": setting["shots"]}]}
            self.make(folder, rows, config=config)
            start, direction = np.random.default_rng(seed).standard_normal((2, units))
            direction *= distance(units) * wobble(setting.name, seed) / np.linalg.norm(direction)
            for step in setting["shots"]:
                self.write_snapshot(folder.removeprefix("runs/"), step, start + direction * np.sqrt(step))

    def means(self) -> list[list[float]]:
        """The means over seeds of the conditions of both claims."""
        return [[part.summary.mean for part in claim.parts] for claim in self.judge(perturbation.FIGURE)]

    def test_what_the_paper_expects(self) -> None:
        self.make_networks(distance=lambda units: 1 / units)
        self.assert_verdicts(perturbation.FIGURE, HOLDS, HOLDS)
        perturbations, distances = self.means()
        np.testing.assert_allclose(perturbations, 1)  # log2 of a factor of 2
        np.testing.assert_allclose(distances, np.log2([250 / 64, 1000 / 250]))
        self.assert_drawn(perturbation.FIGURE)

    def test_the_contrary(self) -> None:
        self.make_networks(lambda rate, loss: loss / rate, lambda units: units**2)
        self.assert_verdicts(perturbation.FIGURE, FAILS, FAILS)

    def test_larger_changes_at_another_stage_alone_are_no_larger_perturbation(self) -> None:
        # Over all steps larger learning rates would have the larger changes, because they come to smaller losses.
        self.make_networks(lambda rate, loss: 1 / loss, speed=lambda rate, units: rate / 0.1)
        claim = self.judge(perturbation.FIGURE)[0]
        self.assertIsNot(claim.verdict, HOLDS)
        np.testing.assert_allclose([part.summary.mean for part in claim.parts], 0, atol=0.03)

    def test_distances_are_those_at_equal_loss(self) -> None:
        # After as many steps all would be as far from their start. The loss falls half as fast again with each width.
        speeds = {64: 1.0, 250: 1.5, 1000: 2.25}
        self.make_networks(speed=lambda rate, units: speeds[units])
        self.assertIs(self.judge(perturbation.FIGURE)[1].verdict, HOLDS)
        np.testing.assert_allclose(self.means()[1], np.log2(1.5) / 2, atol=0.03)

    def test_a_common_loss_before_the_first_snapshot_leaves_distances_open(self) -> None:
        self.make_networks(speed=lambda rate, units: 100.0 if units == 1000 else 1.0)
        claim = self.judge(perturbation.FIGURE)[1]
        self.assertIs(claim.verdict, OPEN)
        self.assertIn("before its first snapshot", claim.reason)


if __name__ == "__main__":
    unittest.main()
