"""Files drawn from kept laws, and the passes of a search over them: what a model would be read for is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from freerun.jobs.verify.causes import Columns, Variant
from freerun.jobs.verify.scoring import UnitScores, score_unit
from freerun.jobs.verify.texts import Text
from freerun.predictors.candidate_rules import RULES
from freerun.predictors.law import Dense
from freerun.predictors.profiles import Shaped, shaped
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.token_laws import Declared, FromIds, Standing, by_id
from freerun.results.verify import LawName
from freerun.specs.spec import load_predictor
from freerun.stats.verification.profile import Cut, Weights
from freerun.stats.verification.tokens import Alternatives, TokenLaws
from studies.verify.checkpoint import checkpoint_at
from studies.verify.laws import MODEL, Contexts, Name, Replayed, contexts_at, logits_at
from studies.verify.planted import Planted, Sheets
from studies.verify.redraw import Pool, Tried
from studies.verify.standing import (
    Kept,
    OfContexts,
    Recurrence,
    Stand,
    kept_laws,
    of_contexts,
    profile_rows,
    recurrence,
    stand_in,
)

KEPT = Path("runs/verify")
ONE_STEP = RULES[: next(i for i, rule in enumerate(RULES) if len(rule.steps) > 1)]
_LAW: dict[LawName, Name] = {"model": "model", "bos_added": "bos_added", "bos_removed": "bos_removed"}


@dataclass(frozen=True, eq=False)
class World:
    """Kept laws, and what is the same for all files."""

    contexts: Contexts
    kept: dict[Name, Kept]
    replayed: dict[Name, Replayed]
    """By the law that stands for the model: itself, and each that stands for a second one."""
    tried: dict[Name, Tried]
    end_ids: tuple[int, ...]

    @property
    def n(self) -> int:
        return int(self.contexts.written.shape[1])


def world_at(folder: Path, names: Sequence[Name]) -> World:
    contexts = contexts_at(folder / "contexts.npz")
    checkpoint = checkpoint_at(KEPT / "checkpoint") if "checkpoint" in names else ""
    specs: dict[Name, str] = {"int4": f"{MODEL},round=int4", "int8": f"{MODEL},round=int8", "checkpoint": checkpoint}
    logits = {n: logits_at(folder / f"{n}.npy", contexts, n, specs.get(n, MODEL)) for n in names}
    real = load_predictor(MODEL).with_lead(())
    kept = {name: kept_laws(table, real.end_ids) for name, table in logits.items()}
    tried = {
        name: Tried(Pool(k.profile, np.zeros(0), np.zeros(0)), RULES if name == "model" else ONE_STEP)
        for name, k in kept.items()
    }
    own: tuple[Name, ...] = ("model", "bos_added", "bos_removed")
    replayed = {"model": Replayed(real, contexts, {n: logits[n] for n in own})}
    replayed |= {n: Replayed(real, contexts, {n: logits[n]}) for n in names if n not in own}
    return World(contexts, kept, replayed, tried, tuple(real.end_ids))  # type: ignore[arg-type]


_Key = tuple[Name, SamplingRule, range]


class Batch:
    """All sheets, and where their tokens stand in the laws that a search looks at."""

    def __init__(self, world: World, sheets: Sheets, some: Sequence[Planted]) -> None:
        self.world, self.sheets = world, sheets
        prompts = world.contexts.prompts
        self.stands: dict[Name, Stand] = {n: stand_in(world.kept[n], sheets.ids) for n in _LAW.values()}
        for planted in some:
            if planted.other:
                own = sheets.of[planted.drawn]
                ids = sheets.ids[own.start : own.stop]
                self.stands[planted.other] = stand_in(world.kept[planted.other], ids, own.start)
        again: Recurrence = recurrence(prompts, sheets.ids)
        self.repeats = again.in_prompt | ~again.first
        self.fresh = again.first & ~again.in_prompt
        self.contexts: OfContexts = of_contexts(world.kept["model"].logits, prompts, sheets.ids, again)
        self._standing: dict[tuple[Name, SamplingRule], Standing] = {}
        self._made: dict[_Key, tuple[np.ndarray, np.ndarray]] = {}

    def standing(self, law: Name, rule: SamplingRule) -> Standing:
        """What a rule of a law says of any token; a few are kept."""
        key = (law, rule)
        if key not in self._standing:
            if len(self._standing) > 5:
                self._standing.pop(next(k for k in self._standing if k != ("model", MODEL_LAW)))
            self._standing[key] = Standing(shaped(rule, self.world.kept[law].profile))
            self.world.kept[law].profile.forget()
        return self._standing[key]

    def sums(self, law: Name, rule: SamplingRule, own: range) -> tuple[np.ndarray, np.ndarray]:
        """Mass below each token of some sheets, and mass on ids of its context, under a rule of a law."""
        if law == "model" and rule == MODEL_LAW:
            return self.contexts.below[own.start : own.stop], self.contexts.repeat_mass[own.start : own.stop]
        key = (law, rule, own)
        if key not in self._made:
            self._made[key] = self._sums(law, rule, own)
        return self._made[key]

    def _sums(self, law: Name, rule: SamplingRule, own: range) -> tuple[np.ndarray, np.ndarray]:
        ids, fresh = (x[own.start : own.stop] for x in (self.sheets.ids, self.fresh))
        n, prompts, kept = self.world.n, self.world.contexts.prompts, self.world.kept[law]
        below, mass = np.empty(ids.shape), np.empty(ids.shape)
        declared = Declared(rule, self.world.end_ids)
        cut = shaped(rule, kept.profile)
        for row in range(ids.shape[1]):
            text, t = divmod(row, n)
            table = Dense(np.asarray(kept.logits[row : row + 1])).log_probs()
            probs = by_id(_row(cut, row), table, declared)[0]
            below[:, row] = (np.cumsum(probs) - probs)[ids[:, row]]
            past = slice(text * n, text * n + t)
            new = (fresh[:, past] * probs[ids[:, past]]).sum(axis=1)
            mass[:, row] = probs[np.unique(prompts[text])].sum() + new
        kept.profile.forget()
        return below, mass


def _row(law: Shaped, row: int) -> Shaped:
    """One row of a law, its power's total and cut as they are for all."""
    profile = profile_rows(law.weights.profile, np.array([row]))
    weights = Weights(profile, law.weights.power)
    return Shaped(weights, Cut(law.cut.atoms[row : row + 1], law.cut.part[row : row + 1]))


@dataclass(frozen=True, eq=False)
class File:
    """One file: some sheets of a batch, of each the first texts."""

    batch: Batch
    planted: Planted
    first_sheet: int

    @cached_property
    def where(self) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " tokens"]]:
        """Sheet and kept law of every token that stands in the file, text after text."""
        rows = np.arange(self.planted.texts * self.batch.world.n)
        parts = []
        for sheet in range(self.first_sheet, self.first_sheet + self.planted.sheets):
            there = rows[self.batch.sheets.reached[sheet, rows]]
            parts.append((np.full(there.size, sheet), there))
        return tuple(np.concatenate(c) for c in zip(*parts, strict=True))  # type: ignore[return-value]

    @cached_property
    def sequence(self) -> Int[np.ndarray, " tokens"]:
        sheet, row = self.where
        return (sheet - self.first_sheet) * self.planted.texts + row // self.batch.world.n

    def scores(self, law: Name, rule: SamplingRule) -> tuple[TokenLaws, Alternatives]:
        own_sheets = self.batch.sheets.of[self.planted.drawn]
        below, mass = self.batch.sums(law, rule, own_sheets)
        standing, stand = self.batch.standing(law, rule), self.batch.stands[law]
        every = np.arange(self.batch.sheets.ids.shape[1])
        n = self.batch.world.n
        tokens, others = [], []
        sheets, rows = self.where
        for sheet in range(self.first_sheet, self.first_sheet + self.planted.sheets):
            at = sheet - own_sheets.start
            own, other = standing.of(
                stand.places(sheet),
                FromIds(
                    sequence=(sheet - self.first_sheet) * self.planted.texts + every // n,
                    position=every % n,
                    model_log_prob_nats=stand.log_prob[sheet - stand.first],
                    rank=stand.rank[sheet - stand.first].astype(np.int64),
                    below=below[at],
                    repeat_mass=mass[at],
                    repeats=self.batch.repeats[sheet],
                    is_end=np.isin(self.batch.sheets.ids[sheet], self.batch.world.end_ids),
                ),
            )
            there = rows[sheets == sheet]
            tokens.append(own.take(there))
            others.append([v[there] for v in vars(other).values()])
        return TokenLaws.concatenate(tokens), Alternatives(*(np.concatenate(c) for c in zip(*others, strict=True)))

    def texts(self, numbers: Sequence[int] | None = None) -> list[Text]:
        """Texts as `freerun verify` reads them from a file."""
        sheets, rows = self.where
        ids = self.batch.sheets.ids[sheets, rows].astype(np.int64)
        made = []
        for number in range(self.planted.sheets * self.planted.texts) if numbers is None else numbers:
            own = ids[self.sequence == number]
            prompt = self.batch.world.contexts.prompts[number % self.planted.texts]
            nothing = np.full(len(own), np.nan)
            made.append(Text(number, prompt, own, np.ones(len(own), bool), nothing, nothing, "", None))
        return made


@dataclass(frozen=True, eq=False)
class LookedUp:
    """Passes over a file whose laws are kept."""

    file: File
    chosen: Int[np.ndarray, " texts"]
    """Numbers in the file of the texts that are searched."""

    def _law(self, variant: Variant) -> Name:
        return self.file.planted.other or "model" if variant.name == "other_model" else _LAW[variant.name]

    def columns(self, variant: Variant, rules: Sequence[SamplingRule], *, penalties_at: float | None) -> Columns:
        law, batch = self._law(variant), self.file.batch
        assert penalties_at in (None, 1.0)
        there = np.isin(self.file.sequence, self.chosen)
        sheets, rows = (x[there] for x in self.file.where)
        stand = batch.stands[law]
        candidates = np.empty((len(rows), len(rules)))
        for sheet in np.unique(sheets):
            own = sheets == sheet
            candidates[own] = batch.world.tried[law].log_probs(stand.places(int(sheet)), rows[own])
        if penalties_at is not None:
            candidates = np.concatenate([candidates, batch.contexts.penalised[sheets, rows]], axis=1)
        return Columns(self._places(self.file.sequence[there]), candidates, stand.log_prob[sheets - stand.first, rows])

    def _places(self, sequence: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
        return np.searchsorted(self.chosen, sequence)

    def scores(self, variant: Variant, declared: Declared, numbers: Sequence[int]) -> UnitScores:
        texts = [variant.texts[i] for i in numbers]
        law = self._law(variant)
        if declared.rule.penalties or declared.without_ends:
            return score_unit(variant.predictor, texts, declared)
        tokens, other = self.file.scores(law, declared.rule)
        there = np.isin(tokens.sequence, self.chosen[np.asarray(numbers)])
        nothing: Float[np.ndarray, " tokens"] = np.full(int(there.sum()), np.nan)
        return UnitScores(tokens.take(there), Alternatives(*(v[there] for v in vars(other).values())), nothing, nothing)
