"""What became of the requests to a server? Every one that failed in the end, with its reason, and how often others were tried again."""

from __future__ import annotations

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.results.finding import Cell, Finding, Table
from freerun.results.quantity import Quantity
from freerun.results.requests import Requests

QUESTION = "What became of the requests to the server?"
ANSWERED = Quantity("requests", "requests_answered", "Requests answered", "requests", paired=False, exact=True)
RETRIED = Quantity("requests", "attempts_tried_again", "Attempts tried again", "attempts", paired=False, exact=True)
FAILED = Quantity(
    "requests", "requests_failed", "Requests that failed in the end", "requests", paired=False, exact=True
)


def requests(evidence: Evidence) -> Finding | None:
    """Counts over all processes that worked on the run; None where nothing was served."""
    seen = evidence.requests
    if seen is None:
        return None
    n_retried = sum(seen.retried.values())
    return Finding(
        name="requests",
        question=QUESTION,
        sentence=_sentence(seen, n_retried),
        status="neutral",
        estimates=(
            ANSWERED.number(float(seen.answered)),
            RETRIED.number(float(n_retried)),
            FAILED.number(float(seen.failed)),
        ),
        tables=(_kinds(seen), _failures(seen)) if seen.failures else (_kinds(seen),),
        licence=(
            "Counts of all processes that worked on this run; one that was killed counts up to its last finished part. A text that is tried "
            "again has the same seed, and a run ends at the first request that fails for good, so nothing is missing from the records."
        ),
    )


def _sentence(seen: Requests, n_retried: int) -> str:
    words = [counted(seen.answered, "request was answered", "requests were answered")]
    words.append(
        f"{counted(n_retried, 'attempt was', 'attempts were')} tried again" if n_retried else "none was tried again"
    )
    if seen.failed:
        words.append(
            f"{counted(seen.failed, 'request')} failed in the end, after which the same command went on and asked again"
        )
    else:
        words.append("none failed in the end")
    return f"{'; '.join(words)}."


def _kinds(seen: Requests) -> Table:
    rows = [("answered", Cell.number(float(seen.answered), ",.0f"))]
    rows += [(f"tried again: {kind}", Cell.number(float(n), ",.0f")) for kind, n in seen.retried.items()]
    rows += [("failed in the end", Cell.number(float(seen.failed), ",.0f"))]
    rows += [("processes", Cell.number(float(seen.sessions), ",.0f"))]
    return Table("requests", "Requests", ("what", "number"), tuple(rows))


def _failures(seen: Requests) -> Table:
    return Table(
        "failed_requests",
        "Requests that failed in the end",
        ("path", "kind", "why", "attempts"),
        tuple((f.path, f.kind, f.why, Cell.number(float(f.attempts), ",.0f")) for f in seen.failures),
    )


ENTRY = Question("requests", QUESTION, requests, (ANSWERED, RETRIED, FAILED), place=130)
