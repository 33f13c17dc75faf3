"""What came of a figure's jobs: the finished runs, and why the others are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sgdscope.claims import Measurement, Sample, TooLittle, best_of_settings, over_seeds
from sgdscope.plots.lines import Line
from sgdscope.runs import Run, open_run, read_manifest
from sgdscope.studies import Job, Setting, Study

END = 0.2  # of the steps of a run, the last ones: its end
PARTS = 8  # of training before its end, in which the course of a value is told


@dataclass
class Outcome:
    """What came of a job."""

    job: Job
    folder: Path
    manifest: dict[str, Any]  # empty if the run has not begun
    run: Run | None  # only if it is done

    @property
    def ended(self) -> bool:
        """Whether it is done or has diverged: how long that took is known, and called again it takes no time."""
        return self.manifest.get("status") in ("done", "diverged")

    @property
    def problem(self) -> str:
        """Why there is no finished run; empty if there is one."""
        if self.run is not None:
            return ""
        waits = f", it begins from {self.job.after}" if self.job.after else ""
        status, reason = self.manifest.get("status", f"not run yet{waits}"), self.manifest.get("reason", "")
        return f"{self.job.folder}: {status}" + (f" ({reason})" if reason else "")

    @property
    def program(self) -> str:
        """What made the run: the version, and the commit, which programs of earlier commits don't tell."""
        versions = self.manifest["versions"]
        return f"sgdscope {versions['sgdscope']}" + (f" (commit {versions['commit']})" if "commit" in versions else "")

    @property
    def machine(self) -> str:
        """What the run was made on."""
        on, threads = self.manifest, self.manifest["threads"]
        return f"{on['device']}: {on['cpu']}, {threads} thread{'s' if threads > 1 else ''} a run"


def in_end(line: Line) -> np.ndarray:
    """Which places of a line are in the last fifth of its steps (or epochs), however densely they lie."""
    return line.x >= line.x[-1] - END * (line.x[-1] - line.x[0])


def seconds_of(outcomes: Sequence[Outcome]) -> float | None:
    """How long the runs took, one after the other; None if one of them has not ended."""
    if not all(outcome.ended for outcome in outcomes):
        return None
    return sum(outcome.manifest["wall_seconds"] for outcome in outcomes)


def load_outcome(job: Job, runs_folder: Path) -> Outcome:
    """Looks into the run folder of a job."""
    folder = runs_folder / job.folder
    manifest = read_manifest(folder)
    run = open_run(str(folder)) if manifest.get("status") == "done" else None
    return Outcome(job, folder, manifest, run)


@dataclass
class Results:
    """What came of a study's jobs."""

    study: Study
    outcomes: Sequence[Outcome]

    def of(self, setting: Setting) -> list[Outcome]:
        """The outcomes of a setting, one for each seed."""
        return [outcome for outcome in self.outcomes if outcome.job.name == setting.name]

    def need_some(self) -> None:
        """Raises TooLittle if no run is finished, so that no empty picture is drawn."""
        if not any(outcome.run for outcome in self.outcomes):
            raise TooLittle("no run is finished")

    def runs(self, *names: str) -> list[Run]:
        """The finished runs of the jobs so named, those of one job one after the other."""
        by_name = [[o.run for o in self.outcomes if o.job.name == name and o.run] for name in names]
        if not any(by_name):
            raise TooLittle(f"no run of {', '.join(names)} is finished")
        return [run for runs in by_name for run in runs]

    def of_worlds(self, of: Callable[[Run], Sequence[float]], name: str) -> Measurement:
        """A number of the real data and of worlds that only chance tells from it: the former less the mean of the latter."""
        worlds: dict[str, Sequence[float]] = {}

        def measure(run: Run, seed: str) -> Sample:
            worlds[seed] = of(run)
            return Sample(worlds[seed][0] - float(np.mean(worlds[seed][1:])))

        found = self._over_seeds(measure, name)
        return replace(found, worlds=np.array([worlds[seed] for seed in found.samples]))

    def above_end(self, of: Callable[[Run], Line], name: str) -> Measurement:
        """Of a value in the course of training the mean over the highest of PARTS parts less that over the end.

        The end is the last fifth of the steps, the parts have equally many of the evaluations before it each. Were the end a
        part like the others, it would, of evaluations at log-spaced steps, be nearly all of training. The highest value of
        all is never below the last one, whatever a network does. So parts are compared by their means, as settings of which
        the best is chosen.
        """
        means: dict[str, list[float]] = {}

        def measure(run: Run, seed: str) -> Sample:
            line = of(run)
            end = in_end(line)
            before = line.y[~end]
            if before.size < PARTS:
                raise TooLittle(
                    f"{run.folder.name} has {before.size} evaluations before its end, of which it takes {PARTS}"
                )
            means[seed] = [*(part.mean() for part in np.array_split(before, PARTS)), line.y[end].mean()]
            return Sample(means[seed][-1])

        found = self._over_seeds(measure, name)
        if not found.samples:
            return found
        parts = np.array([means[seed] for seed in found.samples]).T
        best = best_of_settings(list(found.samples), parts[:-1] - parts[-1], problems=found.problems)
        return replace(best, censored=found.censored)

    def measure(self, of: Callable[..., Sample], *names: str, discrete: bool = False) -> Measurement:
        """`of(run of the first name, run of the second, ...)` for each seed with which all of them are finished."""
        return self._over_seeds(lambda *runs_and_seed: of(*runs_and_seed[:-1]), *names, discrete=discrete)

    def _over_seeds(self, of: Callable[..., Sample], *names: str, discrete: bool = False) -> Measurement:
        """`of(run of the first name, ..., seed)` for each seed with which all have ended; one that diverged has no number."""
        by_name = [{str(o.job.seed): o for o in self.outcomes if o.job.name == name and o.ended} for name in names]
        problems = [o.problem for o in self.outcomes if o.job.name in names and not o.ended]
        seeds = [seed for seed in by_name[0] if all(seed in outcomes for outcomes in by_name)]

        def measure(seed: str) -> Sample:
            outcomes = [of_seeds[seed] for of_seeds in by_name]
            for outcome in outcomes:
                if outcome.run is None:
                    raise TooLittle(outcome.problem)
            return of(*(outcome.run for outcome in outcomes), seed)

        return over_seeds({seed: [seed] for seed in seeds}, measure, problems, discrete)
