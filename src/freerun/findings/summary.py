"""From records to the result: findings, verdict, yardsticks, threats. No model runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import freerun
from freerun.errors import DataError
from freerun.findings.detectability.comparison import Comparison, Curve
from freerun.findings.detectability.transfer import transfer
from freerun.findings.evidence import Evidence
from freerun.findings.examples import examples
from freerun.findings.outcome import measured
from freerun.findings.own_text.refusal import refused_headline, without_own_text
from freerun.findings.own_text.standing import OwnText, own_text_of
from freerun.findings.redacted import (
    comparable,
    is_redacted,
    threats_without_text,
    unreadable,
    without_text,
)
from freerun.findings.registry import QUESTIONS, compared
from freerun.findings.threats import threats
from freerun.records.answers import Answers
from freerun.records.source_likelihoods import SourceRecords
from freerun.records.store import Records
from freerun.results.finding import Estimate, Finding
from freerun.results.horizons import interval_words, outside, spoken
from freerun.stats.detection.horizon import HorizonResult

RESULT_VERSION = 1


def derive(
    records: Records,
    *,
    transfer_from: Records | None = None,
    answers: Answers | None = None,
    sources: Sequence[SourceRecords] = (),
) -> dict[str, Any]:
    """Everything that `result.json` holds; the page is drawn from it alone.

    `transfer_from`: a run whose detector is tried here. `answers`: what the model said when it was asked. `sources`: how likely every
    source finds the texts, where that was measured.
    """
    redacted = is_redacted(records)
    evidence = Evidence(unreadable(records) if redacted else records, answers, sources)
    manifest = records.manifest
    own_text = evidence.once(own_text_of)
    comparison = None if own_text.refused else evidence.once(compared)
    found = comparison if isinstance(comparison, Comparison) else None
    findings = [f for question in QUESTIONS if (f := question.derive(evidence)) is not None]
    if transfer_from is not None:
        other = Evidence(transfer_from)
        if not comparable(evidence, other):
            raise DataError("--transfer: one of the two runs was made with --redact-text, so their features differ")
        tried = transfer(evidence, other)
        findings.append(without_own_text(tried) if own_text_of(other).refused else tried)
    if redacted:
        findings = [without_text(f) for f in findings]
    if own_text.refused:
        findings = [without_own_text(f) for f in findings]
    by_name = {f.name: f for f in findings}
    plan = manifest["plan"]
    return {
        "schema_version": RESULT_VERSION,
        "kind": manifest["kind"],
        "freerun_version": freerun.__version__,
        "created": manifest["provenance"]["created"],
        "title": f"{plan['model']} on {plan['corpus']}",
        "verdict": _verdict(evidence, by_name, found, own_text),
        "own_text": own_text,
        "headline": _headline(by_name, found, own_text),
        "yardsticks": None if found is None else _yardsticks(evidence, found),
        "findings": findings,
        "texts": [] if redacted or own_text.refused else examples(evidence, found),
        "threats": threats_without_text(_threats(evidence, found, own_text))
        if redacted
        else _threats(evidence, found, own_text),
        "plan": plan,
        "counts": manifest["counts"],
        "corpus_notes": manifest["corpus"]["notes"],
        "model": manifest["model"],
        "provenance": manifest["provenance"],
        "command": manifest["command"],
    }


def _threats(evidence: Evidence, found: Comparison | None, own_text: OwnText) -> list[dict[str, str]]:
    return threats(evidence, found, own_text=not own_text.refused)


def _verdict(
    evidence: Evidence, findings: dict[str, Finding], found: Comparison | None, own_text: OwnText
) -> dict[str, str]:
    model = evidence.plan["model"]
    at_loss = _at_loss(findings["loss"])
    if own_text.refused:
        return {
            "sentence": f"{model}: its own text is refused as evidence, since the sampler's law is not the scorer's; what real text says stands, "
            f"{at_loss}.",
            "detail": findings["self_recognition"].sentence,
            "status": "unknown",
            "outcome": "not_judged",
            "outcome_words": "the horizon of text whose law is not known is not judged",
        }
    if own_text.sampler_audit == "failed":
        sentence = f"{model}: what was sampled is not the model's own law at temperature 1."
        return {
            "sentence": sentence,
            "detail": findings["self_recognition"].sentence,
            "status": "bad",
            "outcome": "not_judged",
            "outcome_words": "the horizon of a law that was not sampled is not judged",
        }
    if found is None:
        return {
            "sentence": f"{model}: this run cannot say from which length on its own text can be told from real text.",
            "detail": findings["detectability"].sentence,
            "status": "unknown",
            "outcome": "not_judged",
            "outcome_words": "no horizon could be measured",
        }
    longest = int(found.lengths[-1])
    h75 = found.main.horizons[0.75]
    outcome, outcome_words = measured(h75, detected=found.detected)
    if findings["detectability"].status == "neutral":
        sentence = f"{model}: no difference found between its own text and real text up to {longest} tokens, {at_loss}."
    elif h75.estimate.where == "beyond":
        sentence = (
            f"{model}: its own text can be told from real text, but weakly up to {longest} tokens (AUC "
            f"{found.main.detections[-1].auc.value:.2f}), {at_loss}."
        )
    else:
        sentence = (
            f"{model}: left to itself it writes text that a simple detector tells from the real text {spoken(h75)}, "
            f"{at_loss}."
        )
    detail = f"{findings['drift'].sentence} {findings['loops'].sentence} {findings['self_recognition'].sentence}"
    return {
        "sentence": sentence,
        "detail": detail,
        "status": "neutral" if findings["detectability"].status == "neutral" else "bad",
        "outcome": outcome,
        "outcome_words": outcome_words,
    }


def _at_loss(found: Finding) -> str:
    """The loss as part of the verdict."""
    by_name = {e.name: e for e in found.estimates}
    if "impossible_share" in by_name:
        return f"at an infinite loss ({by_name['impossible_share'].value:.1%} of real tokens are impossible)"
    return f"at a loss of {found.estimates[0].value:.2f} nats a token"


def _headline(findings: dict[str, Finding], found: Comparison | None, own_text: OwnText) -> list[dict[str, str]]:
    loss_card = _card("Loss", findings["loss"].estimates[0], "how well it predicts real text")
    if any(e.name == "impossible_share" for e in findings["loss"].estimates):
        loss_card |= {
            "value": "∞",
            "interval": "",
            "note": f"{loss_card['value']} on the tokens that it holds possible",
        }
    if own_text.refused:
        return refused_headline(loss_card)
    cards = [loss_card]
    if found is not None:
        by_name = {e.name: e for e in findings["detectability"].estimates}
        cards.append(
            _card(
                "Free-run horizon H75",
                by_name["h75"],
                "length at which its own text is told from real text with AUC 0.75",
                h=found.main.horizons[0.75],
            )
        )
        cards += [
            _card("H60", by_name["h60"], "", h=found.main.horizons[0.60]),
            _card("H90", by_name["h90"], "", h=found.main.horizons[0.90]),
        ]
    else:
        cards.append(
            {
                "label": "Free-run horizon H75",
                "value": "unknown",
                "unit": "",
                "interval": "",
                "note": "too few documents",
            }
        )
    drifted = {e.name: e for e in findings["drift"].estimates}["entropy_gap_late_nats"]
    looped = {e.name: e for e in findings["loops"].estimates}["loop_incidence"]
    audit = {e.name: e.value for e in findings["self_recognition"].estimates}.get("sampler_audit_p")
    cards.append(_card("Entropy drift", drifted, "own minus real text, second half", digits="+.2f"))
    cards.append(_card("Loops", looped, "share of own texts", percent=True))
    cards.append(
        {
            "label": "Sampler audit",
            "value": own_text.sampler_audit.replace("_", " "),
            "unit": "",
            "interval": "",
            "note": "needs whole laws" if audit is None else f"p = {audit:.2g}" if audit >= 1e-4 else "p < 0.0001",
        }
    )
    return cards


def _card(
    label: str, e: Estimate, note: str, *, digits: str = "", percent: bool = False, h: HorizonResult | None = None
) -> dict[str, str]:
    def say(value: float | None) -> str:
        if value is None:
            return "?"
        if percent:
            return f"{100 * value:.1f}%"
        if digits:
            return format(value, digits).replace("-", "−")
        return f"{value:.0f}" if e.unit == "tokens" else f"{value:.2f}"

    if h is not None:
        interval = interval_words(h)
    else:
        interval = f"{say(e.low)} to {say(e.high)}" if e.low is not None and e.high is not None else ""
    if e.degenerate:
        note = "; ".join(filter(None, (note, "every document says the same: no interval")))
    return {
        "label": label,
        "value": e.text or say(e.value),
        "unit": "" if percent else "token" if e.unit == "tokens" and say(e.value) == "1" else e.unit,
        "interval": interval,
        "note": note,
    }


def _yardsticks(evidence: Evidence, found: Comparison) -> dict[str, Any]:
    longest = int(found.lengths[-1])
    cold = f"t = {evidence.plan['control_temperature']:g}"
    scale = [_mark("its own text against real text", found.main, "free")]
    if found.real_tempered is not None:
        scale.append(_mark(f"its text at {cold} against real text", found.real_tempered, "other"))
    if found.tempered is not None:
        scale.append(_mark(f"its text at {cold} against its own at t = 1", found.tempered, "tempered"))
    own = [b.high for b in found.own_bands]
    real = [b.high for b in found.real_bands]
    never = f"> {longest}"
    scale.append(
        {
            "label": "real text against real text",
            "value": None,
            "low": None,
            "high": None,
            "text": never,
            "role": "real",
        }
    )
    scale.append(
        {
            "label": "its own text against its own",
            "value": None,
            "low": None,
            "high": None,
            "text": never,
            "role": "control",
        }
    )
    rows = [[str(s["label"]), str(s["text"]) or f"{s['value']:.0f}", str(s.get("interval", ""))] for s in scale]
    rows[-2][2] = f"chance; largest AUC in 95% of random halves: {max(real):.2f}"
    rows[-1][2] = f"chance; largest AUC in 95% of random halves: {max(own):.2f}"
    n = found.main.detections[-1]
    return {
        "title": "Is that long or short?",
        "sentence": (
            f"H75 of other comparisons by the same detector at this n ({n.n_train} + {n.n_test} documents). Further right is better: a "
            "model whose text could not be told apart would stand with the controls at the right end."
        ),
        "columns": ["comparison", "H75, tokens", "95% interval"],
        "rows": rows,
        "scale": scale,
        "scale_max": longest,
    }


def _mark(label: str, curve: Curve, role: str) -> dict[str, Any]:
    h: HorizonResult = curve.horizons[0.75]
    return {
        "label": label,
        "value": _whole(h.value),
        "low": None if h.low.where == "beyond" else _whole(h.low_tokens),
        "high": _whole(h.high_tokens),
        "text": outside(h.estimate),
        "interval": interval_words(h),
        "role": role,
    }


def _whole(tokens: float | None) -> float | None:
    """To the nearest token; the page shows no more than a reader can use."""
    return None if tokens is None else max(1.0, float(round(tokens)))
