"""The teacher-forced and the free-running pass: from pairs and a predictor to record parts.

Work is cut into units (an arm and a block of pairs). A unit's records depend on nothing but the plan, so units may be made in
any order, by any worker, and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from freerun.predictors.base import Pool, Predictor, SamplingRule
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import N_BINS, POWERS, Observation
from freerun.predictors.reference import Reference
from freerun.records.schema import sequences_schema, tokens_schema
from freerun.records.store import RunFolder
from freerun.stats.loops import LoopRule
from freerun.text.pairs import Pair
from freerun.text.tokens import byte_lengths, canonical_share, decode_lossy


@dataclass(frozen=True)
class MeasurePlan:
    """What is measured on every pair."""

    continuation_tokens: int
    batch: int
    """Rows at once."""
    seed: int
    continuations: int = 2
    sampling: SamplingRule = SamplingRule()
    control_temperature: float = 0.9
    loop_rule: LoopRule = LoopRule()

    @property
    def stride(self) -> int:
        """Sequence numbers that one pair takes: real, free ones, tempered."""
        return self.continuations + 2


@dataclass(frozen=True)
class Unit:
    """One part of the work: an arm over a block of pairs."""

    name: str
    arm: str
    start: int
    stop: int
    n_tokens: int

    def key(self, plan_hash: str) -> str:
        return f"{plan_hash}/{self.name}/{self.start}-{self.stop}"


def units_of(n_pairs: int, plan: MeasurePlan) -> list[Unit]:
    """All units, arms taking turns so that time left can be told from any of them."""
    sizes = {"real": plan.batch, "free": max(1, plan.batch // plan.continuations), "tempered": plan.batch}
    rows = {"real": 1, "free": plan.continuations, "tempered": 1}
    out = []
    for arm, size in sizes.items():
        for i, start in enumerate(range(0, n_pairs, size)):
            stop = min(start + size, n_pairs)
            tokens = (stop - start) * rows[arm] * plan.continuation_tokens
            out.append(Unit(f"{arm}-{i:05d}", arm, start, stop, tokens))
    return sorted(out, key=lambda u: (u.stop, u.arm != "real", u.name))


def measure(
    predictor: Predictor[Any],
    pairs: Sequence[Pair],
    *,
    plan: MeasurePlan,
    plan_hash: str,
    folder: RunFolder,
    reference: Reference,
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None = None,
    on_tokens: Callable[[int], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> None:
    """Make every unit that the folder does not hold yet.

    `encoder` gives vectors of texts, in place of the model's own states. `on_tokens` hears of tokens done, those found there
    included.
    """
    for unit in units_of(len(pairs), plan):
        key = unit.key(plan_hash)
        if folder.done(unit.name, key):
            on_tokens(unit.n_tokens)
            continue
        on_phase({"real": "scoring real text", "free": "running free", "tempered": "control"}[unit.arm])
        block = pairs[unit.start : unit.stop]
        told = 0

        def tell(n: int) -> None:
            nonlocal told
            told += n
            on_tokens(n)

        make = _score if unit.arm == "real" else _sample
        finished = list(make(predictor, block, unit, plan, tell))
        alone = None
        if unit.arm == "real" and len(block[0].prefix):
            on_phase("without its prefix")
            alone = _without_prefix(predictor, block)
        sequences, tokens = _tables(predictor, block, finished, reference, alone, encoder)
        folder.write_part(unit.name, sequences, tokens, unit_key=key, plan_hash=plan_hash)
        on_tokens(unit.n_tokens - told)


@dataclass(frozen=True)
class _Finished:
    """One sequence on its way into the tables."""

    number: int
    pair: int
    arm: str
    replicate: int
    key: int
    end_reason: str
    observation: Observation
    uniform: Float[np.ndarray, " tokens"] | None
    sample_log_prob: Float[np.ndarray, " tokens"] | None
    embedding: Float[np.ndarray, " width"] | None


def _score(
    predictor: Predictor[Any], block: Sequence[Pair], unit: Unit, plan: MeasurePlan, tell: Callable[[int], None]
) -> Iterator[_Finished]:
    first = len(block[0].prefix)
    texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in block]
    rows, positions, parts, pool = [], [], [], Pool(len(block))
    for chunk in predictor.score(texts, first=first, loop_rule=plan.loop_rule):
        rows.append(chunk.row)
        positions.append(chunk.position)
        parts.append(chunk.observation)
        pool.add(chunk.row, chunk.hidden)
        tell(len(chunk.row))
    row, position, seen = np.concatenate(rows), np.concatenate(positions), Observation.concatenate(parts)
    for i in range(len(block)):
        mine = np.flatnonzero(row == i)
        mine = mine[np.argsort(position[mine], kind="stable")]
        number = (unit.start + i) * plan.stride
        yield _Finished(number, i, "real", 0, 0, "length", seen.take(mine), None, None, pool.mean(i))


def _sample(
    predictor: Predictor[Any], block: Sequence[Pair], unit: Unit, plan: MeasurePlan, tell: Callable[[int], None]
) -> Iterator[_Finished]:
    if unit.arm == "free":
        sampling, n, offset = plan.sampling, plan.continuations, 1
    else:
        sampling, n, offset = SamplingRule(temperature=plan.control_temperature), 1, 1 + plan.continuations
    keys = np.array([[sequence_key(p.document_id, unit.arm, j) for j in range(n)] for p in block], dtype=np.uint64)
    samples = predictor.generate(
        [p.prefix.astype(np.int64) for p in block],
        keys,
        plan.continuation_tokens,
        seed=plan.seed,
        sampling=sampling,
        loop_rule=plan.loop_rule,
        on_tokens=tell,
    )
    for s in sorted(samples, key=lambda s: s.row):
        i, j = divmod(s.row, n)
        number = (unit.start + i) * plan.stride + offset + j
        yield _Finished(
            number,
            i,
            unit.arm,
            j,
            int(keys[i, j]),
            s.end_reason,
            s.observation,
            s.uniform,
            s.sample_log_prob_nats,
            s.embedding,
        )


def _without_prefix(predictor: Predictor[Any], block: Sequence[Pair]) -> list[Float[np.ndarray, " tokens"]]:
    """ln q of the continuations with the context starting at the cut; NaN where there is no law before the first token."""
    texts = [p.continuation.astype(np.int64) for p in block]
    first = 0 if predictor.context.lead or predictor.capabilities.empty_context else 1
    scored = predictor.log_probs(texts, first=first)
    return [np.concatenate([np.full(min(first, len(t)), np.nan), s]) for t, s in zip(texts, scored, strict=True)]


def _tables(
    predictor: Predictor[Any],
    block: Sequence[Pair],
    done: Sequence[_Finished],
    reference: Reference,
    without_prefix: Sequence[Float[np.ndarray, " tokens"]] | None,
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None,
) -> tuple[pa.Table, pa.Table]:
    """Sequence and token rows of one unit."""
    first = len(block[0].prefix)
    whole = [np.concatenate([block[d.pair].prefix, d.observation.token_id]).astype(np.int64) for d in done]
    against = reference.log_probs([block[d.pair].unit for d in done], whole, first=first)
    sequences = [_sequence_row(predictor, block[d.pair], d) for d in done]
    seen = Observation.concatenate([d.observation for d in done])
    lengths = np.array([len(d.observation.token_id) for d in done])
    flat_reference = np.concatenate(against) if against else np.zeros((0, len(reference.names)))
    uniform = [np.full(n, np.nan) if d.uniform is None else d.uniform for d, n in zip(done, lengths, strict=True)]
    other = [
        np.full(n, np.nan) if d.sample_log_prob is None else d.sample_log_prob
        for d, n in zip(done, lengths, strict=True)
    ]
    alone = np.concatenate(without_prefix) if without_prefix is not None else np.full(int(lengths.sum()), np.nan)
    columns: dict[str, Any] = {
        "sequence": np.repeat([d.number for d in done], lengths).astype(np.int32),
        "position": np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        "token_id": seen.token_id,
        "n_bytes": byte_lengths(predictor.token_bytes, seen.token_id),
        "log_prob_nats": _null_where(seen.log_prob_nats, ~np.isfinite(seen.log_prob_nats)),
        "sample_log_prob_nats": _null_where(np.concatenate(other), np.isnan(np.concatenate(other))),
        "entropy_nats": _null_where(seen.entropy_nats, np.isnan(seen.entropy_nats)),
        "varentropy_nats2": _null_where(seen.varentropy_nats2, np.isnan(seen.varentropy_nats2)),
        "rank": seen.rank,
        "top_id": seen.top_id,
        "top_log_prob_nats": seen.top_log_prob_nats.astype(np.float32),
        "cdf_below": seen.cdf_below,
        "uniform": _null_where(np.concatenate(uniform), np.isnan(np.concatenate(uniform))),
        "log_power_sum": _fixed(seen.log_power_sum.astype(np.float32)),
        "loop_mass": seen.loop_mass.astype(np.float32),
        "reference_log_probs_nats": _fixed(flat_reference, null=~np.isfinite(flat_reference)),
        "without_prefix_log_prob_nats": _null_where(alone, np.isnan(alone)),
    }
    schema = tokens_schema(n_powers=len(POWERS), n_references=len(reference.names))
    tokens = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in schema}, schema=schema)
    if encoder is not None:
        for row, vector in zip(sequences, encoder([str(row["text"]) for row in sequences]), strict=True):
            row["embedding"] = vector
    width = next((len(row["embedding"]) for row in sequences if row["embedding"] is not None), 0)
    return pa.Table.from_pylist(sequences, schema=sequences_schema(n_bins=N_BINS, n_hidden=width)), tokens


def _sequence_row(predictor: Predictor[Any], pair: Pair, done: _Finished) -> dict[str, Any]:
    ids = [int(i) for i in done.observation.token_id]
    spoken = ids[:-1] if done.end_reason == "end_of_text" else ids
    return {
        "sequence": done.number,
        "document_id": pair.document_id,
        "unit": pair.unit,
        "split": pair.split,
        "arm": done.arm,
        "replicate": done.replicate,
        "key": done.key,
        "prefix_ids": [int(i) for i in pair.prefix],
        "prefix_text": decode_lossy(predictor.token_bytes, pair.prefix),
        "text": decode_lossy(predictor.token_bytes, ids),
        "n_tokens": len(ids),
        "n_bytes": int(byte_lengths(predictor.token_bytes, done.observation.token_id).sum()),
        "end_reason": done.end_reason,
        "canonical_share": canonical_share(
            predictor.encode, lambda some: decode_lossy(predictor.token_bytes, some), spoken
        ),
        "observed_counts": np.bincount(done.observation.observed_bin, minlength=N_BINS).tolist(),
        "expected_counts": done.observation.expected_counts.sum(0).tolist(),
        "embedding": done.embedding,
    }


def _null_where(values: np.ndarray, null: np.ndarray) -> pa.Array:
    return pa.array(values, mask=null)


def _fixed(table: Int[np.ndarray, "n k"] | Float[np.ndarray, "n k"], null: np.ndarray | None = None) -> pa.Array:
    flat = pa.array(table.ravel(), mask=None if null is None else null.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, table.shape[1])
