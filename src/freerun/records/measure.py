"""The teacher-forced and the free-running pass: from pairs and a predictor to record parts.

Work is cut into units (an arm and a block of pairs). A unit's records depend on nothing but the plan, so units may be made in
any order, by any worker, and again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from freerun.errors import BackendError
from freerun.predictors.base import Pool, Predictor, SamplingRule
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import N_BINS, POWERS, Observation
from freerun.predictors.reference import Reference
from freerun.records.failures import Row, blamed, out_of_memory, slices, without_memory
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
    queue: int = 1
    """Batches that the sampling of one part is a queue of: the next texts take the place of those that have ended."""

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


def queue_of(batch: int, tokens: int) -> int:
    """Batches in a part's queue: two, but where that would put more than 32,768 tokens at stake when a run is killed."""
    return 2 if 2 * batch * tokens <= 32768 else 1


def plan_of(settings: Mapping[str, Any]) -> MeasurePlan:
    """The parts of a plan that say which units there are, from a manifest."""
    return MeasurePlan(settings["tokens"], settings["batch"], settings["seed"], queue=settings.get("queue", 1))


def units_of(n_pairs: int, plan: MeasurePlan) -> list[Unit]:
    """All units, arms taking turns so that time left can be told from any of them."""
    sampled = plan.batch * plan.queue
    sizes = {"real": plan.batch, "free": max(1, sampled // plan.continuations), "tempered": sampled}
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
    on_note: Callable[[str], None] = lambda said: print(said, file=sys.stderr),
) -> None:
    """Make every unit that the folder does not hold yet, or holds damaged.

    `encoder` gives vectors of texts, in place of the model's own states. `on_tokens` hears of tokens done, those found there
    included; `on_note` of parts made again, and of fewer rows at once where memory is short.

    Raises:
        BackendError: the model fails, gives NaN, or has no memory for one row; the units before are kept.
        DataError: the folder cannot be written to.
    """
    most = sys.maxsize  # rows at once, as long as there is memory
    for unit in units_of(len(pairs), plan):
        key = unit.key(plan_hash)
        if folder.done(unit.name, key):
            on_tokens(unit.n_tokens)
            continue
        if damage := folder.damage(unit.name, key):
            on_note(f"{folder.path}: {damage}; part {unit.name} is made again")
        on_phase({"real": "scoring real text", "free": "running free", "tempered": "control"}[unit.arm])
        block = pairs[unit.start : unit.stop]
        work = _Work(predictor, block, unit, plan, reference, encoder, on_phase)
        heard = _Once(on_tokens)
        wanted = min(plan.batch, work.n_rows)
        width = min(most, wanted)
        while True:
            try:
                sequences, tokens = work.tables(width, heard.again())
                break
            except Exception as error:
                if not out_of_memory(error):
                    raise
                reason = str(error)
            if width == 1:
                raise without_memory(unit.name, reason)
            width //= 2
        notes = {}
        if width < wanted:
            notes["rows_at_once"] = str(width)
            if width < most:
                on_note(
                    f"out of memory with {plan.batch} rows at once: going on with {width} (a smaller --batch from the start)"
                )
            most = width
        folder.write_part(unit.name, sequences, tokens, unit_key=key, plan_hash=plan_hash, notes=notes)
        on_tokens(unit.n_tokens - heard.told)


class _Once:
    """Hands on the tokens done, those of a second attempt only beyond the first."""

    def __init__(self, on_tokens: Callable[[int], None]) -> None:
        self.on_tokens, self.told = on_tokens, 0

    def again(self) -> Callable[[int], None]:
        done = 0

        def tell(n: int) -> None:
            nonlocal done
            done += n
            if done > self.told:
                new, self.told = done - self.told, done
                self.on_tokens(new)

        return tell


@dataclass(frozen=True)
class _Work:
    """Everything that one unit is made of."""

    predictor: Predictor[Any]
    block: Sequence[Pair]
    unit: Unit
    plan: MeasurePlan
    reference: Reference
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None
    on_phase: Callable[[str], None]

    @property
    def replicates(self) -> int:
        return self.plan.continuations if self.unit.arm == "free" else 1

    @property
    def n_rows(self) -> int:
        return len(self.block) * self.replicates

    def tables(self, width: int, tell: Callable[[int], None]) -> tuple[pa.Table, pa.Table]:
        """The unit's tables, made of at most `width` rows at once."""
        finished: list[_Finished] = []
        alone: list[Float[np.ndarray, " tokens"]] | None = None
        where = ""
        try:
            for rows in slices(len(self.block), self.replicates, self.n_rows if self._queues(width) else width):
                finished += self._made(rows, width, tell)
            if self.unit.arm == "real" and len(self.block[0].prefix):
                self.on_phase("without its prefix")
                where, alone = " read without its prefix", []
                for start in range(0, len(self.block), width):
                    alone += _without_prefix(self.predictor, self.block[start : start + width])
        except BackendError as error:
            if "NaN" not in str(error):
                raise
            raise self._located(error, where) from error
        _check_numbers(self.block, finished, alone)
        return _tables(self.predictor, self.block, finished, self.reference, alone, self.encoder, width)

    def _queues(self, width: int) -> bool:
        """Whether rows that end can be replaced while the others go on."""
        can_join = getattr(type(self.predictor), "join", Predictor.join) is not Predictor.join
        return self.unit.arm != "real" and can_join and width >= self.replicates

    def _made(self, rows: Sequence[Row], width: int, tell: Callable[[int], None]) -> Iterator[_Finished]:
        if self.unit.arm == "real":
            return _score(self.predictor, self.block, self.unit, self.plan, rows, tell)
        return _sample(self.predictor, self.block, self.unit, self.plan, rows, width, tell)

    def _located(self, error: BackendError, where: str) -> BackendError:
        """The error with the document that it comes from, found by halving."""

        def attempt(rows: Sequence[Row], tell: Callable[[int], None]) -> None:
            if where:
                _without_prefix(self.predictor, [self.block[i] for i, _ in rows])
            else:
                list(self._made(rows, len(rows), tell))

        every = [(i, j) for i in range(len(self.block)) for j in range(self.replicates)]
        found = blamed(every, attempt)
        if found is None:
            return BackendError(f"{error} (while measuring {self.unit.name}; what was finished before is kept)")
        (i, _), position = found
        return BackendError(
            f"{error}; first seen in {_place(self.block[i], self.unit.arm)}{where}"
            f"{'' if where else f', {position} tokens after the cut'}; what was finished before is kept"
        )


def _place(pair: Pair, arm: str) -> str:
    words = {"real": "", "free": "its own continuation of ", "tempered": "the control's continuation of "}
    name = pair.document_id if len(pair.document_id) <= 80 else f"{pair.document_id[:79]}…"
    return f"{words[arm]}document {name!r}"


def _check_numbers(
    block: Sequence[Pair], done: Sequence[_Finished], alone: Sequence[Float[np.ndarray, " tokens"]] | None
) -> None:
    """NaN is no log-probability: only −inf is one, and it is recorded as null."""
    for one in done:
        bad = np.flatnonzero(np.isnan(one.observation.log_prob_nats))
        if len(bad):
            raise BackendError(
                f"the model's law is NaN in {_place(block[one.pair], one.arm)}, {bad[0]} tokens after the cut: the checkpoint "
                "or its number format is broken; what was finished before is kept"
            )
    for pair, scored in zip(block, alone or (), strict=False):
        if np.isnan(scored[1:]).any():
            raise BackendError(
                f"the model's law is NaN in {_place(pair, 'real')} read without its prefix: the checkpoint or its number "
                "format is broken; what was finished before is kept"
            )


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
    predictor: Predictor[Any],
    block: Sequence[Pair],
    unit: Unit,
    plan: MeasurePlan,
    chosen: Sequence[Row],
    tell: Callable[[int], None],
) -> Iterator[_Finished]:
    first = len(block[0].context)
    texts = [np.concatenate([block[i].context, block[i].continuation]).astype(np.int64) for i, _ in chosen]
    rows, positions, parts, pool = [], [], [], Pool(len(chosen))
    for chunk in predictor.score(texts, first=first, loop_rule=plan.loop_rule):
        rows.append(chunk.row)
        positions.append(chunk.position)
        parts.append(chunk.observation)
        pool.add(chunk.row, chunk.hidden)
        tell(len(chunk.row))
    row, position, seen = np.concatenate(rows), np.concatenate(positions), Observation.concatenate(parts)
    for at, (i, _) in enumerate(chosen):
        mine = np.flatnonzero(row == at)
        mine = mine[np.argsort(position[mine], kind="stable")]
        number = (unit.start + i) * plan.stride
        yield _Finished(number, i, "real", 0, 0, "length", seen.take(mine), None, None, pool.mean(at))


def _sample(
    predictor: Predictor[Any],
    block: Sequence[Pair],
    unit: Unit,
    plan: MeasurePlan,
    chosen: Sequence[Row],
    at_once: int,
    tell: Callable[[int], None],
) -> Iterator[_Finished]:
    """Continuations of some (pair, replicate); where every pair has the same number of them, its prefix is read once."""
    if unit.arm == "free":
        sampling, offset = plan.sampling, 1
    else:
        sampling, offset = SamplingRule(temperature=plan.control_temperature), 1 + plan.continuations
    starts = list(dict.fromkeys(i for i, _ in chosen))
    shared = len(starts) * (len(chosen) // len(starts)) == len(chosen) and all(
        i == starts[at * len(starts) // len(chosen)] for at, (i, _) in enumerate(chosen)
    )
    if not shared:
        starts = [i for i, _ in chosen]
    flat = [sequence_key(block[i].document_id, unit.arm, j) for i, j in chosen]
    samples = predictor.generate(
        [block[i].context.astype(np.int64) for i in starts],
        np.array(flat, dtype=np.uint64).reshape(len(starts), -1),
        plan.continuation_tokens,
        seed=plan.seed,
        sampling=sampling,
        loop_rule=plan.loop_rule,
        at_once=at_once,
        on_tokens=tell,
    )
    for s in sorted(samples, key=lambda s: s.row):
        i, j = chosen[s.row]
        number = (unit.start + i) * plan.stride + offset + j
        yield _Finished(
            number,
            i,
            unit.arm,
            j,
            flat[s.row],
            s.end_reason,
            s.observation,
            s.uniform,
            s.sample_log_prob_nats,
            s.embedding,
        )


def _without_prefix(predictor: Predictor[Any], block: Sequence[Pair]) -> list[Float[np.ndarray, " tokens"]]:
    """ln q of the continuations with the context (exemplars apart) starting at the cut; NaN where no law is before a token."""
    texts = [np.concatenate([p.before, p.continuation]).astype(np.int64) for p in block]
    first = len(block[0].before) or (0 if predictor.context.lead or predictor.capabilities.empty_context else 1)
    scored = predictor.log_probs(texts, first=first)
    return [
        np.concatenate([np.full(len(p.continuation) - len(s), np.nan), s]) for p, s in zip(block, scored, strict=True)
    ]


def _tables(
    predictor: Predictor[Any],
    block: Sequence[Pair],
    done: Sequence[_Finished],
    reference: Reference,
    without_prefix: Sequence[Float[np.ndarray, " tokens"]] | None,
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None,
    width: int,
) -> tuple[pa.Table, pa.Table]:
    """Sequence and token rows of one unit; other models read at most `width` rows at once."""
    first = len(block[0].prefix)
    whole = [np.concatenate([block[d.pair].prefix, d.observation.token_id]).astype(np.int64) for d in done]
    units = [block[d.pair].unit for d in done]
    parts = [slice(start, start + width) for start in range(0, len(done), width)]
    against = [one for part in parts for one in reference.log_probs(units[part], whole[part], first=first)]
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
        texts = [str(row["text"]) for row in sequences]
        for row, vector in zip(sequences, (v for part in parts for v in encoder(texts[part])), strict=True):
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
