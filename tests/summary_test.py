#!/usr/bin/env python3
"""Tests scripts/summary.py on made-up runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

from run_folders import NAN, RunFolders

# isort: split
import summary
from sgdscope.catalogue import ROOT
from sgdscope.errors import exit_status_of
from sgdscope.statistics import LEVEL, interval


class Made(RunFolders):
    """Runs that are made up."""

    def add(
        self, rate: float, seed: int, accuracy: float, status: str = "done", folder: str = "", threads: int = 1
    ) -> str:
        config = {"seed": seed, "update": {"name": "sgd", "learning_rate": rate}, "threads": threads}
        metrics = {"step": [0, 1], "epoch": [0, 0], "loss": [2.0, 1.0]}
        evaluations = {"step": [0, 1, 2], "epoch": [0, 0, 1], "test_accuracy": [0.1, accuracy, NAN]}
        name = folder or f"rate{rate},seed={seed}"
        return self.make(name, metrics, evaluations, config=config, manifest={"status": status})


class Summary(Made):
    def say(self, *arguments: str, runs: str = "*") -> tuple[int, list[str], str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = summary.main([f"{self.root / runs}", *arguments])
        return status, out.getvalue().splitlines(), err.getvalue()

    def test_the_best_comes_first_and_says_who_is_behind(self) -> None:
        noise = np.array([0.010, -0.004, 0.007, -0.011, 0.002])  # of a seed, in every setting
        own = np.array([0.001, -0.001, 0.0005, 0.0, -0.0005])
        for seed in range(5):
            self.add(0.1, seed, 0.90 + noise[seed])
            self.add(0.05, seed, 0.90 - 0.0002 + noise[seed] + own[seed])  # not told apart
            self.add(0.01, seed, 0.89 + noise[seed] + own[seed])  # far less than the spread, but each seed has less
        status, lines, _ = self.say()
        self.assertEqual(status, 0)
        self.assertRegex(lines[0], r"^update.learning_rate +eval.test_accuracy +95 % interval$")
        self.assertRegex(lines[1], r"^0.1 +0.9008 ± 0.0038 .* 5 seeds +best$")
        self.assertRegex(lines[2], r"^0.05 .* not told from it$")
        self.assertRegex(lines[3], r"^0.01 .* behind$")
        low, high = interval([0.9 + x for x in noise])
        self.assertIn(f"{low:.6g} … {high:.6g}", lines[1])
        _, lines, _ = self.say("--lowest")
        self.assertRegex(lines[1], r"^0.01 .* best$")

    def test_a_lead_must_hold_for_all_pairs_together(self) -> None:
        lead = np.array([0.010, 0.016, 0.004, 0.012, 0.003])
        self.assertGreater(interval(lead, LEVEL)[0], 0)
        self.assertLess(interval(lead, LEVEL / 15)[0], 0)  # of six settings
        for seed in range(5):
            self.add(0.1, seed, 0.9)
            self.add(0.2, seed, 0.9 - lead[seed])
        self.assertRegex(self.say()[1][2], r"^0.2 .* behind$")
        for rate in (0.3, 0.4, 0.5, 0.6):
            for seed in range(5):
                self.add(rate, seed, 0.1)
        self.assertRegex(self.say()[1][2], r"^0.2 .* not told from it$")

    def test_who_is_better_with_the_seeds_that_both_have_is_not_behind(self) -> None:
        for accuracies, other, order in (
            ((0.99, 0.80, 0.81), (0.85, 0.8601), ()),
            ((0.1, 0.6, 0.61), (0.55, 0.5599), ("--lowest",)),
        ):
            for seed, accuracy in enumerate(accuracies):
                self.add(0.1, seed, accuracy, folder=f"{order}/rate0.1,seed={seed}")
            for seed, accuracy in enumerate(other, 1):
                self.add(0.2, seed, accuracy, folder=f"{order}/rate0.2,seed={seed}")
            _, lines, _ = self.say(*order, runs=f"{order}/*")
            self.assertRegex(lines[1], "^0.1 .* best$")
            self.assertRegex(lines[2], "^0.2 .* not told from it$")

    def test_leads_that_are_equal_with_all_seeds_say_no_more_than_who_leads(self) -> None:
        for seed in range(5):
            self.add(0.1, seed, 0.905 + 0.005 * seed)  # of 200 examples
            self.add(0.2, seed, 0.9 + 0.005 * seed)
        self.assertRegex(self.say()[1][2], "^0.2 .* not told from it: a lead that is equal with all seeds takes 6$")
        self.add(0.1, 5, 0.9)
        self.add(0.2, 5, 0.895)
        self.assertRegex(self.say()[1][2], "^0.2 .* behind$")
        self.add(0.3, 0, 0.5)  # with it there are three pairs
        self.assertRegex(self.say()[1][2], "^0.2 .* not told from it: a lead that is equal with all seeds takes 7$")
        self.add(0.4, 0, 0.905)
        self.add(0.4, 1, 0.91)  # the same as 0.1
        self.assertRegex(self.say(runs="rate0.[14],seed=[01]")[1][2], "^0.4 .* not told from it$")

    def test_values_that_are_equal_have_no_interval(self) -> None:
        for seed in range(5):
            self.add(0.1, seed, 0.1 + 0.2 if seed else 0.3)
        self.assertRegex(self.say()[1][1], "^0.3 ± 0 +5 seeds +best$")
        self.add(0.1, 5, 0.3)
        self.assertRegex(self.say()[1][1], "^0.3 ± 0 +0.3 … 0.3 +6 seeds +best$")

    def test_what_is_not_done_is_counted_and_left_out(self) -> None:
        for seed in range(3):
            self.add(0.1, seed, 0.8)
        self.add(0.1, 3, 0.99, status="running")
        self.add(9.0, 0, 0.99, status="diverged")
        self.add(0.2, 0, 0.7)
        status, lines, _ = self.say()
        self.assertEqual(status, 0)
        self.assertRegex(lines[1], r"^0.1 +0.8 ± 0 .* 3 seeds, 1 running +best$")
        self.assertRegex(lines[2], r"^0.2 +0.7 +1 seed +not decided: fewer than 2 seeds in common$")
        self.assertRegex(lines[3], r"^9.0 +- +0 seeds, 1 diverged$")

    def test_what_cannot_be_compared_is_said(self) -> None:
        self.add(0.1, 1, 0.8)
        self.add(0.1, 1, 0.9, folder="again")
        status, _, err = self.say()
        self.assertEqual(status, 3)
        self.assertRegex(
            err, r"rate0.1,seed=1: is of the seed 1 and the setting \(no field that differs\), as .*/again is"
        )
        self.assertRegex(err, r"\n  leave one of them out\n")
        self.add(0.2, 1, 0.9)
        status, _, err = self.say("--by", "model.hidden", runs="rate*")
        self.assertEqual(status, 3)
        self.assertRegex(
            err, r"\n  leave one of them out, or tell settings apart `by` model.hidden, update.learning_rate\n"
        )
        status, _, err = self.say("--column", "eval.test_acuracy")
        self.assertEqual(status, 2)
        self.assertRegex(err, "did you mean eval.test_accuracy")
        status, _, err = self.say("--by", "update.learning")
        self.assertEqual(status, 2)
        self.assertRegex(err, "no config has the field")

    def test_threads_make_no_setting_unless_asked_for(self) -> None:
        for seed, threads in ((1, 1), (2, 1), (3, 2)):
            self.add(0.1, seed, 0.8, threads=threads)
        self.assertRegex(self.say()[1][1], r"^0.8 ± 0 .* 3 seeds +best$")
        self.assertRegex(self.say("--by", "threads")[1][2], r"^2 +0.8 +1 seed +")
        self.add(0.1, 3, 0.8, folder="again", threads=1)
        self.assertIn("or tell settings apart `by` threads\n", self.say()[2])

    def test_a_run_without_rows_is_told_with_its_folder(self) -> None:
        self.add(0.1, 1, 0.8)
        young = Path(self.add(0.1, 2, 0.8))
        (young / "metrics.csv").unlink()
        self.assertEqual(self.say()[2], f"note: {young}: it has no metrics.csv yet\n")

    def test_the_folder_of_a_sweep_stands_for_its_runs(self) -> None:
        folders = [self.add(0.1, 1, 0.8), self.add(0.2, 1, 0.7), "begun/later"]
        self.add(0.3, 1, 0.9)  # of another sweep
        sweep = self.root / "mine.sweep"
        sweep.mkdir()

        def say(outputs: list[str]) -> tuple[int, list[str], str]:
            lines = [json.dumps({"line": line, "output": output}) for line, output in enumerate(outputs)]
            (sweep / "jobs.jsonl").write_text("\n".join(lines))
            return self.say(runs=str(sweep))

        status, lines, err = say(folders)
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in lines[1:]], ["0.1", "0.2"])
        self.assertEqual(err, f"note: begun/later: this run of {sweep} has not begun\n")
        status, _, err = say(["elsewhere/1", "elsewhere/2"])
        self.assertEqual(status, 3)
        self.assertRegex(
            err, r"mine.sweep: none of its 2 runs is here, say elsewhere/1\n +call this from where the sweep"
        )

    def test_runs_at_work_have_no_end_yet(self) -> None:
        self.add(0.1, 1, 0.8, status="running")
        status, _, err = self.say()
        self.assertEqual(status, 3)
        self.assertRegex(err, "no run has an end to compare: 1 running")


class Output(Made):
    """Where the words of a tool go, of which this is one."""

    def call(
        self, *arguments: str, tool: str = "summary.py", out: str | int = subprocess.PIPE, **environment: str
    ) -> tuple[int, bytes, str]:
        """Exit status, standard output, which may go to a file, and standard error of a process of its own."""
        command = [sys.executable, str(ROOT / "scripts" / tool), *(arguments or [f"{self.root}/rate*"])]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with contextlib.nullcontext(out) if isinstance(out, int) else open(out, "wb") as stdout:
            done = subprocess.run(
                command, env={**variables, **environment}, stdout=stdout, stderr=subprocess.PIPE, check=False
            )
        return done.returncode, done.stdout, done.stderr.decode()

    def test_a_full_disk_is_told(self) -> None:
        self.add(0.1, 1, 0.8)
        told = (
            "error: standard output: cannot be written: No space left on device\n"
            "  make room where it goes, or send it elsewhere\n"
        )
        for arguments, environment in (((), {}), ((), {"PYTHONUNBUFFERED": "1"}), (("--help",), {})):
            self.assertEqual(self.call(*arguments, out="/dev/full", **environment), (5, None, told))
        for tool in ("config_page.py", "reproduce.py"):
            self.assertEqual(self.call("--help", tool=tool, out="/dev/full"), (5, None, told))

    def test_a_closed_output_gets_nothing(self) -> None:
        self.add(0.1, 1, 0.8)
        call = ["bash", "-c", '"$@" >&-', "bash", sys.executable, summary.__file__, f"{self.root}/rate*"]
        done = subprocess.run(call, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_letter_that_the_terminal_lacks_is_a_question_mark(self) -> None:
        self.add(0.1, 1, 0.8)
        self.add(0.1, 2, 0.9)
        status, out, err = self.call(PYTHONIOENCODING="latin-1")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out.decode("latin-1"), r"0.85 ± 0.05 +0.214\d+ \? 1.48\d+ +2 seeds")
        self.assertEqual(self.call("--help", PYTHONIOENCODING="ascii")[0], 0)

    def test_names_of_files_keep_their_bytes(self) -> None:
        written = io.BytesIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(written, encoding="utf-8")):
            self.assertEqual(exit_status_of(lambda: print(os.fsdecode(b"\xff \xe2\x80\xa6"))), 0)
            self.assertEqual(written.getvalue(), b"\xff \xe2\x80\xa6\n")


if __name__ == "__main__":
    unittest.main()
