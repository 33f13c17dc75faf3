#!/usr/bin/env python3
"""Tests of scripts/reproduce.sh and its parts on runs made up here: python tests/reproduction_test.py"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from run_folders import NAN, PROGRAM, SEEDS, RunFolders, falling_loss, study

# isort: split
import reproduce
from papers.implicit_regularization import LAST
from papers.inherent_noise import fig1, fig2, fig3, lags
from papers.inherent_noise._sums import sums_from_common_start
from sgdscope import durations as durations_of
from sgdscope import kept, report
from sgdscope import plan as planning
from sgdscope.aggregate import aggregate, dropped_by, measured_values
from sgdscope.catalogue import figures, jobs_of, papers, sizes_of_paper, study_file, study_of, time_of, unique_jobs
from sgdscope.claims import MIN_STEPS, Claim, Late, Measurement, Sample, TooLittle, Verdict, columns_of, over_seeds
from sgdscope.document import Bullets, Code, Heading, Link, Paragraph, Picture, Table, html_page, markdown
from sgdscope.durations import Durations
from sgdscope.errors import Error
from sgdscope.plan import Reproduction, check_data_paths, data_overrides, open_reproduction, plan
from sgdscope.plots.lines import Line, refined_loss
from sgdscope.results import Results, load_outcome
from sgdscope.runs import Run, open_run
from sgdscope.studies import Job, read_json, sizes_of

ROOT = Path(__file__).resolve().parent.parent
STEPS = 400
MANIFEST = {
    "reason": "", "steps_done": STEPS, "wall_seconds": 90.0, "peak_memory_bytes": 3e8, "device": "cpu", "threads": 1,
    "cpu": "a processor", "versions": {"sgdscope": "9.8.7", "commit": "abcdef0", "libtorch": "1.2.3", "blas": "a library"},
}  # fmt: skip
MNIST = {"data": {"name": "mnist", "path": "/some/where"}}


QUICK_SEEDS = study_of("inherent_noise", "fig1", "quick").seeds


class Runs(RunFolders):
    """Runs of the Taylor probe with known numbers, and the results that they make."""

    def make_taylor(
        self,
        folder: str,
        hidden: int = 8000,
        penalty: Sequence[float] = (-4, -2, -2),
        dot: Sequence[float] = (5, 1, 1),
        config: dict | None = None,
        folders: str = "runs",
        odd_steps: int = 0,
    ) -> None:
        """Penalties and dots of updating, recent and long-ago batch, times the reduction in loss, from their lags on.

        At some odd steps late in training each has those of the one before it. Seeds with other numbers of these differ in all numbers.
        """
        step, loss = np.arange(STEPS), falling_loss(STEPS)
        metrics = {"step": step, "epoch": step / 200, "loss": loss}
        for i, (batch, lag) in enumerate((("updating", 0), ("recent", 10), ("long_ago", 300))):
            falls = np.where(step >= lag, -np.diff(loss, append=loss[-1] - 1e-3), NAN)
            own = np.array([dot[i], penalty[i], dot[i] + penalty[i]])
            others = np.array([dot[i - 1], penalty[i - 1], dot[i - 1] + penalty[i - 1]])
            odd = (step >= STEPS * 9 // 10) & (step < STEPS * 9 // 10 + odd_steps)
            for name, one, other in zip(("dot", "penalty", "delta_loss"), own, others):
                values = np.where(odd, other, one) * falls
                metrics[f"taylor.{batch}.{name}"] = values
                metrics[f"taylor.{batch}.cum_{name}"] = np.where(step >= lag, np.nancumsum(values), NAN)
        at = np.arange(0, STEPS, 20)
        evaluations = {"step": at, "epoch": at / 200, "train_loss": loss[at]}
        self.make(f"{folders}/{folder}", metrics, evaluations, hidden, {**MNIST, **(config or {})}, MANIFEST)

    def results_of(self, *jobs: tuple[str, int]) -> Results:
        """What came of jobs, given by their names and seeds."""
        made = [Job(name, "configs/inherent_noise/fig3_fc64.json", seed) for name, seed in jobs]
        return Results(study(fig3.FIGURE), [load_outcome(job, self.root / "runs") for job in made])

    def refused(self, call: Callable[[], object], status: int = 2) -> str:
        """The message of the error that a call must raise."""
        with self.assertRaises(Error) as caught:
            call()
        self.assertEqual(caught.exception.status, status, caught.exception)
        return str(caught.exception)


class Aggregation(Runs):
    def make_accuracy(self, label: str, *accuracies: float) -> Run:
        """A run with evaluations of the test set."""
        steps = list(range(len(accuracies)))
        evaluations = {"step": steps, "epoch": steps, "test_accuracy": list(accuracies)}
        run = open_run(self.make(label, {"step": steps, "epoch": steps, "loss": steps}, evaluations))
        run.label = label
        return run

    def test_mean_and_sample_deviation(self) -> None:
        found = aggregate({"1": 1.0, "2": 2.0, "3": 6.0})
        self.assertEqual((found.mean, found.kept, found.dropped), (3.0, ("1", "2", "3"), ()))
        self.assertAlmostEqual(found.deviation, math.sqrt(7), places=14)
        self.assertTrue(math.isnan(aggregate({"1": 5.0}).deviation))

    def test_measured_values_leave_out_empty_cells(self) -> None:
        run = self.make_accuracy("a", 0.1, NAN, 0.7, NAN)
        self.assertEqual(measured_values(run, "eval.test_accuracy").tolist(), [0.1, 0.7])
        nothing = self.make_accuracy("b", NAN)
        message = self.refused(lambda: measured_values(nothing, "eval.test_accuracy"), status=3)
        self.assertIn("no measured value", message)

    def test_the_best_of_several_names_those_dropped(self) -> None:
        worth = {"a": 0.9, "b": 0.2, "c": 0.7, "d": 0.7, "e": -math.inf}
        values = {"a": 1.0, "b": 20.0, "c": 300.0, "d": 4000.0, "e": NAN}
        for count, dropped, expected in (
            (4, ("e",), 4321 / 4),
            (3, ("e", "b"), 4301 / 3),
            (2, ("e", "b", "d"), 301 / 2),  # of equal ones the first
            (1, ("e", "b", "d", "c"), 1.0),
        ):
            found = aggregate(values, dropped_by(count, worth))
            self.assertEqual((found.dropped, found.mean), (dropped, expected))

    def test_more_than_there_are_and_nothing_at_all_are_refused(self) -> None:
        self.assertIn("the best 2 of 1 runs", self.refused(lambda: dropped_by(2, {"a": 0.5}), status=3))
        self.assertIn("no value", self.refused(lambda: aggregate({"a": 1.0}, ["a"]), status=3))


class Verdicts(Runs):
    def test_only_steps_at_which_all_columns_were_measured(self) -> None:
        steps = np.arange(3 * MIN_STEPS)
        a, b = np.where(steps % 2 == 0, steps, NAN), np.where(steps >= MIN_STEPS, -steps, NAN)
        run = open_run(self.make("holes", {"step": steps, "epoch": steps, "loss": steps, "a": a, "b": b}))
        found = columns_of(run, ["a", "b"])
        self.assertEqual([column.tolist() for column in found], [[*range(50, 150, 2)], [*range(-50, -150, -2)]])
        with self.assertRaisesRegex(TooLittle, "holes measures it at 49 steps, of which it takes 50"):
            columns_of(run, ["a", "b"], first=MIN_STEPS + 1)
        with self.assertRaises(TooLittle):
            columns_of(run, ["a", "b"], end=3 * MIN_STEPS - 2)

    def test_seeds_with_too_little_are_left_out_and_named(self) -> None:
        def of(run: object) -> Sample:
            if run == "short":
                raise TooLittle("short has 3 steps")
            return Sample(7)

        found = over_seeds({"1": ["long"], "2": ["short"]}, of, ["3: failed"])
        self.assertEqual(
            (list(found.samples), found.problems),
            (["1"], ("3: failed", "1 of 2 seeds give no number: short has 3 steps")),
        )

    def test_seeds_that_give_no_number_leave_the_claim_open(self) -> None:
        def of(value: float) -> Sample:
            if value > 9:
                raise TooLittle("it has no late part")
            return Sample(value)

        for values, verdict in (([7.0] * 6, Verdict.HOLDS), ([7.0] * 5 + [10.0], Verdict.OPEN)):
            measured = over_seeds({str(i): [value] for i, value in enumerate(values)}, of)
            claim = Claim("It is so.", "page 1", "a number", measured, 0.0, "because")
            self.assertEqual((claim.verdict, len(measured.samples)), (verdict, values.count(7.0)))
        self.assertEqual(claim.reason, "1 of 6 seeds give no number: it has no late part")


class InherentNoise(Runs):
    def verdicts(self, claims: Sequence[Claim]) -> list[str]:
        return [claim.verdict.value for claim in claims]

    def test_fig1_and_fig2_on_known_penalties_and_dots(self) -> None:
        for seed in SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", penalty=(-4, -2, -2), dot=(5, 1, 1))
        of_seeds = [("fc8000", seed) for seed in SEEDS]
        claims = fig1.claims(self.results_of(*of_seeds))
        self.assertEqual([claim.measured.summary.mean for claim in claims], [1.0, 2.0, 1.0, 1.0])
        # Equal penalties are in no order: a share of 1 comes from 'at least', the ratio tells.
        self.assertEqual(self.verdicts(claims), ["holds", "holds", "holds", "not decided"])
        claims = fig2.claims(self.results_of(*of_seeds))
        self.assertEqual(self.verdicts(claims), ["holds"] * 4)
        self.assertEqual([sample.steps for sample in claims[2].measured.samples.values()], [STEPS - 300] * len(SEEDS))

    def test_fig1_and_fig2_the_other_way_round(self) -> None:
        for seed in SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", penalty=(-1, -2, -4), dot=(1, 2, 3))
        results = self.results_of(*[("fc8000", seed) for seed in SEEDS])
        self.assertEqual(self.verdicts(fig1.claims(results)), ["does not hold"] * 4)
        self.assertEqual(self.verdicts(fig2.claims(results)), ["does not hold"] * 4)

    def test_steps_of_one_run_never_stand_for_seeds(self) -> None:
        self.make_taylor("fc8000,seed=1", penalty=(-4, -2, -2))
        for claim in fig1.claims(self.results_of(("fc8000", 1))):
            self.assertEqual((claim.verdict, "one seed" in claim.reason), (Verdict.OPEN, True))

    def test_fig3_on_sums_that_grow_with_the_reduction_in_loss(self) -> None:
        # The sum of a network is its factor times the reduction, from where all have begun.
        for seed in (1, 2):
            for units, factor in ((64, 1), (2000, 2), (8000, 4)):
                penalty = (-factor, -factor, factor)
                self.make_taylor(f"fc{units},seed={seed}", units, penalty, dot=(2 * factor, factor, factor))
        results = self.results_of(*[(f"fc{units}", seed) for units in (64, 2000, 8000) for seed in (1, 2)])
        claims = {(claim.quantity[:5], claim.says): claim for claim in fig3.claims(results)}
        self.assertEqual(len(claims), 14)
        shares = {says: claim for (kind, says), claim in claims.items() if kind == "share"}
        leads = {says: claim for (kind, says), claim in claims.items() if kind != "share"}
        for says, share in shares.items():
            sign = "-" if "long-ago batch" in says and "penalties" in says or "risen" in says else "+"
            for condition, part in share.conditions.items():  # of the range, and of the steps
                self.assertEqual(part.summary.mean, 1.0 if sign == "+" else 0.0, f"{says} {condition}")
        begin = {"updating": 0, "recent": 10, "long-ago": 300}
        loss = falling_loss(STEPS)
        for batch, first in begin.items():
            (lead,) = [claim for says, claim in leads.items() if "first order" in says and f"the {batch} batch" in says]
            factor = 2 if batch == "updating" else 1  # of 2000 over 64 units; of 8000 over 2000 it is twice that
            reduced = loss[first] - loss[380]  # the last evaluation
            self.assertAlmostEqual(lead.parts[0].summary.mean, factor * reduced, delta=0.05 * factor * reduced)

    def test_fig3_counts_sums_from_where_all_networks_have_begun(self) -> None:
        for units, factor in ((64, 2), (2000, 1)):
            self.make_taylor(f"fc{units},seed=1", units, dot=(factor,) * 3)
        runs = [open_run(str(self.root / "runs" / f"fc{units},seed=1")) for units in (64, 2000)]
        loss = runs[1].metrics["loss"]
        runs[1].metrics.values["loss"] = loss  # the same loss: both begin at the same reduction
        lines = sums_from_common_start(runs, "taylor.recent.cum_dot")
        self.assertEqual(lines[0].x[0], lines[1].x[0])
        self.assertEqual((lines[0].y[0], lines[1].y[0]), (0, 0))
        runs[0].metrics.values["taylor.recent.cum_dot"] = np.where(
            np.arange(STEPS) >= 100, runs[0].metrics["taylor.recent.cum_dot"], NAN
        )
        lines = sums_from_common_start(runs, "taylor.recent.cum_dot")
        reduced = refined_loss(runs[0]).reduction(np.array([100.0]))[0]
        self.assertAlmostEqual(lines[1].x[0], reduced, places=12)
        self.assertEqual(lines[1].y[0], 0)
        self.assertLess(lines[1].y[-1], lines[0].y[-1])

    def test_fig3_without_a_common_range_is_not_decided(self) -> None:
        for units in (64, 2000, 8000):
            self.make_taylor(f"fc{units},seed=1", units, config={"seed": 1})
        late = self.root / "runs" / "fc8000,seed=1" / "metrics.csv"
        rows = [line.split(",") for line in late.read_text().splitlines()]
        column = rows[0].index("taylor.updating.cum_dot")
        for row in rows[1:-1]:
            row[column] = ""
        late.write_text("".join(",".join(row) + "\n" for row in rows))
        results = self.results_of(("fc64", 1), ("fc2000", 1), ("fc8000", 1))
        claim = fig3.claims(results)[0]
        self.assertEqual(claim.verdict, Verdict.OPEN)
        self.assertTrue("no reduction in loss" in claim.reason or "has no taylor" in claim.reason, claim.reason)
        for picture in fig3.draw(results).values():  # the panels of what all have gone through are there all the same
            drawn = [len([line for line in axes.lines if len(line.get_xdata()) > 2]) for axes in picture.get_axes()]
            self.assertEqual(drawn, [3] * 6 + [0, 3, 3])
            self.assertIn("no stage of training", picture.get_axes()[6].texts[0].get_text())

    def test_lags_come_from_the_config_and_the_claim_is_about_each(self) -> None:
        probes = [
            {"label": "near", "batches": ["updating", "recent", "long_ago"], "recent_lag": 1, "long_ago_lag": 3},
            {"label": "far", "batches": ["long_ago"], "recent_lag": 5, "long_ago_lag": 30},
        ]
        step = np.arange(300)
        columns = {
            "near.updating.penalty": np.full(300, -2.0),
            "near.recent.penalty": np.where(step % 10 == 0, -3.0, -1.0),  # larger at a tenth of the steps
            "near.long_ago.penalty": np.where(step % 4 == 0, -3.0, -0.5),  # at a fourth
            "far.long_ago.penalty": np.full(300, -0.1),
        }
        for seed in SEEDS:
            self.make(
                f"runs/lags_fc64,seed={seed}", {"step": step, "epoch": step, "loss": step, **columns},
                config={"probes": probes}, manifest=MANIFEST,
            )  # fmt: skip
        run = open_run(str(self.root / "runs" / "lags_fc64,seed=1"))
        self.assertEqual(list(lags.lag_columns(run)), [0, 1, 3, 30])
        self.assertEqual(lags.share_at(1, (30, 300))(run).value, 0.9)
        self.assertEqual(lags.share_at(3, (30, 300))(run).value, 203 / 270)  # 68 of 270 steps are multiples of 4
        self.assertEqual(lags.share_at(3, (3, 300))(run).steps, 297)
        # That of 3 steps is the larger one at a fourth of the steps, but for those at which both are as large.
        self.assertEqual(
            lags.share_of_pair(1, 3, (30, 300))(run).value, np.mean(~(step[30:] % 4 == 0) | (step[30:] % 20 == 0))
        )
        self.assertEqual(lags.share_of_pair(3, 30, (30, 300))(run).value, 1.0)
        claims = lags.claims(self.results_of(*[("lags_fc64", seed) for seed in SEEDS]))
        self.assertEqual(claims[0].verdict, Verdict.HOLDS)
        self.assertIn("steps 30 to 299", claims[0].quantity)

    def test_runs_that_are_missing_or_failed_leave_claims_undecided(self) -> None:
        self.make_taylor("fc8000,seed=2")
        manifest = self.root / "runs" / "fc8000,seed=2" / "manifest.json"
        manifest.write_text(json.dumps({**MANIFEST, "status": "diverged", "reason": "the loss is nan at step 7"}))
        results = self.results_of(("fc8000", 1), ("fc8000", 2))
        claims = [*fig1.claims(results), *fig2.claims(results), *fig3.claims(results), *lags.claims(results)]
        self.assertEqual({claim.verdict for claim in claims}, {Verdict.OPEN})
        self.assertEqual(
            claims[0].reason, "1 of 1 seeds give no number: fc8000,seed=2: diverged (the loss is nan at step 7)"
        )
        with self.assertRaisesRegex(TooLittle, "no run of fc8000 is finished"):
            fig1.draw(results)

    def test_a_run_that_diverged_leaves_claims_open_and_one_that_is_missing_does_not(self) -> None:
        for seed in range(1, 7):
            self.make_taylor(f"fc8000,seed={seed}", penalty=(-4, -2, -2))
        of_seeds = [("fc8000", seed) for seed in range(1, 8)]  # the seventh was not run
        claims = fig1.claims(self.results_of(*of_seeds))
        self.assertEqual((claims[0].verdict, claims[0].measured.seeds), (Verdict.HOLDS, 6))
        worlds = self.results_of(*of_seeds).of_worlds(lambda run: [1.0, 0.0, 0.1, 0.2], "fc8000")
        self.assertEqual((worlds.censored, len(worlds.problems)), ("", 1))
        manifest = self.root / "runs" / "fc8000,seed=6" / "manifest.json"
        manifest.write_text(json.dumps({**MANIFEST, "status": "diverged", "reason": "the loss is nan"}))
        results = self.results_of(*of_seeds)
        claim = fig1.claims(results)[0]
        self.assertEqual((claim.verdict, claim.measured.seeds), (Verdict.OPEN, 5))
        self.assertIn("1 of 6 seeds give no number: fc8000,seed=6: diverged", claim.reason)
        for measured in (
            results.of_worlds(lambda run: [1.0, 0.0, 0.1, 0.2], "fc8000"),
            results.above_end(lambda run: Line(np.arange(20.0), np.arange(20.0)), "fc8000"),
        ):
            self.assertIn("1 of 6 seeds give no number", measured.censored)

    def test_one_seed_that_failed_does_not_hide_another(self) -> None:
        self.make_taylor("fc8000,seed=1")
        claim = fig1.claims(self.results_of(("fc8000", 1), ("fc8000", 2)))[1]
        self.assertEqual((claim.measured.seeds, claim.measured.problems), (1, ("fc8000,seed=2: not run yet",)))

    def test_refined_loss_is_the_batches_before_the_second_evaluation(self) -> None:
        step, loss = np.arange(100), falling_loss(100)
        evaluations = {"step": [0, 50, 99], "epoch": [0, 0, 0], "train_loss": [9.0, 2.0, 1.0]}
        curve = refined_loss(open_run(self.make("refined", {"step": step, "epoch": step, "loss": loss}, evaluations)))
        self.assertEqual(curve.steps.tolist(), [*range(50), 50, 99])
        self.assertEqual((curve.losses[0], curve.losses[50], curve.losses[51]), (9.0, 2.0, 1.0))
        self.assertAlmostEqual(curve.losses[40], np.mean(loss[28:53]), places=12)  # 25 rows around it
        self.assertAlmostEqual(curve.losses[4], np.mean(loss[2:7]), places=12)  # narrower before


class Plans(Runs):
    def setUp(self) -> None:
        super().setUp()
        self.data = self.root / "a \"b' c"
        self.data.mkdir()
        (self.data / "train-images-idx3-ubyte.gz").touch()
        (self.data / "data_batch_1.bin").touch()
        self.out = self.root / "out $HOME 'x'"

    def plan(self, target: str = "inherent_noise/fig1", size: str = "quick") -> list[list[str]]:
        """The words of each job."""
        return [shlex.split(line) for line in plan(target, size, self.out, [self.data]).read_text().splitlines()]

    def test_figures_share_runs_and_the_longest_come_first(self) -> None:
        (fc8000,) = {tuple(words) for words in self.plan("inherent_noise/fig1") if words[-3] == "11"}
        words = self.plan("inherent_noise")
        self.assertEqual([tuple(job) for job in words].count(fc8000), 1)
        outputs = [job[-1] for job in words]
        self.assertEqual(len(set(outputs)), len(outputs))
        self.assertEqual([Path(output).name for output in outputs[:2]], ["lags_fc2000,seed=1", "fc8000,seed=11"])
        state = json.loads((self.out / "reproduction.json").read_text())
        self.assertEqual(state["figures"][0], "fig1")
        self.assertLessEqual({"fig1", "fig2", "fig3", "lags"}, set(state["figures"]))

    def test_calls_at_the_same_time_do_not_forget_one_another(self) -> None:
        names = ("fig1", "fig2", "fig3", "lags", "sequential")
        calls = [threading.Thread(target=self.plan, args=(f"inherent_noise/{name}",)) for name in names]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        state = json.loads((self.out / "reproduction.json").read_text())
        self.assertEqual(set(state["figures"]), set(names))
        self.assertEqual(set(state["runs"]), {job.folder for job in jobs_of("inherent_noise", names, "quick")})

    def test_a_refused_plan_leaves_no_folder(self) -> None:
        with self.assertRaises(Error):
            plan("inherent_noise/fig1", "quick", self.out, [self.root / "absent"])
        self.assertFalse(self.out.exists())

    def test_a_figure_that_was_not_asked_for_is_no_absent_data(self) -> None:
        self.plan("inherent_noise/fig1")
        of_all = Reproduction(
            self.out, "inherent_noise", "quick", ["fig1", "sequential"], open_reproduction(self.out).runs
        )
        report.write_report(of_all)
        text = (self.out / "report.md").read_text()
        self.assertNotIn("was not found", text)
        self.assertIn("runs were not asked for in this folder yet: scripts/reproduce.sh makes them.", text)
        synthetic = Reproduction(self.root / "none", "implicit_regularization", "quick", ["modified_flow"], {})
        synthetic.folder.mkdir()
        report.write_report(synthetic)  # of no data set that is looked for

    def test_words_survive_quotes_and_spaces(self) -> None:
        words = self.plan()[0]
        self.assertEqual(words[:3], ["sgdscope", "run", "configs/inherent_noise/fig3_fc8000.json"])
        self.assertIn(f"data.path={self.data}", words)
        self.assertEqual(words[-4:], ["--seed", "11", "--output", str(self.out / "runs" / "fc8000,seed=11")])

    def test_quick_is_shorter_and_full_is_the_config(self) -> None:
        self.assertIn("epochs=1", self.plan()[0])
        self.out = self.root / "full"
        full = self.plan(size="full")
        self.assertEqual([word for word in full[0] if "=" in word and "seed=" not in word], [f"data.path={self.data}"])
        self.assertGreater(len(full), 2)

    def test_a_device_is_part_of_every_job(self) -> None:
        jobs = plan("inherent_noise/fig1", "quick", self.out, [self.data], "cuda").read_text().splitlines()
        self.assertEqual([shlex.split(job)[-4:-2] for job in jobs], [["--device", "cuda"]] * 5)

    def test_paths_in_the_repository_are_relative_to_it(self) -> None:
        with mock.patch.object(planning, "ROOT", self.root):
            self.assertEqual(planning._from_root(self.root / "runs" / "x"), "runs/x")
        self.assertEqual(planning._from_root(self.root / "x"), str(self.root / "x"))

    def test_different_jobs_of_one_name_are_refused(self) -> None:
        one, other = Job("a", "c.json", 1), Job("a", "c.json", 1, ("epochs=2",))
        self.assertEqual(unique_jobs([one, Job("a", "c.json", 1), Job("b", "c.json", 1)])[0], one)
        self.assertIn("two different jobs", self.refused(lambda: unique_jobs([one, other])))

    def test_a_size_is_one_of_the_studies(self) -> None:
        self.assertIn("did you mean quick", self.refused(lambda: self.plan(size="quik")))
        self.assertIn("known names: quick, desk, full", self.refused(lambda: self.plan("inherent_noise", size="huge")))
        self.assertFalse(self.out.exists())

    def test_short_words_for_sizes(self) -> None:
        for words, size in (([], "full"), (["--quick"], "quick"), (["--desk"], "desk"), (["--size", "mine"], "mine")):
            self.assertEqual(reproduce.parse_arguments(["plan", "inherent_noise", *words]).size, size)

    def test_a_reproduction_from_before_sizes_had_names_goes_on(self) -> None:
        before = self.plan()
        state = json.loads((self.out / "reproduction.json").read_text())
        state["quick"] = state.pop("size") == "quick"
        (self.out / "reproduction.json").write_text(json.dumps(state))
        self.assertEqual(self.plan(), before)
        self.assertEqual(json.loads((self.out / "reproduction.json").read_text())["size"], "quick")

    def test_a_run_is_never_taken_for_another(self) -> None:
        self.plan()
        self.data = self.root / "elsewhere"
        self.data.mkdir()
        (self.data / "train-images.idx3-ubyte").touch()
        before = (self.out / "reproduction.json").read_bytes()
        message = self.refused(self.plan)
        self.assertIn("elsewhere", message)
        self.assertIn("\n  choose another folder with --out: one that is not there yet", message)
        self.assertNotIn("remove", message)
        self.assertEqual((self.out / "reproduction.json").read_bytes(), before)

    def test_folders_that_are_not_ours_are_left_alone(self) -> None:
        self.out.mkdir()
        self.assertEqual(len(self.plan()), 5)  # an empty one is taken
        message = self.refused(lambda: self.plan(size="full"))
        self.assertIn("holds the quick size of inherent_noise, not the full one", message)
        (self.out / "reproduction.json").write_text("{")
        self.assertIn("is not what scripts/reproduce.sh wrote", self.refused(self.plan, status=3))
        (self.out / "reproduction.json").unlink()
        message = self.refused(self.plan)
        self.assertIn("it has no reproduction.json\n  choose another folder with --out: one that is not", message)
        self.assertNotIn("remove", message)
        self.out = self.data / "train-images-idx3-ubyte.gz"
        self.assertIn("is a file", self.refused(self.plan))
        self.out = self.data / "train-images-idx3-ubyte.gz" / "below"
        self.assertIn("choose another", self.refused(self.plan, status=5))

    def test_nobody_who_reads_the_list_is_no_error(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts/reproduce.py"), "list"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        self.assertEqual((done.returncode, done.stderr), (141, ""))

    def test_names_that_do_not_exist(self) -> None:
        self.assertIn("did you mean inherent_noise/fig3", self.refused(lambda: self.plan("inherent_noise/fgi3")))
        self.assertIn("did you mean inherent_noise", self.refused(lambda: self.plan("inherent_nose")))
        for target in ("inherent_noise/", "nothing/like/it", "../figures"):
            self.assertIn("--list", self.refused(lambda target=target: self.plan(target)))
        self.assertFalse(self.out.exists())

    def test_data_are_looked_for_in_order(self) -> None:
        config = {"data": {"name": "mnist", "path": "configured"}}
        with (
            mock.patch.object(planning, "ROOT", self.root),
            mock.patch.object(planning, "STAND_INS", {"mnist": ("fashion_mnist", ("standing_in",))}),
        ):
            found = []
            message = self.refused(lambda: data_overrides(config, []), status=3)
            for folder in ("standing_in", "configured", "data/mnist"):
                (self.root / folder).mkdir(parents=True)
                (self.root / folder / "train-images-idx3-ubyte").touch()
                found += data_overrides(config, [])
            self.assertEqual(found, ["data.name=fashion_mnist", "data.path=configured", "data.path=data/mnist"])
            self.assertEqual(data_overrides(config, [self.root / "configured"]), ["data.path=configured"])
        self.assertIn("scripts/download_data.sh mnist", message)
        self.assertIn("--data-path", message)
        self.assertEqual(data_overrides({"data": {"name": "synthetic"}}, [self.data]), [])

    def test_each_data_set_is_taken_from_its_own_folder(self) -> None:
        images, digits = self.root / "images", self.root / "digits"
        for folder, file in ((images, "data_batch_1.bin"), (digits, "train-images-idx3-ubyte")):
            folder.mkdir()
            (folder / file).touch()
        cifar10 = {"data": {"name": "cifar10"}}
        split = [
            'data.train_files=["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin"]',
            'data.test_files=["data_batch_5.bin"]',
        ]
        self.assertEqual(data_overrides(cifar10, [digits, images]), [f"data.path={images}", *split])
        self.assertEqual(data_overrides({"data": {"name": "mnist"}}, [images, digits]), [f"data.path={digits}"])
        own = {"data": {"name": "cifar10", "test_files": ["data_batch_2.bin"]}}
        self.assertEqual(data_overrides(own, [images]), [f"data.path={images}"])
        (images / "test_batch.bin").touch()
        self.assertEqual(data_overrides(cifar10, [images]), [f"data.path={images}"])
        with mock.patch.object(planning, "ROOT", self.root):
            message = self.refused(lambda: data_overrides(cifar10, [digits]), status=3)
        self.assertIn("cifar10: not found in data/cifar10\n", message)
        self.assertIn("scripts/download_data.sh cifar10", message)

    def test_a_size_with_data_of_its_own_is_given_their_folder(self) -> None:
        images, digits = self.root / "images", self.root / "digits"
        for folder, file in ((images, "data_batch_1.bin"), (digits, "train-images-idx3-ubyte")):
            folder.mkdir()
            (folder / file).touch()
        for paths in ([digits, images], [images]):
            out = self.root / f"out{len(paths)}"
            jobs = plan("edge_of_stability/full_batch", "full", out, paths).read_text().splitlines()
            for job in jobs:
                sets = [word for word in shlex.split(job) if word.startswith("data")]
                self.assertEqual(sets[:2], ['data={"name": "cifar10", "train_limit": 5000}', f"data.path={images}"])
        with mock.patch.object(planning, "ROOT", self.root):
            message = self.refused(lambda: plan("edge_of_stability/full_batch", "full", self.out, [digits]), status=3)
        self.assertIn("there is no file data_batch_1.bin", message)
        own = Job("own", str(ROOT / "configs/coherent_gradients/convnet.json"), 1,
                  ("data.name=cifar10", 'data.test_files=["data_batch_2.bin"]', "data.label_noise.fraction=0.5"))  # fmt: skip
        data = planning.config_of(own)["data"]
        self.assertEqual((data["name"], data["label_noise"]["fraction"]), ("cifar10", 0.5))
        self.assertEqual(data_overrides({"data": data}, [images]), [f"data.path={images}"])

    def test_runs_without_their_data_are_left_out(self) -> None:
        noted = io.StringIO()
        with mock.patch.dict(planning.LOOKED_FOR, {"cifar10": "no_such_file"}):
            with contextlib.redirect_stderr(noted):
                configs = {job[2] for job in self.plan("inherent_noise")}
            message = self.refused(lambda: plan("inherent_noise/fig5", "quick", self.root / "no_data", []), status=3)
        self.assertIn("configs/inherent_noise/fig3_fc8000.json", configs)
        self.assertNotIn("configs/inherent_noise/fig5_resnet18.json", configs)
        self.assertEqual(noted.getvalue().count("cifar10: not found"), 1)
        self.assertIn("the runs that need it are left out", noted.getvalue())
        self.assertIn("cifar10: not found", message)
        state = json.loads((self.out / "reproduction.json").read_text())
        planned = {shlex.split(words)[2] for words in state["runs"].values()}
        self.assertEqual(planned, configs)
        self.assertIn("configs/inherent_noise/fig5_resnet18.json", {job[2] for job in self.plan("inherent_noise")})

    def test_a_named_folder_without_any_of_the_data_is_refused(self) -> None:
        both = [{"data": {"name": name}} for name in ("mnist", "cifar10", "synthetic")]
        check_data_paths([self.data], both)
        check_data_paths([self.root], both[2:])
        of_another_paper = self.root / "cifar100"
        of_another_paper.mkdir()
        (of_another_paper / "train.bin").touch()
        check_data_paths([of_another_paper, self.data], both)
        self.refused(lambda: check_data_paths([of_another_paper], both), status=3)
        message = self.refused(lambda: check_data_paths([self.data, self.root], both), status=3)
        self.assertIn("no file train-images*idx3-ubyte* or data_batch_1.bin", message)
        self.assertIn("scripts/download_data.sh cifar10", message)
        (self.data / "train-images-idx3-ubyte.gz").unlink()
        self.assertIn("no file train-images", self.refused(self.plan, status=3))  # CIFAR-10 alone is of no use to it
        self.assertFalse(self.out.exists())


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


class Documents(Runs):
    def test_every_block_in_both_forms(self) -> None:
        picture = self.root / "p.png"
        picture.write_bytes(b"\x89PNG")
        blocks = [
            Heading(2, "A & B", "here"),
            Paragraph("1 < 2 in `code<>`"),
            Bullets(["one", "two"]),
            Table(["x", "y"], [["|a|", Verdict.FAILS], [Link("there", "here"), "<b>"]]),
            Picture(picture, "what it shows"),
            Code(["run 'a b' <c>"]),
        ]
        self.assertEqual(
            markdown(blocks),
            '<a id="here"></a>\n\n## A & B\n\n1 < 2 in `code<>`\n\n- one\n- two\n\n| x | y |\n| --- | --- |\n'
            "| \\|a\\| | **does not hold** |\n| [there](#here) | <b> |\n\n![p](p.png)\n\n*what it shows*\n\n"
            "```sh\nrun 'a b' <c>\n```\n",
        )
        text = html_page("T & U", blocks)
        for part in (
            "<title>T &amp; U</title>", '<h2 id="here">A &amp; B</h2>', "<p>1 &lt; 2 in <code>code&lt;&gt;</code></p>",
            "<ul><li>one</li><li>two</li></ul>", '<td>|a|</td><td><span class="verdict fails">does not hold</span></td>',
            '<td><a href="#here">there</a></td><td>&lt;b&gt;</td>', 'src="data:image/png;base64,iVBORw=="',
            "<figcaption>what it shows</figcaption>", "<pre>run &#x27;a b&#x27; &lt;c&gt;</pre>",
        ):  # fmt: skip
            self.assertIn(part, text)


class Reports(Runs):
    def setUp(self) -> None:
        super().setUp()
        self.data = self.root / "data"
        self.data.mkdir()
        (self.data / "train-images-idx3-ubyte.gz").touch()
        self.out = self.root / "out"
        self.call("plan", "inherent_noise/fig1", "--quick", "--out", str(self.out), "--data-path", str(self.data))

    def call(self, *arguments: str) -> str:
        """What reproduce.py prints, which must succeed."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = reproduce.main(arguments)
        self.assertEqual((status, errors.getvalue()), (0, ""))
        return out.getvalue()

    def test_what_a_report_says(self) -> None:
        fashion = {"data": {"name": "fashion_mnist", "path": "/fashion"}}
        for seed in QUICK_SEEDS:
            self.make_taylor(
                f"fc8000,seed={seed}", penalty=(-4, -2, -3), config=fashion, folders="out/runs", odd_steps=seed
            )
        printed = self.call("report", str(self.out))
        self.assertIn("inherent_noise/fig1: 2 holds, 2 does not hold, 0 not decided", printed)
        text, page = (self.out / "report.md").read_text(), (self.out / "report.html").read_text()
        visible = Page(page).text
        for part in (
            "Fashion-MNIST in", "Fashion-MNIST stands in for MNIST", "9.8.7", "1.2.3", "a library", "a processor",
            "5 of 5 finished, 7.5 min in all", "epochs=1", "fc8000,seed=12", "AlexNet", "section 3, figure 1", "does not hold",
            "5 seeds of 390 steps", "What would decide", "half: no order", "Quick: ", "1 thread a run", "90 s", "300 MB",
            "By the level alone up to 0.05 of 1 judged figures", "4 would stay so after Holm's procedure over all 4",
            "The border itself in place of a margin of 0.05 about it; known then were the results of size quick with seeds 1 to 5",
        ):  # fmt: skip
            self.assertIn(part, text)
            self.assertIn(part, visible)
        self.assertTrue((self.out / "fig1.png").read_bytes().startswith(b"\x89PNG"))
        self.assertTrue((self.out / "fig1.pdf").read_bytes().startswith(b"%PDF"))
        rows = list(csv.DictReader((self.out / "claims.csv").read_text().splitlines()))
        self.assertEqual([row["verdict"] for row in rows], ["holds", "holds", "does not hold", "does not hold"])
        falls = -np.diff(falling_loss(STEPS), append=falling_loss(STEPS)[-1] - 1e-3)[300:]  # from the long-ago lag on
        odd = np.array([falls[60 : 60 + seed].sum() for seed in QUICK_SEEDS])
        others = falls.sum() - odd
        ratio = np.mean((2 * others + 4 * odd) / (3 * others + 2 * odd))  # but for the odd steps 2/3
        self.assertAlmostEqual(float(rows[3]["mean"]), ratio, places=12)
        references = Page(page).references
        self.assertTrue(any(reference.startswith("data:image/png;base64,") for reference in references))
        for reference in references:
            self.assertRegex(reference, "^(data:image/png;base64,|#)")
        self.assertNotRegex(page, r"https?://|url\(|@import|<script|<link")

    def test_a_report_says_that_the_test_set_is_a_part_of_the_training_set(self) -> None:
        said = "CIFAR-10's test batch was not found: batches 1 to 4 are trained on, batch 5 is the test set."
        (self.data / "data_batch_1.bin").touch()
        for out, test in ((self.root / "split", ["data_batch_5.bin"]), (self.root / "whole", [])):
            self.call(
                "plan", "inherent_noise/fig2_cifar10", "--quick", "--out", str(out), "--data-path", str(self.data)
            )
            config = {"data": {"name": "cifar10", "path": "/images", "test_files": test}}
            self.make_taylor("resnet18,seed=1", config=config, folders=f"{out.name}/runs")
            self.call("report", str(out))
            rows = list(csv.DictReader((out / "claims.csv").read_text().splitlines()))
            self.assertTrue(rows)
            self.assertEqual({(row["deviation"], row["low"], row["verdict"]) for row in rows}, {("", "", "")})
            text = (out / "report.md").read_text()
            self.assertEqual((said in text, "CIFAR-10 in `/images`" in text), (bool(test), True))

    def test_a_sizes_own_data_stand_in_for_none(self) -> None:
        out = self.root / "of_images"
        (self.data / "data_batch_1.bin").touch()
        self.call("plan", "edge_of_stability/full_batch", "--out", str(out), "--data-path", str(self.data))
        names = ("step", "epoch", "loss", "hessian.eigenvalue1", "stability.threshold")
        columns = dict.fromkeys(names, [0, 1])
        config = {"data": {"name": "cifar10", "path": "/images"}}
        self.make(
            f"of_images/runs/{next(iter(open_reproduction(out).runs))}", columns, config=config, manifest=MANIFEST
        )
        with contextlib.redirect_stdout(io.StringIO()):
            report.write_report(open_reproduction(out))
        self.assertNotIn("stands in for", (out / "report.md").read_text())

    def test_a_test_set_that_a_study_names_is_no_departure(self) -> None:
        config = {"data": {"name": "cifar10", "test_files": ["data_batch_5.bin"]}}
        self.make_taylor("own,seed=1", config=config)
        for named in ((), ('data.test_files=["data_batch_5.bin"]',)):
            job = Job("own", str(ROOT / "configs/inherent_noise/fig5_resnet18.json"), 1, named)
            told = report._data_departures([load_outcome(job, self.root / "runs")])
            self.assertEqual(["test batch was not found" in words for words in told], [] if named else [True])

    def test_results_that_are_kept_make_the_pages_table(self) -> None:
        for seed in QUICK_SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", penalty=(-4, -2, -3), folders="out/runs")
        self.call("report", str(self.out))
        configs = self.root / "configs"
        (configs / "inherent_noise" / "results").mkdir(parents=True)
        (configs / "inherent_noise" / "results" / "before.csv").write_text(
            "size,figure,claim,before,why\n"
            "quick,fig1,A recent batch pays a larger penalty than one of long ago.,holds: it was said,Nobody looked.\n"
            "quick,fig1,The updating batch pays a larger penalty than a recent one.,not decided: it was dark,\n"
            "quick,fig1,Penalties are green.,not decided,They have no colour.\n"
            "full,fig2,Dots are large.,holds,\n"
        )
        page = configs / "inherent_noise" / "README.md"
        page.write_text(f"# It\n\n{kept.BEGIN}\n{kept.END}\n\nThe rest.\n")
        kept.keep(open_reproduction(self.out), configs)
        text = page.read_text()
        self.assertIn(
            "| A recent batch pays a larger penalty than one of long ago. Measured: mean \\|−L̂ʰ(Bᵣ)\\| over mean "
            "\\|−L̂ʰ(Bₐ)\\| | holds: it was said | 0.667 (",
            text,
        )
        whys = [line.split(" | ") for line in text.splitlines() if line.endswith((" Nobody looked. |", " colour. |"))]
        self.assertEqual([row[2:4] for row in whys if "Nobody" in row[-1]], [["holds: it was said", "not decided"]] * 2)
        self.assertIn("| fig1 | Penalties are green. | not decided | not asked any more | They have no colour. |", text)
        self.assertEqual(text.count("not decided: it was dark"), 2)  # nor is it now, in two ways of measuring it
        self.assertIn("At the size full nothing was run for the present rule.", text)
        self.assertIn("| fig2 | Dots are large. | holds |\n", text)
        self.assertIn("![fig1](results/quick/fig1.png)", text)
        picture = configs / "inherent_noise/results/quick/fig1.png"
        self.assertTrue(picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size <= kept.LARGEST)
        self.assertTrue(text.startswith("# It\n") and text.endswith("\n\nThe rest.\n"))
        kept.write_table("inherent_noise", configs)
        self.assertEqual(page.read_text(), text)
        self.assertRegex(
            text,
            r"\n\| fig1 \| cpu: a processor, 1 thread a run \| MNIST \| sgdscope 9.8.7 \(commit abcdef0\) \| \S.* \|\n",
        )
        self.assertIn(
            "Of these 4 judged claims 4 or their borders were decided when results were known already: 0 with results of these "
            "very runs, 4 only with those of others",
            text,
        )

    def test_a_page_says_what_the_level_lets_err_and_what_stays_in_the_whole_paper(self) -> None:
        folder = self.root / "paper" / "results" / "quick"
        folder.mkdir(parents=True)
        row = dict.fromkeys(report.COLUMNS, "") | {"claim": "It is so.", "seeds": "5", "mean": "1", "border": "0"}
        rows = [
            row | {"figure": f"fig{i}", "p": str(p), "verdict": "holds" if p < 0.05 else "not decided"}
            for i, p in enumerate((0.001, 0.02, 0.3))
        ]
        rows[0] |= {"decided_after": "the border", "seen": "0"}
        rows[1] |= {"decided_after": "the border", "seen": "5"}
        lines = [",".join(one.values()) for one in rows]
        (folder / "claims.csv").write_text("\n".join([",".join(row), *lines, ""]))
        present = {kept.form(one) for one in rows}
        self.enterContext(mock.patch.object(kept, "present_claims", lambda paper, size: present))
        text = kept.table("paper", self.root)
        self.assertNotIn(kept.EARLIER_FORM, text)
        self.assertIn("By the level alone up to 0.15 of 3 judged figures", text)
        # 0.001 · 3 and 0.02 · 2 are no more than 0.05.
        self.assertIn("Of the 2 claims that are decided, 2 would stay so after Holm's procedure over all 3", text)
        self.assertIn("Of these 3 judged claims 2 or their borders were decided", text)
        self.assertIn("1 with results of these very runs, 1 only with those of others", text)
        (folder / "claims.csv").write_text("\n".join([",".join(row), *lines, lines[2], ""]))
        self.assertIn("1 would stay so", kept.table("paper", self.root))  # 0.02 · 3 is more
        present.remove(kept.form(rows[1]))  # as if the claim of fig1 were measured in another way now
        text = kept.table("paper", self.root)
        self.assertIn("| earlier form: holds | earlier form:  |  |", text)
        self.assertIn("Of the 1 claims that are decided, 1 would stay so after Holm's procedure over all 3", text)
        self.assertIn(kept.OUT_OF_DATE, text)

    def test_claims_of_the_code_are_known_by_what_identifies_their_rows(self) -> None:
        results = Results(study_of("inherent_noise", "fig1", "quick"), [])
        claims = figures("inherent_noise")["fig1"].claims(results)
        chapter = report.Chapter("fig1", figures("inherent_noise")["fig1"], results.study, claims, [], "", [])
        rows = list(csv.DictReader(io.StringIO(report._claims_csv([chapter]))))
        present = kept.present_claims("inherent_noise", "quick")
        self.assertLessEqual({kept.form(row) for row in rows}, present)
        other = {**rows[0], "border": str(float(rows[0]["border"]) + 0.1)}
        self.assertEqual(kept.as_they_are_now([rows[0], other], present), [
            rows[0], {**other, "verdict": "earlier form: not decided", "alone": "earlier form: not decided", "reason": ""},
        ])  # fmt: skip

    def test_what_was_decided_late_is_told_with_the_seeds_that_were_known(self) -> None:
        late = Late("the border")
        for size, seeds, known in (
            ("quick", (1, 2, 3, 4, 5), "and so all of these runs"),
            ("quick", (5, 6, 7), "and so those of these runs with seed 5"),
            ("quick", (6, 7, 8, 9, 10), "but none of these runs"),
            ("full", (1, 2, 3, 4, 5), "but none of these runs"),
        ):
            words = f"the border; known then were the results of size quick with seeds 1 to 5, {known}"
            self.assertEqual(late.words(size, seeds), words)

    def test_runs_that_sizes_have_in_common_are_known_in_all_of_them(self) -> None:
        found = 0
        for paper in papers():
            for (name, figure), size in itertools.product(figures(paper).items(), sizes_of_paper(paper)):
                if size not in sizes_of(study_file(paper, name)):
                    continue
                of_size = study_of(paper, name, size)
                jobs = {job.folder: job for job in of_size.jobs()}
                nothing = Results(of_size, [load_outcome(job, self.root) for job in jobs.values()])
                for claim in figure.claims(nothing):
                    if not claim.decided_after:
                        continue
                    problems = [problem for part in claim.parts for problem in part.problems]
                    its = {jobs[folder] for problem in problems if (folder := problem.partition(": ")[0]) in jobs}
                    known = {
                        setting.job(seed)
                        for other, seeds in claim.decided_after.known.items()
                        if other in sizes_of(study_file(paper, name))
                        for setting, seed in itertools.product(study_of(paper, name, other).settings, seeds)
                    }
                    seen = claim.decided_after.seen(size, of_size.seeds)
                    self.assertEqual([job.folder for job in its & known if job.seed not in seen], [], (name, size))
                    found += 1
        self.assertGreater(found, 100)

    def test_borders_that_were_decided_late_are_judged_with_other_seeds(self) -> None:
        of_paper = figures("implicit_regularization")
        found = 0
        for name in ("fig6", "fig7", "modified_flow", "variance"):
            results = Results(study_of("implicit_regularization", name, "quick"), [])
            results = Results(results.study, [load_outcome(job, self.root) for job in results.study.jobs()])
            late = [claim for claim in of_paper[name].claims(results) if claim.decided_after]
            for claim in late:
                seen = claim.decided_after.seen("quick", results.study.seeds)
                if claim.decided_after.known == LAST:  # with the results of all runs, as the page says
                    seen = []
                self.assertEqual(seen, [], claim.says)
            found += len(late)
        self.assertEqual(found, 24)  # of 29 claims

    def test_results_of_other_figures_stay(self) -> None:
        for seed in QUICK_SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", folders="out/runs")
        self.call("report", str(self.out))
        configs = self.root / "configs"
        folder = configs / "inherent_noise/results/quick"
        folder.mkdir(parents=True)
        (configs / "inherent_noise/README.md").write_text(f"{kept.BEGIN}\n{kept.END}")
        rows = [
            dict.fromkeys(report.COLUMNS, "") | {"figure": name, "claim": "Old.", "border": "0"}
            for name in ("fig1", "fig2", "no")
        ]
        kept.write_rows(folder / "claims.csv", rows)
        for name in ("fig1", "fig2", "gone"):
            (folder / f"{name}.png").write_bytes(b"old")
        made_by = dict.fromkeys(kept.MADE_BY, "another") | {"figures": "fig1 fig2 no"}
        kept.write_rows(folder / "runs.csv", [made_by])
        kept.keep(open_reproduction(self.out), configs)
        found = [(row["figure"], row["claim"] == "Old.") for row in kept.rows_of(folder / "claims.csv")]
        self.assertEqual(found, [("fig1", False)] * 4 + [("fig2", True)])
        self.assertEqual(
            {file.name: file.read_bytes() == b"old" for file in folder.glob("*.png")},
            {"fig1.png": False, "fig2.png": True},
        )
        machines = [(row["figures"], row["machine"]) for row in kept.rows_of(folder / "runs.csv")]
        self.assertEqual(machines, [("fig1", "cpu: a processor, 1 thread a run"), ("fig2", "another")])
        kept.write_rows(folder / "claims.csv", rows[:1])
        kept.keep(open_reproduction(self.out), configs)
        machines = [(row["figures"], row["machine"]) for row in kept.rows_of(folder / "runs.csv")]
        self.assertEqual(machines, [("fig1", "cpu: a processor, 1 thread a run")])  # of no other there is a claim
        self.assertEqual([file.name for file in folder.glob("*.png")], ["fig1.png"])

    def test_a_picture_too_large_loses_points(self) -> None:
        noise = np.random.default_rng(1).integers(0, 255, (800, 800, 3), dtype=np.uint8)
        Image.fromarray(noise).save(self.root / "large.png")
        kept.keep_picture(self.root / "large.png", self.root / "small.png")
        self.assertLessEqual((self.root / "small.png").stat().st_size, kept.LARGEST)
        with Image.open(self.root / "small.png") as image:
            self.assertLess(image.width, 800)

    def test_what_is_not_judged_is_shown_without_verdict(self) -> None:
        folder = self.root / "paper" / "results" / "quick"
        folder.mkdir(parents=True)
        row = dict.fromkeys(report.COLUMNS, "") | {
            "figure": "fig9",
            "claim": "It is so.",
            "quantity": "a number",
            "seeds": "1",
            "reason": "one seed",
        }
        row |= {"mean": "1.5", "border": "0"}
        (folder / "claims.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
        lines = kept.table("paper", self.root).splitlines()
        self.assertIn("| fig9 | It is so. Measured: a number |  | 1.5 | > 0 | 1 | none |  |  |", lines)
        self.assertIn("No verdicts on fig9: one seed.", lines)

    def test_every_verdict_that_changed_says_why(self) -> None:
        found = 0
        for file in (ROOT / "configs").glob("*/results/before.csv"):
            before = kept.rows_of(file)
            for size in dict.fromkeys(row["size"] for row in before):
                claims = kept.rows_of(file.parent / size / "claims.csv")
                if claims:
                    changed = kept.changes(claims, [row for row in before if row["size"] == size])
                    self.assertEqual([row for row in changed if not row[-1].endswith(".")], [], file)
                    found += len(changed)
        self.assertGreater(found, 50)

    def test_kept_figures_say_once_by_what_they_were_made(self) -> None:
        for file in (ROOT / "configs").glob("*/results/*/claims.csv"):
            figures_of = {row["figure"] for row in kept.rows_of(file)}
            named = [name for row in kept.rows_of(file.parent / "runs.csv") for name in row["figures"].split()]
            self.assertEqual(sorted(named), sorted(figures_of), file)

    def test_a_page_tells_how_long_the_desk_size_takes(self) -> None:
        paper, folder = "inherent_noise", self.root / "inherent_noise" / "results" / "desk"
        folder.mkdir(parents=True)
        row = dict.fromkeys(report.COLUMNS, "") | {"figure": "fig2", "border": "0", "reason": "one seed"}
        kept.write_rows(folder / "claims.csv", [row])
        lines = kept.table(paper, self.root).splitlines()
        durations = Durations.load(paper)
        one, three, both = (
            time_of(durations, paper, names, "desk") for names in (["fig1"], ["fig3"], ["fig1", "fig3"])
        )
        self.assertIn(f"| fig1 | {one}, all of it runs of fig3 | not run |", lines)
        self.assertIn(f"| fig2 | {one}, all of it runs of fig1 | yes |", lines)
        self.assertIn(f"| fig3 | {three} | not run |", lines)
        self.assertIn(f"| all, each run once | {both} |  |", lines)
        self.assertIn(f"How long the size desk takes ({durations.machines['desk']}):", lines)
        machine = Durations.load("noise_enhancement").machines["quick"]
        self.assertIn(f"How long the size desk takes ({machine}, by hand: ", kept.table("noise_enhancement", self.root))
        self.assertNotIn("How long the size desk takes", kept.table("edge_of_stability", self.root))

    def test_a_report_names_the_paper_as_its_page_does(self) -> None:
        for key, paper in papers().items():
            page = (ROOT / "configs" / key / "README.md").read_text(encoding="utf-8")
            page = re.sub(r"\s+", " ", page.replace("*", ""))
            for source in paper.sources:
                self.assertIn(source, page)
                self.assertRegex(source, r"arXiv:\d{4}\.\d{5}")
            self.assertTrue(paper.sources)
        self.call("report", str(self.out))
        self.assertIn("- Arushi Gupta. Inherent Noise in Gradient Based Methods.", (self.out / "report.md").read_text())

    def test_numbers_of_several_conditions_are_told_apart(self) -> None:
        parts = [Measurement({str(seed): Sample(value + seed) for seed in (1, 2, 3, 4, 5)}) for value in (1, 7)]
        for measured, words in (
            (parts[0], r"4\.00 \("),
            (dict(zip(("small", "large"), parts)), r"small: 4\.00 \(.*\); 5 seeds; large: 10\.00 \(.*\); 5 seeds$"),
            (dict.fromkeys(("small", "large"), parts[0]), r"small: 4\.00 \(.*\); 5 seeds; large: 4\.00 \("),
            ({"small": parts[0]}, r"small: 4\.00 \("),
        ):
            claim = Claim("It is so.", "nowhere", "a number", measured, 0, "0")
            self.assertRegex(report._numbers(claim)[3], f"^{words}")

    def test_the_weakest_condition_is_named_where_its_number_stands(self) -> None:
        few, many = (Measurement({str(seed): Sample(mean + seed) for seed in (1, 2, 3, 4, 5)}) for mean in (-2, 7))
        claims = [
            Claim("It is so.", "nowhere", "a number", measured, 0, "0")
            for measured in ({"batches of 40": many, "batches of 4": few}, many)
        ]
        figure, study = figures("inherent_noise")["fig1"], study_of("inherent_noise", "fig1", "quick")
        folder = self.root / "paper" / "results" / "quick"
        folder.mkdir(parents=True)
        file = folder / "claims.csv"
        file.write_text(report._claims_csv([report.Chapter("fig9", figure, study, claims, [], "", [])]))
        rows = kept.rows_of(file)
        self.assertEqual([(row["condition"], row["mean"]) for row in rows], [("batches of 4", "1.0"), ("", "10.0")])
        self.assertEqual(list(rows[0])[3:5], ["quantity", "condition"])
        names = "| fig9 | It is so. Measured: a number |  | batches of 4: 1 (-0.963 … 2.96) | > 0 | 5 |"
        self.assertIn(names, kept.table("paper", self.root))
        earlier = [{column: cell for column, cell in row.items() if column != "condition"} for row in rows]
        kept.write_rows(file, earlier)
        self.assertIn(names.replace("batches of 4: ", ""), kept.table("paper", self.root))
        kept.write_rows(file, [earlier[1], rows[0]])
        text = kept.table("paper", self.root)
        self.assertIn(names, text)
        self.assertIn("| fig9 | It is so. Measured: a number |  | 10 (", text)

    def test_the_pages_tables_are_those_of_the_results_that_are_kept(self) -> None:
        for page in (ROOT / "configs").glob("*/README.md"):
            head, tail = kept.parts_of(page)
            shown = page.read_text(encoding="utf-8")[len(head) + len(kept.BEGIN) : -len(tail) - len(kept.END)].strip()
            hint = f"{page} is stale: call scripts/reproduce.py keep for its last reproduction"
            self.assertEqual(shown, kept.table(page.parent.name), hint)

    def test_a_report_without_runs_says_why(self) -> None:
        printed = self.call("report", str(self.out))
        self.assertIn("0 holds, 0 does not hold, 4 not decided", printed)
        self.assertIn("not drawn: no run of fc8000 is finished", printed)
        text = (self.out / "report.md").read_text()
        self.assertIn("0 of 5 finished", text)
        self.assertIn("fc8000,seed=11: not run yet", text)
        self.assertNotIn("![", text)

    def test_a_folder_that_is_no_reproduction(self) -> None:
        for command in ("report", "keep"):
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                self.assertEqual(reproduce.main([command, str(self.root)]), 2)
            self.assertIn(
                "it has no reproduction.json\n  give a folder that scripts/reproduce.sh has", errors.getvalue()
            )

    def test_a_missing_matplotlib_shows_before_the_runs(self) -> None:
        errors = io.StringIO()
        with mock.patch.dict(sys.modules, {"matplotlib": None}), contextlib.redirect_stderr(errors):
            self.assertEqual(reproduce.main(["plan", "inherent_noise/fig1", "--out", str(self.root / "new")]), 5)
        self.assertIn("error: matplotlib: this Python, ", errors.getvalue())
        self.assertFalse((self.root / "new").exists())

    def test_the_list_names_every_figure_and_what_runs_here_took(self) -> None:
        for seed in QUICK_SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", folders="reproductions/inherent_noise_quick/runs")
        table = {"quick": {"fc8000": 200}, "full": {"fc8000": 1000}}
        (self.root / "inherent_noise").mkdir()
        (self.root / "inherent_noise" / "durations.json").write_text(
            json.dumps({size: {"machine": "a machine", "seconds": seconds} for size, seconds in table.items()})
        )
        with (
            mock.patch.object(planning, "ROOT", self.root),
            mock.patch.object(reproduce, "ROOT", self.root),
            mock.patch.object(durations_of, "CONFIGS", self.root),
        ):
            printed = self.call("list")
        names = {file.stem for file in (ROOT / "scripts/papers/inherent_noise").glob("[!_]*.py")}
        self.assertEqual(set(re.findall(r"^  inherent_noise/(\w+)", printed, re.MULTILINE)), names)
        self.assertEqual(printed.count("here, quick: 7.5 min of one core"), 2)  # fig1 and fig2
        self.assertNotIn("here, full", printed)
        self.assertIn("time of quick, 2 runs at a time, on a machine", printed)
        self.assertRegex(
            printed, r"inherent_noise/fig1 +10\.0 min +\? +50\.0 min "
        )  # 5 of 200 s, or 6 of 1000 s, on 2 cores
        self.assertRegex(printed, r"inherent_noise/lags +\? +– +\? ")
        self.assertRegex(printed, r"(?m)^ +quick +desk +full$")


class DurationsOfRuns(Runs):
    def setUp(self) -> None:
        super().setUp()
        elsewhere = mock.patch.object(durations_of, "CONFIGS", self.root)
        elsewhere.start()
        self.addCleanup(elsewhere.stop)
        (self.root / "inherent_noise").mkdir()
        for seed, seconds in ((1, 80.0), (2, 90.04)):
            self.make_taylor(f"fc8000,seed={seed}")
            self.measured(seed, wall_seconds=seconds)

    def measured(self, seed: int, **facts: object) -> None:
        """What the manifest of a run says."""
        manifest = self.root / "runs" / f"fc8000,seed={seed}" / "manifest.json"
        manifest.write_text(json.dumps({"status": "done", **MANIFEST, **facts}))

    def record(self) -> Durations:
        """What is kept after the runs were recorded."""
        Durations.load("inherent_noise").record("quick", self.results(fig1.FIGURE).outcomes)
        return Durations.load("inherent_noise")

    def test_what_runs_measured_is_kept_with_their_machine(self) -> None:
        self.assertIsNone(Durations.load("inherent_noise").of_all("quick", study(fig1.FIGURE).jobs()))
        kept = self.record()
        self.assertEqual(kept.machines, {"quick": "cpu: a processor, 1 thread a run"})
        self.assertEqual(kept.seconds("quick", "fc8000"), 85.0)
        self.assertEqual(kept.of_all("quick", study(fig1.FIGURE).jobs()[:2]), 85.0)  # each on a core
        self.assertIsNone(kept.seconds("full", "fc8000"))

    def test_a_run_that_diverged_took_its_time_too(self) -> None:
        self.measured(1, status="diverged", wall_seconds=30.0)
        self.measured(2, status="diverged", wall_seconds=10.0)
        self.assertEqual(self.record().seconds("quick", "fc8000"), 20.0)

    def test_numbers_of_different_machines_are_not_mixed(self) -> None:
        kept = self.record()
        kept.by_size["quick"]["fc64"] = 1.0
        kept.record("quick", self.results(fig1.FIGURE).outcomes)
        self.assertEqual(set(self.record().by_size["quick"]), {"fc64", "fc8000"})
        self.measured(1, cpu="another")
        self.assertIn("several machines", self.refused(self.record))
        self.measured(2, cpu="another", threads=3)
        message = self.refused(self.record)
        self.assertIn("numbers of threads: cpu: another, 1 thread a run; cpu: another, 3 threads a run", message)
        self.assertIn("the same -j and --threads", message)
        self.measured(2, cpu="another")
        self.assertEqual(set(self.record().by_size["quick"]), {"fc8000"})

    def test_nothing_finished_is_refused(self) -> None:
        shutil.rmtree(self.root / "runs")
        self.assertIn("nothing to record", self.refused(self.record))


@unittest.skipUnless(shutil.which(PROGRAM), "the program is not built")
class Script(Runs):
    """scripts/reproduce.sh as a whole, with a program that copies runs made here."""

    PROGRAM = """#!/usr/bin/env bash
[[ $1 == run ]] || exec "$TRUE_PROGRAM" "$@"
echo "$*" >>"$MADE/calls"
for word; do [[ $word != --output=* ]] || out=${word#*=}; done
[[ -e $MADE/${out##*/} ]] || exit 4
mkdir -p "${out%/*}" && cp -r "$MADE/${out##*/}" "$out" && cp -- "$2" "$out/config.json"
"""

    def setUp(self) -> None:
        super().setUp()
        self.program = self.root / "sgd scope"
        self.program.write_text(self.PROGRAM)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.data = self.root / "my data"
        self.data.mkdir()
        (self.data / "train-images-idx3-ubyte.gz").touch()

    def reproduce(self, *arguments: str) -> subprocess.CompletedProcess:
        """Calls it in the temporary folder."""
        environment = {**os.environ, "SGDSCOPE": "./sgd scope", "TRUE_PROGRAM": PROGRAM}
        environment["MADE"] = str(self.root / "runs")
        return subprocess.run(
            [str(ROOT / "scripts/reproduce.sh"), *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
        )

    def test_from_nothing_to_the_report_and_again(self) -> None:
        for seed in QUICK_SEEDS:
            self.make_taylor(f"fc8000,seed={seed}", penalty=(-4, -3, -2), odd_steps=seed)
        command = ["inherent_noise/fig1", "--quick", "-j", "1", "--out", "the out", "--data-path", "my data"]
        done = self.reproduce(*command)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("inherent_noise/fig1: 3 holds", done.stdout)
        self.assertTrue((self.root / "the out" / "report.html").is_file())
        calls = (self.root / "runs" / "calls").read_text().splitlines()
        self.assertEqual(len(calls), 5)
        config = read_json(self.root / "the out" / "runs" / "fc8000,seed=11" / "config.json")
        self.assertEqual((config["data"]["path"], config["epochs"]), (str(self.data), 1))
        self.assertEqual(self.reproduce(*command).returncode, 0)
        self.assertEqual(len((self.root / "runs" / "calls").read_text().splitlines()), 5)  # nothing is done twice

    def test_a_run_that_fails_is_reported_and_told(self) -> None:
        self.make_taylor("fc8000,seed=12")
        done = self.reproduce("inherent_noise/fig2", "--quick", "--out", "out", "--data-path", "my data")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("fc8000,seed=11: not run yet", (self.root / "out" / "report.md").read_text())

    def test_wrong_usage(self) -> None:
        for arguments, words in (
            ((), "needs PAPER or PAPER/FIGURE"),
            (("--fast",), "there is no option --fast"),
            (("inherent_noise/fig1", "--size", "huge", "--out", "x"), "there is no size 'huge'"),
            (("a", "b"), "takes one PAPER"),
            (("inherent_noise/fig1", "--device", "tpu"), "invalid choice: 'tpu'"),
            (("a", "--slurm", "-j", "2"), "give one of --slurm and -j"),
            (("a", "--", "--time=1"), "there is no --slurm"),
            (("inherent_noise/fig1", "--quick", "--out", "y", "-j", "x"), "take a number from 1 on, not 'x'"),
            (("inherent_noise/figg", "--out", "x"), "did you mean inherent_noise/fig"),
        ):
            done = self.reproduce(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertNotIn("called again", done.stderr)
        shutil.move(self.program, self.root / "gone")
        self.assertIn("there is no program", self.reproduce("inherent_noise").stderr)


if __name__ == "__main__":
    unittest.main()
