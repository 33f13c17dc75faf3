#!/usr/bin/env python3
"""Tests of reproductions in stages, with a paper of our own and the program itself: python tests/stages_test.py"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from run_folders import PROGRAM, RunFolders

# isort: split
from sgdscope import plan as planning
from sgdscope.catalogue import ROOT, jobs_of, study_of
from sgdscope.durations import Durations
from sgdscope.studies import read_json

PAPER = 'from sgdscope.figure import Paper\n\nPAPER = Paper(about="a test", sources=(), departures=(), sizes={})\n'
FIGURE = """
from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import new_figure


def claims(results):
    return [Claim("It ends.", "here", "1", results.measure(lambda run: Sample(1.0), "then_tame"), 0.0, "0")]


def draw(results):
    results.need_some()
    return {"two": new_figure(2, 2)}


FIGURE = Figure("In two stages", "Trains twice.", {"two": "nothing"}, (), draw, claims)
"""
CONFIG = {
    "name": "c", "seed": 1, "steps": 4, "batch_size": 8, "loss": "cross_entropy", "model": {"name": "mlp", "hidden": [3]},
    "data": {"name": "synthetic", "train_size": 32, "test_size": 16}, "update": {"name": "sgd", "learning_rate": 0.1},
}  # fmt: skip
SLURM = {  # runs the tasks of an array at once
    "sbatch": """for word; do
  [[ $word != --array=* ]] || tasks=${word#*=}
  [[ $word != --wrap=* ]] || command=${word#*=}
done
echo "$tasks" >>"${0%/*}/arrays"
for task in ${tasks//,/ }; do SLURM_ARRAY_TASK_ID=$task bash -c "$command" >/dev/null 2>&1; done
echo 7
""",
    "squeue": "",
    "scontrol": "",
}
STUDY: dict[str, Any] = {
    "config": "c.json",
    "seeds": [1, 2],
    "name": ["{kind}", "{before}"],
    "set": {"update.learning_rate": "{rate}"},
    "values": {"rate": 0.1, "wild_rate": 1e30},
    "curves": {
        "then": {"values": {"kind": "then"}, "vary": {"before": ["tame", "wild"]}, "after": "{before}"},
        "tame": {"values": {"kind": "tame"}},
        "wild": {"values": {"kind": "wild", "rate": "{wild_rate}"}, "may_diverge": True},
    },
    "sizes": {"quick": {}},
}


@unittest.skipUnless(shutil.which(PROGRAM), "the program is not built")
class Stages(RunFolders):
    """scripts/reproduce.sh on a paper of one figure, in a copy of the scripts: `then` begins from weights of the others."""

    def setUp(self) -> None:
        super().setUp()
        ignored = shutil.ignore_patterns("__pycache__", "papers", "peers")
        shutil.copytree(ROOT / "scripts", self.root / "scripts", ignore=ignored)
        for file, text in (
            ("scripts/papers/__init__.py", ""),
            ("scripts/papers/mine/__init__.py", PAPER),
            ("scripts/papers/mine/two.py", FIGURE),
            ("configs/mine/c.json", json.dumps(CONFIG)),
            ("configs/mine/two.study.json", json.dumps(STUDY)),
        ):
            path = self.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def reproduce(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Calls it, on one core, with this Python."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            [str(self.root / "scripts/reproduce.sh"), *arguments],
            cwd=self.root,
            env={**os.environ, "SGDSCOPE": PROGRAM, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    def manifest(self, run: str) -> dict[str, Any]:
        """The manifest of a run; empty if there is none."""
        file = self.root / "out/runs" / run / "manifest.json"
        return read_json(file) if file.is_file() else {}

    def test_runs_begin_from_the_last_weights_of_those_before(self) -> None:
        done = self.reproduce("mine/two", "--quick", "--out", "out", "--threads", "1")
        self.assertEqual(
            done.returncode, 0, done.stdout + done.stderr
        )  # though all wild runs have diverged, as they may
        self.assertIn("threads of each: 1", done.stderr)
        for seed in (1, 2):
            self.assertEqual(self.manifest(f"wild,seed={seed}")["status"], "diverged")
            weights = f"out/runs/tame,seed={seed}/checkpoints/step_0000000000000004.safetensors"
            begin = self.manifest(f"then_tame,seed={seed}")["init"]
            self.assertEqual(begin["from"], weights)
            self.assertEqual(self.manifest(f"then_wild,seed={seed}"), {})
            left_out = f"wild,seed={seed} is not done\n  the runs that begin from its weights are left out: then_wild,seed={seed}"
            self.assertIn(left_out, done.stderr)
        text = (self.root / "out/report.md").read_text()
        self.assertIn("| then_wild,seed=1 | not run yet, it begins from wild,seed=1 |", text)
        self.assertIn("4 of 8 finished", text)

        study = {**STUDY, "curves": {**STUDY["curves"], "wild": {"values": STUDY["curves"]["wild"]["values"]}}}
        (self.root / "configs/mine/two.study.json").write_text(json.dumps(study))
        judge = [sys.executable, str(self.root / "scripts/reproduce.py"), "ended", str(self.root / "out"), "mine/two"]
        judged = subprocess.run(judge, stderr=subprocess.PIPE, text=True, check=False)  # now they may not
        self.assertEqual(judged.returncode, 1, judged.stderr)
        self.assertIn("wild,seed=1: diverged (", judged.stderr)
        self.assertIn(", and 1 more\n", judged.stderr)

    def test_slurm_is_given_a_stage_when_the_one_before_has_ended(self) -> None:
        for name, text in SLURM.items():
            command = self.root / name
            command.write_text(f"#!/usr/bin/env bash\n{text}")
            command.chmod(0o755)
        (self.root / "configs/mine/two.study.json").write_text(json.dumps({**STUDY, "seeds": [1]}))
        path = f"{self.root}:{os.environ['PATH']}"
        with mock.patch.dict(os.environ, {"PATH": path}):
            done = self.reproduce("mine/two", "--quick", "--out", "out", "--slurm")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual((self.root / "arrays").read_text(), "1,2\n1\n")
        self.assertEqual(self.manifest("then_tame,seed=1")["status"], "done")


class Plans(RunFolders):
    SEEDS = study_of("interventions", "adversarial_initialization", "quick").seeds
    FIRST = f"random_labels,seed={SEEDS[0]}"

    def plan(self, stage: int) -> tuple[list[str], str]:
        """The names of a stage's settings in the job file, and what is told of the others."""
        noted = io.StringIO()
        data = self.root / "data"
        data.mkdir(exist_ok=True)
        (data / "train-images-idx3-ubyte.gz").touch()
        with contextlib.redirect_stderr(noted):
            file = planning.plan(
                "interventions/adversarial_initialization", "quick", self.root / "out", [data], None, stage
            )
        lines = file.read_text().splitlines() if file.is_file() else []
        folders = [line.rpartition("/")[2].rstrip("'") for line in lines]
        return list(dict.fromkeys(folder.partition(",")[0] for folder in folders)), noted.getvalue()

    def test_a_stage_has_what_can_be_run_once_those_before_have_been(self) -> None:
        first, noted = self.plan(1)
        self.assertIn("random_labels", first)
        self.assertFalse([name for name in first if name.startswith("adversarial")])
        self.assertEqual(noted, "")
        found, noted = self.plan(2)
        self.assertEqual(found, [])
        self.assertIn(f"{self.FIRST} is not done", noted)
        self.assertEqual(self.plan(3), ([], ""))

    def test_a_stages_job_file_goes_where_its_weights_go(self) -> None:
        self.plan(1)
        runs = self.root / "out/runs"
        run = Path(self.make(f"out/runs/{self.FIRST}", {"step": [0]}))
        (run / "checkpoints").mkdir()
        for step in (9, 10):
            (run / f"checkpoints/step_{step:016d}.safetensors").touch()
        found, noted = self.plan(2)
        self.assertIn("adversarial_mean", found)
        self.assertNotIn(f"{self.FIRST} is", noted)
        self.assertEqual(self.plan(2), (found, noted))  # called again, it is the same
        words = (self.root / "out/adversarial_initialization.stage2.jobs").read_text()
        self.assertIn(f"init.from={runs}/{self.FIRST}/checkpoints/step_0000000000000010.safetensors", words)
        shutil.rmtree(run)
        self.assertEqual(self.plan(2)[0], [])
        self.assertFalse((self.root / "out/adversarial_initialization.stage2.jobs").exists())

    def test_stages_take_one_time_after_the_other(self) -> None:
        jobs = jobs_of("interventions", ["adversarial_initialization"], "quick")
        jobs = [job for job in jobs if job.name in ("random_labels", "adversarial_mean") and job.seed in self.SEEDS[:2]]
        seconds = {"random_labels": 10.0, "adversarial_mean": 5.0}
        self.assertEqual(Durations(self.root, {}, {"quick": seconds}).of_all("quick", jobs), 15.0)


if __name__ == "__main__":
    unittest.main()
