"""The records of an audit without what is concluded from them: no findings are derived and no page is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freerun.findings.evidence import Evidence
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.predictors.base import Predictor
from freerun.records.measure import measure
from freerun.records.store import load_records
from freerun.text.documents import Corpus


@contextmanager
def measured(model: str | Predictor, corpus: str | Corpus, options: AuditOptions) -> Iterator[Evidence]:
    """Measure as `freerun audit` does; columns are read as they are asked for, and the folder goes away at the end.

    Raises:
        FreerunError: see `freerun.errors`.
    """
    with tempfile.TemporaryDirectory() as place:
        ready = prepare(model, corpus, options, out=Path(place) / "run")
        ready.folder.open(ready.manifest)
        measure(
            ready.predictor,
            ready.pairs.pairs,
            plan=ready.plan,
            plan_hash=ready.manifest["plan_hash"],
            folder=ready.folder,
            reference=ready.reference(),
        )
        yield Evidence(load_records(ready.folder))
