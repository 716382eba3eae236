"""Recorded sequences as texts for what looks at many of them at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from freerun.findings.evidence import Evidence
from freerun.findings.plain_text import PlainText
from freerun.stats.loops.texts import Texts


def texts_of_rows(evidence: Evidence, rows: Int[np.ndarray, " n"], *, history: bool = True) -> Texts:
    """The texts of some sequences, each after its prefix (`history`), or without it."""
    prefixes, tokens = evidence.local_ids("prefix_ids"), evidence.local_ids("token_id")
    records = evidence.records
    none = np.zeros(0, np.int64)
    bare = Texts.of(
        [tokens[records.rows(i)].astype(np.int64) for i in rows.tolist()],
        prompts=[np.asarray(prefixes[i], np.int64) if history else none for i in rows.tolist()],
        ended=(records.sequences["end_reason"][rows] == "end_of_text").tolist(),
        groups=evidence.units[rows].tolist(),
    )
    table = evidence.once(numeric_ids)
    if table is None:
        return bare
    known = np.minimum(bare.ids, table.size - 1)
    return Texts(bare.ids, bare.ends, bare.prompts, bare.ended, bare.groups, table[known])


def numeric_ids(evidence: Evidence) -> Bool[np.ndarray, " ids"] | None:
    """Which ids are written in digits alone, white space aside, as the recorded texts show them; None where text is redacted.

    The last entry stands for all ids beyond, which no continuation has. Ask for it by `evidence.once`.
    """
    if not evidence.has_text:
        return None
    words, records = evidence.once(PlainText), evidence.records
    ids = records.tokens["token_id"]
    table = np.zeros(int(ids.max(initial=0)) + 2, bool)
    for i in range(records.n_sequences):
        if not words.whole(i) or not (size := records.rows(i).stop - records.rows(i).start):
            continue
        characters = np.frombuffer(words.first(i, size), np.uint8)
        digit = (characters >= ord("0")) & (characters <= ord("9"))
        other = ~digit & ~np.isin(characters, np.frombuffer(b" \t\r\n\x0b\x0c", np.uint8))
        ends = np.cumsum(records.tokens["n_bytes"][records.rows(i)])
        digits, others = (np.diff(np.concatenate([[0], np.cumsum(c)])[ends], prepend=0) for c in (digit, other))
        table[ids[records.rows(i)][(digits > 0) & (others == 0)]] = True
    return table
