#!/usr/bin/env python3
"""Tests of scripts/watch.py on run folders made up here, one of them in a real browser if there is one: python tests/watch_test.py"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from run_folders import NAN, RunFolders, csv_text, falling_loss

# isort: split
import browser
import watch
from sgdscope.plots.lines import visible
from sgdscope.watching import Follower, Watch, labels_of

SCRIPT = Path(watch.__file__)
LATER = 3600.0  # a deadline that never comes


def rows_of(begin: int, end: int) -> dict[str, np.ndarray]:
    """Rows of metrics from one step to another."""
    step = np.arange(begin, end)
    return {"step": step, "epoch": step / 10, "loss": falling_loss(end)[begin:], "a.x": np.where(step % 5, NAN, step)}


def lines_of(begin: int, end: int) -> str:
    return csv_text(rows_of(begin, end)).partition("\n")[2]


class Page:
    """What the page does without a browser: it asks, and puts together what comes."""

    def __init__(self, watched: Watch, *columns: str, **view: Any) -> None:
        self.watched = watched
        self.view = {"columns": list(columns), "x": "step", "pixels": 1000, "window": None, **view}
        self.curves: dict[tuple[int, str], dict[str, Any]] = {}
        self.answer: dict[str, Any] = {}

    def poll(self) -> list[dict[str, Any]]:
        """Asks until nothing more has been written; the curves that came last."""
        while True:
            have: dict[str, Any] = {}
            for (run, column), curve in self.curves.items():
                if len(curve["x"]) <= 8 * self.view["pixels"]:
                    have.setdefault(str(run), {})[column] = [curve["generation"], curve["rows"]]
            self.answer = json.loads(json.dumps(self.watched.poll({**self.view, "have": have}), allow_nan=False))
            for curve in self.answer["curves"]:
                old = self.curves.get((curve["run"], curve["column"]))
                before = {key: old[key] if old and curve["from"] else [] for key in ("x", "y")}
                self.curves[curve["run"], curve["column"]] = {
                    **curve,
                    **{key: before[key] + curve[key] for key in before},
                }
            if not self.answer["more"]:
                return self.answer["curves"]

    def curve(self, column: str, run: int = 0) -> tuple[list[float], list[float]]:
        found = self.curves[run, column]
        return found["x"], found["y"]

    def statuses(self) -> dict[str, str]:
        return {run["label"]: run["status"] for run in self.answer["runs"]}


class Following(RunFolders):
    """Reading files that change."""

    def append(self, folder: str, text: str) -> None:
        with open(f"{folder}/metrics.csv", "a") as file:
            file.write(text)

    def read(self, follower: Follower, *names: str) -> list[list[float]]:
        follower.refresh()
        self.assertFalse(follower.read_on(names, time.monotonic() + LATER))
        return [values.tolist() for values in follower.values(names)]

    def test_only_whole_lines_and_each_once(self) -> None:
        folder = self.make("run", rows_of(0, 3))
        page = Page(Watch([folder]), "loss", "a.x")
        page.poll()
        text = lines_of(3, 40)
        for begin in range(0, len(text), 37):
            self.append(folder, text[begin : begin + 37])
            page.poll()
        loss = falling_loss(40).tolist()
        self.assertEqual(page.curve("loss"), (list(range(40)), loss))
        self.assertEqual(page.curve("a.x"), ([0, 5, 10, 15, 20, 25, 30, 35],) * 2)
        self.assertEqual(page.poll(), [])
        self.append(folder, lines_of(40, 42))
        (new, _) = page.poll()
        self.assertEqual((new["from"], new["x"]), (40, [40, 41]))

    def test_any_size_of_block_and_columns_that_are_picked_later(self) -> None:
        folder = Path(self.make("run", rows_of(0, 50)))
        for size in (1, 7, 100, 1 << 20):
            with mock.patch("sgdscope.watching.READ_BYTES", size):
                follower = Follower(folder / "metrics.csv")
                (loss,) = self.read(follower, "loss")
                self.assertEqual(loss, falling_loss(50).tolist())
                step, again = self.read(follower, "step", "loss")
                self.assertEqual((step, again), (list(range(50)), loss))

    def test_a_deadline_is_kept_and_the_rest_comes_later(self) -> None:
        folder = self.make("run", rows_of(0, 500))
        with mock.patch("sgdscope.watching.READ_BYTES", 1000), mock.patch("sgdscope.watching.POLL_SECONDS", -1.0):
            watched = Watch([folder])
            first = watched.poll({"columns": ["loss"], "x": "step", "pixels": 1000})
            self.assertTrue(first["more"])
            self.assertLess(first["curves"][0]["rows"], 50)
            page = Page(watched, "loss")
            page.poll()
        self.assertEqual(page.curve("loss"), (list(range(500)), falling_loss(500).tolist()))

    def test_a_run_that_is_cut_back_or_begun_anew_is_read_anew(self) -> None:
        folder = self.make("run", rows_of(0, 30))
        page = Page(Watch([folder]), "loss")
        page.poll()
        path = Path(folder, "metrics.csv")
        whole = path.read_text()
        with path.open("r+") as file:  # as --resume does
            file.truncate(len(whole) - len(lines_of(20, 30)))
        page.poll()
        self.assertEqual(page.curve("loss"), (list(range(20)), falling_loss(20).tolist()))
        anew = {"step": np.arange(40), "epoch": np.zeros(40), "loss": np.linspace(9, 8, 40)}
        path.write_text(csv_text(anew))  # in place, and longer than what was there when it was looked at last
        page.poll()
        self.assertEqual(page.curve("loss"), (list(range(40)), anew["loss"].tolist()))
        self.assertNotIn("a.x", page.answer["columns"])
        path.write_text(csv_text({**anew, "loss": anew["loss"] + 1}))
        page.poll()
        self.assertEqual(page.curve("loss")[1], (anew["loss"] + 1).tolist())

    def test_a_damaged_line_is_told_and_what_came_before_stays(self) -> None:
        folder = self.make("run", rows_of(0, 3))
        page = Page(Watch([folder]), "loss")
        page.poll()
        self.append(folder, "3,0.3,oops,\n")
        page.poll()
        (run,) = page.answer["runs"]
        self.assertIn("metrics.csv, line 5: column loss: found 'oops'", run["reason"])
        self.assertEqual(page.curve("loss")[0], [0, 1, 2])
        Path(folder, "metrics.csv").write_text(csv_text(rows_of(0, 6)))
        page.poll()
        self.assertEqual((page.answer["runs"][0]["reason"], page.curve("loss")[0]), ("", [0, 1, 2, 3, 4, 5]))


class Looking(RunFolders):
    """Which runs there are, and how they are."""

    def test_runs_that_come_later_and_folders_that_vanish(self) -> None:
        self.make("sweep/lr10", rows_of(0, 2))
        page = Page(Watch([str(self.root / "swe*")]), "loss")
        page.poll()
        self.make(
            "sweep/lr9", rows_of(0, 4), {"step": [0], "epoch": [0], "train_loss": [2]}, manifest={"status": "failed"}
        )
        os.makedirs(self.root / "sweep/young")
        Path(self.root, "sweep/young/config.json").write_text("{}")
        page.poll()
        self.assertEqual(list(page.statuses().items()), [("lr9", "failed"), ("lr10", "done"), ("young", "not begun")])
        self.assertEqual(page.curve("loss", run=1)[0], [0, 1, 2, 3])
        self.assertEqual(page.answer["columns"], ["loss", "a.x", "eval.train_loss"])
        shutil.rmtree(self.root / "sweep/lr10")
        self.assertEqual(page.poll(), [])
        self.assertEqual(page.statuses()["lr10"], "gone")
        self.make("sweep/lr10", rows_of(0, 3), manifest={"status": "interrupted"})
        page.poll()
        self.assertEqual((page.statuses()["lr10"], page.curve("loss")[0]), ("interrupted", [0, 1, 2]))

    def test_a_running_run_tells_its_step_time_and_silence(self) -> None:
        told = {"status": "running", "steps_done": 4, "wall_seconds": 10.0}
        folder = Path(self.make("run", rows_of(0, 30), manifest=told))
        os.utime(folder / "manifest.json", (1000, 1000))
        os.utime(folder / "metrics.csv", (1060, 1060))
        page = Page(Watch([str(folder)]), "loss")
        with mock.patch("time.time", return_value=1100.0):
            page.poll()
        (run,) = page.answer["runs"]
        self.assertEqual((run["steps"], run["seconds"], run["silent"]), (30, 70, 40))

    def test_hidden_runs_are_not_read(self) -> None:
        folders = [self.make(name, rows_of(0, 3)) for name in ("a", "b")]
        page = Page(Watch(folders), "loss", hidden=[0])
        self.assertEqual([curve["run"] for curve in page.poll()], [1])

    def test_a_folder_is_one_run_by_whichever_names(self) -> None:
        folder = self.make("with [brackets]", rows_of(0, 3))
        inside = os.path.relpath(folder)
        for names in ([folder], [folder, inside, str(self.root), str(self.root / "with*")]):
            page = Page(Watch(names), "loss")
            page.poll()
            self.assertEqual(list(page.statuses()), ["with [brackets]"])
        self.assertEqual(watch.parse_arguments([folder]).runs, [folder])

    def test_labels_begin_where_the_folders_part(self) -> None:
        self.assertEqual(labels_of(map(Path, ("/r/x/a", "/r/x/b/c"))), ["a", "b/c"])
        self.assertEqual(labels_of([Path("/r/x/a")]), ["a"])
        self.assertEqual(labels_of([]), [])


class Views(RunFolders):
    """What is sent of a curve."""

    def make_long(self, steps: int = 30_000) -> tuple[str, np.ndarray]:
        random = np.random.default_rng(1)
        loss = 1 + 0.1 * random.standard_normal(steps)
        loss[1234], loss[steps * 2 // 3] = 50, -50
        return self.make("long", {"step": np.arange(steps), "epoch": np.arange(steps) / 100, "loss": loss}), loss

    def assert_envelope(self, x: Sequence[float], y: Sequence[float], loss: np.ndarray, pixels: int) -> None:
        """That in each column of pixels the lowest and highest points are those of all rows."""
        at = np.asarray(x).astype(int)
        np.testing.assert_array_equal(y, loss[at])
        column = (np.arange(loss.size) / ((loss.size - 1) / pixels)).astype(int)
        for pixel in range(pixels):
            seen, rows = np.asarray(y)[column[at] == pixel], loss[column == pixel]
            self.assertEqual((seen.min(), seen.max()), (rows.min(), rows.max()))

    def test_thinning_is_exact_in_lowest_and_highest(self) -> None:
        folder, loss = self.make_long()
        page = Page(Watch([folder]), "loss", pixels=100)
        page.poll()
        # Read in one block here, so that all was thinned at once.
        page.curves.clear()
        page.poll()
        x, y = page.curve("loss")
        self.assertLessEqual(len(x), 4 * 101)
        self.assert_envelope(x, y, loss, 100)

    def test_a_growing_curve_keeps_its_spikes_and_few_points(self) -> None:
        folder, loss = self.make_long(8_000)
        path = Path(folder, "metrics.csv")
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:1]))
        page = Page(Watch([folder]), "loss", pixels=50)
        for begin in range(1, len(lines), 100):
            with path.open("a") as file:
                file.writelines(lines[begin : begin + 100])
            page.poll()
            self.assertLessEqual(len(page.curve("loss")[0]), (8 + 4) * 50)
        x, y = page.curve("loss")
        self.assertIn(50, y)
        self.assertEqual(sorted(x), x)
        for begin in range(0, 8_000, 800):  # of any five columns of pixels
            inside = [value for at, value in zip(x, y) if begin <= at < begin + 800]
            rows = loss[begin : begin + 800]
            self.assertEqual((min(inside), max(inside)), (rows.min(), rows.max()))

    def test_a_window_has_its_own_points(self) -> None:
        folder, loss = self.make_long()
        page = Page(Watch([folder]), "loss", pixels=1000, window=[1200, 1300])
        page.poll()
        self.assertEqual(page.curve("loss"), (list(range(1200, 1301)), loss[1200:1301].tolist()))

    def test_a_logarithmic_axis_is_thinned_as_it_is_drawn(self) -> None:
        folder, _ = self.make_long()
        page = Page(Watch([folder]), "loss", pixels=300, log_x=True)
        page.poll()
        page.curves.clear()
        page.poll()
        x = page.curve("loss")[0]
        self.assertEqual(x[:20], list(range(1, 21)))
        self.assertLessEqual(len(x), 4 * 301)

    def test_what_can_be_seen_is_told_by_index(self) -> None:
        x = np.arange(1000.0)
        y = np.sin(x)
        y[500] = 7
        self.assertIn(500, visible(x, y, 10))

    def test_x_by_epoch_and_by_the_loss(self) -> None:
        at = np.array([0, 10, 20])
        folder = self.make("run", rows_of(0, 25), {"step": at, "epoch": at / 10, "train_loss": 5 - at / 10})
        page = Page(Watch([folder]), "loss", x="epoch")
        page.poll()
        self.assertEqual(page.curve("loss")[0], (np.arange(25) / 10).tolist())
        page = Page(Watch([folder]), "loss", "eval.train_loss", x="loss")
        page.poll()
        np.testing.assert_allclose(page.curve("loss")[0], np.arange(21) / 10)  # later rows wait for an evaluation
        np.testing.assert_allclose(page.curve("eval.train_loss")[0], [0, 1, 2])
        with open(f"{folder}/eval.csv", "a") as file:
            file.write("24,2.4,2\n")
        page.poll()
        np.testing.assert_allclose(page.curve("loss")[0], [*np.arange(21) / 10, 2.25, 2.5, 2.75, 3])
        bare = Page(Watch([self.make("bare", rows_of(0, 5))]), "loss", x="loss")
        self.assertEqual(bare.poll(), [])

    def test_infinite_and_missing_values_are_not_sent(self) -> None:
        folder = self.make("run", {"step": [0, 1, 2, 3], "epoch": [0] * 4, "loss": [1, NAN, float("inf"), 2]})
        page = Page(Watch([folder]), "loss")
        page.poll()
        self.assertEqual(page.curve("loss"), ([0, 3], [1, 2]))


class Serving(RunFolders):
    """The server and its command line."""

    @contextlib.contextmanager
    def serving(self, *patterns: str) -> Iterator[int]:
        """A server in a thread; its port."""
        with watch.open_server(Watch(patterns), 0) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()

    def ask(self, port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def test_nothing_but_the_page_and_rows_is_served(self) -> None:
        folder = self.make("run", rows_of(0, 3))
        request = {"columns": ["loss", "../secret", "eval.loss"], "x": "step", "pixels": 100}
        with self.serving(folder) as port:
            status, page = self.ask(port, "GET", "/")
            self.assertEqual((status, page), (200, watch.PAGE.read_bytes()))
            for path in (
                "/../watch.py",
                "/run/config.json",
                "/%2e%2e/config.json",
                f"//{folder}/config.json",
                "/?x",
                "/poll",
            ):
                self.assertEqual(self.ask(port, "GET", path)[0], 404, path)
            self.assertEqual(self.ask(port, "POST", "/other", "{}")[0], 404)
            self.assertEqual(self.ask(port, "GET", "/", Host="elsewhere.example:80")[0], 403)
            self.assertEqual(self.ask(port, "POST", "/poll", json.dumps(request), Host="elsewhere.example")[0], 404)
            status, answer = self.ask(port, "POST", "/poll", json.dumps(request))
            self.assertEqual((status, [curve["column"] for curve in json.loads(answer)["curves"]]), (200, ["loss"]))

    def test_requests_that_no_page_sends(self) -> None:
        good = {"columns": [], "x": "step", "pixels": 100}
        with self.serving(self.make("run", rows_of(0, 3))) as port:
            for wrong in ("", "[]", "{}", "nul", json.dumps({**good, "x": "y"}), json.dumps({**good, "pixels": 0}),
                          json.dumps({**good, "have": [1]}), json.dumps({**good, "window": ["a", 1]}),
                          json.dumps({**good, "columns": ["loss"], "have": {"0": {"loss": 5}}})):  # fmt: skip
                self.assertEqual(self.ask(port, "POST", "/poll", wrong)[0], 400, wrong)
            self.assertEqual(self.ask(port, "POST", "/poll", json.dumps(good))[0], 200)

    def refused(self, *arguments: str, status: int = 2) -> str:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(watch.main(arguments), status)
        return errors.getvalue()

    def test_errors_say_what_to_do(self) -> None:
        self.assertIn("no such folder", self.refused(str(self.root / "none")))
        Path(self.root, "file").write_text("")
        self.assertIn("is no folder", self.refused(str(self.root / "file")))
        self.assertIn("expected 0 to 65535", self.refused(str(self.root), "--port", "65536"))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            errors = self.refused(str(self.root), "--port", str(port), status=5)
        self.assertRegex(errors, rf"port {port}: .*already in use\n  take another, say --port \d+")

    def test_ctrl_c_ends_it_quietly(self) -> None:
        command = [sys.executable, str(SCRIPT), self.make("run", rows_of(0, 3)), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.assertRegex(process.stdout.readline(), r"^watching 1 run at http://localhost:\d+/ ")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, errors), (0, ""))

    def drag(self, page: browser.Browser, begin: float, end: float) -> None:
        """Drags the mouse over a part of the first picture, which is given as shares of its width."""
        box = page.value("document.querySelector('canvas').getBoundingClientRect().toJSON()")
        for kind, share in (("mousePressed", begin), ("mouseMoved", end), ("mouseReleased", end)):
            where = {"x": box["left"] + share * box["width"], "y": box["top"] + box["height"] / 2}
            page.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **where)

    @unittest.skipUnless(browser.PROGRAM, "needs Chromium")
    def test_a_browser_draws_picks_columns_and_follows(self) -> None:
        first = self.make("sweep/a", rows_of(0, 50), manifest={"status": "running"})
        with mock.patch("watch.EVERY_SECONDS", 0.05), self.serving(str(self.root / "sweep")) as port:
            with browser.Browser() as page:
                page.open(f"http://localhost:{port}/")
                page.until("document.querySelector('figure')?.plot?.all[0].x.length === 50")
                inked = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, {0}, {1}).data"
                blue = "(() => {{ const c = document.querySelector('canvas'), d = {0}; for (let i = 0; i < d.length; i += 4) if (d[i] < 30 && d[i + 2] > 150) return true; return false; }})()"
                page.until(blue.format(inked.format("c.width", "c.height")))
                page.value("$('column-search').value = 'a.x'; $('column-search').oninput()")
                self.assertEqual(page.value("[...$('columns').children].map(row => row.textContent)"), ["a.x"])
                page.value("$('columns').querySelector('input').click()")
                page.until("$('panels').children.length === 2 && $('panels').lastChild.plot?.all[0].x.length === 10")
                self.assertIn("columns=loss%2Ca.x", page.value("location.hash"))
                with open(f"{first}/metrics.csv", "a") as file:
                    file.write(lines_of(50, 60))
                page.until("$('panels').firstChild.plot?.all[0].x.length === 60")
                self.assertEqual(page.value("curves.get('0 loss').y"), falling_loss(60).tolist())
                self.drag(page, 0.5, 0.75)
                page.until("$('panels').firstChild.plot?.all[0]?.x.length < 20")
                self.assertGreater(page.value("curves.get('0 loss').x[0]"), 25)
                page.value("$('whole').click()")
                page.until("$('panels').firstChild.plot?.all[0]?.x.length === 60")
                self.make("sweep/b", rows_of(0, 70))
                page.until("$('panels').firstChild.plot?.all[1]?.x.length === 70 && $('runs').children.length === 2")
                page.value("$('runs').querySelector('input').click()")
                page.until("$('panels').firstChild.plot?.all.length === 1")
                page.value("$('latest').open = true")
                cells = "[...$('latest').querySelectorAll('tbody > tr > *')].map(cell => cell.textContent)"
                page.until(f"{cells}.length")
                self.assertEqual(page.value(cells), ["b", "69", f"{falling_loss(70)[-1]:.6g}", "65"])
                page.value("$('logx').click()")
                page.until("$('panels').firstChild.plot?.all[0]?.x[0] === 1")
                self.assertEqual(page.problems, [])


if __name__ == "__main__":
    unittest.main()
