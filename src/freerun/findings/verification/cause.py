"""Samples that are not draws from the declared law: from which law, then?"""

from __future__ import annotations

from freerun.counted import counted
from freerun.findings.recognition.sampling import p_words
from freerun.results.finding import Estimate, Finding
from freerun.results.stated_rule import StatedRule
from freerun.results.verify import Candidate, Cause, LawName, SampleFacts

_LAWS: dict[LawName, str] = {
    "model": "this model",
    "bos_added": "this model with one more beginning-of-text token",
    "bos_removed": "this model without the beginning-of-text token",
    "padding_removed": "this model with the padding before the prompts removed",
    "by_template": "this model with prompts rendered by its chat template (`--chat`)",
    "as_text": "this model with prompts as plain text, without its chat template",
    "other_model": "the other model",
}


def candidate_words(candidate: Candidate) -> str:
    return f"{_LAWS[candidate.law]} at {candidate.words}"


def cause_sentence(cause: Cause) -> str:
    if cause.held_by == "own_texts" and cause.candidate is not None:
        return _text_cause_sentence(cause, cause.candidate)
    match cause.kind:
        case "none_needed":
            return "No other law was looked for: the declared one fits."
        case "not_searched":
            return "Another law was not looked for: it takes two completions or more, and draws that are independent."
        case "beginning_not_drawn":
            n = counted(cause.beginning_tokens, "token")
            return f"The first {n} of every completion are the same and were not drawn (a prefill, or a template); the rest agrees."
        case "ends_chosen":
            return (
                "The tokens agree with the declared law, but texts end otherwise than it says: a file of finished or selected "
                "completions, a stop rule, or ends held back."
            )
        case "none_of_these" if cause.candidate is not None:
            return (
                f"None of the laws that were tried. The nearest is {candidate_words(cause.candidate)}, {_gain(cause)}, but the samples are not "
                f"draws from it either (p {p_words(cause.fit_p or 0.0)})."
            )
        case "none_of_these":
            return "None of the laws that were tried fits better than the declared one."
        case "rule" | "other_law":
            assert cause.candidate is not None
            return f"They fit {candidate_words(cause.candidate)}: {_gain(cause)}."


def _text_cause_sentence(cause: Cause, candidate: Candidate) -> str:
    name, gain = candidate_words(candidate), _gain(cause)
    if cause.kind != "none_of_these":
        return f"They cannot be told from what {name} writes: {gain} (p {p_words(cause.fit_p or 0.0)})."
    if cause.fit_p is None:
        return f"The nearest of the laws that were tried is {name}, {gain}; there are too few texts to hold it against its own."
    return (
        f"None of the laws that were tried. The nearest is {name}, {gain}, but the texts stand out among its own, too "
        f"(p {p_words(cause.fit_p)})."
    )


def _gain(cause: Cause) -> str:
    ends = "" if cause.gain_low is None else f" ({cause.gain_low:.3g} to {cause.gain_high:.3g})"
    return f"better by {cause.gain_nats or 0.0:.3g}{ends} nats a token on completions that did not choose it"


_TOKENS_LICENCE = (
    "Split likelihood ratio: chosen on half of the completions, an e-value on the others, whatever was tried (Wasserman et al. 2020). "
    "The law named is the best of those tried, not the only one that fits."
)
_TEXT_LICENCE = (
    "Chosen by likelihood on half of the completions. Ids that were made anew from text give a likelihood that guides the choice and proves "
    "nothing; the law named is then held against texts drawn from it. It is the best of those tried, not the only one that fits."
)
_OTHER_PROMPTS = (
    "Prompts stand in the file as text, and a prompt that the engine put otherwise looks like another law: another chat template or system "
    "turn, a missing head of the answer, a beginning-of-text token more or less. Give ids of prompts, or put them as the engine did "
    "(--chat, --system, --template-option)."
)


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


def cause_words(cause: Cause, stated: StatedRule | None) -> str:
    """What a verdict says of the cause: the rule that a server states, and where it does not fit what was searched without it."""
    if stated is None:
        return cause_sentence(cause)
    return stated_sentence(stated) if stated.fits else f"{stated_sentence(stated)} {cause_sentence(cause)}"


def cause_finding(cause: Cause, facts: SampleFacts, stated: StatedRule | None = None) -> Finding:
    """Which law fits, with how much better it does; what a server states of its own draws is said before what was searched."""
    estimates: tuple[Estimate, ...] = ()
    if cause.gain_nats is not None:
        estimates = (
            Estimate(
                "cause_gain_nats",
                "Gain over the declared law",
                cause.gain_nats,
                "nats a token",
                cause.gain_low,
                cause.gain_high,
                0.95,
                cause.n_test_tokens,
                "completion",
                "test half, clustered",
            ),
        )
    notes = []
    if stated is not None:
        searched = cause_sentence(cause)
        notes.append(f"Searched without what the server says: {searched[:1].lower()}{searched[1:]}")
    if cause.also:
        notes.append(f"As good, within 3 nats over all: {'; '.join(map(candidate_words, cause.also))}.")
    if cause.kind in ("none_of_these", "other_law") and any(p.kind != "ids" for p in facts.prompts):
        notes.append(_OTHER_PROMPTS)
    if cause.log_e is not None and cause.held_by == "tokens":
        notes.append(
            f"e-value of the choice over the declared law: e^{cause.log_e:.1f}, on {cause.n_test_tokens:,} tokens that did not choose it; "
            f"chosen on {cause.n_fit_tokens:,}."
        )
    status = {"none_needed": "good", "not_searched": "unknown", "none_of_these": "unknown"}.get(cause.kind, "neutral")
    return Finding(
        "cause",
        "If not, from which law are they draws?",
        cause_sentence(cause) if stated is None else stated_sentence(stated),
        status,
        estimates,
        licence=_TEXT_LICENCE if cause.held_by == "own_texts" else _TOKENS_LICENCE,
        notes=tuple(notes),
    )
