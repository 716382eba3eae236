"""From two models and texts to records: own text drawn, and every text scored by both.

Work is cut into units (an arm and a block of pairs), whose records depend on nothing but the plan.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from freerun.errors import BackendError, BrokenLaw
from freerun.jobs.distance.fitting import Description
from freerun.jobs.distance.models import Name
from freerun.jobs.distance.preparing import Prepared
from freerun.predictors.base import Continuations, Ids, Sample
from freerun.predictors.divergence import Divergence
from freerun.predictors.draws import sequence_key
from freerun.predictors.side_by_side import Apart, Reader, Shelf, score_again, score_both
from freerun.predictors.spool import Spool
from freerun.records.distance import OWN_ARMS, TWO_LAWS, Arm, DistancePlan, TextRow, write_texts
from freerun.records.failures import out_of_memory, without_memory
from freerun.records.store import RunFolder
from freerun.text.pairs import Pair

T = TypeVar("T")


@dataclass(frozen=True)
class Floor:
    """Which model's laws of which texts are computed again."""

    model: Name
    texts: Arm


FLOORS: dict[Arm, Floor] = {
    "floor_real": Floor("a", "real"),
    "floor_a": Floor("a", "a"),
    "floor_real_b": Floor("b", "real"),
    "floor_b": Floor("b", "b"),
}
SPOOL = ".laws"
"""Folder of laws on their way from one model to the other, inside the run's."""


@dataclass(frozen=True)
class Unit:
    """One part of the work: an arm over a block of pairs."""

    name: str
    arm: Arm
    start: int
    stop: int
    n_tokens: int

    @property
    def is_floor(self) -> bool:
        """Whether a model is held beside itself."""
        return self.arm in FLOORS

    def key(self, plan_hash: str) -> str:
        """What the unit's records hold, as one string."""
        return f"{plan_hash}/{self.name}/{self.start}-{self.stop}"


def units_of(plan: DistancePlan) -> list[Unit]:
    """All units, arms taking turns; the floor comes last."""
    out = []
    for arm in plan.arms:
        each = plan.continuations if arm in OWN_ARMS else 1
        size = max(1, plan.batch // each)
        for i, start in enumerate(range(0, plan.documents, size)):
            stop = min(start + size, plan.documents)
            out.append(Unit(f"{arm}-{i:05d}", arm, start, stop, (stop - start) * each * plan.tokens))
    out.sort(key=lambda u: (u.stop, u.arm != "real", u.name))
    return out + [Unit(arm, arm, 0, plan.floor_texts, plan.floor_texts * plan.tokens) for arm in floors_of(plan)]


def floors_of(plan: DistancePlan) -> list[Arm]:
    """What is computed twice."""
    if not plan.floor_texts:
        return []
    models = ("a",) if plan.plan_version < 2 else ("a", "b")
    return [arm for arm, floor in FLOORS.items() if floor.texts in plan.arms and floor.model in models]


def units_left(plan: DistancePlan, folder: RunFolder) -> list[Unit]:
    """What the folder does not hold yet."""
    return [u for u in units_of(plan) if not TWO_LAWS.holds(folder, u.name, u.key(plan.hash))]


@dataclass(frozen=True)
class Drawn:
    """A text that both models are to read: what stands in a record beside their laws."""

    pair: Pair
    ids: Ids
    replicate: int = 0
    key: int = 0
    ended: bool = False
    sample: Sample | None = None
    """Of own text."""


def measure(
    ready: Prepared,
    *,
    on_tokens: Callable[[int], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> None:
    """Make every unit that the folder does not hold yet, or holds damaged.

    Raises:
        BackendError: a model fails, gives NaN, or has no memory for one row; the units before are kept.
        DataError: the folder cannot be written to.
    """
    work = Work(ready, on_phase)
    left = units_left(ready.plan, ready.folder)
    on_tokens(sum(u.n_tokens for u in units_of(ready.plan)) - sum(u.n_tokens for u in left))
    if not ready.models.one_at_a_time:
        for unit in left:
            rows = work.floor(unit) if unit.is_floor else work.rows(unit, work.drawn(unit))
            work.write(unit, rows)
            on_tokens(unit.n_tokens)
        return
    _one_at_a_time(work, left, on_tokens)


def _one_at_a_time(work: Work, left: Sequence[Unit], on_tokens: Callable[[int], None]) -> None:
    """A writes, and its laws of real and of its own text go to disk; B reads these beside them, writes, and its laws go to disk; A
    reads B's text beside those. Laws go from the disk as soon as what they say is recorded."""
    folder = work.ready.folder.path / SPOOL
    texts: dict[Unit, list[Drawn]] = {}
    shelves: dict[Unit, Spool] = {}
    try:
        for name, mine in (("a", ("real", "a")), ("b", ("b",))):
            writer: Name
            reader: Name
            writer, reader = ("a", "b") if name == "a" else ("b", "a")
            for unit in (u for u in left if u.arm in mine):
                model = work.model(writer)
                texts[unit] = work.drawn(unit)
                ids = work.sequences(texts[unit], min(work.ready.a.n_tokens, work.ready.b.n_tokens))
                shelves[unit] = Spool(folder / f"{unit.name}.npy", model, ids, start=starts(texts[unit]))
                work.on_phase(f"laws of {name.upper()} to disk")
                shelves[unit].fill(model, ids)
            for unit in (u for u in left if u.is_floor and FLOORS[u.arm].model == writer):
                work.write(unit, work.floor(unit))
                on_tokens(unit.n_tokens)
            for unit in (u for u in left if u.arm in mine):
                shelf = shelves.pop(unit)
                sides: dict[Name, Reader | Shelf] = {writer: shelf, reader: work.model(reader)}
                work.write(unit, work.rows(unit, texts.pop(unit), sides["a"], sides["b"]))
                shelf.remove()
                on_tokens(unit.n_tokens)
    finally:
        for shelf in shelves.values():
            shelf.remove()
        remove_spool(work.ready)


def remove_spool(ready: Prepared) -> None:
    """Laws that a kill left behind, and their folder."""
    folder = ready.folder.path / SPOOL
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()


@dataclass(frozen=True)
class Work:
    """Everything that units are made of."""

    ready: Prepared
    on_phase: Callable[[str], None]

    def model(self, name: Name) -> Reader:
        return self.ready.models.get(name)

    # ---- texts -----------------------------------------------------------------------------------------------------

    def drawn(self, unit: Unit) -> list[Drawn]:
        """The unit's texts: the documents' own, or a model's."""
        block = self.ready.pairs[unit.start : unit.stop]
        if unit.arm == "real":
            return real_texts(block)
        writer: Name = "a" if unit.arm == "a" else "b"
        self.on_phase(f"{writer.upper()} writes")
        return self._enough_memory(unit, lambda width: list(self._write(writer, block, width)))

    def _write(self, name: Name, block: Sequence[Pair], at_once: int) -> Iterator[Drawn]:
        plan, model = self.ready.plan, self.model(name)
        keys = [[sequence_key(p.document_id, "distance", name, j) for j in range(plan.continuations)] for p in block]
        wanted = Continuations(
            [p.prefix.astype(np.int64) for p in block],
            np.array(keys, dtype=np.uint64),
            plan.tokens,
            seed=plan.seed,
            at_once=at_once,
        )
        for sample in sorted(model.generate(wanted), key=lambda s: s.row):
            i, j = divmod(sample.row, plan.continuations)
            if np.isnan(sample.observation.log_prob_nats).any():
                raise BrokenLaw("the law is NaN in its own text")
            ids = sample.observation.token_id.astype(np.int64)
            yield Drawn(block[i], ids, j, keys[i][j], sample.end_reason == "end_of_text", sample)

    def sequences(self, texts: Sequence[Drawn], n_tokens: int) -> list[Ids]:
        """Context and text, up to the first id that is none of so many: no law is known after it."""
        return [np.concatenate([t.pair.prefix.astype(np.int64), _upto_foreign(t.ids, n_tokens)]) for t in texts]

    # ---- laws ------------------------------------------------------------------------------------------------------

    def rows(
        self, unit: Unit, texts: Sequence[Drawn], a: Reader | Shelf | None = None, b: Reader | Shelf | None = None
    ) -> list[TextRow]:
        """The unit's texts as both models see them."""
        first, second = a or self.model("a"), b or self.model("b")
        self.on_phase({"real": "real text", "a": "A's text", "b": "B's text"}[unit.arm] + " by both")
        sequences = self.sequences(texts, min(first.n_tokens, second.n_tokens))
        at_first = starts(texts)

        def scored(width: int) -> list[tuple[Divergence, np.ndarray]]:
            if isinstance(first, Shelf) or isinstance(second, Shelf):
                width = len(sequences)  # a shelf knows the texts by their number
            out = []
            for at in range(0, len(sequences), width):
                some, here = sequences[at : at + width], at_first[at : at + width]
                out += collected(score_both(first, second, some, start=here), some, here)
            return out

        seen = self._enough_memory(unit, scored)
        arm = unit.arm
        return [row_of(arm, text, *_completed(text, arm, *one)) for text, one in zip(texts, seen, strict=True)]

    def floor(self, unit: Unit) -> list[TextRow]:
        """A model's laws of some texts beside its own, computed from each text alone."""
        floor = FLOORS[unit.arm]
        self.on_phase(f"{floor.model.upper()} against itself")
        model = self.model(floor.model)
        texts = real_texts(self.ready.pairs[: unit.stop]) if floor.texts == "real" else self._again(unit, floor.model)
        sequences, at_first = self.sequences(texts, model.n_tokens), starts(texts)
        seen = collected(score_again(model, sequences, start=at_first), sequences, at_first)
        return [row_of(unit.arm, text, *one) for text, one in zip(texts, seen, strict=True)]

    def _again(self, unit: Unit, writer: Name) -> list[Drawn]:
        """A model's own texts of the first documents, one each, drawn again: the draws depend on the plan alone."""
        block = self.ready.pairs[unit.start : unit.stop]
        return [t for t in self._write(writer, block, self.ready.plan.batch) if t.replicate == 0]

    # ---- records ---------------------------------------------------------------------------------------------------

    def write(self, unit: Unit, rows: Sequence[TextRow]) -> None:
        write_unit(self.ready.folder, self.ready.plan, unit, rows, self.ready.b)

    def _enough_memory(self, unit: Unit, make: Callable[[int], T]) -> T:
        """What `make` gives with as many rows at once as there is memory for."""
        width = self.ready.plan.batch
        while True:
            try:
                return make(width)
            except BrokenLaw as error:
                raise BackendError(
                    f"{error} (while measuring {unit.name}; what was finished before is kept)"
                ) from error
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if width == 1:
                    raise without_memory(unit.name, str(error)) from error
                width //= 2
                print(f"out of memory: going on with {width} rows at once", file=sys.stderr)


def write_unit(
    folder: RunFolder, plan: DistancePlan, unit: Unit, rows: Sequence[TextRow], speller: Description
) -> None:
    """Record a unit; `speller`: the model that has all ids.

    Raises:
        DataError: the folder cannot be written to.
    """
    meanings = speller.meanings

    def spell(token_id: int) -> bytes:
        known = meanings[token_id] if 0 <= token_id < len(meanings) else b""
        return known if isinstance(known, bytes) else b""

    write_texts(
        folder,
        unit.name,
        rows,
        unit_key=unit.key(plan.hash),
        plan_hash=plan.hash,
        spell=None if plan.redacted else spell,
    )


def real_texts(pairs: Sequence[Pair]) -> list[Drawn]:
    """The documents' own continuations."""
    return [Drawn(pair, pair.continuation.astype(np.int64), ended=pair.ended) for pair in pairs]


def starts(texts: Sequence[Drawn]) -> Int[np.ndarray, " texts"]:
    """Tokens before the first one that is compared."""
    return np.array([len(text.pair.prefix) for text in texts], np.int64)


def collected(
    parts: Iterator[Apart], sequences: Sequence[Ids], start: Int[np.ndarray, " texts"]
) -> list[tuple[Divergence, np.ndarray]]:
    """One divergence a text, with the mass on padding, from pieces in any order; what comes last holds."""
    table: dict[str, np.ndarray] = {}
    lengths = [len(ids) - int(at) for ids, at in zip(sequences, start, strict=True)]
    shape = (len(lengths), max(lengths, default=0))
    for part in parts:
        columns = {f.name: getattr(part.divergence, f.name) for f in fields(Divergence)}
        for name, values in (columns | {"padding_mass": part.padding_mass}).items():
            if name not in table:
                table[name] = np.zeros(shape, values.dtype)
            table[name][part.row, part.position - start[part.row]] = values
    rows = [{name: column[i, :n] for name, column in table.items()} for i, n in enumerate(lengths)]
    return [(Divergence(**row), padding) for row in rows for padding in [row.pop("padding_mass")]]


def _upto_foreign(ids: Ids, n_tokens: int) -> Ids:
    """The ids up to the first that is none of so many, itself included."""
    foreign = np.flatnonzero(ids >= n_tokens)
    return ids[: foreign[0] + 1] if foreign.size else ids


def _completed(text: Drawn, writer: str, seen: Divergence, padding: np.ndarray) -> tuple[Divergence, np.ndarray]:
    """The same for the whole of an own text that goes on after an id that the other model lacks: that model cannot write on, so its
    law has nothing in common with the writer's."""
    more = len(text.ids) - len(seen.token_id)
    if not more:
        return seen, padding
    assert text.sample is not None
    own = text.sample.observation.take(slice(len(seen.token_id), None))
    nowhere, unknown, far = np.full(more, -np.inf), np.full(more, np.nan), np.full(more, np.inf)
    laws = {"log": own.log_prob_nats, "entropy": own.entropy_nats, "top": own.top_id, "top_log": own.top_log_prob_nats}
    lacking = {"log": nowhere, "entropy": unknown, "top": np.full(more, -1), "top_log": unknown}
    p, q = (laws, lacking) if writer == "a" else (lacking, laws)
    rest = Divergence(
        token_id=own.token_id,
        log_p_nats=p["log"],
        log_q_nats=q["log"],
        kl_pq_nats=far,
        kl_qp_nats=far,
        tv=np.ones(more),
        entropy_p_nats=p["entropy"],
        entropy_q_nats=q["entropy"],
        top_p_id=p["top"],
        top_q_id=q["top"],
        top_log_p_nats=p["top_log"],
        top_log_q_nats=q["top_log"],
        added_mass=unknown,
    )
    return Divergence.concatenate([seen, rest]), np.concatenate([padding, unknown])


def row_of(arm: Arm, text: Drawn, seen: Divergence, padding: np.ndarray) -> TextRow:
    """A text as both models see it, on its way into the records."""
    drawn = None if text.sample is None else text.sample.observation.log_prob_nats
    return TextRow(
        arm,
        text.pair.document_id,
        text.pair.unit,
        text.replicate,
        text.key,
        text.ended,
        text.pair.prefix,
        seen,
        padding,
        drawn,
    )
