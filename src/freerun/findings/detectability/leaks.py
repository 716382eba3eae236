"""Trivial ways to tell the two sides apart, each closed by design or measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from freerun.counted import counted
from freerun.findings.detectability.comparison import Comparison
from freerun.findings.detectability.control_tokens import LEAST_TEST_PAIRS, ControlTokens, control_tokens
from freerun.findings.detectability.copying import COPY_TOKENS
from freerun.findings.evidence import Evidence
from freerun.findings.plain_text import PlainText
from freerun.records.redact import UNAVAILABLE
from freerun.results.finding import Table
from freerun.results.horizons import interval_words, outside
from freerun.stats.detection.auc import auc
from freerun.stats.intervals import Interval, clopper_pearson

CONTROL_TOKENS = "control tokens"
MOST_SPELLED = 5
"""Special tokens that are named; of the others only the number is said."""


@dataclass(frozen=True)
class Sides:
    """The test documents of a comparison: their real texts and first continuations, as sequences."""

    evidence: Evidence
    comparison: Comparison

    @property
    def real(self) -> Int[np.ndarray, " test"]:
        return np.asarray(self.evidence.panel.real[self.comparison.test_pairs])

    @property
    def free(self) -> Int[np.ndarray, " test"]:
        return np.asarray(self.evidence.panel.free[self.comparison.test_pairs, 0])

    @property
    def words(self) -> PlainText:
        return self.evidence.once(PlainText)

    def shares(self, has: Callable[[Int[np.ndarray, " test"]], Bool[np.ndarray, " test"]]) -> str:
        """The share of texts on either side that have something."""
        real, own = (_share(clopper_pearson(int(hit.sum()), hit.size)) for hit in map(has, (self.real, self.free)))
        return f"{real} real, {own} own"


@dataclass(frozen=True)
class Leak:
    """A way to tell texts apart by something else than their law: what is done about it, and what is left."""

    name: str
    done: str
    left: Callable[[Sides], str]
    needs_text: bool = False


def leaks(evidence: Evidence, comparison: Comparison) -> Table:
    """One row a leak: what was done about it, and what is left on either side of the test documents."""
    sides = Sides(evidence, comparison)
    text = comparison.kinds["text"][-1].auc
    n_grams = (
        f"see the text alone: AUC {text.value:.2f} ({text.low:.2f} to {text.high:.2f}) at {comparison.longest} tokens"
    )
    listed = (
        Leak(
            "where a text ends",
            "every text is stopped at its own end or at the length, on both sides alike, and real responses are closed with an end of text"
            if evidence.own_lengths
            else "only pairs in which every side reaches the last token; endings are a finding of their own",
            lambda _: f"{comparison.n_dropped} of {comparison.n_dropped + comparison.n_pairs} pairs left out",
        ),
        Leak("white space at the cut", "both sides go on from the same ids", _white_space, needs_text=True),
        Leak(
            "half characters",
            "bytes are looked up by id, so that a cut character shows no replacement sign where its tokens occur elsewhere",
            _half_characters,
            needs_text=True,
        ),
        Leak(
            "token strings that no tokenizer makes",
            f"byte n-grams {n_grams}" if evidence.has_text else f"byte n-grams: {UNAVAILABLE}",
            _not_canonical,
        ),
        Leak(
            "length",
            "part of what is compared; a detector that sees nothing else stands beside"
            if evidence.own_lengths
            else "equal numbers of tokens on both sides",
            _length,
            needs_text=True,
        ),
        Leak(
            "duplicates",
            "exact ones dropped, a unit never on both sides of a split",
            lambda _: f"{evidence.records.manifest['counts']['exact_duplicates_dropped']} dropped",
        ),
        Leak(
            CONTROL_TOKENS,
            "ends of text end it; other special tokens stay, and are counted",
            _control_tokens,
            needs_text=True,
        ),
        Leak(
            "verbatim copies",
            f"none left out; runs of {COPY_TOKENS} tokens of the document's own continuation are counted",
            _copies,
            needs_text=True,
        ),
    )
    rows = tuple(
        (x.name, x.done, x.left(sides) if evidence.has_text or not x.needs_text else UNAVAILABLE) for x in listed
    )
    return Table("leaks", "Trivial leaks, closed or measured", ("leak", "what is done", "what is left"), rows)


def _white_space(sides: Sides) -> str:
    begins = sides.shares(lambda side: np.array([t[:1].isspace() for t in sides.words.texts(side, 1)]))
    return f"first token begins with white space: {begins}"


def _half_characters(sides: Sides) -> str:
    halves = sides.shares(lambda side: np.array([not sides.words.whole(int(i)) for i in side]))
    return f"texts with bytes that are not characters: {halves}"


def _not_canonical(sides: Sides) -> str:
    return f"not canonical: {sides.shares(lambda side: sides.evidence.records.sequences['canonical_share'][side] < 1)}"


def _length(sides: Sides) -> str:
    real, own = (
        np.array([len(t) for t in sides.words.texts(side, sides.comparison.longest)], np.float64)
        for side in (sides.real, sides.free)
    )
    return f"AUC of the number of bytes alone: {auc(own, real):.2f}"


def _control_tokens(sides: Sides) -> str:
    """Special tokens, which real text never holds; and the horizon of the texts cut there."""
    counts = control_tokens(sides.evidence, sides.comparison)
    if counts is None:
        return "not known"
    left = f"documents with one: {_share(counts.real)} in real text, {_share(counts.own)} in own text"
    if counts.own_texts:
        which = ", ".join(f"{token} in {n}" for token, n in counts.written[:MOST_SPELLED])
        more = f" and {len(counts.written) - MOST_SPELLED} others" if len(counts.written) > MOST_SPELLED else ""
        left += f"; {counts.own_texts} of {counts.n_own_texts} own texts ({which}{more}), at token {counts.first_token:.0f} in the median"
    if counts.real.value or counts.own_texts:
        without = counted(counts.n_left, "test document")
        left += f"; H75 of the texts cut there: {_h75_cut(counts)}; {without} without any"
    return left


def _h75_cut(counts: ControlTokens) -> str:
    """In tokens with its interval, or why there is none."""
    h = counts.h75_cut
    if h is None:
        return "the same, for none of them holds one" if counts.n_left >= LEAST_TEST_PAIRS else "too few to say"
    return f"{outside(h.estimate) or f'{h.estimate.tokens:.0f} tokens'} ({interval_words(h)})"


def _copies(sides: Sides) -> str:
    """The detector without the texts that copy their document: they look real because they are."""
    copied, last = sides.comparison.copied, sides.comparison.last
    if copied is None:
        return "not known"
    names = sides.evidence.records.sequences["document_id"][sides.real]
    copies = np.array([copied.copies.get(str(name), False) for name in names], bool)
    left = f"{copied.own.value:.1%} of documents (by chance {copied.other.value:.1%})"
    if copies.any() and (~copies).sum() >= 8:
        left += f"; AUC without them {auc(last.scores_free[~copies, 0], last.scores_real[~copies]):.2f}"
    return left


def _share(share: Interval) -> str:
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"
