"""From records to the result: findings, verdict, yardsticks, threats. No model runs here."""

from __future__ import annotations

from collections.abc import Sequence

import freerun
from freerun.findings.detectability.comparison import Comparison, compared
from freerun.findings.detectability.transfer import transfer
from freerun.findings.evidence import Evidence
from freerun.findings.examples import examples
from freerun.findings.first_look import first_look
from freerun.findings.headline import headline, yardsticks
from freerun.findings.own_text.refusal import without_own_text
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.registry import QUESTIONS, answer
from freerun.findings.threats import threats
from freerun.findings.verdict import verdict
from freerun.records.answers import Answers
from freerun.records.source_likelihoods import SourceRecords
from freerun.records.store import Records
from freerun.results.audit import RESULT_VERSION, AuditResult
from freerun.results.requests import Requests
from freerun.results.served import LawServed


def derive(
    records: Records,
    *,
    transfer_from: Records | None = None,
    answers: Answers | None = None,
    sources: Sequence[SourceRecords] = (),
    requests: Requests | None = None,
    law_served: LawServed | None = None,
) -> AuditResult:
    """Everything that `result.json` holds; the page is drawn from it alone.

    `transfer_from`: a run whose detector is tried here. `answers`: what the model said when it was asked. `sources`: how likely every
    source finds the texts, where that was measured. `requests`, `law_served`: what became of requests to a server, and what it samples.
    """
    return derive_from(Evidence(records, answers, sources, law_served, requests), transfer_from=transfer_from)


def derive_from(evidence: Evidence, *, transfer_from: Records | None = None) -> AuditResult:
    """`derive`, for whoever reads more from the same evidence."""
    manifest = evidence.manifest
    own_text = evidence.once(own_text_of)
    outcome = None if own_text.refused else evidence.once(compared)
    comparison = outcome if isinstance(outcome, Comparison) else None
    findings = [f for question in QUESTIONS if (f := answer(question, evidence)) is not None]
    if evidence.law_served is not None:
        findings += evidence.law_served.findings
    if transfer_from is not None:
        other = Evidence(transfer_from)
        finding = transfer(evidence, other)
        refused = own_text.refused or own_text_of(other).refused
        findings.append(without_own_text(finding) if refused else finding)
    by_name = {f.name: f for f in findings}
    plan, look = manifest["plan"], evidence.first_look
    if look is not None:
        findings.insert(0, first_look(look, by_name, comparison))
    return AuditResult(
        schema_version=RESULT_VERSION,
        kind=manifest["kind"],
        freerun_version=freerun.__version__,
        created=manifest["provenance"]["created"],
        title=f"{plan['model']} on {plan['corpus']}" + (f", {look.describe()}" if look is not None else ""),
        verdict=verdict(evidence, by_name, comparison, own_text),
        own_text=own_text,
        headline=headline(by_name, comparison, own_text),
        yardsticks=None if comparison is None else yardsticks(evidence, comparison),
        findings=tuple(findings),
        texts=examples(evidence, comparison) if evidence.has_text and not own_text.refused else (),
        threats=threats(evidence, comparison, own_text),
        plan=plan,
        counts=manifest["counts"],
        corpus_notes=manifest["corpus"]["notes"],
        model=manifest["model"],
        provenance=manifest["provenance"],
        command=manifest["command"],
        requests=evidence.requests,
        law_served=evidence.law_served,
        first_look=look,
    )
