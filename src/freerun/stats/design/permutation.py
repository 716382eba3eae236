"""Two-sample permutation tests over documents: all 2n texts change places, real and generated alike.

Null: the 2n texts are independent draws from one law, so every choice of n of them as "generated" is as likely as any other.
p = (1 + relabellings at least as far)/(1 + all) is then exact: P(p <= a) = a where (1 + all)·a is whole and values do not tie; ties
make it smaller (Phipson & Smyth 2010).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError


def relabellings(n: int, n_permutations: int, *, rng: np.random.Generator) -> Bool[np.ndarray, "permutations texts"]:
    """Return random choices of n among 2n texts, one a row.

    Raises DataError for fewer than two texts a side or no permutations.
    """
    if n < 2 or n_permutations < 1:
        raise DataError(f"{n} texts a side and {n_permutations} permutations: at least 2 and 1 are needed")
    return np.asarray(rng.random((n_permutations, 2 * n)).argsort(axis=1) < n)


def mean_difference_p(
    values: Float[np.ndarray, "texts k"], chosen: Bool[np.ndarray, "permutations texts"]
) -> Float[np.ndarray, " k"]:
    """Return two-sided p-values of the difference of means between the first and the second half of the rows, column by column.

    Raises DataError for values that are not finite or labels that do not fit.

    >>> values = np.array([[5.0], [6.0], [1.0], [2.0]])
    >>> every = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], bool)
    >>> mean_difference_p(values, every).round(4).tolist()
    [0.4286]
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or chosen.shape[1:] != values.shape[:1] or not np.isfinite(values).all():
        raise DataError(f"values of shape {values.shape} must be finite and fit labels of shape {chosen.shape}")
    centred = values - values.mean(axis=0)
    n = len(values) // 2
    seen = np.abs(centred[:n].sum(axis=0) - centred[n:].sum(axis=0))
    drawn = np.abs(np.where(chosen, 1.0, -1.0) @ centred)
    least = seen - 1e-9 * np.abs(centred).sum(axis=0)  # rounding must not part what is equal
    return np.asarray((1 + (drawn >= least).sum(axis=0)) / (1 + len(chosen)))


def distinct_difference_p(
    grams: Int[np.ndarray, "texts grams"], chosen: Bool[np.ndarray, "permutations texts"]
) -> float:
    """Return the two-sided p-value of distinct-n between the first and the second half of the texts.

    `grams` are codes of a text's n-grams (equal codes, equal n-grams), as many in every text. Distinct-n of a set of texts is the
    number of different ones among all of theirs over their number (Li et al. 2016); the counts are equal, so the difference of
    the numbers is tested.

    Raises DataError for labels that do not fit.
    """
    if grams.ndim != 2 or chosen.shape[1:] != grams.shape[:1]:
        raise DataError(f"n-grams of shape {grams.shape} do not fit labels of shape {chosen.shape}")
    n = len(grams) // 2
    names, which = np.unique(grams, return_inverse=True)
    held = np.zeros((len(grams), len(names)), bool)
    held[np.repeat(np.arange(len(grams)), grams.shape[1]), which.ravel()] = True
    owners = held.sum(axis=0)
    alone = held[:, owners == 1].sum(axis=1).astype(np.float64)
    # what more than half of the texts have is on both sides whatever the labels
    shared = held[:, (owners > 1) & (owners <= n)].astype(np.float32)
    sides = np.vstack([np.arange(len(grams)) < n, chosen])
    there = sides.astype(np.float32) @ shared
    gap = np.where(sides, 1.0, -1.0) @ alone + (there > 0).sum(axis=1) - (there < shared.sum(axis=0)).sum(axis=1)
    gap = np.abs(np.rint(gap))
    return float((1 + (gap[1:] >= gap[0]).sum()) / (1 + len(chosen)))
