"""A whole plan of an audit for tests that make records by hand."""

from __future__ import annotations

from freerun.predictors.rules import MODEL_LAW, ContextRule
from freerun.records.plan import AuditPlan, ReferencePlan
from freerun.records.schema import SCHEMA_VERSION
from freerun.results.finding import to_json
from freerun.stats.loops.lag_runs import LoopRule

_PLAN = AuditPlan(
    model="world/markov",
    model_fingerprint="m",
    context_rule=ContextRule(),
    end_ids=(),
    corpus="world/markov",
    corpus_fingerprint="c",
    documents=48,
    prefix=4,
    cut=4,
    tokens=16,
    batch=64,
    queue=1,
    dtype="fp32",
    device="cpu",
    threads=1,
    seed=0,
    continuations=2,
    sampling=MODEL_LAW,
    control_temperature=0.9,
    loop_rule=LoopRule(),
    rescored_tokens=0,
    rounded_arithmetic=False,
    reference=ReferencePlan(3, 0),
    schema_version=SCHEMA_VERSION,
)


def plan_json(**changes: Any) -> dict[str, Any]:
    """The plan of a manifest with some of its fields changed; their values may be JSON already."""
    return {**to_json(_PLAN), **{name: to_json(value) for name, value in changes.items()}}
