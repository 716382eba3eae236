"""Texts of the pool as a file has them, tokenised again and read once: files that are put together from them cost nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from freerun.jobs.served.law import typed
from freerun.jobs.verify.causes import ModelPasses, Variant
from freerun.jobs.verify.drawn_again import n_changed
from freerun.jobs.verify.reading import Reading, last_whole_word
from freerun.jobs.verify.scoring import score_unit
from freerun.jobs.verify.texts import Text
from freerun.predictors.candidate_rules import RULES
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.token_laws import Declared
from freerun.stats.verification.exchange import TextSums
from freerun.stats.verification.tokens import Alternatives, TokenLaws
from studies.verify_text.pool import PROMPTS, Pool, n_draws

BATCH_PROMPTS = 12
Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Read:
    """One text tokenised again. `whole`: tokens before its last word. `n_changed` of `n_drawn` drawn tokens did not come back."""

    tokens: TokenLaws
    other: Alternatives
    whole: int
    n_drawn: int
    n_changed: int

    def sums(self, n: int) -> TextSums:
        """Of its first tokens."""
        first = slice(0, n)
        return TextSums.of(self.tokens.take(first), Alternatives(*(v[first] for v in vars(self.other).values())))


@dataclass(frozen=True, eq=False)
class Candidates:
    """What every rule that is tried says of one text's tokens, nats: `RULES`, then `PENALTIES`."""

    log_prob: Float[np.ndarray, "tokens candidates"]
    plain: Float[np.ndarray, " tokens"]


class Readings:
    """The pool's texts by rule, prompt and draw, each read once and kept in files."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.reading = pool, Reading(pool.model, "text")
        self.declared = Declared(MODEL_LAW, tuple(pool.model.end_ids), without_ends=True)
        self._reads: dict[str, list[list[Read]]] = {}
        self._texts: dict[str, list[list[Text]]] = {}

    def texts(self, rule: SamplingRule) -> list[list[Text]]:
        """As a file has them: ends taken off, and tokenised again."""
        name = typed(rule)
        if name not in self._texts:
            self._texts[name] = self._again(rule)
        return self._texts[name]

    def _again(self, rule: SamplingRule) -> list[list[Text]]:
        lines = []
        for i, line in enumerate(self.pool.drawn(rule)):
            begun = self.pool.begun(i)
            again = [self.reading.again(self._without_ends(ids)) for ids in line]
            lines.append([_text(i * len(line) + j, begun, ids) for j, ids in enumerate(again)])
        return lines

    def _without_ends(self, ids: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " kept"]:
        return ids[~np.isin(ids, self.pool.model.end_ids)]

    def reads(self, rule: SamplingRule) -> list[list[Read]]:
        """Every text under the model's own law."""
        name = typed(rule)
        if name not in self._reads:
            self._reads[name] = self._read(rule)
        return self._reads[name]

    def _read(self, rule: SamplingRule) -> list[list[Read]]:
        drawn, n = self.pool.drawn(rule), n_draws(rule)
        lines = []
        for start in range(0, PROMPTS, BATCH_PROMPTS):
            texts = [t for line in self.texts(rule)[start : start + BATCH_PROMPTS] for t in line]
            held = self._kept(f"read-{typed(rule)}-{start}", lambda texts=texts: self._scored(texts))  # type: ignore[misc]
            reads = [
                self._of(held, k, text, self._without_ends(drawn[start + k // n][k % n]))
                for k, text in enumerate(texts)
            ]
            lines += [reads[k : k + n] for k in range(0, len(reads), n)]
        return lines

    def candidates(self, rule: SamplingRule, draws: Sequence[int]) -> dict[int, Candidates]:
        """By the row of a text, of some draws of every prompt."""
        found: dict[int, Candidates] = {}
        for start in range(0, PROMPTS, BATCH_PROMPTS):
            texts = [line[j] for line in self.texts(rule)[start : start + BATCH_PROMPTS] for j in draws]
            held = self._kept(f"tried-{typed(rule)}-{len(draws)}-{start}", lambda texts=texts: self._tried(texts))  # type: ignore[misc]
            for k, text in enumerate(texts):
                rows = np.flatnonzero(held["sequence"] == k)
                found[text.row] = Candidates(held["candidates"][rows], held["plain"][rows])
        return found

    def _kept(self, name: str, make: Callable[[], Columns]) -> Columns:
        path = self.pool.folder / f"{name}.npz"
        if not path.exists():
            np.savez(path, **make())  # type: ignore[arg-type]
            print(path.name, flush=True)
        return dict(np.load(path))

    def _tried(self, texts: Sequence[Text]) -> Columns:
        variant = Variant("model", self.pool.model.with_lead(()), texts)
        return dict(vars(ModelPasses(self.declared).columns(variant, RULES, penalties_at=1.0)))

    def _scored(self, texts: Sequence[Text]) -> Columns:
        scores = score_unit(self.pool.model.with_lead(()), texts, self.declared)
        tokens = {f"tokens.{f.name}": getattr(scores.tokens, f.name) for f in fields(TokenLaws)}
        other = {f"other.{f.name}": getattr(scores.other, f.name).astype(np.float32) for f in fields(Alternatives)}
        return tokens | other

    def _of(self, held: Columns, number: int, text: Text, drawn: Int[np.ndarray, " drawn"]) -> Read:
        rows = np.flatnonzero(held["tokens.sequence"] == number)
        tokens = TokenLaws(**{f.name: held[f"tokens.{f.name}"][rows] for f in fields(TokenLaws)})
        other = Alternatives(
            cut_mass=held["other.cut_mass"][rows].astype(np.float64),
            cut_keeps=held["other.cut_keeps"][rows].astype(bool),
            gain_nats=held["other.gain_nats"][rows].astype(np.float64),
        )
        again = text.completion
        return Read(tokens, other, last_whole_word(again, self.reading), len(drawn), n_changed(drawn, again))


def _text(row: int, begun: np.ndarray, ids: np.ndarray) -> Text:
    nothing = np.full(len(ids), np.nan)
    return Text(row, begun, ids, np.ones(len(ids), bool), nothing, nothing, str(row), None, "text")
