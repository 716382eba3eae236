"""What is swept."""

from __future__ import annotations

import math
from dataclasses import dataclass

_LABELS = {"prefix": "tokens of the document before the cut", "exemplars": "other documents before the prefix"}


@dataclass(frozen=True)
class Axis:
    """`prefix` or `exemplars`, its values in ascending order, and which of the settings they are."""

    key: str
    values: tuple[int, ...]
    members: tuple[int, ...]

    @property
    def x(self) -> tuple[float, ...]:
        """log₂(1 + value): a slope is per doubling of the context."""
        return tuple(math.log2(1 + v) for v in self.values)

    @property
    def label(self) -> str:
        """What the values are, for people."""
        return _LABELS[self.key]

    def after(self, value: int) -> str:
        """A setting in words."""
        if self.key == "prefix":
            return f"after {value} tokens" if value else "from nothing"
        return f"with {value} exemplar{'' if value == 1 else 's'}"
