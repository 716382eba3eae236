"""How a text leaves a loop, if it does: escapes per token and expected time in a trap (Xu et al. 2022).

A softmax gives every token some mass, so no loop of such a model is absorbing; a trap is a loop that lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.stats.intervals import Interval
from freerun.stats.proportions import clustered_proportion

_LEAST_CHANCE = 1e-9
"""Of leaving a trap at a token: a limit below it says nothing, and the time in a trap is open."""


@dataclass(frozen=True)
class Traps:
    """Loops that were entered, and how they were left.

    A trap is a stretch of tokens at each of which a loop is complete. The token after one is at risk of leaving it: by
    writing anything else, an end of text included. `n_open` traps were not left before following stopped; `n_tokens`
    tokens were at risk, in `n_groups` documents.
    """

    n_traps: int
    n_open: int
    n_escapes: int
    n_tokens: int
    n_groups: int


@dataclass(frozen=True)
class TimeInTrap:
    """Tokens until the trap is left, the leaving one included; None where the data set no bound."""

    tokens: float | None
    low: float | None
    high: float | None


def count_traps(
    complete: Bool[np.ndarray, " tokens"], sequences: Int[np.ndarray, " tokens"], groups: Int[np.ndarray, " tokens"]
) -> Traps:
    """Count the traps; `complete` says where a loop is complete, tokens of a sequence stand together and in order.

    Raises DataError for columns of different length.
    """
    inside = _at_risk(complete, sequences, groups)
    entered = complete & ~inside
    escapes = int((inside & ~complete).sum())
    n = int(entered.sum())
    return Traps(n, n - escapes, escapes, int(inside.sum()), int(np.unique(groups[inside]).size))


def escape_per_token(
    complete: Bool[np.ndarray, " tokens"],
    sequences: Int[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    *,
    loop_mass: Float[np.ndarray, " tokens"] | None = None,
    level: float = 0.95,
) -> Interval:
    """Return the chance that a token leaves the loop it stands in, a mean over the tokens at risk, clustered by document.

    Escapes are counted, or, with `loop_mass` (the mass of the sampled law on tokens that keep a loop complete), the
    missing mass is averaged, which counts nothing and varies less. None seen: the upper limit takes the chance to be the
    same in every trap. Only documents with a trap count.

    Raises TooFewDocuments for traps in fewer than two documents, DataError for columns of different length.
    """
    inside = _at_risk(complete, sequences, groups)
    left = (~complete).astype(np.float64) if loop_mass is None else np.clip(1.0 - loop_mass, 0.0, 1.0)
    owners, index = np.unique(sequences[inside], return_inverse=True)
    totals = np.bincount(index, weights=left[inside], minlength=owners.size)
    trials = np.bincount(index, minlength=owners.size)
    of_sequence = np.zeros(owners.size, np.int64)
    of_sequence[index] = groups[inside]
    return clustered_proportion(totals, trials, of_sequence, level=level, masses=loop_mass is not None)


def time_in_trap(escape: Interval) -> TimeInTrap:
    """Return 1 / escape with its interval: tokens at risk per escape, which also counts traps that were not seen to end.

    It is the expected time if every token in a trap has this chance. Where chances differ between traps, or fall as
    copies pile up, the mean time is longer.

    >>> time_in_trap(Interval(0.1, 0.05, 0.2, 0.95, 9)), time_in_trap(Interval(0.0, 0.0, 0.25, 0.95, 9))
    (TimeInTrap(tokens=10.0, low=5.0, high=20.0), TimeInTrap(tokens=None, low=4.0, high=None))
    """
    return TimeInTrap(_inverse(escape.value), _inverse(escape.high), _inverse(escape.low))


def _inverse(chance: float) -> float | None:
    return 1.0 / chance if chance > _LEAST_CHANCE else None


def _at_risk(
    complete: Bool[np.ndarray, " tokens"], sequences: Int[np.ndarray, " tokens"], groups: Int[np.ndarray, " tokens"]
) -> Bool[np.ndarray, " tokens"]:
    """Where the token before, of the same sequence, completed a loop."""
    if not complete.shape == sequences.shape == groups.shape:
        raise DataError(f"{complete.size} tokens, {sequences.size} sequences, {groups.size} groups; one each per token")
    inside = np.zeros(complete.size, bool)
    inside[1:] = complete[:-1] & (sequences[1:] == sequences[:-1])
    return inside
