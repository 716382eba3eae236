"""How a model may be read so that every law is that of a fresh pass over its own context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Reading:
    """What may be done with a model and leave its laws what they are."""

    keeps: bool = True
    """What was read is kept (keys and values, recurrent states), and one more token is one more step. Else every law is a pass
    over the whole context."""
    pieces: bool = True
    """A text may be read in pieces. Else in one piece, and token by token from there."""
    positions: bool = True
    """Positions are given with the tokens, not counted by the model. Else its own count is trusted."""
    ragged: bool = True
    """Texts of different lengths are read side by side, the shorter ones padded and masked. Else only like with like."""
    together: bool = True
    """Several texts are read at once. Else one by one."""
    whole: bool = True
    """One pass over a text gives the law before each of its tokens. Else each law takes a pass of its own."""

    def describe(self) -> str:
        """What is given up, in words for people; empty where nothing is."""
        if not self.whole:
            return "the law of every token takes a pass of its own over all that stands before it"
        if not self.keeps:
            alone = "" if self.together else ", one text at a time"
            return f"the whole text is read again for every token{alone}"
        return "" if self.ragged else "texts of different lengths are read one after another"


@dataclass(frozen=True)
class Sizes:
    """How much is done at once."""

    body_tokens: int = 2048
    """Tokens that go through the layers at once while a text is read: enough for the full speed of the matrix products."""
    logits: int = 6 << 20
    """Logits held at once while scoring: 24 MiB in float32, which the CPU's last cache holds."""
    least_rows: int = 64
    """Rows of logits that are observed together at least."""

    @staticmethod
    def on(device_type: str) -> Sizes:
        """For the processor, or for an accelerator, which wants more at once and waits for the host after each piece."""
        return Sizes() if device_type == "cpu" else Sizes(16_384, 1 << 28, 256)


_AGAIN = Reading(keeps=False, pieces=False, positions=False, ragged=False)
LADDER = (
    Reading(),
    Reading(ragged=False),
    Reading(ragged=False, positions=False),
    Reading(ragged=False, pieces=False),
    Reading(ragged=False, pieces=False, positions=False),
    _AGAIN,
    replace(_AGAIN, together=False),
    replace(_AGAIN, together=False, whole=False),
)
"""From the fastest to the slowest; the first that gives the laws of fresh passes is taken."""


@dataclass(frozen=True)
class RopeSwitch:
    """Rotary positions that change with the length of what is read: past `at` tokens all of them are turned otherwise, once, or
    with every further length (`again`). Keys read before a change do not fit those read after it."""

    at: int
    again: bool

    def regime(self, n_tokens: int) -> int:
        """Equal for two lengths if and only if both are read with the same rotations."""
        if n_tokens <= self.at:
            return 0
        return n_tokens if self.again else 1


def regime(switches: tuple[RopeSwitch, ...], n_tokens: int) -> tuple[int, ...]:
    """Which rotations a pass over so many tokens uses.

    >>> once, always = RopeSwitch(4, again=False), RopeSwitch(6, again=True)
    >>> [regime((once, always), n) for n in (4, 5, 6, 7, 8)]
    [(0, 0), (1, 0), (1, 0), (1, 7), (1, 8)]
    """
    return tuple(s.regime(n_tokens) for s in switches)


def read_together(switches: tuple[RopeSwitch, ...], n_tokens: int) -> int:
    """So many of the first tokens of a text of `n_tokens` must go through in one pass, or they would be turned as in a shorter
    text."""
    return max((n_tokens if s.again else s.at + 1 for s in switches if n_tokens > s.at), default=0)


def rope_switches(config: Any) -> tuple[RopeSwitch, ...]:
    """The switches that a config declares: LongRoPE (Ding et al. 2024) and dynamic NTK scaling, as transformers does them."""
    found = set()
    for text in {id(c): c for c in (config, config.get_text_config(decoder=True))}.values():
        longest = getattr(text, "max_position_embeddings", None)
        for rope in _ropes(text):
            kind = str(rope.get("rope_type", rope.get("type", "")))
            original = rope.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", None
            )
            at = original or longest
            if kind in ("longrope", "su") and isinstance(at, int):
                found.add(RopeSwitch(at, again=False))
            elif "dynamic" in kind and isinstance(longest, int):
                found.add(RopeSwitch(longest, again=True))
    return tuple(sorted(found, key=lambda s: (s.at, s.again)))


def _ropes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every set of rope parameters: one for the model, or one for each type of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        value = getattr(config, name, None)
        if not isinstance(value, Mapping):
            continue
        if "rope_type" in value or "type" in value:
            yield value
        yield from (v for v in value.values() if isinstance(v, Mapping))
