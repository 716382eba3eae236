"""The table that llama.cpp's perplexity tool prints with --kl-divergence, under its names: p is its base, q its Q.

The estimates are its own. The intervals are not: documents are the units here, tokens there. `independent_tokens_error` is what it
prints after ±, right only if tokens were independent. Its base laws are stored in 16 bits with a floor 16 nats below the likeliest
token, so that its KLD can be a little negative where this one cannot.

Source: llama.cpp, tools/perplexity. Same top p, PPL and Δp are those of the tokens given; `windows.py` says which ones it takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import Interval, cluster_ratio, group_index, t_quantile
from freerun.stats.proportions import clustered_proportion
from freerun.stats.quantiles import clustered_quantiles
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.token_means import delta_p, token_units

Unit = Literal["", "nats", "%"]

_KLD_SHARES = (0.999, 0.99, 0.95, 0.9, 0.5, 0.1, 0.05, 0.01, 0.001)
_DELTA_SHARES = (0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    `value` is None where it is infinite. `low`, `high` are None where that end is open, and for extremes, which have no interval.
    `independent_tokens_error`: the tool's own ±; None where it prints none.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    independent_tokens_error: float | None
    unit: Unit


@dataclass(frozen=True)
class LlamaCppTable:
    """The rows in the tool's order. `impossible_tokens` have no mass under one of the laws: what they enter is infinite."""

    rows: tuple[Row, ...]
    n_tokens: int
    impossible_tokens: int
    level: float
    n: int

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(r for r in self.rows if r.name == name)


def llama_cpp_table(laws: TwoLaws, *, level: float = 0.95) -> LlamaCppTable:
    """Return llama.cpp's table from all tokens of these texts; units of the texts are the independent ones.

    Raises TooFewDocuments for fewer than two units.
    """
    inside, group = laws.inside, token_units(laws)
    _, n = group_index(group)
    if n < 2:
        raise TooFewDocuments(f"a table with intervals needs at least 2 documents, there is {n}")
    base, other = -laws.log_p[inside], -laws.log_q[inside]
    kld, delta = laws.kl_pq[inside], 100.0 * delta_p(laws)[inside]
    agree = laws.same_top[inside].astype(np.float64)
    tokens = _Tokens(group, level)
    rows = (
        *_perplexity(base, other, tokens),
        *_spread("KLD", kld, _KLD_SHARES, tokens, "nats"),
        *_spread("Δp", delta, _DELTA_SHARES, tokens, "%"),
        _root_mean_square(delta, tokens),
        _same_top(agree, tokens),
    )
    impossible = int(np.count_nonzero(np.isinf(base) | np.isinf(other) | np.isinf(kld)))
    return LlamaCppTable(rows, base.size, impossible, level, n)


@dataclass(frozen=True, eq=False)
class _Tokens:
    """What all tokens share: their units, and the level of the intervals."""

    group: Int[np.ndarray, " tokens"]
    level: float

    def mean(self, values: Float[np.ndarray, " tokens"]) -> Interval | None:
        """None where it is infinite."""
        if not np.isfinite(values).all():
            return None
        return cluster_ratio(values, np.ones(values.size), self.group, level=self.level)


def _perplexity(
    base: Float[np.ndarray, " tokens"], other: Float[np.ndarray, " tokens"], tokens: _Tokens
) -> Iterator[Row]:
    losses = {"Q": tokens.mean(other), "base": tokens.mean(base)}
    errors = {"Q": _error(other), "base": _error(base)}
    for name, loss in losses.items():
        yield _exponential(f"Mean PPL({name})", loss, errors[name])
    yield _correlation(base, other, tokens)
    with np.errstate(invalid="ignore"):
        gap = other - base
    ratio, error = tokens.mean(gap), _error(gap)
    yield _row("Mean ln(PPL(Q)/PPL(base))", ratio, error, "nats")
    yield _exponential("Mean PPL(Q)/PPL(base)", ratio, error)
    q, b = losses["Q"], losses["base"]
    if q is None or b is None:
        yield Row("Mean PPL(Q)-PPL(base)", None, None, None, None, "")
        return
    ppl_q, ppl_b = math.exp(q.value), math.exp(b.value)
    # linearised: PPL moves by itself times what its mean loss moves by
    moved = ppl_q * (other - q.value) - ppl_b * (base - b.value) + (ppl_q - ppl_b)
    yield _row("Mean PPL(Q)-PPL(base)", tokens.mean(moved), _error(moved), "")


def _spread(
    name: str, values: Float[np.ndarray, " tokens"], shares: tuple[float, ...], tokens: _Tokens, unit: Unit
) -> Iterator[Row]:
    yield _row(f"Mean {name}", tokens.mean(values), _error(values), unit)
    yield _extreme(f"Maximum {name}", float(values.max()), unit)
    for q in clustered_quantiles(values, tokens.group, shares, level=tokens.level):
        label = "Median" if q.share == 0.5 else f"{100 * q.share:.1f}%"
        yield Row(f"{label} {name}", _finite(q.value), _finite(q.low), _finite(q.high), None, unit)
    yield _extreme(f"Minimum {name}", float(values.min()), unit)


def _root_mean_square(delta: Float[np.ndarray, " tokens"], tokens: _Tokens) -> Row:
    found = cluster_ratio(np.square(delta), np.ones(delta.size), tokens.group, level=tokens.level)
    value, low, high = (math.sqrt(max(x, 0.0)) for x in (found.value, found.low, found.high))
    return Row("RMS Δp", value, low, high, 0.5 / value * (_error(np.square(delta)) or 0.0) if value else None, "%")


def _same_top(agree: Float[np.ndarray, " tokens"], tokens: _Tokens) -> Row:
    found = clustered_proportion(agree, np.ones(agree.size), tokens.group, level=tokens.level)
    error = math.sqrt(found.value * (1.0 - found.value) / (agree.size - 1))
    return Row("Same top p", 100.0 * found.value, 100.0 * found.low, 100.0 * found.high, 100.0 * error, "%")


def _correlation(base: Float[np.ndarray, " tokens"], other: Float[np.ndarray, " tokens"], tokens: _Tokens) -> Row:
    """Pearson's correlation of the tokens' losses; limits by a jackknife over documents of its inverse hyperbolic tangent."""
    name = "Cor(ln(PPL(Q)), ln(PPL(base)))"
    if not (np.isfinite(base).all() and np.isfinite(other).all()):
        return Row(name, None, None, None, None, "%")
    index, n = group_index(tokens.group)
    x, y = base - base.mean(), other - other.mean()
    columns = (np.ones(x.size), x, y, x * x, y * y, x * y)
    sums = np.stack([np.bincount(index, weights=c, minlength=n) for c in columns])
    value = float(_pearson(sums.sum(axis=1)))
    without = _pearson(sums.sum(axis=1)[:, None] - sums)
    if not np.isfinite(without).all() or max(abs(value), float(np.abs(without).max())) >= 1.0 - 1e-12:
        return Row(name, 100.0 * value if math.isfinite(value) else None, None, None, None, "%")
    moves = np.arctanh(without)
    error = math.sqrt((n - 1) / n * float(np.square(moves - moves.mean()).sum()))
    reach = t_quantile(n, tokens.level) * error
    low, high = (100.0 * math.tanh(math.atanh(value) + sign * reach) for sign in (-1.0, 1.0))
    return Row(name, 100.0 * value, low, high, None, "%")


def _pearson(sums: Float[np.ndarray, "6 *rows"]) -> Float[np.ndarray, "*rows"]:
    """From the number and the sums of x, y, x², y², xy; NaN where one of the two does not vary."""
    n, x, y, xx, yy, xy = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n)))


def _row(name: str, mean: Interval | None, error: float | None, unit: Unit) -> Row:
    if mean is None:
        return Row(name, None, None, None, None, unit)
    return Row(name, mean.value, mean.low, mean.high, error, unit)


def _exponential(name: str, mean: Interval | None, error: float | None) -> Row:
    if mean is None:
        return Row(name, None, None, None, None, "")
    value, low, high = (math.exp(x) for x in (mean.value, mean.low, mean.high))
    return Row(name, value, low, high, None if error is None else value * error, "")


def _extreme(name: str, value: float, unit: Unit) -> Row:
    return Row(name, _finite(value), None, None, None, unit)


def _error(values: Float[np.ndarray, " tokens"]) -> float | None:
    """The standard error of a mean if tokens were independent."""
    return float(values.std(ddof=1)) / math.sqrt(values.size) if np.isfinite(values).all() and values.size > 1 else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
