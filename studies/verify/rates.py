"""How often the tests reject: tokens drawn again from the laws of a scored pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from freerun.predictors.base import Continuations
from freerun.predictors.observation import host
from freerun.predictors.profiles import profile_of, shaped
from freerun.predictors.rules import SamplingRule
from freerun.specs.spec import load_predictor
from freerun.stats.intervals import clopper_pearson
from freerun.stats.verification.battery import held_against_laws
from freerun.stats.verification.profile import Places, Profile
from freerun.stats.verification.tokens import Alternatives, Bets, TokenLaws
from freerun.text.corpora import read_corpus
from studies.verify.redraw import Held, Pool, draw

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
TEXTS, PROMPT_TOKENS, TOKENS, SEED = 10, 16, 128, 5


def pool_at(path: Path) -> Pool:
    """Laws along ten texts of the 135M model's own, made once and kept in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **_scored())
    held = np.load(path)
    ends = Places(held["end_log_prob"], held["end_atom"], held["end_offset"])
    zero = np.zeros((len(held["log_prob"]), 1))
    token = Places(zero, zero.astype(np.int64), zero)
    profile = Profile(held["log_prob"], held["count"], int(held["n_singles"]), token, ends)
    return Pool(profile, held["sequence"], held["position"])


def _scored() -> dict[str, np.ndarray]:
    model = load_predictor(MODEL)
    encoded = (np.asarray(list(model.encode(d.text)), np.int64) for d in read_corpus(CORPUS).documents)
    prompts = [ids[:PROMPT_TOKENS] for ids in encoded if len(ids) >= 4 * PROMPT_TOKENS][:TEXTS]
    samples = model.generate(Continuations(prompts, np.arange(TEXTS)[:, None], TOKENS, seed=SEED))
    written = {s.row: s.observation.token_id.astype(np.int64) for s in samples}
    texts = [np.concatenate([prompts[i], written[i]]) for i in range(TEXTS)]
    parts, where = [], []
    for chunk in model.laws(texts, first=PROMPT_TOKENS):
        for a in range(0, chunk.law.n_rows, 20):
            rows = slice(a, min(a + 20, chunk.law.n_rows))
            table = host(chunk.law.block(rows.start, rows.stop).log_probs)
            parts.append(profile_of(table, chunk.ids(texts)[rows], model.end_ids))
            where.append(np.stack([chunk.row[rows], chunk.position[rows] - PROMPT_TOKENS], axis=1))
    at = np.concatenate(where)
    order = np.lexsort((at[:, 1], at[:, 0]))
    ends = {
        f"end_{name}": np.concatenate([getattr(p.ends, name) for p in parts])[order] for name in vars(parts[0].ends)
    }
    columns = {name: np.concatenate([getattr(p, name) for p in parts])[order] for name in ("log_prob", "count")}
    return {
        **columns,
        **ends,
        "n_singles": np.array(parts[0].n_singles),
        "sequence": at[order, 0],
        "position": at[order, 1],
    }


@dataclass(frozen=True)
class Rate:
    """How often something happened in so many trials, with Clopper and Pearson's limits."""

    what: str
    tokens: int
    trials: int
    n: int
    rate: float
    low: float
    high: float

    @staticmethod
    def of(what: str, tokens: int, happened: list[bool]) -> Rate:
        found = clopper_pearson(sum(happened), len(happened))
        return Rate(what, tokens, len(happened), sum(happened), found.value, found.low, found.high)


class Files:
    """Files of `tokens` tokens drawn by a rule from the pool's laws, each law as often as it takes."""

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        self.pool, self.rng = pool, rng
        self.n_laws = pool.profile.n_rows
        self.declared = Held(pool, SamplingRule())

    def drawn(self, rule: str, tokens: int) -> tuple[TokenLaws, Bets]:
        law = shaped(SamplingRule.declared(rule), self.pool.profile)
        made, bets, left, round_ = [], Bets.none(), tokens, 0
        while left:
            own, other = self.declared.token_laws(draw(law, self.rng))
            n = min(left, self.n_laws)
            own = own.take(slice(0, n))
            own.sequence[:] = own.sequence + 1000 * round_
            bets = bets.plus(Bets.of(Alternatives(*(v[:n] for v in vars(other).values())), own.position))
            made.append(own)
            left, round_ = left - n, round_ + 1
        return TokenLaws.concatenate(made), bets


def p_values(files: Files, rule: str, tokens: int, trials: int) -> list[float]:
    return [held_against_laws(*files.drawn(rule, tokens), seed=i).p_value for i in range(trials)]
