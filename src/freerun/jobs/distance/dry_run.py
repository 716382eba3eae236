"""What a distance would take, from a few small pieces of it: time, memory and disk. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from freerun.errors import UsageError
from freerun.jobs.audit.dry_run import FINDINGS_SECONDS, MARGIN, REST_BYTES
from freerun.jobs.distance.measuring import FLOORS, units_left, units_of
from freerun.jobs.distance.models import Name
from freerun.jobs.distance.options import DistanceOptions
from freerun.jobs.distance.preparing import Model, Prepared, prepare
from freerun.jobs.served.dry_run import forecast_distance
from freerun.jobs.served.two_models import is_served
from freerun.predictors.arithmetic import weight_bytes
from freerun.predictors.base import Continuations
from freerun.predictors.spool import BYTES_A_LOGIT
from freerun.records.distance import OWN_ARMS
from freerun.results.forecast import DistanceForecast, Span
from freerun.text.documents import Corpus

TIMED_TEXTS = 4
"""Texts that are scored by each model for timing, after one to warm up."""
TIMED_STEPS = 6
"""Steps of a batch that are timed, after the first."""
BYTES_A_TOKEN = (60.0, 120.0)
"""Of records, as runs of the 135M model have them."""
BYTES_OF_THE_REST = (300_000.0, 700_000.0)


class _Enough(Exception):
    """The batch was timed long enough."""


def dry_run(
    a: Model,
    b: Model,
    corpus: str | Corpus,
    options: DistanceOptions,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DistanceForecast:
    """Load the models, cut the texts, time a small batch of each kind of work, and forecast the whole.

    Raises:
        FreerunError: whatever the run itself would refuse before it measures.
    """
    if is_served(a) or is_served(b):
        if not isinstance(corpus, str):
            raise UsageError("a distance with a served model takes a corpus by its name")
        return forecast_distance(a, b, corpus, options, out=out, say=say)
    ready = prepare(a, b, corpus, options, out=out, say=say)
    plan, left = ready.plan, units_left(ready.plan, ready.folder)
    say("timing a few texts")
    n_left = {arm: sum(u.n_tokens for u in left if u.arm == arm) for arm in (*plan.arms, *FLOORS)}
    scored = sum(n_left[arm] for arm in plan.arms)
    parts: dict[str, Span] = {}
    weights = []
    names: tuple[Name, Name] = ("a", "b")
    for name in names:
        read, step, bytes_held = _timed(ready, name)
        weights.append(bytes_held)
        parts[f"{name.upper()} reads"] = _widened(read, scored)
        if name in plan.arms:
            parts[f"{name.upper()} writes"] = _widened(step, n_left[name])
        for arm in (arm for arm, floor in FLOORS.items() if floor.model == name and n_left[arm]):
            written = 4.0 * step if FLOORS[arm].texts in OWN_ARMS else 0.0
            parts.setdefault("the floors", Span(0.0, 0.0))
            parts["the floors"] += _widened(2.0 * read + written, n_left[arm])
    parts["findings and page"] = Span(FINDINGS_SECONDS[0], FINDINGS_SECONDS[1])
    every = units_of(plan)
    n_tokens = sum(u.n_tokens for u in every)
    held = max(weights) if options.one_at_a_time else sum(weights)
    state = plan.batch * (plan.prefix + plan.tokens) * 50_000.0
    first = sum(n_left[arm] for arm in ("real", "a") if arm in plan.arms)
    spooled = max(first, n_left.get("b", 0)) * ready.a.n_tokens * BYTES_A_LOGIT
    return DistanceForecast(
        a=plan.a.model,
        b=plan.b.model,
        corpus=plan.corpus,
        folder=str(ready.folder.path),
        plan_hash=plan.hash,
        documents=plan.documents,
        prefix=plan.prefix,
        tokens=plan.tokens,
        tokens_to_score=sum(u.n_tokens for u in every if u.arm in plan.arms),
        tokens_to_sample=sum(u.n_tokens for u in every if u.arm in OWN_ARMS),
        seconds=sum(parts.values(), start=Span(0.0, 0.0)),
        parts_seconds=parts,
        memory_bytes=Span(REST_BYTES[0] + held, REST_BYTES[1] + 2.0 * held + state),
        disk_bytes=Span(*(n_tokens * each + rest for each, rest in zip(BYTES_A_TOKEN, BYTES_OF_THE_REST, strict=True))),
        spool_bytes=Span(spooled, 2.0 * spooled) if options.one_at_a_time else None,
        how=(
            f"time: {TIMED_TEXTS} texts scored by each model and {TIMED_STEPS} steps of a batch, from × {MARGIN[0]:g} to "
            f"× {MARGIN[1]:g}, since the speed of a machine changes; loading is not in it",
            "disk: bytes a token of real records; laws on the disk are kept in 32 bits (64 for exact worlds and organisms)",
        ),
    )


def _timed(ready: Prepared, name: Name) -> tuple[float, float, float]:
    """Seconds a token that is scored, seconds a token that is written in a batch, and bytes of the weights."""
    model, plan = ready.models.get(name), ready.plan
    texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in ready.pairs[: TIMED_TEXTS + 1]]
    ids = np.zeros(1, np.int64)
    list(model.score(texts[:1], first=ready.start))
    began = time.perf_counter()
    for part in model.laws(texts[1:] or texts, first=ready.start):
        part.law.beside(part.law, np.resize(ids, len(part)))
    reading = (time.perf_counter() - began) / ((len(texts) - 1 or 1) * plan.tokens)
    if name not in plan.arms:
        return reading, 0.0, weight_bytes(model)
    return reading, _seconds_a_step(ready, name), weight_bytes(model)


def _seconds_a_step(ready: Prepared, name: Name) -> float:
    """Seconds a token of a batch that is being written."""
    plan = ready.plan
    block = ready.pairs[: plan.batch]
    at: list[float] = []

    def tick(_: int) -> None:
        at.append(time.perf_counter())
        if len(at) > TIMED_STEPS:
            raise _Enough

    wanted = Continuations(
        [p.prefix.astype(np.int64) for p in block],
        np.arange(len(block), dtype=np.uint64)[:, None],
        min(plan.tokens, TIMED_STEPS + 2),
        seed=plan.seed,
        at_once=plan.batch,
    )
    with suppress(_Enough):
        list(ready.models.get(name).generate(wanted, on_tokens=tick))
    return float(np.mean(np.diff(at))) / len(block) if len(at) > 1 else 0.0


def _widened(each: float, n: float) -> Span:
    return Span(MARGIN[0] * each * n, MARGIN[1] * each * n)
