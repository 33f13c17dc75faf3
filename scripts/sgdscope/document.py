"""A document of headings, paragraphs, lists, tables and pictures, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sgdscope.claims import Verdict


@dataclass(frozen=True)
class Heading:
    """A heading of a level from 1 on. `anchor` is what others link to with '#anchor'."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Text, in which `...` is code."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of items, each with a bullet."""

    items: Sequence[str]


@dataclass(frozen=True)
class Link:
    """Text that leads to an anchor of the same document."""

    text: str
    anchor: str


Cell = str | Verdict | Link


@dataclass(frozen=True)
class Table:
    """Rows of text, verdicts and links."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the document."""

    file: Path
    caption: str


@dataclass(frozen=True)
class Code:
    """Lines to be typed in a shell."""

    lines: Sequence[str]


Block = Heading | Paragraph | Bullets | Table | Picture | Code


def markdown(blocks: Sequence[Block]) -> str:
    """The document as Markdown, for terminals, editors and code hosts; pictures are linked."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text, anchor):
            mark = f'<a id="{anchor}"></a>\n\n' if anchor else ""
            return f"{mark}{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Table(header, rows):
            lines = [header, ["---"] * len(header), *rows]
            return "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)
        case Picture(file, caption):
            return f"![{file.stem}]({file.name})\n\n*{caption}*"
        case Code(lines):
            return "\n".join(["```sh", *lines, "```"])


def _markdown_cell(cell: Cell) -> str:
    match cell:
        case Verdict():
            return f"**{cell.value}**"
        case Link(text, anchor):
            return f"[{text}](#{anchor})"
        case _:
            return cell.replace("|", "\\|")


def html_page(title: str, blocks: Sequence[Block]) -> str:
    """The document as one HTML file that needs no other: style and pictures are inside."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(level, text, anchor):
            mark = f' id="{anchor}"' if anchor else ""
            return f"<h{level}{mark}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"
        case Table(header, rows):
            head = "".join(f"<th>{_inline(text)}</th>" for text in header)
            cells = ["".join(f"<td>{_html_cell(cell)}</td>" for cell in row) for row in rows]
            lines = "\n".join(f"<tr>{row}</tr>" for row in cells)
            return f"<div class=wide><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
        case Picture(file, caption):
            data = base64.b64encode(file.read_bytes()).decode("ascii")
            image = f'<img alt="{html.escape(file.stem)}" src="data:image/png;base64,{data}">'
            return f"<figure>{image}<figcaption>{_inline(caption)}</figcaption></figure>"
        case Code(lines):
            return "<pre>" + html.escape("\n".join(lines)) + "</pre>"


def _html_cell(cell: Cell) -> str:
    match cell:
        case Verdict():
            return f'<span class="verdict {cell.name.lower()}">{cell.value}</span>'
        case Link(text, anchor):
            return f'<a href="#{anchor}">{html.escape(text)}</a>'
        case _:
            return _inline(cell)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


CSS = """\
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; line-height: 1.25 }
h2 { font-size: 1.3rem; margin-top: 2.8rem; border-top: 1px solid #ddd; padding-top: 1.2rem }
h3 { font-size: 1.05rem; margin-top: 1.6rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e3e3e3 }
th { border-bottom: 2px solid #999; white-space: nowrap }
code, pre { font: .86em/1.45 ui-monospace, monospace; background: #f5f5f5; border-radius: 3px }
code { padding: .05em .25em }
pre { padding: .8rem; overflow-x: auto }
figure { margin: 1.4rem 0 }
img { max-width: 100%; height: auto }
figcaption { font-size: .88rem; color: #555 }
.verdict { display: inline-block; white-space: nowrap; padding: 0 .5em; border-radius: 3px; font-weight: 600 }
.holds { background: #d6efe5; color: #00563d }
.fails { background: #fbe0cf; color: #8a3800 }
.open { background: #ececec; color: #444 }
@media print { body { max-width: none; margin: 0 } h2 { break-before: page } }
"""
