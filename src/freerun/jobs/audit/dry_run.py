"""What an audit would take, from a few small pieces of it: time, tokens, memory and disk. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from freerun.counted import counted
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import Prepared, prepare
from freerun.jobs.served.load import answered_by, with_server
from freerun.jobs.source.in_audit import SourcePlan, plan_sources, seconds_a_token, sources_left
from freerun.predictors.arithmetic import weight_bytes
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.rules import SamplingRule
from freerun.predictors.stepwise import Stepwise
from freerun.records.measure import Unit
from freerun.records.rescoring import n_floor_tokens_read, rescored_texts
from freerun.records.schema import ArmName
from freerun.results.forecast import Forecast, Span
from freerun.text.documents import Corpus
from freerun.text.tokens import decode_lossy

TIMED_STEPS = 8
"""Steps of a batch that are timed, after the first."""
TIMED_CONTEXT = 32
"""Tokens that stand before the steps that are timed."""
TIMED_READ_TOKENS = 1024
"""Tokens of whole texts that are scored at once for timing, twice; one text at least."""
UNTIMED_GROWTH = 2.0
"""What a step at the full length may take, times one at the start, where it is not timed."""
TIMED_SECONDS = 4.0
"""A batch is left when it has taken so long."""
MARGIN = (0.75, 1.5)
"""What the fastest and the slowest step seen are multiplied by: a machine's speed changes within minutes."""
LATE_STATE_BYTES = 1 << 31
"""No step at the full length is timed where its state would be larger."""

BYTES_A_TOKEN = (85.0, 120.0)
BYTES_A_TOKEN_OF_FEW = (15.0, 120.0)
BYTES_A_SEQUENCE = (1000.0, 2000.0)
BYTES_OF_THE_REST = (350_000.0, 800_000.0)
"""Disk, around what real runs hold (the 135M model at 16 × 16, 128 × 128 and 96 × 256 tokens; a world): a token's row, of a
vocabulary of fewer than `FEW_TOKENS` too, a sequence's row without its embedding, and result and page."""
BYTES_A_REFERENCE = 8.0
BYTES_A_HIDDEN = 4.0
FEW_TOKENS = 1000

FINDINGS_SECONDS = (2.0, 60.0)
FINDINGS_SECONDS_A_TOKEN = (6e-6, 4e-4)
"""Findings and page, by experience: from runs of 1,024 to 10 million recorded tokens, on a quiet and on a busy machine."""
REST_BYTES = (300 << 20, 1200 << 20)
"""Memory of Python, the libraries and the records being written."""


@dataclass(frozen=True)
class _Timed:
    """A piece of one arm: seconds up to its first tokens, and of each step after it, at so many rows."""

    first_seconds: float
    steps_seconds: tuple[float, ...]
    n_rows: int


def dry_run(
    model: str | Predictor,
    corpus: str | Corpus,
    options: AuditOptions,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Forecast:
    """Load the model, cut the pairs, time a small batch of each kind of work, and forecast the whole audit.

    Raises:
        FreerunError: whatever the audit itself would refuse before it measures.
    """
    ready = prepare(model, corpus, options, out=out, say=say)
    known_by = answered_by(ready.predictor)
    sources = plan_sources(ready)
    say("timing a small batch of scoring and of sampling")
    counting = _elapsed(ready.reference)
    parts: dict[str, Span] = {}
    left = _units_left(ready)
    scoring = _time_scoring(ready)
    free, tempered = _time_sampling(ready, "free"), _time_sampling(ready, "tempered")
    growth = _growth(ready, free)
    n_real = sum(len(u.pairs) for u in left if u.arm == "real")
    parts["scoring"] = _widened(scoring, n_real)
    if ready.pairs.prefix_tokens:
        parts["scoring without the prefix"] = _widened(_time_without_prefix(ready), n_real)
    for label, arm, timed in (("sampling", "free", free), ("control", "tempered", tempered)):
        parts[label] = _sum(_sampling_seconds(timed, u, ready, growth, scoring) for u in left if u.arm == arm)
    parts["scoring again"] = _widened(_time_scoring_again(ready), _n_texts_again(ready, left))
    if sources is not None:
        parts["sources"] = _sources_seconds(ready, sources)
    n_left = sum(u.n_tokens for u in left)
    if ready.others or ready.encoder is not None:
        parts["other models"] = _others_seconds(ready, left)
    parts["reference and records"] = Span(0.5 * counting, 2.0 * counting + 3e-4 * n_left) if left else Span(0.0, 0.0)
    n_recorded = sum(u.n_tokens for u in ready.wanted)
    parts["findings and page"] = Span(
        FINDINGS_SECONDS[0] + FINDINGS_SECONDS_A_TOKEN[0] * n_recorded,
        FINDINGS_SECONDS[1]
        + FINDINGS_SECONDS_A_TOKEN[1] * min(n_recorded, 200_000)
        + FINDINGS_SECONDS_A_TOKEN[0] * n_recorded,
    )
    return with_server(_forecast(ready, left, parts, free, growth, sources), ready.predictor, known_by=known_by)


def _forecast(
    ready: Prepared, left: list[Unit], parts: dict[str, Span], timed: _Timed, growth: float, sources: SourcePlan | None
) -> Forecast:
    plan, pairs = ready.manifest["plan"], ready.pairs
    every = ready.wanted
    n_scored = sum(u.n_tokens for u in every if u.arm == "real")
    how = [
        f"time: {counted(len(timed.steps_seconds), 'step')} of {timed.n_rows} rows after the first, and a few whole texts scored; "
        f"from the fastest seen × {MARGIN[0]:g} to the slowest × {MARGIN[1]:g}, since the speed of a machine changes",
        "a text that ends by itself makes it shorter; loading the model is not in it",
        "memory: weights, the state at full length and batch, and a bounded chunk of logits; disk: bytes a token of real records",
    ]
    if growth > 1.0:
        guessed = "is taken to take up to" if growth == UNTIMED_GROWTH else "was seen to take"
        how.insert(1, f"a step at the full length {guessed} {growth:.2f} times one at the start")
    return Forecast(
        model=plan["model"],
        corpus=plan["corpus"],
        folder=str(ready.folder.path),
        plan_hash=ready.manifest["plan_hash"],
        documents=sum(len(u.pairs) for u in every if u.arm == "real"),
        prefix=pairs.prefix_tokens,
        tokens=pairs.continuation_tokens,
        batch=ready.plan.batch,
        tokens_to_score=n_scored,
        tokens_to_score_without_prefix=n_scored if pairs.prefix_tokens else 0,
        tokens_to_sample=sum(u.n_tokens for u in every if u.arm != "real"),
        tokens_to_score_again=_n_tokens_again(ready),
        tokens_to_score_after_headers=sources.n_tokens if sources is not None else 0,
        tokens_found=sum(u.n_tokens for u in every) - sum(u.n_tokens for u in left),
        seconds=_sum(parts.values()),
        parts_seconds=parts,
        device=ready.manifest["provenance"]["device"],
        memory_bytes=_memory(ready),
        disk_bytes=_disk(ready) + _sources_disk(sources),
        how=tuple(how),
    )


def _units_left(ready: Prepared) -> list[Unit]:
    """What the folder does not hold yet."""
    plan_hash = ready.manifest["plan_hash"]
    return [u for u in ready.wanted if not ready.folder.done(u.name, u.key(plan_hash))]


# ---- time --------------------------------------------------------------------------------------------------------------


class _Enough(Exception):
    """The batch was timed long enough."""


class _Clock:
    """Notes when tokens come, and stops the work after so many times or seconds."""

    def __init__(self, n: int) -> None:
        self.n, self.began, self.at, self.tokens = n, time.perf_counter(), list[float](), list[int]()

    def tick(self, n_tokens: int) -> None:
        self.at.append(time.perf_counter() - self.began)
        self.tokens.append(n_tokens)
        if len(self.at) >= self.n or (len(self.at) > 3 and self.at[-1] > TIMED_SECONDS):
            raise _Enough

    def timed(self, n_rows: int) -> _Timed:
        """Seconds of the first tick, and of one token of every row at each later one."""
        steps = [(b - a) * n_rows / max(1, n) for a, b, n in zip(self.at, self.at[1:], self.tokens[1:], strict=False)]
        whole = self.at[0] * n_rows / max(1, self.tokens[0])
        return _Timed(self.at[0], tuple(steps) or (whole,), n_rows)


def _seconds_a_text(run: Callable[[list[np.ndarray]], object], texts: list[np.ndarray]) -> Span:
    """Fastest and slowest seconds a text, of two equal handfuls of whole texts after a short one to warm up."""
    n = max(1, min(len(texts) // 2, TIMED_READ_TOKENS // max(1, len(texts[0]))))
    handfuls = (texts[:1], texts[:n], texts[n : 2 * n] or texts[:n])
    _, *seconds = (_elapsed(partial(run, some)) / len(some) for some in handfuls)
    return Span(min(seconds), max(seconds))


def _elapsed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _texts(ready: Prepared, *, alone: bool = False) -> list[np.ndarray]:
    """A batch of real continuations after what stands before them, or after nothing of their own document."""
    pairs = ready.pairs.pairs[: ready.plan.batch]
    return [np.concatenate([p.before if alone else p.context, p.continuation]).astype(np.int64) for p in pairs]


def _time_scoring(ready: Prepared) -> Span:
    """Seconds a text of real text, scored with what stands before it."""
    first, rule = _least_context(ready), ready.plan.loop_rule
    return _seconds_a_text(lambda some: list(ready.predictor.score(some, first=first, loop_rule=rule)), _texts(ready))


def _least_context(ready: Prepared) -> int:
    """Tokens before every continuation at least."""
    return min(len(pair.context) for pair in ready.pairs.pairs)


def _time_scoring_again(ready: Prepared) -> Span:
    """Seconds a text that is scored alone."""
    first = _least_context(ready)
    return _seconds_a_text(lambda some: [list(ready.predictor.score([t], first=first)) for t in some], _texts(ready))


def _time_without_prefix(ready: Prepared) -> Span:
    """Seconds a text of reading continuations alone."""
    first = max(1, len(ready.pairs.pairs[0].before))
    return _seconds_a_text(lambda some: ready.predictor.log_probs(some, first=first), _texts(ready, alone=True))


def _n_texts_again(ready: Prepared, left: list[Unit]) -> float:
    """Texts that are scored again in the units that are left; what is read for the floor counts as whole texts."""
    n = float(_n_own_texts_again(ready, left))
    hidden = ready.predictor.capabilities.hidden_context
    if ready.plan.rounded and not hidden and any(u.arm == "real" for u in left):
        pair = ready.pairs.pairs[0]
        n += _n_floor_tokens(ready) / (len(pair.context) + len(pair.continuation))
    return n


def _n_own_texts_again(ready: Prepared, units: list[Unit]) -> int:
    """Own texts of some units that are scored again."""
    plan, n_pairs = ready.plan, len(ready.pairs.pairs)
    chosen = rescored_texts(n_pairs, plan.continuations, plan.continuation_tokens, rescored_tokens=plan.rescored_tokens)
    hidden = ready.predictor.capabilities.hidden_context
    return 0 if hidden else sum(pair in u.pairs for u in units if u.arm == "free" for pair, _ in chosen)


def _n_tokens_again(ready: Prepared) -> int:
    n_texts = _n_own_texts_again(ready, ready.wanted)
    floor = _n_floor_tokens(ready) if ready.plan.rounded and n_texts else 0
    return n_texts * ready.plan.continuation_tokens + floor


def _n_floor_tokens(ready: Prepared) -> int:
    pair = ready.pairs.pairs[0]
    return n_floor_tokens_read(len(ready.pairs.pairs), len(pair.context), len(pair.continuation))


def _time_sampling(ready: Prepared, arm: ArmName) -> _Timed:
    """The first steps of a batch that runs free, after at most `TIMED_CONTEXT` tokens of what stands before."""
    plan = ready.plan
    n = plan.continuations if arm == "free" else 1
    sampling = plan.sampling if arm == "free" else SamplingRule.of(temperature=plan.control_temperature)
    block = ready.pairs.pairs[: max(1, plan.batch // n)]
    keys = np.array([[sequence_key(p.document_id, arm, j) for j in range(n)] for p in block], dtype=np.uint64)
    clock = _Clock(TIMED_STEPS + 1)
    to_write = Continuations(
        [p.context[-TIMED_CONTEXT:].astype(np.int64) for p in block],
        keys,
        min(ready.pairs.continuation_tokens, TIMED_STEPS + 2),
        seed=plan.seed,
        sampling=sampling,
        loop_rule=plan.loop_rule,
    )
    with suppress(_Enough):
        list(ready.predictor.generate(to_write, on_tokens=clock.tick))
    return clock.timed(keys.size)


def _others_seconds(ready: Prepared, left: list[Unit]) -> Span:
    """The given references read every text, prefix included; an encoder reads every continuation."""
    block = ready.pairs.pairs[: min(16, ready.plan.batch)]
    texts = [np.concatenate([p.prefix, p.continuation])[:48].astype(np.int64) for p in block]
    n_sequences = sum(u.n_tokens for u in left) // ready.pairs.continuation_tokens
    length = ready.pairs.prefix_tokens + ready.pairs.continuation_tokens
    total = 0.0
    for other in ready.others:
        seconds = _elapsed(partial(other.log_probs, texts, first=1))
        total += seconds / max(1, sum(len(t) - 1 for t in texts)) * n_sequences * length
    if ready.encoder is not None:
        words = [decode_lossy(ready.predictor.token_bytes, p.continuation) for p in block[:8]]
        total += _elapsed(partial(ready.encoder, words)) / len(words) * n_sequences
    return Span(0.5 * total, 2.0 * total)


def _sources_seconds(ready: Prepared, sources: SourcePlan) -> Span:
    """Every source's headers above both texts of the documents that are left."""
    return _widened(Span(*seconds_a_token(sources)), sum(part.n_tokens for part in sources_left(sources, ready.folder)))


def _growth(ready: Prepared, early: _Timed) -> float:
    """How many times longer a step takes at the full length than after the context that was timed."""
    predictor, pair = ready.predictor, ready.pairs.pairs[0]
    whole = np.concatenate([pair.context, pair.continuation]).astype(np.int64)
    steps = 4
    if not isinstance(predictor, Stepwise) or len(whole) < 2 * TIMED_CONTEXT:
        return 1.0
    if _state_bytes(predictor, len(whole)) * early.n_rows > LATE_STATE_BYTES:
        return UNTIMED_GROWTH
    state = predictor.repeat(predictor.start([whole[:-steps]]), early.n_rows, 1)
    seconds = []
    for i in range(-steps, 0):
        began = time.perf_counter()
        predictor.law(state).observe(uniforms=np.full(early.n_rows, 0.5))
        state = predictor.advance(state, np.full(early.n_rows, whole[i]))
        seconds.append(time.perf_counter() - began)
    return max(1.0, min(seconds[1:]) / min(early.steps_seconds))


def _sampling_seconds(timed: _Timed, unit: Unit, ready: Prepared, growth: float, read: Span) -> Span:
    """One unit: its contexts read (at most as slowly as they are scored), then a step for every token; steps grow with length."""
    pair = ready.pairs.pairs[0]
    n_tokens, n_context = len(pair.continuation), len(pair.context)
    share = unit.n_tokens / n_tokens / timed.n_rows
    at_start = max(0.0, n_context - TIMED_CONTEXT) / max(1, n_context + n_tokens - TIMED_CONTEXT)
    later = 1.0 + (growth - 1.0) * (1.0 + at_start) / 2.0
    unread = len(unit.pairs) * max(0, n_context - TIMED_CONTEXT) / (n_context + n_tokens)
    low = share * (timed.first_seconds + (n_tokens - 1) * min(timed.steps_seconds))
    # fewer rows than a batch take less time than a batch, but not so much less
    rows = max(share, min(1.0, 2 * share))
    high = rows * (timed.first_seconds + (n_tokens - 1) * max(timed.steps_seconds) * later)
    return Span(MARGIN[0] * (low + 0.5 * unread * read.low), MARGIN[1] * (high + unread * read.high))


def _widened(each: Span, n: float) -> Span:
    """n times, with the margin for a machine whose speed changes."""
    return Span(MARGIN[0] * each.low * n, MARGIN[1] * each.high * n)


def _sum(spans: Iterable[Span]) -> Span:
    return sum(spans, start=Span(0.0, 0.0))


# ---- memory and disk ---------------------------------------------------------------------------------------------------


def _memory(ready: Prepared) -> Span:
    """Weights of all models, the state of a whole batch at its full length, and a chunk of logits."""
    predictor, pairs = ready.predictor, ready.pairs
    pair = max(pairs.pairs, key=lambda pair: len(pair.context) + len(pair.continuation))
    rows = min(ready.plan.batch, len(pairs.pairs) * ready.plan.continuations)
    weights = sum(weight_bytes(p) for p in (predictor, *ready.others))
    state = rows * _state_bytes(predictor, len(pair.context) + len(pair.continuation))
    logits = min(rows * len(pair.continuation) * predictor.n_tokens, 1 << 24) * 4
    return Span(
        REST_BYTES[0] + weights + state + logits,
        # weights may be held twice (loading, packing); a growing state keeps half as much room again, and is copied when it grows
        REST_BYTES[1] + 2.0 * weights + 2.5 * state + 6 * logits,
    )


def _state_bytes(predictor: Predictor, length: int) -> float:
    """A row's state at a length, from two short ones; 0 where a backend keeps it for itself."""
    if not isinstance(predictor, Stepwise):
        return 0.0
    short, longer = (predictor.nbytes(predictor.start([np.zeros(n, np.int64)])) for n in (8, 24))
    return float(short + max(0, longer - short) / 16 * max(0, length - 8))


def _disk(ready: Prepared) -> Span:
    """From bytes a token and a sequence of records that were really made."""
    pairs = ready.pairs
    n_tokens = sum(u.n_tokens for u in ready.wanted)
    n_sequences = n_tokens // pairs.continuation_tokens
    width = 0
    if ready.predictor.capabilities.embed and not ready.options.redact_text:
        context, continuation = pairs.pairs[0].context, pairs.pairs[0].continuation
        text = np.concatenate([context, continuation[:1]]).astype(np.int64)
        hidden = [c.hidden for c in ready.predictor.score([text], first=len(context)) if c.hidden is not None]
        width = hidden[0].shape[1] if hidden else 0
    each = BYTES_A_TOKEN_OF_FEW if ready.predictor.n_tokens < FEW_TOKENS else BYTES_A_TOKEN
    low, high = (
        n_tokens * (each[i] + BYTES_A_REFERENCE * len(ready.others))
        + n_sequences * (BYTES_A_SEQUENCE[i] + BYTES_A_HIDDEN * width)
        + BYTES_OF_THE_REST[i]
        for i in (0, 1)
    )
    return Span(low, high)


def _sources_disk(sources: SourcePlan | None) -> Span:
    """A float64 for each value, which hardly gets smaller."""
    return Span(0.0, 0.0) if sources is None else Span(6.0 * sources.n_values, 10.0 * sources.n_values)
