"""From what was recorded of somebody else's samples to the result: the verdict first, then the cause, then how far."""

from __future__ import annotations

import json
from typing import Any

from freerun.counted import counted
from freerun.findings.recognition.sampling import p_words, share_words
from freerun.findings.verification.cause import cause_finding, cause_words
from freerun.findings.verification.drift import drift_finding
from freerun.findings.verification.ends import ends_finding
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.findings.verification.match import STATUS, match_finding, match_sentence
from freerun.findings.verification.points import verify_next, verify_points
from freerun.findings.verification.rollout import rollout_finding
from freerun.results.finding import Cell, Finding, Row, Table
from freerun.results.stated_rule import StatedRule
from freerun.results.verdict import Card
from freerun.results.verify import (
    FITS,
    VERIFY_VERSION,
    Cause,
    MatchVerdict,
    PromptKind,
    SampleFacts,
    TemplateFacts,
    TestsTogether,
    TokenSource,
    VerifyResult,
)
from freerun.stats.verification.battery import Smallest


def derive_verification(
    evidence: VerifyEvidence,
    *,
    loops: Finding,
    stated: StatedRule | None = None,
    model_name: str,
    plan: dict[str, Any],
    model: dict[str, Any],
    provenance: dict[str, str],
    version: str,
    command: str,
) -> VerifyResult:
    """The whole result. `stated`: the rule that a server says it draws by, held against what it drew."""
    fits = evidence.match in FITS
    cause = evidence.cause or Cause("none_needed" if fits else "not_searched")
    findings = (
        match_finding(evidence),
        cause_finding(cause, evidence.facts, stated),
        rollout_finding(evidence),
        loops,
        drift_finding(evidence),
        ends_finding(evidence),
        samples_finding(evidence.facts),
    )
    detail = _detail(evidence, cause_words(cause, stated), findings[2])
    return VerifyResult(
        schema_version=VERIFY_VERSION,
        kind="verify",
        freerun_version=version,
        created=str(provenance.get("created", "")),
        title=f"{evidence.facts.path} against {model_name}",
        verdict=MatchVerdict(
            match_sentence(evidence),
            detail,
            STATUS[evidence.match],
            evidence.match,
            points=verify_points(evidence, model=model_name, came_out=detail),
            next_step=verify_next(evidence, cause, model=model_name),
        ),
        cause=cause,
        headline=_cards(evidence),
        findings=findings,
        samples=evidence.facts,
        plan=plan,
        model=model,
        provenance=provenance,
        command=command,
        tests=TestsTogether(
            evidence.battery.p_value,
            evidence.battery.p_beyond_floor,
            evidence.battery.p_inside,
            evidence.battery.n_outside,
            evidence.battery.n_beyond_floor,
            evidence.floor_nats,
        ),
        stated=stated,
    )


def _detail(evidence: VerifyEvidence, cause: str, rollout: Finding) -> str:
    parts = [] if evidence.match == "agrees" and evidence.cause is None else [cause]
    if rollout.status != "unknown":
        parts.append(f"Reported log-probabilities: {rollout.sentence[:1].lower()}{rollout.sentence[1:]}")
    return " ".join(parts) or "Nothing else was reported by the file."


def _cards(evidence: VerifyEvidence) -> tuple[Card, ...]:
    again, facts = evidence.again, evidence.facts
    smallest = evidence.battery.smallest if not evidence.is_text else Smallest(None, None, None)
    p_value, n_tokens = evidence.p_value, evidence.n_drawn
    if again is not None:
        smallest, p_value, n_tokens = again.smallest, again.p_value, again.n_tokens
    shown = "–" if evidence.is_text and again is None else p_words(p_value)
    heat = "–" if smallest.temperature is None else f"{smallest.temperature:.2g}"
    kept = "–" if smallest.kept_mass is None else share_words(smallest.kept_mass)
    return (
        Card("all tests together, p", shown),
        Card(
            "tokens compared" if evidence.is_text else "drawn tokens",
            f"{n_tokens:,}",
            note=f"of {facts.n_completions - facts.n_copies if again is None else again.n_groups:,} completions",
        ),
        Card("smallest temperature change", heat, note="that would have been seen"),
        Card("mildest truncation", kept, "of the mass", note="that would have been seen"),
    )


def samples_finding(facts: SampleFacts) -> Finding:
    """What the file holds, and what was left out of it."""
    n_bad = sum(e.n for e in facts.excluded)
    rows = (
        ("rows", Cell.number(facts.n_rows, ",")),
        ("completions scored", Cell.number(facts.n_completions, ",")),
        ("prompts", Cell.number(facts.n_prompts, ",")),
        ("tokens of completions", Cell.number(facts.n_tokens, ",", "tokens")),
        ("of them drawn", Cell.number(facts.n_drawn_tokens, ",", "tokens")),
        ("not drawn, left out by the mask", Cell.number(facts.n_not_drawn_tokens, ",", "tokens")),
        ("completions with an end token", Cell.number(facts.n_ended, ",")),
        ("equal completions left out as copies", Cell.number(facts.n_copies, ",")),
    )
    prompts = tuple((_PROMPTS[p.kind], Cell.number(p.n, ",")) for p in facts.prompts)
    left_out = tuple((e.reason, Cell.number(e.n, ","), e.example) for e in facts.excluded)
    sentence = (
        f"{facts.n_completions:,} completions of {facts.n_prompts:,} prompts ({facts.format}), {facts.n_drawn_tokens:,} drawn tokens; "
        f"{n_bad:,} of {facts.n_rows:,} rows left out."
    )
    tables = [Table("samples", "What the file holds", ("what", "number"), (*rows, *prompts))]
    if facts.template is not None:
        tables.append(_template(facts.template))
    if left_out:
        tables.append(Table("excluded", "Rows left out", ("why", "rows", "the first of them"), left_out))
    return Finding(
        "samples",
        "What was in the file?",
        sentence,
        "neutral",
        tables=tuple(tables),
        licence="Counts.",
        notes=(*_NOTES[facts.tokens], *_of_file(facts), *facts.lacks),
    )


def _of_file(facts: SampleFacts) -> list[str]:
    """What the file says of its samples that one model at one rule cannot be the law of."""
    said = [
        f"The file says of {counted(asked.n, 'completion')} that {asked.words} was asked for, and another rule was declared."
        for asked in facts.asked
        if not asked.is_declared
    ]
    if facts.n_weight_versions > 1:
        names = ", ".join(f"{v.name} ({v.n:,})" for v in facts.weight_versions)
        more = " …" if facts.n_weight_versions > len(facts.weight_versions) else ""
        said.append(
            f"The samples are by {facts.n_weight_versions:,} versions of the weights: {names}{more}. A model is the law of one of "
            "them at most; verify each by itself."
        )
    return said


_NOTES: dict[TokenSource, tuple[str, ...]] = {
    "file": (),
    "pieces": (
        "The file spells every token, and each spelling is that of one id (of several, the one that the tokenizer itself uses): the ids "
        "that were drawn are known exactly.",
    ),
    "text": ("Ids are those of the text, tokenised again.",),
}
_PROMPTS: dict[PromptKind, str] = {
    "ids": "prompts as ids",
    "text": "prompts as plain text, tokenised",
    "rendered": "prompts as text with special tokens in it, read as those tokens",
    "chat": "prompts as chats, rendered by the model's template",
    "turn": "prompts as text, taken for a user's turn and rendered by the model's template",
    "restored": "rendered prompts without their special tokens, rendered again by the model's template",
}


def _template(template: TemplateFacts) -> Table:
    """What was added around the words of a prompt."""
    rows: list[Row] = [
        ("before one user's turn", repr(template.before), " ".join(map(str, template.before_ids))),
        ("after it", repr(template.after), " ".join(map(str, template.after_ids))),
        ("variables set", json.dumps(template.settings), ""),
        ("template, SHA-256", template.sha256[:16], ""),
    ]
    return Table("template", "What the model's chat template wrote", ("where", "text", "ids"), tuple(rows))
