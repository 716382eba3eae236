"""Size and power of the sampler's audit, and what z cannot see: `python -m studies.sampler_audit.run` (about 4 minutes on 1 core).

A word bigram of CPython's documentation is the model: 2,000 words, laws as skewed as those of text. The audit is the one that
findings use, on 60 texts of 256 tokens. Writes docs/data/sampler-audit.json; fails if a rate is not what the audit promises.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from freerun.predictors.law import Dense, Law
from freerun.predictors.ngram import NGramCounts
from freerun.predictors.observation import BIN_WIDTH_NATS, N_BINS, bin_of
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.stats.calibration import calibration_curve
from freerun.stats.intervals import clopper_pearson
from freerun.stats.recognition.likelihood_ratio import likelihood_ratio
from freerun.stats.recognition.rank_histogram import rank_buckets, rank_histogram
from freerun.stats.recognition.sampler_audit import SamplerAudit, calibration_chi_square, pit_test, sampler_audit
from freerun.stats.recognition.self_recognition import self_z
from freerun.stats.reliability import reliability
from freerun.text.corpora import read_corpus
from freerun.worlds.markov import random_chain

DOCS = Path(__file__).parents[2] / "docs"
ALPHAS = (0.05, 0.01, 0.001)
AUDIT_ALPHA = 0.001
NO_CONTEXT = -1


@dataclass(frozen=True)
class Laws:
    """Every law of a model that looks at one word: rows are the words before, the last row is the law without any."""

    log_probs: Float[np.ndarray, "contexts words"]
    below: Float[np.ndarray, "contexts words"]
    entropy: Float[np.ndarray, " contexts"]
    varentropy: Float[np.ndarray, " contexts"]
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
        return Laws(
            log_probs=logs,
            below=np.cumsum(probs, axis=1) - probs,
            entropy=entropy,
            varentropy=(probs * np.square(finite + entropy[:, None])).sum(1),
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
        ids[:, t] = np.minimum(np.searchsorted(flat, row + draws[:, t], side="right") - row * n_words, n_words - 1)
        row = ids[:, t]
    return ids


def audited(
    laws: Laws, ids: Int[np.ndarray, "texts tokens"], jitter: Float[np.ndarray, "texts tokens"]
) -> SamplerAudit:
    """The audit of texts against the laws that are said to have written them."""
    before = np.concatenate([np.full((len(ids), 1), len(laws.entropy) - 1), ids[:, :-1]], axis=1)
    log_prob = laws.log_probs[before, ids]
    pit = np.clip(laws.below[before, ids] + jitter * np.exp(log_prob), 0, 1)
    bins = bin_of(log_prob) + np.arange(len(ids))[:, None] * N_BINS
    text = np.repeat(np.arange(len(ids)), ids.shape[1])
    z = self_z(log_prob.ravel(), laws.entropy[before].ravel(), laws.varentropy[before].ravel(), text, len(ids))
    observed = np.bincount(bins.ravel(), minlength=len(ids) * N_BINS).reshape(-1, N_BINS)
    counts = calibration_chi_square(observed, laws.mass_by_bin[before].sum(axis=1))
    return sampler_audit(z, pit_test(pit.ravel(), text), counts)


def audits(
    laws: Laws,
    sampler: Law,
    *,
    n_runs: int,
    texts: int,
    tokens: int,
    seed: Sequence[int],
    forgets_every: int | None = None,
) -> Iterator[SamplerAudit]:
    """`n_runs` audits of independent texts."""
    rng = np.random.default_rng(list(seed))
    done = 0
    while done < n_runs:
        n = min(50, n_runs - done)
        ids = sampled(sampler, rng.random((n * texts, tokens)), forgets_every=forgets_every)
        for run in ids.reshape(n, texts, tokens):
            yield audited(laws, run, rng.random((texts, tokens)))
        done += n


SAMPLERS: tuple[tuple[str, Callable[[Law], Law], int | None], ...] = (
    ("top-k 50", lambda law: law.restricted(top_k=50), None),
    ("top-p 0.9", lambda law: law.restricted(top_p=0.9), None),
    ("top-p 0.99", lambda law: law.restricted(top_p=0.99), None),
    ("temperature 0.9", lambda law: law.tempered(0.9), None),
    ("temperature 0.95", lambda law: law.tempered(0.95), None),
    ("temperature 1.1", lambda law: law.tempered(1.1), None),
    ("no context every 8 tokens", lambda law: law, 8),
    ("no context every 32 tokens", lambda law: law, 32),
    ("no context every 128 tokens", lambda law: law, 128),
    ("no context at all", lambda law: law, 1),
)
"""What is sampled, and for how many tokens the sampler keeps its context: the scorer always reads the word before."""
PROMISED = {"top-k 50": 0.95, "top-p 0.9": 0.95, "temperature 0.9": 0.95}


def rates(found: Sequence[SamplerAudit]) -> list[dict[str, float]]:
    """Rejections of all tests together and of each by itself, with Clopper–Pearson limits at 95%."""
    parts = ("p_value", "p_z", "p_pit", "p_calibration")
    out = []
    for alpha in ALPHAS:
        for part in parts:
            hits = sum(getattr(a, part) < alpha for a in found)
            limits = clopper_pearson(hits, len(found))
            row = {"test": part, "alpha": alpha, "rejected": hits, "n": len(found), "share": limits.value}
            out.append({**row, "low": limits.low, "high": limits.high})
    return out


def rate(rows: list[dict[str, float]], alpha: float = AUDIT_ALPHA, test: str = "p_value") -> dict[str, float]:
    return next(r for r in rows if r["alpha"] == alpha and r["test"] == test)


# ---- what z cannot see -------------------------------------------------------------------------------------------------


def blind_spot(*, texts: int = 2000, tokens: int = 64, reference_texts: int = 64) -> dict[str, float]:
    """A wrong model of a chain at the temperature where real text surprises it as much as its own.

    Q mixes the true chain (70%) with another one, and is tempered until E_P[D] = 0. R counts bigrams of `reference_texts` real
    texts (half a count added). Rejections are at 5%; the total variation is E_P max(0, 1 − Q/P) over the same texts.
    """
    truth, other = (random_chain(8, seed=s).transitions for s in (0, 1))
    stationary = random_chain(8, seed=0).initial
    mixed = np.log(0.7 * truth + 0.3 * other)

    def tempered(temperature: float) -> Float[np.ndarray, "8 8"]:
        heat = np.exp(mixed / temperature)
        return np.asarray(heat / heat.sum(1, keepdims=True))

    def drift(temperature: float) -> float:
        """E_P[D], nats a token."""
        log_q = np.log(tempered(temperature))
        return float(stationary @ ((np.exp(log_q) - truth) * log_q).sum(1))

    temperature = float(optimize.brentq(drift, 0.5, 2.0, xtol=1e-12))
    log_q = np.log(tempered(temperature))
    rng = np.random.default_rng(5)

    def real(n: int) -> Int[np.ndarray, "n t"]:
        first = rng.choice(8, size=n, p=stationary)
        cdf, out = np.cumsum(truth, axis=1), np.zeros((n, tokens + 1), np.int64)
        out[:, 0] = first
        for t in range(tokens):
            out[:, t + 1] = np.minimum((cdf[out[:, t]] <= rng.random((n, 1))).sum(1), 7)
        return out

    learnt = real(reference_texts)
    counts = np.full((8, 8), 0.5)
    np.add.at(counts, (learnt[:, :-1].ravel(), learnt[:, 1:].ravel()), 1.0)
    log_r = np.log(counts / counts.sum(1, keepdims=True))
    ids = real(texts)
    a, b = ids[:, :-1].ravel(), ids[:, 1:].ravel()
    index = np.repeat(np.arange(texts), tokens)
    entropy = -(np.exp(log_q) * log_q).sum(1)
    varentropy = (np.exp(log_q) * np.square(log_q)).sum(1) - np.square(entropy)
    z = self_z(log_q[a, b], entropy[a], varentropy[a], index, texts)
    gain = (log_q[a, b] - np.log(truth)[a, b]).reshape(texts, tokens).sum(1)
    z_rejected = clopper_pearson(int((np.abs(z.z_per_sequence) > 1.959964).sum()), texts)
    ratio = likelihood_ratio(log_q[a, b], log_r[a, b], index, texts).rejected(0.05)
    return {
        "temperature": temperature,
        "mean_drift_nats": drift(temperature),
        "kl_nats": float(-gain.mean()),
        "total_variation": float(np.maximum(0.0, -np.expm1(gain)).mean()),
        "z_mean": float(z.z_per_sequence.mean()),
        "z_rejected": z_rejected.value,
        "z_rejected_low": z_rejected.low,
        "z_rejected_high": z_rejected.high,
        "lr_rejected": ratio.value,
        "lr_rejected_low": ratio.low,
        "lr_rejected_high": ratio.high,
        "texts": texts,
        "tokens": tokens,
    }


# ---- do intervals cover what is true of own text? ----------------------------------------------------------------------


def coverage(law: Law, *, n_runs: int = 300, documents: int = 40, tokens: int = 48) -> dict[str, float]:
    """Share of 95% intervals on a model's own text that hold the truth: ratio 1, error 0, the ranks' true shares."""
    laws = Laws.of(law)
    rng = np.random.default_rng(3)
    probs = law.probs()
    top, confidence = probs.argmax(1), probs.max(1)
    rank = 1 + (probs[:, None, :] > probs[:, :, None]).sum(2) if len(probs) <= 600 else None
    assert rank is not None, "coverage wants a small vocabulary"
    n_words = probs.shape[1]
    groups = np.repeat(np.arange(documents), tokens)
    hits = dict.fromkeys(("calibration", "rare", "overconfidence", "rms_error", "rank"), 0)
    trials = dict.fromkeys(hits, 0)
    truth = _rank_shares(law, rank, tokens)
    for _ in range(n_runs):
        ids = sampled(law, rng.random((documents, tokens)))
        before = np.concatenate([np.full((documents, 1), len(probs) - 1), ids[:, :-1]], axis=1)
        bins = bin_of(laws.log_probs[before, ids]) + np.arange(documents)[:, None] * N_BINS
        observed = np.bincount(bins.ravel(), minlength=documents * N_BINS).reshape(-1, N_BINS)
        found = calibration_curve(observed, laws.mass_by_bin[before].sum(1), np.arange(documents))
        for ratio, expected in zip(found.ratio, found.expected, strict=True):
            if ratio is not None:
                name = "calibration" if expected >= 20 else "rare"
                trials[name] += 1
                hits[name] += ratio.low <= 1 <= ratio.high
        one = reliability(confidence[before].ravel(), (ids == top[before]).ravel(), groups, n_resamples=300, rng=rng)
        shares = rank_histogram(rank[before, ids].ravel(), groups, n_vocabulary=n_words).share
        for name, covered in (
            ("overconfidence", [one.overconfidence.low <= 0 <= one.overconfidence.high]),
            ("rms_error", [one.squared_error.low <= 0 <= one.squared_error.high]),
            ("rank", [s.low <= t <= s.high for s, t in zip(shares, truth, strict=True)]),
        ):
            trials[name] += len(covered)
            hits[name] += sum(covered)
    return {name: hits[name] / trials[name] for name in hits if trials[name]}


def _rank_shares(law: Law, rank: Int[np.ndarray, "contexts words"], tokens: int) -> list[float]:
    """Expected share of tokens in each rank bucket over the first tokens of a text, by the chain's forward law."""
    probs = law.probs()
    edges = [b for _, b in rank_buckets(probs.shape[1]) if b is not None]
    place = np.searchsorted(edges, rank, side="left")
    mass = np.stack([(probs * (place == k)).sum(1) for k in range(len(edges) + 1)], axis=1)
    here = np.eye(len(probs))[-1]
    total = np.zeros(mass.shape[1])
    for _ in range(tokens):
        total += here @ mass / tokens
        here = np.append(here @ probs, 0.0)
    return [float(t) for t in total]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nulls", type=int, default=2000, help="audits of a right sampler (default 2000)")
    parser.add_argument("--runs", type=int, default=200, help="audits of each wrong sampler (default 200)")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--words", type=int, default=2000, help="vocabulary (default 2000)")
    parser.add_argument("--out", type=Path, default=DOCS / "data" / "sampler-audit.json")
    parser.add_argument("--blind-spot", action="store_true", help="print what z cannot see, and nothing else (seconds)")
    chosen = parser.parse_args()
    if chosen.blind_spot:
        print(json.dumps(blind_spot(), indent=1))
        return 0
    law = word_bigram(chosen.words)
    laws = Laws.of(law)
    size = {"texts": chosen.texts, "tokens": chosen.tokens}
    null = rates(list(audits(laws, law, n_runs=chosen.nulls, seed=(1, 0), **size)))
    for alpha in ALPHAS:
        print(
            "null", *(f"{r['test']} {r['share']:.4f}" for r in null if r["alpha"] == alpha), f"at {alpha}", flush=True
        )
    good = all(rate(null, a)["share"] <= a + 0.01 for a in ALPHAS)
    power = []
    for i, (name, change, forgets) in enumerate(SAMPLERS):
        found = list(audits(laws, change(law), n_runs=chosen.runs, seed=(2, i), forgets_every=forgets, **size))
        rows = rates(found)
        overall = rate(rows)
        good &= overall["share"] >= PROMISED.get(name, 0.0)
        z = [a.z_total for a in found if a.z_total is not None]
        power.append({"sampler": name, "z_total_mean": float(np.mean(z)) if z else None, "rates": rows})
        print(f"{name:28} power {overall['share']:.3f} ({overall['low']:.3f} to {overall['high']:.3f})", end="  ")
        print(*(f"{t} {rate(rows, test=t)['share']:.2f}" for t in ("p_z", "p_pit", "p_calibration")), flush=True)
    blind = blind_spot()
    print("blind spot", blind)
    covered = coverage(word_bigram(400))
    print("coverage of 95% intervals on own text", covered)
    result = {
        "command": "python -m studies.sampler_audit.run",
        "model": f"Witten–Bell bigram of {chosen.words} words of builtin/python-docs",
        "mean_entropy_nats": float(laws.entropy.mean()),
        "bin_width_nats": BIN_WIDTH_NATS,
        "null": null,
        "power": power,
        "blind_spot": blind,
        "coverage_of_95_percent_intervals": covered,
        "alpha_of_the_audit": AUDIT_ALPHA,
        **size,
        "as_promised": good,
        "provenance": to_json(provenance()),
    }
    chosen.out.parent.mkdir(exist_ok=True, parents=True)
    chosen.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(chosen.out)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
