"""Texts of the pool as a file has them, tokenised again and read once: files that are put together from them cost nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from freerun.jobs.verify.drawn_again import n_changed
from freerun.jobs.verify.reading import Reading, last_whole_word
from freerun.jobs.verify.scoring import score_unit
from freerun.jobs.verify.texts import Text
from freerun.predictors.base import Predictor
from freerun.predictors.rules import MODEL_LAW
from freerun.predictors.token_laws import Declared
from freerun.stats.verification.tokens import Alternatives, TokenLaws
from studies.verify_text.pool import Pool

BATCH_PROMPTS = 4


@dataclass(frozen=True, eq=False)
class Read:
    """One text tokenised again. `whole`: tokens before its last word. `n_changed` of `n_drawn` drawn tokens did not come back."""

    tokens: TokenLaws
    other: Alternatives
    whole: int
    n_drawn: int
    n_changed: int


Texts = Sequence[Sequence[Read]]
"""By prompt, then by draw."""


def read_pool(folder: Path, model: Predictor, pool: Pool, rule: str, n_prompts: int, n_draws: int) -> Texts:
    """Read the texts of one rule, a few prompts at a time; what was read is kept in files and not read again."""
    reading = Reading(model, "text")
    out: list[list[Read]] = []
    for start in range(0, n_prompts, BATCH_PROMPTS):
        prompts = range(start, min(start + BATCH_PROMPTS, n_prompts))
        path = folder / f"read-{rule}-{n_draws}-{start}.npz"
        drawn = [pool.drawn[rule][i][j] for i in prompts for j in range(n_draws)]
        kept = [ids[~np.isin(ids, model.end_ids)] for ids in drawn]
        again = [reading.again(ids) for ids in kept]
        if not path.exists():
            begun = [pool.prompts[i] for i in prompts for _ in range(n_draws)]
            np.savez_compressed(path, **_columns(model, begun, again))
            print(path.name, flush=True)
        held = dict(np.load(path))
        reads = [_read(held, n, a, k, reading) for n, (a, k) in enumerate(zip(again, kept, strict=True))]
        out += [reads[i * n_draws : (i + 1) * n_draws] for i in range(len(prompts))]
    return out


def _columns(model: Predictor, prompts: Sequence[str], again: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    texts = []
    for row, (prompt, ids) in enumerate(zip(prompts, again, strict=True)):
        begun = np.asarray([*model.context.lead, *model.encode(prompt)], np.int64)
        nothing = np.full(len(ids), np.nan)
        texts.append(Text(row, begun, ids, np.ones(len(ids), bool), nothing, nothing, str(row), None))
    plain = Declared(MODEL_LAW, tuple(model.end_ids), without_ends=True)
    scores = score_unit(model.with_lead(()), texts, plain)
    tokens = {f"tokens.{f.name}": getattr(scores.tokens, f.name) for f in fields(TokenLaws)}
    other = {f"other.{f.name}": getattr(scores.other, f.name).astype(np.float32) for f in fields(Alternatives)}
    return tokens | other


def _read(held: dict[str, np.ndarray], number: int, again: np.ndarray, drawn: np.ndarray, reading: Reading) -> Read:
    rows = np.flatnonzero(held["tokens.sequence"] == number)
    tokens = TokenLaws(**{f.name: held[f"tokens.{f.name}"][rows] for f in fields(TokenLaws)})
    other = Alternatives(
        cut_mass=held["other.cut_mass"][rows].astype(np.float64),
        cut_keeps=held["other.cut_keeps"][rows].astype(bool),
        gain_nats=held["other.gain_nats"][rows].astype(np.float64),
    )
    return Read(tokens, other, last_whole_word(again, reading), len(drawn), n_changed(drawn, again))
