"""What an organism's file says of it beside its class: how it is named, its parameters, and how it is put on a predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from freerun.predictors.base import Predictor
from freerun.predictors.entries import Entry, Values


@dataclass(frozen=True)
class Builder:
    """What an organism is built from: the predictor inside, its full name, and who loads the specs among its parameters."""

    inner: Predictor
    name: str
    load: Callable[[str], Predictor]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class OrganismEntry(Entry):
    """One kind of organism; `build` takes a `Builder` and the values of the parameters."""

    prefix: ClassVar[str] = "+"

    def named(self, kind: str, values: Values) -> list[str]:
        """The values of all parameters of one kind that are given."""
        return [values[p.name] for p in self.parameters if p.kind == kind and values[p.name] is not None]


def wrapping(organism: Callable[..., Predictor]) -> Callable[[Builder, Values], Predictor]:
    """Builds an organism whose parameters are its class's arguments."""

    def build(made: Builder, values: Values) -> Any:
        return organism(made.inner, **values, name=made.name)

    return build
