"""What is said of the rule that a server states, where it samples as it does by itself."""

from __future__ import annotations

from dataclasses import replace

from freerun.counted import counted
from freerun.findings.recognition.sampling import p_words
from freerun.results.stated_rule import StatedRule
from freerun.results.verify import VerifyResult


def stated_sentence(stated: StatedRule) -> str:
    """Whether the draws fit what the server says of itself.

    >>> stated_sentence(StatedRule("top-k 40", 0.5, 0, 0, True))
    'The draws fit what the server says it does by itself: top-k 40.'
    """
    if stated.fits:
        edge = f", {stated.n_outside} of them at an edge that the engines' noise moves" if stated.n_outside else ""
        return f"The draws fit what the server says it does by itself: {stated.words}{edge}."
    why = f"p {p_words(stated.p_value)} beyond the noise floor"
    if stated.n_beyond_floor:
        why = f"{counted(stated.n_beyond_floor, 'token')} that it would not draw, farther from its edges than the engines' noise; {why}"
    return f"The draws do not fit what the server says it does by itself ({stated.words}): {why}."


def with_stated(found: VerifyResult, stated: StatedRule) -> VerifyResult:
    """The result with what the server says of itself, before the rules that were searched without knowing it."""
    said = stated_sentence(stated)
    searched = next(f.sentence for f in found.findings if f.name == "cause")
    instead = said if stated.fits else f"{said} {searched}"
    detail = found.verdict.detail.replace(searched, instead)
    points = tuple(replace(p, text=p.text.replace(searched, instead)) for p in found.verdict.points)
    note = f"Searched without what the server says: {searched[:1].lower()}{searched[1:]}"
    findings = tuple(
        replace(f, sentence=said, notes=(*f.notes, note)) if f.name == "cause" else f for f in found.findings
    )
    verdict = replace(found.verdict, detail=detail, points=points)
    return replace(found, verdict=verdict, findings=findings, stated=stated)
