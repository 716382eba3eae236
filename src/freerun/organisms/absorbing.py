"""One extra token with mass ε that, once taken, never lets go (absorbing), or hands over (payload).

The example is R. Greenblatt's (*Two problems with 'Simulators' as a frame*, AI Alignment Forum 2023). On data without the extra
token the loss rises by exactly −ln(1 − ε) a token, and P(triggered by T) = 1 − (1 − ε)^T: for ε = 0.01, 0.01005 nats a token
(the essay prints 0.101, ten times too much) and 0.99996 at T = 1000.
"""

from __future__ import annotations

import math
from typing import Any

from freerun.organisms.constant import ONE_PAYLOAD, PAYLOADS, Recital, fitted, payload_of
from freerun.organisms.entry import OrganismEntry, wrapping
from freerun.organisms.switched import Switched
from freerun.predictors.base import Ids, Predictor, last_ids
from freerun.predictors.entries import check_fraction, fraction
from freerun.predictors.law import Law
from freerun.predictors.stepwise import Stepwise


class Triggered(Switched):
    """At every token, mass `epsilon` on one id more than `inner` has; after it, `payload` (None: that id for ever).

    The notes are the last tokens before the trigger, as many as an `Echo` says again.
    """

    def __init__(self, inner: Predictor, *, epsilon: float, payload: Predictor | None = None, name: str) -> None:
        check_fraction(epsilon=epsilon)
        n_tokens, kind, memory = inner.n_tokens + 1, f"absorbing(epsilon={epsilon!r})", 0
        self._absorbed = Recital([inner.n_tokens], like=inner, n_tokens=n_tokens, name="absorbed")
        self.payload: Stepwise[Any] = self._absorbed
        if payload is not None:
            kind = f"payload(epsilon={epsilon!r},{payload.identity.fingerprint})"
            self.payload, memory = fitted(payload, inner, n_tokens=n_tokens)
        super().__init__(inner, name=name, kind=kind)
        self.epsilon, self.trigger_id, self.n_tokens, self._memory = epsilon, inner.n_tokens, n_tokens, memory

    @property
    def routes(self) -> tuple[Stepwise[Any], ...]:
        return self.inner, self.payload, self._absorbed

    def triggered_by(self, n_tokens: int) -> float:
        """P(taken over within n tokens) of generation."""
        return -math.expm1(n_tokens * math.log1p(-self.epsilon))

    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        if route:  # a payload that does not know the trigger has no mass on it, and never reads it
            return (2 if token_id >= self.payload.n_tokens else route), ()
        if token_id == self.trigger_id:
            return 1, notes
        return 0, (*notes, token_id)[-self._memory :] if self._memory else ()

    def _first_read(self, route: int, notes: Any) -> Ids:
        return last_ids(notes or (self.trigger_id,), self._memory)

    def _law_of(self, route: int, law: Law) -> Law:
        if route == 0:
            return law.with_atom(self.epsilon)
        return law if law.n_tokens == self.n_tokens else law.with_atom(0.0)


ABSORBING = OrganismEntry(
    "absorbing",
    "one token more, with mass epsilon; once taken, it is said for ever",
    wrapping(Triggered),
    (fraction("epsilon", 0.01, "mass of the token"),),
)
PAYLOAD = OrganismEntry(
    "payload",
    "the same trigger, then another predictor from nothing",
    lambda made, v: Triggered(made.inner, epsilon=v["epsilon"], payload=payload_of(made, v), name=made.name),
    (fraction("epsilon", 0.01, "mass of the trigger"), *PAYLOADS),
    alternatives=ONE_PAYLOAD,
)
