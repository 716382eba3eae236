"""What an audit says of a folder with no word of what was planted, and how far the folder lies from its base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import freerun
from freerun.results.distance import Certificate
from freerun.results.finding import Estimate
from freerun.results.json import from_json
from freerun.runs.progress import Progress
from studies.organism_weights.rows import AuditSection, DistanceSection

CORPUS = "builtin/python-docs"
OF_AUDIT = (
    "loss_nats_per_token",
    "own_surprisal_nats_per_token",
    "h75",
    "auc_last",
    "tv_lower",
    "sampler_audit_p",
    "real_z_mean",
    "entropy_gap_early_nats",
    "entropy_gap_late_nats",
    "entropy_gap_control_nats",
    "loop_incidence",
    "loop_incidence_real",
    "kl_from_loops_at_least_nats",
)
"""The numbers of an audit that the study keeps."""


def audit_section(
    model: str, out: Path, *, documents: int, tokens: int, prefix: int, progress: Progress
) -> AuditSection:
    """Audit a folder, or go on with an audit that was interrupted."""
    run = freerun.audit(model, CORPUS, documents=documents, tokens=tokens, prefix=prefix, out=out, progress=progress)
    result = run.result
    return AuditSection(
        command=result["command"],
        verdict=result["verdict"]["sentence"],
        status=result["verdict"]["status"],
        outcome=result["verdict"]["outcome"],
        sampler_audit=result["own_text"]["sampler_audit"],
        estimates=_estimates(result, OF_AUDIT),
    )


def distance_section(
    base: str, model: str, out: Path, *, documents: int, tokens: int, prefix: int, progress: Progress
) -> DistanceSection:
    """Hold a folder beside its base, or go on where that was interrupted."""
    run = freerun.distance(
        base, model, CORPUS, documents=documents, tokens=tokens, prefix=prefix, out=out, progress=progress
    )
    result = run.result
    found = result["certificate"]
    return DistanceSection(
        command=result["command"],
        verdict=result["verdict"]["sentence"],
        certificate=None if found is None else from_json(Certificate, found),
        infinite=tuple(result["infinite"]),
        estimates=_estimates(result),
    )


def _estimates(result: Mapping[str, Any], names: Iterable[str] | None = None) -> tuple[Estimate, ...]:
    """The estimates of a result in the order of its findings; only those named, where names are given."""
    every = [from_json(Estimate, e) for f in result["findings"] for e in f["estimates"]]
    return tuple(every) if names is None else tuple(e for e in every if e.name in set(names))
