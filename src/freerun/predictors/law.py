"""The law of the next token for a batch of contexts, and new laws from old ones.

A law is `rows` distributions over one vocabulary, on the device where it was made. `Law.observe` is its one primitive: all
that records keep in one sweep over blocks of rows, so that rows × vocabulary is never held in float64 at once. New laws come from
old ones (`mixed`, `tempered`, `restricted`, `with_atom`); they are normalised block by block, when observed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Int

from freerun.errors import BrokenLaw, UsageError
from freerun.predictors.divergence import Divergence, check_side_by_side, diverge_block
from freerun.predictors.kernels import fused, on_device
from freerun.predictors.kernels.wide import where_float64_is
from freerun.predictors.observation import Block, Observation, alike, host, is_torch, log, observe_block

_BLOCK_ELEMENTS = 1 << 18
_Rows = Int[np.ndarray, "rows ..."]
_Reals = Float[np.ndarray, " rows"]


class Law(ABC):
    """Distributions of the next token: `n_rows` of them over `n_tokens` ids. `missing` is the mass that the law does not resolve,
    per row (None: fully known); such a law cannot be sampled, tempered or restricted."""

    n_rows: int
    n_tokens: int
    missing: Float[np.ndarray, " rows"] | None = None

    @abstractmethod
    def block(self, start: int, stop: int) -> Block:
        """Rows `start` to `stop`, normalised, in float64 on the law's own device."""

    # ---- what records keep -------------------------------------------------------------------------------------------

    def observe(
        self, ids: _Rows | None = None, uniforms: _Reals | None = None, watched: _Rows | None = None
    ) -> Observation:
        """Observe one token a row: the given `ids`, or tokens drawn by inverse CDF from `uniforms` in [0, 1).

        With both, `uniforms` are ignored for rows whose id is ≥ 0. `watched` holds ids whose total mass is wanted (−1: none).

        Raises:
            UsageError: neither ids nor uniforms, or an id outside the vocabulary.
            BackendError: a law with NaN in it (a broken checkpoint).
        """
        if ids is None and uniforms is None:
            raise UsageError("Law.observe needs ids (which tokens to observe) or uniforms (which to draw)")
        if ids is not None and ids.shape != (self.n_rows,):
            raise UsageError(f"a law of {self.n_rows} rows needs one id each, not ids of shape {ids.shape}")
        if ids is not None and ids.size and int(ids.max()) >= self.n_tokens:
            raise UsageError(f"token id {int(ids.max())} lies outside this law's vocabulary of {self.n_tokens}")
        if uniforms is None and ids is not None and ids.size and int(ids.min()) < 0:
            raise UsageError(f"token id {int(ids.min())} is negative, and no uniforms are given to draw a token there")
        if uniforms is not None and self.missing is not None:
            raise UsageError("a law with missing mass cannot be sampled")
        if (narrow := self._narrow()) is not None:
            way = on_device.observe if fused.is_on_device(narrow[0]) else fused.observe
            return way(narrow[0], ids, uniforms, watched, scale=narrow[1])
        return self._observed(ids, uniforms, watched)

    def _observed(self, ids: _Rows | None, uniforms: _Reals | None, watched: _Rows | None) -> Observation:
        """`observe` with arguments that hold, the plain way: the definition of what compiled kernels give."""
        parts = [
            observe_block(
                self.block(rows.start, rows.stop),
                None if ids is None else ids[rows],
                None if uniforms is None else uniforms[rows],
                None if watched is None else watched[rows],
                whole=self.missing is None,
            )
            for rows in self._spans()
        ]
        seen = Observation.concatenate(parts)
        if self.missing is None:
            return seen
        unknown = np.where(self.missing > 0, np.nan, 0.0)
        return replace(
            seen,
            entropy_nats=seen.entropy_nats + unknown,
            varentropy_nats2=seen.varentropy_nats2 + unknown,
            log_power_sum=seen.log_power_sum + unknown[:, None],
        )

    # ---- two laws ----------------------------------------------------------------------------------------------------

    def beside(self, other: Law, ids: _Rows) -> Divergence:
        """Both laws of the same contexts side by side, and what they say of one token a row: self is p, `other` is q.

        q may have more ids than p, the first of which are p's; a token may be any of q's.

        Raises:
            UsageError: rows that differ, fewer ids in q than in p, an id that neither has, or a law with missing mass.
            BackendError: a law with NaN in it.
        """
        check_side_by_side(self, other, ids)
        first, second = self._narrow(), other._narrow()
        if first is not None and second is not None and not any(fused.is_on_device(x) for x, _ in (first, second)):
            return fused.beside(*first, *second, ids)
        parts = ((self.block(r.start, r.stop), other.block(r.start, r.stop), ids[r]) for r in other._spans())
        return Divergence.concatenate([diverge_block(*part) for part in parts])

    def _narrow(self) -> tuple[Any, float] | None:
        """Logits and their scale, where the law is softmax(scale · logits) of what compiled kernels read."""
        return None

    def draw(self, uniforms: Float[np.ndarray, " rows"]) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """One id a row by inverse CDF, and its log-probability in nats: `observe` without the rest."""
        seen = self.observe(uniforms=np.asarray(uniforms))
        return seen.token_id.astype(np.int64), seen.log_prob_nats

    # ---- conveniences ------------------------------------------------------------------------------------------------

    def log_probs(self) -> Float[np.ndarray, "rows vocabulary"]:
        """The whole table on the host, in nats. For small laws and tests."""
        return host(self.block(0, self.n_rows).log_probs).astype(np.float64)

    def probs(self) -> Float[np.ndarray, "rows vocabulary"]:
        """The whole table of probabilities on the host."""
        return host(self.block(0, self.n_rows).probs).astype(np.float64)

    def log_prob(self, ids: Int[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """Log-probability of one id a row, nats."""
        return self.observe(np.asarray(ids)).log_prob_nats

    def entropy(self) -> Float[np.ndarray, " rows"]:
        """Entropy of each row, nats."""
        return self.observe(np.zeros(self.n_rows, np.int64)).entropy_nats

    def sample(self, uniforms: Float[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """Draw one id a row by inverse CDF."""
        return self.draw(uniforms)[0]

    def top(self, k: int) -> tuple[Int[np.ndarray, "rows k"], Float[np.ndarray, "rows k"]]:
        """The k most probable ids of each row and their log-probabilities, most probable first, ties to the smaller id."""
        k = min(k, self.n_tokens)
        ids, values = [], []
        for part in self._blocks():
            for row in host(part.log_probs):
                least = np.partition(row, -k)[-k]
                best = np.flatnonzero(row >= least)
                best = best[np.argsort(-row[best], kind="stable")][:k]
                ids.append(best)
                values.append(row[best])
        return np.stack(ids), np.stack(values)

    def mass(self, ids: Sequence[int]) -> Float[np.ndarray, " rows"]:
        """Total probability of a set of ids, per row."""
        return np.concatenate([host(part.probs[:, sorted(set(ids))]).sum(1) for part in self._blocks()])

    def _spans(self) -> Iterator[slice]:
        """Rows whose table is small enough to be made at once."""
        step = max(1, _BLOCK_ELEMENTS // max(1, self.n_tokens))
        for start in range(0, self.n_rows, step):
            yield slice(start, min(start + step, self.n_rows))

    def _blocks(self) -> Iterator[Block]:
        return (self.block(rows.start, rows.stop) for rows in self._spans())

    # ---- new laws from old -------------------------------------------------------------------------------------------

    def mixed(self, weight: float | Float[np.ndarray, " rows"], other: Law) -> Law:
        """`(1 − weight)·self + weight·other`, weight per row or one for all."""
        return Mixed(self, other, np.broadcast_to(np.asarray(weight, np.float64), (self.n_rows,)))

    def tempered(self, temperature: float) -> Law:
        """Proportional to q^(1/temperature); temperature 0 is greedy (ties to the smallest id)."""
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise UsageError(f"temperature must be a finite number ≥ 0, not {temperature}")
        return self if temperature == 1 else Tempered(self, temperature)

    def restricted(self, *, top_k: int | None = None, top_p: float | None = None) -> Law:
        """Truncated to the k most probable ids and/or the smallest set of mass ≥ p, then renormalised."""
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k must be at least 1, not {top_k}")
        if top_p is not None and not 0 < top_p <= 1:
            raise UsageError(f"top_p must lie in (0, 1], not {top_p}")
        return self if top_k is None and top_p is None else Restricted(self, top_k, top_p)

    def with_atom(self, mass: float | Float[np.ndarray, " rows"]) -> Law:
        """One more id, the last, with the given mass; the rest is scaled by `1 − mass`."""
        return WithAtom(self, np.broadcast_to(np.asarray(mass, np.float64), (self.n_rows,)))

    def take(self, rows: Any) -> Law:
        """The law of some of the rows."""
        place = np.arange(self.n_rows)[rows]
        return Routed([self], np.zeros(len(place), np.int64), place)


class Dense(Law):
    """A law from logits (any float type, not normalised), or from log-probabilities that sum to `1 − missing`."""

    def __init__(self, logits: Any, *, missing: Float[np.ndarray, " rows"] | None = None) -> None:
        self.logits = logits
        self.n_rows, self.n_tokens = logits.shape
        self.missing = missing

    def block(self, start: int, stop: int) -> Block:
        xp = array_namespace(self.logits)
        table = xp.astype(where_float64_is(self.logits[start:stop]), xp.float64)
        if self.missing is not None:
            return Block(table, xp.exp(table))
        with np.errstate(invalid="ignore", over="ignore"):  # what comes of it is said below
            table = table - xp.max(table, axis=1, keepdims=True)
            probs = xp.exp(table)
            total = xp.sum(probs, axis=1, keepdims=True)
        if not bool(xp.all(xp.isfinite(total))):
            raise BrokenLaw(fused.BROKEN)
        return Block(table - xp.log(total), probs / total)

    def take(self, rows: Any) -> Law:
        at = rows if isinstance(rows, slice) or not is_torch(self.logits) else rows.tolist()
        return Dense(self.logits[at], missing=None if self.missing is None else self.missing[rows])

    def _narrow(self) -> tuple[Any, float] | None:
        return (self.logits, 1.0) if self.missing is None and fused.fits(self.logits) else None


class Mixed(Law):
    """A mixture of two laws with a weight per row."""

    def __init__(self, first: Law, second: Law, weight: Float[np.ndarray, " rows"]) -> None:
        if (first.n_rows, first.n_tokens) != (second.n_rows, second.n_tokens):
            raise UsageError(
                f"laws of shape {first.n_rows}×{first.n_tokens} and {second.n_rows}×{second.n_tokens} cannot be mixed"
            )
        if not ((weight >= 0) & (weight <= 1)).all():
            raise UsageError("mixture weights must lie in [0, 1]")
        self.first, self.second, self.weight = first, second, weight
        self.n_rows, self.n_tokens = first.n_rows, first.n_tokens
        if first.missing is not None or second.missing is not None:
            zero = np.zeros(self.n_rows)
            a, b = (zero if law.missing is None else law.missing for law in (first, second))
            self.missing = (1 - weight) * a + weight * b

    def block(self, start: int, stop: int) -> Block:
        a, b = self.first.block(start, stop).probs, self.second.block(start, stop).probs
        a, b = (a, alike(b, a)) if is_torch(a) else (alike(a, b), b)
        xp = array_namespace(a)
        w = xp.asarray(np.array(self.weight[start:stop]), device=device(a))[:, None]
        probs = (1 - w) * a + w * b
        return Block(log(xp, probs), probs)


class Tempered(Law):
    """A law at another temperature."""

    def __init__(self, inner: Law, temperature: float) -> None:
        _check_whole(inner, "tempered")
        self.inner, self.temperature = inner, temperature
        self.n_rows, self.n_tokens = inner.n_rows, inner.n_tokens

    def block(self, start: int, stop: int) -> Block:
        log_probs = self.inner.block(start, stop).log_probs
        xp = array_namespace(log_probs)
        if self.temperature == 0:
            ids = xp.arange(self.n_tokens, device=device(log_probs))
            probs = xp.astype(ids[None, :] == xp.argmax(log_probs, axis=1)[:, None], xp.float64)
            return Block(log(xp, probs), probs)
        return Dense(log_probs / self.temperature).block(0, stop - start)

    def _narrow(self) -> tuple[Any, float] | None:
        inner = self.inner._narrow() if self.temperature > 0 else None
        return None if inner is None else (inner[0], inner[1] / self.temperature)

    def draw(self, uniforms: Float[np.ndarray, " rows"]) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        if self.temperature > 0:
            return super().draw(uniforms)
        ids = np.concatenate([host(part.probs).argmax(1) for part in self.inner._blocks()])
        return ids, np.zeros(self.n_rows)


class Restricted(Law):
    """A law cut to its most probable ids and renormalised."""

    def __init__(self, inner: Law, top_k: int | None, top_p: float | None) -> None:
        _check_whole(inner, "restricted")
        self.inner, self.top_k, self.top_p = inner, top_k, top_p
        self.n_rows, self.n_tokens = inner.n_rows, inner.n_tokens

    def block(self, start: int, stop: int) -> Block:
        probs = self.inner.block(start, stop).probs
        xp = array_namespace(probs)
        kept = np.zeros((stop - start, self.n_tokens))
        for out, row in zip(kept, host(probs), strict=True):
            ids = self._kept(row)
            out[ids] = row[ids]
        kept /= kept.sum(1, keepdims=True)
        table = xp.asarray(kept, device=device(probs))
        return Block(log(xp, table), table)

    def draw(self, uniforms: Float[np.ndarray, " rows"]) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        drawn: list[int] = []
        log_probs: list[float] = []
        for part, u in zip(self._inner_rows(), uniforms, strict=True):
            ids = np.sort(self._kept(part))
            below = np.cumsum(part[ids])
            at = min(int(np.searchsorted(below, float(u) * below[-1], side="right")), len(ids) - 1)
            drawn.append(int(ids[at]))
            log_probs.append(float(np.log(part[ids[at]] / below[-1])))
        return np.array(drawn, np.int64), np.array(log_probs)

    def _inner_rows(self) -> Iterator[Float[np.ndarray, " vocabulary"]]:
        for part in self.inner._blocks():
            yield from host(part.probs)

    def _kept(self, row: Float[np.ndarray, " vocabulary"]) -> Int[np.ndarray, " kept"]:
        """The ids that stay, most probable first, ties to the smaller id; only what can stay is sorted."""
        least = np.nextafter(0.0, 1.0)  # impossible ids never stay
        if self.top_k is not None and self.top_k < self.n_tokens:
            least = max(least, float(np.partition(row, -self.top_k)[-self.top_k]))
        if self.top_p is not None:  # ids below (1 − p)/V of the mass are less than 1 − p of it: none is wanted
            least = max(least, (1 - self.top_p) * float(row.sum()) / self.n_tokens * (1 - 1e-9))
        ids = np.flatnonzero(row >= least)
        ids = ids[np.argsort(-row[ids], kind="stable")]
        if self.top_k is not None:
            ids = ids[: self.top_k]
        if self.top_p is not None and self.top_p < 1:
            ranked = row[ids]
            ids = ids[np.cumsum(ranked) - ranked < self.top_p]
        return ids


class WithAtom(Law):
    """A law with one more id at the end."""

    def __init__(self, inner: Law, mass: Float[np.ndarray, " rows"]) -> None:
        if not ((mass >= 0) & (mass <= 1)).all():
            raise UsageError("the mass of an extra token must lie in [0, 1]")
        self.inner, self.mass_of_atom = inner, mass
        self.n_rows, self.n_tokens = inner.n_rows, inner.n_tokens + 1
        self.missing = None if inner.missing is None else (1 - mass) * inner.missing

    def block(self, start: int, stop: int) -> Block:
        inner = self.inner.block(start, stop)
        xp = array_namespace(inner.probs)
        mass = xp.asarray(np.array(self.mass_of_atom[start:stop]), device=device(inner.probs))[:, None]
        rest = xp.log1p(-mass) if bool((mass < 1).all()) else log(xp, 1 - mass)
        return Block(
            xp.concat([inner.log_probs + rest, log(xp, mass)], axis=1),
            xp.concat([inner.probs * (1 - mass), mass], axis=1),
        )


class Routed(Law):
    """Row i is row `place[i]` of `laws[route[i]]`; all laws share one vocabulary."""

    def __init__(
        self, laws: Sequence[Law | None], route: Int[np.ndarray, " rows"], place: Int[np.ndarray, " rows"]
    ) -> None:
        self.laws, self.route, self.place = list(laws), np.asarray(route), np.asarray(place)
        self.n_rows = len(self.route)
        self.n_tokens = next(law.n_tokens for law in laws if law is not None)
        missing = np.zeros(self.n_rows)
        for r, law in enumerate(laws):
            if law is not None and law.missing is not None:
                missing[self.route == r] = law.missing[self.place[self.route == r]]
        self.missing = missing if missing.any() else None

    def block(self, start: int, stop: int) -> Block:
        route, place = self.route[start:stop], self.place[start:stop]
        parts, order = [], []
        for r in np.unique(route):
            rows = np.flatnonzero(route == r)
            law = self.laws[int(r)]
            assert law is not None
            parts += _rows(law, place[rows])
            order.append(rows)
        like = parts[0].probs
        xp = array_namespace(like)
        back = xp.asarray(np.argsort(np.concatenate(order)), device=device(like))
        return Block(
            xp.take(xp.concat([alike(p.log_probs, like) for p in parts], axis=0), back, axis=0),
            xp.take(xp.concat([alike(p.probs, like) for p in parts], axis=0), back, axis=0),
        )


def _rows(law: Law, rows: Int[np.ndarray, " k"]) -> list[Block]:
    """Some rows of a law: cut out of one piece where they lie together, one by one otherwise."""
    low, high = int(rows.min()), int(rows.max()) + 1
    if high - low > len(rows) and (high - low) * law.n_tokens > _BLOCK_ELEMENTS:
        return [law.block(int(r), int(r) + 1) for r in rows]
    piece = law.block(low, high)
    xp = array_namespace(piece.probs)
    at = xp.asarray(rows - low, device=device(piece.probs))
    return [Block(xp.take(piece.log_probs, at, axis=0), xp.take(piece.probs, at, axis=0))]


def _check_whole(law: Law, what: str) -> None:
    if law.missing is not None and bool((law.missing > 0).any()):
        raise UsageError(f"a law with missing mass cannot be {what}: what is missing is not known")
