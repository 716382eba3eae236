"""What is concluded of a grid: its cells, what differs from the baseline, and what goes with a number that models have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freerun.results.audit import OwnText
from freerun.results.compare import Bounds, Breach, Difference, RunPair
from freerun.results.finding import Chart
from freerun.results.horizons import HorizonSummary
from freerun.results.verdict import Measured, Status, Verdict

CellState = Literal["done", "refused", "failed", "missing"]
"""refused: it cannot be audited as it was asked for. failed: parts of it failed three times. missing: it was not done yet."""


@dataclass(frozen=True)
class GridSetting:
    """A setting that differs between cells, and its value here."""

    key: str
    value: str


@dataclass(frozen=True)
class GridCell:
    """One audit of a grid; what is None is not known. `folder`: of its run, from the grid's folder."""

    name: str
    model: str
    corpus: str
    settings: tuple[GridSetting, ...]
    state: CellState
    why: str
    folder: str
    records_kept: bool
    plan_hash: str | None = None
    status: Status = "unknown"
    outcome: Measured = "not_judged"
    sentence: str = ""
    own_text: OwnText | None = None
    documents: int | None = None
    tokens: int | None = None
    loss_nats_per_token: Bounds | None = None
    impossible_tokens: int | None = None
    h75_tokens: HorizonSummary | None = None


@dataclass(frozen=True)
class GridPair:
    """A cell held against its baseline. `compared` is None where they may not be: `broken` says why."""

    cell: str
    baseline: str
    corpus: str
    settings: tuple[GridSetting, ...]
    compared: RunPair | None
    broken: tuple[Breach, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class GridTrend:
    """Slopes over the cells of models that have a number (size, step, bits), on one corpus at one setting."""

    measure: str
    corpus: str
    settings: tuple[GridSetting, ...]
    cells: tuple[str, ...]
    x: tuple[float, ...]
    slopes: tuple[Difference, ...]
    """Per doubling."""
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class GridResult:
    """All that `freerun grid` says."""

    schema_version: int
    kind: str
    freerun_version: str
    title: str
    verdict: Verdict
    models: tuple[str, ...]
    corpora: tuple[str, ...]
    axes: tuple[str, ...]
    baseline: tuple[GridSetting, ...]
    cells: tuple[GridCell, ...]
    pairs: tuple[GridPair, ...]
    trends: tuple[GridTrend, ...]
    tests: int
    """Differences and slopes that were tested together."""
    licence: str
    command: str
    created: str
