"""Are these draws from the declared law? Down to which fault, and if not, from which law?"""

from __future__ import annotations

import math

import numpy as np

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.recognition.sampling import p_words
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.findings.verification.text_match import text_finding, text_sentence
from freerun.findings.verification.words import down_to
from freerun.results.finding import Cell, Chart, Estimate, Finding, Series, Table
from freerun.results.verdict import Status
from freerun.results.verify import Candidate, Cause, LawName, Match, SampleFacts
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges
from freerun.stats.verification.battery import ALPHA, LEAST_TOKENS, POWER, kolmogorov_smirnov

_LICENCE = (
    "Null: given what stood before it, each drawn token is a draw from the declared law. Tokens are then independent replicates, whatever "
    "the prompts; tests share one level of 0.001 (weighted Bonferroni). Chi-square, Kolmogorov–Smirnov and the normal limit are "
    "asymptotic where texts end at random; the e-process holds at any length."
)

STATUS: dict[Match, Status] = {
    "agrees": "good",
    "differs": "bad",
    "differs_within_floor": "neutral",
    "not_judged": "unknown",
}


def match_finding(evidence: VerifyEvidence) -> Finding:
    """The tests, what they would have seen, and how far surprisal is off by position."""
    question = "Are these draws from the declared law?"
    if evidence.is_text:
        return text_finding(evidence, question, STATUS)
    battery = evidence.battery
    return Finding(
        "match",
        question,
        match_sentence(evidence),
        STATUS[evidence.match],
        estimates=_estimates(evidence),
        charts=(_uniform_chart(evidence), _excess_chart(evidence)),
        tables=(_tests(evidence),),
        licence=_LICENCE,
        notes=_notes(evidence, battery.n_outside, battery.n_at_edge),
    )


def match_sentence(evidence: VerifyEvidence) -> str:
    if evidence.is_text:
        return text_sentence(evidence)
    n = counted(evidence.n_drawn, "drawn token")
    declared = evidence.declared_words
    if evidence.one_seed:
        return (
            f"Not judged: completions were drawn with one and the same seed (their draws correlate by {evidence.seeds.correlation:.2f}), so "
            "tokens are not independent draws."
        )
    match evidence.match:
        case "agrees":
            return f"{n} agree with the model's law at {declared}, {down_to(evidence.battery.smallest)}."
        case "differs":
            return f"{n} are not draws from the model's law at {declared} (p {p_words(evidence.p_value)})."
        case "differs_within_floor":
            return (
                f"{n} differ from the model's law at {declared} (p {p_words(evidence.p_value)}), but by no more than two "
                f"computations of one law may: the noise floor is {evidence.floor_nats:.2g} nats."
            )
        case "not_judged":
            return f"Not judged: {n} are too few; at least {LEAST_TOKENS} are needed."


def _estimates(evidence: VerifyEvidence) -> tuple[Estimate, ...]:
    battery, n = evidence.battery, evidence.n_drawn
    smallest = battery.smallest
    how = f"at least, with {POWER:.0%} power at one false alarm in {1 / ALPHA:,.0f} files; to first order"
    return (
        quantities.MATCH_P.number(evidence.p_value, n=n, independent_unit="token", method="weighted Bonferroni"),
        quantities.EXCESS.estimate(_excess(evidence), independent_unit="completion", method="clustered ratio"),
        quantities.SMALLEST_TEMPERATURE.number(smallest.temperature, n=n, independent_unit="token", method=how),
        quantities.SMALLEST_CUT.number(smallest.kept_mass, n=n, independent_unit="token", method=how),
        quantities.SMALLEST_TOP_SHARE.number(smallest.top_share, n=n, independent_unit="token", method=how),
        quantities.FLOOR.number(
            evidence.floor_nats,
            n=evidence.floor.alone.size,
            independent_unit="token",
            method="as set" if evidence.chosen_floor_nats is not None else "completions read alone against the batch",
        ),
        quantities.SEED_CORRELATION.number(
            evidence.seeds.correlation, n=evidence.seeds.n_positions, independent_unit="position"
        ),
    )


def _excess(evidence: VerifyEvidence) -> Interval | None:
    t = evidence.tokens.tested
    try:
        return cluster_ratio(-t.log_prob_nats - t.entropy_nats, np.ones(t.n_tokens), t.sequence)
    except TooFewDocuments:
        return None


def _tests(evidence: VerifyEvidence) -> Table:
    rows = [
        (
            t.label,
            Cell.number(t.p_value, ".2g", "p-value"),
            Cell.number(t.p_beyond_floor, ".2g", "p-value"),
            Cell.number(ALPHA * t.share * (1.0 if evidence.other is None else 0.5), ".2g", "p-value"),
            t.licence,
        )
        for t in evidence.battery.tests
    ]
    if evidence.other is not None:
        p, beyond = (math.exp(min(0.0, -x)) for x in (evidence.other.log_e, evidence.other.log_e_beyond_floor))
        first, second, level = (Cell.number(x, ".2g", "p-value") for x in (p, beyond, ALPHA / 2))
        label = f"the other model against this one, {counted(evidence.other.n_tokens, 'token')}"
        rows.append((label, first, second, level, "likelihood ratio: any length"))
    for name, u in zip(("most probable token first", "ids in their order"), evidence.uniforms, strict=True):
        if u.size:
            distance, p = kolmogorov_smirnov(u)
            rows.append(
                (
                    f"Kolmogorov–Smirnov, {name} (distance {distance:.3f})",
                    Cell.number(p, ".2g", "p-value"),
                    Cell.number(None),
                    Cell.number(None),
                    "asymptotic; not part of the decision",
                )
            )
    return Table("tests", "Tests", ("test", "p", "p beyond the noise floor", "rejects below", "valid by"), tuple(rows))


def _uniform_chart(evidence: VerifyEvidence) -> Chart:
    edges = np.linspace(0, 1, 21)
    series = []
    for name, role, u in zip(
        ("most probable token first", "ids in their order"), ("free", "other"), evidence.uniforms, strict=True
    ):
        share = np.histogram(u, edges)[0] / max(u.size, 1) * 20
        error = 1.96 * np.sqrt(20 / max(u.size, 1))
        series.append(Series.curve(name, role, share, share - error, share + error))
    return Chart(
        name="uniform",
        title="Where drawn tokens fall in the declared law: flat if they are draws from it",
        x_label="mass before the token, plus a uniform share of its own",
        y_label="share of tokens × 20",
        x=tuple(((edges[:-1] + edges[1:]) / 2).tolist()),
        series=tuple(series),
        levels=((1.0, "flat"),),
        caption="Bands: 95% for each twentieth by itself, tokens as replicates, which they are under the null.",
    )


def _excess_chart(evidence: VerifyEvidence) -> Chart:
    t = evidence.tokens.tested
    longest = int(t.position.max()) + 1 if t.n_tokens else 1
    curve = curve_by_position(
        -t.log_prob_nats - t.entropy_nats, t.position, t.sequence, edges=log_spaced_edges(max(longest, 1))
    )
    return Chart(
        name="excess_by_position",
        title="Surprisal minus entropy along the completions: 0 if they are draws from the law",
        x_label="tokens of the completion",
        y_label="nats a token",
        x=tuple((curve.left + 1).astype(float).tolist()),
        x_scale="log2",
        series=(Series.curve("these samples", "free", curve.mean, curve.low, curve.high),),
        levels=((0.0, "its own law"),),
        caption="Intervals: 95%, clustered by completion.",
    )


def _notes(evidence: VerifyEvidence, n_outside: int, n_edge: int) -> tuple[str, ...]:
    notes = []
    if n_outside:
        notes.append(f"{counted(n_outside, 'drawn token')} cannot be drawn under the declared rule at all.")
    left = evidence.elsewhere
    if left.n_tokens:
        held = len(evidence.n_tokens) - left.n_completions
        notes.append(
            f"Mean surprisal, chi-squares, repeats and the numbers on reported log-probabilities are taken over "
            f"{evidence.tokens.n_tokens:,} tokens, those of {held:,} completions spread evenly over the file, so that memory is bounded; "
            f"truncations, bets, impossible tokens, ends and loops over all {evidence.n_drawn:,}."
        )
    if n_edge:
        notes.append(f"{counted(n_edge, 'token')} at the edge of what the rule keeps left out of the tests.")
    if evidence.facts.ends == "missing":
        notes.append(
            "End tokens are missing from the file: the law is taken over ids that end no text, which is exact."
        )
    return tuple(notes)


# ---- which law then? -------------------------------------------------------------------------------------------------

_LAWS: dict[LawName, str] = {
    "model": "this model",
    "bos_added": "this model with one more beginning-of-text token",
    "bos_removed": "this model without the beginning-of-text token",
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
                f"None of the laws that were tried. The nearest is {candidate_words(cause.candidate)}, {_gain(cause)}, but the samples are no "
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


def cause_finding(cause: Cause, facts: SampleFacts) -> Finding:
    """Which law fits, with how much better it does."""
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
        cause_sentence(cause),
        status,
        estimates,
        licence=_TEXT_LICENCE if cause.held_by == "own_texts" else _TOKENS_LICENCE,
        notes=tuple(notes),
    )
