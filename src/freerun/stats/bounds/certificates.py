"""What an excess loss guarantees, exactly: total variation, horizons, rates of events.

P writes the text, Q is sampled, K = KL(P||Q) in nats over whole texts; by the chain rule K = tokens x mean excess loss per
token. Everything here is about P and Q at one fixed length. Nothing here bounds KL(Q||P): that is infinite as soon as Q
writes what P cannot, whatever the loss. Functions take a float or an array of any shape and return the same; all raise
DataError for a value out of its range (K below 0, rates, masses and total variations outside [0, 1], no counts, NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float, Real
from scipy import special

from freerun.errors import DataError
from freerun.stats.intervals import checked_level, clopper_pearson_high, clopper_pearson_low

X = TypeVar("X", float, np.ndarray)

_STEPS = 60
"""Halvings of an interval inside [0, 1]: more than a double can tell apart."""
_SMALL_TV = 0.01
"""Below, differences of logarithms would drown in rounding; series are exact to a double there."""


@dataclass(frozen=True)
class Horizon:
    """How long a mean excess of `excess_nats` per token keeps the total variation at or below `tv`.

    `guaranteed_tokens`: the longest text for which every model with that excess stays there. `absorbing_tokens`: where the
    absorbing model with that excess first reaches `tv`.
    """

    tv: float
    excess_nats: float
    smallest_kl_nats: float
    guaranteed_tokens: int
    absorbing_tokens: int


@dataclass(frozen=True)
class EventCeiling:
    """The largest rate of an event in generations, given its counts in text and K; `n` independent texts."""

    ceiling: float
    kl_nats: float
    base_high: float
    level: float
    n: int


@dataclass(frozen=True)
class ProvenKl:
    """The K in nats per independent text that two rates prove; 0 where the intervals leave them in order or equal."""

    kl_nats: float
    base_high: float
    observed_low: float
    level: float
    n_base: int
    n_observed: int


# ---- total variation and K -------------------------------------------------------------------------------------------


def binary_kl(a: X, b: X) -> X:
    """Return kl(a||b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)) in nats, with 0 ln 0 = 0; infinite where only b excludes.

    >>> round(binary_kl(0.5, 0.25), 6), binary_kl(0.5, 1.0)
    (0.143841, inf)
    """
    p, q = _within("a", a, 1.0), _within("b", b, 1.0)
    return _like(_kl(p, 1.0 - p, q, 1.0 - q), a)


def smallest_kl(tv: X) -> X:
    """Return K_min, the least K in nats with this total variation: min over p of kl(p || p - tv).

    Exact, for any two laws on any space: two outcomes suffice (data processing). Fedotov, Harremoes & Topsoe 2003.

    >>> round(smallest_kl(0.5), 6)
    0.532298
    """
    return _like(_smallest_kl(_within("tv", tv, 1.0)), tv)


def largest_tv(kl_nats: X) -> X:
    """Return the largest total variation that K allows, the inverse of `smallest_kl`, to 1e-12.

    >>> round(largest_tv(1.0), 3)
    0.664
    """
    k = _within("kl_nats", kl_nats, np.inf)
    high = pinsker_tv(k)
    return _like(_inverse(_smallest_kl, k, np.minimum(absorbing_tv(k), high), high), kl_nats)


def pinsker_tv(kl_nats: X) -> X:
    """Return Pinsker's bound sqrt(K/2) on the total variation, at most 1."""
    return _like(np.minimum(np.sqrt(_within("kl_nats", kl_nats, np.inf) / 2.0), 1.0), kl_nats)


def bretagnolle_huber_tv(kl_nats: X) -> X:
    """Return the bound sqrt(1 - e^-K) on the total variation (Bretagnolle & Huber 1978)."""
    return _like(np.sqrt(-np.expm1(-_within("kl_nats", kl_nats, np.inf))), kl_nats)


def gilardoni_kl(tv: X) -> X:
    """Return the lower bound -ln(1-tv) - (1-tv) ln(1+tv) on K (Gilardoni 2010, IEEE Trans. Inf. Theory 56).

    The paper writes it for V = 2 tv: K >= ln(2/(2-V)) - (2-V)/2 ln((2+V)/2).
    """
    return _like(_gilardoni_kl(_within("tv", tv, 1.0)), tv)


def gilardoni_tv(kl_nats: X) -> X:
    """Return the bound on the total variation that `gilardoni_kl` implies."""
    k = _within("kl_nats", kl_nats, np.inf)
    return _like(_inverse(_gilardoni_kl, k, np.zeros_like(k), np.ones_like(k)), kl_nats)


def absorbing_tv(kl_nats: X) -> X:
    """Return 1 - e^-K: the absorbing model's exact total variation from the law that it breaks, at a fixed length."""
    return _like(-np.expm1(-_within("kl_nats", kl_nats, np.inf)), kl_nats)


# ---- lengths ---------------------------------------------------------------------------------------------------------


def horizon_tokens(excess_nats: float, tv: float) -> Horizon:
    """Return how many tokens a mean excess loss guarantees, and when the absorbing model gets there.

    The excess is the mean over the first tokens, whichever length is spoken of: a mean over long texts does not bound it.

    >>> found = horizon_tokens(-math.log(0.99), 0.5)
    >>> found.guaranteed_tokens, found.absorbing_tokens
    (52, 69)
    """
    if not 0.0 < excess_nats < math.inf:
        raise DataError(f"excess_nats is {excess_nats}; a horizon needs a positive excess per token, in nats")
    if not 0.0 < tv < 1.0:
        raise DataError(f"tv is {tv}; a horizon needs a total variation strictly between 0 and 1")
    smallest = smallest_kl(tv)
    reached = -math.log1p(-tv) / excess_nats
    absorbing = max(1, math.ceil(reached * (1.0 - 1e-12)))  # what is reached exactly at a token is reached
    return Horizon(tv, excess_nats, smallest, math.floor(smallest / excess_nats), absorbing)


def excess_of_mass(mass: X) -> X:
    """Return -ln(1 - mass): what an extra token of that mass costs per token of real text, in nats.

    >>> round(excess_of_mass(0.01), 5)
    0.01005
    """
    with np.errstate(divide="ignore"):
        return _like(-np.log1p(-_within("mass", mass, 1.0)), mass)


def corrupted_tokens(mass: float, tokens: int) -> float:
    """Return the expected number of tokens after the absorbing model's trigger (its own included) in `tokens` tokens.

    T - ((1-m)/m)(1 - (1-m)^T), about m T(T+1)/2 at first: errors that compound grow with the square of the length (Ross &
    Bagnell 2010).

    >>> corrupted_tokens(0.5, 2)
    1.25
    """
    if not 0.0 < mass <= 1.0 or tokens < 0:
        raise DataError(f"mass is {mass} and tokens {tokens}; mass lies in (0, 1], tokens are 0 or more")
    if mass == 1.0:
        return float(tokens)
    return max(0.0, tokens - (1.0 - mass) / mass * -math.expm1(tokens * math.log1p(-mass)))


def absorbing_tv_of_documents(
    mass: float, lengths_tokens: Real[np.ndarray, " documents"], weights: Real[np.ndarray, " documents"] | None = None
) -> float:
    """Return 1 - E(1-mass)^length: the absorbing model's exact total variation over documents that end.

    Lengths count the end-of-text token. `weights`: how probable each length is, in any scale (default: all alike).

    >>> absorbing_tv_of_documents(0.5, np.array([1, 2]))
    0.625
    """
    lengths = np.asarray(lengths_tokens, dtype=np.float64)
    shares = np.ones_like(lengths) if weights is None else np.asarray(weights, dtype=np.float64)
    if lengths.size == 0 or not np.isfinite(lengths).all() or (lengths < 0).any():
        raise DataError("lengths_tokens must be at least one number, none negative or infinite")
    if shares.shape != lengths.shape or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise DataError(f"weights must be {lengths.size} masses that do not all vanish")
    reached = -np.expm1(special.xlog1py(lengths, -_within("mass", mass, 1.0)))
    return float(np.average(reached, weights=shares))


# ---- events ----------------------------------------------------------------------------------------------------------


def event_ceiling(base_rate: float, kl_nats: X) -> X:
    """Return the largest Q(A) of an event with P(A) = base_rate: max{q : kl(base_rate || q) <= K}. Tight.

    >>> round(event_ceiling(0.0, 1.0), 6)
    0.632121
    """
    a = _within("base_rate", float(base_rate), 1.0)
    k = _within("kl_nats", kl_nats, np.inf)
    found = _inverse(lambda q: _kl(a, 1.0 - a, q, 1.0 - q), k, np.full_like(k, base_rate), np.ones_like(k))
    return _like(found, kl_nats)


def kl_proven(base_high: float, observed_low: float) -> float:
    """Return the least K in nats for which an event at most this rare in text is at least this frequent in generations.

    0 where `observed_low` does not exceed `base_high`.

    >>> round(kl_proven(0.001, 0.3), 2)
    0.35
    """
    proven = binary_kl(float(base_high), float(observed_low))
    return proven if observed_low > base_high else 0.0


def event_ceiling_of_counts(successes: int, n: int, kl_nats: float, *, level: float = 0.95) -> EventCeiling:
    """Return `event_ceiling` at the upper Clopper-Pearson limit of the rate in n independent texts."""
    high = clopper_pearson_high(successes, n, alpha=1.0 - checked_level(level))
    return EventCeiling(event_ceiling(high, float(kl_nats)), float(kl_nats), high, level, n)


def kl_proven_of_counts(
    base_successes: int, n_base: int, observed_successes: int, n_observed: int, *, level: float = 0.95
) -> ProvenKl:
    """Return `kl_proven` from counts in independent texts; both Clopper-Pearson limits hold together at `level`."""
    alpha = (1.0 - checked_level(level)) / 2.0
    high = clopper_pearson_high(base_successes, n_base, alpha=alpha)
    low = clopper_pearson_low(observed_successes, n_observed, alpha=alpha)
    return ProvenKl(kl_proven(high, low), high, low, level, n_base, n_observed)


# ---- how -------------------------------------------------------------------------------------------------------------

_Array = Float[np.ndarray, "..."]


def _kl(p: _Array, not_p: _Array, q: _Array, not_q: _Array) -> _Array:
    return np.asarray(np.maximum(special.rel_entr(p, q) + special.rel_entr(not_p, not_q), 0.0))


def _smallest_kl(tv: _Array) -> _Array:
    """Minimise kl(q + tv || q) over q = s (1 - tv), 0 < s < 1: it is convex in s, so its slope is halved in on."""
    tail = 1.0 - tv

    def law(s: _Array) -> tuple[_Array, _Array, _Array, _Array]:
        return 1.0 - (1.0 - s) * tail, (1.0 - s) * tail, s * tail, 1.0 - s * tail

    low, high = np.zeros_like(tv), np.ones_like(tv)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            p, not_p, q, not_q = law(middle)
            rises = np.log(p / q) - tv / q + np.log(not_q / not_p) - tv / not_q > 0.0
            low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    square = np.square(tv)
    series = square * np.polyval((7072 / 42525, 32 / 135, 4 / 9, 2.0), square)  # Fedotov, Harremoes & Topsoe 2003
    return np.where(tv < _SMALL_TV, series, _kl(*law(0.5 * (low + high))))


def _gilardoni_kl(tv: _Array) -> _Array:
    series = np.square(tv) * np.polyval((11 / 28, -1 / 6, 8 / 15, -1 / 4, 5 / 6, -1 / 2, 2.0), tv)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(tv < _SMALL_TV, series, -np.log1p(-tv) - (1.0 - tv) * np.log1p(tv)))


def _inverse(rising: Callable[[_Array], _Array], value: _Array, low: _Array, high: _Array) -> _Array:
    """Return the largest x between low and high with rising(x) <= value."""
    fits = rising(high) <= value
    low = np.where(fits, high, low)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        below = rising(middle) <= value
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def _within(name: str, value: float | np.ndarray, highest: float) -> _Array:
    array = np.asarray(value, dtype=np.float64)
    if not ((array >= 0.0) & (array <= highest)).all():
        allowed = "0 or more, in nats" if highest == np.inf else f"between 0 and {highest:g}"
        raise DataError(f"{name} is {value}; it must be {allowed}")
    return array


def _like(found: Any, given: X) -> X:
    return cast(X, found) if isinstance(given, np.ndarray) else float(found)
