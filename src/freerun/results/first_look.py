"""A first look at a run: how many of its documents a result rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FirstLook:
    """A result that rests on `documents` of the `of_documents` that the plan has."""

    documents: int
    of_documents: int

    def describe(self) -> str:
        """For people."""
        return f"a first look at {self.documents} of {self.of_documents} documents"


def with_its_documents(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of an audit in which the plan's documents are those that it rests on: what more of them is counted from."""
    look = result.get("first_look")
    return {**result, "plan": {**result["plan"], "documents": look["documents"]}} if look else dict(result)
