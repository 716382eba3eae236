"""How well does the model predict real text?"""

from __future__ import annotations

import math

import numpy as np

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.results.finding import Estimate, Finding
from freerun.stats.intervals import Interval, cluster_ratio

BITS_OF_TOKENS = "loss_bits_per_byte_of_tokens"


def loss(evidence: Evidence) -> Finding:
    """Log loss of the real continuations, and what the reference saves on the test documents."""
    records, tokens = evidence.records, evidence.records.tokens
    real = evidence.tokens_of("real")
    log_prob = tokens["log_prob_nats"]
    n_impossible = int(np.count_nonzero(real & ~np.isfinite(log_prob)))
    possible = real & np.isfinite(log_prob)
    groups = evidence.units[evidence.token_sequence]
    ones = np.ones(int(possible.sum()))
    nats = cluster_ratio(-log_prob[possible], ones, groups[possible])
    said_bits = -log_prob[possible] / math.log(2)
    token_bytes = tokens["n_bytes"].astype(float)
    text_bytes = evidence.bytes_of_text
    bits = cluster_ratio(said_bits, text_bytes[possible], groups[possible])
    changed = bool((text_bytes != token_bytes)[possible].any()) and token_bytes[possible].any()
    of_tokens = cluster_ratio(said_bits, token_bytes[possible], groups[possible]) if changed else None

    test = possible & (records.sequences["split"] == "test")[evidence.token_sequence]
    gain_values = evidence.reference_log_prob - log_prob
    usable = test & np.isfinite(gain_values)
    gain = cluster_ratio(gain_values[usable], np.ones(int(usable.sum())), groups[usable])
    free = evidence.tokens_of("free") & np.isfinite(log_prob)
    own = cluster_ratio(-log_prob[free], np.ones(int(free.sum())), groups[free])

    unit = "document"
    prefix = evidence.plan["prefix"]
    cut = evidence.plan.get("cut", prefix)
    seen = "given all before them" if cut == prefix else f"given the {prefix} before the cut and all after it"
    where = f"tokens {cut + 1} to {cut + evidence.length} of each document, {seen}"
    how = "ratio of sums, document-clustered linearised interval (t)"
    parts = ", ".join(
        f"{w:.2f} {n}" for w, n in zip(evidence.reference_weights, ("own law", *evidence.reference_names), strict=True)
    )
    estimates = (
        _of(
            "loss_nats_per_token",
            "Loss on real text" + (", possible tokens only" if n_impossible else ""),
            nats,
            "nats/token",
            unit,
            how,
        ),
        *_impossible(n_impossible, int(real.sum())),
        _of("loss_bits_per_byte", "the same in bits", bits, "bits/byte", unit, how),
        *(
            []
            if of_tokens is None
            else [
                _of(BITS_OF_TOKENS, "the same over the bytes that its tokens spell", of_tokens, "bits/byte", unit, how)
            ]
        ),
        _of("own_surprisal_nats_per_token", "Surprisal of its own text", own, "nats/token", unit, how),
        _of(
            "excess_at_least_nats_per_token",
            "Excess loss shown by the reference",
            gain,
            "nats/token",
            unit,
            f"{how}; test half",
        ),
    )
    proven = (
        f"A reference that has read the training half saves {gain.value:.3f} nats a token on the held-out half "
        f"({gain.low:.3f} to {gain.high:.3f}): at least about that much is lost here, by the model's own error or because the prefix does "
        "not name the source"
        if gain.low > 0
        else "The reference saves nothing that can be told from zero on the held-out half, which says nothing about how near the model "
        "is to the text's own entropy"
    )
    notes = [
        f"Scored: {where}. No window moves; nothing is scored twice.",
        f"Reference weights, fitted on the training half: {parts}.",
    ]
    if n_impossible:
        notes.append(
            f"{counted(n_impossible, 'real token has', 'real tokens have')} no mass under the law at all: left out of the mean, and counted here."
        )
    if of_tokens is not None:
        notes.append(
            f"The tokenizer changes the text: bits a byte are over the {text_bytes[real].sum():,.0f} bytes that the text has there, not "
            f"the {token_bytes[real].sum():,.0f} that its tokens spell."
        )
    return Finding(
        name="loss",
        question="How well does it predict real text?",
        sentence=f"{_lost(nats, bits, n_impossible, int(real.sum()))} {proven}.",
        status="neutral",
        estimates=estimates,
        licence=(
            "Unit: the document. Fixed n, 95% intervals over documents. The difference between two cross-entropies bounds the excess "
            "loss from below only; the entropy of real text is unknown, so there is no bound from above."
        ),
        notes=tuple(notes),
    )


def _impossible(n: int, n_tokens: int) -> tuple[Estimate, ...]:
    """The share of real tokens without mass, where there is any."""
    if not n:
        return ()
    return (
        Estimate(
            "impossible_share",
            "Real tokens that it makes impossible",
            n / n_tokens,
            "share",
            n=n_tokens,
            independent_unit="token",
        ),
    )


def _lost(nats: Interval, bits: Interval, n_impossible: int, n_tokens: int) -> str:
    """The loss in words; infinite where a real token has no mass."""
    if n_impossible:
        return (
            f"Its loss is infinite: {n_impossible:,} of {n_tokens:,} real tokens ({n_impossible / n_tokens:.1%}) have no mass under its law; "
            f"on the others it loses {nats.value:.3f} nats a token."
        )
    return f"It loses {nats.value:.3f} nats a token ({bits.value:.3f} bits a byte) on real text."


def _of(name: str, label: str, x: Interval, unit: str, independent: str, method: str) -> Estimate:
    return Estimate(name, label, x.value, unit, x.low, x.high, x.level, x.n, independent, method)
