"""Two models of which one tells no whole laws: what the log-probabilities of drawn tokens alone say of them as writers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.counted import counted
from freerun.findings.two_laws import quantities
from freerun.findings.two_laws.evidence import TwoModels
from freerun.findings.two_laws.points import WRITERS_WORDS
from freerun.findings.two_laws.writers import AIMS, charts, horizon, infinite_names, rounded_up
from freerun.results.distance import Certificate
from freerun.results.finding import Cell, Estimate, Finding, Row, Table, with_limits
from freerun.results.horizons import spoken
from freerun.results.quantity import Quantity
from freerun.results.verdict import Card, NextStep, Verdict, three_points
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.two_laws.best_detector import BestDetector
from freerun.stats.two_laws.certificate import TvCertificate
from freerun.stats.two_laws.k import KEstimate

ABSENT = "the divergence of single tokens, the most probable token, entropies and drift need whole laws of both, and one has none"


@dataclass(frozen=True)
class Judgement:
    """What is said of them."""

    verdict: Verdict
    headline: tuple[Card, ...]
    certificate: Certificate | None
    findings: tuple[Finding, ...]
    infinite: tuple[str, ...]


def judge_writers(models: TwoModels) -> Judgement:
    """K both ways by the log-probability gap, the total variation with its certificate, and the best possible detector."""
    tokens = _tokens(models)
    sides, k, back, best = models.certificate, models.k, models.k_reverse, models.best
    if sides is None or k is None or back is None or best is None:
        why = "This is not known: fewer than two independent documents."
        unknown = Finding.unknown("writers", _QUESTION, why, quantities.TV.estimate(None, text="unknown"))
        return Judgement(
            Verdict(
                why,
                "Take more --documents.",
                "unknown",
                next_step=NextStep("Take more documents: the same command with", "--documents"),
            ),
            (),
            None,
            (tokens, unknown),
            (),
        )
    found = _certificate(sides)
    finding = _finding(models, sides, best)
    measured = (
        "A server gives no whole laws, so whole texts were compared: each model wrote texts, both said how probable every one of them is. "
        f"{WRITERS_WORDS}."
    )
    points = three_points(measured, tokens.sentence, f"{found.sentence} Intervals are 95%, over prefixes.")
    verdict = Verdict(finding.sentence, f"{found.sentence} {tokens.sentence}", "neutral", points=points)
    return Judgement(verdict, _cards(finding, found), found, (tokens, finding), infinite_names(models))


_QUESTION = "How far apart are the two models as writers?"


def _tokens(models: TwoModels) -> Finding:
    """The loss on real text, which needs no whole law; the rest by name as absent."""
    real = models.laws("real")
    assert real is not None
    gap = real.gap
    known = np.isfinite(gap)
    groups = np.broadcast_to(real.unit[:, None], gap.shape)[known]
    estimates: tuple[Estimate, ...] = ()
    said = ""
    if np.unique(groups).size >= 2 and known.sum() == real.inside.sum():
        loss = cluster_ratio(gap[known], np.ones(int(known.sum())), groups)
        estimates = (quantities.LOSS_DIFFERENCE.estimate(loss, method="mean over tokens, document-clustered interval"),)
        said = f"On real text B's loss beside A's is {with_limits(loss, '+.3g')} nats a token. "
    return Finding(
        "tokens",
        "How far apart are the two laws at one token?",
        f"{said}Not known of single tokens: {ABSENT}.",
        "unknown",
        estimates,
        licence="Unit: the document; real text, each token after all before it.",
    )


def _finding(models: TwoModels, sides: TvCertificate, best: BestDetector) -> Finding:
    assert models.k is not None
    assert models.k_reverse is not None
    k, back, tokens = models.k[-1], models.k_reverse[-1], models.plan.tokens
    band, last = sides.both, best.auc[-1]
    tv = Interval(float(band.value[-1]), float(band.low[-1]), float(band.high[-1]), band.level, band.n)
    how = (
        "Σ ln p/q of each own text, mean over prefixes, t interval widened for skewness; an estimate, not a certificate"
    )
    estimates = (
        quantities.TV.estimate(
            tv, label=f"{quantities.TV.label} of {tokens} tokens", method=band.method, independent_unit="prefix"
        ),
        _k(quantities.K, k, how),
        _k(quantities.K_REVERSE, back, how),
        quantities.AUC.estimate(
            last,
            label=f"{quantities.AUC.label} at {tokens} tokens",
            method=_DETECTOR,
            independent_unit="prefix",
        ),
        *(horizon(quantity, best, level, _DETECTOR) for level, quantity in quantities.HORIZONS.items()),
    )
    return Finding(
        "writers",
        _QUESTION,
        f"{_k_words(k)} The best possible detector of one text has AUC {last.value:.2f} ({last.low:.2f} to {last.high:.2f}) at "
        f"{tokens} tokens, and reaches 0.75 {spoken(best.horizon(0.75))}.",
        "neutral",
        estimates,
        charts=charts(models),
        tables=(_by_length(models, sides, best),),
        licence=(
            "Texts that each model drew at temperature 1 from the full vocabulary, its own log-probabilities as it drew them and the other's by "
            "a scoring pass; unit: the prefix; lengths declared before. Limits of the total variation hold at any number of documents and at "
            "all lengths at once (95%); K and AUC have pointwise 95% intervals. K has no upper confidence limit."
        ),
        notes=(
            "A server's texts are taken for draws from the law that it reports; `freerun doctor` tries that.",
            "Two engines that compute one model are not at distance 0: their arithmetic is part of the distance.",
        ),
    )


_DETECTOR = "likelihood ratio of whole texts; no detector of one text does better"


def _k(quantity: Quantity, k: KEstimate, how: str) -> Estimate:
    label = f"{quantity.label} over {k.tokens} tokens"
    if k.interval is None:
        return quantity.estimate(None, label=label, text=f"infinite ({k.infinite_tokens:,} tokens)", method=how)
    return quantity.estimate(k.interval, label=label, method=how, independent_unit="prefix")


def _k_words(k: KEstimate) -> str:
    if k.interval is None:
        return f"K is infinite over {k.tokens} tokens: B gives no mass to {counted(k.infinite_tokens, 'token')} that A wrote."
    x = k.interval
    return f"A's texts hold {with_limits(x, '.3g')} nats against B over {k.tokens} tokens (K, an estimate)."


def _certificate(sides: TvCertificate) -> Certificate:
    band = sides.both
    tokens, value, high = int(band.lengths[-1]), float(band.value[-1]), float(band.high[-1])
    aim = next((a for a in AIMS if a > value), 1.0)
    average = f"{band.level:.0%} confidence; an average over these {counted(band.n, 'prefix', 'prefixes')}"
    if not sides.agree:
        words = (
            "No certificate: the total variation from A's texts and the one from B's are not of one number, so one of the two kinds of text "
            "was not drawn from the law that is reported with it."
        )
    elif high >= 1.0:
        words = f"Nothing is certified: the upper limit of the total variation is 1. It is at least {band.low[-1]:.3f} ({average})."
    else:
        words = (
            f"No test on one text of up to {counted(tokens, 'token')} separates them with a true- minus false-positive rate above "
            f"{rounded_up(high)} ({average})."
        )
    return Certificate(
        tokens=tokens,
        tv=high,
        estimate=value,
        low=float(band.low[-1]),
        level=band.level,
        n=band.n,
        least_tv=band.floor,
        aim=aim,
        documents_needed=sides.units_for(aim, tokens) if aim < 1.0 else None,
        sides_agree=sides.agree,
        sentence=words,
    )


def _by_length(models: TwoModels, sides: TvCertificate, best: BestDetector) -> Table:
    k = models.k
    assert k is not None
    rows: list[Row] = []
    for j, n in enumerate(models.lengths.tolist()):
        band = sides.both
        tv = Interval(float(band.value[j]), float(band.low[j]), float(band.high[j]), band.level, band.n)
        rows.append((str(n), Cell.of(k[j].interval, 3, "nats"), Cell.of(tv, 3, "TV"), Cell.of(best.auc[j], 2, "AUC")))
    return Table(
        "writers_by_length",
        "By length (95%)",
        ("tokens", "K, A's text against B", "total variation", "AUC of the best possible detector"),
        tuple(rows),
    )


def _cards(finding: Finding, found: Certificate) -> tuple[Card, ...]:
    named = {e.name: e for e in finding.estimates}
    k, auc = named[quantities.K.name], named[quantities.AUC.name]
    limit = f"≤ {rounded_up(found.tv)}" if found.sides_agree else "none"
    return (
        Card(
            f"Certificate, {found.tokens} tokens",
            limit,
            "TV",
            f"{found.low:.3f} to {rounded_up(found.tv)}",
            "upper limit of the total variation: what no test on one text can exceed",
            "writers",
        ),
        _card("K", k, "A's text against B; an estimate", ".3g"),
        _card("Best possible detector", auc, "AUC of one text", ".2f"),
    )


def _card(label: str, e: Estimate, note: str, form: str) -> Card:
    if e.value is None:
        return Card(label, e.text or "unknown", note=note, finding="writers")
    ends = "" if e.low is None or e.high is None else f"{e.low:{form}} to {e.high:{form}}"
    return Card(label, f"{e.value:{form}}", e.unit, ends, note, "writers")
