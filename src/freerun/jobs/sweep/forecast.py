"""What a sweep would take: the sum of what its settings would, and the comparison. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freerun.jobs.audit.dry_run import dry_run
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.grid.forecast import largest, summed
from freerun.jobs.sweep.sweep import default_folder_of, plan_sweep, prepare_sweep
from freerun.predictors.base import Predictor
from freerun.results.forecast import Forecast, Span
from freerun.text.documents import Corpus

SWEEP_FORECAST_VERSION = 1
COMPARING_SECONDS = (2.0, 40.0)
"""A setting's detectors, fitted again on resampled documents, by experience: 24 to 256 pairs, 5 to 9 lengths."""


@dataclass(frozen=True)
class SweepForecast:
    """What every setting would take, by its name, and what the whole would."""

    folder: str
    settings: dict[str, Forecast]
    comparing_seconds: Span
    seconds: Span
    memory_bytes: Span
    """Of the largest setting: they run one after the other."""
    disk_bytes: Span

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {
            "schema_version": SWEEP_FORECAST_VERSION,
            "kind": "sweep_forecast",
            **asdict(self),
            "settings": {name: one.to_json() for name, one in self.settings.items()},
        }


def forecast_sweep(
    model: str | Predictor,
    corpus: str | Corpus,
    axes: Mapping[str, Sequence[int]],
    options: AuditOptions,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> SweepForecast:
    """Time a small batch of every setting and add up.

    Raises:
        FreerunError: whatever the sweep itself would refuse before it measures.
    """
    plan = plan_sweep(axes, options)
    predictor, text, ready = prepare_sweep(model, corpus, plan, say)
    folder = Path(out) if out is not None else default_folder_of(ready, plan)
    found: dict[str, Forecast] = {}
    for name, setting in zip(plan.names, plan.settings, strict=True):
        say(f"timing {name}")
        found[name] = dry_run(predictor, text, setting, out=folder / name)
    n = len(found)
    comparing = Span(COMPARING_SECONDS[0] * n, COMPARING_SECONDS[1] * n)
    return SweepForecast(
        str(folder),
        found,
        comparing,
        comparing + summed(one.seconds for one in found.values()),
        largest([one.memory_bytes for one in found.values()]),
        summed(one.disk_bytes for one in found.values()),
    )
