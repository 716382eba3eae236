"""Lag runs of many texts at once, as they are written: which ids would complete a loop, and where one is complete."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from freerun.errors import DataError
from freerun.stats.loops.lag_runs import LoopRule, checked_ids

_NO_TOKEN = -1


class LoopTracker:
    """Lag runs of many texts at once, one token at a time.

    `histories` holds one array of ids (0 or more) per row; loops may begin in it.
    Raises DataError for histories that are not one-dimensional arrays of non-negative integers.
    """

    def __init__(self, histories: Sequence[Int[np.ndarray, " _history"]], rule: LoopRule) -> None:
        self.rule = rule
        width = rule.max_period
        # columns run from the longest period to 1, as the tokens in the buffer do
        self._thresholds = rule.threshold(np.arange(width, 0, -1)).astype(np.int32)
        reach = width + int(self._thresholds.max())  # older tokens cannot change what is complete
        kept = [checked_ids(history)[-reach:] for history in histories]
        longest = max((history.size for history in kept), default=0)
        self._runs = np.zeros((len(kept), width), dtype=np.int32)
        self._buffer = np.full((len(kept), 3 * width), _NO_TOKEN, dtype=np.int64)
        self._end = width
        for column in range(-longest, 0):
            self.push(np.array([h[column] if h.size >= -column else _NO_TOKEN for h in kept], dtype=np.int64))

    @property
    def thresholds(self) -> Int[np.ndarray, " periods"]:
        """The lag run that makes a loop, from the longest period to 1."""
        return self._thresholds

    @property
    def runs(self) -> Int[np.ndarray, "rows periods"]:
        """Lag runs at the last token, periods as in `thresholds`."""
        return self._runs

    @property
    def recent(self) -> Int[np.ndarray, "rows periods"]:
        """The last tokens, the oldest first; −1 where there was none."""
        return self._recent()

    def __len__(self) -> int:
        return self._runs.shape[0]

    def completing(self) -> list[Int[np.ndarray, " _candidates"]]:
        """Return per row the ids, unique and ascending, that would complete a loop if they came next."""
        recent = self._recent()
        near = (self._runs >= self._thresholds - 1) & (recent != _NO_TOKEN)
        result: list[Int[np.ndarray, " _candidates"]] = [np.zeros(0, dtype=np.int64)] * len(self)
        for row in np.flatnonzero(near.any(axis=1)).tolist():
            result[row] = np.unique(recent[row, near[row]])
        return result

    def push(self, ids: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
        """Append one token to every row; return where a loop is complete at that token.

        Raises DataError unless there is one id per row.
        """
        ids = np.asarray(ids)
        if ids.shape != (len(self),):
            raise DataError(f"push got ids of shape {ids.shape}; {len(self)} rows need one id each")
        same = self._recent() == ids[:, None]
        self._runs += 1
        self._runs *= same
        width = self.rule.max_period
        if self._end == self._buffer.shape[1]:
            self._buffer[:, :width] = self._buffer[:, -width:]
            self._end = width
        self._buffer[:, self._end] = ids
        self._end += 1
        return np.asarray((self._runs >= self._thresholds).any(axis=1) & (ids != _NO_TOKEN))

    def select(self, rows: Int[np.ndarray, " kept"]) -> LoopTracker:
        """Return a new tracker with these rows, in this order; this one stays as it is."""
        rows = np.asarray(rows)
        chosen = object.__new__(LoopTracker)
        chosen.rule = self.rule
        chosen._thresholds = self._thresholds
        chosen._runs = self._runs[rows].copy()
        chosen._buffer = self._buffer[rows].copy()
        chosen._end = self._end
        return chosen

    def join(self, other: LoopTracker) -> LoopTracker:
        """Return a new tracker with the rows of both, these first. Raises DataError where the rules differ."""
        if other.rule != self.rule:
            raise DataError("trackers of two loop rules cannot be joined")
        joined = object.__new__(LoopTracker)
        joined.rule, joined._thresholds = self.rule, self._thresholds
        joined._runs = np.concatenate([self._runs, other._runs])
        width = self.rule.max_period
        joined._buffer = np.full((len(self) + len(other), 3 * width), _NO_TOKEN, dtype=np.int64)
        joined._buffer[:, :width] = np.concatenate([self._recent(), other._recent()])
        joined._end = width
        return joined

    def _recent(self) -> Int[np.ndarray, "rows periods"]:
        return np.asarray(self._buffer[:, self._end - self.rule.max_period : self._end])
