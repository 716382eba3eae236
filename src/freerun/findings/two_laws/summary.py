"""From records of two models to the result: findings, verdict, headline numbers. No model runs here."""

from __future__ import annotations

import freerun
from freerun.findings.two_laws import quantities, tokens, writers
from freerun.findings.two_laws.evidence import ARM_WORDS, TwoModels
from freerun.findings.two_laws.parting import partings
from freerun.findings.two_laws.points import distance_next, distance_points
from freerun.findings.two_laws.tokens import tokens_finding
from freerun.findings.two_laws.whole_texts import Judgement, judge_writers
from freerun.findings.two_laws.writers import certificate_of, rounded_up, writers_finding
from freerun.findings.two_laws.writing import writing_finding
from freerun.records.distance import DistanceRecords
from freerun.results.distance import RESULT_VERSION, Certificate, DistanceResult
from freerun.results.finding import Estimate, Finding
from freerun.results.quantity import Quantity
from freerun.results.requests import Requests
from freerun.results.verdict import Card, Verdict
from freerun.stats.two_laws.floor import is_above
from freerun.stats.two_laws.token_means import token_means


def derive(records: DistanceRecords, requests: Requests | None = None) -> DistanceResult:
    """Everything that `result.json` holds; the page is drawn from it alone. `requests`: to a server, where one had a part in it."""
    models, manifest = TwoModels(records), records.manifest
    said = _judgement(models) if models.has_whole_laws else judge_writers(models)
    a, b = models.names
    return DistanceResult(
        schema_version=RESULT_VERSION,
        kind=manifest["kind"],
        freerun_version=freerun.__version__,
        created=manifest["provenance"]["created"],
        title=f"{b} beside {a}",
        verdict=said.verdict,
        headline=said.headline,
        certificate=said.certificate,
        findings=said.findings,
        partings=partings(models) if models.has_whole_laws else (),
        infinite=said.infinite,
        plan=manifest["plan"],
        counts=manifest["counts"],
        corpus_notes=manifest["corpus"]["notes"],
        a=manifest["a"],
        b=manifest["b"],
        provenance=manifest["provenance"],
        command=manifest["command"],
        prompts=manifest.get("prompts"),
        requests=requests,
    )


def _judgement(models: TwoModels) -> Judgement:
    """What whole laws of both say."""
    made = (tokens_finding(models), writers_finding(models), writing_finding(models))
    findings = tuple(f for f in made if f is not None)
    by_name = {f.name: f for f in findings}
    found = certificate_of(models)
    return Judgement(
        _verdict(models, by_name, found),
        _headline(models, by_name, found),
        found,
        findings,
        (*tokens.infinite_names(models), *writers.infinite_names(models)),
    )


def _verdict(models: TwoModels, findings: dict[str, Finding], found: Certificate | None) -> Verdict:
    first, plan = findings[tokens.NAME], models.plan
    if first.status == "unknown":
        step = distance_next(plan, known=False)
        return Verdict(
            first.sentence,
            "Take more --documents.",
            "unknown",
            points=distance_points(plan, came_out="", how_sure=""),
            next_step=step,
        )
    floor, certificate = _floor_words(models), "" if found is None else found.sentence
    return Verdict(
        " ".join(filter(None, (first.sentence, floor))),
        " ".join(filter(None, (findings[writers.NAME].sentence, certificate))),
        "neutral",
        points=distance_points(plan, came_out=findings[writers.NAME].sentence, how_sure=certificate),
        next_step=distance_next(plan, known=True),
    )


def _floor_words(models: TwoModels) -> str:
    """Whether the divergence is more than computing either law again gives."""
    laws = models.laws("real")
    if laws is None or (seen := token_means(laws).kl_pq.interval) is None:
        return ""
    for name, arm in (("A", "floor_real"), ("B", "floor_real_b")):
        floor = models.laws(arm)
        again = None if floor is None else token_means(floor).kl_pq.interval
        if again is not None and not is_above(seen, again):
            return f"That is no more than computing {name}'s law again gives ({again.value:.2g} nats): the two cannot be told apart by it."
    return ""


def _headline(models: TwoModels, findings: dict[str, Finding], found: Certificate | None) -> tuple[Card, ...]:
    def estimate(quantity: Quantity) -> Estimate:
        named = {e.name: e for e in findings[quantity.finding].estimates}
        return named.get(quantity.name, quantity.number(None))

    where = ARM_WORDS[models.token_arm]
    cards = [
        _card("KL(A‖B)", estimate(quantities.KL), where, form=".3g"),
        _card("Same top token", estimate(quantities.SAME_TOP), where, form=".1%"),
    ]
    if found is not None:
        note = (
            "upper limit of the total variation: what no test on one text can exceed"
            if found.sides_agree
            else "the two sides disagree"
        )
        value = f"≤ {rounded_up(found.tv)}" if found.sides_agree else "none"
        cards.append(
            Card(
                f"Certificate, {found.tokens} tokens",
                value,
                "TV",
                f"{found.low:.3f} to {rounded_up(found.tv)}",
                note,
                writers.NAME,
            )
        )
        cards.append(
            _card("K", estimate(quantities.K), f"A's text against B, {found.tokens} tokens; an estimate", form=".3g")
        )
        horizon = estimate(quantities.HORIZONS[0.75])
        cards.append(_card("Best H75", horizon, "length at which the best possible detector has AUC 0.75", form=".0f"))
    return tuple(cards)


def _card(label: str, e: Estimate, note: str, *, form: str) -> Card:
    finding = tokens.NAME if e.name in (quantities.KL.name, quantities.SAME_TOP.name) else writers.NAME
    if e.value is None:
        return Card(label, e.text or "unknown", note=note, finding=finding)
    value, low, high = ("open" if v is None else f"{v:{form}}".replace("-", "−") for v in (e.value, e.low, e.high))
    interval = f"{low} to {high}" if e.low is not None or e.high is not None else ""
    return Card(label, value, "" if form.endswith("%") else e.unit, interval, note, finding)
