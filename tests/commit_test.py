#!/usr/bin/env python3
"""Tests of src/core/commit.cmake, by which the program knows its commit: python tests/commit_test.py"""

from __future__ import annotations

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "src/core/commit.cmake"


class Commit(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.sources = self.root / "sources"
        (self.sources / "src").mkdir(parents=True)
        self.out = self.root / "commit.cpp"

    def git(self, *arguments: str) -> str:
        """Calls git in the sources."""
        who = ["-c", "user.name=a tester", "-c", "user.email=tester@example.org"]
        command = ["git", "-C", str(self.sources), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, file: str, text: str) -> str:
        """Commits a file; the commit's name."""
        (self.sources / file).write_text(text, encoding="utf-8")
        self.git("add", file)
        self.git("commit", "--quiet", "--message", file)
        return self.git("rev-parse", "HEAD")

    def found(self) -> str:
        """What the program would say."""
        subprocess.run(["cmake", f"-DOUT={self.out}", "-P", str(SCRIPT)], check=True, cwd=self.sources)
        (found,) = re.findall(r'return "(.*)";', self.out.read_text(encoding="utf-8"))
        return str(found)

    def test_it_is_the_last_commit_that_changed_the_program(self) -> None:
        self.git("init", "--quiet")
        first = self.commit("src/a.cpp", "int a;")
        self.commit("page.md", "Words.")
        found = self.found()
        self.assertGreaterEqual(len(found), 7)
        self.assertTrue(first.startswith(found))
        second = self.commit("CMakeLists.txt", "project(a)")
        self.assertTrue(second.startswith(self.found()))

    def test_changes_that_no_commit_holds_are_marked(self) -> None:
        self.git("init", "--quiet")
        self.commit("src/a.cpp", "int a;")
        known = self.found()
        (self.sources / "page.md").write_text("Words.", encoding="utf-8")
        self.assertEqual(self.found(), known)
        (self.sources / "src/b.cpp").write_text("int b;", encoding="utf-8")
        self.assertEqual(self.found(), known + "+")
        (self.sources / "src/b.cpp").unlink()
        (self.sources / "src/a.cpp").write_text("int c;", encoding="utf-8")
        self.assertEqual(self.found(), known + "+")

    def test_without_a_repository_of_their_own_it_is_not_known(self) -> None:
        self.assertEqual(self.found(), "unknown")
        subprocess.run(["git", "init", "--quiet", str(self.root)], check=True)
        self.assertEqual(self.found(), "unknown")  # and not the commit of the repository around them

    def test_the_file_is_left_alone_where_nothing_is_new(self) -> None:
        self.found()
        before = self.out.stat().st_mtime_ns
        self.found()
        self.assertEqual(self.out.stat().st_mtime_ns, before)


if __name__ == "__main__":
    unittest.main()
