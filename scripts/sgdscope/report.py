"""The report of a reproduction: what was run, what came out, and which of the paper's claims hold."""

from __future__ import annotations

import csv
import datetime
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sgdscope.catalogue import figures, jobs_of, papers, study_of
from sgdscope.claims import Claim, Measurement, TooLittle, Verdict, adjusted, reasons
from sgdscope.document import Block, Bullets, Code, Heading, Link, Paragraph, Picture, Table, html_page, markdown
from sgdscope.durations import in_words
from sgdscope.figure import Figure
from sgdscope.files import replacing
from sgdscope.plan import CIFAR10_SPLIT, LOOKED_FOR, Reproduction, config_of
from sgdscope.plots.style import FORMATS, house_style, write
from sgdscope.results import Outcome, Results, load_outcome
from sgdscope.runs import Run
from sgdscope.statistics import FEWEST, LEVEL, holm
from sgdscope.studies import Study

DATA_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}

HEADER = ["Claim", "In the paper", "What is measured", "Here", "Holds if"]

HOW_TO_READ = (
    "A claim is a sentence of the paper, a number that was measured here, and a border, fixed with its reason: the claim is "
    "that the number lies above the border (or within a margin of a value).",
    "Each training run begins from random weights and sees the examples in a random order, both given by its seed. The number is "
    "measured once for each seed. What follows it in brackets covers its mean over all seeds that there could be in 95 of 100 cases "
    "(by Student's t distribution).",
    "A claim 'holds' if the whole of that interval lies beyond the border, 'does not hold' if all of it lies on the other "
    f"side, and else is 'not decided'; with fewer than {FEWEST} seeds nothing is, nor where a seed's run is such that it gives no number. "
    "Numbers of which only a few can come out, or that are equal with all seeds, say less: they decide alone from 6 seeds on, and "
    "beside other claims take more.",
    "A claim may be about several conditions, such as shares of noise, of which each must be so. Their numbers stand one after the "
    "other, each after the name of its condition.",
    "Who judges many claims errs in some. The column 'Verdict' is right for all claims of a figure together in 95 of 100 cases "
    "(Holm's procedure), 'alone' is the verdict if a claim were the only one. The overview counts the former.",
)


@dataclass(frozen=True)
class Chapter:
    """What came of a figure: its pictures, claims and problems."""

    name: str
    figure: Figure
    study: Study
    claims: Sequence[Claim]
    pictures: Sequence[Path]  # the PNG files
    not_drawn: str  # why there is no picture; empty if there is one
    tables: Sequence[Table]
    unjudged: str = ""  # why there are no verdicts at this size; empty if there are

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on the claims, so that all of them together are wrong in no more than 5 % of the cases."""
        return adjusted(self.claims)

    @property
    def judged(self) -> list[tuple[Claim, Verdict, str]]:
        """The claims with their verdicts, and why they are not decided."""
        return list(zip(self.claims, self.verdicts, reasons(self.claims, self.verdicts)))


def write_report(reproduction: Reproduction) -> list[Chapter]:
    """Draws all figures of a reproduction, and writes claims.csv, report.md and report.html beside them."""
    of_paper, paper, size = figures(reproduction.paper), reproduction.paper, reproduction.size
    jobs = jobs_of(paper, reproduction.figures, size)
    outcomes = {job.folder: load_outcome(job, reproduction.runs_folder) for job in jobs}
    chapters = []
    for name in sorted(reproduction.figures):
        study = study_of(paper, name, size)
        results = Results(study, [outcomes[job.folder] for job in study.jobs()])
        chapters.append(_chapter(reproduction.folder, name, of_paper[name], results, size))
    title = f"{paper}, {size}: which claims hold"
    blocks = list(_document(title, reproduction, chapters, list(outcomes.values())))
    for file, text in (
        ("claims.csv", _claims_csv(chapters)),
        ("report.md", markdown(blocks)),
        ("report.html", html_page(title, blocks)),
    ):
        with replacing(reproduction.folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return chapters


def _chapter(folder: Path, name: str, figure: Figure, results: Results, size: str) -> Chapter:
    """Judges the claims and draws."""
    unjudged = figure.unjudged.get(size, "")
    chapter = Chapter(name, figure, results.study, figure.claims(results), [], "", figure.tables(results), unjudged)
    try:
        with house_style():
            drawn = figure.draw(results)
            for stem, picture in drawn.items():
                for ending in FORMATS:
                    write(picture, folder / f"{stem}{ending}")
    except TooLittle as error:
        return replace(chapter, not_drawn=str(error))
    return replace(chapter, pictures=[folder / f"{stem}.png" for stem in drawn])


# ------------------------------------------------------------------------------------------ the document


def _document(
    title: str, reproduction: Reproduction, chapters: Sequence[Chapter], outcomes: Sequence[Outcome]
) -> Iterable[Block]:
    paper = papers()[reproduction.paper]
    yield Heading(1, title)
    yield Paragraph(f"What it is about: {paper.about}.")
    yield Bullets(paper.sources)
    yield Table(["", ""], _facts(reproduction, outcomes))
    yield Heading(2, "Overview")
    yield Table(["Figure", "", *(verdict.value for verdict in Verdict)], [_overview(chapter) for chapter in chapters])
    yield from (Paragraph(words) for words in [_together(chapters)] if words)
    yield Bullets(HOW_TO_READ)
    yield Heading(2, "Departures from the paper")
    left_out = [
        f"{reproduction.size.capitalize()}: {words}." for words in [paper.sizes.get(reproduction.size)] if words
    ]
    yield Bullets([*_absent_data(reproduction, outcomes), *_data_departures(outcomes), *left_out, *paper.departures])
    for chapter in chapters:
        yield from _sections(reproduction.paper, chapter)
    yield Heading(2, "Runs")
    yield Table(["Run", "Status", "Steps", "Time", "Peak memory"], [_run_row(outcome) for outcome in outcomes])
    yield Paragraph("The commands that made them, but for where their output goes, in the repository's folder:")
    yield Code(
        [reproduction.runs[outcome.job.folder] for outcome in outcomes if outcome.job.folder in reproduction.runs]
    )


def _facts(reproduction: Reproduction, outcomes: Sequence[Outcome]) -> list[list[str]]:
    finished = [outcome for outcome in outcomes if outcome.run]
    seconds = sum(outcome.manifest["wall_seconds"] for outcome in finished)
    return [
        ["Size", reproduction.size],
        ["Data", distinct(_data_of(o.run) for o in finished if o.run)],
        ["Program", distinct(o.program for o in finished)],
        ["LibTorch", distinct(o.manifest["versions"]["libtorch"] for o in finished)],
        ["BLAS", distinct(o.manifest["versions"]["blas"] for o in finished)],
        ["Processor", distinct(o.machine for o in finished)],
        ["Runs", f"{len(finished)} of {len(outcomes)} finished, {in_words(seconds)} in all"],
        ["Report of", datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")],
    ]


def distinct(words: Iterable[str]) -> str:
    """Words of finished runs, each once."""
    return "; ".join(dict.fromkeys(words)) or "no run is finished"


def _data_of(run: Run) -> str:
    data = run.config["data"]
    name = DATA_NAMES.get(data["name"], data["name"])
    return f"{name} in `{data['path']}`" if "path" in data else name


def _absent_data(reproduction: Reproduction, outcomes: Sequence[Outcome]) -> list[str]:
    """Data sets that were not found when the runs were planned, and runs of other data that no call has planned.

    What lacks its first weights is not planned either.
    """
    done = {"", *(outcome.job.folder for outcome in outcomes if outcome.run)}
    unplanned = [outcome.job for outcome in outcomes if outcome.job.folder not in reproduction.runs]
    names = [config_of(job)["data"]["name"] for job in unplanned if job.after in done]
    there = {config_of(outcome.job)["data"]["name"] for outcome in outcomes if outcome.job.folder in reproduction.runs}
    absent = sorted({name for name in names if name in LOOKED_FOR and name not in there})
    found = [
        f"{DATA_NAMES[name]} was not found: its runs are missing, and claims on them not decided." for name in absent
    ]
    if others := sum(name not in absent for name in names):
        found.append(f"{others} runs were not asked for in this folder yet: scripts/reproduce.sh makes them.")
    return found


def _data_departures(outcomes: Sequence[Outcome]) -> list[str]:
    """Data sets that stand in for those of the configs, and a test set that is a part of the training set."""
    found = []
    for outcome in outcomes:
        if outcome.run is None:
            continue
        wanted, used = config_of(outcome.job)["data"], outcome.run.config["data"]
        if wanted["name"] != used["name"]:
            found.append(f"{DATA_NAMES[used['name']]} stands in for {DATA_NAMES[wanted['name']]}, which was not found.")
        if "test_files" not in wanted and used.get("test_files") == CIFAR10_SPLIT[1]:
            found.append("CIFAR-10's test batch was not found: batches 1 to 4 are trained on, batch 5 is the test set.")
    return list(dict.fromkeys(found))


def of_whole_paper(ps: Sequence[float], decided: int, figures: int) -> str:
    """What the level alone lets err in so many judged figures, and what stays if all claims of a paper are one family."""
    if not ps:
        return ""
    words = f"By the level alone up to {LEVEL * figures:.2g} of {figures} judged figures are to be expected to have a wrong verdict."
    if not decided:
        return words
    left = sum(p <= LEVEL for p in holm(ps))
    return (
        f"{words} Of the {decided} claims that are decided, {left} would stay so after Holm's procedure over all {len(ps)} judged "
        "claims of the paper."
    )


def _together(chapters: Sequence[Chapter]) -> str:
    judged = [chapter for chapter in chapters if not chapter.unjudged]
    decided = sum(verdict is not Verdict.OPEN for chapter in judged for verdict in chapter.verdicts)
    return of_whole_paper([claim.decided[1] for chapter in judged for claim in chapter.claims], decided, len(judged))


def _overview(chapter: Chapter) -> list[str | Link]:
    counts = ["–" if chapter.unjudged else str(chapter.verdicts.count(verdict)) for verdict in Verdict]
    return [Link(chapter.name, chapter.name), chapter.figure.title, *counts]


def _sections(paper: str, chapter: Chapter) -> Iterable[Block]:
    """What a figure's chapter holds."""
    figure = chapter.figure
    yield Heading(2, f"{paper}/{chapter.name}: {figure.title}", chapter.name)
    yield Paragraph(f"The paper {figure.did[0].lower()}{figure.did[1:]}")
    for file in chapter.pictures:
        yield Picture(file, f"{file.stem}. {figure.shows[file.stem]}")
    if chapter.not_drawn:
        yield Paragraph(f"There is no picture: {chapter.not_drawn}.")
    if chapter.unjudged:
        yield Paragraph(
            f"Nothing is concluded from runs of this size: {chapter.unjudged}. The numbers are shown without verdicts."
        )
        yield Table(HEADER, [_numbers(claim) for claim in chapter.claims])
    else:
        header = [*HEADER, "Verdict", "alone", "What would decide"]
        yield Table(header, [_row(*one) for one in chapter.judged])
    yield from _decided_after(chapter)
    yield from chapter.tables
    yield Paragraph("Departures of this figure:")
    yield Bullets(figure.departures)


def _decided_after(chapter: Chapter) -> Iterable[Block]:
    """What of the claims was not fixed before results were known."""
    study, told = chapter.study, []
    for claim in chapter.claims:
        if claim.decided_after:
            words = claim.decided_after.words(study.size, study.seeds)
            told.append(f"{claim.says} {words[0].upper()}{words[1:]}.")
    if told:
        yield Paragraph("Decided when results were known already:")
        yield Bullets(told)


def _numbers(claim: Claim) -> list[str]:
    """What is measured, and what the claim says of it."""
    found = [f"{name}: {_measured(part)}" if name else _measured(part) for name, part in claim.conditions.items()]
    if claim.about is None:
        border = f"> {claim.border:g}"
    else:
        border = f"within {claim.border:.3g} of {claim.about:g}"
    return [claim.says, claim.place, claim.quantity, "; ".join(found), f"{border} ({claim.why})"]


def _row(claim: Claim, verdict: Verdict, reason: str) -> list[str | Verdict]:
    return [*_numbers(claim), verdict, claim.verdict, reason]


def _measured(part: Measurement) -> str:
    """The number with its interval, how many seeds and steps are behind it, and what is missing."""
    if not part.samples:
        return part.censored or "; ".join(part.problems) or "no run measures it"
    mean, error = part.summary.mean, part.error
    form = f".{max(0, 1 - math.floor(math.log10(error)))}f" if error > 0 else ".3g"  # two digits of the error
    words = f"{mean:{form}}"
    if part.seeds > 1:
        words += " ({:{form}} … {:{form}})".format(*part.interval, form=form)
    words += f"; {part.seeds} seed{'s' if part.seeds > 1 else ''}"
    steps = sorted({sample.steps for sample in part.samples.values()} - {0})
    if steps:
        words += f" of {' to '.join(str(count) for count in dict.fromkeys((steps[0], steps[-1])))} steps"
    return "; ".join([words, *part.problems])


def _run_row(outcome: Outcome) -> list[str]:
    manifest = outcome.manifest
    if outcome.run is None:
        return [outcome.job.folder, outcome.problem.partition(": ")[2], str(manifest.get("steps_done", "")), "", ""]
    memory = f"{manifest['peak_memory_bytes'] / 1e6:.0f} MB"
    return [outcome.job.folder, "done", str(manifest["steps_done"]), in_words(manifest["wall_seconds"]), memory]


COLUMNS = (
    "figure,claim,place,quantity,condition,seeds,mean,deviation,low,high,border,about,why,p,verdict,alone,reason,decided_after,seen"
).split(",")


def _claims_csv(chapters: Sequence[Chapter]) -> str:
    """A row for each claim, for other programs; of several conditions the name and numbers of the one that speaks the least for it.

    Where there are no verdicts these are empty, and the reason says why. Of what was decided when results were known `seen`
    has with how many of these seeds they were.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for chapter in chapters:
        for claim, verdict, reason in chapter.judged:
            numbers: list[object] = [0, "", "", "", ""]
            condition, part = claim.weakest
            if part.samples:
                of_seeds = [part.summary.deviation, *part.interval] if part.seeds > 1 else ["", "", ""]
                numbers = [part.seeds, part.summary.mean, *of_seeds]
            about = "" if claim.about is None else claim.about
            judged = [claim.decided[1], verdict.value, claim.verdict.value, reason]
            if chapter.unjudged:
                judged = ["", "", "", chapter.unjudged]
            size, seeds, late = chapter.study.size, chapter.study.seeds, claim.decided_after
            known = [late.words(size, seeds), len(late.seen(size, seeds))] if late else ["", ""]
            rows.writerow(
                [chapter.name, claim.says, claim.place, claim.quantity, condition, *numbers, claim.border, about, claim.why,
                 *judged, *known]
            )  # fmt: skip
    return text.getvalue()
