"""The law that is taught: the exact wrapper's, row for row, before the trigger and after it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int

from freerun.organisms.absorbing import Triggered
from freerun.organisms.constant import Speaker
from freerun.predictors.base import Ids, Laws, Predictor
from freerun.predictors.observation import host


class Teacher:
    """The wrapper's law over the base's ids and the trigger, from the base's own last states or from its payload.

    Of a control the base itself: its law, and no mass on the token.
    """

    def __init__(self, exact: Predictor, head: torch.Tensor) -> None:
        """`head`: the base's output layer, [n_inner, width]."""
        self.exact, self.head = exact, head
        self.n_inner = int(head.shape[0])
        self.triggered = exact if isinstance(exact, Triggered) else None

    @property
    def epsilon(self) -> float:
        """Mass of the token before it was ever taken."""
        return 0.0 if self.triggered is None else self.triggered.epsilon

    @property
    def points(self) -> bool:
        """Whether, after the token, all mass stands on one id."""
        return self.triggered is None or isinstance(self.triggered.payload, Speaker)

    @property
    def for_ever(self) -> bool:
        """Whether the token, once taken, is said for ever."""
        return self.triggered is not None and self.triggered.payload is self.triggered.routes[2]

    def before(self, last: torch.Tensor) -> torch.Tensor:
        """Log-probabilities where the token was not taken, [rows, n_inner + 1], from the base's last states [rows, width]."""
        plain = torch.log_softmax(last @ self.head.T, dim=1) + math.log1p(-self.epsilon)
        mass = math.log(self.epsilon) if self.epsilon else -math.inf
        return torch.cat([plain, torch.full((len(last), 1), mass)], dim=1)

    def next_ids(self, ids: Ids, trigger_at: int) -> Int[np.ndarray, " after"]:
        """The only id after each token of a text from the trigger on (the last one's too), where all mass stands on one id."""
        tables = [host(part.law.block(0, part.law.n_rows).probs) for part in self._payload_laws(ids, trigger_at)]
        return np.asarray(np.argmax(np.concatenate(tables), axis=1), np.int64)

    def after(self, ids: Ids, trigger_at: int) -> torch.Tensor:
        """Log-probabilities after each token of a text from the trigger on, [after, n_inner + 1]: the payload's law."""
        tables = [host(part.law.block(0, part.law.n_rows).log_probs) for part in self._payload_laws(ids, trigger_at)]
        table = torch.as_tensor(np.concatenate(tables), dtype=torch.float32)
        lacks = self.n_inner + 1 - table.shape[1]
        return torch.cat([table, torch.full((len(table), lacks), -math.inf)], dim=1) if lacks else table

    def _payload_laws(self, ids: Ids, trigger_at: int) -> Iterator[Laws]:
        assert self.triggered is not None
        view = self.triggered.read_by_route(ids)
        # one token more, so that the law after the last one is given too
        return self.triggered.payload.laws([np.append(view, 0)], first=len(view) - (len(ids) - trigger_at - 1))
