"""Samples of freerun's own: checksums of the records, and the uniforms that drew the tokens against a fresh scoring pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import freerun
from freerun.errors import UsageError
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.rescoring import agreement_words, refusal_words
from freerun.findings.own_text.standing import AuditedText, SampledText, audit_own_text
from freerun.findings.points import own_text_step
from freerun.findings.recognition.sampling import p_words
from freerun.findings.registry import QUESTIONS, answer
from freerun.findings.verification.match import STATUS
from freerun.findings.verification.summary import samples_finding
from freerun.results.finding import Finding
from freerun.results.verdict import Card, NextStep, three_points
from freerun.results.verify import FITS, VERIFY_VERSION, Cause, Match, MatchVerdict, SampleFacts, VerifyResult
from freerun.runs.provenance import provenance
from freerun.runs.run import evidence_of

_HELD = "Held against the records of the run: uniforms, laws, and a fresh scoring pass over some of the texts."


@dataclass(frozen=True)
class _Found:
    """What the records say of own text; `p`: of the tests that decide, in words."""

    match: Match
    sentence: str
    p: str
    cause: Cause
    next_step: NextStep | None = None


def is_run(path: str | Path) -> bool:
    """Whether a folder holds an audit of freerun's own."""
    folder = Path(path)
    return folder.is_dir() and (folder / "manifest.json").is_file() and (folder / "sequences").is_dir()


def verify_run(path: str | Path) -> VerifyResult:
    """Check the parts of a run against their checksums, and its own text against its laws and a fresh pass; no model is loaded.

    Raises:
        DataError: no finished run there, or a part that does not fit its checksum. UsageError: the run recorded no whole laws.
    """
    evidence = evidence_of(path)
    audited = audit_own_text(evidence)
    if audited.sampled is None:
        raise UsageError(f"{path}: its model tells no whole laws, so its draws cannot be held against them")
    found = _found(evidence, audited, audited.sampled)
    manifest = evidence.records.manifest
    rows = evidence.records.chosen(arm="free")
    n_tokens = int(evidence.tokens_of("free").sum())
    facts = SampleFacts(
        path=str(path),
        format="run",
        n_rows=len(rows),
        n_completions=len(rows),
        n_prompts=len(set(evidence.records.sequences["document_id"][rows])),
        n_tokens=n_tokens,
        n_drawn_tokens=n_tokens,
        n_not_drawn_tokens=0,
        n_ended=int((evidence.records.sequences["end_reason"][rows] == "end_of_text").sum()),
        n_copies=0,
        ends="present",
        excluded=(),
        lacks=(),
    )
    questions = [q for q in QUESTIONS if q.name == "self_recognition"]
    findings: list[Finding] = [f for q in questions if (f := answer(q, evidence)) is not None]
    return VerifyResult(
        schema_version=VERIFY_VERSION,
        kind="verify",
        freerun_version=freerun.__version__,
        created=provenance()["created"],
        title=f"{path} against its own records",
        verdict=MatchVerdict(
            f"Every part fits its checksum. {found.sentence}",
            _HELD,
            STATUS[found.match],
            found.match,
            points=three_points(
                f"The records of a finished audit: whether every file is whole, and whether its {n_tokens:,} tokens "
                "of own text are draws from "
                "the law that was recorded with them (what the model held probable before each).",
                found.sentence,
                _HELD,
            ),
            next_step=found.next_step,
        ),
        cause=found.cause,
        headline=(Card("sampler audit, p", found.p), Card("fresh pass against sampler", audited.again.outcome)),
        findings=(*findings, samples_finding(facts)),
        samples=facts,
        plan={**manifest["plan"], "documents": len(rows)},
        model=dict(manifest["model"]),
        provenance=provenance(),
        command=f"freerun verify {path}",
    )


def _found(evidence: Evidence, audited: AuditedText, sampled: SampledText) -> _Found:
    """A fresh pass with other laws speaks first, then what was found of a server's text, then the sampler's own tests.

    Those are of the law at temperature 1, which the records hold; text that another rule drew is not held against it.
    """
    plan, served = evidence.plan, evidence.law_served
    p, n = p_words(sampled.audit.p_value), int(evidence.tokens_of("free").sum())
    step = own_text_step(plan, audited.standing(evidence))
    if audited.again.outcome == "failed":
        return _Found("differs", f"{refusal_words(audited.again)}.", p, Cause("not_searched"), step)
    if served is not None:
        fits = served.match in FITS
        return _Found(served.match, served.sentence, p_words(served.p_value), served.cause, None if fits else step)
    if not plan.sampling.is_model_law:
        return _Found(
            "not_judged",
            f"{n:,} tokens of own text were sampled with {plan.sampling.describe()}, as declared; the records hold the law at "
            f"temperature 1, so that the draws are not judged. {agreement_words(audited.again)}",
            "not judged",
            Cause("not_searched"),
            step,
        )
    said = "agree with" if sampled.passed else "are not draws from"
    seeded = sampled.audit.seeded
    missed = f"; {seeded.all.n_missed:,} of {seeded.all.n:,} draws lie outside a fresh pass's cells" if seeded else ""
    sentence = f"{n:,} tokens of own text {said} the law recorded with them (p {p}){missed}."
    if sampled.passed:
        return _Found("agrees", sentence, p, Cause("none_needed"))
    return _Found("differs", sentence, p, Cause("not_searched"), step)
