"""Results that are kept: configs/PAPER/results/SIZE/ has claims.csv, pictures, machine, data and program; the paper's page shows them.

Beside them lies configs/PAPER/results/before.csv: what an earlier rule said of claims, by size, figure and claim.
"""

from __future__ import annotations

import csv
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sgdscope.catalogue import CONFIGS, ROOT, SIZES, figures, jobs_of
from sgdscope.errors import DATA, Error, need_matplotlib
from sgdscope.files import IN_CONFIGS, replacing
from sgdscope.plan import CIFAR10_SPLIT, Reproduction
from sgdscope.report import DATA_NAMES, of_whole_paper
from sgdscope.results import load_outcome
from sgdscope.runs import Run

BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
LARGEST = 150_000  # bytes of a picture
COLOURS = 64  # of a picture that is kept
NONE_KEPT = "No results are kept yet. `scripts/reproduce.sh PAPER --quick` makes some, and their report."
BEFORE = (
    "'Before' is the verdict of an earlier rule on earlier runs: a mean beyond the border by two standard errors, "
    "whatever the number of seeds.\n`scripts/VERDICTS.md` says why this is no evidence. Why verdicts are others here: "
    "'none' is explained below the table. 'Not\ndecided' beside a verdict alone is owed to the number of claims, else to "
    "Student's interval, to conditions each of which must be so, or to\na grid's end, as the last column says. Runs are "
    "others, too, and some numbers and borders, which the report lists below each figure."
)
COLUMNS = ("figure", "claim", "before", "here", "border", "seeds", "verdict", "alone", "what would decide")

Rows = Sequence[Mapping[str, str]]


def keep(reproduction: Reproduction, configs: Path = CONFIGS) -> Path:
    """Keeps what a reproduction's report came to beside the paper's configs, and writes the page's table anew.

    What is kept of the paper's other figures at this size stays, with the machines and data of all that was kept.
    """
    new = rows_of(reproduction.folder / "claims.csv")
    if not new:
        where, hint = (
            str(reproduction.folder / "claims.csv"),
            "call scripts/reproduce.sh, or reproduce.py report, first",
        )
        raise Error(where, "there is no report yet", hint, DATA)
    folder = configs / reproduction.paper / "results" / reproduction.size
    folder.mkdir(parents=True, exist_ok=True)
    names, known = {row["figure"] for row in new}, figures(reproduction.paper)
    stay = [row for row in rows_of(folder / "claims.csv") if row["figure"] in known.keys() - names]
    write_rows(folder / "claims.csv", sorted([*stay, *new], key=lambda row: row["figure"]))
    of_others = {stem for row in stay for stem in known[row["figure"]].shows}
    for picture in folder.glob("*.png"):
        if picture.stem not in of_others:
            picture.unlink()
    for picture in sorted(reproduction.folder.glob("*.png")):
        if picture.stem not in of_others:
            keep_picture(picture, folder / picture.name)
    jobs = jobs_of(reproduction.paper, names, reproduction.size)
    made = [(one, one.run) for one in (load_outcome(job, reproduction.runs_folder) for job in jobs) if one.run]
    programs = dict.fromkeys(outcome.program for outcome, _ in made)
    provenance = {
        "machine.txt": [outcome.machine for outcome, _ in made],
        "data.txt": [data_of(run) for _, run in made],
        "program.txt": [f"runs: {', '.join(programs)}", f"judged and kept by the checkout {checkout()}"],
    }
    for file, lines in provenance.items():
        earlier = lines_of(folder / file) if stay else []
        (folder / file).write_text("".join(f"{line}\n" for line in dict.fromkeys([*earlier, *lines])), encoding="utf-8")
    write_table(reproduction.paper, configs)
    return folder


def checkout() -> str:
    """The commit of the repository that keeps results, which need not be that of their runs."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "scripts"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "of no known commit"
    return commit.stdout.strip() + (" with changes" if changed else "")


def data_of(run: Run) -> str:
    """The data that a run was made on, and whether its test set is a part of their training set."""
    data = run.config["data"]
    name = DATA_NAMES.get(data["name"], data["name"])
    return f"{name}, of which batch 5 is the test set" if data.get("test_files") == CIFAR10_SPLIT[1] else name


def keep_picture(picture: Path, file: Path) -> None:
    """Copies a picture with few colours, and as many points as fit into LARGEST bytes."""
    need_matplotlib()
    from PIL import Image

    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    while True:
        image.quantize(COLOURS).save(file, optimize=True)
        if file.stat().st_size <= LARGEST:
            return
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.LANCZOS)


# ------------------------------------------------------------------------------------------ the page's table


def write_table(paper: str, configs: Path = CONFIGS) -> None:
    """Writes the table of a paper's page."""
    page = configs / paper / "README.md"
    head, tail = parts_of(page)
    with replacing(page, IN_CONFIGS) as temporary:
        temporary.write_text(f"{head}{BEGIN}\n\n{table(paper, configs)}\n\n{END}{tail}", encoding="utf-8")


def parts_of(page: Path) -> tuple[str, str]:
    """What stands in front of a page's table, and after it."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Error(str(page), f"lacks the lines {BEGIN} and {END}", "put them where the verdicts are to stand", DATA)
    return head, tail


def table(paper: str, configs: Path = CONFIGS) -> str:
    """What is kept of a paper, as Markdown: for each size the verdicts beside the earlier ones, and the pictures."""
    folder = configs / paper / "results"
    before = rows_of(folder / "before.csv")
    sizes = {file.parent.name for file in folder.glob("*/claims.csv")}
    parts = [] if sizes else [NONE_KEPT.replace("PAPER", paper)]
    parts += [BEFORE] if before else []
    for size in sorted({*sizes, *(row["size"] for row in before)}, key=lambda size: [*SIZES, size].index(size)):
        earlier = [row for row in before if row["size"] == size]
        parts += _of_size(folder / size, rows_of(folder / size / "claims.csv"), earlier)
    return "\n\n".join(parts)


def rows_of(file: Path) -> Rows:
    """The rows of a CSV file; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: Rows) -> None:
    """Writes rows as a CSV file, of all columns that one of them has."""
    with replacing(file, IN_CONFIGS) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        columns = dict.fromkeys(column for row in rows for column in row)  # rows kept earlier may lack some
        table = csv.DictWriter(lines, list(columns), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def lines_of(file: Path) -> list[str]:
    """The lines of a file; none where there is no such file."""
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _of_size(folder: Path, claims: Rows, earlier: Rows) -> Iterator[str]:
    on = "; ".join(line for name in ("machine", "data", "program") for line in lines_of(folder / f"{name}.txt"))
    yield f"Of the size {folder.name} ({on}):" if on else f"Of the size {folder.name}:"
    said = {(row["figure"], row["claim"]): row["before"] for row in earlier}
    times = Counter((row["figure"], row["claim"]) for row in claims)
    lines = [_cells(row, said, times[row["figure"], row["claim"]] == 1) for row in claims]
    made = {(row["figure"], row["claim"]) for row in claims}
    gone = "not asked any more" if claims else ""
    lines += [[*key, words, *[""] * 3, gone, "", ""] for key, words in said.items() if key not in made]
    cells = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    yield "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
    for reason in dict.fromkeys(row["reason"] for row in claims if not row["verdict"]):
        names = dict.fromkeys(row["figure"] for row in claims if not row["verdict"] and row["reason"] == reason)
        yield f"No verdicts on {', '.join(names)}: {reason}."
    judged = [row for row in claims if row["verdict"]]
    decided = sum(row["verdict"] != "not decided" for row in judged)
    told = of_whole_paper([float(row["p"]) for row in judged], decided, len({row["figure"] for row in judged}))
    yield from [told, *_decided_late(judged)] if told else []
    pictures = sorted(folder.glob("*.png"))
    if pictures:
        yield "\n".join(f"![{file.stem}]({file.relative_to(folder.parent.parent)})" for file in pictures)


def _decided_late(judged: Rows) -> list[str]:
    """How many of the judged claims were decided when results were known: those of these very runs, or only others."""
    late = [row["seen"] for row in judged if row.get("seen")]
    if not late:
        return []
    unseen = late.count("0")
    return [
        f"Of these {len(judged)} judged claims {len(late)} or their borders were decided when results were known already: "
        f"{len(late) - unseen} with results of these very runs, {unseen} only with those of others (`claims.csv` says which)."
    ]


def _cells(row: Mapping[str, str], said: Mapping[tuple[str, str], str], alone: bool) -> list[str]:
    """A row of the table; of a claim that is measured in several ways, also in which."""
    before = said.get((row["figure"], row["claim"]), "")
    claim = row["claim"] if alone else f"{row['claim']} Measured: {row['quantity']}"
    here = f"{float(row['mean']):.3g}" if row["mean"] else "–"
    if row["low"]:
        here += f" ({float(row['low']):.3g} … {float(row['high']):.3g})"
    border = f"> {float(row['border']):g}"
    if row["about"]:
        border = f"within {float(row['border']):.3g} of {float(row['about']):g}"
    judged = [row["verdict"], row["alone"], row["reason"]] if row["verdict"] else ["none", "", ""]
    return [row["figure"], claim, before, here, border, row["seeds"], *judged]
