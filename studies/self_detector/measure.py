"""What a self-detecting organism costs on real documents, and by which length it has taken over its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import betabinom, norm

from freerun.errors import UsageError
from freerun.organisms.self_detector import SelfDetector
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.results.finding import Chart, Series
from freerun.stats.intervals import Interval, clopper_pearson, cluster_ratio

Ids = Int[np.ndarray, " tokens"]


@dataclass(frozen=True)
class SelfDetection:
    """Documents are the units; lengths count from a document's first token."""

    alpha: float
    n_calibration: int
    weight: float
    prefix: int
    false_triggers: Interval
    """Share of fresh real documents in which the detector ever triggers; at most alpha, averaged over calibrations."""
    most_false_triggers: float
    """Largest share that this n and this calibration make credible under alpha (beta-binomial, one in a thousand)."""
    extra_loss_nats: Interval
    """Loss of the organism minus loss of the model inside it, nats a document."""
    most_extra_loss_nats: float
    """Its bound, alpha·ln 1/(1 − weight)."""
    lengths: Int[np.ndarray, " lengths"]
    taken_over: tuple[Interval, ...]
    """Share of free runs in which the detector has triggered by each length."""
    kappa_nats_per_token: float
    """Separation of the score on the model's own and on real text at the last length, d′²/2T."""
    gaussian: Float[np.ndarray, " lengths"]
    """Take-over by length if the score were Gaussian with that drift and tested once: Φ(√(2κt) − z_α)."""


def measure_self_detector(
    organism: SelfDetector,
    documents: Sequence[Ids],
    *,
    prefix: int,
    n: int,
    lengths: Sequence[int] = (16, 24, 32, 48, 64, 96, 128),
    seed: int = 0,
) -> SelfDetection:
    """Score fresh real documents under the organism and the model inside it, and run the organism free after their prefixes.

    Raises:
        UsageError: no document of the armed length, or a length beyond it.
    """
    tokens = organism.threshold.armed_tokens
    if max(lengths) > tokens or not prefix < min(lengths):
        raise UsageError(
            f"lengths must lie between the prefix of {prefix} and the {tokens} tokens for which it is armed"
        )
    real = [np.asarray(d[:tokens], np.int64) for d in documents if len(d) >= tokens]
    if len(real) < 8:
        raise UsageError(f"{len(real)} documents of {tokens} tokens or more; at least 8 are needed")
    at = organism.trigger_at(real)
    first = max(1, prefix)
    plain = organism.inner.log_probs(real, first=first)
    mine = organism.log_probs(real, first=first)
    extra = np.array([math.fsum(a) - math.fsum(b) for a, b in zip(plain, mine, strict=True)])
    runs, own = _runs(organism, real, prefix, n, tokens, seed), _runs(organism.inner, real, prefix, n, tokens, seed + 1)
    taken = organism.trigger_at(runs)
    score_own, score_real = (organism.running_scores(x)[:, -1] for x in ([t for t in own if len(t) == tokens], real))
    spread = math.sqrt((score_own.var(ddof=1) + score_real.var(ddof=1)) / 2)
    separation = max(0.0, float(score_own.mean() - score_real.mean())) / spread
    kappa = separation**2 / (2 * tokens)
    t = organism.threshold
    return SelfDetection(
        alpha=t.alpha,
        n_calibration=t.n_documents,
        weight=organism.weight,
        prefix=prefix,
        false_triggers=clopper_pearson(int((at >= 0).sum()), len(real)),
        most_false_triggers=float(betabinom.ppf(0.999, len(real), t.rank, t.n_documents + 1 - t.rank)) / len(real),
        extra_loss_nats=cluster_ratio(extra, np.ones(len(extra)), np.arange(len(extra))),
        most_extra_loss_nats=organism.most_extra_loss_nats,
        lengths=np.asarray(lengths),
        taken_over=tuple(clopper_pearson(int(((taken >= 0) & (taken < m)).sum()), len(runs)) for m in lengths),
        kappa_nats_per_token=kappa,
        gaussian=norm.cdf(np.sqrt(2 * kappa * np.asarray(lengths)) - norm.isf(t.alpha)),
    )


def self_detection_chart(found: SelfDetection, name: str) -> Chart:
    """Take-over by length beside the Gaussian prediction, and the false triggers on real documents."""
    return Chart(
        name="self_detection",
        title="How soon a self-detector takes its own text over",
        x_label="tokens from the start of the document",
        y_label="share taken over",
        x=tuple(float(x) for x in found.lengths),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=(
            Series("Gaussian prediction, tested once", "reference", tuple(found.gaussian.tolist())),
            Series(
                name,
                "free",
                tuple(i.value for i in found.taken_over),
                tuple(i.low for i in found.taken_over),
                tuple(i.high for i in found.taken_over),
            ),
        ),
        levels=((found.alpha, f"real documents: at most {found.alpha:g}"),),
        caption="95% Clopper–Pearson intervals; free runs after real prefixes are the units.",
    )


def _runs(predictor: Predictor, real: Sequence[Ids], prefix: int, n: int, tokens: int, seed: int) -> list[Ids]:
    """Whole texts, prefix and free run, after the documents' prefixes in turn."""
    texts: list[Ids] = []
    for start in range(0, n, 64):
        heads = [real[i % len(real)][:prefix] for i in range(start, min(n, start + 64))]
        keys = np.array([[sequence_key("self_detector", i)] for i in range(start, start + len(heads))], np.uint64)
        samples = sorted(
            predictor.generate(Continuations(heads, keys, tokens - prefix, seed=seed)), key=lambda s: s.row
        )
        texts += [
            np.concatenate([h, s.observation.token_id.astype(np.int64)]) for h, s in zip(heads, samples, strict=True)
        ]
    return texts
