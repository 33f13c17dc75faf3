#!/usr/bin/env python3
"""Writes the tables of configs/README.md, below its line GENERATED, from what `sgdscope schema` prints.

    scripts/config_page.py [--check]

SGDSCOPE names another program than build/release/sgdscope. Exit status: 0 written, or fresh; 1 stale, by --check; 2 wrong usage,
or a page without the line GENERATED; 5 no program, or no place to write.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgdscope.errors import RESOURCE, Error, exit_status_of
from sgdscope.files import replacing

STALE = 1  # exit status
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "configs" / "README.md"
GENERATED = "<!-- What follows is written by scripts/config_page.py. -->\n"
TITLES = {
    "data": "Data sets",
    "sampler": "Samplers",
    "model": "Models",
    "layers": "Layers",
    "gradient": "Estimators",
    "update": "Update rules",
    "learning_rate": "Learning rates",
    "probes": "Probes",
}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

Schema = dict[str, Any]


def leaves(field: Schema) -> dict[str, Schema]:
    """What the object `field`, or each of a list, may be, by the value of its key `name`; empty where it has none."""
    options = field.get("items", field).get("oneOf", [])
    return {option["properties"]["name"]["const"]: option for option in options if "properties" in option}


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Path, schema and whether it is required of each field of an object; those of groups stand below the group."""
    for name, field in schema["properties"].items():
        if name == "name" and "const" in field:
            continue
        yield path + name, field, name in schema.get("required", [])
        if "properties" in field:
            yield from fields(field, f"{path}{name}.")


def kinds(schema: Schema) -> Iterator[tuple[str, dict[str, Schema]]]:
    """Key and leaves of each choice between registered names, those within the leaves last."""
    for path, field, _ in fields(schema):
        if leaves(field):
            yield path, leaves(field)
    for _, field, _ in fields(schema):
        for leaf in leaves(field).values():
            yield from kinds(leaf)


def link(title: str) -> str:
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def allowed_text(field: Schema) -> str:
    if leaves(field):
        return ", ".join(f"`{name}`" for name in leaves(field))
    values = field.get("items", field)
    words = [f"`{value}`" for value in values.get("enum", [])]
    return ", ".join(words or [f"{sign} {values[key]:g}" for key, sign in LIMITS.items() if key in values])


def type_text(path: str, field: Schema) -> str:
    if "items" in field:
        return f"list of {type_text(path, field['items'])}"
    if "$ref" in field:  # a choice like the one around it
        return str(field["type"])
    if "oneOf" in field:
        return choice_type(field)
    return str(field["type"])


def choice_type(choice: Schema) -> str:
    number = any("properties" not in option for option in choice["oneOf"])
    return "number or object" if number else "object"


def name_types_of_references(schema: Schema, part: Any) -> None:
    """Gives each choice that only refers to the one around it the type of that one."""
    if isinstance(part, dict) and "$ref" in part:
        target: Any = schema
        for key in part["$ref"].split("/")[1:]:
            target = target[int(key) if isinstance(target, list) else key]
        part["type"] = choice_type(target)
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        name_types_of_references(schema, inner)


def row(path: str, field: Schema, required: bool) -> str:
    default = f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else ""
    name = f"**`{path}`**" if required else f"`{path}`"
    meaning = re.sub(r"([|<*])", r"\\\1", field["description"])
    cells = [name, type_text(path, field), "required" if required else default, allowed_text(field), meaning]
    return "| " + " | ".join(cells) + " |"


def table(rows: list[str]) -> list[str]:
    return ["", "| field | type | default | allowed | meaning |", "|---|---|---|---|---|", *rows] if rows else []


def section(title: str, known: dict[str, Schema]) -> list[str]:
    """All leaves of a kind; the fields that they have in common stand first, once."""
    rows = {name: [row(*field) for field in fields(leaf)] for name, leaf in known.items()}
    shared = [line for line in next(iter(rows.values())) if all(line in own for own in rows.values())]
    lines = ["", f"## {title}"]
    if shared:
        lines += ["", "Fields that all of them have:", *table(shared)]
    for name, leaf in known.items():
        lines += ["", f"### `{name}`", "", leaf["properties"]["name"]["description"]]
        lines += table([line for line in rows[name] if line not in shared])
    return lines


def generated(schema: Schema) -> str:
    known = {TITLES.get(path, path): choices for path, choices in kinds(schema)}
    lines = ["", "Kinds of names: " + ", ".join(link(title) for title in known) + ".", "", "## Config"]
    lines += table([row(*field) for field in fields(schema)])
    for title, choices in known.items():
        lines += section(title, choices)
    return "\n".join(lines) + "\n"


def schema_of(program: str) -> Schema:
    """What the program prints of its config."""
    try:
        return json.loads(subprocess.run([program, "schema"], check=True, stdout=subprocess.PIPE).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        hint = "scripts/quickstart.sh or scripts/test.sh builds it, or set SGDSCOPE to where you have it"
        raise Error(program, f"prints no schema: {error}", hint, RESOURCE) from None


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="config_page.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the page is stale")
    return parser.parse_args()


def update_page(check: bool) -> None:
    """Writes the page, or says that it is stale."""
    schema = schema_of(os.environ.get("SGDSCOPE") or str(ROOT / "build" / "release" / "sgdscope"))
    name_types_of_references(schema, schema)
    old = PAGE.read_text(encoding="utf-8")
    written, marker, _ = old.partition(GENERATED)
    if not marker:
        raise Error(str(PAGE), f"the line '{GENERATED.strip()}' is missing", "put it where the tables belong")
    new = written + GENERATED + generated(schema)
    if not check:
        with replacing(PAGE, "make room, or call this where you may write") as file:
            file.write_text(new, encoding="utf-8")
    elif new != old:
        raise Error(str(PAGE), "is stale", "call scripts/config_page.py", STALE)


def main() -> int:
    """Does what the command line asks for; the exit status."""
    return exit_status_of(lambda: update_page(parse_arguments().check))


if __name__ == "__main__":
    sys.exit(main())
