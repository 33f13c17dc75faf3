"""Results that are kept: configs/PAPER/results/SIZE/ has claims.csv, pictures and the machine; the paper's page shows them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

from sgdscope.catalogue import CONFIGS, jobs_of
from sgdscope.errors import DATA, Error
from sgdscope.files import replacing
from sgdscope.plan import Reproduction
from sgdscope.results import load_outcome

BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
LARGEST = 150_000  # bytes of a picture
NONE_KEPT = "No results are kept yet. `scripts/reproduce.sh PAPER --quick` makes some, and their report."


def keep(reproduction: Reproduction, configs: Path = CONFIGS) -> Path:
    """Copies what a reproduction's report came to beside the paper's configs, and writes the page's table anew."""
    claims = reproduction.folder / "claims.csv"
    if not claims.is_file():
        raise Error(
            str(claims), "there is no report yet", "call scripts/reproduce.sh, or reproduce.py report, first", DATA
        )
    folder = configs / reproduction.paper / "results" / reproduction.size
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(claims, folder)
    for picture in reproduction.folder.glob("*.png"):
        if picture.stat().st_size <= LARGEST:
            shutil.copy(picture, folder)
    jobs = jobs_of(reproduction.paper, reproduction.figures, reproduction.size)
    outcomes = [load_outcome(job, reproduction.runs_folder) for job in jobs]
    machines = dict.fromkeys(outcome.machine for outcome in outcomes if outcome.run)
    (folder / "machine.txt").write_text("".join(f"{machine}\n" for machine in machines), encoding="utf-8")
    write_table(reproduction.paper, configs)
    return folder


def write_table(paper: str, configs: Path = CONFIGS) -> None:
    """Writes the table of a paper's page."""
    page = configs / paper / "README.md"
    head, tail = parts_of(page)
    with replacing(page) as temporary:
        temporary.write_text(f"{head}{BEGIN}\n\n{table(paper, configs)}\n\n{END}{tail}", encoding="utf-8")


def parts_of(page: Path) -> tuple[str, str]:
    """What stands in front of a page's table, and after it."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Error(str(page), f"lacks the lines {BEGIN} and {END}", "put them where the verdicts are to stand", DATA)
    return head, tail


def table(paper: str, configs: Path = CONFIGS) -> str:
    """The verdicts that are kept of a paper, as Markdown."""
    files = sorted((configs / paper / "results").glob("*/claims.csv"))
    return "\n\n".join("\n".join(_rows(file)) for file in files) or NONE_KEPT.replace("PAPER", paper)


def _rows(file: Path) -> Iterator[str]:
    machine = file.with_name("machine.txt").read_text(encoding="utf-8").strip().replace("\n", "; ")
    yield f"Of the size {file.parent.name} ({machine}):\n"
    yield "| figure | claim | here | border | seeds | verdict | alone |"
    yield "|---|---|---|---|---|---|---|"
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            here = (
                f"{float(row['mean']):.3g} ({float(row['low']):.3g} … {float(row['high']):.3g})" if row["mean"] else "–"
            )
            border = f"> {float(row['border']):g}"
            if row["about"]:
                border = f"within {float(row['border']):.3g} of {float(row['about']):g}"
            cells = row["figure"], row["claim"], here, border, row["seeds"], row["verdict"], row["alone"]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
