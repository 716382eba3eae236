"""A run's folder once it is finished: its result, its page, and the evidence in its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freerun.counted import counted
from freerun.errors import DataError
from freerun.exports.tables import frame
from freerun.findings.evidence import Evidence
from freerun.findings.two_laws.evidence import TwoModels
from freerun.records.distance import KIND as DISTANCE
from freerun.records.distance import read_distance
from freerun.records.layout import FIRST_PARTS, first_pairs
from freerun.records.measure import units_of
from freerun.records.plan import read_plan
from freerun.records.requests import read_law_served
from freerun.records.store import RunFolder, load_records
from freerun.report.pages.summary_card import summary_card


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its result, as `result.json` holds it."""

    path: Path
    result: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """One sentence."""
        return str(self.result["verdict"]["sentence"])

    @property
    def findings(self) -> dict[str, Mapping[str, Any]]:
        """The findings by name."""
        return {f["name"]: f for f in self.result["findings"]}

    @property
    def report(self) -> Path:
        """The page: one file."""
        return self.path / "report.html"

    def to_pandas(self) -> Any:
        """Every estimate as a row of a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame(self.result)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the headline numbers."""
        return summary_card(self.result)


def finished(path: str | Path) -> RunFolder:
    """The folder of a run whose parts are all there, or those of its first look: then it shows these alone.

    Raises:
        DataError: no run there, another schema version, or missing records.
    """
    folder = RunFolder(Path(path))
    manifest = folder.manifest()
    n_pairs, first = int(manifest["counts"]["pairs"]), first_pairs(manifest)
    every = units_of(n_pairs, read_plan(manifest["plan"]).measured, first)
    units = [(u.name, u.key(manifest["plan_hash"])) for u in every]
    broken = [damage for name, key in units if (damage := folder.damage(name, key))]
    if broken:
        raise DataError(f"{folder.path}: damaged: {broken[0]}; the same audit makes it again: {manifest['command']}")
    missing = [name for name, key in units if not folder.done(name, key)]
    if missing and first and not any(name.startswith(FIRST_PARTS) for name in missing):
        return RunFolder(folder.path, first_look=True)
    if missing:
        raise DataError(
            f"{folder.path} is not finished ({counted(len(missing), 'part')} missing, {missing[0]} first); "
            f"go on with: {manifest['command']}"
        )
    return folder


def open_run(path: str | Path) -> Run:
    """A finished run, read from its folder.

    Raises:
        DataError: no result there.
    """
    where = Path(path) / "result.json"
    try:
        result = json.loads(where.read_text())
        if not isinstance(result, dict):
            raise ValueError("no object")
        return Run(Path(path), result)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} cannot be read; `freerun report {path}` makes it from the records") from error


def result_in(path: str | Path) -> dict[str, Any] | None:
    """What a run says of itself, where a result was derived."""
    try:
        return dict(open_run(path).result)
    except DataError:
        return None


def evidence_of(path: str | Path) -> Evidence:
    """The records of a finished audit, ready for findings.

    Raises:
        DataError: no finished audit there.
    """
    return evidence_in(finished(path))


def evidence_in(folder: RunFolder) -> Evidence:
    """`evidence_of` a folder that is known to be finished."""
    records = load_records(folder)
    if records.manifest["kind"] != "audit":
        raise DataError(f"{folder.path} is a run of {records.manifest['kind']!r}; only audits can be compared")
    return Evidence(records, law_served=read_law_served(folder))


def two_models_of(path: str | Path) -> TwoModels:
    """The records of a finished distance, ready for findings.

    Raises:
        DataError: no finished distance there.
    """
    return TwoModels(read_distance(RunFolder(Path(path))))


def is_distance(path: str | Path) -> bool:
    """Whether a folder holds a distance between two models; False where it cannot be said."""
    try:
        held = json.loads((Path(path) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(held, dict) and held.get("kind") == DISTANCE
