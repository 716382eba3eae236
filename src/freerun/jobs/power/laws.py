"""Laws held in tables: predictors with finitely many contexts, observed by looking up what `observe_block` would compute.

A power table asks for some hundred million tokens of n-grams. A law that depends on one of a few thousand contexts need not be
worked out at every token: `TableLaw` gives the same observations as any law (tests hold one against the other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import UsageError
from freerun.organisms.resampled import Resampled
from freerun.predictors.base import Capabilities, Predictor
from freerun.predictors.law import Dense, Law
from freerun.predictors.ngram import NGramCounts
from freerun.predictors.observation import Block, Observation
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import ContextRule, Identity, Nature


@dataclass(frozen=True)
class Tables:
    """Everything that records keep of each of `laws` laws."""

    log_probs: Float[np.ndarray, "laws vocabulary"]
    probs: Float[np.ndarray, "laws vocabulary"]
    through: Float[np.ndarray, "laws vocabulary"]
    """Mass up to and with each id."""
    rank: Int[np.ndarray, "laws vocabulary"]
    above: Float[np.ndarray, "laws vocabulary"]
    """Mass on more probable ids, and on smaller ones of the same probability."""
    of_law: Observation
    """Of any token of the law: what does not depend on which one."""

    @staticmethod
    def of(log_probs: Float[np.ndarray, "laws vocabulary"]) -> Tables:
        """Tables of laws given by logits."""
        law = Dense(np.asarray(log_probs, np.float64))
        whole = law.block(0, law.n_rows)
        ascending = np.sort(whole.log_probs, axis=1)
        above = [
            law.n_tokens - np.searchsorted(line, values, side="right")
            for line, values in zip(ascending, whole.log_probs, strict=True)
        ]
        order = np.argsort(-whole.log_probs, axis=1, kind="stable")
        ordered = np.take_along_axis(whole.probs, order, axis=1)
        mass_above = np.empty_like(ordered)
        np.put_along_axis(mass_above, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
        return Tables(
            whole.log_probs,
            whole.probs,
            np.cumsum(whole.probs, axis=1),
            1 + np.array(above, np.int32),
            mass_above,
            law.observe(np.zeros(law.n_rows, np.int64)),
        )


class TableLaw(Law):
    """Row i is law `rows[i]` of the tables."""

    def __init__(self, tables: Tables, rows: Int[np.ndarray, " rows"]) -> None:
        self.tables, self.rows = tables, np.asarray(rows, np.int64)
        self.n_rows, self.n_tokens = len(self.rows), tables.probs.shape[1]

    def block(self, start: int, stop: int) -> Block:
        rows = self.rows[start:stop]
        return Block(self.tables.log_probs[rows], self.tables.probs[rows])

    def take(self, rows: Int[np.ndarray, " taken"]) -> Law:
        return TableLaw(self.tables, self.rows[rows])

    def _observed(
        self,
        ids: Int[np.ndarray, " rows"] | None,
        uniforms: Float[np.ndarray, " rows"] | None,
        watched: Int[np.ndarray, "rows k"] | None,
    ) -> Observation:
        held, rows = self.tables, self.rows
        chosen = np.full(self.n_rows, -1) if ids is None else np.asarray(ids, np.int64)
        if (chosen < 0).any():
            assert uniforms is not None
            chosen = np.where(chosen >= 0, chosen, self._drawn(np.asarray(uniforms)))
        before = np.where(chosen > 0, held.through[rows, np.maximum(chosen - 1, 0)] / held.through[rows, -1], 0.0)
        mass = np.zeros(self.n_rows)
        if watched is not None and watched.size:
            mass = np.where(watched >= 0, held.probs[rows[:, None], np.maximum(watched, 0)], 0.0).sum(1)
        return replace(
            held.of_law.take(rows),
            token_id=chosen.astype(np.int32),
            log_prob_nats=held.log_probs[rows, chosen],
            rank=held.rank[rows, chosen],
            cdf_below=before,
            mass_above=held.above[rows, chosen],
            loop_mass=mass,
        )

    def _drawn(self, uniforms: Float[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """Ids by inverse CDF, as `observe_block` draws them."""
        through = self.tables.through[self.rows]
        drawn = (through <= uniforms[:, None] * through[:, -1:]).sum(1)
        beyond = np.flatnonzero(drawn >= self.n_tokens)
        for row in beyond.tolist():
            drawn[row] = np.flatnonzero(self.tables.probs[self.rows[row]] > 0)[-1]
        return np.asarray(drawn, np.int64)


class Tabulated(Rowwise[np.ndarray]):
    """A predictor whose state is one of finitely many contexts: `after[context, id]` is the next one; documents begin in context 0.

    No token ends a text.
    """

    def __init__(
        self,
        log_probs: Float[np.ndarray, "laws vocabulary"],
        after: Int[np.ndarray, "laws vocabulary"],
        *,
        identity: Identity,
        spelled: Sequence[bytes],
        encode: Callable[[str], Sequence[int]] | None = None,
    ) -> None:
        if np.shape(log_probs) != np.shape(after) or np.shape(log_probs)[1] != len(spelled):
            raise UsageError(
                f"{identity.name}: laws of shape {np.shape(log_probs)}, contexts of shape {np.shape(after)} and "
                f"{counted(len(spelled), 'spelled token does', 'spelled tokens do')} not fit each other"
            )
        self.tables = Tables.of(log_probs)
        self.after = np.asarray(after, np.int32)
        self.identity = identity
        self.n_tokens = len(spelled)
        self.context, self.capabilities, self.end_ids = ContextRule(), Capabilities(), ()
        self.spelled, self._encode = tuple(spelled), encode

    def encode(self, text: str) -> Sequence[int]:
        if self._encode is None:
            raise UsageError(f"{self.identity.name} is fed token ids; it cuts no text")
        return self._encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.spelled[token_id]

    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> np.ndarray:
        out = np.zeros(len(prefixes), np.int64)
        for row, prefix in enumerate(prefixes):
            for token in (*self.context.lead, *np.asarray(prefix).tolist()):
                out[row] = self.after[out[row], token]
        return out

    def law(self, state: np.ndarray) -> Law:
        return TableLaw(self.tables, state)

    def advance(self, state: np.ndarray, ids: Int[np.ndarray, " rows"]) -> np.ndarray:
        return np.asarray(self.after[state, ids], np.int64)

    def with_laws(self, log_probs: Float[np.ndarray, "laws vocabulary"], *, name: str, kind: str) -> Tabulated:
        """The same contexts and tokens with other laws (logits)."""
        identity = Identity(name, f"{self.identity.fingerprint}+{kind}", nature=self.identity.nature)
        return Tabulated(log_probs, self.after, identity=identity, spelled=self.spelled, encode=self._encode)


def tabulated_ngram(
    counts: NGramCounts, *, name: str, spelled: Sequence[bytes], encode: Callable[[str], Sequence[int]] | None = None
) -> Tabulated:
    """An interpolated n-gram (`NGramPredictor`) as tables: its law depends on the longest suffix that stood before some token."""
    contexts = [(), *_seen_contexts(counts)]
    place = {c: i for i, c in enumerate(contexts)}
    longest = counts.order - 1
    padded = np.array([(-1,) * (longest - len(c)) + c for c in contexts], np.int64).reshape(len(contexts), longest)
    after = np.zeros((len(contexts), counts.n_tokens), np.int32)
    for row, context in enumerate(contexts):
        for token in range(counts.n_tokens):
            now = (*context, token)[-longest:] if longest else ()
            while now not in place:
                now = now[1:]
            after[row, token] = place[now]
    identity = Identity(name, f"ngram-{counts.fingerprint()}", nature=Nature(f"{counts.order}-gram counts, in tables"))
    return Tabulated(np.log(counts.probs(padded)), after, identity=identity, spelled=spelled, encode=encode)


def _seen_contexts(counts: NGramCounts) -> list[tuple[int, ...]]:
    """All strings of at most order − 1 tokens that stand before some token in the documents."""
    found: list[tuple[int, ...]] = []
    level: list[tuple[int, ...]] = [()]
    for m in range(1, counts.order):
        keys = counts.keys[m - 1]
        level = [(*level[int(k) // counts.n_tokens], int(k) % counts.n_tokens) for k in keys]
        totals = counts.totals[m]
        found += [c for c, total in zip(level, totals.tolist(), strict=True) if total]
    return found


def tabulated(organism: Predictor) -> Predictor:
    """A law that was resampled from one in tables as tables of its own; any other organism as it is."""
    if not isinstance(organism, Resampled) or not isinstance(organism.inner, Tabulated):
        return organism
    laws = organism._reshape(organism.inner.law(np.arange(len(organism.inner.after))))
    return organism.inner.with_laws(laws.log_probs(), name=organism.identity.name, kind=organism.identity.fingerprint)


def rounded(
    log_probs: Float[np.ndarray, "laws vocabulary"], *, levels: int = 127
) -> Float[np.ndarray, "laws vocabulary"]:
    """Logits rounded as `organisms.rounding` rounds a layer whose output channels are the tokens and whose inputs are contexts.

    Every law is centred first (a shift of its logits changes nothing); then w ← s·round(w/s), s = max|w|/levels per token.
    """
    weights = log_probs - log_probs.mean(axis=1, keepdims=True)
    step = np.abs(weights).max(axis=0, keepdims=True) / levels
    step[step == 0] = 1.0
    return np.asarray(step * np.rint(weights / step))
