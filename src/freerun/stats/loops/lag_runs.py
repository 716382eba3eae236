"""Repetition traps: when a text has begun to repeat itself, by lag runs (Holtzman et al. 2020).

A lag run of period p is r_p(t) = r_p(t-1) + 1 if x_t = x_{t-p}, else 0. A loop is complete at token t if for some
period the last `copies` copies of a phrase, and at least `min_tokens` tokens, end at t.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Bool, Int

from freerun.errors import DataError
from freerun.stats.ngrams import ngram_codes

HOLTZMAN_MAX_PERIOD, HOLTZMAN_MIN_PERIOD, HOLTZMAN_MANY_COPIES = 90, 3, 50


@dataclass(frozen=True)
class Repetition:
    """A phrase of `period` tokens that stands `copies` times in a row."""

    period: int
    copies: int


@dataclass(frozen=True)
class LoopRule:
    """What counts as a loop: at least `copies` copies of a phrase of at most `max_period` tokens, `min_tokens` in all.

    >>> LoopRule().threshold(1), LoopRule().threshold(20)
    (23, 40)
    """

    copies: int = 3
    min_tokens: int = 24
    max_period: int = 512

    def __post_init__(self) -> None:
        if self.copies < 2:
            raise DataError(f"copies is {self.copies}; a loop needs at least 2 copies of a phrase")
        if self.max_period < 1:
            raise DataError(f"max_period is {self.max_period}; the shortest period is 1 token")

    @overload
    def threshold(self, period: int) -> int: ...
    @overload
    def threshold(self, period: Int[np.ndarray, " periods"]) -> Int[np.ndarray, " periods"]: ...
    def threshold(self, period: int | Int[np.ndarray, " periods"]) -> int | Int[np.ndarray, " periods"]:
        """Return the lag run, in tokens, that makes a loop of this period: max((copies-1)*p, min_tokens-p)."""
        if isinstance(period, np.ndarray):
            return np.asarray(np.maximum((self.copies - 1) * period, self.min_tokens - period))
        return max((self.copies - 1) * period, self.min_tokens - period)

    def watched(self, ids: Int[np.ndarray, " tokens"], *, start: int) -> list[Int[np.ndarray, " _ids"]]:
        """The ids to watch at each position from `start` on: those that would complete a loop there."""
        return completing_ids(ids, start=start, rule=self)


def first_loop(ids: Int[np.ndarray, " tokens"], rule: LoopRule, *, start: int = 0) -> int | None:
    """Return the index of the first token at or after `start` at which a loop is complete, or None if there is none.

    Tokens before `start` count as history: a loop that began there and goes on is complete at `start`.

    Raises DataError for ids that are not a one-dimensional array of non-negative integers.

    >>> first_loop(np.array([5, 6] * 20), LoopRule())
    23
    """
    found: int | None = None
    for period, begins, ends in _long_runs(checked_ids(ids), rule, slack=0):
        complete = np.maximum(begins + rule.threshold(period) - 1, start)
        complete = complete[complete < ends]
        if complete.size and (found is None or complete[0] < found):
            found = int(complete[0])
    return found


def loop_complete(ids: Int[np.ndarray, " tokens"], rule: LoopRule, *, start: int = 0) -> Bool[np.ndarray, " _followed"]:
    """Return for each token from `start` on whether a loop is complete there; tokens before `start` are history.

    Raises DataError for ids that are not a one-dimensional array of non-negative integers.

    >>> np.flatnonzero(loop_complete(np.array([7] * 25 + [8]), LoopRule())).tolist()
    [23, 24]
    """
    ids = checked_ids(ids)
    complete = np.zeros(ids.size, bool)
    for period, begins, ends in _long_runs(ids, rule, slack=0):
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            complete[begin + rule.threshold(period) - 1 : end] = True
    return complete[start:]


def may_loop(
    ids: Int[np.ndarray, " tokens"], ends: Int[np.ndarray, " texts"], rule: LoopRule
) -> Bool[np.ndarray, " texts"]:
    """Return which of many texts can hold a loop at all: a quick look, to spare the others the exact one.

    `ids` are all texts one after another, `ends` where each ends. A complete loop repeats so many tokens that some n-gram stands in
    its text twice; n-grams are compared by hash, so a text may be looked at in vain, and none is missed.

    >>> may_loop(np.array([1] * 30 + list(range(30))), np.array([30, 60]), LoopRule()).tolist()
    [True, False]
    """
    ids, ends = np.asarray(ids), np.asarray(ends)
    n = min(min(rule.threshold(p) for p in range(1, rule.max_period + 1)), 16)
    if n < 1:
        return np.ones(ends.size, bool)
    if ids.size < n:
        return np.zeros(ends.size, bool)
    owner = np.repeat(np.arange(ends.size), np.diff(ends, prepend=0))
    stop = ids.size - n + 1
    code = np.zeros(stop, np.uint64)
    for j in range(n):
        code = code * np.uint64(0x9E3779B97F4A7C15) + ids[j : j + stop].astype(np.uint64) + np.uint64(1)
        code ^= code >> np.uint64(29)
    inside = owner[:stop] == owner[n - 1 :]
    code, owner = code[inside], owner[:stop][inside]
    code = (code ^ owner.astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9) + owner.astype(np.uint64)
    order = np.argsort(code)
    code, owner = code[order], owner[order]
    found = np.zeros(ends.size, bool)
    found[owner[1:][(code[1:] == code[:-1]) & (owner[1:] == owner[:-1])]] = True
    return found


def loop_at(ids: Int[np.ndarray, " tokens"], rule: LoopRule) -> Repetition | None:
    """Return the loop that is complete at the last token, with the shortest period that makes one, or None.

    Raises DataError for ids that are not a one-dimensional array of non-negative integers.

    >>> loop_at(np.array([0] + [5, 6] * 20), LoopRule())
    Repetition(period=2, copies=20)
    """
    ids = checked_ids(ids)
    for period in range(1, min(rule.max_period, ids.size - 1) + 1):
        run = _run_at_end(ids, period)
        if run >= rule.threshold(period):
            return Repetition(period, run // period + 1)
    return None


def holtzman_repetition(ids: Int[np.ndarray, " tokens"]) -> Repetition | None:
    """Return the repetition that the code of Holtzman et al. 2020 counts at the end of a text, or None.

    Of the phrases of at most 90 tokens that end the text it takes the one with most copies, the shortest among equals,
    and counts it if it has at least 2 copies and is at least 3 tokens long, or has more than 50. So a phrase of two
    tokens that stands 4 times is not counted, although four tokens then stand twice. `ids` are the generated text alone,
    an end of text left out.

    Source: Holtzman et al. 2020, The curious case of neural text degeneration, section 5.3, and its published code.
    Raises DataError for ids that are not a one-dimensional array of non-negative integers.

    >>> holtzman_repetition(np.array([9, 1, 2, 3, 1, 2, 3])), holtzman_repetition(np.array([1, 2] * 4))
    (Repetition(period=3, copies=2), None)
    """
    ids = checked_ids(ids)
    if not _ends_again(ids, HOLTZMAN_MAX_PERIOD):
        return None
    copies = [_run_at_end(ids, p) // p + 1 for p in range(1, min(HOLTZMAN_MAX_PERIOD, ids.size - 1) + 1)]
    if not copies or max(copies) < 2:
        return None
    most = max(copies)
    period = copies.index(most) + 1
    return Repetition(period, most) if period >= HOLTZMAN_MIN_PERIOD or most > HOLTZMAN_MANY_COPIES else None


def completing_ids(
    ids: Int[np.ndarray, " tokens"], *, start: int, rule: LoopRule
) -> list[Int[np.ndarray, " _candidates"]]:
    """For each position t >= `start`, return the ids that would complete a loop at t given `ids[:t]`.

    This is the teacher-forced form of `LoopTracker.completing`: element i belongs to t = start + i, ids are unique and
    ascending, empty where no token completes a loop.

    Raises DataError for ids that are not a one-dimensional array of non-negative integers.
    """
    ids = checked_ids(ids)
    positions: list[Int[np.ndarray, " _hits"]] = []
    candidates: list[Int[np.ndarray, " _hits"]] = []
    for period, begins, ends in _long_runs(ids, rule, slack=1):
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            # r_p(t-1) = t - begin for t in (begin, end], and must be one short of the threshold
            t = np.arange(max(begin + rule.threshold(period) - 1, start), min(end, ids.size - 1) + 1)
            positions.append(t)
            candidates.append(ids[t - period])
    result: list[Int[np.ndarray, " _candidates"]] = [np.zeros(0, dtype=ids.dtype)] * max(ids.size - start, 0)
    if positions:
        at, which = np.concatenate(positions), np.concatenate(candidates)
        for t in np.unique(at).tolist():
            result[t - start] = np.unique(which[at == t])
    return result


def rep_n(ids: Int[np.ndarray, " tokens"], n: int) -> float:
    """Return the share of n-grams that repeat an earlier one: 1 - distinct/total (Welleck et al. 2020).

    Raises DataError for a text shorter than n tokens: it has no n-gram, and unknown is not zero.

    >>> rep_n(np.array([1, 2, 1, 2, 1]), 2)
    0.5
    """
    codes = ngram_codes(ids, n)
    if codes.size == 0:
        raise DataError(f"the text has {np.size(ids)} tokens; rep-{n} needs at least {n}")
    return 1.0 - (int(codes.max()) + 1) / codes.size


def checked_ids(ids: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
    """Return the ids of one text as int64.

    Raises DataError unless they are one-dimensional and 0 or more.
    """
    ids = np.asarray(ids)
    if ids.size == 0:
        return np.zeros(0, dtype=np.int64)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or int(ids.min()) < 0:
        raise DataError(
            f"ids is an array of {ids.dtype} with shape {ids.shape}; one text is a one-dimensional array of "
            "non-negative integers"
        )
    return ids


def _run_at_end(ids: Int[np.ndarray, " tokens"], period: int) -> int:
    """The lag run of this period at the last token."""
    if ids[-1] != ids[-1 - period]:
        return 0
    differs = np.flatnonzero(ids[period:] != ids[:-period])
    return int(ids.size - period - (differs[-1] + 1 if differs.size else 0))


def _ends_again(ids: Int[np.ndarray, " tokens"], max_period: int) -> bool:
    """Whether the last three tokens (or the last one, at periods below 3) stand again within reach: cheap, and necessary."""
    last = ids.size - 1
    for period in (1, 2):
        if last >= period and ids[last] == ids[last - period]:
            return True
    reach = min(max_period, ids.size - 3)
    if reach < 3:
        return False
    at = last - np.arange(3, reach + 1)
    return bool(((ids[at] == ids[last]) & (ids[at - 1] == ids[last - 1]) & (ids[at - 2] == ids[last - 2])).any())


_MOST_SEEDS = 256
"""With more of them one pass over the whole text is quicker."""
_PIECE = 4096


def _long_runs(
    ids: Int[np.ndarray, " tokens"], rule: LoopRule, *, slack: int
) -> Iterator[tuple[int, Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]]:
    """Yield (period, begins, ends) of all maximal lag runs [begin, end) of at least threshold - slack tokens.

    A needed run of 0 tokens (2 copies, period 1) is also met where no token repeats: it begins anywhere from p on.
    """
    if ids.size and int(ids.max()) < 2**31:
        ids = ids.astype(np.int32)  # half the memory to go through
    for period in range(1, min(rule.max_period, ids.size - 1) + 1):
        needed = rule.threshold(period) - slack
        if period + needed > ids.size:
            return  # p + threshold(p) = max(copies*p, min_tokens) never falls: longer periods need no less room
        seeds = _seeds(ids, period, needed)
        if seeds is not None and seeds.size <= _MOST_SEEDS:
            runs: list[tuple[int, int]] = []
            for seed in seeds.tolist():
                if not runs or seed >= runs[-1][1]:
                    runs.append(_run_around(ids, period, seed))
            found = np.array([run for run in runs if run[1] - run[0] >= needed], np.int64).reshape(-1, 2)
            if len(found):
                yield period, found[:, 0], found[:, 1]
            continue
        same = ids[period:] == ids[:-period]
        if np.count_nonzero(same) < needed:
            continue
        breaks = np.flatnonzero(~same) + period
        begins = np.concatenate(([period], breaks + 1))
        ends = np.concatenate((breaks, [ids.size]))
        long_enough = ends - begins >= needed
        if long_enough.any():
            yield period, begins[long_enough], ends[long_enough]


def _seeds(ids: Int[np.ndarray, " tokens"], period: int, needed: int) -> Int[np.ndarray, " seeds"] | None:
    """Tokens of which every lag run of `needed` tokens holds at least one; None where every token may be one.

    Such a run holds exactly one of every `needed`-th tokens, so only those that equal the token a period before are followed to
    both sides, and no further than 32 tokens.
    """
    if needed < 2:
        return None
    at = np.arange(period + needed - 1, ids.size, needed)
    at = at[ids[at] == ids[at - period]]
    reach = min(needed, 32)
    length = np.ones(at.size, np.int64)
    for step in (-1, 1):
        going, here = np.arange(at.size), at
        for _ in range(reach):
            here = here + step
            inside = (here >= period) & (here < ids.size)
            going, here = going[inside], here[inside]
            same = ids[here] == ids[here - period]
            going, here = going[same], here[same]
            if not going.size:
                break
            length[going] += 1
    return np.asarray(at[length >= reach])


def _run_around(ids: Int[np.ndarray, " tokens"], period: int, seed: int) -> tuple[int, int]:
    """The maximal lag run [begin, end) of this period that holds the token `seed`."""
    begin, end = seed, seed + 1
    while end < ids.size:
        stop = min(end + _PIECE, ids.size)
        breaks = np.flatnonzero(ids[end:stop] != ids[end - period : stop - period])
        if breaks.size:
            end += int(breaks[0])
            break
        end = stop
    while begin > period:
        first = max(begin - _PIECE, period)
        breaks = np.flatnonzero(ids[first:begin] != ids[first - period : begin - period])
        if breaks.size:
            begin = first + int(breaks[-1]) + 1
            break
        begin = first
    return begin, end
