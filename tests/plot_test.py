#!/usr/bin/env python3
"""Tests of scripts/plot.py on run folders made up here: python tests/plot_test.py"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from run_folders import NAN, RunFolders, falling_loss

# isort: split
import plot
from papers.inherent_noise._sums import COLUMNS, draw_sums
from sgdscope.catalogue import ROOT
from sgdscope.plots.density import draw_densities
from sgdscope.plots.lines import Line, batch_loss, make_lines, make_x_axis, smooth, thin_out
from sgdscope.plots.panels import draw_columns, draw_lines
from sgdscope.plots.style import new_figure, strokes
from sgdscope.runs import label_runs, open_run


class Plots(RunFolders):
    """Run folders, and what plot.py makes of them."""

    def make_simple(self, name: str = "simple", steps: int = 100, per_epoch: int = 10) -> str:
        """A run with integer epochs, a falling loss and a norm measured at every fifth step."""
        step = np.arange(steps)
        norm = np.where(step % 5 == 0, step * 0.5, NAN)
        return self.make(
            name, {"step": step, "epoch": step // per_epoch, "loss": falling_loss(steps), "gradient_norm.norm": norm}
        )

    def make_taylor(self, name: str, hidden: int, evaluations: int) -> str:
        """A run with all columns of figure 3."""
        steps = 120
        step, loss = np.arange(steps), falling_loss(steps)
        metrics = {"step": step, "epoch": step // 60, "loss": loss}
        for i, column in enumerate(COLUMNS):
            metrics[column] = np.where(step >= 10, (i + 1) * hidden * (loss[0] - loss), NAN)
        at = np.linspace(0, steps, evaluations).astype(int)
        return self.make(
            name, metrics, {"step": at, "epoch": at // 60, "train_loss": np.interp(at, step, loss)}, hidden
        )

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Runs plot.py: exit status, stdout, stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = plot.main(arguments)
            except SystemExit as exit:
                status = exit.code
        return status, out.getvalue(), err.getvalue()

    def lines(self, folders: Sequence[str], columns: Sequence[str], x: str = "step", smooth: int = 1) -> list:
        """What plot.py would draw: lines[column][run]."""
        runs = [open_run(folder) for folder in folders]
        return make_lines(runs, columns, make_x_axis(runs, x), smooth)


class Reading(Plots):
    def test_values_reach_the_lines_unchanged(self) -> None:
        values = [0.1, 1e-300, -2.5, 123456789.125, 5e-324]
        folder = self.make("exact", {"step": [0, 1, 2, 3, 4], "epoch": [0] * 5, "loss": values})
        ((line,),) = self.lines([folder], ["loss"])
        self.assertEqual(line.x.tolist(), [0, 1, 2, 3, 4])
        self.assertEqual(line.y.tolist(), values)

    def test_empty_cells_are_left_out_wherever_they_stand(self) -> None:
        folder = self.make(
            "holes",
            {
                "step": [0, 1, 2],
                "epoch": [0, 0, 0],
                "loss": [3, 2, 1],
                "a.x": [NAN, 5, NAN],
                "a.y": [NAN, NAN, 7],
                "a.z": [8, NAN, NAN],
            },
        )
        lines = self.lines([folder], ["a.x", "a.y", "a.z"])
        self.assertEqual(
            [(line.x.tolist(), line.y.tolist()) for (line,) in lines], [([1], [5]), ([2], [7]), ([0], [8])]
        )

    def test_rows_over_the_borders_of_blocks(self) -> None:
        folder = self.make_simple()
        for size in (1, 7, 64, 1 << 20):
            with mock.patch("sgdscope.runs.READ_BYTES", size):
                ((line,),) = self.lines([folder], ["gradient_norm.norm"])
            self.assertEqual(line.y.tolist(), [step * 0.5 for step in range(0, 100, 5)])

    def test_a_row_that_is_still_being_written_is_left_out(self) -> None:
        folder = self.make_simple()
        with open(f"{folder}/metrics.csv", "a") as file:
            file.write("100,10,0.1")
        ((line,),) = self.lines([folder], ["loss"])
        self.assertEqual(line.x[-1], 99)

    def test_each_run_and_each_file_gives_its_own_values(self) -> None:
        first = self.make(
            "a", {"step": [0, 1], "epoch": [0, 0], "loss": [4, 3]}, {"step": [0], "epoch": [0], "train_loss": [9]}
        )
        second = self.make(
            "b", {"step": [0, 1], "epoch": [0, 0], "loss": [2, 1]}, {"step": [1], "epoch": [0], "train_loss": [8]}
        )
        lines = self.lines([first, second], ["loss", "eval.train_loss"])
        self.assertEqual([[line.y.tolist() for line in of_runs] for of_runs in lines], [[[4, 3], [2, 1]], [[9], [8]]])

    def test_damaged_rows_name_the_line(self) -> None:
        for bad, expected in (("3,0\n", "found 2 cells, expected 4"), ("3,0,oops,\n", "column loss: found 'oops'")):
            folder = Path(self.make_simple(f"damaged{len(bad)}", steps=3))
            with (folder / "metrics.csv").open("a") as file:
                file.write(bad)
            for size in (8, 1 << 20):
                with mock.patch("sgdscope.runs.READ_BYTES", size):
                    status, _, errors = self.call(str(folder), "--columns", "loss")
                self.assertEqual(status, 3)
                self.assertIn("metrics.csv, line 5: ", errors)
                self.assertIn(expected, errors)


class XAxes(Plots):
    def test_epochs_are_continuous(self) -> None:
        ((line,),) = self.lines([self.make_simple(per_epoch=10)], ["loss"], x="epoch")
        np.testing.assert_allclose(line.x, np.arange(100) / 10)

    def test_fractional_epochs_are_taken_as_they_are(self) -> None:
        folder = self.make("fractional", {"step": [0, 1, 2], "epoch": [0, 0.25, 0.5], "loss": [3, 2, 1]})
        ((line,),) = self.lines([folder], ["loss"], x="epoch")
        self.assertEqual(line.x.tolist(), [0, 0.25, 0.5])

    def test_an_epoch_of_unknown_length_is_refused(self) -> None:
        status, _, errors = self.call(self.make_simple(steps=9), "--columns", "loss", "--x", "epoch")
        self.assertEqual(status, 3)
        self.assertIn("use --x step", errors)

    def test_loss_reduction_from_evaluations(self) -> None:
        at = np.arange(0, 101, 10)
        evaluations = {"step": at, "epoch": at // 10, "train_loss": 5 - at / 25}  # falls by 0.04 a step
        metrics = {"step": np.arange(120), "epoch": np.arange(120) // 10, "loss": np.ones(120)}
        folder = self.make("evaluated", metrics, evaluations)
        (line,), (evaluated,) = self.lines([folder], ["loss", "eval.train_loss"], x="loss_reduction")
        np.testing.assert_allclose(line.x, 0.04 * np.arange(101), atol=1e-12)  # nothing behind the last evaluation
        np.testing.assert_allclose(evaluated.x, 0.04 * at, atol=1e-12)

    def test_loss_reduction_from_the_batch_loss(self) -> None:
        step = np.arange(500)
        few = {"step": [0, 250], "epoch": [0, 5], "train_loss": [7, 1]}
        straight = self.make("straight", {"step": step, "epoch": step // 50, "loss": 4 - step / 250}, few)
        run = open_run(straight)
        axis = make_x_axis([run], "loss_reduction")
        self.assertIn("running mean of the batch loss over 11 rows", axis.label)
        # A centred mean of a straight line is the line; the last window is cut to its first half.
        np.testing.assert_allclose(axis.at(0, run.metrics)[:495], step[:495] / 250, atol=1e-12)
        self.assertAlmostEqual(axis.at(0, run.metrics)[-1], np.mean(step[-6:]) / 250, places=12)

    def test_the_window_of_the_running_mean_is_one_epoch_if_that_is_shorter(self) -> None:
        step = np.arange(0, 3000, 2)  # thinned rows: an epoch of 10 steps is 5 rows
        folder = self.make("short_epochs", {"step": step, "epoch": step // 10, "loss": falling_loss(step.size)})
        self.assertIn("over 5 rows", batch_loss(open_run(folder)).source)

    def test_the_running_mean_narrows_where_the_loss_falls_fastest(self) -> None:
        loss = falling_loss(1000)
        folder = self.make("curved", {"step": range(1000), "epoch": np.arange(1000) // 500, "loss": loss})
        mean = batch_loss(open_run(folder)).losses
        for t, half in ((0, 0), (1, 0), (8, 4), (600, 10)):
            self.assertAlmostEqual(mean[t], np.mean(loss[t - half : t + half + 1]), places=12)

    def test_runs_in_one_picture_share_the_source_of_their_loss(self) -> None:
        runs = [open_run(self.make_taylor("many", 64, 20)), open_run(self.make_taylor("few", 8, 3))]
        self.assertIn("eval.csv", make_x_axis(runs[:1], "loss_reduction").label)
        self.assertIn("running mean", make_x_axis(runs, "loss_reduction").label)

    def test_coarse_evaluations_are_pointed_out(self) -> None:
        at = np.arange(0, 100, 10)
        evaluations = {"step": at, "epoch": at // 10, "train_loss": [2.3] + [0.5] * 9}
        folder = self.make("coarse", {"step": at, "epoch": at // 10, "loss": at}, evaluations)
        status, _, errors = self.call(folder, "--columns", "loss", "--x", "loss_reduction")
        self.assertEqual(status, 0)
        self.assertIn("100% of the reduction in loss lies between the evaluations at steps 0 and 10", errors)


class Lines(Plots):
    def test_smoothing_is_a_centred_mean_of_measured_rows(self) -> None:
        values = [0, NAN, 3, 6, NAN, 12, 3]
        folder = self.make("rough", {"step": range(7), "epoch": [0] * 7, "loss": [1] * 7, "p.v": values})
        ((line,),) = self.lines([folder], ["p.v"], smooth=3)
        np.testing.assert_allclose(line.y, [1.5, 3, 7, 7, 7.5])
        self.assertEqual(line.x.tolist(), [0, 2, 3, 5, 6])

    def test_a_mean_knows_nothing_of_values_beside_its_rows(self) -> None:
        np.testing.assert_array_equal(smooth(np.array([1e17, 2, 2, 2, 2, 2]), 2), [1e17, 5e16, 2, 2, 2, 2])
        random = np.random.default_rng(1)
        for size in (0, 1, 2, 7, 8, 100):
            values = random.standard_normal(size)
            for rows in (1, 2, 3, 8, 33, 250):
                windows = [values[max(0, i - rows // 2) : i + (rows + 1) // 2] for i in range(size)]
                np.testing.assert_allclose(smooth(values, rows), [part.mean() for part in windows], atol=1e-15)

    def test_thinning_keeps_what_can_be_seen(self) -> None:
        random = np.random.default_rng(1)
        x, y = np.arange(50_000.0), random.standard_normal(50_000)
        y[31_415], y[27_182] = 40, -40
        thin = thin_out(Line(x, y), pixel_columns=100)
        self.assertLessEqual(thin.x.size, 404)
        self.assertTrue(np.array_equal(y[thin.x.astype(int)], thin.y))
        self.assertTrue(np.all(np.diff(thin.x) > 0))
        self.assertTrue({0, 499, 500, 999, 49_500, 49_999} <= set(thin.x))  # both ends of each pixel column
        for begin in range(0, 50_000, 5_000):  # the envelope of any ten pixel columns is that of all their rows
            seen, part = thin.y[(thin.x >= begin) & (thin.x < begin + 5_000)], y[begin : begin + 5_000]
            self.assertEqual((seen.min(), seen.max()), (part.min(), part.max()))

    def test_thinning_follows_an_x_axis_that_turns_back(self) -> None:
        x = np.concatenate([np.arange(5_000), np.arange(5_000)[::-1]]).astype(float)
        y = np.arange(10_000.0)
        thin = thin_out(Line(x, y), pixel_columns=10)
        self.assertTrue(np.all(np.diff(thin.y) > 0))
        self.assertIn(4_999, thin.x)
        self.assertEqual(thin.y[-1], 9_999)

    def test_a_column_without_values_is_refused_and_one_empty_run_is_noted(self) -> None:
        empty = self.make("empty", {"step": [0, 1], "epoch": [0, 0], "loss": [2, 1], "p.v": [NAN, NAN]})
        full = self.make("full", {"step": [0, 1], "epoch": [0, 0], "loss": [2, 1], "p.v": [1, NAN]})
        status, _, errors = self.call(empty, "--columns", "p.v")
        self.assertEqual((status, "column p.v has no measured value" in errors), (3, True))
        status, _, errors = self.call(full, empty, "--columns", "p.v")
        self.assertEqual((status, f"p.v has no measured value in {empty}" in errors), (0, True))


class Looks(unittest.TestCase):
    LISTS = {"COLOURS", "DASHES", "LOOKS"}

    def test_a_line_without_a_look_is_an_error(self) -> None:
        lines = [Line(np.arange(2.0), np.arange(2.0))] * 3
        axes = new_figure(2, 2).subplots()
        draw_lines(axes, lines, strokes(("a", "b", "c")))
        self.assertEqual(len(axes.lines), 3)
        with self.assertRaises(ValueError):
            draw_lines(axes, lines, strokes(("a", "b")))

    def test_no_picture_leaves_out_what_there_is_no_look_for(self) -> None:
        # zip ends where its shortest argument does: of looks there must be as many, or they must return.
        for folder in ("papers", "sgdscope/plots"):
            for file in sorted((ROOT / "scripts" / folder).rglob("*.py")):
                for call in ast.walk(ast.parse(file.read_text())):
                    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "zip" and not call.keywords:
                        fixed = [ast.unparse(argument) for argument in call.args if self.is_fixed(argument)]
                        self.assertEqual(fixed, [], f"{file}:{call.lineno}: add strict=True, or itertools.cycle")

    def is_fixed(self, argument: ast.expr) -> bool:
        """Whether it is of a list of looks that is as long as it is."""
        cycles = isinstance(argument, ast.Call) and ast.unparse(argument.func) == "itertools.cycle"
        names = {node.id for node in ast.walk(argument) if isinstance(node, ast.Name)}
        return bool(names & self.LISTS) and not cycles


class Errors(Plots):
    def refused(self, *arguments: str, status: int = 2) -> str:
        """The error message of a call that must fail with `status`."""
        found, out, errors = self.call(*arguments)
        self.assertEqual((found, out), (status, ""), errors)
        return errors

    def test_a_misspelt_column_names_the_nearest(self) -> None:
        folder = self.make_taylor("taylor", 64, 3)
        errors = self.refused(folder, "--columns", "loss,taylor.updating.cum_penality")
        self.assertIn("no column 'taylor.updating.cum_penality'", errors)
        self.assertIn("did you mean taylor.updating.cum_penalty", errors)
        self.assertIn("eval.train_loss", self.refused(folder, "--columns", "train_loss"))

    def test_a_folder_that_is_no_run(self) -> None:
        self.make_simple("fc64")
        self.assertIn("is no run folder: it has no config.json", self.refused(str(self.root), "--columns", "loss"))
        self.assertIn(str(self.root / "fc64"), self.refused(str(self.root / "fc46"), "--columns", "loss"))

    def test_a_file_without_rows_yet(self) -> None:
        folder = self.make("young", {"step": [], "epoch": [], "loss": []})
        for text in ("step,epoch,loss\n", "step,epoch,loss\n0,0,", ""):
            Path(folder, "metrics.csv").write_text(text)
            self.assertIn("has no rows", self.refused(folder, "--columns", "loss", status=3))

    def test_nothing_to_draw_lists_the_columns(self) -> None:
        self.assertIn("step, epoch, loss, gradient_norm.norm", self.refused(self.make_simple()))

    def test_contradictions_and_bad_values(self) -> None:
        folder = self.make_simple()
        self.assertIn("2 labels for 1 runs", self.refused(folder, "--columns", "loss", "--labels", "a,b"))
        self.assertIn("neither a PNG nor a PDF", self.refused(folder, "--columns", "loss", "--out", "a.gif"))
        self.assertIn("expected 1 row or more", self.refused(folder, "--columns", "loss", "--smooth", "0"))
        self.refused(folder, "--columns", "loss", "--x", "time")

    def test_a_logarithm_of_nothing_above_zero(self) -> None:
        folder = self.make("negative", {"step": [0, 1], "epoch": [0, 0], "loss": [-1, 0]})
        self.assertIn("loss has no value above 0", self.refused(folder, "--columns", "loss", "--log-y", status=3))

    def test_a_missing_matplotlib_says_how_to_install_it(self) -> None:
        own = self.root / ".venv"
        with mock.patch.dict(sys.modules, {"matplotlib": None}), mock.patch("sgdscope.errors.ENVIRONMENT", own):
            said = self.refused(self.make_simple(), "--columns", "loss", status=5)
        self.assertIn(
            f"run scripts/setup.sh, which installs it and says for which Python, or: {sys.executable} -m", said
        )

    def test_every_tool_says_which_python_has_its_libraries(self) -> None:
        shutil.copytree(ROOT / "scripts", self.root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))

        def said(tool: str) -> str:
            bare = [sys.executable, "-S", "-E", "-B"]  # without NumPy, wherever it is installed
            done = subprocess.run([*bare, str(self.root / "scripts" / tool)], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (5, ""), f"{tool}: {done.stderr}")
            return done.stderr

        tools = [file.name for file in (ROOT / "scripts").glob("*.py") if "sgdscope.libraries" in file.read_text()]
        self.assertGreaterEqual(len(tools), 7)
        self.assertIn("or: ", said("plot.py"))
        own = self.root / ".venv"
        (own / "lib" / "python3" / "site-packages" / "numpy").mkdir(parents=True)
        for tool in tools:
            self.assertEqual(said(tool), f"error: numpy: this Python, {sys.executable}, has none\n"
                             f"  call this with {own}/bin/python, which has it\n")  # fmt: skip

    def test_a_place_that_cannot_be_written(self) -> None:
        Path(self.root, "file").write_text("")
        self.assertIn(
            "--out", self.refused(self.make_simple(), "--columns", "loss", "--out", f"{self.root}/file/a.png", status=5)
        )


class Pictures(Plots):
    def test_the_default_place_is_in_the_first_run(self) -> None:
        folder = self.make_simple()
        status, out, errors = self.call(folder, "--columns", "loss,gradient_norm.norm")
        picture = Path(folder, "plots", "loss+gradient_norm.norm.png")
        self.assertEqual((status, out), (0, f"{picture}\n"))
        self.assertNotIn("note:", errors)
        self.assertTrue(picture.read_bytes().startswith(b"\x89PNG"))
        self.assertEqual(os.listdir(picture.parent), [picture.name])

    def test_a_backend_or_a_style_from_elsewhere_changes_nothing(self) -> None:
        folder = self.make_simple()
        Path(self.root, "matplotlibrc").write_text(
            "backend: module://no.such.module\ntext.usetex: True\nfont.size: 30\n"
        )
        pictures = []
        for name, inherited in (
            ("plain", {}),
            ("notebook", {"MPLBACKEND": "module://matplotlib_inline.no_such_backend"}),
            ("window", {"MPLBACKEND": "tkagg"}),
            ("style", {"MATPLOTLIBRC": str(self.root / "matplotlibrc")}),
        ):
            picture = Path(self.root, f"{name}.png")
            command = [sys.executable, plot.__file__, folder, "--columns", "loss", "--out", str(picture)]
            clean = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "MATPLOTLIBRC")}
            ended = subprocess.run(command, env={**clean, **inherited}, capture_output=True, text=True)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            pictures.append(picture.read_bytes())
        self.assertEqual(len(set(pictures)), 1)

    def test_panels_overlay_log_and_several_files(self) -> None:
        folders = [self.make_simple("a"), self.make_simple("b", steps=50)]
        png, pdf = str(self.root / "out" / "p.png"), str(self.root / "out" / "p.pdf")
        for more in ((), ("--overlay",)):
            status, out, errors = self.call(
                *folders, "--columns", "loss,gradient_norm.norm", "--x", "epoch", "--log-y", *more, "--out", png, pdf
            )
            self.assertEqual((status, out), (0, f"{png}\n{pdf}\n"))
            self.assertIn("gradient_norm.norm: 2 of 30" if not more else "2 of 180", errors)
            self.assertTrue(Path(pdf).read_bytes().startswith(b"%PDF"))

    def test_panels_hold_the_lines_and_the_legend_names_the_runs(self) -> None:
        runs = [open_run(self.make_simple("a")), open_run(self.make_simple("b", steps=50))]
        label_runs(runs, "one,two")
        figure = draw_columns(runs, ["loss", "gradient_norm.norm"], make_x_axis(runs, "step"), 1, False, None)
        panels = figure.get_axes()
        self.assertEqual([axes.get_ylabel() for axes in panels], ["loss", "gradient_norm.norm"])
        np.testing.assert_array_equal(panels[0].lines[1].get_ydata(), falling_loss(50))
        self.assertEqual([text.get_text() for text in figure.legends[0].get_texts()], ["one", "two"])

    def write_density(self, folder: str, step: int, nodes: np.ndarray, weights: np.ndarray) -> None:
        """A file as the probe `hessian` writes it."""
        arrays, end, header = {"nodes": nodes, "weights": weights}, 0, {}
        for name, array in arrays.items():
            header[name] = {"dtype": "F64", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
            end += array.nbytes
        text = json.dumps(header).encode()
        file = Path(folder, "snapshots", f"step_{step}.hessian.safetensors")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(
            len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values())
        )

    def test_a_density_is_a_line_for_each_step_with_the_share_of_the_eigenvalues_below_it(self) -> None:
        folder = self.make_simple()
        for step, top in ((0, 3.0), (500, 10.0)):
            nodes = np.array([[-1.0, 0.0, top], [-1.0, 0.0, top]])
            self.write_density(folder, step, nodes, np.array([[0.1, 0.7, 0.2], [0.1, 0.5, 0.4]]))
        runs = [open_run(folder)]
        label_runs(runs, None)
        (axes,) = draw_densities(runs, "hessian", None).get_axes()
        self.assertEqual([line.get_label() for line in axes.lines], ["step 0", "step 500"])
        x, y = axes.lines[1].get_xdata(), axes.lines[1].get_ydata()
        for low, high, share in ((-2, -0.5, 0.1), (-0.5, 0.5, 0.6), (9.4, 11, 0.3)):
            inside = (x > low) & (x < high)
            self.assertAlmostEqual(y[inside].sum() * (x[1] - x[0]), share, delta=1e-3)
        status, printed, _ = self.call(folder, "--density", "hessian")
        self.assertEqual((status, printed.strip()), (0, f"{folder}/plots/density+hessian.png"))

    def test_densities_that_are_not_there_or_beside_columns_are_refused(self) -> None:
        folder = self.make_simple()
        status, _, message = self.call(folder, "--density", "curvature")
        self.assertEqual(status, 3)
        self.assertIn("has no spectral density of a probe 'curvature'", message)
        self.assertIn("density_samples", message)
        self.write_snapshot(folder, 0, np.arange(3.0))  # of a probe `snapshot`
        shutil.copy(Path(folder, "snapshots/step_0.safetensors"), Path(folder, "snapshots/step_0.kept.safetensors"))
        for label in ("", "kept"):
            status, _, message = self.call(folder, "--density", label)
            self.assertEqual(status, 3)
            self.assertIn(f"has no spectral density of a probe '{label}'", message)
        status, _, message = self.call(folder, "--density", "hessian", "--columns", "loss")
        self.assertEqual((status, "is given together with --columns" in message), (2, True))

    def test_fig3_puts_each_column_where_the_paper_has_it(self) -> None:
        runs = [open_run(self.make_taylor(f"fc{hidden}", hidden, 20)) for hidden in (64, 2000, 8000)]
        label_runs(runs, "64 units,2000 units,8000 units")
        lines = make_lines(runs, COLUMNS, make_x_axis(runs, "loss_reduction"))
        figure = draw_sums(runs, lines, [run.label for run in runs[::-1]], "", None)
        panels = figure.get_axes()
        self.assertEqual(len(panels), 9)
        stems = [
            f"taylor.{batch}.cum_{value}"
            for batch in ("long_ago", "recent", "updating")
            for value in ("dot", "delta_loss", "penalty")
        ]
        for axes, stem in zip(panels, stems):
            for run, line in zip(runs, axes.lines[1:]):  # the first line is the one at zero
                np.testing.assert_array_equal(line.get_ydata(), run.metrics[stem][10:])
        self.assertEqual(
            [text.get_text() for text in figure.legends[0].get_texts()], ["64 units", "2000 units", "8000 units"]
        )
        self.assertEqual([line.get_color() for line in panels[0].lines[1:]], ["#009E73", "#E69F00", "#0072B2"])


if __name__ == "__main__":
    unittest.main()
