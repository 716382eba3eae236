"""The source text's example: one extra token with mass ε that, once taken, never lets go (absorbing), or hands over (payload).

On data without the extra token the loss rises by exactly −ln(1 − ε) a token, and P(triggered by T) = 1 − (1 − ε)^T. For ε = 0.01
that is 0.01005 nats a token and 0.99996 at T = 1000; the source text prints 0.101 for the first, ten times too much.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.constant import Echo, Recital, last_ids
from freerun.organisms.switched import Switched
from freerun.organisms.wrapper import check_shares_vocabulary, from_nothing
from freerun.predictors.base import Predictor
from freerun.predictors.law import Law

Ids = Int[np.ndarray, " tokens"]


class Triggered(Switched):
    """At every token, mass `epsilon` on one id more than `inner` has; after it, `payload` (None: that id for ever).

    The notes are the last tokens before the trigger, as many as an `Echo` says again.
    """

    def __init__(
        self, inner: Predictor[Any], *, epsilon: float, payload: Predictor[Any] | None = None, name: str
    ) -> None:
        if not 0 < epsilon < 1:
            raise UsageError(f"epsilon must lie strictly between 0 and 1, not {epsilon}")
        self.absorbing = payload is None
        kind = f"absorbing(epsilon={epsilon!r})"
        if payload is not None:
            if not isinstance(payload, Echo):
                check_shares_vocabulary(inner, payload, role="payload")
            kind = f"payload(epsilon={epsilon!r},{payload.identity.fingerprint})"
        super().__init__(inner, name=name, kind=kind)
        self.epsilon = epsilon
        self.trigger_id = inner.n_tokens
        self.n_tokens = inner.n_tokens + 1
        self._absorbed = Recital([self.trigger_id], like=inner, n_tokens=self.n_tokens, name="absorbed")
        if payload is None:
            payload = self._absorbed
        elif isinstance(payload, Echo):
            payload = Echo(payload.memory, like=inner, n_tokens=self.n_tokens)
        self.payload = from_nothing(payload)
        self._memory = payload.memory if isinstance(payload, Echo) else 0

    @property
    def routes(self) -> tuple[Predictor[Any], ...]:
        return self.inner, self.payload, self._absorbed

    @property
    def extra_loss_nats(self) -> float:
        """Exact rise of the loss on data, nats a token."""
        return -math.log1p(-self.epsilon)

    def triggered_by(self, n_tokens: int) -> float:
        """P(taken over within n tokens) of generation."""
        return -math.expm1(n_tokens * math.log1p(-self.epsilon))

    def _begin(self) -> Any:
        return ()

    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        if route:  # a payload that does not know the trigger has no mass on it, and never reads it
            return (2 if token_id >= self.payload.n_tokens else route), ()
        if token_id == self.trigger_id:
            return 1, notes
        return 0, (*notes, token_id)[-self._memory :] if self._memory else ()

    def _first_read(self, route: int, notes: Any) -> Ids:
        return last_ids(notes, self._memory, nothing=self.trigger_id) if self._memory else np.zeros(0, np.int64)

    def _law_of(self, route: int, law: Law) -> Law:
        if route == 0:
            return law.with_atom(self.epsilon)
        return law if law.n_tokens == self.n_tokens else law.with_atom(0.0)
