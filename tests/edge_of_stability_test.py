#!/usr/bin/env python3
"""Tests of the figures of edge_of_stability on runs made up here: python tests/edge_of_stability_test.py"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import numpy as np

from run_folders import NAN, RunFolders, study

# isort: split
from papers.edge_of_stability import (
    BATCH,
    THRESHOLD,
    TOP,
    catapult,
    course,
    five_claims,
    full_batch,
    late_share,
    mini_batches,
    share_of_threshold,
)
from sgdscope.catalogue import figures
from sgdscope.claims import TooLittle, Verdict
from sgdscope.figure import Figure
from sgdscope.plots.style import house_style
from sgdscope.runs import open_run

HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN
STEPS = np.arange(90)
LATE = STEPS >= 60
ZIGZAG = np.where(STEPS % 2 == 0, 1.0, -1.0)

Made = dict[str, np.ndarray]


def spread(seed: int) -> float:
    """What a seed adds to a share: a little, else no interval would have a width."""
    return 0.001 * (seed % 5)


def hovering(seed: int, threshold: float = 8.0) -> Made:
    """A largest eigenvalue that rises to the threshold and stays, while the loss falls, not at every step."""
    share = np.minimum(1, 0.3 + STEPS / 60) + spread(seed)
    loss = np.exp(-STEPS / 60) * np.where(LATE, 1 + 0.1 * ZIGZAG, 1)
    return {TOP: share * threshold, THRESHOLD: np.full(90, threshold), "loss": loss}


class OfFigures(RunFolders):
    def results_of(self, figure: Figure, make: Callable[[str, int], Made], size: str = "quick") -> Any:
        """The results of a figure whose runs are make(name of the setting, seed); those that lose their loss diverged."""
        for setting in study(figure, size).settings:
            for seed in study(figure, size).seeds:
                columns = {"step": STEPS, "epoch": STEPS, **make(setting.name, seed)}
                status = "done" if np.isfinite(columns["loss"]).all() else "diverged"
                self.make(
                    f"runs/{setting.name},seed={seed}", columns, {"step": [0, 89], "epoch": [0, 89]},
                    manifest={"status": status},
                )  # fmt: skip
        return self.results(figure, size)

    def verdicts(self, figure: Figure, make: Callable[[str, int], Made]) -> list[Verdict]:
        """One for each claim."""
        return [claim.verdict for claim in figure.claims(self.results_of(figure, make))]


class Shares(RunFolders):
    def test_of_rows_that_have_both_columns(self) -> None:
        top = np.where(STEPS % 10 == 0, 6.0, NAN)
        run = open_run(
            self.make("run", {"step": STEPS, "epoch": STEPS, "loss": STEPS, TOP: top, THRESHOLD: np.full(90, 8.0)})
        )
        step, share = share_of_threshold(run, TOP)
        np.testing.assert_array_equal(step, np.arange(0, 90, 10))
        np.testing.assert_array_equal(share, np.full(9, 0.75))
        self.assertEqual(late_share(TOP)(run).value, 0.75)

    def test_are_missing_where_nothing_is_measured(self) -> None:
        run = open_run(self.make("run", {"step": STEPS, "epoch": STEPS, "loss": STEPS, TOP: np.full(90, NAN)}))
        self.assertRaises(TooLittle, course, run, [TOP])


class FullBatch(OfFigures):
    FIGURE = figures("edge_of_stability")["full_batch"]

    def test_all_claims_hold_at_the_edge(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, lambda name, seed: hovering(seed)), [HOLDS] * 6)

    def test_none_about_the_edge_holds_far_below_it(self) -> None:
        def stable(name: str, seed: int) -> Made:
            flat = np.full(90, 2.0 - spread(seed)) - STEPS / 1000
            return {TOP: flat, THRESHOLD: np.full(90, 8.0), "loss": np.exp(-STEPS / 60) * (1 + spread(seed))}

        rises, plain, momentum, adam, climbs, falls = self.verdicts(self.FIGURE, stable)
        self.assertEqual([rises, plain, momentum, adam, climbs], [FAILS] * 5)
        self.assertEqual(falls, HOLDS)

    def test_a_curvature_that_only_scatters_does_not_rise(self) -> None:
        def noisy(name: str, seed: int) -> Made:
            return {**hovering(seed), TOP: 8 * (0.5 + spread(seed)) * (1 + 0.1 * ZIGZAG)}

        self.assertEqual(self.verdicts(self.FIGURE, noisy)[0], FAILS)

    def test_a_rule_is_judged_by_its_own_runs(self) -> None:
        def but_adam(name: str, seed: int) -> Made:
            made = hovering(seed)
            return {**made, TOP: made[TOP] * 2} if name.startswith("adam") else made

        verdicts = self.verdicts(self.FIGURE, but_adam)
        self.assertEqual(verdicts, [HOLDS, HOLDS, HOLDS, FAILS, HOLDS, HOLDS])

    def test_a_loss_that_has_stopped_to_fall_is_told(self) -> None:
        def stuck(name: str, seed: int) -> Made:
            return {**hovering(seed), "loss": np.exp(np.maximum(0, STEPS - 30) / 600) * (1 + 0.1 * ZIGZAG)}

        self.assertEqual(self.verdicts(self.FIGURE, stuck)[-1], FAILS)

    def test_the_picture_has_a_line_for_each_run(self) -> None:
        results = self.results_of(self.FIGURE, lambda name, seed: hovering(seed))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["full_batch"]
        runs = len(study(self.FIGURE).settings) * len(study(self.FIGURE).seeds)
        self.assertEqual(len(picture.axes[0].lines), runs + 1)  # and the threshold
        self.assertEqual(picture.axes[0].lines[1].get_ydata()[-1], 1 + spread(study(self.FIGURE).seeds[0]))
        self.assertEqual(len(full_batch.CURVES), len(study(self.FIGURE).settings))


class MiniBatches(OfFigures):
    FIGURE = figures("edge_of_stability")["mini_batches"]
    TOPS = {"batch8": 0.6, "batch32": 0.8, "batch128": 1.0}

    def made(self, tops: dict[str, float], batch: np.ndarray) -> Callable[[str, int], Made]:
        """Runs with these shares of the threshold."""
        return lambda name, seed: {
            TOP: np.full(90, 2 * (tops[name] + spread(seed * len(name)))),
            BATCH: 2 * (batch + spread(seed)),
            THRESHOLD: np.full(90, 2.0),
            "loss": STEPS,
        }

    def test_all_claims_hold_where_the_batch_sharpness_is_at_the_edge(self) -> None:
        make = self.made(self.TOPS, np.minimum(1, 0.5 + STEPS / 60))
        self.assertEqual(self.verdicts(self.FIGURE, make), [HOLDS] * 3)

    def test_none_holds_where_all_is_the_other_way(self) -> None:
        make = self.made({"batch8": 1.3, "batch32": 1.2, "batch128": 1.1}, np.full(90, 0.5) - STEPS / 1000)
        self.assertEqual(self.verdicts(self.FIGURE, make), [FAILS] * 3)

    def test_a_batch_sharpness_that_still_rises_decides_nothing(self) -> None:
        results = self.results_of(self.FIGURE, self.made(self.TOPS, 0.2 + STEPS / 300))
        for claim in mini_batches.claims(results):
            self.assertEqual(claim.verdict, OPEN)
            self.assertIn("ends while its batch sharpness still rises: take more steps", claim.reason)

    def test_the_picture_shows_both_sharpnesses(self) -> None:
        results = self.results_of(self.FIGURE, self.made(self.TOPS, np.full(90, 0.9)))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["mini_batches"]
        for axes, value in zip(picture.axes, (0.6, 0.9)):
            self.assertAlmostEqual(axes.lines[1].get_ydata()[0], value, delta=0.01)

    def test_one_batch_size_is_not_compared_with_others(self) -> None:
        results = self.results_of(self.FIGURE, self.made({"batch8": 0.6}, np.full(90, 0.9)), "one_seed")
        claims = list(self.FIGURE.claims(results))
        self.assertEqual([round(claim.parts[0].summary.mean, 1) for claim in claims], [0.4, 0.9])
        self.assertIn("one_seed", self.FIGURE.unjudged)


class Catapult(OfFigures):
    FIGURE = figures("edge_of_stability")["catapult"]

    def curve_of(self, name: str) -> str:
        """Which curve a setting is."""
        return next(curve for curve in catapult.PHASES if study(self.FIGURE).curve(curve)[0].name == name)

    def made(
        self, name: str, seed: int, begins: float = 1.5, ends: float = 0.7, peak: float = 1.0, end: float = -1.0
    ) -> Made:
        """Runs of each kind; of the catapult where its eigenvalue begins and ends, and the powers of ten of its loss."""
        curve = self.curve_of(name)
        top, powers = np.full(90, 0.5) + spread(seed) - STEPS / 2000, -STEPS / 60
        if curve == "catapult":
            top = np.maximum(ends, begins - STEPS / 20) + spread(seed)
            powers = np.interp(STEPS, [0, 10, 40, 89], [0, peak, min(0, end), end]) + spread(seed) * (STEPS > 0)
        if curve == "above":
            top, powers = np.where(STEPS == 0, 5.0, NAN), np.where(STEPS < 80, STEPS / 4 + spread(seed), NAN)
        return {TOP: 4 * top, THRESHOLD: np.where(np.isnan(top), NAN, 4.0), "loss": 0.1 * 10**powers}

    def test_all_claims_hold_where_loss_and_curvature_go_over_the_hill(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made), [HOLDS] * 6)

    def test_none_of_the_catapult_holds_where_the_curvature_stays_and_the_loss_only_falls_a_little(self) -> None:
        def flat(name: str, seed: int) -> Made:
            return self.made(name, seed, ends=1.4, peak=-0.1, end=-0.15)

        verdicts = self.verdicts(self.FIGURE, flat)
        self.assertEqual(verdicts, [FAILS] * 3 + [HOLDS] * 3)

    def test_a_run_that_begins_elsewhere_is_left_out_and_told(self) -> None:
        def elsewhere(name: str, seed: int) -> Made:
            return self.made(name, seed, begins=2.5 if seed == study(self.FIGURE).seeds[0] else 1.5)

        claim = catapult.claims(self.results_of(self.FIGURE, elsewhere))[0]
        self.assertEqual(claim.parts[0].seeds, len(study(self.FIGURE).seeds) - 1)
        self.assertIn("begins at 2.50 of 2/η, not between 1 and 2", " ".join(claim.parts[0].problems))

    def test_a_run_that_comes_back_diverges_not(self) -> None:
        def back(name: str, seed: int) -> Made:
            made = self.made(name, seed)
            return (
                {**made, "loss": 0.1 * 10 ** (-STEPS / 60 - spread(seed))} if self.curve_of(name) == "above" else made
            )

        self.assertEqual(self.verdicts(self.FIGURE, back)[-1], FAILS)

    def test_the_picture_shows_runs_that_diverged(self) -> None:
        results = self.results_of(self.FIGURE, self.made)
        with house_style():
            picture: Any = self.FIGURE.draw(results)["catapult"]
        runs = len(study(self.FIGURE).settings) * len(study(self.FIGURE).seeds)
        self.assertEqual(sum(len(line.get_xdata()) == 90 for line in picture.axes[0].lines), runs)


class FiveClaims(OfFigures):
    FIGURE = figures("edge_of_stability")["five_claims"]
    SHARE = np.minimum(1, 0.4 + STEPS / 100)

    def made(self, at: dict[str, tuple[float, float]], flatter: float = 1.0) -> Callable[[str, int], Made]:
        """Runs whose numbers have one value on the way to the edge, and another at it."""

        def make(name: str, seed: int) -> Made:
            rate = float(name.rpartition("rate")[2])

            def of(key: str) -> np.ndarray:
                return np.where(self.SHARE < 0.9, *at[key]) + spread(seed)

            dot, predicted = np.full(90, 0.01) * rate, 1e-3 * (2 + ZIGZAG)
            penalty = -of("penalty") * dot
            change = dot + penalty
            flow = [f"modified_flow.halved0.{one}" for one in ("gd_to_plain", "gd_to_gd", "flow_error")]
            gap = predicted * of("slope")
            values = {
                TOP: self.SHARE * 2 / rate**flatter, THRESHOLD: np.full(90, 2 / rate**flatter), "loss": np.exp(-STEPS / 60),
                **dict(zip(five_claims.TAYLOR, (dot, penalty, of("beyond") * change, change))),
                **dict(zip(five_claims.GAP, (predicted, gap))),
                **dict(zip(flow, (np.full(90, 0.1), 0.1 * of("left"), np.full(90, 1e-6)))),
            }  # fmt: skip
            values[TOP] = values[TOP] * (1 + spread(seed))
            return values

        return make

    GOOD = {"penalty": (0.1, 0.95), "beyond": (0.01, 0.5), "slope": (1.0, 1.0), "left": (0.2, 0.9)}

    def test_all_claims_hold_where_the_edge_changes_what_it_is_said_to_change(self) -> None:
        self.assertEqual(self.verdicts(self.FIGURE, self.made(self.GOOD)), [HOLDS] * 9)

    def test_none_holds_where_all_is_the_other_way(self) -> None:
        bad = {"penalty": (0.9, 0.5), "beyond": (0.5, 0.01), "slope": (0.5, 2.0), "left": (0.9, 0.2)}
        self.assertEqual(self.verdicts(self.FIGURE, self.made(bad, flatter=-1)), [FAILS] * 9)

    def test_flows_that_are_not_exact_are_not_taken(self) -> None:
        columns = [np.array([1.0, 1.0]), np.array([0.5, 0.5]), np.array([0.01, 0.1])]
        np.testing.assert_array_equal(five_claims.left_of_flow(columns), [0.5, NAN])

    def test_a_step_is_on_the_way_only_until_the_edge_is_reached(self) -> None:
        share = np.where(STEPS < 30, 0.5, np.where(STEPS < 60, 1.0, 0.7))
        run = open_run(self.make("run", {
            "step": STEPS, "epoch": STEPS, "loss": STEPS, TOP: np.where(STEPS % 3 == 0, 4 * share, NAN),
            THRESHOLD: np.where(STEPS % 3 == 0, 4.0, NAN), "x": STEPS,
        }))  # fmt: skip
        _, phase, (x,) = five_claims.course(run, ["x"])
        self.assertEqual([x[phase == one].tolist() for one in ("before", "edge")], [[*range(29)], [*range(30, 58)]])

    def test_the_picture_has_every_step_and_every_rate(self) -> None:
        results = self.results_of(self.FIGURE, self.made(self.GOOD))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["five_claims"]
        seeds = len(study(self.FIGURE).seeds)
        self.assertEqual([len(axes.collections) for axes in picture.axes[1:5]], [seeds] * 4)
        self.assertEqual([len(line.get_xdata()) for line in picture.axes[5].lines], [4] * seeds)


if __name__ == "__main__":
    unittest.main()
