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
from freerun.results.verify import Match
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
            f"truncations, bets and impossible tokens over all {evidence.n_drawn:,}."
        )
    if n_edge:
        notes.append(f"{counted(n_edge, 'token')} at the edge of what the rule keeps left out of the tests.")
    if evidence.facts.ends == "missing":
        notes.append(_without_ends(evidence))
    return tuple(notes)


def _without_ends(evidence: VerifyEvidence) -> str:
    why = "Some completions ended without an end token" if evidence.facts.n_ended else "No completion has an end token"
    return f"{why}: end tokens are left out, and the law is taken over ids that end no text, which is exact."
