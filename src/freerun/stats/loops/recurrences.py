"""Lag runs of many texts at once, from the n-grams that stand twice within reach of each other.

A lag run of period p is a stretch of tokens that equal the token p before (`lag_runs` has the definition). Each of at least n
tokens holds an n-gram that stands p tokens earlier too; sorting the n-grams of many texts finds those of all periods at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt64

from freerun.errors import DataError
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.texts import Texts

_BLOCK = 1 << 20
"""Tokens of whole texts that are looked at together, so that memory stays bounded; a longer text is one block."""


@dataclass(frozen=True, eq=False)
class LagRuns:
    """Maximal lag runs [begin, end) of at least `least` tokens, by text, then period, then place among all ids."""

    text: Int[np.ndarray, " runs"]
    period: Int[np.ndarray, " runs"]
    begin: Int[np.ndarray, " runs"]
    end: Int[np.ndarray, " runs"]
    max_period: int
    least: int


def lag_runs(texts: Texts, *, max_period: int, least: int) -> LagRuns:
    """Return all lag runs of at least `least` tokens with a period of at most `max_period`, in texts and their prompts.

    Raises DataError for a least run or a longest period below 1.
    """
    if least < 1 or max_period < 1:
        raise DataError(f"least is {least} and max_period {max_period}; both are at least 1 token")
    parts = []
    for first, last in _blocks(texts.ends):
        begin = int(texts.starts[first])
        block = texts.ids[begin : int(texts.ends[last - 1])]
        text, period, at, end = _runs_of_block(block, texts.ends[first:last] - begin, max_period, least)
        parts.append(np.stack([text + first, period, at + begin, end + begin]))
    text, period, at, end = np.concatenate(parts, axis=1) if parts else np.zeros((4, 0), np.int64)
    return LagRuns(text, period, at, end, max_period=max_period, least=least)


def least_run(rule: LoopRule) -> int:
    """The shortest lag run that makes a loop of any period.

    >>> least_run(LoopRule()), least_run(LoopRule(copies=2, min_tokens=64, max_period=16))
    (16, 48)
    """
    return int(rule.threshold(np.arange(1, rule.max_period + 1)).min())


@dataclass(frozen=True, eq=False)
class FirstLoops:
    """Where the first loop of each text is complete, 0 at the first token after the prompt, and its period (the shortest then).

    −1: none.
    """

    token: Int[np.ndarray, " texts"]
    period: Int[np.ndarray, " texts"]


def first_loops(texts: Texts, runs: LagRuns, rule: LoopRule) -> FirstLoops:
    """Return the first token after each prompt at which a loop is complete; one that goes on from the prompt counts at once.

    Raises DataError for runs that leave out some that the rule needs.

    >>> texts = Texts.of([np.array([5, 6] * 20), np.arange(40)])
    >>> first_loops(texts, lag_runs(texts, max_period=512, least=16), LoopRule()).token.tolist()
    [23, -1]
    """
    text, period, complete, _ = complete_stretches(texts, runs, rule)
    return earliest(texts, text, period, complete)


def earliest(
    texts: Texts,
    text: Int[np.ndarray, " loops"],
    period: Int[np.ndarray, " loops"],
    complete: Int[np.ndarray, " loops"],
) -> FirstLoops:
    """The earliest of some loops in each text, the one of the shortest period among those complete at one token."""
    order = np.lexsort((period, complete, text))
    owners, first = np.unique(text[order], return_index=True)
    token, shortest = np.full((2, texts.n), -1, np.int64)
    token[owners] = complete[order][first] - texts.follows[owners]
    shortest[owners] = period[order][first]
    return FirstLoops(token, shortest)


def complete_stretches(
    texts: Texts, runs: LagRuns, rule: LoopRule
) -> tuple[Int[np.ndarray, " loops"], Int[np.ndarray, " loops"], Int[np.ndarray, " loops"], Int[np.ndarray, " loops"]]:
    """Text, period and [first, end) of every stretch of tokens after a prompt at each of which a loop of that period is complete.

    Raises as `first_loops` does.
    """
    if runs.max_period < rule.max_period or runs.least > least_run(rule):
        raise DataError(f"{rule} needs lag runs of period up to {rule.max_period} from {least_run(rule)} tokens on")
    complete = np.maximum(runs.begin + rule.threshold(runs.period) - 1, texts.follows[runs.text])
    kept = (complete < runs.end) & (runs.period <= rule.max_period)
    return runs.text[kept], runs.period[kept], complete[kept], runs.end[kept]


def complete_tokens(texts: Texts, runs: LagRuns, rule: LoopRule) -> Bool[np.ndarray, " tokens"]:
    """Return at which ids a loop is complete, never inside a prompt; raises as `first_loops` does."""
    _, _, first, end = complete_stretches(texts, runs, rule)
    size = texts.ids.size
    steps = np.bincount(first, minlength=size + 1) - np.bincount(end, minlength=size + 1)
    return np.asarray(np.cumsum(steps)[:size] > 0)


# ---- from n-grams to runs ----------------------------------------------------------------------------------------------


def _blocks(ends: Int[np.ndarray, " texts"]) -> Iterator[tuple[int, int]]:
    """[first, last) of consecutive texts of about `_BLOCK` ids together."""
    first = 0
    while first < ends.size:
        begin = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + _BLOCK, side="right")))
        yield first, last
        first = last


def _runs_of_block(
    ids: Int[np.ndarray, " tokens"], ends: Int[np.ndarray, " texts"], max_period: int, n: int
) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"], Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Text, period, begin and end of the runs of some texts.

    A sign of its own stands before each text and at the end, so that no run goes on from one text to the next.
    """
    n_texts = ends.size
    shift = np.repeat(np.arange(1, n_texts + 1), np.diff(ends, prepend=0))
    signed = np.full(ids.size + n_texts + 2, -1, np.int64)
    signed[np.arange(ids.size) + shift] = ids
    signs = np.concatenate([np.concatenate([[0], ends[:-1]]) + np.arange(n_texts), [ids.size + n_texts]])
    signed[signs] = -2 - np.arange(signs.size)
    owner = np.cumsum(signed < -1) - 1
    starts, lasts = _edges(signed, owner, max_period, n)
    period, begin = _sorted_pairs(signed, owner, *starts, n)
    same, last = _sorted_pairs(signed, owner, *lasts, n)
    assert np.array_equal(period, same)
    text = owner[begin]
    begin, end = begin - text - 1, last + n - text - 1
    order = np.lexsort((begin, period, text))
    return text[order], period[order], begin[order], end[order]


_Pairs = tuple[Int[np.ndarray, " _pairs"], Int[np.ndarray, " _pairs"]]


def _edges(
    signed: Int[np.ndarray, " tokens"], owner: Int[np.ndarray, " tokens"], max_period: int, n: int
) -> tuple[_Pairs, _Pairs]:
    """(period, place) of pairs of equal n-grams whose tokens before differ, and of those whose tokens after differ."""
    size = max(signed.size - n, 0)
    bits = np.uint64(size.bit_length())
    code = _ngram_hashes(signed, n)[:size] + owner[:size].astype(np.uint64) * np.uint64(0x94D049BB133111EB)
    keys = ((code ^ (code >> np.uint64(31))) << bits) | np.arange(size, dtype=np.uint64)
    keys.sort()
    place = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    code = keys >> bits
    starts: list[Int[np.ndarray, "2 _pairs"]] = []
    lasts: list[Int[np.ndarray, "2 _pairs"]] = []
    alive, k = np.flatnonzero(code[1:] == code[:-1]), 1
    while alive.size:
        early, late = place[alive], place[alive + k]
        near = late - early <= max_period
        alive, early, late = alive[near], early[near], late[near]
        for kept, differ in (
            (starts, signed[early - 1] != signed[late - 1]),
            (lasts, signed[early + n] != signed[late + n]),
        ):
            kept.append(np.stack([(late - early)[differ], late[differ]]))
        k += 1
        alive = alive[alive + k < size]
        alive = alive[code[alive + k] == code[alive]]
    none = np.zeros((2, 0), np.int64)
    first, last = (np.concatenate([none, *found], axis=1) for found in (starts, lasts))
    return (first[0], first[1]), (last[0], last[1])


def _sorted_pairs(
    signed: Int[np.ndarray, " tokens"],
    owner: Int[np.ndarray, " tokens"],
    period: Int[np.ndarray, " pairs"],
    late: Int[np.ndarray, " pairs"],
    n: int,
) -> _Pairs:
    """Pairs of one text whose n-grams are equal, and not only their hashes, by period, then place."""
    within = owner[late] == owner[late - period]
    period, late = period[within], late[within]
    for j in range(n):
        same = signed[late + j] == signed[late + j - period]
        period, late = period[same], late[same]
    order = np.lexsort((late, period))
    return period[order], late[order]


def _ngram_hashes(ids: Int[np.ndarray, " tokens"], n: int) -> UInt64[np.ndarray, " ngrams"]:
    """A hash of the n-gram that begins at each token, put together from those of halves."""
    if ids.size < n:
        return np.zeros(0, np.uint64)
    if n == 1:
        code = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    else:
        half = n // 2
        left, right = _ngram_hashes(ids, half), _ngram_hashes(ids, n - half)
        code = left[: ids.size - n + 1] * np.uint64(0xBF58476D1CE4E5B9) + right[half : half + ids.size - n + 1]
    code ^= code >> np.uint64(29)
    return np.asarray(code)
