"""Pairs of exact laws: Markov chains that start at a prompt, may end, and whose every string can be enumerated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.stats.two_laws.texts import TwoLaws

LENGTHS = np.array([1, 2, 4, 8])


@dataclass(frozen=True, eq=False)
class Pair:
    """Two chains over the same symbols: `p[c, a]`, `q[c, a]` are the laws after symbol a of a text whose prompt is of kind c.

    Texts begin as if after symbol 0. `ends`: whether the last symbol ends a text. `kinds`: how often each kind of prompt comes.
    """

    p: Float[np.ndarray, "kinds symbols symbols"]
    q: Float[np.ndarray, "kinds symbols symbols"]
    kinds: Float[np.ndarray, " kinds"]
    ends: bool
    meaning: str
    completions: int = 1

    def draw(self, rng: np.random.Generator, n_units: int, n_tokens: int) -> tuple[TwoLaws, TwoLaws]:
        """Own texts of both laws after the same prompts, one unit a prompt."""
        kind = rng.choice(self.kinds.size, size=n_units, p=self.kinds)
        return self._written(self.p, kind, rng, n_tokens), self._written(self.q, kind, rng, n_tokens)

    def _written(
        self,
        law: Float[np.ndarray, "kinds symbols symbols"],
        kind: Int[np.ndarray, " units"],
        rng: np.random.Generator,
        n_tokens: int,
    ) -> TwoLaws:
        unit = np.repeat(np.arange(kind.size), self.completions)
        kind = kind[unit]
        symbols = np.full((unit.size, n_tokens), -1)
        last, alive = np.zeros(unit.size, dtype=np.int64), np.ones(unit.size, dtype=bool)
        cumulated = np.cumsum(law, axis=2)
        for t in range(n_tokens):
            drawn = (rng.random(unit.size)[:, None] >= cumulated[kind, last][:, :-1]).sum(axis=1)
            symbols[alive, t] = drawn[alive]
            last = np.where(alive, drawn, last)
            if self.ends:
                alive = alive & (drawn != self.p.shape[1] - 1)
        return self.along(symbols, kind, unit)

    def along(
        self, symbols: Int[np.ndarray, "texts tokens"], kind: Int[np.ndarray, " texts"], unit: Int[np.ndarray, " texts"]
    ) -> TwoLaws:
        """What the two laws say along these texts; −1 stands past a text's end."""
        inside = symbols >= 0
        here = np.maximum(symbols, 0)
        before = np.concatenate([np.zeros((len(here), 1), dtype=np.int64), here[:, :-1]], axis=1)
        rows = kind[:, None]
        with np.errstate(divide="ignore"):
            log_p, log_q = np.log(self.p[rows, before, here]), np.log(self.q[rows, before, here])
        top = self.p.argmax(axis=2) == self.q.argmax(axis=2)

        def column(table: Float[np.ndarray, "kinds symbols"]) -> Float[np.ndarray, "texts tokens"]:
            return np.where(inside, table[rows, before], np.nan)

        n_tokens = inside.sum(axis=1)
        last = here[np.arange(len(here)), n_tokens - 1]
        return TwoLaws(
            unit=unit,
            n_tokens=n_tokens,
            ended=(last == self.p.shape[1] - 1) if self.ends else np.zeros(unit.size, dtype=bool),
            log_p=np.where(inside, log_p, np.nan),
            log_q=np.where(inside, log_q, np.nan),
            kl_pq=column(kl(self.p, self.q)),
            kl_qp=column(kl(self.q, self.p)),
            tv=column(0.5 * np.abs(self.p - self.q).sum(axis=2)),
            same_top=top[rows, before] & inside,
        )

    # ---- every string ----------------------------------------------------------------------------------------------------

    def strings(
        self, n_tokens: int
    ) -> tuple[
        Int[np.ndarray, "strings tokens"],
        Int[np.ndarray, " strings"],
        Float[np.ndarray, " strings"],
        Float[np.ndarray, " strings"],
    ]:
        """Every text of up to n_tokens after every kind of prompt, its kind, and its probability under both laws."""
        size = self.p.shape[1]
        kind, symbols = np.arange(self.kinds.size), np.full((self.kinds.size, 0), -1)
        p, q = self.kinds.copy(), self.kinds.copy()
        for t in range(n_tokens):
            last = symbols[:, -1] if t else np.zeros(kind.size, dtype=np.int64)
            over = (last == size - 1) | (last < 0) if self.ends and t else np.zeros(kind.size, dtype=bool)
            go = np.flatnonzero(~over)
            more = np.tile(np.arange(size), go.size)
            parent = np.repeat(go, size)
            grown = np.column_stack([symbols[parent], more])
            done = np.column_stack([symbols[over], np.full(int(over.sum()), -1)])
            after = last[parent], more
            p = np.concatenate([p[parent] * self.p[kind[parent], *after], p[over]])
            q = np.concatenate([q[parent] * self.q[kind[parent], *after], q[over]])
            kind = np.concatenate([kind[parent], kind[over]])
            symbols = np.vstack([grown, done])
        return symbols, kind, p, q

    def truth(self, n_tokens: int) -> tuple[float, float, float]:
        """K, TV and AUC by enumeration of every text of up to n_tokens, from its two probabilities alone."""
        _, _, p, q = self.strings(n_tokens)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(p) - np.log(q)
            k = float(np.where(p > 0, p * ratio, 0.0).sum())
        tv = 0.5 * float(np.abs(p - q).sum())
        kept = (p > 0) | (q > 0)
        p, q, ratio = p[kept], q[kept], np.round(ratio[kept], 11)
        values, place = np.unique(ratio, return_inverse=True)
        on_p, on_q = np.bincount(place, p, values.size), np.bincount(place, q, values.size)
        auc = float((on_p * (np.cumsum(on_q) - 0.5 * on_q)).sum())
        return k, tv, auc


def kl(p: Float[np.ndarray, "*rows symbols"], q: Float[np.ndarray, "*rows symbols"]) -> Float[np.ndarray, "*rows"]:
    """KL(p‖q) of each row, in nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(axis=-1))


def _tempered(p: Float[np.ndarray, "kinds symbols symbols"], t: float) -> Float[np.ndarray, "kinds symbols symbols"]:
    q = p ** (1.0 / t)
    return np.asarray(q / q.sum(axis=2, keepdims=True))


def _chain(seed: int, kinds: int, symbols: int, concentration: float) -> Float[np.ndarray, "kinds symbols symbols"]:
    return np.random.default_rng(seed).dirichlet(np.full(symbols, concentration), size=(kinds, symbols))


def _rare() -> Pair:
    """Fair between two symbols, but for a third, of 0.2%; after it p stays there half of the time and q hardly ever."""
    common = np.array([[0.499, 0.499, 0.002]] * 2)
    p, q = np.vstack([common, [0.25, 0.25, 0.5]]), np.vstack([common, [0.5, 0.499999, 1e-6]])
    return Pair(p[None], q[None], np.ones(1), False, "one context, met once in 500 tokens, carries all of K")


def _ending() -> Pair:
    """Three symbols and an end that comes the sooner the higher the symbol before; q ends about three times as often."""
    words = _chain(3, 1, 4, 2.0)[:, :, :3]
    words = words / words.sum(axis=2, keepdims=True)

    def stopping(hazards: list[float], t: float) -> Float[np.ndarray, "1 4 4"]:
        end = np.array(hazards)[None, :, None]
        return np.concatenate([(1.0 - end) * _tempered(words, t), end], axis=2)

    p, q = stopping([0.03, 0.05, 0.08, 0.5], 1.0), stopping([0.1, 0.15, 0.25, 0.5], 1.1)
    return Pair(p, q, np.ones(1), True, "texts end: 3 to 8% of the tokens of p, 10 to 25% of those of q are ends")


def _prompts() -> Pair:
    p = _chain(4, 2, 3, 1.0)
    q = np.stack([p[0], _chain(5, 1, 3, 1.0)[0]])
    return Pair(
        p, q, np.array([0.8, 0.2]), False, "the laws are equal after 80% of the prompts; three texts a prompt", 3
    )


_PLAIN = _chain(1, 1, 3, 1.0)
PAIRS = {
    "equal": Pair(_PLAIN, _PLAIN, np.ones(1), False, "identical laws"),
    "tempered": Pair(_PLAIN, _tempered(_PLAIN, 1.15), np.ones(1), False, "q is p at temperature 1.15"),
    "apart": Pair(_PLAIN, _tempered(_PLAIN, 3.0), np.ones(1), False, "q is p at temperature 3"),
    "rare": _rare(),
    "ends": _ending(),
    "prompts": _prompts(),
}
