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
    course,
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
    def results_of(self, figure: Figure, make: Callable[[str, int], Made]) -> Any:
        """The results of a figure whose runs are make(name of the setting, seed)."""
        for setting in study(figure).settings:
            for seed in study(figure).seeds:
                columns = {"step": STEPS, "epoch": STEPS, **make(setting.name, seed)}
                self.make(f"runs/{setting.name},seed={seed}", columns, {"step": [0, 89], "epoch": [0, 89]})
        return self.results(figure)

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
        claim = mini_batches.claims(results)[-1]
        self.assertEqual(claim.verdict, OPEN)
        self.assertIn("batch8 ends while its batch sharpness still rises: take more steps", claim.reason)

    def test_the_picture_shows_both_sharpnesses(self) -> None:
        results = self.results_of(self.FIGURE, self.made(self.TOPS, np.full(90, 0.9)))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["mini_batches"]
        for axes, value in zip(picture.axes, (0.6, 0.9)):
            self.assertAlmostEqual(axes.lines[1].get_ydata()[0], value, delta=0.01)


if __name__ == "__main__":
    unittest.main()
