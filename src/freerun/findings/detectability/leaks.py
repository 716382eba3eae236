"""Trivial ways to tell the two sides apart, each closed by design or measured."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from freerun.counted import counted
from freerun.findings.detectability.comparison import Comparison
from freerun.findings.detectability.control_tokens import LEAST_TEST_PAIRS, ControlTokens, control_tokens
from freerun.findings.detectability.copying import COPY_TOKENS
from freerun.findings.evidence import Evidence
from freerun.findings.plain_text import PlainText
from freerun.results.finding import Table
from freerun.results.horizons import interval_words, outside
from freerun.stats.detection.auc import auc
from freerun.stats.detection.horizon import HorizonResult
from freerun.stats.intervals import Interval, clopper_pearson

CONTROL_TOKENS = "control tokens"
MOST_SPELLED = 5
"""Special tokens that are named; of the others only the number is said."""


def leaks(evidence: Evidence, found: Comparison) -> Table:
    """One row a leak: what was done about it, and what is left on either side of the test documents."""
    panel, records = evidence.panel, evidence.records
    words = PlainText(evidence)
    real, free = panel.real[found.test_pairs], panel.free[found.test_pairs, 0]
    longest = int(found.lengths[-1])
    heads = [_share(np.array([t[:1].isspace() for t in words.texts(side, 1)])) for side in (real, free)]
    halves = [_share(np.array([not words.whole(int(i)) for i in side])) for side in (real, free)]
    bytes_ = [np.array([len(t) for t in words.texts(side, longest)], np.float64) for side in (real, free)]
    canonical = [_share(records.sequences["canonical_share"][side] < 1) for side in (real, free)]
    counts = records.manifest["counts"]
    text = found.kinds["text"][-1].auc
    rows = [
        (
            "where a text ends",
            "only pairs in which every side reaches the last token; endings are a finding of their own",
            f"{found.n_dropped} of {found.n_dropped + found.n_pairs} pairs left out",
        ),
        (
            "white space at the cut",
            "both sides go on from the same ids",
            f"first token begins with white space: {heads[0]} real, {heads[1]} own",
        ),
        (
            "half characters",
            "bytes are looked up by id, so that a cut character shows no replacement sign where its tokens occur elsewhere",
            f"texts with bytes that are no character: {halves[0]} real, {halves[1]} own",
        ),
        (
            "token strings that no tokenizer makes",
            f"byte n-grams see the text alone: AUC {text.value:.2f} ({text.low:.2f} to {text.high:.2f}) at {longest} tokens",
            f"not canonical: {canonical[0]} real, {canonical[1]} own",
        ),
        (
            "length",
            "equal numbers of tokens on both sides",
            f"AUC of the number of bytes alone: {auc(bytes_[1], bytes_[0]):.2f}",
        ),
        (
            "duplicates",
            "exact ones dropped, a unit never on both sides of a split",
            f"{counts['exact_duplicates_dropped']} dropped",
        ),
        _control(evidence, found),
        _copies(evidence, found, real, free),
    ]
    return Table("leaks", "Trivial leaks, closed or measured", ("leak", "what is done", "what is left"), tuple(rows))


def _control(evidence: Evidence, found: Comparison) -> tuple[str, str, str]:
    """Special tokens, which real text never holds; and the horizon of the texts cut there."""
    done = "ends of text end it; other special tokens stay, and are counted"
    held = control_tokens(evidence, found)
    if held is None:
        return CONTROL_TOKENS, done, "not known"
    left = f"documents with one: {_spoken(held.real)} in real text, {_spoken(held.own)} in own text"
    if held.own_texts:
        which = ", ".join(f"{token} in {n}" for token, n in held.written[:MOST_SPELLED])
        more = f" and {len(held.written) - MOST_SPELLED} others" if len(held.written) > MOST_SPELLED else ""
        left += f"; {held.own_texts} of {held.n_own_texts} own texts ({which}{more}), at token {held.first_token:.0f} in the median"
    if held.real.value or held.own_texts:
        left += f"; H75 of the texts cut there: {_h75_cut(held)}; {counted(held.n_left, 'test document')} without any"
    return CONTROL_TOKENS, done, left


def _h75_cut(held: ControlTokens) -> str:
    """In tokens with its interval, or why there is none."""
    h: HorizonResult | None = held.h75_cut
    if h is None:
        return "the same, for none of them holds one" if held.n_left >= LEAST_TEST_PAIRS else "too few to say"
    value = outside(h.estimate) or f"{h.estimate.tokens:.0f}"
    return f"{value} tokens ({interval_words(h)})"


def _copies(
    evidence: Evidence, found: Comparison, real: Int[np.ndarray, " test"], free: Int[np.ndarray, " test"]
) -> tuple[str, str, str]:
    """The detector without the texts that copy their document: they look real because they are."""
    copied = found.copied
    done = f"none left out; runs of {COPY_TOKENS} tokens of the document's own continuation are counted"
    if copied is None:
        return "verbatim copies", done, "not known"
    mine = np.array([copied.copies.get(str(evidence.records.sequences["document_id"][i]), False) for i in real], bool)
    last = found.main.detections[-1]
    left = f"{copied.own.value:.1%} of documents (by chance {copied.other.value:.1%})"
    if mine.any() and (~mine).sum() >= 8:
        left += f"; AUC without them {auc(last.scores_free[~mine, 0], last.scores_real[~mine]):.2f}"
    return "verbatim copies", done, left


def _share(hits: Bool[np.ndarray, " n"]) -> str:
    return _spoken(clopper_pearson(int(hits.sum()), hits.size))


def _spoken(found: Interval) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
