"""Findings of a run whose records hold no text (`--redact-text`): what needs text is said to be not available, never guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from freerun.findings.detectability.comparison import KINDS, Comparison
from freerun.findings.evidence import Evidence
from freerun.records.redact import UNAVAILABLE
from freerun.records.store import Records
from freerun.results.finding import Finding, Table

NEEDS_TEXT = ("memory", "divergences")
"""Findings that have nothing to read: the columns that they need would tell the text, so they were never written."""
_LAWS, *_OF_TEXT = KINDS.values()


def is_redacted(records: Records) -> bool:
    """Whether the run was made with `--redact-text`."""
    return records.manifest["plan"].get("redacted") is True


def unreadable(records: Records) -> Records:
    """The records, their texts replaced by signs that no reader can take for text of that many bytes."""
    sizes = records.sequences["n_bytes"]
    signs = np.array(["?" * (n + 1) for n in (np.asarray(sizes) == 0).astype(int)], dtype=object)
    return replace(records, sequences={**records.sequences, "text": signs})


def without_copies(found: Comparison) -> Comparison:
    """The comparison without the search for verbatim copies: ids of two texts cannot be compared."""
    return replace(found, copied=None)


def comparable(evidence: Evidence, other: Evidence) -> bool:
    """Whether a detector of one run can be tried on the other: both redacted, or neither."""
    return is_redacted(evidence.records) == is_redacted(other.records)


def without_text(finding: Finding) -> Finding:
    """The finding with everything that needs text replaced by the words that it is not available."""
    if finding.name in NEEDS_TEXT:
        return Finding(finding.name, finding.question, _said("This is"), "unknown", licence="No inference.")
    tables = tuple(_CLEARED.get(table.name, _as_it_is)(table) for table in finding.tables)
    if finding.name != "detectability" or finding.status == "unknown":
        return replace(finding, tables=tables)
    note = _said(
        "Detectors see likelihood features alone: byte n-grams are",
        "their place in the correction for many tests is kept, which errs on the safe side. The compressed size is that of ids "
        "numbered in the order in which they appear",
    )
    return replace(finding, tables=tables, notes=(*finding.notes, note))


def threats_without_text(threats: list[dict[str, str]]) -> list[dict[str, str]]:
    """The threats, without what was said of verbatim copies, and with what redaction hides."""
    kept = [t for t in threats if "in the training data" not in t["title"]]
    return [
        *kept,
        {
            "title": "The corpus may be in the training data",
            "text": _said("That cannot be seen from here; the search for verbatim copies is"),
        },
        {
            "title": "Text was redacted",
            "text": "Nobody can read what was compared. The numbers that are left were computed from the text: whoever has the model and "
            "guesses a text can check the guess.",
        },
    ]


def _said(what: str, more: str = "") -> str:
    return f"{what} {UNAVAILABLE}{'; ' if more else ''}{more}."


def _as_it_is(table: Table) -> Table:
    return table


def _battery(table: Table) -> Table:
    """Without the columns of the detectors that read bytes."""
    kept = [i for i, name in enumerate(table.columns) if not any(kind in name for kind in _OF_TEXT)]
    kept = kept[: kept.index(table.columns.index(f"AUC, {_LAWS}")) + 2]
    rows = tuple(tuple(_LAWS if row[i] in _OF_TEXT else row[i] for i in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)


def _giveaways(table: Table) -> Table:
    rows = tuple((row[0], UNAVAILABLE, "–") if "byte" in str(row[0]) else row for row in table.rows)
    return replace(table, rows=rows)


def _leaks(table: Table) -> Table:
    rows = []
    for leak, done, left in table.rows:
        if leak in ("white space at the cut", "half characters", "length", "control tokens", "verbatim copies"):
            left = UNAVAILABLE
        elif leak == "token strings that no tokenizer makes":
            done = f"byte n-grams: {UNAVAILABLE}"
        rows.append((leak, done, left))
    return replace(table, rows=tuple(rows))


def _onsets(table: Table) -> Table:
    hidden = {"phrase": UNAVAILABLE, "its ids": "–"}
    rows = tuple(
        tuple(hidden.get(name, cell) for name, cell in zip(table.columns, row, strict=True)) for row in table.rows
    )
    return replace(table, rows=rows)


_CLEARED = {"battery": _battery, "giveaways": _giveaways, "leaks": _leaks, "loop_onsets": _onsets}
