"""Results that are kept: configs/PAPER/results/SIZE/ has claims.csv, pictures and runs.csv; the paper's page shows them.

runs.csv says of which machine, data, program and checkout they are, a row for the figures that have these in common. Beside the
sizes lies configs/PAPER/results/before.csv: what an earlier rule said of claims, by size, figure and claim, and why it is no
longer so where another verdict is kept.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sgdscope.catalogue import CONFIGS, ROOT, SIZES, figures, jobs_of, study_of, time_of, with_size
from sgdscope.document import Table, markdown
from sgdscope.durations import Durations
from sgdscope.errors import DATA, Error, need_matplotlib
from sgdscope.files import IN_CONFIGS, replacing
from sgdscope.plan import CIFAR10_SPLIT, Reproduction
from sgdscope.report import DATA_NAMES, distinct, of_whole_paper
from sgdscope.results import Results, load_outcome
from sgdscope.runs import Run

BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
LARGEST = 150_000  # bytes of a picture
COLOURS = 64  # of a picture that is kept
DESK = "desk"  # the size whose times the page tells
NONE_KEPT = "No results are kept yet. `scripts/reproduce.sh PAPER --quick` makes some, and their report."
HOW_TO_READ = (
    "How a claim is judged, and how often a verdict errs, stands in [scripts/VERDICTS.md](../../scripts/VERDICTS.md). 'Here' is the "
    "mean over seeds, and in\nbrackets what covers it in 95 of 100 cases; of a claim about several conditions the row shows the one "
    "that speaks the least for it.\n'Verdict' is right for all claims of a figure together in 95 of 100 cases, 'alone' if a claim were "
    "the figure's only one."
)
BEFORE = (
    "'Before' is the verdict of an earlier rule on earlier runs: a mean beyond the border by two standard errors, whatever the number "
    "of seeds,\nwhich is no evidence. Where the verdict is another one now, a second table says why."
)
COLUMNS = ("figure", "claim", "before", "here", "border", "seeds", "verdict", "alone", "what would decide")
MADE_BY = {
    "figures": "figures",
    "machine": "machine",
    "data": "data",
    "program": "program of the runs",
    "checkout": "judged and kept by the checkout",
}

Rows = Sequence[Mapping[str, str]]


def keep(reproduction: Reproduction, configs: Path = CONFIGS) -> Path:
    """Keeps what a reproduction's report came to beside the paper's configs, and writes the page's table anew.

    What is kept of the paper's other figures at this size stays, with what is known of its runs.
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
    others = _of_figures(rows_of(folder / "runs.csv"), {row["figure"] for row in stay})
    runs = [*others, *made_by(reproduction, names)]
    write_rows(folder / "runs.csv", sorted(runs, key=lambda row: row["figures"]))
    write_table(reproduction.paper, configs)
    return folder


def made_by(reproduction: Reproduction, names: Iterable[str]) -> Rows:
    """Of which machine, data, program and checkout results of figures are: a row for those that have all of these in common."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(names):
        jobs = jobs_of(reproduction.paper, [name], reproduction.size)
        made = [(one, one.run) for one in (load_outcome(job, reproduction.runs_folder) for job in jobs) if one.run]
        facts = (
            distinct(outcome.machine for outcome, _ in made),
            distinct(data_of(run) for _, run in made),
            distinct(outcome.program for outcome, _ in made),
        )
        found.setdefault(facts, []).append(name)
    return [dict(zip(MADE_BY, (" ".join(those), *facts, checkout()))) for facts, those in found.items()]


def _of_figures(rows: Rows, names: set[str]) -> Iterator[Mapping[str, str]]:
    """Those rows of runs.csv, and of each that part, which are of figures with these names."""
    for row in rows:
        left = [name for name in row["figures"].split() if name in names]
        if left:
            yield {**row, "figures": " ".join(left)}


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
    """What is kept of a paper, as Markdown: for each size the verdicts beside the earlier ones, why they changed, and the pictures."""
    folder = configs / paper / "results"
    before = rows_of(folder / "before.csv")
    sizes = {file.parent.name for file in folder.glob("*/claims.csv")}
    parts = [HOW_TO_READ] if sizes else [NONE_KEPT.replace("PAPER", paper)]
    parts += [BEFORE] if before else []
    for size in sorted({*sizes, *(row["size"] for row in before)}, key=lambda size: [*SIZES, size].index(size)):
        earlier = [row for row in before if row["size"] == size]
        if size in sizes:
            parts += _of_size(paper, folder / size, rows_of(folder / size / "claims.csv"), earlier)
        else:
            parts.append(
                f"At the size {size} nothing was run for the present rule. Of earlier runs the earlier one said:"
            )
            parts.append(_markdown(("figure", "claim", "before"), [_key(row) + [row["before"]] for row in earlier]))
    return "\n\n".join([*parts, *_times(paper, rows_of(folder / DESK / "claims.csv"))])


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


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown([Table(header, rows)]).strip()


def _key(row: Mapping[str, str]) -> list[str]:
    return [row["figure"], row["claim"]]


EARLIER_FORM = "earlier form: "
OUT_OF_DATE = (
    f"'{EARLIER_FORM.rstrip(': ')}' stands before the verdict on a claim that is measured in another way now, has another border, or is "
    "not judged any more. It is of the\nruns and of the rule of that time, and is not counted here."
)


def present_claims(paper: str, size: str) -> set[tuple[object, ...]]:
    """What identifies each claim that is judged now at a size, as `form` does a kept row."""
    found: set[tuple[object, ...]] = set()
    for name, figure in figures(paper).items():
        if not with_size(paper, [name], size) or size in figure.unjudged:
            continue
        study = study_of(paper, name, size)
        nothing = Results(study, [load_outcome(job, CONFIGS / "no such folder") for job in study.jobs()])
        for claim in figure.claims(nothing):
            found.add((name, claim.says, claim.quantity, float(claim.border), claim.about))
    return found


def form(row: Mapping[str, str]) -> tuple[object, ...]:
    """Figure, claim, quantity, border and what it is about: what a kept row shares with the claim that it is of."""
    about = float(row["about"]) if row["about"] else None
    return row["figure"], row["claim"], row["quantity"], float(row["border"]), about


def as_they_are_now(claims: Rows, present: set[tuple[object, ...]]) -> Rows:
    """The rows, with a word before the verdicts on claims that were made, measured or bordered otherwise then."""
    found = []
    for row in claims:
        old = bool(row["verdict"]) and form(row) not in present
        verdicts = {name: EARLIER_FORM + row[name] for name in ("verdict", "alone")}
        found.append({**row, **verdicts, "reason": ""} if old else row)
    return found


def _of_size(paper: str, folder: Path, claims: Rows, earlier: Rows) -> Iterator[str]:
    claims = as_they_are_now(claims, present_claims(paper, folder.name))
    yield f"Of the size {folder.name}:"
    runs = rows_of(folder / "runs.csv")
    if runs:
        yield _markdown(list(MADE_BY.values()), [[row[column] for column in MADE_BY] for row in runs])
    said = {tuple(_key(row)): row["before"] for row in earlier}
    yield _markdown(COLUMNS, [_cells(row, said.get(tuple(_key(row)), "")) for row in claims])
    changed = changes(claims, earlier)
    if changed:
        yield "Verdicts that are others than before:"
        yield _markdown(("figure", "claim", "before", "now", "why"), changed)
    for reason in dict.fromkeys(row["reason"] for row in claims if not row["verdict"]):
        names = dict.fromkeys(row["figure"] for row in claims if not row["verdict"] and row["reason"] == reason)
        yield f"No verdicts on {', '.join(names)}: {reason}."
    judged = [row for row in claims if row["verdict"] and not row["verdict"].startswith(EARLIER_FORM)]
    if len(judged) < sum(bool(row["verdict"]) for row in claims):
        yield OUT_OF_DATE
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


def changes(claims: Rows, earlier: Rows) -> list[list[str]]:
    """Figure, claim, earlier and present verdict, and why, of the claims that have another verdict, or are not asked any more."""
    found = []
    for row in earlier:
        now = [claim for claim in claims if _key(claim) == _key(row)]
        if not now:
            found.append([*_key(row), row["before"], "not asked any more", row["why"]])
        for claim in now:
            verdict = claim["verdict"]
            if verdict and row["before"].startswith(verdict):
                continue
            shown = _measured(claim) if len(now) > 1 else claim["claim"]
            alone = f"; alone: {claim['alone']}" if claim["alone"] != verdict else ""
            found.append([row["figure"], shown, row["before"], f"{verdict}{alone}" if verdict else "none", row["why"]])
    return found


def _measured(row: Mapping[str, str]) -> str:
    return f"{row['claim']} Measured: {row['quantity']}"


def _cells(row: Mapping[str, str], before: str) -> list[str]:
    """A row of the table."""
    condition = row.get("condition", "")  # rows kept earlier lack it
    here = f"{condition}: " if condition else ""
    here += f"{float(row['mean']):.3g}" if row["mean"] else "–"
    if row["low"]:
        here += f" ({float(row['low']):.3g} … {float(row['high']):.3g})"
    border = f"> {float(row['border']):g}"
    if row["about"]:
        border = f"within {float(row['border']):.3g} of {float(row['about']):g}"
    judged = [row["verdict"], row["alone"], row["reason"]] if row["verdict"] else ["none", "", ""]
    return [row["figure"], _measured(row), before, here, border, row["seeds"], *judged]


def _times(paper: str, claims: Rows) -> Iterator[str]:
    """How long the figures of the size desk take, and of which of them results are kept; nothing where there is no such size."""
    names, durations = with_size(paper, figures(paper), DESK), Durations.load(paper)
    if not names:
        return
    machine = durations.machines.get(DESK, "").replace("the same", next(iter(durations.machines.values()), ""), 1)
    runs = {name: {job.folder for job in jobs_of(paper, [name], DESK)} for name in names}
    done, rows = {row["figure"] for row in claims}, []
    for name in names:
        larger = [other for other in names if runs[name] < runs[other] or (runs[name] == runs[other] and other < name)]
        time = time_of(durations, paper, [name], DESK) + (f", all of it runs of {larger[0]}" if larger else "")
        rows.append([name, time, "yes" if name in done else "not run"])
    rows.append(["all, each run once", time_of(durations, paper, names, DESK), ""])
    yield f"How long the size {DESK} takes ({machine}):".replace("*", "\\*")
    yield _markdown(("figure", "time on two cores", "kept"), rows)
