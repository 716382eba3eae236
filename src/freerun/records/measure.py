"""The teacher-forced and the free-running pass: from pairs and a predictor to record parts.

Work is cut into units (an arm and a block of pairs). A unit's records depend on nothing but the plan, so units may be made in
any order, by any worker, and again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from freerun.errors import BackendError, BrokenLaw
from freerun.predictors.base import Continuations, Pool, Predictor, Sample
from freerun.predictors.draws import sequence_key
from freerun.predictors.observation import Observation
from freerun.predictors.reference import Reference
from freerun.predictors.rules import SamplingRule
from freerun.records.failures import Attempt, Row, blamed, out_of_memory, slices, without_memory
from freerun.records.layout import FIRST_PARTS
from freerun.records.plan import MeasurePlan
from freerun.records.rescoring import floor_tokens, rescored_texts, score_again, score_tokens_again
from freerun.records.schema import ArmName
from freerun.records.store import RunFolder
from freerun.records.tables import Finished, tables
from freerun.text.pairs import Pair


@dataclass(frozen=True)
class Unit:
    """One part of the work: an arm over some pairs, by their numbers."""

    name: str
    arm: ArmName
    pairs: tuple[int, ...]
    n_tokens: int

    def key(self, plan_hash: str) -> str:
        return f"{plan_hash}/{self.name}/{spans(self.pairs)}"


def spans(numbers: Sequence[int]) -> str:
    """Rising numbers as the stretches that they make, the end of each left out.

    >>> spans((0, 1, 2, 8, 9))
    '0-3+8-10'
    """
    begins = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n - 1]
    ends = [n + 1 for i, n in enumerate(numbers) if i + 1 == len(numbers) or numbers[i + 1] != n + 1]
    return "+".join(f"{a}-{b}" for a, b in zip(begins, ends, strict=True))


def queue_of(batch: int, tokens: int) -> int:
    """Batches in a part's queue: two, but where that would put more than 32,768 tokens at stake when a run is killed."""
    return 2 if 2 * batch * tokens <= 32768 else 1


def units_of(n_pairs: int, plan: MeasurePlan, first: Sequence[int] = ()) -> list[Unit]:
    """All units, arms taking turns so that time left can be told from any of them.

    `first`: pairs of a first look. They have units of their own, before all others, so that the others can be added later.
    """
    looked_at = frozenset(first)
    rest = tuple(n for n in range(n_pairs) if n not in looked_at)
    return [*_units(tuple(first), plan, FIRST_PARTS), *_units(rest, plan)]


def _units(pairs: tuple[int, ...], plan: MeasurePlan, prefix: str = "") -> list[Unit]:
    sampled = plan.batch * plan.queue
    sizes: dict[ArmName, int] = {"real": plan.batch, "free": max(1, sampled // plan.continuations), "tempered": sampled}
    rows = {"real": 1, "free": plan.continuations, "tempered": 1}
    out = []
    for arm, size in sizes.items():
        for i, start in enumerate(range(0, len(pairs), size)):
            mine = pairs[start : start + size]
            out.append(Unit(f"{prefix}{arm}-{i:05d}", arm, mine, len(mine) * rows[arm] * plan.continuation_tokens))
    return sorted(out, key=lambda u: (u.pairs[-1], u.arm != "real", u.name))


def measure(
    predictor: Predictor,
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
    beside: Callable[[Unit, pa.Table], None] | None = None,
    units: Sequence[Unit] | None = None,
    on_text: Callable[[Finished], None] = lambda _: None,
) -> None:
    """Make every unit that the folder does not hold yet, or holds damaged: of `units`, or of all that the plan has.

    `encoder` gives vectors of texts, in place of the model's own states. `on_tokens` hears of tokens done, those found there
    included; `on_note` of parts made again, and of fewer rows at once where memory is short. `beside` is given every unit with its
    tokens just before it is recorded, while their ids are still known. `on_text` hears of every text, real or the model's own, as
    soon as it is whole.

    Raises:
        BackendError: the model fails, gives NaN, or has no memory for one row; the units before are kept.
        DataError: the folder cannot be written to.
    """
    most = sys.maxsize  # rows at once, as long as there is memory
    for unit in units_of(len(pairs), plan) if units is None else units:
        key = unit.key(plan_hash)
        if folder.done(unit.name, key):
            on_tokens(unit.n_tokens)
            continue
        if damage := folder.damage(unit.name, key):
            on_note(f"{folder.path}: {damage}; part {unit.name} is made again")
        on_phase({"real": "scoring real text", "free": "running free", "tempered": "control"}[unit.arm])
        block = [pairs[number] for number in unit.pairs]
        work = _Work(predictor, block, unit, plan, reference, encoder, on_phase, on_text, len(pairs))
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
        if beside is not None:
            beside(unit, tokens)
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

    predictor: Predictor
    block: Sequence[Pair]
    unit: Unit
    plan: MeasurePlan
    reference: Reference
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None
    on_phase: Callable[[str], None]
    on_text: Callable[[Finished], None]
    n_pairs: int
    """Of the whole run: which texts are scored again goes by it."""

    @property
    def replicates(self) -> int:
        return self.plan.continuations if self.unit.arm == "free" else 1

    @property
    def n_rows(self) -> int:
        return len(self.block) * self.replicates

    def tables(self, width: int, tell: Callable[[int], None]) -> tuple[pa.Table, pa.Table]:
        """The unit's tables, made of at most `width` rows at once."""
        finished: list[Finished] = []
        alone: list[Float[np.ndarray, " tokens"]] | None = None
        where, again = "", self._make_again  # what is being done, and how to do it again for some rows
        try:
            queued = self.unit.arm != "real" and width >= self.replicates
            for rows in slices(len(self.block), self.replicates, self.n_rows if queued else width):
                finished += self._made(rows, width, tell)
            if self.unit.arm == "real" and all(len(pair.prefix) for pair in self.block):
                self.on_phase("without its prefix")
                where, again, alone = " read without its prefix", self._read_again_alone, []
                for start in range(0, len(self.block), width):
                    alone += self._without_prefix(self.block[start : start + width])
        except BrokenLaw as error:
            raise self._located(error, where, again) from error
        self._check_numbers(finished, alone)
        finished = self._with_second_look(finished)
        return tables(self.predictor, self.block, finished, self.reference, alone, self.encoder, width)

    def _made(self, rows: Sequence[Row], width: int, tell: Callable[[int], None]) -> Iterator[Finished]:
        return self._score(rows, tell) if self.unit.arm == "real" else self._sample(rows, width, tell)

    def _score(self, chosen: Sequence[Row], tell: Callable[[int], None]) -> Iterator[Finished]:
        block = self.block
        firsts = np.array([len(block[i].context) for i, _ in chosen])
        texts = [np.concatenate([block[i].context, block[i].continuation]).astype(np.int64) for i, _ in chosen]
        chunks, pool = [], Pool(len(chosen))
        for scored in self.predictor.score(texts, first=int(firsts.min()), loop_rule=self.plan.loop_rule):
            chunk = scored.since(firsts)
            chunks.append(chunk)
            pool.add(chunk.row, chunk.hidden)
            tell(len(chunk.row))
        row, position = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("row", "position"))
        seen = Observation.concatenate([c.observation for c in chunks])
        for at, (i, _) in enumerate(chosen):
            mine = np.flatnonzero(row == at)
            mine = mine[np.argsort(position[mine], kind="stable")]
            sample = Sample(
                at, "end_of_text" if block[i].ended else "length", seen.take(mine), None, None, pool.mean(at)
            )
            text = Finished(self.unit.pairs[i] * self.plan.stride, i, "real", 0, 0, sample)
            self.on_text(text)
            yield text

    def _sample(self, chosen: Sequence[Row], at_once: int, tell: Callable[[int], None]) -> Iterator[Finished]:
        """Continuations of some (pair, replicate); where every pair has the same number of them, its prefix is read once."""
        plan, arm = self.plan, self.unit.arm
        if arm == "free":
            sampling, offset = plan.sampling, 1
        else:
            sampling, offset = SamplingRule.of(temperature=plan.control_temperature), 1 + plan.continuations
        starts = list(dict.fromkeys(i for i, _ in chosen))
        if [i for i in starts for _ in range(len(chosen) // len(starts))] != [i for i, _ in chosen]:
            starts = [i for i, _ in chosen]
        flat = [sequence_key(self.block[i].document_id, arm, j) for i, j in chosen]
        continuations = Continuations(
            [self.block[i].context.astype(np.int64) for i in starts],
            np.array(flat, dtype=np.uint64).reshape(len(starts), -1),
            plan.continuation_tokens,
            seed=plan.seed,
            sampling=sampling,
            loop_rule=plan.loop_rule,
            at_once=at_once,
        )
        written = []
        for s in self.predictor.generate(continuations, on_tokens=tell):
            i, j = chosen[s.row]
            written.append(Finished(self.unit.pairs[i] * plan.stride + offset + j, i, arm, j, flat[s.row], s))
            self.on_text(written[-1])
        yield from sorted(written, key=lambda text: text.sample.row)

    def _without_prefix(self, block: Sequence[Pair]) -> list[Float[np.ndarray, " tokens"]]:
        """ln q of the continuations with the context (exemplars apart) starting at the cut; NaN where no law is before a token."""
        texts = [np.concatenate([p.before, p.continuation]).astype(np.int64) for p in block]
        first = len(block[0].before) or (0 if self.predictor.has_first_law else 1)
        scored = self.predictor.log_probs(texts, first=first)
        return [
            np.concatenate([np.full(len(p.continuation) - len(s), np.nan), s])
            for p, s in zip(block, scored, strict=True)
        ]

    def _check_numbers(self, done: Sequence[Finished], alone: Sequence[Float[np.ndarray, " tokens"]] | None) -> None:
        """NaN is not a log-probability: only −inf is one, and it is recorded as null."""
        for d in done:
            if len(bad := np.flatnonzero(np.isnan(d.observation.log_prob_nats))):
                raise BackendError(_nan(f"{_place(self.block[d.pair], d.arm)}, {bad[0]} tokens after the cut"))
        for pair, scored in zip(self.block, alone or (), strict=False):
            if np.isnan(scored[1:]).any():
                raise BackendError(_nan(f"{_place(pair, 'real')} read without its prefix"))

    def _with_second_look(self, finished: Sequence[Finished]) -> list[Finished]:
        def again(rows: Sequence[Row], tell: Callable[[int], None]) -> None:
            self._score_again([d for d in finished if (d.pair, d.replicate) in rows])

        try:
            return self._score_again(finished)
        except BrokenLaw as error:
            raise self._located(error, " scored again by a fresh pass", again) from error

    def _score_again(self, finished: Sequence[Finished]) -> list[Finished]:
        """The sequences, those that the plan chooses with what a fresh pass says of them."""
        plan, again = self.plan, list(finished)
        if self.unit.arm == "free" and not self.predictor.capabilities.hidden_context:
            self.on_phase("scoring own text again")
            chosen = rescored_texts(
                self.n_pairs, plan.continuations, plan.continuation_tokens, rescored_tokens=plan.rescored_tokens
            )
            for n, d in enumerate(finished):
                if (self.unit.pairs[d.pair], d.replicate) in chosen:
                    fresh = score_again(self.predictor, self.block[d.pair], d.observation.token_id)
                    again[n] = replace(d, fresh=fresh)
        elif self.unit.arm == "real" and plan.rounded:
            self.on_phase("scoring some tokens again")
            places = floor_tokens(self.n_pairs, plan.continuation_tokens)
            for n, d in enumerate(finished):
                if at := places.get(self.unit.pairs[d.pair]):
                    again[n] = replace(d, fresh=score_tokens_again(self.predictor, self.block[d.pair], at))
        return again

    def _make_again(self, rows: Sequence[Row], tell: Callable[[int], None]) -> None:
        list(self._made(rows, len(rows), tell))

    def _read_again_alone(self, rows: Sequence[Row], tell: Callable[[int], None]) -> None:
        self._without_prefix([self.block[i] for i, _ in rows])

    def _located(self, error: BackendError, where: str, again: Attempt) -> BackendError:
        """The error with the document that it comes from, found by halving: `again` does for some rows what failed."""
        every = [(i, j) for i in range(len(self.block)) for j in range(self.replicates)]
        blame = blamed(every, again)
        if blame is None:
            return BackendError(f"{error} (while measuring {self.unit.name}; what was finished before is kept)")
        (i, _), position = blame
        return BackendError(
            f"{error}; first seen in {_place(self.block[i], self.unit.arm)}{where}"
            f"{'' if where else f', {position} tokens after the cut'}; what was finished before is kept"
        )


def _place(pair: Pair, arm: ArmName) -> str:
    words = {"real": "", "free": "its own continuation of ", "tempered": "the control's continuation of "}
    name = pair.document_id if len(pair.document_id) <= 80 else f"{pair.document_id[:79]}…"
    return f"{words[arm]}document {name!r}"


def _nan(where: str) -> str:
    return f"the model's law is NaN in {where}: the checkpoint or its number format is broken; what was finished before is kept"
