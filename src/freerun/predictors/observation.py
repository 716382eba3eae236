"""What records keep of a law: one sweep over a block of rows gives every statistic.

Written to the array-API subset that NumPy and torch share; sums run in float64. Natural logarithms throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Int

POWERS: tuple[float, ...] = (-0.25, -0.125, 0.125, 0.25, 0.5)
"""The grid of λ at which log Σ q^(1−λ) is kept; eighths, so that square roots suffice."""

BIN_WIDTH_NATS = 0.5
N_BINS = 33
"""Calibration bins by −log q: 32 of half a nat and one for everything below e^−16."""

_NARROW_ABOVE = 4096
"""Vocabulary above which the power sums run in float32 (relative error about 1e-7)."""


@dataclass(frozen=True)
class Observation:
    """What the laws of `rows` contexts say of one token each (host arrays, one entry a row).

    `log_prob_nats` is −inf for an impossible token. What is not known is NaN, and −1 in `rank` and `top_id`: where mass is missing
    from the law, `entropy_nats`, `varentropy_nats2` and `log_power_sum`; of a `partial` one, all that was not given.
    `loop_mass` is the mass on the watched ids. `cdf_below` is the mass on smaller ids, so that `cdf_below +
    U·exp(log_prob_nats)` is uniform under the law (PIT); so is `mass_above + U·exp(log_prob_nats)`, with the mass on more
    probable ids and on smaller ones of the same probability. `expected_counts[b]` is the mass in log-probability bin b.
    """

    token_id: Int[np.ndarray, " rows"]
    log_prob_nats: Float[np.ndarray, " rows"]
    entropy_nats: Float[np.ndarray, " rows"]
    varentropy_nats2: Float[np.ndarray, " rows"]
    rank: Int[np.ndarray, " rows"]
    top_id: Int[np.ndarray, " rows"]
    top_log_prob_nats: Float[np.ndarray, " rows"]
    cdf_below: Float[np.ndarray, " rows"]
    mass_above: Float[np.ndarray, " rows"]
    log_power_sum: Float[np.ndarray, "rows powers"]
    loop_mass: Float[np.ndarray, " rows"]
    expected_counts: Float[np.ndarray, "rows bins"]

    @property
    def observed_bin(self) -> Int[np.ndarray, " rows"]:
        """The calibration bin of the token itself."""
        return bin_of(self.log_prob_nats)

    @staticmethod
    def partial(
        token_id: Int[np.ndarray, " rows"],
        log_prob_nats: Float[np.ndarray, " rows"],
        *,
        rank: Int[np.ndarray, " rows"] | None = None,
        top_id: Int[np.ndarray, " rows"] | None = None,
        top_log_prob_nats: Float[np.ndarray, " rows"] | None = None,
    ) -> Observation:
        """What a backend without whole laws can tell of the tokens (a server with its few most probable ones)."""
        n = len(token_id)
        unknown, no_id = np.full(n, np.nan), np.full(n, -1, np.int32)
        return Observation(
            token_id=token_id,
            log_prob_nats=log_prob_nats,
            entropy_nats=unknown,
            varentropy_nats2=unknown,
            rank=no_id if rank is None else rank,
            top_id=no_id if top_id is None else top_id,
            top_log_prob_nats=unknown if top_log_prob_nats is None else top_log_prob_nats,
            cdf_below=unknown,
            mass_above=unknown,
            log_power_sum=np.full((n, len(POWERS)), np.nan),
            loop_mass=unknown,
            expected_counts=np.full((n, N_BINS), np.nan),
        )

    def take(self, rows: Any) -> Observation:
        """The same for some of the rows."""
        return Observation(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Observation]) -> Observation:
        """Stack observations row after row."""
        return Observation(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Observation)})


class Trace:
    """Observations of `rows` sequences filled in position by position: every column has shape [rows, length, …]."""

    def __init__(self, n_rows: int, length: int) -> None:
        self.shape = (n_rows, length)
        self.columns: dict[str, np.ndarray] = {}

    def put(self, rows: Int[np.ndarray, " rows"], position: int | Int[np.ndarray, " rows"], seen: Observation) -> None:
        """Enter one observation for each of the rows, at one position or each at its own."""
        for f in fields(Observation):
            value = getattr(seen, f.name)
            if f.name not in self.columns:
                self.columns[f.name] = np.zeros(self.shape + value.shape[1:], value.dtype)
            self.columns[f.name][rows, position] = value

    def row(self, row: int, n_tokens: int) -> Observation:
        """The first `n_tokens` observations of one sequence."""
        return Observation(**{name: column[row, :n_tokens] for name, column in self.columns.items()})


def bin_of(log_prob_nats: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The calibration bin of each log-probability: half a nat each, the last one open.

    >>> bin_of(np.log([1.0, 0.5, 1e-9])).tolist()
    [0, 1, 32]
    """
    return np.clip(-np.asarray(log_prob_nats) / BIN_WIDTH_NATS, 0, N_BINS - 1).astype(np.int32)


def is_torch(array: Any) -> bool:
    return type(array).__module__.split(".")[0] == "torch"


def host(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if is_torch(array) else np.asarray(array)


def alike(array: Any, like: Any) -> Any:
    """An array in the library and on the device of another."""
    if type(array) is type(like):
        return array
    return array_namespace(like).asarray(np.array(host(array)), device=device(like))


@dataclass(frozen=True)
class Block:
    """Normalised log-probabilities and probabilities (float64) of some rows; the rows sum to `1 − missing`."""

    log_probs: Any
    probs: Any


def log(xp: Any, probs: Any) -> Any:
    """Logarithm with −inf at zero and no warning."""
    if is_torch(probs):
        return xp.log(probs)
    with np.errstate(divide="ignore"):
        return np.log(probs)


def observe_block(
    part: Block,
    ids: Int[np.ndarray, " rows"] | None,
    uniforms: Float[np.ndarray, " rows"] | None,
    watched: Int[np.ndarray, "rows k"] | None,
    *,
    whole: bool,
) -> Observation:
    """All statistics of one block. Sums run in float64; passes are over a block that fits the cache."""
    log_probs, probs = part.log_probs, part.probs
    xp = array_namespace(probs)
    where = device(probs)
    n_rows, n_tokens = probs.shape
    finite = xp.clip(log_probs, -1e4, 0.0)  # so that 0 · ln 0 is 0

    below = xp.cumulative_sum(probs, axis=1)
    if ids is None or (uniforms is not None and bool((ids < 0).any())):
        assert uniforms is not None
        target = xp.asarray(np.array(uniforms), device=where)[:, None] * below[:, -1:]
        drawn = xp.sum(xp.astype(below <= target, xp.int64), axis=1)
        if bool(xp.any(drawn >= n_tokens)):  # u · total rounded up to the total: take the last id that can be drawn
            last = xp.max(xp.where(probs > 0, xp.arange(n_tokens, device=where)[None, :], 0), axis=1)
            drawn = xp.minimum(drawn, last)
        chosen = drawn
        if ids is not None:
            given = xp.asarray(np.array(ids), device=where)
            chosen = xp.where(given >= 0, given, chosen)
    else:
        chosen = xp.asarray(np.array(ids).astype(np.int64), device=where)
    column = chosen[:, None]
    log_prob = xp.take_along_axis(log_probs, column, axis=1)
    before = xp.take_along_axis(below, xp.clip(column - 1, 0, None), axis=1)
    before = before / below[:, -1:] if whole else before  # the sum of a whole law is 1 but for rounding
    before = xp.where(column > 0, before, xp.zeros_like(before))

    tied = (log_probs == log_prob) & (xp.arange(n_tokens, device=where)[None, :] < column)
    ahead = (log_probs > log_prob) | tied

    weighted = probs * finite
    entropy = -xp.sum(weighted, axis=1)
    second = xp.sum(weighted * finite, axis=1)
    top = xp.argmax(probs, axis=1)

    narrow = xp.astype(probs, xp.float32) if n_tokens > _NARROW_ABOVE else probs
    half = xp.sqrt(narrow)
    quarter = xp.sqrt(half)
    eighth = xp.sqrt(quarter)
    three_quarters = half * quarter
    powers = [narrow * quarter, narrow * eighth, three_quarters * eighth, three_quarters, half]
    power_sums = xp.log(xp.stack([xp.sum(p, axis=1) for p in powers], axis=1))

    mass = np.zeros(n_rows)
    if watched is not None and watched.size and (watched >= 0).any():
        wanted = xp.asarray(np.array(np.maximum(watched, 0)).astype(np.int64), device=where)
        held = xp.take_along_axis(probs, wanted, axis=1)
        mass = np.where(watched >= 0, host(held), 0.0).sum(1)

    return Observation(
        token_id=host(chosen).astype(np.int32),
        log_prob_nats=host(log_prob)[:, 0].astype(np.float64),
        entropy_nats=host(entropy),
        varentropy_nats2=np.maximum(host(second - entropy * entropy), 0.0),
        rank=host(1 + xp.sum(xp.astype(log_probs > log_prob, xp.int64), axis=1)).astype(np.int32),
        top_id=host(top).astype(np.int32),
        top_log_prob_nats=host(xp.take_along_axis(log_probs, top[:, None], axis=1))[:, 0].astype(np.float64),
        cdf_below=host(before)[:, 0].astype(np.float64),
        mass_above=host(xp.sum(xp.where(ahead, probs, xp.zeros_like(probs)), axis=1)).astype(np.float64),
        log_power_sum=host(power_sums).astype(np.float64),
        loop_mass=mass,
        expected_counts=_expected_counts(xp, finite, probs),
    )


def _expected_counts(xp: Any, log_probs: Any, probs: Any) -> Float[np.ndarray, "rows bins"]:
    """Mass in each log-probability bin."""
    n_rows = probs.shape[0]
    bins = xp.astype(xp.clip(log_probs * (-1 / BIN_WIDTH_NATS), 0, N_BINS - 1), xp.int64)
    if is_torch(probs):
        counts = xp.zeros((n_rows, N_BINS), dtype=xp.float64, device=device(probs))
        return host(counts.scatter_add_(1, bins, probs))
    bins = bins + np.arange(n_rows)[:, None] * N_BINS
    return np.bincount(bins.ravel(), weights=probs.ravel(), minlength=n_rows * N_BINS).reshape(n_rows, N_BINS)
