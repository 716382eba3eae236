"""Text without ids: does it stand out among texts that the declared law writes itself, taken to text and back alike?"""

from __future__ import annotations

from freerun.counted import counted
from freerun.findings.recognition.sampling import p_words
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.findings.verification.words import down_to
from freerun.results.finding import Cell, Estimate, Finding, Row, Table
from freerun.results.verdict import Status
from freerun.results.verify import Match
from freerun.stats.verification.battery import ALPHA, LEAST_TOKENS, POWER
from freerun.stats.verification.exchange import LEAST_GROUPS, STATISTICS, Exchange

LICENCE = (
    "Null: each given text and the law's own texts after its prompt are draws of one law. Taken to text and back alike, and stopped at the "
    "same number of tokens, they are exchangeable: which of them was given is then a random choice, and 9,999 such choices make the null "
    "of the largest statistic. False alarms: one file in a thousand. The unit is the completion. It holds for these prompts, put to the model "
    "in this way; where the file's prompts were put otherwise, the law is another one."
)


def text_sentence(evidence: VerifyEvidence) -> str:
    declared, again = evidence.declared_words, evidence.again
    if again is None:
        return f"Not judged: too few texts can be compared; text without ids needs at least {LEAST_GROUPS} completions."
    n = counted(again.n_tokens, "token")
    if evidence.one_seed:
        return (
            f"Not judged: completions were drawn with one and the same seed (their draws correlate by {evidence.seeds.correlation:.2f}), so "
            "they are not independent draws."
        )
    match evidence.match:
        case "agrees":
            return (
                f"{n} of {again.n_groups:,} texts cannot be told from what the model itself writes at {declared} after the same prompts, "
                f"{down_to(again.smallest)}."
            )
        case "differs":
            return (
                f"{again.n_groups:,} texts ({n}) are not draws from the model's law at {declared}: they stand out among "
                f"{again.n_own * again.n_groups:,} of its own after the same prompts (p {p_words(again.p_value)})."
            )
        case "differs_within_floor":
            return (
                f"{n} differ from what the model itself writes at {declared} (p {p_words(again.p_value)}), but by no more than two computations "
                f"of one law may: the noise floor is {evidence.floor_nats:.2g} nats."
            )
        case "not_judged":
            return f"Not judged: {n} are too few; at least {LEAST_TOKENS} are needed."


def text_finding(evidence: VerifyEvidence, question: str, status: dict[Match, Status]) -> Finding:
    """The verdict on text, what stands out, and what the same tests would have seen."""
    again = evidence.again
    return Finding(
        "match",
        question,
        text_sentence(evidence),
        status[evidence.match],
        estimates=() if again is None else _estimates(evidence, again),
        tables=() if again is None else (_table(again),),
        licence=LICENCE,
        notes=_notes(evidence),
    )


def _estimates(evidence: VerifyEvidence, again: Exchange) -> tuple[Estimate, ...]:
    n, smallest = again.n_groups, again.smallest
    how = f"at least, with {POWER:.0%} power at one false alarm in {1 / ALPHA:,.0f} files; to first order"
    return (
        quantities.MATCH_P.number(
            again.p_value, n=n, independent_unit="completion", method="exchange of given and own texts"
        ),
        quantities.SMALLEST_TEMPERATURE.number(smallest.temperature, n=n, independent_unit="completion", method=how),
        quantities.SMALLEST_CUT.number(smallest.kept_mass, n=n, independent_unit="completion", method=how),
        quantities.SMALLEST_TOP_SHARE.number(smallest.top_share, n=n, independent_unit="completion", method=how),
        quantities.FLOOR.number(
            evidence.floor_nats,
            n=evidence.floor.alone.size,
            independent_unit="token",
            method="as set" if evidence.chosen_floor_nats is not None else "completions read alone against the batch",
        ),
    )


def _table(again: Exchange) -> Table:
    rows: list[Row] = []
    for name, excess, error, z, p in zip(
        STATISTICS, again.excess, again.standard_error, again.z, again.p_each, strict=True
    ):
        rows.append(
            (
                _label(name),
                Cell.number(float(excess), "+.4f", "nats" if name == "surprisal" else "share"),
                Cell.number(float(error), ".4f"),
                Cell.number(float(z), "+.2f"),
                Cell.number(float(p), ".2g", "p-value"),
            )
        )
    return Table(
        "tests",
        "Given texts less the law's own, a token",
        ("what", "difference", "spread under the null", "in spreads", "p, corrected for all rows"),
        tuple(rows),
    )


_FAMILIES = {"top_p": "top-p", "top_k": "top-k", "min_p": "min-p"}


def _label(name: str) -> str:
    if name == "surprisal":
        return "surprisal minus entropy"
    if name == "repeats":
        return "ids that stand in the context already"
    family, value = name.split(" ")
    return f"tokens beyond {_FAMILIES[family]} {value}"


def _notes(evidence: VerifyEvidence) -> tuple[str, ...]:
    notes = [
        "The file has text without ids. It was tokenised again, which need not give the ids that were drawn, so the tests on single tokens "
        f"decide nothing here (together they would have given p {p_words(evidence.battery.p_value)})."
    ]
    if (made := evidence.facts.comparison) is not None:
        notes.append(
            f"{made.changed_share:.2%} of the tokens of the law's own texts did not come back from text. {made.n_compared:,} of {made.n_there:,} tokens "
            "of the chosen texts were compared: up to the last whole word of the shortest text of each group."
        )
        if made.stripped:
            notes.append("No given text begins with white space: it was taken from the law's own texts, too.")
    notes.append(
        "Not to be had from text: whether a completion ended or was cut off, so ends are not judged; and special tokens, which are gone."
    )
    return tuple(notes)
