"""Size and power of the sampler's audit, and what z cannot see: `python -m studies.sampler_audit.run` (about 40 minutes on 1 core).

Size: 20,000 audits of right samplers of peaked and of flat laws at 512 tokens, with passes that differ as float32 and as
bf16 do, and 2,000 of a word bigram of CPython's documentation (2,000 words, 60 texts of 256 tokens). Power: wrong samplers of
the bigram, and faults as small as each audit says that it would have seen. What is done is kept in `runs/sampler_audit` and
not done again. Writes result.json beside this file; fails if a rate is not what the audit promises.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from freerun.findings.own_text.standing import AUDIT_ALPHA, AUDIT_POWER
from freerun.predictors.law import Law
from freerun.predictors.observation import BIN_WIDTH_NATS, N_BINS, bin_of
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.stats.calibration import calibration_curve
from freerun.stats.intervals import clopper_pearson
from freerun.stats.recognition.likelihood_ratio import likelihood_ratio
from freerun.stats.recognition.rank_histogram import rank_buckets, rank_histogram
from freerun.stats.recognition.self_recognition import self_z
from freerun.stats.reliability import reliability
from freerun.worlds.markov import random_chain
from studies.files import json_text, write_files
from studies.sampler_audit.samplers import (
    BF16,
    FLOAT32,
    SAMPLERS,
    Laws,
    Sampler,
    gamma_chain,
    sampled,
    trials,
    word_bigram,
)
from studies.sampler_audit.smallest import RIGHT, smallest

HERE = Path(__file__).parent
ALPHAS = (0.05, 0.01, 0.001)
BLOCK = 500
"""Audits that are counted and kept together."""
PROMISED = (
    "top-k 50",
    "top-p 0.9",
    "top-p 0.95",
    "temperature 0.9",
    "1 token in 100 from elsewhere",
    "laws rounded to bf16",
)
"""Samplers that are found nearly always."""


@dataclass(frozen=True)
class Design:
    """Audits of one sampler of one model."""

    name: str
    laws: str
    sampler: str
    runs: int
    texts: int
    tokens: int
    rounding: float = FLOAT32
    seed: int = 0


def designs(nulls: int, bigram_nulls: int, runs: int) -> list[Design]:
    """Right samplers, then wrong ones."""
    small = [
        Design(f"{laws}, {form}", laws, "right", nulls, 16, 32, rounding, seed)
        for seed, (laws, form, rounding) in enumerate(
            (
                ("peaked", "float32", FLOAT32),
                ("flat", "float32", FLOAT32),
                ("peaked", "bf16", BF16),
                ("flat", "bf16", BF16),
            )
        )
    ]
    bigram = Design("word bigram", "bigram", "right", bigram_nulls, 60, 256, seed=4)
    wrong = [Design(name, "bigram", name, runs, 60, 256, seed=10 + i) for i, name in enumerate(SAMPLERS)]
    return [*small, bigram, *wrong]


class Models:
    """The laws of a design's model, made once."""

    def __init__(self, words: int) -> None:
        self.words, self.made = words, dict[str, Laws]()

    def __getitem__(self, name: str) -> Laws:
        if name not in self.made:
            law = word_bigram(self.words) if name == "bigram" else gamma_chain({"peaked": 0.03, "flat": 5.0}[name])
            self.made[name] = Laws.of(law)
        return self.made[name]


@dataclass(frozen=True)
class Counts:
    """Rejections of every test at every level, and sums over the audits."""

    n: int
    rejected: dict[str, dict[str, int]]
    z_total: float

    def plus(self, other: Counts) -> Counts:
        tests = self.rejected or other.rejected
        sums = {
            test: {
                a: self.rejected.get(test, {}).get(a, 0) + other.rejected.get(test, {}).get(a, 0) for a in tests[test]
            }
            for test in tests
        }
        return Counts(self.n + other.n, sums, self.z_total + other.z_total)

    def exceeds(self, test: str, alpha: float) -> bool:
        """Whether a test rejects more often than it may: limits at 95% for all together, at 99.9% for each of many."""
        level = 0.95 if test == "all" else 0.999
        return clopper_pearson(self.rejected[test][str(alpha)], self.n, level=level).low > alpha

    def rates(self) -> list[dict[str, float | str]]:
        """Rejected shares with Clopper–Pearson limits: two-sided 95%, and so each one-sided at 97.5%."""
        out: list[dict[str, float | str]] = []
        for test, by_alpha in self.rejected.items():
            for alpha, hits in by_alpha.items():
                limits = clopper_pearson(hits, self.n)
                row = {"test": test, "alpha": float(alpha), "rejected": hits, "n": self.n, "share": limits.value}
                out.append({**row, "low": limits.low, "high": limits.high})
        return out


def counted(laws: Laws, sampler: Sampler, design: Design, block: int, runs: int) -> Counts:
    """One block of audits."""
    rejected: dict[str, dict[str, int]] = {}
    z = 0.0
    seed = (7, design.seed, block)
    made = trials(
        laws, sampler, n_runs=runs, texts=design.texts, tokens=design.tokens, seed=seed, rounding=design.rounding
    )
    for trial in made:
        z += trial.z_total or 0.0
        for test, p in trial.p_values().items():
            row = rejected.setdefault(test, {str(a): 0 for a in ALPHAS})
            for alpha in ALPHAS:
                row[str(alpha)] += p <= alpha
    return Counts(runs, rejected, z)


def counts_of(models: Models, design: Design, kept: Path) -> Counts:
    """All blocks of a design, those that are kept read back."""
    total = Counts(0, {}, 0.0)
    for block, start in enumerate(range(0, design.runs, BLOCK)):
        runs = min(BLOCK, design.runs - start)
        file = kept / f"{design.name.replace(' ', '-').replace(',', '')}-{models.words}-{block:03d}-{runs}.json"
        if not file.exists():
            sampler = RIGHT if design.sampler == "right" else SAMPLERS[design.sampler]
            part = counted(models[design.laws], sampler, design, block, runs)
            kept.mkdir(parents=True, exist_ok=True)
            file.with_suffix(".part").write_text(json.dumps(asdict(part)), encoding="utf-8")
            file.with_suffix(".part").rename(file)
        total = total.plus(Counts(**json.loads(file.read_text(encoding="utf-8"))))
    return total


def rate(rows: Sequence[dict[str, float | str]], alpha: float = AUDIT_ALPHA, test: str = "all") -> dict[str, float]:
    """One row."""
    return next(r for r in rows if r["alpha"] == alpha and r["test"] == test)  # type: ignore[return-value]


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
    probs = laws.probs
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
    parser.add_argument(
        "--nulls", type=int, default=20_000, help="audits of each right sampler at 512 tokens (default 20000)"
    )
    parser.add_argument(
        "--bigram-nulls", type=int, default=2000, help="audits of a right bigram sampler (default 2000)"
    )
    parser.add_argument("--runs", type=int, default=200, help="audits of each wrong sampler (default 200)")
    parser.add_argument("--words", type=int, default=2000, help="vocabulary of the bigram (default 2000)")
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    parser.add_argument(
        "--keep", type=Path, default=HERE.parents[1] / "runs" / "sampler_audit", help="folder of what is done"
    )
    parser.add_argument("--blind-spot", action="store_true", help="print what z cannot see, and nothing else (seconds)")
    chosen = parser.parse_args()
    if chosen.blind_spot:
        print(json.dumps(blind_spot(), indent=1))
        return 0
    models, good = Models(chosen.words), True
    rows = []
    for design in designs(chosen.nulls, chosen.bigram_nulls, chosen.runs):
        counts = counts_of(models, design, chosen.keep)
        rates = counts.rates()
        if design.sampler == "right":
            good &= all(not counts.exceeds(test, a) for a in ALPHAS for test in counts.rejected)
            seen = "  ".join(f"{rate(rates, a)['share']:.4f} (to {rate(rates, a)['high']:.4f}) at {a}" for a in ALPHAS)
        else:
            good &= rate(rates)["low"] >= 0.95 or design.sampler not in PROMISED
            seen = "  ".join(f"{test} {rate(rates, test=test)['share']:.2f}" for test in counts.rejected)
        print(f"{design.name:32} {seen}", flush=True)
        rows.append({**asdict(design), "z_total_mean": counts.z_total / counts.n, "rates": rates})
    faults = [smallest(models["bigram"], runs=chosen.runs, rounding=rounding) for rounding in (FLOAT32, BF16)]
    powers = [
        f[f"{name}_power_high"]
        for f in faults
        for name in ("share_from_elsewhere", "truncation_kept_mass", "temperature_gap")
    ]
    good &= min(powers) >= AUDIT_POWER
    print("smallest faults", faults, flush=True)
    blind = blind_spot()
    print("blind spot", blind)
    covered = coverage(word_bigram(400))
    print("coverage of 95% intervals on own text", covered)
    result = {
        "command": "python -m studies.sampler_audit.run",
        "models": {
            "bigram": f"Witten–Bell bigram of {chosen.words} words of builtin/python-docs",
            "peaked": "chain of 64 words, masses in proportion to gamma variables of shape 0.03",
            "flat": "chain of 64 words, masses in proportion to gamma variables of shape 5",
        },
        "mean_entropy_nats": {name: float(laws.entropy.mean()) for name, laws in models.made.items()},
        "bin_width_nats": BIN_WIDTH_NATS,
        "null": [r for r in rows if r["sampler"] == "right"],
        "power": [r for r in rows if r["sampler"] != "right"],
        "smallest_faults": faults,
        "blind_spot": blind,
        "coverage_of_95_percent_intervals": covered,
        "alpha_of_the_audit": AUDIT_ALPHA,
        "as_promised": good,
        "provenance": to_json(provenance()),
    }
    write_files(HERE, {str(chosen.out): json_text(result)})
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
