"""What a grid measures: models × corpora × settings, each cell an ordinary audit. Read from a TOML file."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from freerun.counted import counted
from freerun.errors import DataError, UsageError, nearest
from freerun.jobs.audit.options import AuditOptions, check_options
from freerun.predictors.rules import SamplingRule
from freerun.results.finding import to_json
from freerun.specs.spec import loader_of

Keep = Literal["records", "summary"]
KEEPS: tuple[Keep, ...] = ("records", "summary")
MEASURES = ("size", "step", "bits")
"""Numbers that a model may have, for trends."""
READING = ("text_field", "prompt_field", "split_on", "chunk", "format", "skip_bad_rows")
"""Options that belong to a corpus."""
_TOP = ("title", "models", "corpora", "settings", "baseline", "keep")
_TUPLES: Mapping[str, type] = {"reference": str, "template_options": str, "end_ids": int}
"""Options that take several values, and of which type."""
MOST_CELLS = 10_000


@dataclass(frozen=True)
class GridModel:
    """A model, what it is called in the page, and its numbers (`size`, `step`, `bits`)."""

    spec: str
    label: str
    measures: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class GridCorpus:
    """A corpus, what it is called, and how it is read."""

    spec: str
    label: str
    reading: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Coordinates:
    """Where a cell stands: the labels of its model and corpus, and its value on every axis of the settings."""

    model: str
    corpus: str
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One audit of a grid. `name`: its folder's."""

    name: str
    at: Coordinates
    model: GridModel
    corpus: GridCorpus
    options: AuditOptions

    @property
    def key(self) -> str:
        """Hash of all that was asked for in this cell."""
        asked = {"model": self.model.spec, "corpus": self.corpus.spec, "options": to_json(self.options)}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class GridPlan:
    """All cells, and what each is compared with: the cell that differs from it in `baseline` alone."""

    title: str
    cells: tuple[Cell, ...]
    axes: tuple[tuple[str, tuple[Any, ...]], ...]
    """The settings that have several values."""
    baseline: tuple[tuple[str, Any], ...]
    """`model`, `corpus` or an axis, and its value in the cells that others are compared with; empty: nothing is compared."""
    keep: Keep = "records"

    @property
    def hash(self) -> str:
        """Of what is measured and compared; what is kept is not part of it."""
        asked = {"cells": [[c.name, c.key] for c in self.cells], "baseline": to_json(self.baseline)}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def baseline_of(self, cell: Cell) -> Cell | None:
        """The cell that this one is compared with; None for a baseline itself."""
        if not self.baseline:
            return None
        changed = dict(self.baseline)
        settings = tuple((key, changed.get(key, value)) for key, value in cell.at.settings)
        wanted = Coordinates(
            str(changed.get("model", cell.at.model)), str(changed.get("corpus", cell.at.corpus)), settings
        )
        return None if wanted == cell.at else next(c for c in self.cells if c.at == wanted)


def read_grid(path: str | Path) -> GridPlan:
    """Read a grid from a file; paths in it are as they would be typed on the command line.

    Raises:
        UsageError: a key, name or value that does not exist. DataError: the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"cannot read the grid {path}: {why}") from error
    try:
        return grid_of(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def grid_of(table: Mapping[str, Any]) -> GridPlan:
    """A grid from what a TOML file holds.

    Raises:
        UsageError: a key, name or value that does not exist.
    """
    _check_keys(table, _TOP, "a grid")
    models = [_model(entry) for entry in _listed(table, "models")]
    corpora = [_corpus(entry) for entry in _listed(table, "corpora")]
    for what, labels in (("models", [m.label for m in models]), ("corpora", [c.label for c in corpora])):
        if len(set(labels)) < len(labels):
            raise UsageError(
                f"{what}: {_twice(labels)!r} is given twice; give each a label, as in {{spec = …, label = …}}"
            )
    fixed, axes = _settings(table.get("settings", {}))
    n = len(models) * len(corpora) * len(list(itertools.product(*(v for _, v in axes))))
    if n > MOST_CELLS:
        raise UsageError(f"{n} cells are too many; at most {MOST_CELLS}")
    cells: list[Cell] = []
    for model, corpus in itertools.product(models, corpora):
        for values in itertools.product(*(v for _, v in axes)):
            at = Coordinates(model.label, corpus.label, tuple((k, v) for (k, _), v in zip(axes, values, strict=True)))
            cells.append(_cell(at, model, corpus, {**fixed, **dict(corpus.reading), **dict(at.settings)}))
    _check_names(cells)
    keep = table.get("keep", "records")
    if keep not in KEEPS:
        raise UsageError(f"keep = {keep!r}: records or summary")
    baseline = _baseline(table.get("baseline"), models, corpora, axes)
    title = str(table.get("title", f"{counted(len(models), 'model')} on {counted(len(corpora), 'corpus', 'corpora')}"))
    return GridPlan(title, tuple(cells), tuple(axes), baseline, keep)


# ---- parts of the file -------------------------------------------------------------------------------------------------


def _check_keys(table: Any, known: Sequence[str], what: str) -> None:
    if not isinstance(table, Mapping):
        raise UsageError(f"{what} is a table of {', '.join(known)}, not {table!r}")
    for key in table:
        if key not in known:
            raise UsageError(f"{what} has no {key!r}{nearest(key, known)}; it has {', '.join(known)}")


def _listed(table: Mapping[str, Any], key: str) -> list[Any]:
    entries = table.get(key)
    if not isinstance(entries, list) or not entries:
        raise UsageError(f'{key} is a list of at least one, for example {key} = ["…"]')
    return entries


def _model(entry: Any) -> GridModel:
    if isinstance(entry, str):
        entry = {"spec": entry}
    _check_keys(entry, ("spec", "label", *MEASURES), "a model")
    spec = _word(entry.get("spec"), "a model's spec")
    loader_of(spec)
    measures = []
    for name in MEASURES:
        if name in entry:
            value = entry[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise UsageError(f"{spec}: {name} = {value!r} is not a number above 0")
            measures.append((name, float(value)))
    return GridModel(spec, _word(entry.get("label", spec), "a model's label"), tuple(measures))


def _corpus(entry: Any) -> GridCorpus:
    if isinstance(entry, str):
        entry = {"spec": entry}
    _check_keys(entry, ("spec", "label", *READING), "a corpus")
    spec = _word(entry.get("spec"), "a corpus's spec")
    if spec == "-":
        raise UsageError("corpora: standard input can be read once only; write it to a file")
    reading = tuple((k, _value(k, entry[k])) for k in READING if k in entry)
    return GridCorpus(spec, _word(entry.get("label", spec), "a corpus's label"), reading)


def _settings(table: Any) -> tuple[dict[str, Any], list[tuple[str, tuple[Any, ...]]]]:
    """Those with one value, and the axes."""
    known = [f.name for f in fields(AuditOptions) if f.name not in (*READING, "quick")]
    if isinstance(table, Mapping) and "quick" in table:
        raise UsageError("settings: quick is a first look at one audit, and a grid compares whole ones: leave it out")
    _check_keys(table, known, "settings")
    fixed: dict[str, Any] = {}
    axes: list[tuple[str, tuple[Any, ...]]] = []
    for key, value in table.items():
        if not isinstance(value, list) or (key in _TUPLES and not any(isinstance(v, list) for v in value)):
            fixed[key] = _value(key, value)
            continue
        values = tuple(_value(key, v) for v in value)
        if len(values) < 2 or len(set(values)) < len(values):
            raise UsageError(f"settings: {key} = {value!r} is an axis: at least two values, all different")
        axes.append((key, values))
    return fixed, axes


_IN_WORDS: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    bool: "true or false",
}


def _value(key: str, value: Any) -> Any:
    """A setting of the type that its option has; the word "none" leaves an option at nothing."""
    default = getattr(AuditOptions(), key)
    if value == "none" and not isinstance(default, str | bool | int):
        return default
    if key in _TUPLES:
        values = tuple(value) if isinstance(value, list) else (value,)
        if wrong := [v for v in values if type(v) is not _TUPLES[key]]:
            raise UsageError(f"{key}: {wrong[0]!r} is not {_IN_WORDS[_TUPLES[key]]}")
        return values
    kind = (
        type(default) if default is not None else int if key in ("cut", "tokens", "source_documents", "chunk") else str
    )
    if type(value) is not kind:
        raise UsageError(f"{key} = {value!r} is not {_IN_WORDS[kind]}")
    return value


def _baseline(
    entry: Any, models: Sequence[GridModel], corpora: Sequence[GridCorpus], axes: Sequence[tuple[str, tuple[Any, ...]]]
) -> tuple[tuple[str, Any], ...]:
    """What was chosen; else the first model, or the first value of the first axis."""
    values: dict[str, list[Any]] = {"model": [m.label for m in models], "corpus": [c.label for c in corpora]}
    values |= {key: list(axis) for key, axis in axes}
    if entry is None:
        chosen = next((key for key in ("model", *dict(axes)) if len(values[key]) > 1), None)
        return () if chosen is None else ((chosen, values[chosen][0]),)
    if isinstance(entry, str):
        entry = {"model": entry}
    _check_keys(entry, tuple(values), "baseline")
    out = []
    for key, value in entry.items():
        value = _value(key, value) if key in dict(axes) else value
        if value not in values[key]:
            raise UsageError(
                f"baseline: {key} = {value!r} is not in the grid; there are {', '.join(map(str, values[key]))}"
            )
        out.append((key, value))
    return tuple(out)


def _cell(at: Coordinates, model: GridModel, corpus: GridCorpus, options: dict[str, Any]) -> Cell:
    """Named by what it is, and by its key, so that another plan with the same cell finds it."""
    words = [at.model, at.corpus, *(f"{k}-{shown(v)}" for k, v in at.settings)]
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", w.rpartition("/")[2] or w).strip("-.")[:28] for w in words]
    made = AuditOptions(**options)
    check_options(made)
    for spec in (*made.reference, made.own_text_from):
        if spec is not None:
            loader_of(spec)
    if made.sample_with is not None:
        SamplingRule.parse(made.sample_with)
    cell = Cell("", at, model, corpus, made)
    return replace(cell, name=f"{'-'.join(s for s in slugs if s)[:80].rstrip('-.')}-{cell.key[:8]}")


def _check_names(cells: Sequence[Cell]) -> None:
    """Refuse cells that would share a folder: one audit, under labels that a folder's name does not tell apart."""
    held: dict[str, Cell] = {}
    for cell in cells:
        other = held.setdefault(cell.name, cell)
        if other is not cell:
            a, b = ((c.at.model, c.at.corpus) for c in (other, cell))
            one, two = next((x, y) for x, y in zip(a, b, strict=True) if x != y)
            raise UsageError(f"{one!r} and {two!r} are one and the same: leave one out, or give them other labels")


def shown(value: Any) -> str:
    """A setting's value for people.

    >>> shown(True), shown(None), shown(()), shown(("a", "b")), shown(8)
    ('yes', 'none', 'none', 'a b', '8')
    """
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _word(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} is a word, not {value!r}")
    return value


def _twice(values: Sequence[str]) -> str:
    return next(v for v in values if values.count(v) > 1)
