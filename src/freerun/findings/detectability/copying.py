"""How much of its free text is a copy of the document that it continues?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.findings.evidence import Evidence
from freerun.stats.intervals import Interval, clopper_pearson
from freerun.stats.verbatim import longest_common_run

COPY_TOKENS = 16
MAX_DOCUMENTS = 512
"""Most documents that are compared with their continuations."""


@dataclass(frozen=True)
class Copying:
    """Share of documents with a verbatim run of at least 16 tokens.

    `own`: the first free continuation against the document's real continuation. `other`: the same free text against another
    document's real continuation: what shared boilerplate gives.
    """

    own: Interval
    other: Interval
    copies: dict[str, bool]
    """By document: whether its own free text copies it."""


def copying(evidence: Evidence) -> Copying | None:
    """Compare free text with the real continuation of its own and of the next document; None without pairs or without text."""
    if not evidence.has_text:
        return None
    records = evidence.records
    free = {records.sequences["document_id"][i]: i for i in records.chosen(arm="free", replicate=0)}
    real = {records.sequences["document_id"][i]: i for i in records.chosen(arm="real")}
    names = [n for n in real if n in free][:MAX_DOCUMENTS]
    if len(names) < 2:
        return None
    ids = records.tokens["token_id"]

    def copied(a: str, b: str) -> bool:
        mine, theirs = ids[records.rows(free[a])], ids[records.rows(real[b])]
        return bool(longest_common_run(mine.astype(np.int64), theirs.astype(np.int64)) >= COPY_TOKENS)

    copies = {n: copied(n, n) for n in names}
    own = sum(copies.values())
    other = sum(copied(n, m) for n, m in zip(names, [*names[1:], names[0]], strict=True))
    return Copying(clopper_pearson(own, len(names)), clopper_pearson(other, len(names)), copies)
