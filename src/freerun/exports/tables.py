"""A run's estimates and its documents as flat tables: CSV, Parquet, pandas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from freerun.errors import UsageError
from freerun.files import write_atomically
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.registry import sums_of
from freerun.findings.two_laws.documents import document_sums
from freerun.findings.two_laws.evidence import TwoModels
from freerun.records.distance import KIND as DISTANCE
from freerun.records.parquet import write_parquet

Columns = dict[str, list[Any]]
_ESTIMATE = ("name", "label", "value", "low", "high", "level", "unit", "n", "independent_unit", "text", "method")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def estimate_columns(result: Mapping[str, Any]) -> Columns:
    """One row an estimate of `result.json`, None where a number is not known."""
    held = [(f, e) for f in result["findings"] for e in f["estimates"]]
    columns: Columns = {
        **{name: [subject] * len(held) for name, subject in _models(result).items()},
        "corpus": [result["plan"]["corpus"]] * len(held),
        "finding": [f["name"] for f, _ in held],
        "status": [f["status"] for f, _ in held],
    }
    for name in _ESTIMATE:
        columns[name] = [e.get(name) for _, e in held]
    for name in ("value", "low", "high", "level"):
        columns[name] = [None if v is None else float(v) for v in columns[name]]
    return columns


def _models(result: Mapping[str, Any]) -> dict[str, str]:
    """The columns of what was measured: a model, or two."""
    plan = result["plan"]
    if result["kind"] == DISTANCE:
        return {"a": plan["a"]["model"], "b": plan["b"]["model"]}
    return {"model": plan["model"]}


def two_models_columns(models: TwoModels) -> Columns:
    """The same as `document_columns` of a distance, with the kind of text that was read: `real`, `a`, `b`, or `a and b`."""
    out: Columns = {k: [] for k in ("document", "text", "finding", "name", "unit", "top", "bottom", "value")}
    for sums in document_sums(models):
        q = sums.quantity
        for name, top, bottom in zip(models.unit_names, sums.tops.tolist(), sums.bottoms.tolist(), strict=True):
            if bottom > 0 and math.isfinite(top):
                row = (name, sums.text, q.finding, q.name, q.unit, top, bottom, top / bottom)
                for key, value in zip(out, row, strict=True):
                    out[key].append(value)
    return out


def document_columns(evidence: Evidence) -> Columns:
    """One row a document (independent unit) and quantity, from the records: `top` / `bottom` is the document's value.

    The run's estimate is the sum of `top` over the sum of `bottom`: resample documents, not rows. What rests on own text is left
    out where that is refused as evidence.

    Raises:
        DataError: no finished run there.
    """

    refused = own_text_of(evidence).refused
    names = evidence.unit_names
    sequences = evidence.records.sequences
    split = dict(zip(sequences["unit"].astype(str).tolist(), sequences["split"].tolist(), strict=True))
    out: Columns = {k: [] for k in ("document", "split", "finding", "name", "unit", "top", "bottom", "value")}
    for sums in sums_of(evidence):
        q = sums.quantity
        if refused and q.own_text:
            continue
        for name, top, bottom in zip(names, sums.tops.tolist(), sums.bottoms.tolist(), strict=True):
            if bottom > 0:
                row = (name, split[name], q.finding, q.name, q.unit, top, bottom, top / bottom)
                for key, value in zip(out, row, strict=True):
                    out[key].append(value)
    return out


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """CSV with a header; None is an empty cell. Text that a spreadsheet would take for a formula begins with an apostrophe.

    >>> csv_text({"document": ["a", "=1+1"], "value": [0.5, None]})
    "document,value\\na,0.5\\n'=1+1,\\n"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"'{c}" if isinstance(c, str) and c.startswith(_FORMULA) else c for c in row])
    return out.getvalue()


def write_tables(evidence: Evidence | TwoModels, result: Mapping[str, Any], folder: Path, kind: str) -> list[Path]:
    """Write `estimates` and `documents` as csv or parquet; returns the files."""
    written = []
    tables: dict[str, Callable[[], Columns]] = {
        "estimates": lambda: estimate_columns(result),
        "documents": lambda: (
            two_models_columns(evidence) if isinstance(evidence, TwoModels) else document_columns(evidence)
        ),
    }
    for name, columns in tables.items():
        file = folder / f"{name}.{kind}"
        if kind == "csv":
            write_atomically(file, csv_text(columns()))
        else:
            write_parquet(
                file, columns(), notes={"freerun": str(result["freerun_version"]), "title": str(result["title"])}
            )
        written.append(file)
    return written


def frame(result: Mapping[str, Any]) -> Any:
    """The estimates as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise UsageError("to_pandas() needs pandas; install it with: pip install 'freerun[pandas]'") from error
    return pandas.DataFrame(estimate_columns(result))
