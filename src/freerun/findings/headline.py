"""The headline numbers of a run as cards, and the yardsticks that its horizon is read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from freerun.findings import drift
from freerun.findings.detectability.comparison import Comparison, Curve
from freerun.findings.detectability.quantities import H75, HORIZONS
from freerun.findings.evidence import Evidence
from freerun.findings.loops.quantities import INCIDENCE
from freerun.findings.loss import IMPOSSIBLE, LOSS
from freerun.findings.recognition.quantities import SAMPLER_P
from freerun.results.audit import OwnText
from freerun.results.finding import Cell, Estimate, Finding, printed
from freerun.results.horizons import at_least, interval_words, outside
from freerun.results.quantity import Quantity
from freerun.results.verdict import Card, Mark, Yardsticks
from freerun.stats.detection.horizon import HorizonResult
from freerun.stats.detection.two_sample import NullBand

HORIZON, DRIFT, LOOPS, AUDIT = "Free-run horizon H75", "Entropy drift", "Loops", "Sampler audit"
_OF_OWN_TEXT = {HORIZON: "detectability", DRIFT: drift.CONTEXT.finding, LOOPS: INCIDENCE.finding}
"""Cards of own text, and the findings that they belong to."""
_FINDING_OF = {q.name: q.finding for q in (LOSS, drift.CONTEXT, INCIDENCE, *HORIZONS.values())}


def headline(findings: Mapping[str, Finding], comparison: Comparison | None, own_text: OwnText) -> tuple[Card, ...]:
    """The loss, and what own text says; where it is refused as evidence the cards say so."""

    def estimate(quantity: Quantity) -> Estimate:
        estimates = {e.name: e for e in findings[quantity.finding].estimates}
        return estimates.get(quantity.name, quantity.number(None))

    loss_card = _card("Loss", estimate(LOSS), "how well it predicts real text; lower is better")
    if any(e.name == IMPOSSIBLE.name for e in findings["loss"].estimates):
        note = f"{loss_card.value} on the tokens that it holds possible"
        loss_card = replace(loss_card, value="∞", interval="", note=note)
    if own_text.refused:
        refused = (Card(label, "refused", finding=name) for label, name in _OF_OWN_TEXT.items())
        failed = Card(AUDIT, "failed", note="its law is not the scorer's", finding="self_recognition")
        return (*refused, loss_card, failed)
    horizons = [Card(HORIZON, "unknown", note="too few documents: take more --documents", finding="detectability")]
    if comparison is not None:
        horizons = [
            _horizon_card(
                label,
                estimate(HORIZONS[level]),
                f"length at which the detector is right {right} times in 100",
                comparison.main.horizons[level],
                detected=comparison.detected,
            )
            for label, level, right in ((HORIZON, 0.75, 75), ("H60", 0.60, 60), ("H90", 0.90, 90))
        ]
    p = estimate(SAMPLER_P).value
    law = "drawn from its own law, as its samples should be"
    audit = "the model tells no whole laws" if p is None else f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
    note = f"{law} ({audit})" if own_text.sampler_audit == "passed" else audit
    if own_text.sampler_audit == "failed" and not own_text.own_law:
        note = f"not drawn from its law at temperature 1, as another rule was declared ({audit})"
    return (
        *horizons,
        loss_card,
        _card(
            DRIFT,
            estimate(drift.CONTEXT),
            "how much less sure of the next token it is on its own text, second half",
            form="+.2f",
        ),
        _card(LOOPS, estimate(INCIDENCE), "share of own texts in which a loop begins", form=".1%"),
        Card(AUDIT, own_text.sampler_audit.replace("_", " "), note=note, finding="self_recognition"),
    )


def _horizon_card(label: str, e: Estimate, note: str, h: HorizonResult, *, detected: bool) -> Card:
    """A horizon; where no difference was found none is stated, but what its interval excludes."""
    if detected:
        return _card(label, e, note, h=h)
    known = at_least(h.low)
    return Card(
        label, "none found", note=f"{note}{f': {known}, if there is one' if known else ''}", finding=_FINDING_OF[e.name]
    )


def _card(label: str, e: Estimate, note: str, *, form: str = "", h: HorizonResult | None = None) -> Card:
    form = form or (".0f" if e.unit == H75.unit else ".2f")
    finding = _FINDING_OF[e.name]
    if e.value is None and h is None:
        return Card(label, e.text or "unknown", note=note, finding=finding)
    value, low, high = ("?" if v is None else printed(v, form) for v in (e.value, e.low, e.high))
    interval = f"{low} to {high}" if e.low is not None and e.high is not None else ""
    if e.degenerate:
        note = "; ".join(filter(None, (note, "every document says the same: no interval")))
    unit = "" if form.endswith("%") or e.text else "token" if e.unit == H75.unit and value == "1" else e.unit
    return Card(label, e.text or value, unit, interval if h is None else interval_words(h), note, finding)


def yardsticks(evidence: Evidence, comparison: Comparison) -> Yardsticks:
    """H75 of this run beside other comparisons by the same detector at the same n."""
    cold = f"t = {evidence.plan.control_temperature:g}"
    curves = (
        ("its own text against real text", comparison.main, "free"),
        (f"its text at {cold} against real text", comparison.real_tempered, "other"),
        (f"its text at {cold} against its own at t = 1", comparison.tempered, "tempered"),
    )
    scale = (
        *(
            _mark(label, curve, role, detected=comparison.detected or curve is not comparison.main)
            for label, curve, role in curves
            if curve is not None
        ),
        _chance("real text against real text", "real", comparison.real_bands, comparison.longest),
        _chance("its own text against its own", "control", comparison.own_bands, comparison.longest),
    )
    n = comparison.last
    return Yardsticks(
        title="Is that long or short?",
        sentence=(
            f"H75 of other comparisons by the same detector at this n ({n.n_train} + {n.n_test} documents). Further right is better: a "
            "model whose text could not be told apart would stand with the controls at the right end."
        ),
        columns=("comparison", "H75, tokens", "95% interval"),
        rows=tuple(
            (m.label, Cell(m.text or f"{m.value:.0f}", m.value, "tokens", m.low, m.high), m.interval) for m in scale
        ),
        scale=scale,
        scale_max=comparison.longest,
    )


def _mark(label: str, curve: Curve, role: str, *, detected: bool) -> Mark:
    h = curve.horizons[0.75]
    if not detected:
        low = None if h.low.where != "inside" else _whole(h.low_tokens)
        return Mark(label, role, None, low, None, "no difference found", at_least(h.low), "beyond")
    low = None if h.low.where == "beyond" else _whole(h.low_tokens)
    text, interval, where = outside(h.estimate), interval_words(h), h.estimate.where
    return Mark(label, role, _whole(h.value), low, _whole(h.high_tokens), text, interval, where)


def _chance(label: str, role: str, bands: Sequence[NullBand], longest: int) -> Mark:
    """Text of one kind against itself: never told apart."""
    interval = f"chance; largest AUC in 95% of random halves: {max(b.high for b in bands):.2f}"
    return Mark(label, role, None, None, None, f"later than {longest}", interval, "beyond")


def _whole(tokens: float | None) -> float | None:
    """To the nearest token; the page shows no more than a reader can use."""
    return None if tokens is None else max(1.0, float(round(tokens)))
