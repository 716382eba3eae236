"""All repetition of many texts in one pass: loops, near-loops, lists that only count, and where stop rules end the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import Interval
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.near_loops import NearRule, first_near_loops
from freerun.stats.loops.recurrences import FirstLoops, complete_tokens, first_loops, lag_runs, least_run
from freerun.stats.loops.stop_rules import StopRule, Stops, apply_stop_rule
from freerun.stats.loops.survival import CENSORED, END_OF_TEXT, LOOP, CumulativeIncidence, cumulative_incidence
from freerun.stats.loops.texts import Texts, without_numbers
from freerun.stats.loops.traps import Traps, count_traps, escape_per_token
from freerun.stats.proportions import clustered_proportion

_MOST_TIMES = 256


@dataclass(frozen=True, eq=False)
class Repetitions:
    """What repeats in many texts.

    `near` holds loops too, and so does `counting`: loops once every number is one sign (None where numbers are not known).
    `complete`: at which ids a loop is complete.
    """

    texts: Texts
    loop: FirstLoops
    near: FirstLoops
    counting: FirstLoops | None
    complete: Bool[np.ndarray, " tokens"]
    stops: tuple[Stops, ...]


def find_repetitions(texts: Texts, near: NearRule, stop_rules: Sequence[StopRule] = ()) -> Repetitions:
    """Find all of it; every rule reads the same lag runs.

    Raises DataError for a stop rule that no loop meets.
    """
    rules = [rule.loop_rule for rule in stop_rules]
    period = max(near.rule.max_period, *(rule.max_period for rule in rules), 1)
    runs = lag_runs(texts, max_period=period, least=min([near.least_run, *map(least_run, rules)]))
    loop = first_loops(texts, runs, near.rule)
    return Repetitions(
        texts=texts,
        loop=loop,
        near=first_near_loops(texts, runs, near),
        counting=None if texts.numbers is None else _counting(texts, near.rule, loop),
        complete=complete_tokens(texts, runs, near.rule),
        stops=tuple(apply_stop_rule(texts, runs, rule) for rule in rules),
    )


def _counting(texts: Texts, rule: LoopRule, loop: FirstLoops) -> FirstLoops:
    """The earlier of the first loop and the first one once numbers are one sign."""
    unnumbered = without_numbers(texts)
    inner = unnumbered.texts
    found = first_loops(inner, lag_runs(inner, max_period=rule.max_period, least=least_run(rule)), rule)
    place = unnumbered.place[np.where(found.token >= 0, inner.follows + found.token, 0)] - texts.follows
    sooner = (found.token >= 0) & ((loop.token < 0) | (place < loop.token))
    return FirstLoops(np.where(sooner, place, loop.token), np.where(sooner, found.period, loop.period))


def time_to(
    texts: Texts, first: FirstLoops, *, up_to: int | None = None
) -> tuple[Int[np.ndarray, " texts"], Int[np.ndarray, " texts"]]:
    """Tokens until the first loop, the end of the text or the cut, and which it was; nobody is followed beyond `up_to` tokens."""
    looped = first.token >= 0
    time = np.where(looped, first.token + 1, texts.lengths)
    cause = np.where(looped, LOOP, np.where(texts.ended, END_OF_TEXT, CENSORED))
    if up_to is not None:
        cause = np.where(time > up_to, CENSORED, cause)
        time = np.minimum(time, up_to)
    return time.astype(np.int64), cause.astype(np.int64)


def incidence(
    texts: Texts, first: FirstLoops, *, event: int = LOOP, up_to: int | None = None, every: bool = False
) -> CumulativeIncidence | None:
    """The share of texts with a first loop by token, end of text competing; None for fewer than two groups.

    At no more than 256 times, spread evenly, and always at the last one; `every`: at the last one alone.
    """
    time, cause = time_to(texts, first, up_to=up_to)
    last = int(time.max(initial=1))
    at = np.unique(np.linspace(1, last, min(last, _MOST_TIMES)).round().astype(np.int64)) if every else np.array([last])
    try:
        return cumulative_incidence(time, cause, groups=texts.groups, event=event, at=at)
    except TooFewDocuments:
        return None


@dataclass(frozen=True)
class TrapsOfTexts:
    """How often loops begin, per token outside one, and how often a token leaves one; None: fewer than two groups can tell."""

    traps: Traps
    begun: Interval | None
    escape: Interval | None


def read_traps(found: Repetitions) -> TrapsOfTexts:
    """Count every loop of every text, not the first alone."""
    texts = found.texts
    looping = np.zeros(texts.n, bool)
    looping[found.loop.token >= 0] = True
    rows = np.flatnonzero(looping)
    complete = [found.complete[texts.follows[i] : texts.ends[i]] for i in rows.tolist()]
    sizes = texts.lengths[rows]
    columns = (
        np.concatenate(complete) if complete else np.zeros(0, bool),
        np.repeat(rows, sizes),
        np.repeat(texts.groups[rows], sizes),
    )
    traps = count_traps(*columns)
    owner, inside = columns[1], np.zeros(columns[0].size, bool)
    inside[1:] = columns[0][:-1] & (owner[1:] == owner[:-1])
    entered = np.bincount(owner[columns[0] & ~inside], minlength=texts.n)
    outside = texts.lengths - np.bincount(owner[inside], minlength=texts.n)
    return TrapsOfTexts(traps, _proportion(entered, outside, texts.groups), _escape(*columns))


def _proportion(
    events: Int[np.ndarray, " texts"], trials: Int[np.ndarray, " texts"], groups: Int[np.ndarray, " texts"]
) -> Interval | None:
    try:
        return clustered_proportion(events, trials, groups)
    except TooFewDocuments:
        return None


def _escape(
    complete: Bool[np.ndarray, " tokens"], sequences: Int[np.ndarray, " tokens"], groups: Int[np.ndarray, " tokens"]
) -> Interval | None:
    try:
        return escape_per_token(complete, sequences, groups)
    except TooFewDocuments:
        return None
