"""Ids that stand for no text: ends of text, control tokens, and rows of the output layer without a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN_DEFINITION = "its own definition"
"""What declares the ends of a predictor that no file describes (a world, a byte n-gram, an organism's own id)."""


@dataclass(frozen=True)
class EndToken:
    """An id that ends a text, and what says that it does."""

    token_id: int
    spelling: str
    """As the tokenizer spells it; empty where it has no such token."""
    declared_by: tuple[str, ...]
    """For example `config`, `tokenizer`, `GGUF eot_token_id`, `its spelling`, `--end-ids`."""

    def to_json(self) -> dict[str, Any]:
        return {"id": self.token_id, "token": self.spelling, "declared_by": list(self.declared_by)}


@dataclass(frozen=True)
class Markers:
    """What a vocabulary holds beside text."""

    ends: tuple[EndToken, ...] = ()
    """The one that ends documents first."""
    ends_without_row: tuple[EndToken, ...] = ()
    """Declared, but the output layer has no such row: the model can never write them."""
    control: Mapping[int, str] = field(default_factory=dict)
    """Spelling of every special token, ends included."""
    without_token: tuple[tuple[int, int], ...] = ()
    """First and last id of every run of rows that the tokenizer has no token for."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        return tuple(end.token_id for end in self.ends)

    def spelling(self, token_id: int) -> str | None:
        """How a marker is shown; None for an id that stands for text.

        >>> Markers(control={5: "<|im_start|>"}, without_token=((8, 9),)).spelling(8)
        'id 8, no token'
        """
        if (token := self.control.get(token_id)) is not None:
            return token
        if any(first <= token_id <= last for first, last in self.without_token):
            return f"id {token_id}, no token"
        return None


NO_MARKERS = Markers()
"""Every id stands for text, or it is not known which do not."""


def markers_json(markers: Markers, end_ids: tuple[int, ...]) -> dict[str, Any]:
    """Markers as a manifest holds them; every id of `end_ids` has an entry, whoever declared it."""
    declared = {end.token_id: end for end in markers.ends}
    ends = [declared.get(i) or EndToken(i, markers.control.get(i, ""), (OWN_DEFINITION,)) for i in end_ids]
    return {
        "ends": [end.to_json() for end in ends],
        "ends_without_row": [end.to_json() for end in markers.ends_without_row],
        "control": {str(i): token for i, token in sorted(markers.control.items())},
        "without_token": [list(run) for run in markers.without_token],
    }
