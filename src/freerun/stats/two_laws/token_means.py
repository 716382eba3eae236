"""How far two laws are apart at one token, on average over the tokens of some texts: documents are the units, tokens are not.

On real text these are descriptions. No certificate follows from them: real text visits other contexts than the models' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import PositionCurve, curve_by_position
from freerun.stats.proportions import clustered_proportion
from freerun.stats.two_laws.texts import TwoLaws

Column = Literal["kl_pq", "kl_qp", "tv", "gap"]


@dataclass(frozen=True)
class TokenMean:
    """A mean over tokens, each of equal weight, with a document-clustered interval.

    `interval` is None where `infinite_tokens` of the `n_tokens` are infinite, so that the mean is.
    """

    interval: Interval | None
    n_tokens: int
    infinite_tokens: int


@dataclass(frozen=True)
class TokenMeans:
    """Two laws along the same texts.

    `kl_pq`, `kl_qp`: KL(p‖q) and KL(q‖p) in nats. `tv`: total variation of the two laws of the next token, in [0, 1].
    `loss_p`, `loss_q`: −ln p(x), −ln q(x) of the token that stands there, nats; `loss_difference`: q's less p's.
    `delta_p`: q(x) − p(x) in [−1, 1], the sign as llama.cpp has it with p as its base. `same_top`: share of tokens at which both
    laws have the same likeliest token.
    """

    kl_pq: TokenMean
    kl_qp: TokenMean
    tv: TokenMean
    loss_p: TokenMean
    loss_q: TokenMean
    loss_difference: TokenMean
    delta_p: TokenMean
    same_top: TokenMean


def token_means(laws: TwoLaws, *, level: float = 0.95) -> TokenMeans:
    """Return the means of everything that two laws say of single tokens.

    Raises TooFewDocuments for fewer than two units.
    """
    inside = laws.inside
    group = token_units(laws)

    def mean(values: Float[np.ndarray, "texts tokens"]) -> TokenMean:
        return _mean(values[inside], group, level)

    agree = laws.same_top[inside].astype(np.float64)
    share = clustered_proportion(agree, np.ones(agree.size), group, level=level)
    return TokenMeans(
        kl_pq=mean(laws.kl_pq),
        kl_qp=mean(laws.kl_qp),
        tv=mean(laws.tv),
        loss_p=mean(-laws.log_p),
        loss_q=mean(-laws.log_q),
        loss_difference=mean(laws.gap),
        delta_p=mean(delta_p(laws)),
        same_top=TokenMean(share, agree.size, 0),
    )


def by_position(
    laws: TwoLaws, column: Column, edges: Int[np.ndarray, " edges"], *, level: float = 0.95
) -> tuple[PositionCurve, int]:
    """Return the mean of a column per bin of positions, counted from 0 at each text's first token, and how many infinite tokens are
    left out of it.

    Raises DataError as `curve_by_position` does.
    """
    inside = laws.inside
    values = getattr(laws, column)[inside]
    positions = np.broadcast_to(np.arange(inside.shape[1]), inside.shape)[inside]
    infinite = ~np.isfinite(values)
    curve = curve_by_position(
        np.where(infinite, np.nan, values), positions, token_units(laws), edges=edges, level=level
    )
    return curve, int(infinite.sum())


def delta_p(laws: TwoLaws) -> Float[np.ndarray, "texts tokens"]:
    """Return q(x) − p(x) of the token that stands there; NaN past the text's end."""
    return np.asarray(np.exp(laws.log_q) - np.exp(laws.log_p))


def token_units(laws: TwoLaws) -> Int[np.ndarray, " tokens"]:
    """Return the unit of each token of each text, in the order in which `column[laws.inside]` has them."""
    return np.asarray(np.repeat(laws.unit, laws.n_tokens))


def finite_tokens(laws: TwoLaws) -> Bool[np.ndarray, "texts tokens"]:
    """Return which tokens have mass under both laws and a finite KL(p‖q)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(laws.inside & np.isfinite(laws.gap) & np.isfinite(laws.kl_pq))


def _mean(values: Float[np.ndarray, " tokens"], group: Int[np.ndarray, " tokens"], level: float) -> TokenMean:
    infinite = int(np.count_nonzero(~np.isfinite(values)))
    interval = cluster_ratio(values, np.ones(values.size), group, level=level) if infinite == 0 else None
    return TokenMean(interval, values.size, infinite)
