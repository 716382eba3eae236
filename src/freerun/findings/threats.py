"""Every threat to validity that applies to a run, said plainly."""

from __future__ import annotations

from typing import Any

import numpy as np

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.detectability.control_tokens import ControlTokens, control_tokens
from freerun.findings.detectability.copying import COPY_TOKENS, Copying, copying
from freerun.findings.detectability.leaks import MOST_SPELLED
from freerun.findings.evidence import Evidence
from freerun.records.plan import read_nature


def threats(evidence: Evidence, found: Comparison | None, *, own_text: bool = True) -> list[dict[str, str]]:
    """Title and text of each; none is listed that does not apply. `own_text`: whether own text is evidence."""
    manifest = evidence.records.manifest
    plan, model, corpus, counts = (manifest[k] for k in ("plan", "model", "corpus", "counts"))
    n_units = int(np.unique(evidence.units).size)
    out: list[tuple[str, str]] = []
    nature = read_nature(model["nature"])
    if nature.tuned:
        out.append(
            (
                "The model is tuned for instructions",
                "It is fed raw text without its chat template, which is not what it was tuned for. The result speaks of its raw law, "
                "not of the assistant.",
            )
        )
    if nature.was_rounded:
        out.append(
            (
                "The weights were rounded",
                f"{nature.describe()}: a coarser model than the one that was trained. Another backend of the same file gives other numbers.",
            )
        )
    out.extend(_changed(manifest.get("tokenizer")))
    if plan["dtype"] == "bf16":
        out.append(
            ("bf16 arithmetic", "Its rounding costs about 0.001 nats a token: this is another model than the fp32 one.")
        )
    out.append(
        (
            "The corpus is one source, the prefix does not name it",
            f"After {plan['prefix']} tokens a perfect predictor of everything ever written would still be unsure which source it reads, "
            "and would be told from this one too. Part of the gap is that uncertainty, not the model's error. How much of it falls "
            "with more context: --sweep prefix=8,32,128; the model's own error may fall with it.",
        )
    )
    if own_text:
        out.extend(_memory(copying(evidence) if found is None else found.copied, corpus))
    if not corpus["independent"]:
        out.append(
            (
                "The pieces are not independent",
                "The documents are pieces of fewer texts. Intervals and p-values treat them as independent and are too narrow.",
            )
        )
    if not evidence.sampling.is_model_law:
        out.append(
            (
                "Not the model's own law",
                f"Free text was sampled with {evidence.sampling.describe()}; log-probabilities are the model's own.",
            )
        )
    if found is not None:
        out.extend(_control(control_tokens(evidence, found)))
        last = found.main.detections[-1]
        out.append(
            (
                f"{n_units} documents, {int(plan['tokens'])} tokens",
                f"{last.n_train} documents train the detector and {last.n_test} judge it. More train a better detector, and the horizon gets "
                "shorter: it is an upper bound on what could be seen. Nothing is said of lengths beyond the last one.",
            )
        )
        longest = int(found.lengths[-1])
        if longest < int(plan["tokens"]):
            out.append(
                (
                    f"The horizon is judged up to token {longest} only",
                    f"Too few pairs reach token {int(plan['tokens'])} for a detector. Other findings read all tokens.",
                )
            )
        if found.n_dropped:
            out.append(
                (
                    "Texts that ended early are left out of the curve",
                    f"{found.n_dropped} of {found.n_dropped + found.n_pairs} pairs; the model's free texts that end may differ from those "
                    "that go on.",
                )
            )
    out.append(
        (
            "One seed, one model, one corpus",
            "Intervals cover the choice of documents, not of seeds, models or corpora. It is a statement about this model on this text.",
        )
    )
    if counts["exact_duplicates_dropped"] or counts.get("near_duplicates_joined"):
        out.append(
            (
                "Duplicates",
                f"{counts['exact_duplicates_dropped']} exact duplicates were dropped; {counts.get('near_duplicates_joined', 0)} near duplicates stay in the unit of what they resemble.",
            )
        )
    if not own_text:
        return [{"title": t, "text": x} for t, x in out]
    share = evidence.records.sequences["canonical_share"][evidence.records.chosen(arm="free")]
    free = float(np.mean(share < 1))
    real = float(np.mean(evidence.records.sequences["canonical_share"][evidence.records.chosen(arm="real")] < 1))
    out.append(
        (
            "Token strings that no tokenizer would make",
            f"{free:.1%} of the free and {real:.1%} of the real continuations are not what encoding their text gives. The detector sees "
            "token statistics, so a reader of the text alone sees a little less.",
        )
    )
    return [{"title": t, "text": x} for t, x in out]


def _changed(tokenizer: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Text that is not what stood in the document; nothing where it is not known."""
    if tokenizer is None or not tokenizer["changed"]:
        return []
    return [
        (
            "The tokenizer changes the text",
            f"In {tokenizer['changed']} of {tokenizer['documents']} documents the tokens spell something else than the document (case, accents, "
            "spaces or unknown words). Real text is measured as its tokens spell it, so what the tokenizer throws away tells nobody anything.",
        )
    ]


def _control(held: ControlTokens | None) -> list[tuple[str, str]]:
    if held is None or not held.own_texts:
        return []
    which = ", ".join(token for token, _ in held.written[:MOST_SPELLED])
    return [
        (
            "It writes control tokens",
            f"{held.own_texts} of {held.n_own_texts} own texts hold a special token that ends nothing ({which}), {held.real.value:.0%} of the "
            "real ones. What follows it is another kind of text. The table of leaks has the horizon of the texts cut there.",
        )
    ]


def _memory(copied: Copying | None, corpus: dict[str, Any]) -> list[tuple[str, str]]:
    if copied is None:
        return []
    words = (
        f"{copied.own.value:.1%} of the documents (95% interval {copied.own.low:.1%} to {copied.own.high:.1%}) are continued with at "
        f"least {COPY_TOKENS} tokens word for word; {copied.other.value:.1%} when held against another document."
    )
    if corpus["shipped"]:
        return [
            (
                "The corpus is probably in the training data",
                f"It ships with Python and is on many web pages. {words} A model that remembers its text looks better than it is.",
            )
        ]
    return [("The corpus may be in the training data", f"That cannot be seen from here. {words}")]
