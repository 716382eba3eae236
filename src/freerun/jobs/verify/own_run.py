"""Samples of freerun's own: checksums of the records, and the uniforms that drew the tokens against a fresh scoring pass."""

from __future__ import annotations

from pathlib import Path

import freerun
from freerun.errors import UsageError
from freerun.findings.own_text.standing import audit_own_text
from freerun.findings.recognition.sampling import p_words
from freerun.findings.registry import QUESTIONS, answer
from freerun.findings.verification.summary import samples_finding
from freerun.results.finding import Finding
from freerun.results.verdict import Card, NextStep, three_points
from freerun.results.verify import VERIFY_VERSION, Cause, Match, MatchVerdict, SampleFacts, VerifyResult
from freerun.runs.provenance import provenance
from freerun.runs.run import evidence_of


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
    seeded = audited.sampled.audit.seeded
    good = audited.sampled.passed and audited.again.outcome != "failed"
    match: Match = "agrees" if good else "differs"
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
    p = p_words(audited.sampled.audit.p_value)
    fresh = (
        ""
        if seeded is None
        else f"; {seeded.all.n_missed:,} of {seeded.all.n:,} draws lie outside a fresh pass's cells"
    )
    said = "agree with" if good else "are not draws from"
    return VerifyResult(
        schema_version=VERIFY_VERSION,
        kind="verify",
        freerun_version=freerun.__version__,
        created=provenance()["created"],
        title=f"{path} against its own records",
        verdict=MatchVerdict(
            f"Every part fits its checksum. {n_tokens:,} tokens of own text {said} the law recorded with them (p {p}){fresh}.",
            "Held against the records of the run: uniforms, laws, and a fresh scoring pass over some of the texts.",
            "good" if good else "bad",
            match,
            points=three_points(
                f"The records of a finished audit: whether every file is whole, and whether its {n_tokens:,} tokens "
                "of own text are draws from "
                "the law that was recorded with them (what the model held probable before each).",
                f"All tests of the sampler together: p {p}{fresh}.",
                "Held against the records of the run: uniforms, laws, and a fresh scoring pass over some of the texts.",
            ),
            next_step=None
            if good
            else NextStep("See what this model really samples from", f"freerun doctor {manifest['plan']['model']}"),
        ),
        cause=Cause("none_needed" if good else "not_searched"),
        headline=(Card("sampler audit, p", p), Card("fresh pass against sampler", audited.again.outcome)),
        findings=(*findings, samples_finding(facts)),
        samples=facts,
        plan={**manifest["plan"], "documents": len(rows)},
        model=dict(manifest["model"]),
        provenance=provenance(),
        command=f"freerun verify {path}",
    )
