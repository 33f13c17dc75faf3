"""How long runs take: configs/PAPER/durations.json, which is written from what runs measured."""

from __future__ import annotations

import heapq
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sgdscope.errors import Error
from sgdscope.files import IN_CONFIGS, replacing
from sgdscope.studies import Job, read_json, stages

if TYPE_CHECKING:
    from sgdscope.results import Outcome

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
CORES = 2  # for which --list tells times


@dataclass
class Durations:
    """Of a paper's runs: the seconds of each setting on one core, and the machine, by size."""

    file: Path
    machines: dict[str, str] = field(default_factory=dict)
    by_size: dict[str, dict[str, float]] = field(default_factory=dict)

    @staticmethod
    def load(paper: str) -> Durations:
        """The durations that are kept beside a paper's studies; none where nothing was measured yet."""
        file = CONFIGS / paper / "durations.json"
        if not file.is_file():
            return Durations(file)
        table = read_json(file)
        machines = {size: part["machine"] for size, part in table.items()}
        return Durations(file, machines, {size: part["seconds"] for size, part in table.items()})

    def seconds(self, size: str, name: str) -> float | None:
        """How many seconds a run of a setting took; None where none was measured."""
        return self.by_size.get(size, {}).get(name)

    def of_all(self, size: str, jobs: Iterable[Job]) -> float | None:
        """How long jobs take, stage after stage, the longest first, one on each core; None where one was never measured."""
        begin = 0.0
        for stage in stages(jobs):
            busy_until = [begin] * CORES
            for seconds in sorted([self.seconds(size, job.name) or 0.0 for job in stage], reverse=True):
                if not seconds:
                    return None
                heapq.heapreplace(busy_until, busy_until[0] + seconds)
            begin = max(busy_until)
        return begin

    def record(self, size: str, outcomes: Sequence[Outcome]) -> int:
        """Takes in how long the runs took that have ended; of how many settings. Numbers of another machine are dropped."""
        ended = [outcome for outcome in outcomes if outcome.ended]
        if not ended:
            raise Error(size, "no run has ended, so there is nothing to record", "make the runs first")
        machines = list(dict.fromkeys(outcome.machine for outcome in ended))
        if len({(outcome.manifest["device"], outcome.manifest["cpu"]) for outcome in ended}) > 1:
            hint = "record the runs of one machine, in a folder of their own (--out)"
            raise Error(size, f"the runs were made on several machines: {'; '.join(machines)}", hint)
        if len(machines) > 1:
            hint = "make them anew, in a folder of their own (--out), each time with the same -j and --threads"
            raise Error(size, f"the runs had different numbers of threads: {'; '.join(machines)}", hint)
        known = self.by_size.get(size, {}) if self.machines.get(size) == machines[0] else {}
        for name in dict.fromkeys(outcome.job.name for outcome in ended):
            measured = [outcome.manifest["wall_seconds"] for outcome in ended if outcome.job.name == name]
            known[name] = round(statistics.fmean(measured), 1)
        self.machines[size], self.by_size[size] = machines[0], known
        table = {one: {"machine": self.machines[one], "seconds": self.by_size[one]} for one in self.by_size}
        with replacing(self.file, IN_CONFIGS) as file:
            file.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return len({outcome.job.name for outcome in ended})


def in_words(seconds: float) -> str:
    """In seconds, minutes or hours, whichever says it best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
