"""Stop rules: what ending a text at its first loop would cost in real text, and what it would save in generated text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Real

from freerun.errors import UsageError, nearest
from freerun.stats.intervals import Interval, group_index, linearised_ratio
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.recurrences import LagRuns, complete_stretches, first_loops
from freerun.stats.loops.texts import Texts
from freerun.stats.proportions import clustered_proportion, proportion_limits


@dataclass(frozen=True)
class StopRule:
    """End a text as soon as a phrase of at most `period` tokens stands `copies` times in a row, `tokens` tokens in all.

    >>> print(StopRule(period=128, copies=3, tokens=48))
    period=128,copies=3,tokens=48
    """

    period: int
    copies: int
    tokens: int

    def __str__(self) -> str:
        return f"period={self.period},copies={self.copies},tokens={self.tokens}"

    @property
    def loop_rule(self) -> LoopRule:
        """The loop that it ends a text at; raises DataError for values that no loop has."""
        return LoopRule(copies=self.copies, min_tokens=self.tokens, max_period=self.period)


def read_stop_rule(words: str) -> StopRule:
    """The stop rule that `period=128,copies=3,tokens=48` says; what is left out is as in the definition of a loop (512, 3, 24).

    Raises UsageError for other words, or values out of range.

    >>> read_stop_rule("copies=8")
    StopRule(period=512, copies=8, tokens=24)
    """
    loop = LoopRule()
    values = {"period": loop.max_period, "copies": loop.copies, "tokens": loop.min_tokens}
    least = {"period": 1, "copies": 2, "tokens": 1}
    given: dict[str, int] = {}
    for part in words.split(","):
        name, _, number = part.strip().partition("=")
        if name not in values:
            raise UsageError(
                f"--stop-rule {words!r}: {name!r} is not part of a stop rule{nearest(name, values)}; give "
                "period=128,copies=3,tokens=48 or some of them"
            )
        if not number.isascii() or not number.isdigit() or not least[name] <= int(number[:7]) <= 1_000_000:
            raise UsageError(
                f"--stop-rule {words!r}: {name} is a whole number from {least[name]} to a million, not {number!r}"
            )
        if name in given:
            raise UsageError(f"--stop-rule {words!r}: {name} is given twice")
        given[name] = int(number)
    return StopRule(**values | given)


@dataclass(frozen=True, eq=False)
class Stops:
    """What a rule does to each text: whether it stops it, and after how many tokens (all of them where it does not).

    `left`: stopped texts that, left alone, were in a loop no more at their last token.
    """

    stopped: Bool[np.ndarray, " texts"]
    written: Int[np.ndarray, " texts"]
    left: Bool[np.ndarray, " texts"]
    lengths: Int[np.ndarray, " texts"]
    groups: Int[np.ndarray, " texts"]

    @property
    def n_saved(self) -> int:
        """Tokens that are not written."""
        return int((self.lengths - self.written).sum())


def apply_stop_rule(texts: Texts, runs: LagRuns, rule: LoopRule) -> Stops:
    """Return where a rule would end each text.

    Raises DataError for runs that leave out some that the rule needs.
    """
    token = first_loops(texts, runs, rule).token
    stopped = token >= 0
    text, _, _, end = complete_stretches(texts, runs, rule)
    inside = np.zeros(texts.n, bool)
    inside[text[end == texts.ends[text]]] = True
    return Stops(stopped, np.where(stopped, token + 1, texts.lengths), stopped & ~inside, texts.lengths, texts.groups)


def stops_per_token(stops: Stops, *, level: float = 0.95) -> Interval:
    """Return texts stopped per token read up to there, clustered (`clustered_proportion`); of real text, the rate of false stops.

    A text is stopped once at most: what it says after that is not read. Raises TooFewDocuments for fewer than two groups.
    """
    return _proportion(stops, stops.written, level)


def share_stopped(stops: Stops, *, level: float = 0.95) -> Interval:
    """Return the share of texts that are stopped, clustered. Raises TooFewDocuments for fewer than two groups."""
    return _proportion(stops, np.ones(stops.stopped.size), level)


def share_left(stops: Stops, *, level: float = 0.95) -> Interval:
    """Return the share of stopped texts that, left alone, were out of the loop at their last token, clustered.

    That is how often a stop cuts off what would have mended itself.

    Raises TooFewDocuments for stopped texts of fewer than two groups.
    """
    ended = stops.stopped
    return clustered_proportion(stops.left[ended], np.ones(int(ended.sum())), stops.groups[ended], level=level)


def _proportion(stops: Stops, trials: Real[np.ndarray, " texts"], level: float) -> Interval:
    """`clustered_proportion`; where no text is stopped, at the trials over the mean size of the group that a text is in.

    That is Kish's design effect for groups that are stopped together; the largest one would ask too much.
    """
    found = clustered_proportion(stops.stopped, trials, stops.groups, level=level)
    if found.value > 0.0:
        return found
    index, n = group_index(stops.groups)
    sizes = np.bincount(index, minlength=n)
    effective = float(np.sum(trials)) * sizes.sum() / np.square(sizes).sum()
    low, high = proportion_limits(0.0, 0.0, max(int(effective), 1), found.n, level=level)
    return Interval(0.0, low, high, level, found.n)


def share_saved(stops: Stops, *, level: float = 0.95) -> Interval:
    """Return the share of all tokens that are not written, clustered; of real text, the share that is lost.

    Limits are Clopper & Pearson's at the number of trials that has the clustered, linearised error, and at most at the effective
    number of groups (Kish 1965, weighted by tokens): what a group saves lies between none and all of its tokens, and where few are
    stopped the error says little of what others would have saved.

    Raises TooFewDocuments for fewer than two groups.
    """
    index, n = group_index(stops.groups)
    saved = np.bincount(index, weights=stops.lengths - stops.written, minlength=n)
    lengths = np.bincount(index, weights=stops.lengths, minlength=n)
    values, errors = linearised_ratio(saved[None], lengths[None])
    most = max(int(lengths.sum() ** 2 / np.square(lengths).sum()), 1)
    low, high = proportion_limits(float(values[0]), float(errors[0]), most, n, level=level)
    return Interval(float(values[0]), low, high, level, n)
