"""Ridge logistic regression for many sets of labels at once, by damped Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.errors import DataError

SCORE_DECIMALS = 9
"""Log odds are rounded to so many, so that texts which are alike tie: a matrix product may give equal rows other last digits."""
_MAX_STEPS = 200
_MAX_HALVINGS = 40


@dataclass(frozen=True)
class Standardizer:
    """Shift and scale of each feature, learned on training rows; features that do not vary there become 0."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]

    @classmethod
    def fit(cls, x: Float[np.ndarray, "n d"], weights: Float[np.ndarray, " n"] | None = None) -> Standardizer:
        """Learn from rows of features, of equal weight if none are given.

        Raises DataError for no rows or values that are not finite.
        """
        if x.shape[0] == 0 or not np.isfinite(x).all():
            raise DataError(f"features of shape {x.shape} must be finite and have at least one row")
        mean = np.average(x, axis=0, weights=weights)
        sd = np.sqrt(np.average(np.square(x - mean), axis=0, weights=weights))
        flat = sd <= 1e-9 * np.maximum(1.0, np.abs(mean))
        return cls(mean, np.where(flat, np.inf, sd))

    def apply(self, x: Float[np.ndarray, "*rows d"]) -> Float[np.ndarray, "*rows d"]:
        """Return the standardised features."""
        return np.asarray((x - self.mean) / self.scale)


@dataclass(frozen=True)
class LogisticFit:
    """One linear score per set of labels: x @ coefficients + intercept, the log odds of label 1."""

    coefficients: Float[np.ndarray, "batch d"]
    intercept: Float[np.ndarray, " batch"]

    def scores(self, x: Float[np.ndarray, " ..."]) -> Float[np.ndarray, "batch n"]:
        """Return the log odds of every row of `x` (`n d`, or `batch n d`) under every fit, to `SCORE_DECIMALS`."""
        return np.round(self.log_odds(x), SCORE_DECIMALS)

    def log_odds(self, x: Float[np.ndarray, " ..."]) -> Float[np.ndarray, "batch n"]:
        """The same with all digits."""
        if x.ndim == 2:
            return np.asarray(self.coefficients @ x.T + self.intercept[:, None])
        return np.asarray(np.matmul(x, self.coefficients[:, :, None])[:, :, 0] + self.intercept[:, None])


def fit_logistic(
    x: Float[np.ndarray, " ..."],
    y: Float[np.ndarray, "batch n"],
    *,
    penalty: float | Float[np.ndarray, " batch"],
    weights: Float[np.ndarray, "batch n"] | None = None,
) -> LogisticFit:
    """Minimise, for each row of labels, sum_i w_i loss_i + penalty/2 |coefficients|^2; the intercept is free.

    The objective is scikit-learn's with C = 1/penalty. `x` is `n d`, shared by all sets of labels, or `batch n d`.
    Labels are 0 or 1; weights are non-negative, and weight 0 leaves a row out. The objective is strictly convex and
    every step lowers it, so separable data converge too.

    Raises DataError for a penalty that is not positive, shapes that do not fit, features that are not finite, or a set
    of labels in which one class has no weight.
    """
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    n_batch = y.shape[0]
    w = np.ones_like(y) if weights is None else np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (n_batch,))
    x = np.asarray(x, dtype=np.float64)
    _check(x, y, w, ridge)
    d = x.shape[-1]
    design = np.concatenate((x, np.ones((*x.shape[:-1], 1))), axis=-1)
    shrink = np.concatenate((np.repeat(ridge[:, None], d, axis=1), np.zeros((n_batch, 1))), axis=1)
    problem = _Problem(design, y, w, shrink)
    beta = np.zeros((n_batch, d + 1))
    beta[:, d] = special.logit((w * y).sum(axis=1) / w.sum(axis=1))
    active = np.arange(n_batch)
    for _ in range(_MAX_STEPS):
        part = problem.select(active)
        step, decrement = part.newton(beta[active])
        beta[active], moved = part.descend(beta[active], step, decrement)
        # steps square the error near the optimum: one from a decrement this small has used up float64
        active = active[moved & (decrement > 1e-14 * (1.0 + part.w.sum(axis=1)))]
        if active.size == 0:
            return LogisticFit(beta[:, :d], beta[:, d])
    raise DataError(
        f"logistic regression did not settle in {_MAX_STEPS} steps; standardise the features or raise penalty"
    )


@dataclass(frozen=True)
class _Problem:
    design: Float[np.ndarray, " ..."]
    y: Float[np.ndarray, "batch n"]
    w: Float[np.ndarray, "batch n"]
    shrink: Float[np.ndarray, "batch width"]

    def select(self, rows: Int[np.ndarray, " kept"]) -> _Problem:
        if rows.size == self.y.shape[0]:
            return self
        design = self.design if self.design.ndim == 2 else self.design[rows]
        return _Problem(design, self.y[rows], self.w[rows], self.shrink[rows])

    def newton(
        self, beta: Float[np.ndarray, "batch width"]
    ) -> tuple[Float[np.ndarray, "batch width"], Float[np.ndarray, " batch"]]:
        """Return the Newton step and the decrease of the objective that it promises (twice)."""
        chance = special.expit(self._linear(beta))
        residual = self.w * (self.y - chance)
        curvature = self.w * chance * (1.0 - chance)
        width = beta.shape[1]
        if self.design.ndim == 2:
            gradient = residual @ self.design - self.shrink * beta
            products = (self.design[:, :, None] * self.design[:, None, :]).reshape(-1, width * width)
            hessian = (curvature @ products).reshape(-1, width, width)
        else:
            gradient = np.matmul(residual[:, None, :], self.design)[:, 0, :] - self.shrink * beta
            hessian = np.matmul(self.design.transpose(0, 2, 1) * curvature[:, None, :], self.design)
        diagonal = np.arange(width)
        hessian[:, diagonal, diagonal] += self.shrink + 1e-10  # where all chances round to 0 or 1, no zero pivot
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        return step, (step * gradient).sum(axis=1)

    def descend(
        self,
        beta: Float[np.ndarray, "batch width"],
        step: Float[np.ndarray, "batch width"],
        decrement: Float[np.ndarray, " batch"],
    ) -> tuple[Float[np.ndarray, "batch width"], np.ndarray]:
        """Halve each step until the objective falls (Armijo); return where that leads and which rows moved."""
        before = self._objective(beta)
        size = np.ones(beta.shape[0])
        moved = np.zeros(beta.shape[0], dtype=bool)
        for _ in range(_MAX_HALVINGS):
            after = self._objective(beta + size[:, None] * step)
            moved = after <= before - 1e-4 * size * decrement + 1e-13 * np.abs(before)
            if moved.all():
                break
            size = np.where(moved, size, 0.5 * size)
        return np.where(moved[:, None], beta + size[:, None] * step, beta), moved

    def _linear(self, beta: Float[np.ndarray, "batch width"]) -> Float[np.ndarray, "batch n"]:
        return LogisticFit(beta, np.zeros(beta.shape[0])).log_odds(self.design)

    def _objective(self, beta: Float[np.ndarray, "batch width"]) -> Float[np.ndarray, " batch"]:
        linear = self._linear(beta)
        loss = np.logaddexp(0.0, linear) - self.y * linear
        return np.asarray((self.w * loss).sum(axis=1) + 0.5 * (self.shrink * np.square(beta)).sum(axis=1))


def left_out_scores(
    x: Float[np.ndarray, "units texts d"],
    y: Float[np.ndarray, " texts"],
    weights: Float[np.ndarray, " texts"],
    fit: LogisticFit,
    *,
    penalties: Float[np.ndarray, " batch"],
) -> Float[np.ndarray, "batch units texts"]:
    """Return the log odds of each unit's texts by the fit without that unit, for each of several fits on all units.

    One Newton step from the fit on all units, the unit's own part taken out of the curvature (approximate leave-one-out: Rad &
    Maleki 2020). It leaves nothing to chance: no folds are drawn.
    """
    n_units, n_texts, d = x.shape
    design = np.concatenate((x, np.ones((n_units, n_texts, 1))), axis=2)
    lines = np.concatenate((fit.coefficients, fit.intercept[:, None]), axis=1)
    out = np.empty((len(lines), n_units, n_texts))
    for i, (line, penalty) in enumerate(zip(lines, penalties, strict=True)):
        linear = design @ line
        chance = special.expit(linear)
        curvature = weights * chance * (1.0 - chance)
        hessian = np.einsum("ut,utd,ute->de", curvature, design, design, optimize=True)
        hessian[np.arange(d), np.arange(d)] += penalty
        hessian += 1e-10 * np.eye(d + 1)
        inside = design @ np.linalg.solve(hessian, design.transpose(0, 2, 1))  # x H⁻¹ x' within each unit
        pull = inside @ (weights * (y - chance))[:, :, None]
        own_part = np.eye(n_texts) - inside * curvature[:, None, :]
        out[i] = linear - np.linalg.solve(own_part, pull)[:, :, 0]
    return out


def best_penalty(
    scores: Float[np.ndarray, "batch units texts"],
    y: Float[np.ndarray, " texts"],
    weights: Float[np.ndarray, " texts"],
    *,
    penalties: Float[np.ndarray, " batch"],
) -> int:
    """Return the number of the penalty with the smallest log loss of left-out scores, of equal ones the largest penalty."""
    losses = ((np.logaddexp(0.0, scores) - y * scores) * weights).sum(axis=(1, 2))
    return min(range(len(penalties)), key=lambda i: (round(losses[i], SCORE_DECIMALS), -penalties[i]))


def _check(
    x: Float[np.ndarray, " ..."],
    y: Float[np.ndarray, "batch n"],
    w: Float[np.ndarray, "batch n"],
    ridge: Float[np.ndarray, " batch"],
) -> None:
    if x.shape[-2] != y.shape[1] or (x.ndim == 3 and x.shape[0] != y.shape[0]) or x.ndim not in (2, 3):
        raise DataError(f"features of shape {x.shape} do not fit labels of shape {y.shape}")
    if not np.isfinite(x).all():
        raise DataError("features hold values that are not finite; a logistic fit needs numbers")
    if not (ridge > 0).all():
        raise DataError(f"penalty is {float(ridge.min())}; it must be above 0, or separable texts have no fit")
    mass = w.sum(axis=1)
    share = (w * y).sum(axis=1)
    if not ((share > 0) & (share < mass)).all():
        raise DataError("a set of labels holds only one class; a detector needs texts of both kinds")
