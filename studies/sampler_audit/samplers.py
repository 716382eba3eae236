"""Texts of models that look at one word, by right samplers and wrong ones, and the audit of them: what `run` counts.

A sampler draws by inverse CDF with known uniforms. The laws recorded are the model's own; the fresh pass has them too, but for
rounding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.own_text.standing import AUDIT_ALPHA
from freerun.predictors.law import Dense, Law
from freerun.predictors.ngram import NGramCounts
from freerun.predictors.observation import N_BINS, POWERS, bin_of
from freerun.records.rescoring import n_rescored_texts
from freerun.stats.recognition.sampler_audit import (
    SamplerAudit,
    calibration_chi_square,
    pit_chi_square,
    rank_order_chi_square,
)
from freerun.stats.recognition.seeded import Cells, Sensitivity, seeded_draws, sensitivity
from freerun.stats.recognition.self_recognition import self_z
from freerun.stats.recognition.tilting import events_p, surprisal_p
from freerun.text.corpora import read_corpus

NO_CONTEXT = -1
FLOAT32 = 1e-5
BF16 = 0.02
"""How far two computations of one law are apart, nats (standard deviation)."""


@dataclass(frozen=True)
class Laws:
    """Every law of a model that looks at one word: rows are the words before, the last row is the law without any."""

    probs: Float[np.ndarray, "contexts words"]
    log_probs: Float[np.ndarray, "contexts words"]
    below: Float[np.ndarray, "contexts words"]
    above: Float[np.ndarray, "contexts words"]
    entropy: Float[np.ndarray, " contexts"]
    varentropy: Float[np.ndarray, " contexts"]
    power_sums: Float[np.ndarray, "contexts powers"]
    mass_by_bin: Float[np.ndarray, "contexts bins"]

    @staticmethod
    def of(law: Law) -> Laws:
        """All that the audit needs of a law, a row a context."""
        probs = law.probs()
        with np.errstate(divide="ignore"):
            logs = np.log(probs)
        finite = np.maximum(logs, -1e4)
        entropy = -(probs * finite).sum(1)
        bins = bin_of(finite) + np.arange(len(probs))[:, None] * N_BINS
        order = np.argsort(-probs, axis=1, kind="stable")
        ordered = np.take_along_axis(probs, order, axis=1)
        above = np.empty_like(probs)
        np.put_along_axis(above, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
        powers = [np.log(np.where(probs > 0, np.exp((1 - power) * finite), 0.0).sum(1)) for power in POWERS]
        return Laws(
            probs=probs,
            log_probs=logs,
            below=np.cumsum(probs, axis=1) - probs,
            above=above,
            entropy=entropy,
            varentropy=(probs * np.square(finite + entropy[:, None])).sum(1),
            power_sums=np.stack(powers, axis=1).astype(np.float32).astype(np.float64),
            mass_by_bin=np.bincount(bins.ravel(), probs.ravel(), len(probs) * N_BINS).reshape(-1, N_BINS),
        )


def word_bigram(n_words: int = 2000, *, corpus: str = "builtin/python-docs") -> Law:
    """The laws of a Witten–Bell bigram over the most frequent words of a corpus (all others are one word)."""
    texts = [re.findall(r"\w+|[^\w\s]", d.text) for d in read_corpus(corpus).documents]
    common = [w for w, _ in Counter(w for t in texts for w in t).most_common(n_words - 1)]
    ids = {w: i for i, w in enumerate(common, start=1)}
    counts = NGramCounts([np.array([ids.get(w, 0) for w in t], np.int64) for t in texts], order=2, n_tokens=n_words)
    contexts = np.append(np.arange(n_words), NO_CONTEXT)[:, None]
    return Dense(np.log(counts.probs(contexts)))


def gamma_chain(shape: float, *, words: int = 64, seed: int = 1) -> Law:
    """Laws with masses in proportion to gamma variables: peaked where the shape is far below 1, flat far above."""
    table = np.random.default_rng(seed).gamma(shape, size=(words + 1, words)) + 1e-7
    return Dense(np.log(table / table.sum(1, keepdims=True)))


# ---- samplers ------------------------------------------------------------------------------------------------------------

Draws = Float[np.ndarray, "texts tokens"]
Texts = Int[np.ndarray, "texts tokens"]
Sampler = Callable[[Laws, Draws, np.random.Generator], Texts]


def sampled(
    law: Law, draws: Float[np.ndarray, "texts tokens"], *, forgets_every: int | None = None
) -> Int[np.ndarray, "texts tokens"]:
    """Texts by inverse CDF, from the law without context on; a sampler that `forgets_every` n tokens reads nothing there."""
    cdf = np.cumsum(law.probs(), axis=1)
    cdf /= cdf[:, -1:]
    n_rows, n_words = cdf.shape
    flat = (cdf + np.arange(n_rows)[:, None]).ravel()
    ids = np.zeros(draws.shape, np.int64)
    row = np.full(len(draws), n_rows - 1)
    for t in range(draws.shape[1]):
        if forgets_every is not None and t % forgets_every == 0:
            row = np.full(len(draws), n_rows - 1)
        ids[:, t] = np.clip(np.searchsorted(flat, row + draws[:, t], side="right") - row * n_words, 0, n_words - 1)
        row = ids[:, t]
    return ids


def by_law(change: Callable[[Law], Law], forgets_every: int | None = None) -> Sampler:
    """A sampler of other laws."""
    return lambda laws, draws, rng: sampled(change(Dense(laws.log_probs)), draws, forgets_every=forgets_every)


def foreign(share: float) -> Sampler:
    """A share of the tokens is any word, whatever was drawn."""

    def sample(laws: Laws, draws: Draws, rng: np.random.Generator) -> Texts:
        n_words = laws.probs.shape[1]
        cdf = np.cumsum(laws.probs, axis=1)
        flat = (cdf / cdf[:, -1:] + np.arange(len(cdf))[:, None]).ravel()
        ids, row = np.zeros(draws.shape, np.int64), np.full(len(draws), len(cdf) - 1)
        for t in range(draws.shape[1]):
            own = np.clip(np.searchsorted(flat, row + draws[:, t], side="right") - row * n_words, 0, n_words - 1)
            other = rng.integers(0, n_words, len(draws))
            row = ids[:, t] = np.where(rng.random(len(draws)) < share, other, own)
        return ids

    return sample


def penalised(penalty: float, *, offset: float = 10.0) -> Sampler:
    """Logits (log-probabilities and an offset, as models have them) of words that stand in the text are divided by the penalty
    where they are positive, and multiplied where they are not (Keskar et al. 2019)."""

    def sample(laws: Laws, draws: Draws, rng: np.random.Generator) -> Texts:
        n_texts, n_words = len(draws), laws.probs.shape[1]
        ids, row = np.zeros(draws.shape, np.int64), np.full(n_texts, len(laws.probs) - 1)
        seen = np.zeros((n_texts, n_words), bool)
        for t in range(draws.shape[1]):
            logits = np.maximum(laws.log_probs[row], -1e3) + offset
            punished = np.where(logits > 0, logits / penalty, logits * penalty)
            heat = np.exp(np.where(seen, punished, logits) - offset)
            cdf = np.cumsum(heat, axis=1)
            row = np.minimum((cdf <= draws[:, t : t + 1] * cdf[:, -1:]).sum(axis=1), n_words - 1)
            ids[:, t] = row
            seen[np.arange(n_texts), row] = True
        return ids

    return sample


def rounded(law: Law) -> Law:
    """The law of logits with 8 bits of mantissa."""
    bits = np.maximum(law.log_probs(), -1e3).astype(np.float32).view(np.uint32)
    nearest = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
    return Dense(nearest.view(np.float32).astype(np.float64))


SAMPLERS: dict[str, Sampler] = {
    "temperature 0.9": by_law(lambda law: law.tempered(0.9)),
    "temperature 0.98": by_law(lambda law: law.tempered(0.98)),
    "temperature 1.1": by_law(lambda law: law.tempered(1.1)),
    "top-k 50": by_law(lambda law: law.restricted(top_k=50)),
    "top-p 0.9": by_law(lambda law: law.restricted(top_p=0.9)),
    "top-p 0.95": by_law(lambda law: law.restricted(top_p=0.95)),
    "top-p 0.99": by_law(lambda law: law.restricted(top_p=0.99)),
    "1 token in 100 from elsewhere": foreign(0.01),
    "repetition penalty 1.05": penalised(1.05),
    "laws rounded to bf16": by_law(rounded),
    "no context every 32 tokens": by_law(lambda law: law, 32),
    "no context every 128 tokens": by_law(lambda law: law, 128),
    "no context at all": by_law(lambda law: law, 1),
}
"""Wrong samplers; the scorer always reads the word before."""


# ---- the audit of them -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One audit, and the smallest faults that it says it would have seen."""

    audit: SamplerAudit
    z_total: float | None
    smallest: Sensitivity | None

    def p_values(self) -> dict[str, float]:
        """Of all tests together, of those that need no uniforms, of each, and of the draws against the fresh pass alone."""
        a = self.audit
        assert a.p_rank_order is not None
        assert a.p_repeats is not None
        assert a.seeded is not None
        each = {
            "z": a.p_z,
            "pit": a.p_pit,
            "calibration": a.p_calibration,
            "rank_order": a.p_rank_order,
            "repeats": a.p_repeats,
        }
        without = min(1.0, len(each) * min(each.values()))
        return {
            "all": a.p_value,
            "without_uniforms": without,
            **each,
            "seeded": a.seeded.p_value,
            "fresh": a.seeded.p_fresh,
        }


def audited(
    laws: Laws,
    ids: Texts,
    draws: Draws,
    rng: np.random.Generator,
    *,
    rounding: float = FLOAT32,
    rescored: int | None = None,
) -> Trial:
    """The audit of texts against the laws that are said to have written them."""
    n_texts, n_tokens = ids.shape
    before = np.concatenate([np.full((n_texts, 1), len(laws.entropy) - 1), ids[:, :-1]], axis=1)
    log_prob = laws.log_probs[before, ids].ravel()
    share = np.exp(log_prob)
    below, above = laws.below[before, ids].ravel(), laws.above[before, ids].ravel()
    bins = bin_of(log_prob).reshape(ids.shape) + np.arange(n_texts)[:, None] * N_BINS
    observed = np.bincount(bins.ravel(), minlength=n_texts * N_BINS).reshape(-1, N_BINS)
    columns = (log_prob, laws.entropy[before].ravel(), laws.varentropy[before].ravel())
    z = self_z(*columns, np.repeat(np.arange(n_texts), n_tokens), n_texts)

    chosen = np.zeros(ids.shape, bool)
    chosen[: rescored or n_rescored_texts(n_texts, n_tokens)] = True
    again = chosen.ravel()
    recorded = Cells(below, np.minimum(below + share, 1.0))
    off = rng.normal(0, rounding, int(again.sum())).clip(-0.5, 0.5)
    fresh = Cells(*(edge[again] + off * edge[again] * (1 - edge[again]) for edge in (recorded.below, recorded.upto)))
    seeded = seeded_draws(draws.ravel(), recorded, again, fresh)
    mass, repeats = _repeats(laws, before[chosen[:, 0]], ids[chosen[:, 0]])
    audit = SamplerAudit(
        p_z=surprisal_p(*columns, laws.power_sums[before].reshape(-1, len(POWERS)), POWERS, n_tokens=ids.size),
        p_pit=pit_chi_square(np.clip(below + rng.random(ids.size) * share, 0, 1), rng).p_value,
        p_calibration=calibration_chi_square(observed, laws.mass_by_bin[before].sum(axis=1), rng).p_value,
        p_rank_order=rank_order_chi_square(np.clip(above + rng.random(ids.size) * share, 0, 1), rng).p_value,
        p_repeats=events_p(repeats, mass, n_tokens=repeats.size),
        seeded=seeded,
        n_impossible=z.n_impossible,
    )
    smallest = None
    if seeded is not None:
        deviation = np.abs(log_prob + columns[1])[np.isfinite(log_prob)].mean()
        smallest = sensitivity(seeded, float(deviation), alpha=AUDIT_ALPHA / len(audit.parts))
    return Trial(audit, z.z_total, smallest)


def _repeats(laws: Laws, before: Texts, ids: Texts) -> tuple[Float[np.ndarray, " tokens"], np.ndarray]:
    """Mass on words that stand in the text already, and whether each token is one."""
    mass, repeats = np.zeros(ids.shape), np.zeros(ids.shape, bool)
    seen = np.zeros((len(ids), laws.probs.shape[1]), bool)
    texts = np.arange(len(ids))
    for t in range(ids.shape[1]):
        mass[:, t] = (laws.probs[before[:, t]] * seen).sum(axis=1)
        repeats[:, t] = seen[texts, ids[:, t]]
        seen[texts, ids[:, t]] = True
    return np.clip(mass, 0, 1).ravel(), repeats.ravel()


def trials(
    laws: Laws,
    sampler: Sampler,
    *,
    n_runs: int,
    texts: int,
    tokens: int,
    seed: Sequence[int],
    rounding: float = FLOAT32,
) -> Iterator[Trial]:
    """`n_runs` audits of independent texts."""
    rng = np.random.default_rng(list(seed))
    done = 0
    while done < n_runs:
        n = min(50, n_runs - done)
        draws = rng.random((n * texts, tokens))
        ids = sampler(laws, draws, rng)
        for run, u in zip(ids.reshape(n, texts, tokens), draws.reshape(n, texts, tokens), strict=True):
            yield audited(laws, run, u, rng, rounding=rounding)
        done += n
