"""What a worker knows of its requests: it draws their tokens, observes the law of each, and keeps that by request and place.

The last entry of a place holds. vLLM shows rows of prompts that it has read in part, computes places again after a preemption, and
may run one step past a request's end; none of that can reach what is taken.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BrokenLaw
from freerun.predictors.base import Ids
from freerun.predictors.draws import uniforms
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import Observation, host
from freerun.predictors.reshaped import Said
from freerun.predictors.rules import SamplingRule
from freerun.predictors.stepwise import pad_watched
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.watching import LoopWatch, Place
from freerun.stats.loops.lag_runs import LoopRule

_COLUMNS = tuple(f.name for f in fields(Observation))
_NOTHING = np.zeros(0, np.int64)


@dataclass
class _Entry:
    """One request. `seen`: by place, an observation of many rows and the row in it."""

    order: Order
    seen: dict[int, tuple[Observation, int]] = field(default_factory=dict)
    sampled_log_prob: dict[int, float] = field(default_factory=dict)
    """Under the sampled law, where that is not the model's own."""
    logits: dict[int, Float[np.ndarray, " vocabulary"]] = field(default_factory=dict)
    failure: str = ""

    @cached_property
    def draws(self) -> Float[np.ndarray, " new"]:
        order = self.order
        return uniforms(order.seed, order.key, order.first_draw + order.n_new)[order.first_draw :]

    def watched(self, place: int) -> Ids:
        """Ids whose mass is wanted at a given place."""
        at = place - self.order.watched_from
        return self.order.watched[at] if 0 <= at < len(self.order.watched) else _NOTHING

    def given(self, place: int) -> int:
        """The id that must stand at a place; −1 where it is drawn."""
        return int(self.order.ids[place]) if place < len(self.order.ids) else -1

    def written(self, place: int) -> Ids:
        """What was written before a place."""
        return np.array([self.token(i) for i in range(self.order.n_prompt, place)], np.int64)

    def token(self, place: int) -> int:
        seen, row = self.seen[place]
        return int(seen.token_id[row])


class Ledger:
    """All requests of one worker."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._watches: dict[LoopRule, LoopWatch] = {}
        self.observes = False
        """Whether it was ever shown logits: a worker that has another stage of a pipeline is not."""

    def enter(self, order: Order) -> None:
        """A request begins, or comes back after it was preempted: then what is known of it stays."""
        self._entries.setdefault(order.serial, _Entry(order))

    def forget(self, serials: Sequence[int]) -> None:
        for serial in serials:
            self._entries.pop(serial, None)

    def is_open(self, place: Place | None) -> bool:
        """Whether a token is wanted at a place."""
        entry = None if place is None else self._entries.get(place[0])
        return entry is not None and place is not None and place[1] < entry.order.stop

    # ---- observing -------------------------------------------------------------------------------------------------

    def observe(self, logits: Any, places: Sequence[Place]) -> Int[np.ndarray, " rows"]:
        """Draw or take the token of every place, record what the law says of it, and return the tokens.

        Row i of `logits` (any library, any device) is the law before `places[i]`, which is open. A request with a broken law gets
        token 0 from there on, and its failure is reported when it is taken.
        """
        self.observes = True
        entries = [self._entries[serial] for serial, _ in places]
        law = Dense(logits)
        try:
            seen, sampled = self._observed(law, entries, places)
        except BrokenLaw as error:
            if len(places) == 1:
                entries[0].failure = entries[0].failure or str(error)
                return np.zeros(1, np.int64)
            return np.concatenate([self.observe(logits[i : i + 1], places[i : i + 1]) for i in range(len(places))])
        for i, (entry, (_, place)) in enumerate(zip(entries, places, strict=True)):
            entry.seen[place] = (seen, i)
            if i in sampled:
                entry.sampled_log_prob[place] = sampled[i]
            if entry.order.keep_from is not None and place >= entry.order.keep_from:
                row = logits[i]
                entry.logits[place] = np.array(host(row.float() if hasattr(row, "float") else row), np.float32)
        return seen.token_id.astype(np.int64)

    def _observed(
        self, law: Law, entries: Sequence[_Entry], places: Sequence[Place]
    ) -> tuple[Observation, dict[int, float]]:
        ids = np.array([e.given(at) for e, (_, at) in zip(entries, places, strict=True)], np.int64)
        drawn: list[int] = np.flatnonzero(ids < 0).tolist()
        u = np.zeros(len(ids))
        u[drawn] = [entries[i].draws[places[i][1] - entries[i].order.n_prompt] for i in drawn]
        watched = self._watched(entries, places, drawn)
        sampled: dict[int, float] = {}
        for rule, rows in _by_rule(entries, drawn).items():
            contexts = [self._said(entries[i], places[i][1]) for i in rows] if rule.penalties else []
            ids[rows], log_probs = rule.apply(law.take(rows), contexts).draw(u[rows])
            sampled |= dict(zip(rows.tolist(), log_probs.tolist(), strict=True))
        seen = law.observe(ids if len(drawn) < len(ids) or sampled else None, u, pad_watched(watched))
        for rule_of_loops, watch in self._watches.items():
            mine = [i for i in drawn if entries[i].order.loop_rule == rule_of_loops]
            if mine:
                watch.push(seen.token_id[mine].astype(np.int64))
        return seen, sampled

    @staticmethod
    def _said(entry: _Entry, place: int) -> Said:
        return Said(entry.order.text_before(np.zeros(0, np.int64)), entry.written(place))

    def _watched(
        self, entries: Sequence[_Entry], places: Sequence[Place], drawn: Sequence[int]
    ) -> list[Int[np.ndarray, " k"]]:
        out = [_NOTHING] * len(places)
        companies: dict[LoopRule, list[int]] = defaultdict(list)
        is_drawn = set(drawn)
        for i, (entry, (_, at)) in enumerate(zip(entries, places, strict=True)):
            if i not in is_drawn:
                out[i] = entry.watched(at)
            elif entry.order.loop_rule is not None:
                companies[entry.order.loop_rule].append(i)
        for rule, rows in companies.items():
            watch = self._watches.setdefault(rule, LoopWatch(rule))
            found = watch.completing([places[i] for i in rows], self._text_before)
            for i, ids in zip(rows, found, strict=True):
                out[i] = ids
        return out

    def _text_before(self, place: Place) -> Ids:
        entry = self._entries[place[0]]
        return entry.order.text_before(entry.written(place[1]))

    # ---- handing over ------------------------------------------------------------------------------------------------

    def take(self, spans: Sequence[tuple[int, int, int]]) -> bytes:
        """What is known of (serial, first place, one past the last), one after another; the requests are forgotten.

        A request without an observation at one of the places, or with a broken law, has its failure in `failures`.
        """
        cells: list[tuple[Observation, int]] = []
        sampled: list[float] = []
        logits: list[Float[np.ndarray, " vocabulary"]] = []
        failures: dict[str, str] = {}
        for serial, first, stop in spans:
            entry = self._entries.pop(serial, None)
            missing = [at for at in range(first, stop) if entry is None or at not in entry.seen]
            if entry is None or missing or entry.failure:
                why = f"no logits were shown before {len(missing)} of {stop - first} tokens"
                failures[str(serial)] = entry.failure if entry is not None and entry.failure else why
                continue
            cells += [entry.seen[at] for at in range(first, stop)]
            sampled += [entry.sampled_log_prob.get(at, np.nan) for at in range(first, stop)]
            logits += [entry.logits[at] for at in range(first, stop) if at in entry.logits]
        held: dict[str, Any] = {}
        if cells:
            held = {n: np.array([getattr(seen, n)[row] for seen, row in cells]) for n in _COLUMNS}
        held["failures"] = np.frombuffer(json.dumps(failures).encode(), np.uint8)
        held["sampled"] = np.array(sampled)
        held["logits"] = np.stack(logits) if logits else np.zeros((0, 0), np.float32)
        out = io.BytesIO()
        np.savez(out, **held)
        return out.getvalue()


@dataclass(frozen=True, eq=False)
class Harvest:
    """What `Ledger.take` handed over, on the other side."""

    failures: dict[int, str]
    observation: Observation | None
    """All tokens of all requests that did not fail, in the order in which they were asked for."""
    sampled_log_prob_nats: Float[np.ndarray, " tokens"]
    logits: Float[np.ndarray, "kept vocabulary"]

    @staticmethod
    def of(packed: bytes) -> Harvest:
        with np.load(io.BytesIO(packed), allow_pickle=False) as held:
            failures = {int(k): str(v) for k, v in json.loads(held["failures"].tobytes()).items()}
            columns = {name: held[name] for name in _COLUMNS if name in held}
            return Harvest(failures, Observation(**columns) if columns else None, held["sampled"], held["logits"])


def _by_rule(entries: Sequence[_Entry], drawn: Sequence[int]) -> dict[SamplingRule, Int[np.ndarray, " rows"]]:
    """Rows whose token is drawn from another law than the model's own."""
    rows: dict[SamplingRule, list[int]] = defaultdict(list)
    for i in drawn:
        if not entries[i].order.sampling.is_model_law:
            rows[entries[i].order.sampling].append(i)
    return {rule: np.array(r, np.int64) for rule, r in rows.items()}


# ---- one ledger a worker ---------------------------------------------------------------------------------------------

_LEDGERS: WeakValueDictionary[str, Ledger] = WeakValueDictionary()


def ledger_of(vllm_config: Any) -> Ledger:
    """The ledger that a worker's logits processor and its extension share; it lives as long as the processor."""
    name = str(vllm_config.instance_id)
    ledger = _LEDGERS.get(name)
    if ledger is None:
        ledger = _LEDGERS[name] = Ledger()
    return ledger
