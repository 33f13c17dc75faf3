"""Our side: times from sgdscope_bench (Google Benchmark), which is called anew in each round."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgdscope.errors import DATA, Error
from sgdscope.peers.timing import SGDSCOPE, Candidate, Measured, Turns, measure_rounds, readings


class SgdscopeBench:
    """Our benchmark executable. `data`: a folder with MNIST's files; None has it make up images."""

    def __init__(self, program: str, device: str, threads: int, data: str | None, turns: Turns) -> None:
        self.program, self.device, self.turns = program, device, turns
        count = str(threads)
        self.environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "SGDSCOPE_BENCH_DEVICE": device,
        }
        self.environment.pop("SGDSCOPE_BENCH_MNIST", None)
        if data is not None:
            self.environment["SGDSCOPE_BENCH_MNIST"] = os.path.abspath(data)
        self.context: dict[str, Any] = {}
        if not os.access(program, os.X_OK) or Path(program).is_dir():
            raise Error(
                "--sgdscope-bench", f"'{program}' is no program", "build it: scripts/test.sh builds sgdscope_bench, too"
            )

    def measure(self, kinds: Mapping[str, str], optional: Mapping[str, str] | None = None) -> dict[str, float]:
        """Microseconds by kind of the benchmarks (name: kind); an optional one may be missing."""
        wanted = {**kinds, **(optional or {})}
        output = self._run(f"--benchmark_filter=^({'|'.join(wanted)})(/|$)")
        self.context = output.get("context", {})
        self._check_device()
        times: dict[str, float] = {}
        for entry in output.get("benchmarks", []):
            times |= self._time(entry, wanted)
        if missing := [name for name, kind in kinds.items() if kind not in times]:
            hint = "--benchmark_list_tests lists what it has"
            raise Error(self.program, f"reported no {', '.join(missing)}", hint, DATA)
        return times

    def _run(self, benchmark_filter: str) -> dict[str, Any]:
        program = os.path.abspath(self.program)  # a bare name would be looked for in PATH
        command = [program, benchmark_filter, "--benchmark_format=json", f"--benchmark_min_time={self.turns.seconds:g}"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            what = f"ended with status {done.returncode}: {done.stderr.strip()[-500:] or 'nothing on stderr'}"
            raise Error(self.program, what, f"try it alone: {shlex.join(command)}", DATA)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            hint = "only JSON may go to its standard output"
            raise Error(self.program, f"printed no JSON ({error}): '{done.stdout[:80]}'", hint, DATA) from None

    def _check_device(self) -> None:
        found = str(self.context.get("device", "cpu"))
        if found != self.device:
            hint = "it takes the device from SGDSCOPE_BENCH_DEVICE, and names it as 'device' in its JSON context"
            raise Error(self.program, f"measured on {found}, PyTorch on {self.device}", hint, DATA)

    def _time(self, entry: dict[str, Any], kinds: Mapping[str, str]) -> dict[str, float]:
        """Microseconds by kind of one entry; none for an aggregate or another benchmark."""
        if entry.get("error_occurred"):
            raise Error(
                self.program, f"{entry.get('name')}: {entry.get('error_message')}", "repair the benchmark", DATA
            )
        name = next((name for name in kinds if f"{entry.get('name', '')}/".startswith(f"{name}/")), None)
        if name is None or entry.get("run_type") == "aggregate":
            return {}
        scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[entry["time_unit"]]
        return readings(self.turns.clock, kinds[name], entry["real_time"] * scale, entry["cpu_time"] * scale)


def measure_beside(
    network: str, peers: Sequence[Candidate], ours: SgdscopeBench | None, benchmarks: Mapping[str, str], turns: Turns
) -> Measured:
    """The peers in turn with our benchmarks (name: kind), if we take part."""
    measured = Measured(network)
    print(f"measuring {network} ...", file=sys.stderr, flush=True)
    candidates = [*peers, *([Candidate(SGDSCOPE, "", lambda: ours.measure(benchmarks))] if ours else [])]
    measure_rounds(measured, candidates, turns)
    return measured
