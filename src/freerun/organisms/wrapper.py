"""What every organism is: a predictor around another one, which it hands almost everything on to.

Ids beyond the inner vocabulary (an organism's own extra token) stand for no bytes and never reach the inner predictor.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids, Predictor, SharesTokens
from freerun.predictors.law import Law
from freerun.predictors.rowwise import Inside, Rowwise
from freerun.predictors.stepwise import StateT, Stepwise, as_stepwise

PredictorT = TypeVar("PredictorT", bound=Predictor)


class Organism(SharesTokens, Rowwise[StateT]):
    """Base of predictors around an `inner` one: its tokens, its context rule, its ends."""

    inner: Stepwise[Any]
    header_tokens: int = 0
    """Tokens that stand before the body of each of its documents."""
    _calibrated_on: tuple[str, ...] = ()

    def __init__(self, inner: Predictor, *, name: str, kind: str) -> None:
        """`kind` says what the organism does to the law, with every number in it: it goes into the fingerprint.

        Raises:
            UsageError: a backend that gives no whole law token by token.
        """
        word = kind.split("(")[0]
        self.inner = as_stepwise(inner, f"an organism ({word})", whole_law=True)
        if isinstance(inner, Organism) and inner.header_tokens:
            raise UsageError(
                f"{inner.identity.name} writes documents that begin with a header, so no organism ({word}) can stand on it: "
                "name it last"
            )
        self._share_tokens(inner)
        self.context = inner.context
        self.capabilities = replace(inner.capabilities, embed=False)
        own = inner.identity
        self.identity = replace(
            own,
            name=name,
            fingerprint=f"{own.fingerprint}+{kind}",
            nature=replace(own.nature, organisms=(*own.nature.organisms, word)),
        )

    @property
    def inside(self) -> tuple[Predictor, ...]:
        return (self.inner,)

    @property
    def calibrated_on(self) -> tuple[str, ...]:
        """Names of the documents that this organism and those inside it were calibrated on: measure on others."""
        inner = self.inner.calibrated_on if isinstance(self.inner, Organism) else ()
        return (*inner, *self._calibrated_on)

    def with_lead(self, lead: tuple[int, ...]) -> Self:
        """The organism over the inner predictor with another lead."""
        other = copy.copy(self)
        other.inner = self.inner.with_lead(lead)
        other.context = other.inner.context
        return other


class Reshaped(Organism[Inside]):
    """An organism whose state is the inner predictor's: only its law is another (`_reshape`)."""

    def _reshape(self, law: Law) -> Law:
        return law

    def start(self, prefixes: Sequence[Ids]) -> Inside:
        return Inside.start(self.inner, prefixes)

    def law(self, state: Inside) -> Law:
        return self._reshape(state.law())

    def advance(self, state: Inside, ids: Int[np.ndarray, " rows"]) -> Inside:
        return state.advance(ids)


def from_nothing(predictor: PredictorT) -> PredictorT:
    """The predictor with a law before the first token: its first end id is put first where nothing is.

    Raises:
        UsageError: it needs a token before the first, and has no end id to put there.
    """
    if predictor.has_first_law:
        return predictor
    if not predictor.end_ids:
        raise UsageError(f"{predictor.identity.name} has no law before the first token and no end id to put first")
    return predictor.with_lead(predictor.end_ids[:1])


def check_shares_vocabulary(inner: Predictor, other: Predictor, *, role: str, some: bool = False) -> None:
    """Another predictor must mean the same bytes by the same ids (`some`: it may have fewer ids).

    Raises:
        UsageError: it has another number of ids, or spells one of them otherwise.
    """
    why = ""
    if other.n_tokens > inner.n_tokens or (other.n_tokens < inner.n_tokens and not some):
        why = f"{other.n_tokens} ids against {inner.n_tokens}"
    else:
        differs = [i for i in range(other.n_tokens) if other.token_bytes(i) != inner.token_bytes(i)]
        if differs:
            i = differs[0]
            why = f"id {i} is {other.token_bytes(i)!r} against {inner.token_bytes(i)!r}"
    if why:
        raise UsageError(
            f"the {role} {other.identity.name} does not share the vocabulary of {inner.identity.name} ({why}): "
            f"choose a {role} with the same tokens"
        )
