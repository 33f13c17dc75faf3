"""Studies: which runs a figure or a sweep is made of, as data.

A study file is JSON, in which // comments are allowed. Its keys, of which study.schema.json tells editors:

    extends    a study file, beside this one, of which this one has all keys that it does not change
    config     the experiment that all runs begin from, beside the study
    seeds      with which every setting is run; without them it is run once, with the seed of its config
    common     {PATH: VALUE}: what all runs override in the config, before all else
    defaults   {NAME: VALUE}: what config and common have already; the name and the overrides are silent about them
    values     {NAME: VALUE}: for expressions, and for who draws the runs
    name       the parts of a setting's name, joined by '_'
    set        {PATH: VALUE}: what a setting overrides, in this order
    curves     {CURVE: {vary, values, set, config, after, may_diverge}}: lists of settings. `vary` is a grid,
               {NAME: [VALUE, ...]}, of which the first name varies most slowly, or a list of grids. A NAME may also have
               one value, or an expression. `after` names a setting: its run with the same seed is made before, and its
               last weights are the first ones of this curve's runs
    only       which of the curves there are, in this order; all, without it
    may_diverge
               true where a run that diverges is a result as any other, as at a grid's highest learning rates
    sizes      {SIZE: {any of these keys but extends and sizes}}: what a size has besides, or in place of that

In name, config, common, set, values and after, and in vary in place of a list, '{...}' is an expression of NAMEs and numbers
with + - * / **, log2, min, max, and plain for what folders can be called after: "{2.0 ** rate}", "hidden{plain(hidden)}".
It may need other expressions. The quotient of two whole numbers is whole where it can be, so that "{24 * batch / 16}"
epochs have the same number of steps at every batch size.

A part of a name, or an override, that speaks of a NAME is left out of settings that have no such value, or the default.

This needs nothing but Python's standard library, from 3.9 on.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sgdscope.errors import DATA, Error, suggestion

MERGED = ("common", "defaults", "values", "set", "curves", "sizes")  # key by key; others are replaced
KEYS = {
    "study": ("$schema", "extends", "config", "seeds", *MERGED, "name", "only", "may_diverge"),
    "size": ("config", "seeds", *MERGED[:-1], "name", "only"),
    "curve": ("vary", "values", "set", "config", "after", "may_diverge"),
}
OF_TYPE = {"after": (str, "name a setting, in quotes"), "may_diverge": (bool, "write true or false")}
MOST_IN_NAME = 200  # characters, of which file systems allow 255


@dataclass(frozen=True)
class Job:
    """A run: a config, what of it is overridden, and the seed. Figures that ask for equal jobs share the run."""

    name: str  # of the setting; with the seed it names the run folder
    config: str
    seed: int | None
    overrides: tuple[str, ...] = ()  # PATH=VALUE
    after: str = ""  # the folder of the run whose last weights are the first ones of this; empty if they are random
    may_diverge: bool = field(compare=False, default=False)  # as the figure sees it

    @property
    def folder(self) -> str:
        """The name of the run folder: it says what was run, and nothing of the figures that use it."""
        return folder_of(self.name, self.seed)

    def words(self, more: Iterable[str] = ()) -> list[str]:
        """The command, without its output; `more` are further overrides."""
        sets = [word for override in (*self.overrides, *more) for word in ("--set", override)]
        return ["sgdscope", "run", self.config, *sets, *([] if self.seed is None else ["--seed", str(self.seed)])]


def folder_of(name: str, seed: int | None) -> str:
    """The name of the run folder of a setting with a seed."""
    return name if seed is None else f"{name},seed={seed}"


def stages(jobs: Iterable[Job]) -> list[list[Job]]:
    """The jobs in groups, of which each has what can be run once the groups before it have been."""
    left, found = list(jobs), []
    while left:
        awaited = {job.folder for job in left}
        found.append([job for job in left if job.after not in awaited])
        left = [job for job in left if job.after in awaited]
    return found


@dataclass(frozen=True)
class Setting:
    """What is run with all seeds."""

    name: str
    config: str
    overrides: tuple[str, ...]
    after: str = ""  # the setting whose runs have the first weights of these; empty if they are random
    may_diverge: bool = field(compare=False, default=False)
    values: Mapping[str, Any] = field(compare=False, default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def job(self, seed: int | None) -> Job:
        """The run with a seed."""
        after = self.after and folder_of(self.after, seed)
        return Job(self.name, self.config, seed, self.overrides, after, self.may_diverge)


@dataclass(frozen=True)
class Study:
    """A study at one size."""

    file: str
    size: str
    seeds: tuple[int, ...]
    values: Mapping[str, Any]  # that do not depend on what varies
    curves: Mapping[str, tuple[Setting, ...]]

    @property
    def settings(self) -> list[Setting]:
        """The settings of all curves, each once."""
        return list(dict.fromkeys(itertools.chain(*self.curves.values())))

    def jobs(self) -> list[Job]:
        """The jobs: every setting with every seed."""
        return [setting.job(seed) for setting in self.settings for seed in self.seeds or (None,)]

    def curve(self, name: str, **values: Any) -> list[Setting]:
        """Those settings of a curve that have certain values."""
        return [one for one in self.curves[name] if all(one.values.get(key) == value for key, value in values.items())]

    def by(self, name: str, variable: str) -> dict[Any, list[Setting]]:
        """The settings of a curve by one of their values."""
        found: dict[Any, list[Setting]] = {}
        for setting in self.curves[name]:
            found.setdefault(setting[variable], []).append(setting)
        return found


# ---------------------------------------------------------------------------------------------------- reading


def read_json(file: str | os.PathLike[str]) -> Any:
    """A JSON file, which may have comments."""
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    comment = r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/'
    try:  # comments become blanks, so that lines and columns stay what they are
        return json.loads(re.sub(comment, lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text, flags=re.S))
    except ValueError as error:
        raise Error(str(file), f"is not JSON: {error}", "correct it there", DATA) from None


def sizes_of(file: str | os.PathLike[str]) -> list[str]:
    """The sizes that a study has."""
    return list(_read(os.path.normpath(file)).get("sizes", {}))


def load_study(file: str | os.PathLike[str], size: str) -> Study:
    """A study file at a size."""
    raw = _read(os.path.normpath(file))
    known = raw.get("sizes", {})
    if size not in known and (size or known):
        what = f"there is no size '{size}'" if size else "the study has several sizes, and none was named"
        raise Error(f"{file}: sizes", what, suggestion(size, known) if size else f"choose from {', '.join(known)}")
    return expand(raw, str(file), size)


def _read(file: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """A study with those keys that it takes from the one it extends; configs are paths from here on."""
    if file in extending:
        raise Error(f"{file}: extends", "the study extends itself", f"break the circle: {' extends '.join(extending)}")
    raw = read_json(file)
    _check(raw, "study", file)
    for place, part in _with_config(raw):
        config = _text_at(part["config"], f"{file}: {place}config")
        part["config"] = os.path.normpath(os.path.join(os.path.dirname(file), config))
    if "extends" not in raw:
        return raw
    other = os.path.join(os.path.dirname(file), _text_at(raw.pop("extends"), f"{file}: extends"))
    return _merge(_read(os.path.normpath(other), (*extending, file)), raw)


def _with_config(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a study that name a config, and where they are."""
    for place, part in [("", raw), *((f"sizes.{size}.", part) for size, part in raw.get("sizes", {}).items())]:
        for where, one in [(place, part), *((f"{place}curves.{c}.", v) for c, v in part.get("curves", {}).items())]:
            if "config" in one:
                yield where, one


def _check(raw: Any, kind: str, place: str) -> None:
    """Refuses keys that a part of a study cannot have, and parts that are no objects."""
    if not isinstance(raw, dict):
        raise Error(
            place, f"found {json.dumps(raw)[:60]}, expected an object", f"with the keys {', '.join(KEYS[kind])}"
        )
    separator = ": " if kind == "study" else "."
    for key, value in raw.items():
        if key not in KEYS[kind]:
            raise Error(f"{place}{separator}{key}", f"a {kind} has no such key", suggestion(key, KEYS[kind]))
        if key in MERGED and not isinstance(value, dict):
            raise Error(
                f"{place}{separator}{key}", f"found {json.dumps(value)[:60]}, expected an object", "write {...}"
            )
        if key in ("name", "only") and not isinstance(value, str):
            if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
                raise Error(f"{place}{separator}{key}", f"found {json.dumps(value)[:60]}", "write a list of texts")
        if key in OF_TYPE and not isinstance(value, OF_TYPE[key][0]):
            raise Error(f"{place}{separator}{key}", f"found {json.dumps(value)[:60]}", OF_TYPE[key][1])
        if key == "vary" and not all(isinstance(grid, dict) for grid in _grids(raw)):
            raise Error(f"{place}.{key}", f"found {json.dumps(value)[:60]}", "write a grid: {NAME: [VALUE, ...]}")
        for part_kind, parts in (("size", "sizes"), ("curve", "curves")):
            if key == parts:
                for name, part in value.items():
                    _check(part, part_kind, f"{place}{separator}{key}.{name}")


def _text_at(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise Error(place, f"found {json.dumps(value)}, expected a file's name", "write it in quotes")
    return value


def _merge(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `more` has besides or in place of it; curves and sizes are merged in the same way."""
    merged = dict(base)
    for key, value in more.items():
        if key not in MERGED or key not in base:
            merged[key] = value
        elif key in ("curves", "sizes"):
            merged[key] = {**base[key], **{name: _merge(base[key].get(name, {}), part) for name, part in value.items()}}
        else:
            merged[key] = {**base[key], **value}
    return merged


# -------------------------------------------------------------------------------------------------- expanding


def expand(raw: dict[str, Any], file: str, size: str = "") -> Study:
    """The settings of a study. `raw` is what its file holds, with paths of configs as they are called from here."""
    declared = _declared(raw)
    raw = _merge(raw, raw.get("sizes", {}).get(size, {}))
    curves, common = raw.get("curves", {}), raw.get("values", {})
    only = raw.get("only", list(curves))
    for name in only:
        if name not in curves:
            raise Error(f"{file}: only", f"there is no curve '{name}'", suggestion(name, curves))
    defaults = raw.get("defaults", {})
    found = {name: tuple(_settings(raw, name, curves[name], declared, file)) for name in only}
    if not any(found.values()):
        raise Error(f"{file}: curves", "there is no setting in it", 'add one: "curves": {"all": {"vary": {...}}}')
    _refuse_namesakes(itertools.chain(*found.values()), file)
    _refuse_endless(itertools.chain(*found.values()), file)
    scope = _Scope({**defaults, **common}, defaults, declared, file)
    return Study(file, size, _seeds(raw.get("seeds", []), file), scope.all(), found)


def _seeds(seeds: Any, file: str) -> tuple[int, ...]:
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or len({*seeds}) < len(seeds):
        raise Error(f"{file}: seeds", f"found {json.dumps(seeds)}", "write whole numbers, each once: [1, 2, 3]")
    return tuple(seeds)


def _declared(raw: Mapping[str, Any]) -> set[str]:
    """All names that a study has values for, in any size."""
    found: set[str] = set()
    for part in (raw, *raw.get("sizes", {}).values()):
        found |= {*part.get("values", {}), *part.get("defaults", {})}
        for curve in part.get("curves", {}).values():
            found |= {*curve.get("values", {})}.union(*_grids(curve))
    return found


def _grids(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    vary = curve.get("vary", {})
    return vary if isinstance(vary, list) else [vary]


def _settings(
    raw: Mapping[str, Any], name: str, curve: Mapping[str, Any], declared: set[str], file: str
) -> Iterator[Setting]:
    place = f"{file}: curves.{name}"
    defaults = raw.get("defaults", {})
    fixed = {**defaults, **raw.get("values", {}), **curve.get("values", {})}
    for grid in _grids(curve):
        apart = {name: value for name, value in fixed.items() if name not in grid}
        for varied in _points(_Scope(apart, defaults, declared, f"{place}.vary"), grid):
            scope = _Scope({**fixed, **varied}, defaults, declared, place)
            for missing in varied.keys() - scope.all().keys():
                raise Error(f"{place}.vary.{missing}", f"'{grid[missing]}' has no value here", "give it one in values")
            try:
                setting = _setting(raw, curve, scope)
            except _Absent as absent:
                hint = "give it one in values; only parts of the name and what is set may do without"
                raise Error(
                    place, f"config, common or after speaks of '{absent}', which has no value here", hint
                ) from None
            yield setting


def _points(scope: _Scope, grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of a grid's values; what depends on other names of the grid stays an expression."""
    lists = []
    for name, given in grid.items():
        values, raw = given, isinstance(given, list)
        if isinstance(given, str):
            try:
                values, raw = scope.fill(given), True
            except _Absent:
                pass
        if values == []:
            raise Error(f"{scope.place}.{name}", "found no values", "give at least one: [VALUE, ...]")
        several = values if isinstance(values, list) else [values]
        lists.append([_Raw(one) if raw else one for one in several])
    for point in itertools.product(*lists):
        yield dict(zip(grid, point))


def _setting(raw: Mapping[str, Any], curve: Mapping[str, Any], scope: _Scope) -> Setting:
    config = curve.get("config", raw.get("config"))
    if config is None:
        raise Error(scope.place, "there is no config", 'name the experiment: "config": "FILE.json"')
    parts = raw.get("name", [])
    told = [scope.text(part) for part in ([parts] if isinstance(parts, str) else parts) if scope.tells(part)]
    name = "_".join(told)
    if not name or len(name) > MOST_IN_NAME or "/" in name:
        hint = f'"name" is to give each setting one of at most {MOST_IN_NAME} characters, without /'
        raise Error(scope.place, f"found the name '{name}' for a setting", hint)
    overrides = [f"{path}={as_text(scope.fill(value))}" for path, value in raw.get("common", {}).items()]
    for path, value in {**raw.get("set", {}), **curve.get("set", {})}.items():
        if scope.tells(value):
            overrides.append(f"{path}={as_text(scope.fill(value))}")
    may_diverge = curve.get("may_diverge", raw.get("may_diverge", False))
    after = scope.text(curve.get("after", ""))
    return Setting(name, scope.text(config), tuple(overrides), after, may_diverge, scope.all())


def as_text(value: Any) -> str:
    """A value as text, the way --set takes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> str:
    """What is left of a value in a name: no character that a shell, a URL or another file system takes amiss."""
    return re.sub("_+", "_", re.sub(r"[^A-Za-z0-9.+-]", "_", as_text(value))).strip("_")


def _refuse_namesakes(settings: Iterable[Setting], file: str) -> None:
    by_name: dict[str, Setting] = {}
    for setting in settings:
        other = by_name.setdefault(setting.name, setting)
        if other != setting:
            told = "\n    ".join(" ".join((one.config, *one.overrides)) for one in (other, setting))
            hint = 'add to "name" what tells them apart'
            raise Error(f"{file}: name", f"two settings have the name {setting.name}:\n    {told}", hint)


def _refuse_endless(settings: Iterable[Setting], file: str) -> None:
    """Settings that come after one that is not there, or after themselves."""
    after = {setting.name: setting.after for setting in settings}
    for name in after:
        chain = [name]
        while after[chain[-1]]:
            chain.append(after[chain[-1]])
            if chain[-1] not in after:
                raise Error(f"{file}: after", f"there is no setting '{chain[-1]}'", suggestion(chain[-1], after))
            if chain[-1] in chain[:-1]:
                what = f"a setting comes after itself: {' after '.join(chain)}"
                raise Error(f"{file}: after", what, "let one of them begin from random weights")


# ------------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True)
class _Raw:
    """A value as it is, whatever braces it has."""

    value: Any


class _Absent(Exception):
    """A value that a setting does not have."""


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _quotient(one: float, other: float) -> float:
    exact = isinstance(one, int) and isinstance(other, int) and one % other == 0
    return one // other if exact else one / other


OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.Pow: operator.pow,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "log2": lambda value: _whole(math.log2(value)),
    "min": min,
    "max": max,
    "plain": plain,
}
EXPRESSION = re.compile(r"\{([^{}]*)\}")


class _Scope:
    """The values of a setting, of which some are expressions of others."""

    def __init__(self, raw: Mapping[str, Any], defaults: Mapping[str, Any], declared: set[str], place: str) -> None:
        self.raw, self.defaults, self.declared, self.place = raw, defaults, declared, place
        self.open: list[str] = []  # names whose values are being found

    def all(self) -> dict[str, Any]:
        """All names that have a value here, with their values."""
        found = {}
        for name in self.raw:
            try:
                found[name] = self.value(name)
            except _Absent:
                continue
        return found

    def value(self, name: str) -> Any:
        """The value of a name."""
        if name not in self.declared:
            raise Error(self.place, f"'{name}' has no value anywhere in the study", suggestion(name, self.declared))
        if name not in self.raw:
            raise _Absent(name)
        if name in self.open:
            circle = " needs ".join([*self.open[self.open.index(name) :], name])
            raise Error(self.place, f"a value needs itself: {circle}", "give one of them without the other")
        self.open.append(name)
        try:
            return self.fill(self.raw[name])
        finally:
            self.open.pop()

    def names(self, template: Any) -> set[str]:
        """The names that a template speaks of."""
        if isinstance(template, _Raw):
            return set()
        if isinstance(template, (dict, list)):
            parts = template.values() if isinstance(template, dict) else template
            return {name for part in parts for name in self.names(part)}
        if not isinstance(template, str):
            return set()
        trees = [self._parse(text) for text in EXPRESSION.findall(template)]
        names = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return names - {*FUNCTIONS}

    def tells(self, template: Any) -> bool:
        """Whether a part of a name, or an override, is there: nothing that it speaks of is absent, or the default."""
        try:
            told = {name: self.value(name) for name in sorted(self.names(template))}
        except _Absent:
            return False
        return not any(name in self.defaults and value == self.defaults[name] for name, value in told.items())

    def fill(self, template: Any) -> Any:
        """A template with its expressions worked out. One that is nothing but an expression is its value."""
        if isinstance(template, _Raw):
            return template.value
        if isinstance(template, dict):
            return {key: self.fill(part) for key, part in template.items()}
        if isinstance(template, list):
            return [self.fill(part) for part in template]
        if not isinstance(template, str):
            return template
        whole = EXPRESSION.fullmatch(template)
        return self._work_out(whole[1]) if whole else self.text(template)

    def text(self, template: str) -> str:
        """A template with its expressions worked out, as text."""
        return EXPRESSION.sub(lambda found: as_text(self._work_out(found[1])), template)

    def _parse(self, text: str) -> ast.expr:
        try:
            return ast.parse(text.strip(), mode="eval").body
        except SyntaxError:
            raise self._no_expression(text) from None

    def _no_expression(self, text: str) -> Error:
        hint = f"use names, numbers, + - * / ** and {', '.join(FUNCTIONS)}: {{24 * batch / 16}}"
        return Error(self.place, f"'{{{text}}}' is no expression", hint)

    def _work_out(self, text: str) -> Any:
        try:
            return self._of(self._parse(text), text)
        except (TypeError, ArithmeticError, ValueError) as error:
            raise Error(self.place, f"'{{{text}}}' has no value: {error}", "correct the expression") from None

    def _of(self, node: ast.expr, text: str) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.Name):
            return self.value(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._of(node.operand, text)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](self._of(node.left, text), self._of(node.right, text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            return FUNCTIONS[node.func.id](*(self._of(one, text) for one in node.args))
        raise self._no_expression(text)
