#!/usr/bin/env python3
"""Tests `sgdscope.read`, the frames that it gives, and scripts/export.py."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
import os
import struct
import sys
import unittest
import zlib
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from run_folders import NAN, RunFolders, csv_text

# isort: split
import export
import sgdscope
from sgdscope import errors
from sgdscope.errors import Error
from sgdscope.reader import Runs, flattened
from sgdscope.runs import open_run
from sgdscope.statistics import interval, standard_error
from sgdscope.tensorboard import _records


def absent(*names: str) -> bool:
    return any(importlib.util.find_spec(name) is None for name in names)


def doubles(count: int) -> np.ndarray:
    """Any finite doubles: random bits, and the ends of the range."""
    bits = np.random.default_rng(1).integers(0, 1 << 64, count, np.uint64, endpoint=False)
    found = bits.view(np.float64)
    found[~np.isfinite(found)] = 0.1
    found[:6] = [0.0, -0.0, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e308, 1 / 3]
    return found


class Reader(RunFolders):
    def run_of(
        self, name: str, seed: int, rate: float, accuracy: Sequence[float], loss: Sequence[float] = (3, 2, 1)
    ) -> str:
        """A run with these evaluations at steps 0, 10, ..."""
        metrics = {"step": range(len(loss)), "epoch": [0] * len(loss), "loss": loss}
        steps = range(0, 10 * len(accuracy), 10)
        evaluations = {"step": steps, "epoch": [0] * len(accuracy), "test_accuracy": accuracy}
        config = {"seed": seed, "update": {"name": "sgd", "learning_rate": rate}}
        return self.make(name, metrics, evaluations, config=config)

    def assert_error(self, *parts: str) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def context() -> object:
            with self.assertRaises(Error) as raised:
                yield
            for part in parts:
                self.assertIn(part, str(raised.exception))

        return context()  # type: ignore[return-value]


class Folders(Reader):
    def test_patterns_find_runs_and_pass_over_what_is_none(self) -> None:
        for name in ("b", "a", "deep/c"):
            self.run_of(name, 1, 0.1, [0.5])
        (self.root / "plots").mkdir()
        (self.root / "notes.txt").write_text("")
        names = [run.folder.name for run in sgdscope.read(self.root / "*")]
        self.assertEqual(names, ["a", "b"])
        found = sgdscope.read(f"{self.root}/**", self.root / "a")
        self.assertEqual([run.folder.name for run in found], ["a", "b", "c"])
        self.assertIsInstance(found[1:], Runs)
        self.assertEqual(repr(found), "<3 runs: 3 done; left out: 0>")

    def test_a_folder_whose_name_is_like_a_pattern_is_itself(self) -> None:
        for name in ("probes[0]=1", "probes0=1", "x[1].sweep/a*"):
            self.run_of(name, 1, 0.1, [0.5])
        sweep = self.root / "x[1].sweep"
        (sweep / "jobs.jsonl").write_text(json.dumps({"line": 1, "output": str(sweep / "a*")}))
        for pattern, name in (("probes[0]=1", "probes[0]=1"), ("x[1].sweep", "a*"), ("probes[0]=*", "probes0=1")):
            self.assertEqual([run.folder.name for run in sgdscope.read(self.root / pattern)], [name])

    def test_a_sweep_whose_list_of_runs_is_damaged(self) -> None:
        jobs = self.root / "x.sweep" / "jobs.jsonl"
        jobs.parent.mkdir()
        for text in ("", '{"line": 1, "out', '{"line": 1}\n', "1\n"):
            jobs.write_text(text)
            with self.assert_error(f"{jobs}: is not what scripts/sweep.sh wrote", "call scripts/sweep.sh"):
                sgdscope.read(jobs.parent)
        folder = self.run_of("one\u2028run", 1, 0.1, [0.5])  # a break of lines to Python alone
        jobs.write_text(json.dumps({"line": 1, "output": folder}, ensure_ascii=False) + "\n", encoding="utf-8")
        self.assertEqual([str(run.folder) for run in sgdscope.read(jobs.parent)], [folder])

    def test_what_cannot_be_read_is_told(self) -> None:
        self.run_of("fc64", 1, 0.1, [0.5])
        with self.assert_error("no such folder", "fc64"):
            sgdscope.read(self.root / "fc46")
        with self.assert_error("there is no run folder"):
            sgdscope.read(self.root / "fc64" / "*")
        with self.assert_error("no column 'los'", "did you mean loss"):
            sgdscope.read(self.root / "*").over_seeds("los")
        [run] = sgdscope.read(self.root / "*")
        for _ in range(2):  # before anything is loaded, and after
            with self.assert_error("fc64/metrics.csv: no column 'los'\n  did you mean loss"):
                run.metrics["los"]
            run.metrics["loss"]

    def test_runs_without_rows_are_left_out_and_told(self) -> None:
        self.run_of("done", 1, 0.1, [0.5])
        young, header = Path(self.run_of("young", 2, 0.1, [0.5])), Path(self.run_of("header", 3, 0.1, [0.5]))
        (young / "metrics.csv").unlink()
        (header / "metrics.csv").write_text("step,epoch")
        found = sgdscope.read(self.root / "*")
        self.assertEqual([run.folder.name for run in found], ["done"])
        self.assertEqual(sorted(found.left_out), [str(header), str(young)])
        self.assertIn("no whole header yet", found.left_out[str(header)])

    def test_manifest_and_tensors(self) -> None:
        folder = Path(self.run_of("a", 1, 0.1, [0.5]))
        theta = np.arange(5.0)
        for kind, steps in (("snapshots", (0, 20)), ("checkpoints", (7, 100))):
            for step in steps:
                self.write_snapshot(str(folder.relative_to(self.root)), step, theta + step)
                made = self.root / "runs" / "a" / "snapshots" / f"step_{step}.safetensors"
                (folder / kind).mkdir(exist_ok=True)
                made.rename(folder / kind / (made.name if kind == "snapshots" else f"step_{step:015}.safetensors"))
        run = open_run(str(folder))
        self.assertEqual(run.manifest()["status"], "done")
        sound = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text("{")
        with self.assert_error("manifest.json: is not JSON: ", "\n  make the run again, in another folder"):
            run.manifest()
        (folder / "manifest.json").write_text(sound)
        self.assertEqual(run.snapshot_steps(), [0, 20])
        np.testing.assert_array_equal(run.snapshot(20)["theta"], theta + 20)
        np.testing.assert_array_equal(run.checkpoint()["theta"], theta + 100)
        np.testing.assert_array_equal(run.checkpoint(7)["theta"], theta + 7)
        self.assertEqual(run.checkpoint(7).metadata, {"step": "0"})
        with self.assert_error("snapshots: has no file of step 5", "0, 20"):
            run.snapshot(5)
        file = folder / "snapshots" / "step_20.safetensors"
        text = b'{"__metadata__":{"crc32":"%s"},"theta":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}'
        whole = len(text % (b"0" * 8)).to_bytes(8, "little") + text % (b"0" * 8) + struct.pack("<d", 3)
        file.write_bytes(whole.replace(b"0" * 8, b"%08x" % zlib.crc32(whole), 1))
        self.assertEqual(run.snapshot(20)["theta"].tolist(), [3])
        damaged = bytearray(file.read_bytes())
        damaged[-1] ^= 1
        for content, expected in ((bytes(damaged), "checksum"), (file.read_bytes()[:-3], "is no safetensors file")):
            file.write_bytes(content)
            with self.assert_error(str(file), expected):
                run.snapshot(20)


class LiveRuns(Reader):
    def test_all_columns_have_the_rows_that_there_were_at_first(self) -> None:
        folder = Path(self.run_of("live", 1, 0.1, [0.5]))
        with (folder / "metrics.csv").open("a") as file:
            file.write("3,0,0.")
        run = open_run(str(folder))
        self.assertEqual(run.metrics["step"].tolist(), [0, 1, 2])
        with (folder / "metrics.csv").open("a") as file:
            file.write("5\n4,0,0.25\n")
        self.assertEqual(run.metrics["loss"].tolist(), [3, 2, 1])
        self.assertEqual(open_run(str(folder)).metrics["loss"].tolist(), [3, 2, 1, 0.5, 0.25])

    def test_both_ways_to_read_give_the_same_bits(self) -> None:
        values = doubles(3000)
        holes = np.where(np.arange(3000) % 7 == 0, NAN, values)
        metrics = {
            "step": np.arange(3000),
            "epoch": np.zeros(3000, int),
            "loss": values,
            "p.v": holes,
            "p.no": [NAN] * 3000,
        }
        folder = self.make("bits", metrics)
        with open(f"{folder}/metrics.csv", "a") as file:
            file.write("3000,0,1.5,,\n3001,0,-inf,,\n3002,0,7.2")
        slow, fast = open_run(folder), open_run(folder)
        slow.metrics.load(slow.metrics.columns)
        with mock.patch("sgdscope.runs.LARGE", 0), mock.patch("sgdscope.runs.parse", None):
            fast.metrics.load(fast.metrics.columns)
        for name in slow.metrics.columns:
            self.assertEqual(slow.metrics[name].tobytes(), fast.metrics[name].tobytes(), name)
        self.assertEqual(fast.metrics["loss"][:3000].tobytes(), values.tobytes())
        with mock.patch("sgdscope.runs.LARGE", 0):
            for bad in ("3002,0,oops,,\n", "3002,0\n", "\n3002,0,1,,\n"):
                Path(folder, "metrics.csv").write_text(csv_text(metrics) + bad)
                with self.assert_error("metrics.csv, line 3002: "):
                    open_run(folder).metrics.load(["loss"])


class Flat(unittest.TestCase):
    def test_a_config_becomes_a_row(self) -> None:
        config = {"seed": 1, "model": {"name": "mlp", "hidden": [64, 32]}, "probes": [{"name": "taylor"}]}
        expected = {"seed": 1, "model.name": "mlp", "model.hidden": "[64, 32]", "probes": '[{"name": "taylor"}]'}
        self.assertEqual(flattened(config), expected)


@unittest.skipIf(absent("pandas"), "needs pandas")
class Frames(Reader):
    library = "pandas"

    def rows(self, frame: object) -> list[tuple[object, ...]]:
        return list(frame.itertuples(index=False, name=None))  # type: ignore[attr-defined]

    def test_rows_of_all_runs_with_their_seeds(self) -> None:
        a = self.run_of("a", 7, 0.1, [0.5, 0.75])
        b = self.make("b", {"step": [0], "epoch": [0.5], "loss": [9], "p.v": [4]}, config={"seed": 8})
        runs = sgdscope.read(self.root / "*")
        metrics = runs.metrics(library=self.library)
        self.assertEqual(list(metrics.columns), ["run", "seed", "step", "epoch", "loss", "p.v"])
        rows = self.rows(metrics)
        self.assertEqual([row[:5] for row in rows[:3]], [(a, 7, 0, 0, 3), (a, 7, 1, 0, 2), (a, 7, 2, 0, 1)])
        self.assertEqual(rows[3], (b, 8, 0, 0.5, 9, 4))
        self.assertTrue(all(math.isnan(row[5]) for row in rows[:3]))  # type: ignore[arg-type]
        evaluations = self.rows(runs.evaluations("test_*", library=self.library))
        self.assertEqual(evaluations, [(a, 7, 0, 0, 0.5), (a, 7, 10, 0, 0.75)])
        self.assertEqual(self.rows(runs[:1].metrics("loss", library=self.library))[0], (a, 7, 0, 0, 3))

    def test_a_run_without_rows_has_none(self) -> None:
        folder = Path(self.run_of("young", 1, 0.1, [0.5]))
        (folder / "metrics.csv").write_text("step,epoch,loss\n")
        frame = sgdscope.read(folder).metrics(library=self.library)
        self.assertEqual((len(frame), list(frame.columns)), (0, ["run", "seed", "step", "epoch", "loss"]))

    def test_configs_are_rows(self) -> None:
        folders = [self.run_of("a", 1, 0.1, [0.5]), self.run_of("b", 2, 0.5, [0.5])]
        frame = sgdscope.read(self.root / "*").configs(library=self.library)
        self.assertEqual(list(frame["run"]), folders)
        self.assertEqual(list(frame["status"]), ["done", "done"])
        self.assertEqual(list(frame["update.learning_rate"]), [0.1, 0.5])
        self.assertEqual(list(frame["model.hidden"]), ["[64]", "[64]"])

    def test_means_over_seeds_are_those_of_the_verdicts(self) -> None:
        values = {0.1: ([0.1, 0.5], [0.2, 0.7], [0.4, 0.6, 0.9]), 0.5: ([0.3, 0.9],)}
        for rate, of_seeds in values.items():
            for seed, accuracy in enumerate(of_seeds):
                self.run_of(f"{rate}_{seed}", seed, rate, accuracy)
        runs = sgdscope.read(self.root / "*")
        self.assertEqual(runs.differing(), ["update.learning_rate"])
        frame = runs.over_seeds("eval.test_accuracy", library=self.library)
        names = ["update.learning_rate", "column", "step", "seeds", "mean", "error", "low", "high"]
        self.assertEqual(list(frame.columns), names)
        rows = self.rows(frame)
        self.assertEqual([row[:4] for row in rows], [
            (rate, "eval.test_accuracy", step, seeds) for rate, seeds in ((0.1, 3), (0.5, 1)) for step in (0, 10)
        ])  # fmt: skip
        for row, at in zip(rows[:2], (0, 1)):
            of_seeds = [accuracy[at] for accuracy in values[0.1]]
            expected = [np.mean(of_seeds), standard_error(of_seeds), *interval(of_seeds)]
            np.testing.assert_allclose(np.array(row[4:], float), expected, rtol=1e-14)
        self.assertEqual(rows[2][4], 0.3)
        self.assertTrue(all(math.isnan(value) for value in rows[2][5:]))  # type: ignore[arg-type]

    def test_only_steps_that_all_seeds_have_measured_count(self) -> None:
        for seed, loss in ((1, [1, NAN, 3, 4]), (2, [2, 3, 5])):
            self.run_of(f"run{seed}", seed, 0.1, [0.5], loss=loss)
        frame = sgdscope.read(self.root / "*").over_seeds("loss", library=self.library)
        self.assertEqual(list(frame["step"]), [0, 2])
        self.assertEqual(list(frame["mean"]), [1.5, 4])

    def test_a_seed_counts_once(self) -> None:
        for name in ("a", "b"):
            self.run_of(name, 1, 0.1, [0.5])
        runs = sgdscope.read(self.root / "*")
        with self.assert_error("is of the seed 1", "leave one of them out"):
            runs.over_seeds("loss", library=self.library)
        runs[0].config["threads"] = 2
        self.assertEqual(runs.differing(), [])
        with self.assert_error("leave one of them out, or tell settings apart `by` threads"):
            runs.over_seeds("loss", library=self.library)
        self.assertEqual(len(runs.over_seeds("loss", by=["threads"], library=self.library)), 6)

    def test_settings_may_be_told_apart_by_chosen_fields(self) -> None:
        for seed, (rate, hidden) in enumerate([(0.1, 64), (0.1, 32), (0.5, 64)]):
            metrics = {"step": [0], "epoch": [0], "loss": [seed]}
            config = {"seed": seed, "update": {"learning_rate": rate}}
            self.make(f"run{seed}", metrics, hidden=hidden, config=config)
        runs = sgdscope.read(self.root / "*")
        self.assertEqual(runs.differing(), ["model.hidden", "update.learning_rate"])
        frame = runs.over_seeds("loss", by=["update.learning_rate"], library=self.library)
        self.assertEqual([tuple(row[i] for i in (0, 3, 4)) for row in self.rows(frame)], [(0.1, 2, 0.5), (0.5, 1, 2)])
        with self.assert_error("no config has the field 'learning_rate'", "update.learning_rate"):
            runs.over_seeds("loss", by=["learning_rate"], library=self.library)


@unittest.skipIf(absent("polars"), "needs polars")
class PolarsFrames(Frames):
    library = "polars"

    def rows(self, frame: object) -> list[tuple[object, ...]]:
        return frame.rows()  # type: ignore[attr-defined,no-any-return]


class Missing(Reader):
    def test_a_library_that_is_not_here_is_told_with_the_command(self) -> None:
        runs = sgdscope.read(self.run_of("a", 1, 0.1, [0.5]))
        for library in ("pandas", "polars"):
            with mock.patch.dict(sys.modules, {library: None}), self.assert_error(f"-m pip install {library}"):
                runs.metrics(library=library)
        with self.assert_error("library", "pandas"):
            runs.metrics(library="panda")

    def test_a_python_whose_system_forbids_pip_is_not_told_to_use_it(self) -> None:
        own = self.root / ".venv"
        with (
            mock.patch.object(sys, "base_prefix", sys.prefix),
            mock.patch.object(errors.sysconfig, "get_path", return_value=str(self.root)),
            mock.patch.object(errors, "ENVIRONMENT", own),
        ):
            here = f"{sys.executable} -m "
            self.assertEqual(errors.install("pandas"), here + "pip install pandas")
            (self.root / "EXTERNALLY-MANAGED").touch()
            forbidden = errors.install("pandas")
            self.assertTrue(forbidden.startswith(here + "venv --system-site-packages ENV && "), forbidden)
            self.assertIn(" ENV/bin/python -m pip install pandas, and call this with ENV/bin/python", forbidden)
            (own / "bin").mkdir(parents=True)
            (own / "bin" / "python").touch()
            python = own / "bin" / "python"
            self.assertEqual(errors.install("pandas"), f"{python} -m pip install pandas, and call this with {python}")


class Export(Reader):
    def call(self, *arguments: str) -> tuple[int, str, str]:
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = export.main(arguments)
        return status, out.getvalue(), errors.getvalue()

    @unittest.skipIf(absent("pyarrow"), "needs pyarrow")
    def test_parquet_keeps_every_double(self) -> None:
        from pyarrow import parquet

        values = doubles(2000)
        holes = np.where(np.arange(2000) % 3 == 0, NAN, values)
        metrics = {"step": np.arange(2000), "epoch": np.zeros(2000), "loss": values, "p.v": holes}
        folder = self.make("a", metrics, {"step": [0], "epoch": [0], "train_loss": [1 / 3]})
        other = self.run_of("deep/b", 1, 0.1, [0.5])
        out = self.root / "out"
        status, printed, _ = self.call(folder, other, "--to", "parquet", "--out", str(out))
        self.assertEqual(status, 0)
        files = [out / name / f"{table}.parquet" for name in ("a", "deep/b") for table in ("metrics", "eval")]
        self.assertEqual(printed, "".join(f"{file}\n" for file in files))
        table = parquet.read_table(files[0])
        self.assertEqual(table.column_names, list(metrics))
        self.assertEqual(table.column("step").to_pylist(), list(range(2000)))
        self.assertEqual(table.column("loss").to_numpy().tobytes(), values.tobytes())
        self.assertEqual(table.column("p.v").null_count, int(np.isnan(holes).sum()))
        known = table.column("p.v").drop_null().to_numpy()
        self.assertEqual(known.tobytes(), holes[~np.isnan(holes)].tobytes())

    def test_event_files_are_what_the_format_says(self) -> None:
        folder = self.run_of("a", 1, 0.1, [0.5, 0.75], loss=[3, NAN, 1 / 3])
        os.utime(f"{folder}/metrics.csv", (0, 1e9))
        os.utime(f"{folder}/eval.csv", (0, 1e9 + 1))
        status, printed, _ = self.call(folder, "--to", "tensorboard", "--out", str(self.root / "logs"))
        self.assertEqual(status, 0)
        path = self.root / "logs" / "a" / "events.out.tfevents.sgdscope"
        self.assertEqual(printed, f"{path}\n")
        events = list(events_in(path.read_bytes()))
        self.assertEqual(events[0], (1e9 + 1, None, "brain.Event:2", None))
        scalars = [(event[1], *event[3]) for event in events[1:] if event[3]]
        third = float(np.float32(1 / 3))
        self.assertEqual([row for row in scalars if row[1] == "loss"], [(0, "loss", 3), (2, "loss", third)])
        tag = "eval/test_accuracy"
        self.assertEqual([row for row in scalars if row[1] == tag], [(0, tag, 0.5), (10, tag, 0.75)])

    def test_records_have_the_checksums_of_the_format(self) -> None:
        # CRC-32C of "123456789" is e3069283 (RFC 3720's polynomial), masked as TensorFlow does.
        crc = 0xE3069283
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        record = _records(np.frombuffer(b"123456789", np.uint8)[None])
        self.assertEqual(record[12:], b"123456789" + masked.to_bytes(4, "little"))

    @unittest.skipIf(absent("tensorboard"), "needs tensorboard")
    def test_tensorboard_reads_them(self) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        steps = np.append(np.arange(300), 1 << 40)
        loss = np.random.default_rng(1).normal(size=301)
        folder = self.make("a", {"step": steps, "epoch": [0] * 301, "loss": loss, "p.v": [NAN] * 301})
        self.call(folder, "--to", "tensorboard", "--out", str(self.root / "logs"))
        found = EventAccumulator(str(self.root / "logs" / "a"), {"scalars": 0})
        found.Reload()
        self.assertEqual(sorted(found.Tags()["scalars"]), ["epoch", "loss"])
        scalars = found.Scalars("loss")
        self.assertEqual([scalar.step for scalar in scalars], steps.tolist())
        self.assertEqual([scalar.value for scalar in scalars], loss.astype(np.float32).tolist())

    def test_wrong_usage_and_missing_libraries(self) -> None:
        folder = self.run_of("a", 1, 0.1, [0.5])
        with mock.patch.dict(sys.modules, {"pyarrow": None}):
            status, _, errors = self.call(folder, "--to", "parquet", "--out", str(self.root / "out"))
        self.assertEqual((status, "-m pip install pyarrow" in errors), (5, True))
        (self.root / "file").write_text("")
        status, _, errors = self.call(folder, "--to", "tensorboard", "--out", str(self.root / "file"))
        self.assertEqual((status, "--out" in errors), (5, True))


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return number, at


def fields(data: bytes) -> dict[int, object]:
    """The fields of a message of protocol buffers."""
    found: dict[int, object] = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            found[key >> 3], at = varint(data, at)
            continue
        length, at = varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
        found[key >> 3], at = data[at : at + length], at + length
    return found


def events_in(data: bytes) -> object:
    """Wall time, step, version, and (tag, number) of each event of a file."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = fields(data[at + 12 : at + 12 + length])
        at += 16 + length
        value = None
        if 5 in event:
            scalar = fields(fields(event[5])[1])  # type: ignore[arg-type]
            value = scalar[1].decode(), struct.unpack("<f", scalar[2])[0]  # type: ignore[attr-defined,arg-type]
        version = event[3].decode() if 3 in event else None  # type: ignore[attr-defined]
        yield struct.unpack("<d", event[1])[0], event.get(2), version, value  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
