"""What a question about sources measured, what came out and how sure that is, for somebody who knows none of the words."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.counted import counted
from freerun.results.source import LatentAnswer
from freerun.results.verdict import Point, three_points

MOST_WORDS = 3


def source_points(model: str, n_tokens: int, latents: Sequence[LatentAnswer]) -> tuple[Point, ...]:
    """Under the answers of all latents."""
    measured = (
        f"{model} read {counted(n_tokens, 'token')} (a token is a word or a part of one). It is told nothing of where "
        "a text comes from, yet its "
        "guesses depend on it. So it is asked: how well would it have foretold this very text, had it been told that "
        "it is from this source, "
        "or from that one? Sources that foretell it better become more probable, word by word. What is still open is counted "
        "in bits: one bit is one yes-or-no question."
    )
    sure = (
        "The answer is what the model believes. It need not be true.",
        *map(_by_wording, latents),
        "How good such answers are on texts whose source is known, `freerun source --evaluate` says.",
    )
    return three_points(measured, " ".join(map(_moved, latents)), " ".join(filter(None, sure)))


def _moved(latent: LatentAnswer) -> str:
    header = latent.header
    said = f"{latent.name.capitalize()}: {header.entropy_bits[-1]:.2f} of {header.entropy_bits[0]:.2f} bits are still open."
    words = ", ".join(f"“{m.text.strip()}”" for m in header.movers[:MOST_WORDS])
    return f"{said} Words that moved the belief most: {words}." if words else said


def _by_wording(latent: LatentAnswer) -> str:
    """How far the answer moves if one wording of the headers alone is believed; nothing where it does not."""
    header = latent.header
    top = int(header.posterior.argmax())
    low, high = (f"{share:.0%}" for share in (header.by_template.low[top], header.by_template.high[top]))
    if low == high:
        return ""
    return f"By any one wording of the question alone, {latent.values[top]} would have between {low} and {high}."
