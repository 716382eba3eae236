"""What a verification of a server's draws, or a distance with a served model, would take, and what the server would be asked.

A few texts are written and scored for timing. Nothing is written to the disk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np

from freerun.errors import UsageError
from freerun.jobs.audit.dry_run import FINDINGS_SECONDS, MARGIN, REST_BYTES
from freerun.jobs.distance.measuring import units_left, units_of
from freerun.jobs.distance.options import DistanceOptions
from freerun.jobs.served.drawing import PART_TEXTS, DrawOptions, prepare_draws
from freerun.jobs.served.law import log_probs_by
from freerun.jobs.served.load import NOT_IN_DISTANCES, Asked, answered_by, gap_texts, load_of
from freerun.jobs.served.requests import served_in
from freerun.jobs.served.two_models import TwoModels, prepare_two
from freerun.jobs.verify.options import VerifyKeywords
from freerun.predictors.arithmetic import weight_bytes
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.results.forecast import DistanceForecast, Span, VerifyForecast
from freerun.specs.spec import LoadOptions
from freerun.text.pairs import Pair

TIMED_TEXTS = 4
TIMED_TOKENS = 16
"""So many texts are written and scored for timing, with so many tokens at most."""
BYTES_A_TOKEN = (40.0, 150.0)
"""Of samples as lines of JSON and of records, as runs of the 135M model have them."""
BYTES_OF_THE_REST = (200_000.0, 600_000.0)
CAUSE_PASSES = 5.0
"""Looking for another rule takes up to so many times as long as reading the samples: two contexts, and many rules on each."""


def forecast_verify(
    writer: str | Predictor,
    model: str | Predictor,
    corpus: str,
    *,
    draw: DrawOptions,
    out: str | Path | None = None,
    load: LoadOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
    **options: Unpack[VerifyKeywords],
) -> VerifyForecast:
    """Connect, cut the beginnings, time a few texts, and forecast the whole.

    Raises:
        FreerunError: whatever the job itself would refuse before the server writes.
    """
    ready = prepare_draws(writer, model, corpus, draw=draw, out=out, load=load, say=say, **options)
    both, n = ready.both, draw.tokens
    known_by = answered_by(both)
    say("timing a few texts")
    n_left = sum(len(block) for path, block in ready.parts.items() if not path.exists())
    n_read = len(ready.pairs) * n
    writes = _seconds_to_write(both.writer, ready.pairs, n, ready.rule)
    server_reads = _seconds_to_read(both.writer, ready.pairs, n)
    reads = _seconds_to_read(both.reader, ready.pairs, n) or _NOTHING
    n_gap = 0 if server_reads is None else gap_texts(len(ready.pairs), n)
    parts = {
        "the server writes": writes.times(n_left * n),
        "both engines score some of it": (server_reads or _NOTHING).times(n_gap * n) + reads.times(n_gap * n),
        "reading it with whole laws": reads.times(n_read) + reads.times(n_read),
        "other rules, if it differs": Span(0.0, reads.times(CAUSE_PASSES * min(n_read, 8192)).high),
        "findings and page": Span(*FINDINGS_SECONDS),
    }
    return VerifyForecast(
        writer=ready.plan.model,
        model=both.reader.identity.name,
        corpus=ready.corpus,
        folder=str(ready.folder),
        declared=ready.rule.describe() if ready.plan.sends_rule else "what the server does by itself",
        documents=len(ready.pairs),
        prefix=draw.prefix,
        tokens=n,
        tokens_to_sample=n_left * n,
        tokens_to_score=n_read,
        seconds=sum(parts.values(), start=Span(0.0, 0.0)),
        parts_seconds=parts,
        memory_bytes=_memory(both.reader),
        disk_bytes=_disk(n_read),
        how=_how(both),
        server=load_of(both, Asked(n_left, n_gap, n_gap * n), known_by=known_by, rule=ready.rule),
    )


def forecast_distance(
    a: str | Predictor,
    b: str | Predictor,
    corpus: str,
    options: DistanceOptions,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DistanceForecast:
    """Connect, cut the texts, time a few, and forecast the whole.

    Raises:
        FreerunError: whatever the distance itself would refuse before it measures.
    """
    ready = prepare_two(a, b, corpus, options, out=out, say=say)
    served = ready.a if served_in(ready.a) is not None else ready.b
    known_by = answered_by(served)
    say("timing a few texts")
    plan, pairs = ready.plan, ready.pairs
    n_left, left = _left(ready)
    parts: dict[str, Span] = {}
    for name, model, writes, reads in (("A", ready.a, "a", "b"), ("B", ready.b, "b", "a")):
        parts[f"{name} writes"] = _seconds_to_write(model, pairs, plan.tokens, MODEL_LAW).times(left[writes])
        read = _seconds_to_read(model, pairs, plan.tokens)
        if read is None:
            raise UsageError(f"{model.identity.name} scores no text that is sent, which a distance needs")
        parts[f"{name} reads"] = read.times(left[reads] + left["real"])
    parts["findings and page"] = Span(*FINDINGS_SECONDS)
    own, other = ("a", "b") if served is ready.a else ("b", "a")
    asked = Asked(n_left[own], n_left[other] + n_left["real"], left[other] + left["real"])
    return DistanceForecast(
        a=plan.a.model,
        b=plan.b.model,
        corpus=plan.corpus,
        folder=str(ready.folder.path),
        plan_hash=plan.hash,
        documents=plan.documents,
        prefix=plan.prefix,
        tokens=plan.tokens,
        tokens_to_score=sum(u.n_tokens for u in units_of(plan)),
        tokens_to_sample=2 * len(pairs) * plan.tokens,
        seconds=sum(parts.values(), start=Span(0.0, 0.0)),
        parts_seconds=parts,
        memory_bytes=_memory(ready.a) if served is ready.b else _memory(ready.b),
        disk_bytes=_disk(sum(u.n_tokens for u in units_of(plan))),
        spool_bytes=None,
        how=_how(served),
        server=load_of(served, asked, known_by=known_by, not_measured=NOT_IN_DISTANCES),
    )


def _left(ready: TwoModels) -> tuple[Counter[str], Counter[str]]:
    """Texts and tokens of each arm that the folder does not hold yet; real ones as long as they are, own ones if none ends."""
    texts, tokens = Counter[str](), Counter[str]()
    for unit in units_left(ready.plan, ready.folder):
        block = ready.pairs[unit.start : unit.stop]
        texts[unit.arm] += len(block)
        tokens[unit.arm] += sum(len(p.continuation) for p in block) if unit.arm == "real" else unit.n_tokens
    return texts, tokens


# ---- time --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pace:
    """Seconds a token, fastest and slowest."""

    low: float
    high: float

    def times(self, n_tokens: float) -> Span:
        return Span(MARGIN[0] * self.low * n_tokens, MARGIN[1] * self.high * n_tokens)


_NOTHING = _Pace(0.0, 0.0)


def _pace(model: Predictor, seconds: float, n_tokens: int, n_texts: int) -> _Pace:
    """A server may be asked for more texts together than were timed."""
    served, together = served_in(model), PART_TEXTS
    if served is not None:
        together = min(PART_TEXTS, served.client.at_once, served.dialect.most_at_once or PART_TEXTS)
    each = seconds / max(1, n_tokens)
    return _Pace(each * n_texts / max(n_texts, together), each)


def _seconds_to_write(model: Predictor, pairs: Sequence[Pair], length: int, rule: SamplingRule) -> _Pace:
    chosen = pairs[:TIMED_TEXTS]
    todo = Continuations(
        [p.prefix.astype(np.int64) for p in chosen],
        np.arange(len(chosen), dtype=np.uint64)[:, None],
        min(length, TIMED_TOKENS),
        sampling=rule,
    )
    began = time.perf_counter()
    n_tokens = sum(len(s.observation.token_id) for s in model.generate(todo))
    return _pace(model, time.perf_counter() - began, n_tokens, len(chosen))


def _seconds_to_read(model: Predictor, pairs: Sequence[Pair], length: int) -> _Pace | None:
    """None: it is a server that scores no text."""
    n = min(length, TIMED_TOKENS)
    texts = [np.concatenate([p.prefix, p.continuation[:n]]).astype(np.int64) for p in pairs[:TIMED_TEXTS]]
    began = time.perf_counter()
    firsts = [len(p.prefix) for p in pairs[:TIMED_TEXTS]]
    if log_probs_by(model, texts, firsts) is None:
        return None
    n_tokens = sum(map(len, texts)) - sum(firsts)
    return _pace(model, time.perf_counter() - began, n_tokens, len(texts))


def _memory(model: Predictor) -> Span:
    held = weight_bytes(model)
    return Span(REST_BYTES[0] + held, REST_BYTES[1] + 2.0 * held)


def _disk(n_tokens: int) -> Span:
    return Span(*(n_tokens * each + rest for each, rest in zip(BYTES_A_TOKEN, BYTES_OF_THE_REST, strict=True)))


def _how(predictor: Predictor) -> tuple[str, ...]:
    name = predictor.writer.identity.name if isinstance(predictor, OwnTextFrom) else predictor.identity.name
    return (
        f"time: {TIMED_TEXTS} texts of up to {TIMED_TOKENS} tokens written and scored by each, from × {MARGIN[0]:g} to "
        f"× {MARGIN[1]:g}; a server that works on more texts together takes less, one that others use meanwhile takes more",
        f"{name} was asked for these texts, and for what it is; a text that ends by itself makes it shorter",
    )
