#!/usr/bin/env python3
"""Tests of the figures of interventions on runs made up here: python tests/interventions_test.py"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import numpy as np

from run_folders import RunFolders, study

# isort: split
from papers.interventions.memory_rules import ADAPTIVE, HALVINGS, RULES
from papers.interventions.penalty import PENALTY, PIECES, SECOND, share
from sgdscope.catalogue import figures
from sgdscope.claims import Verdict
from sgdscope.figure import Figure
from sgdscope.plots.style import house_style
from sgdscope.runs import open_run
from sgdscope.studies import Setting

HOLDS, FAILS = Verdict.HOLDS, Verdict.FAILS
STEPS = np.arange(60)

Made = dict[str, np.ndarray]


def spread(seed: int) -> float:
    """What a seed adds: a little, else no interval would have a width."""
    return 0.001 * (seed % 5)


class OfFigures(RunFolders):
    def results_of(self, figure: Figure, make: Callable[[Setting, int], Made]) -> Any:
        """The results of a figure whose runs are make(setting, seed)."""
        for setting in study(figure).settings:
            for seed in study(figure).seeds:
                made = make(setting, seed)
                steps = np.arange(len(next(iter(made.values()))))
                columns = {"step": steps, "epoch": steps, "loss": steps, **made}
                self.make(f"runs/{setting.name},seed={seed}", columns, {"step": [0, 59], "epoch": [0, 59]})
        return self.results(figure)

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

    def test_the_picture_has_a_line_for_each_run(self) -> None:
        results = self.results_of(self.FIGURE, self.made(0.9, 0.9, 0.99))
        with house_style():
            picture: Any = self.FIGURE.draw(results)["penalty"]
        for axes in picture.axes:
            self.assertEqual(len(axes.lines), 4 * len(study(self.FIGURE).seeds) + 1)
            self.assertEqual(len(axes.lines[1].get_ydata()), PIECES)


if __name__ == "__main__":
    unittest.main()
