"""A confusion table of causes: what is planted, and what is named. `python -m studies.verify.confusion`.

Files are drawn from laws that the 135M model gave in real contexts (`laws.py`), and decided by the code of `freerun verify` itself:
the tests, the search for a cause, its fit and its test. Only the numbers that a model would be read for are looked up. With
`--on-disk` the first files of every sampler are also written and given to `freerun.verify` as they are: both must say the same.
`--others` does the rows of other weights. Writes confusion.json and docs/data/confusion.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.verification.evidence import both_p, other_model
from freerun.jobs.verify.causes import Columns, Search, Variant, find_cause
from freerun.jobs.verify.scoring import UnitScores, score_unit, spread
from freerun.jobs.verify.texts import Survey, Text
from freerun.jobs.verify.verify import verify
from freerun.predictors.candidate_rules import RULES
from freerun.predictors.law import Dense
from freerun.predictors.profiles import Shaped, shaped
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.token_laws import Declared, FromIds, Standing, by_id
from freerun.results.verify import Cause, LawName
from freerun.runs.provenance import provenance
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.specs.spec import load_predictor
from freerun.stats.intervals import clopper_pearson
from freerun.stats.verification.battery import ALPHA, held_against_laws
from freerun.stats.verification.profile import Cut, Weights
from freerun.stats.verification.tokens import N_BEGINNINGS, Alternatives, Bets, TokenLaws
from studies.files import json_text, write_files
from studies.verify.checkpoint import checkpoint_at
from studies.verify.laws import MODEL, NAMES, Contexts, Name, Replayed, contexts_at, logits_at
from studies.verify.planted import FILES, NONE, PLANTED, Planted, Sheets, drawn_sheets
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

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "confusion.md"
KEPT = Path("runs/verify")
CAUSE_TOKENS = 8192
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


# ---- one file --------------------------------------------------------------------------------------------------------


def label_of(match: str, cause: Cause) -> str:
    """What was said of a file, as a column of the table."""
    if match != "differs":
        return match
    if cause.kind in ("rule", "other_law"):
        assert cause.candidate is not None
        words = "" if not cause.candidate.steps else f", {cause.candidate.words}"
        laws = {
            "model": "",
            "bos_added": "one more beginning of text",
            "bos_removed": "no beginning of text",
            "other_model": "the other model",
        }
        return (laws[cause.candidate.law] + words).removeprefix(", ")
    return {"none_of_these": NONE, "ends_chosen": "ends", "beginning_not_drawn": "a beginning"}.get(
        cause.kind, cause.kind
    )


def judged(file: File, seed: int) -> str:
    """The verdict and the cause of a file."""
    world, planted = file.batch.world, file.planted
    tokens, other = file.scores("model", MODEL_LAW)
    bets = Bets.of(other, tokens.position)
    chosen = np.array(spread(np.bincount(file.sequence).tolist(), CAUSE_TOKENS))
    p = held_against_laws(tokens, bets, seed=seed).p_value
    if planted.other:
        p = both_p(p, _second(file, tokens, chosen))
    if p >= ALPHA:
        return label_of("agrees", Cause("none_needed"))
    texts = file.texts(chosen.tolist())
    model = world.replayed["model"]
    bos = np.array([1])
    variants = [
        Variant("model", model, texts),
        Variant("bos_added", model, [replace(t, prompt=np.concatenate([bos, t.prompt])) for t in texts]),
        Variant("bos_removed", model, [replace(t, prompt=t.prompt[1:]) for t in texts]),
    ]
    if planted.other:
        variants.append(Variant("other_model", world.replayed[planted.other], texts))
    search = Search(
        declared=Declared(MODEL_LAW, world.end_ids),
        variants=tuple(variants),
        passes=LookedUp(file, chosen),
        recorded_nats=tokens.log_prob_nats[np.isin(tokens.sequence, chosen)],
        seed=seed,
        floor_nats=0.0,
        say=lambda _: None,
    )
    return label_of("differs", find_cause(tokens, bets, _survey(tokens, file), search))


def _second(file: File, tokens: TokenLaws, chosen: Int[np.ndarray, " texts"]) -> float:
    """The logarithm of the second model's e-value."""
    assert file.planted.other is not None
    stand = file.batch.stands[file.planted.other]
    sheets, rows = file.where
    there = np.isin(file.sequence, chosen)
    other = stand.log_prob[sheets - stand.first, rows]
    return other_model(other[there], tokens.log_prob_nats[there], 0.0).log_e


def _survey(tokens: TokenLaws, file: File) -> Survey:
    found = Survey(n_texts=int(file.sequence.max()) + 1)
    sheets, rows = file.where
    ids = file.batch.sheets.ids[sheets, rows]
    for t in range(N_BEGINNINGS):
        found.beginnings[t].update(ids[tokens.position == t].tolist())
    return found


def from_disk(file: File, seed: int, folder: Path) -> str:
    """The same by `freerun.verify` on a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "samples.jsonl"
    rows = [Completion(t.row, prompt_ids=t.prompt, completion_ids=t.completion, group=str(t.row)) for t in file.texts()]
    write_samples(path, rows)
    result = verify(path, file.batch.world.replayed["model"], out=folder / "out", ends="present", seed=seed)
    return label_of(result.verdict.match, result.cause)


# ---- all files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A sampler with what was said of its files; limits are Clopper and Pearson's, 95%."""

    planted: str
    tokens: float
    files: int
    causes: dict[str, int]
    right: float
    low: float
    high: float
    on_disk: dict[str, int]
    """Files that were also given to the command: `same`, `other` by whether it said the same."""


def rows_of(world: World, some: Sequence[Planted], files: int, on_disk: int) -> Iterator[Row]:
    logits = {name: kept.logits for name, kept in world.kept.items()}
    batch = Batch(world, drawn_sheets(some, world.contexts, logits, world.end_ids, files), some)
    for planted in some:
        yield _row_of(batch, planted, files, on_disk)


def _row_of(batch: Batch, planted: Planted, files: int, on_disk: int) -> Row:
    first = batch.sheets.of[planted.drawn].start
    made = [File(batch, planted, first + i * planted.sheets) for i in range(files)]
    said = [judged(file, seed) for seed, file in enumerate(made)]
    folder = KEPT / "confusion" / planted.name.replace(" ", "-")
    checks = [] if planted.other else [from_disk(f, i, folder / str(i)) for i, f in enumerate(made[:on_disk])]
    same = Counter("same" if said[i] == label else "other" for i, label in enumerate(checks))
    right = clopper_pearson(sum(label in planted.right for label in said), files)
    mean = float(np.mean([len(f.sequence) for f in made]))
    causes = dict(Counter(said).most_common())
    return Row(planted.name, mean, files, causes, right.value, right.low, right.high, dict(same))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of docs/data: what is planted, how often what is right was said, and all that was said."""
    lines = [
        "<!-- written by: python -m studies.verify.confusion -->",
        "| planted | tokens | files | right | said |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = "; ".join(f"{cause} {n}" for cause, n in row["causes"].items())
        right = f"{row['right']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
        lines.append(f"| {row['planted']} | {row['tokens']:,.0f} | {row['files']} | {right} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--others", action="store_true", help="other weights only; without it, the model's own")
    parser.add_argument(
        "--on-disk", type=int, default=0, help="files of each sampler that are given to the command too"
    )
    arguments = parser.parse_args()
    own: tuple[Name, ...] = ("model", "bos_added", "bos_removed")
    some = [p for p in PLANTED if (p.law not in own) == arguments.others]
    path = HERE / "confusion.json"
    rows = {} if not path.exists() else {r["planted"]: r for r in json.loads(path.read_text())["rows"]}
    for row in rows_of(
        world_at(KEPT / "laws", NAMES if arguments.others else own), some, arguments.files, arguments.on_disk
    ):
        print(row, flush=True)
        rows[row.planted] = asdict(row)
        ordered = [rows[p.name] for p in PLANTED if p.name in rows]
        found = {"rows": ordered, "provenance": provenance()}
        write_files(HERE, {"confusion.json": json_text(found), str(PAGE): table(ordered)})


if __name__ == "__main__":
    main()
