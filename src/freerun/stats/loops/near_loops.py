"""Near-loops: phrases that come back again and again with a few tokens changed.

A loop of period p is complete at token t if none of the last `threshold(p)` tokens differs from the token p before; a near-loop, if
at most a stated share of them does. Tokens that are put in or left out shift all that follows and are not forgiven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.errors import DataError
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.recurrences import FirstLoops, LagRuns, earliest, first_loops
from freerun.stats.loops.texts import Texts


@dataclass(frozen=True)
class NearRule:
    """A rule for loops, of whose compared tokens a share of at most `differ` may differ.

    >>> NearRule(LoopRule(), 0.1).allowed(np.array([1, 8, 100])).tolist()
    [2, 1, 20]
    """

    rule: LoopRule
    differ: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.differ <= 0.5:
            raise DataError(f"differ is {self.differ}; the share of tokens that may differ lies between 0 and 0.5")

    def allowed(self, period: Int[np.ndarray, " periods"]) -> Int[np.ndarray, " periods"]:
        """How many of the compared tokens may differ."""
        return np.asarray(np.floor(self.differ * self.rule.threshold(period) + 1e-9).astype(np.int64))

    @property
    def least_run(self) -> int:
        """Every near-loop holds a lag run of so many tokens: w compared tokens, m of them changed, leave one of (w−m)/(m+1)."""
        periods = np.arange(1, self.rule.max_period + 1)
        changed = self.allowed(periods)
        return int((-(-(self.rule.threshold(periods) - changed) // (changed + 1))).min())


def first_near_loops(texts: Texts, runs: LagRuns, near: NearRule) -> FirstLoops:
    """Return the first token after each prompt at which a near-loop is complete; every loop is a near-loop.

    Raises DataError for runs that leave out some that the rule needs.

    >>> from freerun.stats.loops.recurrences import lag_runs
    >>> ids = np.tile(np.arange(10), 3)
    >>> ids[15] = 99
    >>> near = NearRule(LoopRule(), 0.1)
    >>> first_near_loops(texts := Texts.of([ids]), lag_runs(texts, max_period=512, least=near.least_run), near).token.tolist()
    [29]
    """
    if runs.max_period < near.rule.max_period or runs.least > near.least_run:
        raise DataError(f"{near} needs lag runs of period up to {near.rule.max_period} from {near.least_run} tokens on")
    exact = first_loops(texts, runs, near.rule)
    best = np.where(exact.token >= 0, texts.follows + exact.token, texts.ends)
    found = [(text, period, at) for text, period, at in _near(texts, runs, near, best)]
    known = np.flatnonzero(exact.token >= 0)
    columns = np.array(found, np.int64).reshape(-1, 3).T
    return earliest(
        texts,
        np.concatenate([columns[0], known]),
        np.concatenate([columns[1], exact.period[known]]),
        np.concatenate([columns[2], texts.follows[known] + exact.token[known]]),
    )


def _near(
    texts: Texts, runs: LagRuns, near: NearRule, best: Int[np.ndarray, " texts"]
) -> Iterator[tuple[int, int, int]]:
    """Text, period and place of near-loops that are complete before any that is known; `best` is where one is known.

    Runs of one text and period stand together as long as a window could hold two neighbours: a gap of g tokens that holds no run
    of n changes at least g/n of them. A window that is complete has all but m·n of its w tokens in such runs.
    """
    least = runs.least
    window, changed = near.rule.threshold(runs.period), near.allowed(runs.period)
    apart = np.ones(runs.text.size, bool)
    apart[1:] = (
        (runs.text[1:] != runs.text[:-1])
        | (runs.period[1:] != runs.period[:-1])
        | (runs.begin[1:] - runs.end[:-1] > changed[1:] * least)
    )
    heads = np.flatnonzero(apart & (runs.period <= near.rule.max_period))
    if not heads.size:
        return
    total = np.concatenate([[0], np.cumsum(runs.end - runs.begin)])
    tails = np.append(np.flatnonzero(apart)[1:], runs.text.size)[np.searchsorted(np.flatnonzero(apart), heads)]
    needed = window[heads] - changed[heads] * least
    text, begin, end = runs.text[heads], runs.begin[heads], runs.end[tails - 1]
    soonest = np.maximum(begin + np.maximum(needed, 1) - 1, texts.follows[text])
    chosen = np.flatnonzero((total[tails] - total[heads] >= needed) & (soonest < best[text]))
    for i in chosen[np.argsort(soonest[chosen], kind="stable")].tolist():
        owner, period = int(text[i]), int(runs.period[heads[i]])
        if soonest[i] > best[owner]:
            continue
        w, m = int(window[heads[i]]), int(changed[heads[i]])
        first = max(int(begin[i]) - w, int(texts.starts[owner]) + period)
        last = min(int(end[i]) + w, int(texts.ends[owner]), int(best[owner]) + 1)
        differs = np.cumsum(texts.ids[first:last] != texts.ids[first - period : last - period])
        if differs.size < w:
            continue
        within = differs[w - 1 :] - np.concatenate([[0], differs[: differs.size - w]])
        at = np.flatnonzero(within <= m) + first + w - 1
        at = at[at >= texts.follows[owner]]
        if at.size:
            best[owner] = min(int(best[owner]), int(at[0]))
            yield owner, period, int(at[0])
