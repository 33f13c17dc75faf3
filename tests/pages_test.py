#!/usr/bin/env python3
"""Tests that the project's pages say nothing that is no longer so: python tests/pages_test.py

SGDSCOPE names another program than build/release/sgdscope. The C++ of CONTRIBUTING.md is compiled by tests/CMakeLists.txt.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tokenize
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("SGDSCOPE") or str(ROOT / "build" / "release" / "sgdscope")
FOLDERS = ("src", "configs", "scripts", "tests", "bench", "third_party", ".ci")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
PAPERS = {page.parent.name for page in ROOT.glob("configs/*/README.md")}
PLACEHOLDERS = re.compile(r"\b(?:PAPER|FIGURE|NAME)")
SUFFIXES = r"\.(?:h|cpp|cu|py|sh|json|md|cmake)"
SOURCES = (".h", ".cpp", ".cu", ".py", ".sh", ".json", ".md", ".cmake", ".txt", "")
SLASHED = (".h", ".cpp", ".cu", ".json")
LEAF_WORDS = {
    "data set": "data",
    "sampler": "sampler",
    "model": "model",
    "estimator": "gradient",
    "update rule": "update",
    "learning rate": "learning_rate",
    "probe": "probes",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )


@functools.cache
def schema() -> dict[str, Any]:
    return json.loads(run_program("schema").stdout)


def leaf_names(field: dict[str, Any]) -> set[str]:
    """The names that a field of the config picks from."""
    options = field.get("items", field)["oneOf"]
    return {option["properties"]["name"]["const"] for option in options if "properties" in option}


def names_of_kind(key: str) -> set[str]:
    if key != "learning_rate":
        return leaf_names(schema()["properties"][key])
    rules = schema()["properties"]["update"]["oneOf"]
    return leaf_names(rules[0]["properties"][key])


@functools.cache
def help_of(*command: str) -> str:
    """What a command of ours says of its options: the program's --help, or a script's own text."""
    if Path(command[0]).name == "sgdscope":
        result = run_program(*command[1:], "--help")
        return result.stdout if result.returncode == 0 else ""
    return text_of(ROOT / command[0])


@functools.cache
def programs() -> set[str]:
    """What the build makes."""
    files = text_of(ROOT / "CMakeLists.txt") + text_of(ROOT / "tests" / "CMakeLists.txt")
    return set(re.findall(r"add_executable\((\w+)", files))


def commands(shell: str) -> Iterator[list[str]]:
    """The words of each command in shell text; sbatch's options, after a lone --, are left out."""
    for line in shell.replace("\\\n", " ").splitlines():
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.commenters = "#"
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word[0] in "|&;<>":
                if words:
                    yield words
                words = []
                if word[0] in "<>":  # its file is no command
                    words = []
            else:
                words.append(word)


def problems_of(command: list[str]) -> list[str]:
    """What of a command of ours is not there; nothing for the commands of others."""
    words = command[: command.index("--")] if "--" in command else command
    first = words[0]
    if first.startswith("build/release/"):
        if Path(first).name not in programs():
            return [f"the build makes no {first}"]
        if Path(first).name != "sgdscope":
            return []
        key: tuple[str, ...] = ("sgdscope", words[1])
    elif first.startswith(("scripts/", ".ci/")):
        if not os.access(ROOT / first, os.X_OK):
            return [f"there is no command {first}"]
        key = (first,)
    else:
        return []
    known = help_of(*key)
    if not known:
        return [f"{' '.join(key)}: there is no such command"]
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return [f"{' '.join(key)} has no option {o}" for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", known)]


def resolves(reference: str, start: Path = ROOT) -> bool:
    """Whether a file name, or one with PAPER, FIGURE or NAME in it, leads to something."""
    pattern = PLACEHOLDERS.sub("*", reference.rstrip("/"))
    if "/" not in pattern:
        return any(any((ROOT / folder).rglob(pattern)) for folder in FOLDERS) or any(ROOT.glob(pattern))
    return any(any(base.glob(pattern)) for base in (start, ROOT, ROOT / "src"))


def project_files() -> list[Path]:
    """The text files of the project."""
    found = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if "__pycache__" not in file.parts]
    return [file for file in [*found, *ROOT.glob("*.*")] if file.is_file() and file.suffix in SOURCES]


def comments_of(file: Path) -> list[str]:
    """The comments of a source, and the docstrings of Python."""
    text = text_of(file)
    if file.suffix in SLASHED:
        return re.findall(r"(?<!:)//.*", text)
    if file.suffix != ".py":
        return re.findall(r"(?:^|\s)#\s.*", text, re.MULTILINE)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    return [*comments, *filter(None, docstrings)]


class Examples(unittest.TestCase):
    """JSON and shell on the pages."""

    def check_valid(self, configs: dict[str, dict[str, Any]]) -> None:
        """That a run can be built from each config, named by where it stands."""
        with tempfile.TemporaryDirectory() as folder:
            jobs = Path(folder) / "x.jobs"
            lines = []
            for i, config in enumerate(configs.values()):
                (Path(folder) / f"{i}.json").write_text(json.dumps(config), encoding="utf-8")
                lines.append(f"sgdscope run {folder}/{i}.json --output {folder}/{i}\n")
            jobs.write_text("".join(lines), encoding="utf-8")
            records = [json.loads(line) for line in run_program("resolve", "--jobs", str(jobs)).stdout.splitlines()]
        self.assertEqual(len(records), len(configs))
        wrong = [f"{where}: {record['error']}" for where, record in zip(configs, records) if "error" in record]
        self.assertEqual(wrong, [])

    def objects(self, page: Path) -> list[dict[str, Any]]:
        return [json.loads(re.sub(r"//.*", "", block)) for block in blocks(page, "json", "jsonc")]

    def configs(self, page: Path) -> list[dict[str, Any]]:
        return [found for found in self.objects(page) if "curves" not in found]

    def test_json_blocks_are_valid_configs(self) -> None:
        configs = {f"{name_of(page)}: {config}": config for page in PAGES for config in self.configs(page)}
        self.assertGreaterEqual(len(configs), 2)
        self.check_valid(configs)

    def test_fragments_are_valid_in_a_config(self) -> None:
        """Inline code like `"model": {...}` is a part of a config: put into README's, it makes a valid one."""
        base = self.configs(ROOT / "README.md")[0]
        configs = {}
        for page in PAGES:
            for code in inline_code(page):
                key = re.match(r'"(\w+)": ', code)
                if key and key[1] in schema()["properties"]:
                    configs[f"{name_of(page)}: {code}"] = {**base, **json.loads("{" + code + "}")}
        self.assertGreaterEqual(len(configs), 15)
        self.check_valid(configs)

    def test_studies_give_jobs(self) -> None:
        """A study on a page, which begins from README's config, can be made into jobs at each of its sizes."""
        base = self.configs(ROOT / "README.md")[0]
        studies = [found for page in PAGES for found in self.objects(page) if "curves" in found]
        self.assertTrue(studies)
        for study in studies:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / study["config"]).write_text(json.dumps(base), encoding="utf-8")
                (Path(folder) / "it.study.json").write_text(json.dumps(study), encoding="utf-8")
                for size in study["sizes"]:
                    command = [ROOT / "scripts" / "grid.sh", "it.study.json", "--size", size, "--out", "runs"]
                    environment = {**os.environ, "SGDSCOPE": PROGRAM}
                    result = subprocess.run(
                        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
                    )
                    self.assertEqual(result.returncode, 0, f"{study}\n{result.stderr}")
                    self.assertIn("--output", result.stdout)

    def test_shell_blocks_parse(self) -> None:
        for page in PAGES:
            for block in blocks(page, "sh", "bash"):
                result = subprocess.run(["bash", "-n"], input=block, text=True, stderr=subprocess.PIPE, check=False)
                self.assertEqual(result.returncode, 0, f"{name_of(page)}\n{block}{result.stderr}")

    def test_words_with_brackets_or_braces_are_quoted(self) -> None:
        """zsh refuses a word with brackets that matches no file, and shells take braces apart."""
        files = [*PAGES, *ROOT.glob("configs/**/*.json")]
        bare = {name_of(f): re.findall(r"--(?:set|vary) (?!['<])\S*[\[{]\S*", text_of(f)) for f in files}
        self.assertEqual({name: words for name, words in bare.items() if words}, {})

    def test_commands_and_options_exist(self) -> None:
        count = 0
        for page in PAGES:
            shell = [*blocks(page, "sh", "bash")]
            shell += [code for code in inline_code(page) if code.startswith(("scripts/", "build/")) and " " in code]
            for command in (words for text in shell for words in commands(text)):
                count += 1
                self.assertEqual(problems_of(command), [], f"{name_of(page)}: {' '.join(command)}")
        self.assertGreater(count, 25)

    def test_the_check_of_commands_finds_what_is_wrong(self) -> None:
        for wrong in (
            "scripts/gird.sh x.json",
            "scripts/sweep.sh x.jobs --thread 2",
            "build/release/sgdscope rum x.json",
            "build/release/sgdscope run x.json --sed 2",
            "true && build/release/sgdscop list",
        ):
            found = [problem for words in commands(wrong) for problem in problems_of(words)]
            self.assertEqual(len(found), 1, wrong)
        self.assertEqual(list(commands("a 'b c' > d # e\nf \\\n  g && h")), [["a", "b c"], ["d"], ["f", "g"], ["h"]])


class References(unittest.TestCase):
    """Links, file names, names of leaves and keys of papers."""

    def test_links_lead_somewhere(self) -> None:
        count = 0
        for page in PAGES:
            for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
                if target.startswith("https://"):
                    continue
                count += 1
                file, _, anchor = target.partition("#")
                to = page.parent / file if file else page
                self.assertTrue(to.exists(), f"{name_of(page)}: {target}")
                headings = re.findall(r"^#+ (.*)$", text_of(to), re.MULTILINE) if anchor else []
                anchors = [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]
                self.assertTrue(not anchor or anchor in anchors, f"{name_of(page)}: {target}")
        self.assertGreater(count, 10)

    def test_files_named_on_pages_exist(self) -> None:
        written = set(re.findall(r'path_ / "([^"]+)"', text_of(ROOT / "src" / "run" / "run_folder.h")))
        written |= {"report.md"}  # by reproduce.sh
        wrong: list[str] = []
        for page in PAGES:
            for code in inline_code(page):
                if " " in code or code in written or code.startswith("mine"):
                    continue
                is_path = "/" in code and code.split("/")[0] in FOLDERS
                if (is_path or re.search(rf"\w{SUFFIXES}$", code)) and not resolves(code, page.parent):
                    wrong.append(f"{name_of(page)}: {code}")
        self.assertEqual(wrong, [])

    def test_files_named_in_comments_exist(self) -> None:
        """Comments and docstrings name only what is there. In strings, tests make files up."""
        pattern = re.compile(rf"(?<![\w./-])((?:[A-Za-z_]+/)+[A-Za-z0-9_]+{SUFFIXES}|[A-Z]+\.md)\b")
        wrong: list[str] = []
        for file in project_files():
            if file.suffix == ".md":
                continue
            for comment in comments_of(file):
                for reference in pattern.findall(comment):
                    if not resolves(reference, file.parent) and not resolves(f"scripts/{reference}"):
                        wrong.append(f"{name_of(file)}: {reference}")
        self.assertEqual(wrong, [])

    def test_names_of_leaves_are_registered(self) -> None:
        count = 0
        for page in PAGES:
            for word, key in LEAF_WORDS.items():
                for name in re.findall(rf"\b{word} `([a-z]\w*)`", " ".join(prose(page).split())):
                    count += 1
                    self.assertIn(name, names_of_kind(key), f"{name_of(page)}: {word}")
        self.assertGreater(count, 20)

    def test_each_probe_has_its_columns_at_the_top_of_its_file(self) -> None:
        for name in names_of_kind("probes"):
            before = text_of(ROOT / "src" / "probes" / f"{name}.cpp").partition("namespace sgdscope")[0]
            self.assertRegex(before, r"(?m)^// ", name)

    def test_papers_are_called_by_their_keys(self) -> None:
        pattern = re.compile(r"\b([a-z]+_[a-z_]+)`?,? (?:section|equation|figure|table)s? \d")
        count = 0
        for file in project_files():
            for key in pattern.findall(" ".join(text_of(file).split())):
                count += 1
                self.assertIn(key, PAPERS, name_of(file))
        self.assertGreater(count, 50)


class Papers(unittest.TestCase):
    """Each paper's page."""

    def test_each_has_a_page_and_is_linked_to(self) -> None:
        configs = {file.parent.name for file in ROOT.glob("configs/*/*.json")}
        self.assertEqual(PAPERS, configs)
        self.assertEqual(PAPERS, set(re.findall(r"\]\(configs/(\w+)/README\.md\)", text_of(ROOT / "README.md"))))

    def test_tables_have_the_figures_and_configs_that_there_are(self) -> None:
        for paper in PAPERS:
            page = ROOT / "configs" / paper / "README.md"
            named = re.findall(rf"^\| `{paper}/(\w+)` \|", text_of(page), re.MULTILINE)
            figures = [file.stem for file in ROOT.glob(f"scripts/*/{paper}/[a-z]*.py")]
            self.assertCountEqual(named, figures, paper)
            for config in page.parent.glob("*.json"):
                if not config.name.endswith(".study.json") and config.name != "durations.json":
                    self.assertIn(f"`{config.name}`", text_of(page), paper)


class Whole(unittest.TestCase):
    """Pages as a whole."""

    def test_tables_of_names_and_fields_are_fresh(self) -> None:
        command = [sys.executable, str(ROOT / "scripts" / "config_page.py"), "--check"]
        result = subprocess.run(
            command, env={**os.environ, "SGDSCOPE": PROGRAM}, stderr=subprocess.PIPE, text=True, check=False
        )
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_tables_are_written_only_where_that_is_asked_for(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
            (root / "configs").mkdir()
            page = root / "configs" / "README.md"
            written, marker, _ = text_of(ROOT / "configs" / "README.md").partition("<!-- What follows")
            stale = f"{written}{marker} is written by scripts/config_page.py. -->\n"
            page.write_text(stale, encoding="utf-8")

            def call(*arguments: str, program: str = PROGRAM) -> tuple[int, str]:
                command = [sys.executable, str(root / "scripts" / "config_page.py"), *arguments]
                environment = {**os.environ, "SGDSCOPE": program}
                result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                return result.returncode, result.stdout + result.stderr

            for arguments, status, words in (
                (["--help"], 0, "scripts/config_page.py [--check]"),
                (["--chek"], 2, "unrecognized arguments: --chek"),
                (["--check"], 1, "README.md: is stale\n  call scripts/config_page.py"),
            ):
                found, said = call(*arguments)
                self.assertEqual((found, words in said), (status, True), said)
                self.assertEqual(text_of(page), stale)
            found, said = call(program="/nowhere/sgdscope")
            self.assertEqual((found, "/nowhere/sgdscope: prints no schema" in said), (5, True), said)
            found, said = call(program="/bin/echo")
            self.assertEqual((found, "/bin/echo: prints no schema: Expecting value" in said), (5, True), said)
            with page.open(encoding="utf-8") as before:
                self.assertEqual(call(), (0, ""))
                self.assertEqual(before.read(), stale)  # who reads meanwhile has one page or the other
            self.assertEqual(text_of(page), text_of(ROOT / "configs" / "README.md"))

    def test_readme_is_short(self) -> None:
        self.assertLessEqual(len(text_of(ROOT / "README.md").splitlines()), 120)


if __name__ == "__main__":
    unittest.main()
