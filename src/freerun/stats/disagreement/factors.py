"""Which factor of a design matters for the distances between models: permutation analysis of variance, and what each factor adds.

The trained model is the unit. Squared distances are Jensen–Shannon divergences, whose square root is a metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError
from freerun.stats.intervals import Interval, checked_level, t_quantile

Labels = Sequence[str]


@dataclass(frozen=True)
class Term:
    """A factor: a label a model, and the labels of everything that it is tested beside."""

    name: str
    labels: Labels
    beside: tuple[Labels, ...] = ()


@dataclass(frozen=True)
class TermTest:
    """`share`: of the sum of squares that the other factors leave, the part that goes to this one (partial R²)."""

    name: str
    degrees: int
    residual_degrees: int
    pseudo_f: float
    share: float
    p: float
    n: int


def permutation_anova(
    squared: Float[np.ndarray, "models models"], term: Term, *, n_permutations: int, rng: np.random.Generator
) -> TermTest | None:
    """Test a factor beside others by distances (McArdle & Anderson 2001; Anderson 2001); None where the design leaves no degrees.

    Null: what the other factors leave of the models can change places. p comes from permuting the residuals of the model without
    the factor (Freedman & Lane 1983), which is exact without other factors and approximate beside them.

    Raises:
        DataError: no matrix of squared distances, or labels that do not fit it.
    """
    squared = np.asarray(squared, np.float64)
    n = len(squared)
    if squared.shape != (n, n) or not np.isfinite(squared).all() or not np.allclose(squared, squared.T):
        raise DataError("squared distances must be a finite symmetric matrix")
    if any(len(labels) != n for labels in (term.labels, *term.beside)):
        raise DataError(f"every factor needs {n} labels, one a model")
    rest = _basis(*(_columns(labels) for labels in term.beside), n=n)
    whole = _basis(*(_columns(labels) for labels in (*term.beside, term.labels)), n=n)
    degrees, left = whole.shape[1] - rest.shape[1], n - whole.shape[1]
    if degrees < 1 or left < 1:
        return None
    centre = np.eye(n) - 1.0 / n
    residual = np.eye(n) - rest @ rest.T
    inner = residual @ (-0.5 * centre @ squared @ centre) @ residual
    mine, others = whole @ whole.T - rest @ rest.T, np.eye(n) - whole @ whole.T

    def sums(order: np.ndarray) -> tuple[float, float]:
        moved = inner[np.ix_(order, order)]
        return float((mine * moved).sum()), float((others * moved).sum())

    explained, unexplained = sums(np.arange(n))
    total = explained + unexplained
    if total <= 1e-12 * max(float(np.abs(squared).max()), 1e-300) or unexplained <= 0:
        return None
    seen = explained / unexplained
    orders = (rng.permutation(n) for _ in range(n_permutations))
    reached = sum(a >= (seen - 1e-9) * b for a, b in map(sums, orders))
    p = (1 + reached) / (1 + n_permutations)
    return TermTest(term.name, degrees, left, seen * left / degrees, explained / total, p, n)


def _columns(labels: Labels) -> Float[np.ndarray, "models levels"]:
    names = list(dict.fromkeys(labels))
    return np.array([[float(label == name) for name in names] for label in labels])


def _basis(*columns: np.ndarray, n: int) -> Float[np.ndarray, "models rank"]:
    """An orthonormal basis of the constant and the columns."""
    stacked = np.hstack([np.ones((n, 1)), *columns])
    u, s, _ = np.linalg.svd(stacked, full_matrices=False)
    return np.asarray(u[:, s > 1e-9 * s[0]])


def added_distances(
    distances: Float[np.ndarray, "models models"],
    differs: Mapping[str, Float[np.ndarray, "models models"]],
    *,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Return by how much two models are further apart where they differ in a factor, all factors together.

    Least squares on pairs (multiple regression on distance matrices, Lichstein 2007). `differs[name][i, j]` is 1 where models
    i and j differ in it, or by how much they do; a constant is a name of its own, 1 for all pairs. Pairs share models, so the
    interval leaves out one model at a time (jackknife, Student's t with models − 1 degrees). None for what the pairs do not
    tell apart.

    Raises:
        DataError: fewer than four models.
    """
    n = len(distances)
    checked_level(level)
    if n < 4:
        raise DataError(f"distances between {n} models say nothing of factors; 4 are needed")
    names = list(differs)
    kept = np.ones(n, bool)
    whole = _fit(distances, differs, kept)
    if whole is None:
        return dict.fromkeys(names)
    without = []
    for i in range(n):
        kept[i] = False
        without.append(_fit(distances, differs, kept))
        kept[i] = True
    if any(w is None for w in without):
        return {k: Interval(float(v), float("nan"), float("nan"), level, n) for k, v in zip(names, whole, strict=True)}
    pseudo = n * whole - (n - 1) * np.array(without)
    error = pseudo.std(0, ddof=1) / np.sqrt(n)
    half = t_quantile(n, level) * error
    return {
        name: Interval(float(v), float(v - h), float(v + h), level, n)
        for name, v, h in zip(names, whole, half, strict=True)
    }


def _fit(
    distances: Float[np.ndarray, "models models"],
    differs: Mapping[str, Float[np.ndarray, "models models"]],
    kept: np.ndarray,
) -> Float[np.ndarray, " factors"] | None:
    pairs = np.triu(np.outer(kept, kept), 1)
    x = np.column_stack([np.asarray(d, np.float64)[pairs] for d in differs.values()])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    return np.asarray(np.linalg.lstsq(x, distances[pairs], rcond=None)[0])


def mean_over_models(values: Float[np.ndarray, " models"], *, level: float = 0.95) -> Interval:
    """Return a mean over trained models with Student's interval.

    Raises:
        DataError: fewer than two models.
    """
    n = len(values)
    if n < 2:
        raise DataError("an interval over models needs at least 2")
    half = t_quantile(n, level) * float(np.std(values, ddof=1)) / np.sqrt(n)
    mean = float(np.mean(values))
    return Interval(mean, mean - half, mean + half, level, n)
