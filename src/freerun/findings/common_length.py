"""Means over the tokens that two texts of one prompt both have: how texts of their own length are compared position by position.

Where the two are exchangeable given the prompt, so is the stretch that they share: the difference of such means has mean zero.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.evidence import Evidence
from freerun.records.schema import ArmName


@dataclass(frozen=True)
class Side:
    """One kind of text: an arm, and one of its replicates or (None) all of them."""

    arm: ArmName
    replicate: int | None = None


@dataclass(frozen=True)
class Stretch:
    """A part of the tokens from the cut on, as shares of a length; one token at least."""

    start: float
    stop: float

    def of(self, n_tokens: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """First position and the one after the last.

        >>> [part.of(np.array([1, 2, 5, 64])) for part in (Stretch(0.5, 1), Stretch(0, 0.125))]
        [(array([ 0,  1,  2, 32]), array([ 1,  2,  5, 64])), (array([0, 0, 0, 0]), array([1, 1, 1, 8]))]
        """
        start, stop = (np.floor(share * n_tokens).astype(np.int64) for share in (self.start, self.stop))
        return start, np.maximum(stop, start + 1)


LATE, EARLY = Stretch(0.5, 1.0), Stretch(0.0, 0.125)


def mean_in_common(
    evidence: Evidence, values: Float[np.ndarray, " tokens"], mine: Side, other: Side, stretch: Stretch
) -> Float[np.ndarray, " units"]:
    """Mean of `values` on `mine` over a stretch of the tokens that it shares with `other`, one number a unit; NaN where there is none.

    Every pair of texts of a document counts alike, whatever its length. Values that are not finite are left out.
    """
    records = evidence.records
    pairs = _pairs(evidence, mine, other)
    n_tokens = np.diff(records.starts)
    start, stop = stretch.of(np.minimum(n_tokens[pairs[:, 0]], n_tokens[pairs[:, 1]]))
    known = np.isfinite(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(column)])
        for column in (np.where(known, values, 0.0), known.astype(np.float64))
    )
    first, last = records.starts[pairs[:, 0]] + start, records.starts[pairs[:, 0]] + stop
    n = counts[last] - counts[first]
    has = n > 0
    means = (sums[last] - sums[first])[has] / n[has]
    units = evidence.units[pairs[has, 0]]
    per_unit = np.bincount(units, minlength=evidence.n_units)
    out = np.full(evidence.n_units, np.nan)
    np.divide(np.bincount(units, means, evidence.n_units), per_unit, out=out, where=per_unit > 0)
    return out


def _pairs(evidence: Evidence, mine: Side, other: Side) -> Int[np.ndarray, "pairs 2"]:
    """Every text of one side with every text of the other side of the same document; texts without tokens are none."""
    records = evidence.records
    names, n_tokens = records.sequences["document_id"], np.diff(records.starts)

    def rows(side: Side) -> list[int]:
        wanted = {"arm": side.arm} if side.replicate is None else {"arm": side.arm, "replicate": side.replicate}
        return [int(i) for i in records.chosen(**wanted) if n_tokens[i]]

    of_document: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows(other):
        of_document[str(names[row])].append(row)
    pairs = [(row, against) for row in rows(mine) for against in of_document[str(names[row])]]
    return np.array(pairs, np.int64).reshape(-1, 2)
