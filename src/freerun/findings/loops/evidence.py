"""Loops in the records: where each text is in one, how the arms differ, what stood around the first ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence
from freerun.findings.special_tokens import shown_text
from freerun.records.schema import ArmName
from freerun.stats.intervals import Interval
from freerun.stats.loops.lag_runs import LoopRule, holtzman_repetition, loop_at, loop_complete, may_loop
from freerun.stats.loops.logrank import LogRank, stratified_log_rank
from freerun.stats.loops.survival import (
    CENSORED,
    END_OF_TEXT,
    LOOP,
    CumulativeIncidence,
    HazardCurve,
    cumulative_incidence,
    hazard_by_position,
    hazard_per_token,
)
from freerun.stats.loops.traps import Traps, count_traps, escape_per_token
from freerun.stats.proportions import clustered_proportion


@dataclass(frozen=True)
class LoopEvidence:
    """Every text of a run, and at which of its tokens a loop is complete."""

    evidence: Evidence
    rule: LoopRule

    @property
    def own_law(self) -> bool:
        """Whether the free text was sampled from the law whose masses are recorded."""
        return self.evidence.plan.sampling.is_model_law

    @property
    def deterministic(self) -> bool:
        """Whether the rule of sampling leaves no chance, so that all continuations of a prefix are one text."""
        return self.evidence.plan.sampling.is_deterministic

    @cached_property
    def complete(self) -> Bool[np.ndarray, " tokens"]:
        starts = self.evidence.records.starts
        out = np.zeros(int(starts[-1]), bool)
        for i in np.flatnonzero(self._possible):
            out[starts[i] : starts[i + 1]] = loop_complete(self.ids(int(i)), self.rule, start=self.n_prefix(int(i)))
        return out

    @property
    def _possible(self) -> Bool[np.ndarray, " sequences"]:
        """Which texts, prefix included, can hold a loop at all; blocks of texts keep the memory bounded."""
        blocks = []
        for at in range(0, self.n, 4096):
            texts = [self.ids(i) for i in range(at, min(at + 4096, self.n))]
            blocks.append(may_loop(np.concatenate(texts), np.cumsum([len(t) for t in texts]), self.rule))
        return np.concatenate(blocks) if blocks else np.zeros(0, bool)

    @cached_property
    def onset(self) -> Int[np.ndarray, " sequences"]:
        """0-based position of the first completed loop, −1 where there is none."""
        starts = self.evidence.records.starts
        out = np.full(self.n, -1, np.int64)
        hits = np.flatnonzero(self.complete)
        owner = self.evidence.token_sequence[hits]
        found, first = np.unique(owner, return_index=True)
        out[found] = hits[first] - starts[found]
        return out

    @property
    def n(self) -> int:
        return self.evidence.records.n_sequences

    def n_prefix(self, i: int) -> int:
        return len(self.evidence.local_ids("prefix_ids")[i])

    def ids(self, i: int) -> Int[np.ndarray, " tokens"]:
        """Prefix and continuation of sequence i."""
        prefix = np.asarray(self.evidence.local_ids("prefix_ids")[i], np.int64)
        ids = self.evidence.local_ids("token_id")[self.evidence.records.rows(i)]
        return np.concatenate([prefix, ids.astype(np.int64)])

    def times(self, rows: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Tokens until the first loop, the end of the text or the cap, and which of them it was."""
        lengths = np.diff(self.evidence.records.starts)[rows]
        ended = self.evidence.records.sequences["end_reason"][rows] == "end_of_text"
        looped = self.onset[rows] >= 0
        time = np.where(looped, self.onset[rows] + 1, lengths)
        cause = np.where(looped, LOOP, np.where(ended, END_OF_TEXT, CENSORED))
        return time.astype(np.int64), cause.astype(np.int64)

    def rows(self, arm: ArmName, replicate: int | None = None) -> Int[np.ndarray, " n"]:
        """Sequences of an arm that hold a token; one a document where more would be the same text again."""
        wanted = {"arm": arm} if replicate is None else {"arm": arm, "replicate": replicate}
        rows = self.evidence.records.chosen(**wanted)
        if arm == "free" and self.deterministic:
            rows = rows[self.evidence.records.sequences["replicate"][rows] == 0]
        return np.asarray(rows[np.diff(self.evidence.records.starts)[rows] > 0])

    def documents(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The prefix that each was given, as a number."""
        names = self.evidence.records.sequences["document_id"].astype(str)
        return np.asarray(np.unique(names, return_inverse=True)[1][rows])


@dataclass(frozen=True)
class Arm:
    """One kind of text. Masses are known only where the text was sampled from the law that has them."""

    name: ArmName
    loop: CumulativeIncidence
    end: CumulativeIncidence
    hazard: Interval
    hazard_by_mass: Interval | None
    curve: HazardCurve
    curve_by_mass: HazardCurve | None
    traps: Traps
    escape: Interval | None
    escape_by_mass: Interval | None
    n_holtzman: int
    holtzman: Interval


def loop_evidence(evidence: Evidence) -> LoopEvidence:
    """The loops of a run by the rule of its plan; ask for it by `evidence.once`."""
    return LoopEvidence(evidence, evidence.plan.loop_rule)


def read_arm(found: LoopEvidence, arm: ArmName, edges: Int[np.ndarray, " edges"]) -> Arm | None:
    """All that is counted on one kind of text; None where there is none of it.

    Raises:
        TooFewDocuments: fewer than two.
    """
    evidence, rows = found.evidence, found.rows(arm)
    if not rows.size:
        return None
    time, cause = found.times(rows)
    groups = evidence.units[rows]
    mass = _mass_table(found, rows) if arm == "free" and found.own_law and evidence.whole_laws else None
    mine = np.isin(evidence.token_sequence, rows)
    columns = found.complete[mine], evidence.token_sequence[mine], evidence.units[evidence.token_sequence[mine]]
    repeats = np.array([holtzman_repetition(_spoken(found, i)) is not None for i in rows.tolist()])
    by_mass = curve_by_mass = None
    if mass is not None:
        risky = np.where(np.arange(mass.shape[1])[None, :] < time[:, None], mass, 0.0)
        by_mass = clustered_proportion(risky.sum(axis=1), time, groups, masses=True)
        curve_by_mass = hazard_by_position(time, cause, edges=edges, mass=mass, groups=groups)
    loop_mass = evidence.records.tokens["loop_mass"].astype(np.float64)[mine] if mass is not None else None
    return Arm(
        name=arm,
        loop=cumulative_incidence(time, cause, groups=groups, event=LOOP),
        end=cumulative_incidence(time, cause, groups=groups, event=END_OF_TEXT),
        hazard=hazard_per_token(time, cause, groups=groups),
        hazard_by_mass=by_mass,
        curve=hazard_by_position(time, cause, edges=edges, groups=groups),
        curve_by_mass=curve_by_mass,
        traps=count_traps(*columns),
        escape=_escape(*columns, None),
        escape_by_mass=None if loop_mass is None else _escape(*columns, loop_mass),
        n_holtzman=int(repeats.sum()),
        holtzman=clustered_proportion(repeats, np.ones(rows.size), groups),
    )


def compare_hazards(
    found: LoopEvidence, first: tuple[ArmName, int | None], second: tuple[ArmName, int | None]
) -> LogRank | None:
    """The stratified log-rank test of two kinds of text, each an arm and a replicate (None: all); strata are documents."""
    a, b = found.rows(*first), found.rows(*second)
    if not a.size or not b.size:
        return None
    rows = np.concatenate([a, b])
    time, cause = found.times(rows)
    return stratified_log_rank(time, cause, np.arange(rows.size) < a.size, found.documents(rows))


def counts_by_document(found: LoopEvidence, arm: ArmName) -> tuple[int, int]:
    """Texts that loop and texts, one text an independent unit: the first continuation of its first document."""
    rows = found.rows(arm, 0)
    rows = rows[np.unique(found.evidence.units[rows], return_index=True)[1]]
    return int((found.onset[rows] >= 0).sum()), rows.size


@dataclass(frozen=True)
class Onset:
    """A first loop: after how many tokens it was complete, the phrase (None and no ids where text is redacted), and how it went on."""

    arm: ArmName
    document: str
    token: int
    period: int
    copies: int
    lasted_tokens: int
    left: bool
    phrase: str | None
    phrase_ids: tuple[int, ...]


def first_onsets(found: LoopEvidence, arm: ArmName, n: int) -> list[Onset]:
    """The n earliest first loops of an arm."""
    rows = found.rows(arm)
    rows = rows[found.onset[rows] >= 0]
    return [_onset(found, arm, int(i)) for i in rows[np.argsort(found.onset[rows], kind="stable")][:n]]


def _onset(found: LoopEvidence, arm: ArmName, i: int) -> Onset:
    records = found.evidence.records
    complete = found.complete[records.rows(i)]
    begin = int(found.onset[i])
    stops = np.flatnonzero(~complete[begin:])
    end = begin + int(stops[0]) if stops.size else complete.size
    n_prefix, ids = found.n_prefix(i), found.ids(i)
    there = loop_at(ids[: n_prefix + begin + 1], found.rule)
    last = loop_at(ids[: n_prefix + end], found.rule)
    assert there is not None
    assert last is not None
    copies = last.copies if last.period == there.period else there.copies
    first, readable = begin + 1 - there.period, found.evidence.has_text
    return Onset(
        arm=arm,
        document=str(records.sequences["document_id"][i]),
        token=begin + 1,
        period=there.period,
        copies=copies,
        lasted_tokens=end - begin,
        left=bool(stops.size),
        phrase=shown_text(found.evidence, i, start=max(first, 0), stop=begin + 1) if readable else None,
        phrase_ids=tuple(ids[n_prefix + first : n_prefix + begin + 1].tolist()) if readable else (),
    )


def _spoken(found: LoopEvidence, i: int) -> Int[np.ndarray, " tokens"]:
    """The continuation alone, without its end of text."""
    records = found.evidence.records
    ids = found.evidence.local_ids("token_id")[records.rows(i)]
    return np.asarray(ids[:-1] if records.sequences["end_reason"][i] == "end_of_text" else ids)


def _mass_table(found: LoopEvidence, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n tokens"]:
    """Mass on loop-completing tokens by position, 0 beyond a text's end."""
    records = found.evidence.records
    out = np.zeros((rows.size, int(np.diff(records.starts)[rows].max())))
    for k, i in enumerate(rows.tolist()):
        mine = records.tokens["loop_mass"][records.rows(i)]
        out[k, : mine.size] = np.minimum(mine, 1.0)
    return out


def _escape(
    complete: Bool[np.ndarray, " tokens"],
    sequences: Int[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    loop_mass: Float[np.ndarray, " tokens"] | None,
) -> Interval | None:
    try:
        return escape_per_token(complete, sequences, groups, loop_mass=loop_mass)
    except TooFewDocuments:
        return None
