"""How far apart are the two models as writers? What no test can do, and what the best one does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freerun.counted import counted
from freerun.findings.two_laws import quantities
from freerun.findings.two_laws.detector import Trained, trained_detector
from freerun.findings.two_laws.evidence import TwoModels
from freerun.results.distance import Certificate
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table, with_limits
from freerun.results.horizons import ends_of, outside, spoken
from freerun.results.quantity import Quantity
from freerun.stats.intervals import Interval
from freerun.stats.two_laws.best_detector import METHOD, BestDetector, auc_range, fits_tv
from freerun.stats.two_laws.certificate import TvBand
from freerun.stats.two_laws.k import KEstimate

NAME = "writers"
QUESTION = "How far apart are the two models as writers?"
_NOTHING = 0.9995
"""An upper limit above it excludes nothing worth the name."""
AIMS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Limits of the total variation that a run is said to need so many documents for: the smallest that lies above its estimate."""


def writers_finding(models: TwoModels) -> Finding:
    """K and total variation of whole texts from both sides, and the best possible detector beside a trained one."""
    if models.texts("a") is None and models.texts("b") is None:
        return Finding.unknown(
            NAME, QUESTION, "Neither model was let write (--arms real), so nothing is known of whole texts of theirs."
        )
    if models.tv is None:
        return Finding.unknown(
            NAME,
            QUESTION,
            "Fewer than two independent documents: whole texts are not judged.",
            quantities.TV.estimate(None, text="unknown"),
        )
    trained = trained_detector(models)
    return Finding(
        name=NAME,
        question=QUESTION,
        sentence=_sentence(models),
        status="neutral",
        estimates=_estimates(models, trained),
        charts=charts(models, trained),
        tables=(_by_length(models, trained),),
        licence=(
            "Texts drawn from the recorded laws at temperature 1 from the full vocabulary; unit: the prefix, the order of prefixes fixed by "
            "a hash; lengths declared before. Limits of the total variation and of the best AUC hold at any number of documents, those of the "
            "total variation at all lengths at once, those of the AUC at each (95%); K has pointwise 95% intervals. K has no upper confidence limit: a rare context can carry all of it. It is an "
            "estimate; the certificate is the upper limit of the total variation."
        ),
        notes=_notes(models),
    )


def certificate_of(models: TwoModels) -> Certificate | None:
    """What no test can do at the last length; None where the models did not write."""
    band = models.tv
    if band is None:
        return None
    tokens, value = int(band.lengths[-1]), float(band.value[-1])
    aim = next((a for a in AIMS if a > value), 1.0)
    sides = models.certificate
    needed = None
    if sides is not None and aim < 1.0:
        needed = sides.units_for(aim, tokens)
    agree = sides is None or sides.agree
    return Certificate(
        tokens=tokens,
        tv=float(band.high[-1]),
        estimate=value,
        low=float(band.low[-1]),
        level=band.level,
        n=band.n,
        least_tv=band.floor,
        aim=aim,
        documents_needed=needed,
        sides_agree=agree,
        sentence=_certificate_words(band, tokens, agree),
    )


def _certificate_words(band: TvBand, tokens: int, agree: bool) -> str:
    if not agree:
        return (
            "No certificate: the total variation from A's texts and the one from B's are not of one number, so one of the two kinds of "
            "text was not drawn from the law that is recorded with it."
        )
    if band.high[-1] > _NOTHING:
        return (
            f"Nothing is certified: the upper limit of the total variation of texts of up to {counted(tokens, 'token')} is 1. It is at "
            f"least {band.low[-1]:.3f} ({band.level:.0%} confidence; an average over these {counted(band.n, 'prefix', 'prefixes')})."
        )
    return (
        f"No test on one text of up to {counted(tokens, 'token')} separates them with a true- minus false-positive rate above "
        f"{rounded_up(float(band.high[-1]))} ({band.level:.0%} confidence; an average over these {counted(band.n, 'prefix', 'prefixes')})."
    )


def rounded_up(x: float) -> str:
    """A limit, rounded to the side on which it stays one."""
    return f"{min(1.0, np.ceil(x * 1000) / 1000):.3f}"


def _sentence(models: TwoModels) -> str:
    k, best, texts = models.k, models.best, models.texts("a")
    parts = []
    if k is not None and texts is not None:
        last = k[-1]
        if last.interval is None:
            parts.append(
                f"K is infinite over {last.tokens} tokens: B holds impossible what A wrote, or could have, in "
                f"{last.infinite_texts} of {counted(len(texts.laws.unit), 'text')}."
            )
        else:
            parts.append(
                f"A's texts hold {_nats(last.interval)} nats against B over {last.tokens} tokens (K, an estimate)."
            )
    if best is not None:
        last_auc = best.auc[-1]
        parts.append(
            f"The best possible detector of one text has AUC {last_auc.value:.2f} ({last_auc.low:.2f} to {last_auc.high:.2f}) there, and "
            f"reaches 0.75 {spoken(best.horizon(0.75))}."
        )
    parts += [
        f"The total variation does not lie above {arm.upper()}'s floor: {arm.upper()}'s law computed twice is as far from itself "
        f"({floor.value[-1]:.2g} over {int(floor.lengths[-1])} tokens)."
        for arm, floor in models.floors.items()
        if models.tv is not None and models.tv.low[-1] <= floor.value[-1]
    ]
    if not parts and models.tv is not None:
        parts.append(f"Only one of the two wrote; total variation {models.tv.value[-1]:.3f}.")
    return " ".join(parts)


def _nats(x: Interval) -> str:
    return with_limits(x, ".3g")


# ---- numbers -----------------------------------------------------------------------------------------------------------


def _estimates(models: TwoModels, trained: Trained | None) -> tuple[Estimate, ...]:
    band, best = models.tv, models.best
    assert band is not None
    tokens = int(band.lengths[-1])
    tv = Interval(float(band.value[-1]), float(band.low[-1]), float(band.high[-1]), band.level, band.n)
    out = [
        quantities.TV.estimate(
            tv, label=f"{quantities.TV.label} of {tokens} tokens", method=band.method, independent_unit="prefix"
        )
    ]
    out += _k_estimates(quantities.K, models.k)
    out += _k_estimates(quantities.K_REVERSE, models.k_reverse)
    if best is not None:
        how = f"likelihood ratio of whole texts, A's against B's of other prefixes; no detector of one text does better: {METHOD}"
        out.append(
            quantities.AUC.estimate(
                best.auc[-1], label=f"{quantities.AUC.label} at {tokens} tokens", method=how, independent_unit="prefix"
            )
        )
        for level, quantity in quantities.HORIZONS.items():
            out.append(horizon(quantity, best, level, how))
    if trained is not None:
        out.append(
            quantities.TRAINED_AUC.estimate(
                trained.auc[-1],
                label=f"{quantities.TRAINED_AUC.label} at {int(trained.lengths[-1])} tokens",
                method=trained.method,
                independent_unit="prefix",
            )
        )
    return tuple(out)


def horizon(quantity: Quantity, best: BestDetector, level: float, how: str) -> Estimate:
    """A horizon as an estimate; `text` where it lies outside the lengths."""
    h = best.horizon(level)
    return Estimate(
        quantity.name,
        quantity.label,
        h.value,
        quantity.unit,
        low=None if h.low.where == "beyond" else h.low_tokens,  # beyond the lengths: no number, see `ends`
        high=h.high_tokens,
        level=h.level,
        n=best.auc[-1].n,
        independent_unit="prefix",
        method=how,
        text=outside(h.estimate),
        ends=ends_of(h, best.lengths),
    )


def _k_estimates(quantity: Quantity, k: Sequence[KEstimate] | None) -> list[Estimate]:
    if k is None:
        return []
    last = k[-1]
    label = f"{quantity.label} over {last.tokens} tokens"
    how = (
        f"Σ KL(next token) with Σ ln p/q as control variate (mean weight {last.coefficient:.2f}), mean over prefixes, t interval widened "
        "for skewness; an estimate, not a certificate"
    )
    text = "" if last.interval is not None else f"infinite ({counted(last.infinite_texts, 'text')})"
    return [quantity.estimate(last.interval, label=label, method=how, text=text, independent_unit="prefix")]


def infinite_names(models: TwoModels) -> tuple[str, ...]:
    """Names of the estimates here that are infinite."""
    pairs = ((quantities.K, models.k), (quantities.K_REVERSE, models.k_reverse))
    return tuple(quantity.name for quantity, k in pairs if k is not None and k[-1].infinite)


# ---- pictures and tables -----------------------------------------------------------------------------------------------


def charts(models: TwoModels, trained: Trained | None = None) -> tuple[Chart, ...]:
    """Total variation, the best possible detector and K by length."""
    out = [_tv_chart(models)]
    if models.best is not None:
        out.append(_auc_chart(models.best, trained))
    if models.k is not None or models.k_reverse is not None:
        out.append(_k_chart(models))
    return tuple(out)


def _tv_chart(models: TwoModels) -> Chart:
    sides = models.certificate
    series = [_band("total variation, both sides", "free", models.tv)]
    if sides is not None:
        series += [_band("from A's texts", "real", sides.from_p), _band("from B's texts", "other", sides.from_q)]
    for (arm, floor), role in zip(models.floors.items(), ("control", "tempered"), strict=False):
        name = f"floor: {arm.upper()}'s texts under its own law computed twice"
        series.append(_band(name, role, floor))
    return Chart(
        name="tv_by_length",
        title="Total variation of whole texts by length",
        x_label="tokens of one text",
        y_label="total variation",
        x=tuple(float(n) for n in models.lengths),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=tuple(s for s in series if s is not None),
        caption="Bands hold at all lengths at once (95%): no test on one text can have a true- minus false-positive rate above the upper "
        "one, averaged over these prefixes.",
    )


def _band(name: str, role: str, band: TvBand | None) -> Series | None:
    return (
        None if band is None else Series.curve(name, role, band.value.tolist(), band.low.tolist(), band.high.tolist())
    )


def _auc_chart(best: BestDetector, trained: Trained | None) -> Chart:
    series = [Series.of("best possible detector (likelihood ratio)", "free", best.auc)]
    if trained is not None:
        by_length = dict(zip(trained.lengths.tolist(), trained.auc, strict=True))
        series.append(Series.of("trained detector", "reference", [by_length.get(int(n)) for n in best.lengths]))
    return Chart(
        name="auc_by_length",
        title="Telling A's text from B's, by length",
        x_label="tokens of one text",
        y_label="AUC",
        x=tuple(float(n) for n in best.lengths),
        x_scale="log2",
        y_range=(0.4, 1.0),
        levels=((0.5, "chance"), (0.75, "0.75")),
        series=tuple(series),
        caption="Bands: pointwise 95%. The best detector knows both laws exactly"
        + ("." if trained is None else "; the trained one learned from the texts of half of the prefixes."),
    )


def _k_chart(models: TwoModels) -> Chart:
    pairs = (("A's text against B", "real", models.k), ("B's text against A", "other", models.k_reverse))
    return Chart(
        name="k_by_length",
        title="K: nats that the text of one holds against the other, by length",
        x_label="tokens of one text",
        y_label="nats a text",
        x=tuple(float(n) for n in models.lengths),
        x_scale="log2",
        series=tuple(Series.of(name, role, [e.interval for e in k]) for name, role, k in pairs if k is not None),
        caption="Estimates with pointwise 95% intervals; lengths at which K is infinite are left out.",
    )


def _by_length(models: TwoModels, trained: Trained | None) -> Table:
    band, best = models.tv, models.best
    assert band is not None
    learned = {} if trained is None else dict(zip(trained.lengths.tolist(), trained.auc, strict=True))
    rows: list[Row] = []
    for j, n in enumerate(models.lengths.tolist()):
        tv = Interval(float(band.value[j]), float(band.low[j]), float(band.high[j]), band.level, band.n)
        rows.append(
            (
                Cell.number(n, ","),
                Cell.of(tv, 3),
                *(Cell("–", None) if k is None else _k_cell(k[j]) for k in (models.k, models.k_reverse)),
                Cell.of(best.auc[j] if best is not None else None, 3),
                Cell.of(best.counted[j] if best is not None else None, 3),
                _allowed(float(band.low[j]), float(band.high[j])),
                Cell.of(learned.get(n), 3),
            )
        )
    heads = (
        "tokens",
        "total variation (all lengths at once)",
        "K of A's text, nats",
        "K of B's text, nats",
        "best AUC",
        "the same, counted",
        "best AUC by the total variation",
        "trained AUC",
    )
    return Table("two_writers_by_length", "By length of the text (95%)", heads, tuple(rows))


def _allowed(tv_low: float, tv_high: float) -> Cell:
    """Between which AUCs the best detector's lies, by the limits of the total variation."""
    low, high = auc_range(tv_low)[0], auc_range(tv_high)[1]
    return Cell(f"{low:.3f} to {high:.3f}", None, "AUC", low, high)


def _k_cell(k: KEstimate) -> Cell:
    return (
        Cell(f"∞ ({counted(k.infinite_texts, 'text')})", None, "nats")
        if k.interval is None
        else Cell.of(k.interval, 3, "nats")
    )


def _notes(models: TwoModels) -> tuple[str, ...]:
    band, found = models.tv, certificate_of(models)
    assert band is not None
    assert found is not None
    notes = [
        f"Even two identical models would get a limit of {rounded_up(band.floor)} from {counted(band.n, 'prefix', 'prefixes')} at "
        f"{counted(band.lengths.size, 'length')}.",
        "The certificate is about one text; someone who sees N texts can do more (K is N times as large). It is an average over these "
        "prefixes: after one of them the two can be further apart.",
        "The best AUC is not counted: a pair of texts with log-ratios that differ by S counts as 1/(1 + e^(−|S|)), which has the same mean "
        "and varies far less. That believes the recorded laws; the share of pairs in which A's text really has the larger log-ratio, which "
        "does not, stands beside it as a check.",
        "Rounding looks like a difference: it raises the total variation by about 0.4·σ·√T for σ nats of noise a token, which the floor "
        "shows.",
    ]
    if found.documents_needed is not None and found.tv > found.aim:
        notes.insert(1, f"A limit of {found.aim:g} would take about {found.documents_needed:,} documents.")
    best = models.best
    if best is not None and not fits_tv(best.auc[-1], float(band.low[-1]), float(band.high[-1])):
        notes.append(
            "The AUC does not lie where the total variation allows it (between ½(1 + TV) and 1 − ½(1 − TV)²): the texts or the recorded "
            "laws are not what they should be."
        )
    if best is not None and not best.agree:
        notes.append(
            "The best AUC and the counted one are not of one number: texts were not drawn from the laws that are recorded with them."
        )
    if best is not None and best.falls:
        notes.append(
            f"The counted AUC falls between lengths {best.falls}, which it cannot: something is wrong with the texts or the laws."
        )
    for arm, floor in models.floors.items():
        texts = models.texts(arm)
        assert texts is not None
        assert texts.drawn_gap_nats is not None
        gap = np.abs(texts.drawn_gap_nats[texts.inside])
        gap = gap[np.isfinite(gap)]
        notes.append(
            f"{arm.upper()}'s own text: the log-probabilities recorded while it was drawn and those of the scoring pass differ by at most "
            f"{gap.max(initial=0.0):.2g} nats a token. Taken for two laws they would have a total variation of {floor.value[-1]:.2g} "
            f"({floor.low[-1]:.2g} to {floor.high[-1]:.2g}) over {int(floor.lengths[-1])} tokens: the floor."
        )
    return tuple(notes)
