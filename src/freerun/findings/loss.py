"""How well does the model predict real text?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.results.finding import Finding
from freerun.results.quantity import Quantity, Sums
from freerun.stats.intervals import Interval

QUESTION = "How well does it predict real text?"
LOSS = Quantity(
    "loss",
    "loss_nats_per_token",
    "Loss on real text",
    "nats/token",
    possible_tokens=True,
    gates=("loss_nats", "loss"),
    card=True,
)
BITS = Quantity(
    "loss",
    "loss_bits_per_byte",
    "Loss on real text, in bits",
    "bits/byte",
    possible_tokens=True,
    gates=("loss_bits", "bits_per_byte"),
    card=True,
)
BITS_OF_TOKENS = Quantity(
    "loss", "loss_bits_per_byte_of_tokens", "Loss over the bytes that its tokens spell", "bits/byte", paired=False
)
IMPOSSIBLE = Quantity("loss", "impossible_share", "Real tokens that it makes impossible", "share", exact=True)
OWN_SURPRISAL = Quantity(
    "loss",
    "own_surprisal_nats_per_token",
    "Surprisal of its own text",
    "nats/token",
    own_text=True,
    gates=("own_surprisal",),
)
EXCESS = Quantity(
    "loss",
    "excess_at_least_nats_per_token",
    "Excess loss shown by the reference",
    "nats/token",
    possible_tokens=True,
    against_reference=True,
)
QUANTITIES = (LOSS, IMPOSSIBLE, BITS, BITS_OF_TOKENS, OWN_SURPRISAL, EXCESS)


def loss_sums(evidence: Evidence) -> Iterator[Sums]:
    """The losses document by document."""
    log_prob = evidence.records.tokens["log_prob_nats"]
    possible = np.isfinite(log_prob)
    real, free = evidence.tokens_of("real") & possible, evidence.tokens_of("free") & possible
    nats, text_bytes = evidence.token_sums(-log_prob, real), evidence.bytes_of_text
    yield Sums(LOSS, nats, evidence.token_sums(1.0, real))
    yield Sums(BITS, nats / math.log(2), evidence.token_sums(text_bytes, real))
    token_bytes = evidence.records.tokens["n_bytes"]
    if (text_bytes != token_bytes)[real].any() and token_bytes[real].any():
        yield Sums(BITS_OF_TOKENS, nats / math.log(2), evidence.token_sums(token_bytes, real))
    yield Sums(OWN_SURPRISAL, evidence.token_sums(-log_prob, free), evidence.token_sums(1.0, free))
    gain = evidence.reference_log_prob - log_prob
    test = (evidence.records.sequences["split"] == "test")[evidence.token_sequence]
    usable = real & test & np.isfinite(gain)
    yield Sums(EXCESS, evidence.token_sums(gain, usable), evidence.token_sums(1.0, usable))


def loss(evidence: Evidence) -> Finding:
    """Log loss of the real continuations, and what the reference saves on the test documents."""
    sums = {s.quantity: s for s in loss_sums(evidence)}
    real = evidence.tokens_of("real")
    n_impossible = int(np.count_nonzero(real & ~np.isfinite(evidence.records.tokens["log_prob_nats"])))
    n_real = int(real.sum())
    label = f"{LOSS.label}, possible tokens only" if n_impossible else ""
    estimates = [sums[LOSS].estimate(label=label)]
    if n_impossible:
        estimates.append(IMPOSSIBLE.number(n_impossible / n_real, n=n_real, independent_unit="token"))
    estimates += [sums[q].estimate() for q in (BITS, BITS_OF_TOKENS, OWN_SURPRISAL) if q in sums]
    estimates.append(sums[EXCESS].estimate(method="test half"))
    gain = sums[EXCESS].interval()
    proven = (
        f"A reference that has read the training half saves {gain.value:.3f} nats a token on the held-out half "
        f"({gain.low:.3f} to {gain.high:.3f}): at least about that much is lost here, by the model's own error or because the prefix does "
        "not name the source"
        if gain.low > 0
        else "The reference saves nothing that can be told from zero on the held-out half, which says nothing about how near the model "
        "is to the text's own entropy"
    )
    return Finding(
        name="loss",
        question=QUESTION,
        sentence=f"{_sentence(sums[LOSS].interval(), sums[BITS].interval(), n_impossible, n_real)} {proven}.",
        status="neutral",
        estimates=tuple(estimates),
        licence=(
            "Unit: the document. Fixed n, 95% intervals over documents. The difference between two cross-entropies bounds the excess "
            "loss from below only; the entropy of real text is unknown, so there is no bound from above."
        ),
        notes=_notes(evidence, n_impossible, changed=BITS_OF_TOKENS in sums),
    )


def _notes(evidence: Evidence, n_impossible: int, *, changed: bool) -> tuple[str, ...]:
    """`changed`: the tokenizer changes the text."""
    prefix, cut = evidence.plan.prefix, evidence.plan.cut
    seen = "given all before them" if cut == prefix else f"given the {prefix} before the cut and all after it"
    names = ("own law", *evidence.reference_names)
    weights = ", ".join(f"{w:.2f} {name}" for w, name in zip(evidence.reference_weights, names, strict=True))
    notes = [
        f"Scored: tokens {cut + 1} to {cut + evidence.length} of each document, {seen}. No window moves; nothing is scored twice.",
        f"Reference weights, fitted on the training half: {weights}.",
    ]
    if n_impossible:
        tokens = counted(n_impossible, "real token has", "real tokens have")
        notes.append(f"{tokens} no mass under the law at all: left out of the mean, and counted here.")
    if changed:
        real = evidence.tokens_of("real")
        n_text, n_tokens = (b[real].sum() for b in (evidence.bytes_of_text, evidence.records.tokens["n_bytes"]))
        notes.append(
            f"The tokenizer changes the text: bits a byte are over the {n_text:,.0f} bytes that the text has there, not the "
            f"{n_tokens:,.0f} that its tokens spell."
        )
    return tuple(notes)


def _sentence(nats: Interval, bits: Interval, n_impossible: int, n_tokens: int) -> str:
    """The loss in words; infinite where a real token has no mass."""
    if n_impossible:
        return (
            f"Its loss is infinite: {n_impossible:,} of {n_tokens:,} real tokens ({n_impossible / n_tokens:.1%}) have no mass under its law; "
            f"on the others it loses {nats.value:.3f} nats a token."
        )
    return f"It loses {nats.value:.3f} nats a token ({bits.value:.3f} bits a byte) on real text."


ENTRY = Question("loss", QUESTION, loss, QUANTITIES, loss_sums, real_sentence=True, real_notes=True, place=10)
