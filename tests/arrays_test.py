#!/usr/bin/env python3
"""Tests the data set `arrays` on files as NumPy and safetensors write them, and scripts/image_arrays.py that makes them of images."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from run_folders import PROGRAM

# isort: split
import image_arrays
from sgdscope.runs import open_run


class Arrays(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def run_program(self, name: str, data: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """A short run on these data, in a folder of that name."""
        config = {"name": name, "seed": 1, "steps": 20, "batch_size": 7, "sampler": {"name": "replacement"}, "dtype": "float64",
                  "data": {"name": "arrays", "path": str(self.root), **data}, "model": {"name": "mlp", "hidden": [8]},
                  "update": {"name": "sgd", "learning_rate": 0.1}, "output": str(self.root / name)}  # fmt: skip
        file = self.root / f"{name}.json"
        file.write_text(json.dumps(config))
        return subprocess.run([PROGRAM, "run", str(file)], capture_output=True, text=True)

    def losses(self, name: str, data: dict[str, Any]) -> list[float]:
        """The losses of a short run."""
        ended = self.run_program(name, data)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return open_run(str(self.root / name)).metrics["loss"].tolist()


class Files(Arrays):
    def test_runs_are_the_same_whoever_wrote_the_numbers(self) -> None:
        random = np.random.default_rng(1)
        x, y = random.integers(0, 100, (40, 3, 2)), random.integers(0, 3, 40)
        split = {"split": {"share": 0.25}, "normalize": "dataset"}
        written = {}
        for dtype in ("uint8", "int16", "uint64", "float32", "float64"):
            np.save(self.root / f"x_{dtype}.npy", x.astype(dtype))
            written[dtype] = [f"x_{dtype}.npy", "y.npy"]
        np.save(self.root / "y.npy", y)
        np.savez(self.root / "stored.npz", y=y.astype(np.uint8), x=x)
        np.savez_compressed(self.root / "deflated.npz", x=x.astype(np.float32), y=y[:, None])
        for name in ("stored", "deflated"):
            written[name] = [f"{name}.npz:x", f"{name}.npz:y"]
        if importlib.util.find_spec("safetensors"):
            from safetensors.numpy import save_file

            save_file({"x": x, "y": y.astype(np.int32)}, self.root / "t.safetensors")
            written["safetensors"] = ["t.safetensors:x", "t.safetensors:y"]
        found = {name: self.losses(f"run_{name}", {"train_files": files, **split}) for name, files in written.items()}
        for name, losses in found.items():
            # Statistics of bytes are summed as whole numbers, of others one after the other.
            np.testing.assert_allclose(losses, found["float64"], rtol=1e-13, err_msg=name)
        self.assertEqual(len(found["float64"]), 20)

    def test_what_numpy_writes_otherwise_is_refused_with_what_to_call(self) -> None:
        x = np.arange(24.0).reshape(6, 4)
        np.save(self.root / "y.npy", np.arange(6) % 2)
        for name, array in (
            ("fortran", np.asfortranarray(x)),
            ("big", x.astype(">f8")),
            ("half", x.astype(np.float16)),
        ):
            np.save(self.root / "x.npy", array)
            files = {"train_files": ["x.npy", "y.npy"], "split": {"share": 0.5}, "normalize": "none"}
            ended = self.run_program(name, files)
            self.assertEqual(ended.returncode, 3, ended.stderr)
            self.assertIn('numpy.save(FILE, numpy.ascontiguousarray(x, dtype="float32"))', ended.stderr)
            np.save(self.root / "x.npy", np.ascontiguousarray(array, dtype="float32"))
            self.assertEqual(self.run_program(name, files).returncode, 0)

    def test_warnings_are_in_the_log(self) -> None:
        np.save(self.root / "x.npy", np.zeros((40, 8, 8, 3), np.uint8))
        np.save(self.root / "y.npy", np.arange(40) % 3)
        ended = self.run_program("last", {"train_files": ["x.npy", "y.npy"], "split": {"share": 0.25}})
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("channels last", (self.root / "last" / "log.txt").read_text())


@unittest.skipIf(importlib.util.find_spec("PIL") is None, "needs Pillow")
class Images(Arrays):
    def save(self, place: str, size: tuple[int, int], colour: tuple[int, int, int]) -> None:
        """An image of one colour, [width, height]."""
        from PIL import Image

        path = self.root / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = image_arrays.main([str(self.root / "photos"), str(self.root / "out"), *arguments])
        return status, out.getvalue(), errors.getvalue()

    def made(self, names: Sequence[str] = ("train_inputs", "train_labels")) -> list[np.ndarray]:
        return [np.load(self.root / "out" / f"{name}.npy") for name in names]

    def test_a_folder_a_class(self) -> None:
        for i in range(6):
            self.save(f"dog/{i}.png", (5, 4), (i, 20, 30))
            self.save(f"cat/deep/{i}.bmp", (5, 4), (200, 100 + i, 0))
        for hidden in ("cat/.checkpoints/6.png", "cat/deep/.cache/deep/7.png", "dog/.8.png", ".trash/9.png"):
            self.save(hidden, (3, 3), (0, 0, 0))
        (self.root / "photos" / "cat" / "notes.txt").write_text("")
        status, printed, errors = self.call()
        self.assertEqual((status, printed), (0, f"{self.root}/out/train_inputs.npy\n"), errors)
        inputs, labels = self.made()
        self.assertEqual((inputs.shape, inputs.dtype, labels.tolist()), ((12, 3, 4, 5), np.uint8, [0] * 6 + [1] * 6))
        self.assertEqual(inputs[2, :, 1, 1].tolist(), [200, 102, 0])
        self.assertEqual(inputs[8, :, 3, 4].tolist(), [2, 20, 30])
        self.assertEqual((self.root / "out" / "classes.txt").read_text(), "cat\ndog\n")
        losses = self.losses("run", {"path": str(self.root / "out"), "split": {"share": 0.25}})
        self.assertLess(losses[-1], losses[0])

    def test_sets_sizes_and_grey(self) -> None:
        for split in ("train", "test"):
            for name, colour in (("a", (10, 10, 10)), ("b", (250, 250, 250))):
                self.save(f"{split}/{name}/1.png", (9, 5) if split == "test" else (4, 7), colour)
        status, _, errors = self.call("--size", "3", "--grey")
        self.assertEqual(status, 0, errors)
        for array in self.made(("train_inputs", "test_inputs")):
            np.testing.assert_array_equal(
                array, np.array([10, 250], np.uint8)[:, None, None, None].repeat(9, 1).reshape(2, 1, 3, 3)
            )
        self.assertEqual(self.losses("run", {"path": str(self.root / "out")})[0] > 0, True)

    def test_the_middle_square_is_taken(self) -> None:
        from PIL import Image

        self.save("a/1.png", (9, 3), (0, 0, 0))
        image = Image.new("RGB", (9, 3))
        image.paste((255, 255, 255), (3, 0, 6, 3))
        self.save("b/1.png", (9, 3), (0, 0, 0))
        image.save(self.root / "photos" / "b" / "1.png")
        self.assertEqual(self.call("--size", "3")[0], 0)
        self.assertEqual(self.made()[0].reshape(2, -1).tolist(), [[0] * 27, [255] * 27])

    def test_photographs_are_turned_as_the_camera_was_held(self) -> None:
        from PIL import Image

        self.save("a/1.png", (2, 3), (0, 0, 0))
        image = Image.new("RGB", (3, 2))
        image.putpixel((0, 0), (255, 255, 255))
        self.save("b/1.png", (2, 3), (0, 0, 0))
        exif = image.getexif()
        exif[0x0112] = 6  # orientation: a quarter turn clockwise brings it upright
        image.save(self.root / "photos" / "b" / "1.png", exif=exif)
        self.assertEqual(self.call("--grey")[0], 0)
        self.assertEqual(self.made()[0][1].tolist(), [[[0, 255], [0, 0], [0, 0]]])

    def test_what_bytes_cannot_say_is_refused(self) -> None:
        from PIL import Image

        self.save("a/1.png", (2, 2), (0, 0, 0))
        photos = self.root / "photos" / "b"
        photos.mkdir()
        for name, array, mode in (
            ("1.png", np.array([[0, 300], [40000, 65535]], np.uint16), "I;16"),
            ("1.tif", np.array([[0, 0.25], [0.5, 1]], np.float32), "F"),
            ("2.tif", np.array([[0, 70000], [1, 2]], np.int32), "I"),
        ):
            Image.fromarray(array).save(photos / name)
            status, _, errors = self.call()
            self.assertEqual(status, 3)
            self.assertIn(f"b/{name}: has pixels of mode {mode}", errors)
            self.assertIn("save it as 8 bits; or", errors)
            (photos / name).unlink()
        image = Image.new("RGBA", (2, 2), (200, 10, 0, 255))
        image.save(photos / "1.png")
        self.assertEqual(self.call()[0], 0)  # opaque
        self.assertEqual(self.made()[0][1, :, 1, 1].tolist(), [200, 10, 0])
        image.putpixel((1, 1), (200, 10, 0, 128))
        image.save(photos / "1.png")
        status, _, errors = self.call()
        self.assertEqual((status, "b/1.png: has transparent pixels (mode RGBA)" in errors), (3, True), errors)
        Image.new("P", (2, 2)).save(photos / "1.png", transparency=0)
        self.assertIn("has transparent pixels (mode P)", self.call()[2])

    def test_a_call_leaves_no_other_arrays_beside_its_own(self) -> None:
        for split, grey in (("train", 10), ("test", 20)):
            for name in "ab":
                self.save(f"{split}/{name}/1.png", (2, 2), (grey, grey, grey))
        self.assertEqual(self.call()[0], 0)
        before = self.made(("train_inputs", "test_inputs"))
        self.save("train/a/1.png", (2, 2), (30, 30, 30))
        (self.root / "photos/test/b/1.png").write_text("no image")
        self.assertEqual(self.call()[0], 3)
        for old, now in zip(before, self.made(("train_inputs", "test_inputs"))):
            np.testing.assert_array_equal(now, old)
        shutil.rmtree(self.root / "photos")
        for name in "ab":
            self.save(f"{name}/1.png", (2, 2), (40, 40, 40))
        self.assertEqual(self.call()[0], 0)
        self.assertEqual(
            sorted(file.name for file in (self.root / "out").iterdir()),
            ["classes.txt", "train_inputs.npy", "train_labels.npy"],
        )

    def test_a_folder_without_images_is_no_class(self) -> None:
        for split in ("train", "test"):
            for name in "ab":
                self.save(f"{split}/{name}/1.png", (2, 2), (0, 0, 0))
        for place in ("train/b", "test/a"):
            file = self.root / "photos" / place / "1.png"
            file.rename(self.root / "1.png")
            status, _, errors = self.call()
            self.assertEqual((status, f"photos/{place}: found no image\n  put images" in errors), (3, True), errors)
            (self.root / "1.png").rename(file)
        self.save("test/c/1.png", (2, 2), (0, 0, 0))
        self.assertIn("photos/test/c: is of a class that train has not", self.call()[2])
        shutil.rmtree(self.root / "photos/test")
        (self.root / "photos/test").mkdir()
        self.assertIn("photos/test: found no folder", self.call()[2])

    def test_what_cannot_be_converted(self) -> None:
        self.save("a/1.png", (5, 4), (0, 0, 0))
        status, _, errors = self.call()
        self.assertEqual((status, "found 1 folders" in errors), (3, True))
        self.save("b/1.png", (4, 4), (0, 0, 0))
        status, _, errors = self.call()
        self.assertEqual(status, 3)
        self.assertIn("b/1.png: has 4 x 4 pixels, but", errors)
        self.assertIn("--size N", errors)
        (self.root / "photos" / "b" / "1.png").write_bytes(b"no image")
        status, _, errors = self.call("--size", "4")
        self.assertEqual((status, "b/1.png: cannot be read" in errors), (3, True))
        self.assertFalse(list(self.root.glob("out/*")))
        with mock.patch.dict(sys.modules, {"PIL": None, "PIL.Image": None}):
            status, _, errors = self.call()
        self.assertEqual((status, "-m pip install pillow" in errors), (5, True))
        self.assertEqual(self.call("--size", "0")[0], 2)


if __name__ == "__main__":
    unittest.main()
