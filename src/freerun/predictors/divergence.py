"""How far apart two laws of the same contexts are: one sweep over a block of rows of both.

KL divergences are summed as Σ (p·ln(p/q) − p + q), whose terms are all ≥ 0 and whose extra part sums to nothing: two laws that
differ in the last digits keep the digits of their divergence. Natural logarithms; sums run in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Bool, Float, Int

from freerun.errors import UsageError
from freerun.predictors.observation import Block, alike, host, is_torch


@dataclass(frozen=True)
class Divergence:
    """Laws p and q of `rows` contexts, and what both say of one token each (host arrays, one entry a row).

    `log_p_nats` or `log_q_nats` is −inf where that law gives the token no mass, or has no such id. A divergence is +inf where one
    law has mass that the other lacks.
    """

    token_id: Int[np.ndarray, " rows"]
    log_p_nats: Float[np.ndarray, " rows"]
    log_q_nats: Float[np.ndarray, " rows"]
    kl_pq_nats: Float[np.ndarray, " rows"]
    """KL(p‖q)."""
    kl_qp_nats: Float[np.ndarray, " rows"]
    tv: Float[np.ndarray, " rows"]
    """Total variation, ½ Σ |p − q|."""
    entropy_p_nats: Float[np.ndarray, " rows"]
    entropy_q_nats: Float[np.ndarray, " rows"]
    top_p_id: Int[np.ndarray, " rows"]
    """Most probable id of p, the smallest among equals; −1 where that is not known."""
    top_q_id: Int[np.ndarray, " rows"]
    top_log_p_nats: Float[np.ndarray, " rows"]
    """Of p's most probable id, under p."""
    top_log_q_nats: Float[np.ndarray, " rows"]
    added_mass: Float[np.ndarray, " rows"]
    """Mass that q puts on ids that p does not have."""

    @property
    def same_top(self) -> Bool[np.ndarray, " rows"]:
        """Whether both laws are known to have the same most probable id."""
        return np.asarray((self.top_p_id == self.top_q_id) & (self.top_p_id >= 0))

    @property
    def gap_nats(self) -> Float[np.ndarray, " rows"]:
        """ln p − ln q of the token."""
        return np.asarray(self.log_p_nats - self.log_q_nats)

    @staticmethod
    def of_tokens(
        token_id: Int[np.ndarray, " rows"],
        log_p_nats: Float[np.ndarray, " rows"],
        log_q_nats: Float[np.ndarray, " rows"],
    ) -> Divergence:
        """What is known where one of the laws is not whole: of the tokens alone. All else is NaN, and −1 in ids."""
        unknown, no_id = np.full(len(token_id), np.nan), np.full(len(token_id), -1, np.int64)
        return Divergence(
            token_id=np.asarray(token_id),
            log_p_nats=np.asarray(log_p_nats, np.float64),
            log_q_nats=np.asarray(log_q_nats, np.float64),
            kl_pq_nats=unknown,
            kl_qp_nats=unknown,
            tv=unknown,
            entropy_p_nats=unknown,
            entropy_q_nats=unknown,
            top_p_id=no_id,
            top_q_id=no_id,
            top_log_p_nats=unknown,
            top_log_q_nats=unknown,
            added_mass=unknown,
        )

    def take(self, rows: Any) -> Divergence:
        """The same for some of the rows."""
        return Divergence(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Divergence]) -> Divergence:
        """Stack divergences row after row."""
        return Divergence(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Divergence)})


class Sized(Protocol):
    """What of a law decides whether it can stand beside another."""

    n_rows: int
    n_tokens: int
    missing: Float[np.ndarray, " rows"] | None


def check_side_by_side(p: Sized, q: Sized, ids: Int[np.ndarray, " rows"]) -> None:
    """Refuse what `Law.beside` cannot take.

    Raises:
        UsageError: rows that differ, fewer ids in q than in p, an id that neither has, or a law with missing mass.
    """
    if p.n_rows != q.n_rows or np.shape(ids) != (p.n_rows,):
        raise UsageError(
            f"laws of {p.n_rows} and {q.n_rows} rows and ids of shape {np.shape(ids)} are not of the same contexts"
        )
    if q.n_tokens < p.n_tokens:
        raise UsageError(
            f"the second law has {q.n_tokens} ids, fewer than the first one's {p.n_tokens}: give them in the other order"
        )
    if p.n_rows and not 0 <= int(np.min(ids)) <= int(np.max(ids)) < q.n_tokens:
        raise UsageError(
            f"token ids {int(np.min(ids))} to {int(np.max(ids))} are not all among these laws' {q.n_tokens}"
        )
    if any(law.missing is not None and bool((law.missing > 0).any()) for law in (p, q)):
        raise UsageError("a law with missing mass has no divergence from another: what is missing is not known")


def diverge_block(first: Block, second: Block, ids: Int[np.ndarray, " rows"]) -> Divergence:
    """The divergence of two blocks; the second may have more ids. A torch block keeps its device, the other one goes there."""
    if is_torch(first.probs):
        second = Block(alike(second.log_probs, first.probs), alike(second.probs, first.probs))
    else:
        first = Block(alike(first.log_probs, second.probs), alike(first.probs, second.probs))
    p, q, log_p, log_q = first.probs, second.probs, first.log_probs, second.log_probs
    xp = array_namespace(p)
    n_shared = p.shape[1]
    shared, log_shared = q[:, :n_shared], log_q[:, :n_shared]
    zero, infinite = xp.zeros_like(p), xp.full_like(p[:, 0], xp.inf)
    p_lacks, q_lacks = log_p == -xp.inf, log_shared == -xp.inf
    # an infinite difference of logarithms counts where the other law has mass, and not where neither has; a mass that is too
    # small for its number format is known by its logarithm
    ratio = xp.where(p_lacks | q_lacks, zero, log_p) - xp.where(p_lacks | q_lacks, zero, log_shared)
    added = xp.sum(q[:, n_shared:], axis=1)
    forward = xp.sum(p * ratio - p + shared, axis=1) + added
    backward = xp.sum(shared * -ratio - shared + p, axis=1)
    adds = xp.any(log_q[:, n_shared:] > -xp.inf, axis=1)
    forward = xp.where(xp.any(q_lacks & ~p_lacks, axis=1), infinite, forward)
    backward = xp.where(xp.any(p_lacks & ~q_lacks, axis=1) | adds, infinite, backward)
    tops = [xp.argmax(x, axis=1) for x in (p, q)]
    at_top = [_at(xp, x, top) for x, top in zip((log_p, log_q), tops, strict=True)]
    chosen = xp.asarray(np.array(ids).astype(np.int64), device=device(p))
    columns = {
        "token_id": np.array(ids).astype(np.int32),
        "log_p_nats": _at(xp, log_p, chosen),
        "log_q_nats": _at(xp, log_q, chosen),
        "kl_pq_nats": forward,
        "kl_qp_nats": backward,
        "tv": 0.5 * (xp.sum(xp.abs(p - shared), axis=1) + added),
        "entropy_p_nats": _entropy(xp, p, log_p),
        "entropy_q_nats": _entropy(xp, q, log_q),
        "top_p_id": xp.astype(tops[0], xp.int32),
        "top_q_id": xp.astype(tops[1], xp.int32),
        "top_log_p_nats": at_top[0],
        "top_log_q_nats": at_top[1],
        "added_mass": added,
    }
    return Divergence(**{name: host(column) for name, column in columns.items()})


def _entropy(xp: Any, probs: Any, log_probs: Any) -> Any:
    return -xp.sum(probs * xp.clip(log_probs, -1e4, 0.0), axis=1)


def _at(xp: Any, table: Any, ids: Any) -> Any:
    """One column a row; −inf for ids that the table does not have."""
    known = ids < table.shape[1]
    values = xp.take_along_axis(table, xp.where(known, ids, xp.zeros_like(ids))[:, None], axis=1)[:, 0]
    return xp.where(known, values, xp.full_like(values, -xp.inf))
