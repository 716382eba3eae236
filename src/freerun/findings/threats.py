"""Every threat to validity that applies to a run, said plainly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.detectability.control_tokens import control_tokens
from freerun.findings.detectability.copying import COPY_TOKENS, copying
from freerun.findings.detectability.leaks import MOST_SPELLED
from freerun.findings.evidence import Evidence
from freerun.records.plan import read_nature
from freerun.records.redact import UNAVAILABLE
from freerun.results.audit import OwnText
from freerun.results.verdict import Threat


def threats(evidence: Evidence, comparison: Comparison | None, own_text: OwnText) -> tuple[Threat, ...]:
    """The threats in order; none is listed that does not apply. `comparison`: None where there is none."""
    listed = [*_of_the_model(evidence), *_of_the_prefix(evidence)]
    if not own_text.refused:
        listed += _of_memory(evidence, comparison)
    if not evidence.records.manifest["corpus"]["independent"]:
        listed.append(
            Threat(
                "The pieces are not independent",
                "The documents are pieces of fewer texts. Intervals and p-values treat them as independent and are too narrow.",
            )
        )
    if not evidence.plan.sampling.is_model_law:
        listed.append(
            Threat(
                "Not the model's own law",
                f"Free text was sampled with {evidence.plan.sampling.describe()}; log-probabilities are the model's own.",
            )
        )
    if comparison is not None:
        listed += [*_of_control_tokens(evidence, comparison), *_of_the_horizon(evidence, comparison)]
    listed += _of_one_run(evidence)
    if not own_text.refused:
        listed.append(_not_canonical(evidence))
    if not evidence.has_text:
        listed.append(
            Threat(
                "Text was redacted",
                "Nobody can read what was compared. The numbers that are left were computed from the text: whoever has the model and "
                "guesses a text can check the guess.",
            )
        )
    return tuple(listed)


def _of_the_model(evidence: Evidence) -> Iterator[Threat]:
    manifest = evidence.records.manifest
    nature, tokenizer = read_nature(manifest["model"]["nature"]), manifest.get("tokenizer")
    if nature.tuned:
        yield Threat(
            "The model is tuned for instructions",
            "It is fed raw text without its chat template, which is not what it was tuned for. The result speaks of its raw law, "
            "not of the assistant.",
        )
    if nature.was_rounded:
        yield Threat(
            "The weights were rounded",
            f"{nature.describe()}: a coarser model than the one that was trained. Another backend of the same file gives other numbers.",
        )
    if tokenizer is not None and tokenizer["changed"]:
        yield Threat(
            "The tokenizer changes the text",
            f"In {tokenizer['changed']} of {tokenizer['documents']} documents the tokens spell something else than the document (case, accents, "
            "spaces or unknown words). Real text is measured as its tokens spell it, so what the tokenizer throws away tells nobody anything.",
        )
    if evidence.plan.dtype == "bf16":
        yield Threat(
            "bf16 arithmetic", "Its rounding costs about 0.001 nats a token: this is another model than the fp32 one."
        )


def _of_the_prefix(evidence: Evidence) -> Iterator[Threat]:
    yield Threat(
        "The corpus is one source, the prefix does not name it",
        f"After {evidence.plan.prefix} tokens a perfect predictor of everything ever written would still be unsure which source it reads, "
        "and would be told from this one too. Part of the gap is that uncertainty, not the model's error. How much of it falls "
        "with more context: --sweep prefix=8,32,128; the model's own error may fall with it.",
    )


def _of_memory(evidence: Evidence, comparison: Comparison | None) -> Iterator[Threat]:
    """That the model has read the corpus before."""
    maybe = "The corpus may be in the training data"
    if not evidence.has_text:
        yield Threat(maybe, f"That cannot be seen from here; the search for verbatim copies is {UNAVAILABLE}.")
        return
    copied = copying(evidence) if comparison is None else comparison.copied
    if copied is None:
        return
    words = (
        f"{copied.own.value:.1%} of the documents (95% interval {copied.own.low:.1%} to {copied.own.high:.1%}) are continued with at "
        f"least {COPY_TOKENS} tokens word for word; {copied.other.value:.1%} when compared with another document."
    )
    if evidence.records.manifest["corpus"]["shipped"]:
        yield Threat(
            "The corpus is probably in the training data",
            f"It ships with Python and is on many web pages. {words} A model that remembers its text looks better than it is.",
        )
    else:
        yield Threat(maybe, f"That cannot be seen from here. {words}")


def _of_control_tokens(evidence: Evidence, comparison: Comparison) -> Iterator[Threat]:
    counts = control_tokens(evidence, comparison)
    if counts is None or not counts.own_texts:
        return
    which = ", ".join(token for token, _ in counts.written[:MOST_SPELLED])
    yield Threat(
        "It writes control tokens",
        f"{counts.own_texts} of {counts.n_own_texts} own texts hold a special token that ends nothing ({which}), {counts.real.value:.0%} of the "
        "real ones. What follows it is another kind of text. The table of leaks has the horizon of the texts cut there.",
    )


def _of_the_horizon(evidence: Evidence, comparison: Comparison) -> Iterator[Threat]:
    tokens, last, n_units = evidence.plan.tokens, comparison.last, np.unique(evidence.units).size
    yield Threat(
        f"{n_units} documents, {tokens} tokens",
        f"{last.n_train} documents train the detector and {last.n_test} judge it. More train a better detector, and the horizon gets "
        "shorter: it is an upper bound on what could be seen. Nothing is said of lengths beyond the last one.",
    )
    if comparison.longest < tokens:
        yield Threat(
            f"The horizon is judged up to token {comparison.longest} only",
            f"Too few pairs reach token {tokens} for a detector. Other findings read all tokens.",
        )
    if comparison.n_dropped:
        yield Threat(
            "Texts that ended early are left out of the curve",
            f"{comparison.n_dropped} of {comparison.n_dropped + comparison.n_pairs} pairs; the model's free texts that end may differ from those "
            "that go on.",
        )


def _of_one_run(evidence: Evidence) -> Iterator[Threat]:
    yield Threat(
        "One seed, one model, one corpus",
        "Intervals cover the choice of documents, not of seeds, models or corpora. It is a statement about this model on this text.",
    )
    counts = evidence.records.manifest["counts"]
    exact, near = counts["exact_duplicates_dropped"], counts.get("near_duplicates_joined", 0)
    if exact or near:
        yield Threat(
            "Duplicates",
            f"{exact} exact duplicates were dropped; {near} near duplicates stay in the unit of what they resemble.",
        )


def _not_canonical(evidence: Evidence) -> Threat:
    records = evidence.records
    free, real = (
        float(np.mean(records.sequences["canonical_share"][records.chosen(arm=arm)] < 1)) for arm in ("free", "real")
    )
    return Threat(
        "Token strings that no tokenizer would make",
        f"{free:.1%} of the free and {real:.1%} of the real continuations are not what encoding their text gives. The detector sees "
        "token statistics, so a reader of the text alone sees a little less.",
    )
