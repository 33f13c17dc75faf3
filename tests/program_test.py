#!/usr/bin/env python3
"""Tests of the installed program and of the command that starts it: python tests/program_test.py

SGDSCOPE names another program than build/release/sgdscope; beside it lies the build folder that is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = Path(os.environ.get("SGDSCOPE") or ROOT / "build" / "release" / "sgdscope")
START = "import sys; from sgdscope.program import main; main()"
SAYS = """#!/bin/sh
echo "called with $*; libraries in ${LD_LIBRARY_PATH-nowhere}"
grep SigIgn /proc/$$/status
exit 7
"""


def said_by(*command: str | Path) -> str:
    """What a command that succeeds prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Site(unittest.TestCase):
    """A folder as pip makes it, with packages `sgdscope` and `torch`, but another program."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.site = Path(folder.name) / "site"
        self.make_torch(self.site)
        package = self.site / "sgdscope"
        for name in ("bin", "lib"):
            (package / name).mkdir(parents=True)
        for file in ("__init__.py", "errors.py", "program.py"):
            shutil.copy(ROOT / "scripts" / "sgdscope" / file, package)
        self.build_against("2.13.0")
        (package / "bin" / "sgdscope").write_text(SAYS, encoding="utf-8")
        (package / "bin" / "sgdscope").chmod(0o755)

    def make_torch(self, site: Path, version: str = "2.13.0+cpu", cuda: str | None = None) -> None:
        (site / "torch" / "lib").mkdir(parents=True, exist_ok=True)
        (site / "torch" / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
        (site / "torch" / "version.py").write_text(f"__version__ = {version!r}\ncuda = {cuda!r}\n", encoding="utf-8")

    def build_against(self, version: str, cuda: str = "") -> None:
        text = f'{{"version": "{version}", "cuda": "{cuda}"}}'
        (self.site / "sgdscope" / "lib" / "libtorch.json").write_text(text, encoding="utf-8")

    def call(self, *paths: Path) -> tuple[int, str]:
        """Exit status and words of the command, with no other folders of packages than these."""
        environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        environment["PYTHONPATH"] = ":".join(map(str, paths or [self.site]))
        command = [sys.executable, "-S", "-c", START, "run", "a b"]
        ended = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return ended.returncode, ended.stdout

    def test_it_becomes_the_program(self) -> None:
        status, words = self.call()
        self.assertEqual(status, 7, words)
        self.assertIn("called with run a b; libraries in nowhere", words)
        ignored = int(words.split()[-1], 16)
        self.assertEqual(ignored & (1 << 12 | 1 << 24), 0)  # SIGPIPE and SIGXFSZ, which Python ignores

    def test_a_torch_in_another_folder_is_taken(self) -> None:
        elsewhere = self.site.parent / "elsewhere"
        self.make_torch(elsewhere)
        shutil.rmtree(self.site / "torch")
        status, words = self.call(self.site, elsewhere)
        self.assertEqual(status, 7, words)
        self.assertIn(f"libraries in {elsewhere}/torch/lib", words)

    def test_one_beside_the_package_goes_first(self) -> None:
        """As for the dynamic linker."""
        elsewhere = self.site.parent / "elsewhere"
        self.make_torch(elsewhere, "2.12.0")
        self.assertEqual(self.call(elsewhere, self.site)[0], 7)

    def refused(self, *words: str) -> None:
        status, said = self.call()
        self.assertEqual(status, 5, said)
        for part in words:
            self.assertIn(part, said)
        self.assertNotIn("Traceback", said)

    def test_another_version_is_refused(self) -> None:
        for version in ("2.12.1", "2.13.1+cpu", "1.13.1"):
            self.make_torch(self.site, version)
            self.refused(f"found version {version}, ", "the libraries of 2.13.0", "-m pip install torch==2.13.0")

    def test_no_torch_is_refused(self) -> None:
        shutil.rmtree(self.site / "torch")
        self.refused("torch: this Python has none", "-m pip install torch==2.13.0")

    def test_with_cuda_it_needs_a_torch_with_cuda(self) -> None:
        self.build_against("2.13.0", "13")
        self.refused("found a build for the CPU alone, but sgdscope was built for CUDA 13")
        self.make_torch(self.site, "2.13.0+cu126", "12.6")
        self.refused("found a build for CUDA 12.6, but")
        self.make_torch(self.site, "2.13.0", "13.0")
        self.assertEqual(self.call()[0], 7)

    def test_without_cuda_any_build_of_the_version_will_do(self) -> None:
        self.make_torch(self.site, "2.13.0", "13.0")
        self.assertEqual(self.call()[0], 7)

    def test_the_package_without_the_program_says_so(self) -> None:
        (self.site / "sgdscope" / "lib" / "libtorch.json").unlink()
        self.refused("holds the Python package, but no program", "pip install .")


class Installed(unittest.TestCase):
    """`cmake --install` of the build folder."""

    def test_the_program_runs_from_where_it_is_put(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            site = Path(folder).resolve() / "site"
            command = ["cmake", "--install", BUILT.parent, "--prefix", site / "sgdscope", "--component", "program"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            cache = (BUILT.parent / "CMakeCache.txt").read_text(encoding="utf-8")
            torch = next(
                line.partition("=")[2] for line in cache.splitlines() if line.startswith("SGDSCOPE_TORCH_DIR:")
            )
            is_package = (Path(torch) / "version.py").is_file()
            if is_package:
                (site / "torch").symlink_to(torch)
            program = site / "sgdscope" / "bin" / "sgdscope"
            self.assertRegex(said_by(program, "--version"), r"^\d+\.\d+\.\d+ \(commit ([0-9a-f]{7,40}\+?|unknown)\)\n$")
            libraries = said_by("ldd", program)
            self.assertNotIn("not found", libraries)
            needed = said_by("readelf", "--dynamic", program)  # a LibTorch may need fmt itself
            self.assertNotRegex(needed, r"NEEDED.*(spdlog|fmt)")
            carried = ["libhwy"] if "libhwy" in said_by("ldd", BUILT) else []
            for name in [*carried, *(("libtorch_cpu", "libc10") if is_package else ())]:
                self.assertRegex(libraries, rf"{name}\.so\S* => {site}/sgdscope/bin/\.\./")


if __name__ == "__main__":
    unittest.main()
