"""Which request a row of logits belongs to, and which of its tokens comes next: vLLM tells its two runners in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int

from freerun.predictors.vllm_engine.ledger import Ledger
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.watching import Place


class BatchUpdate(Protocol):
    """vLLM's: changes are to be read in the order removed, added, moved."""

    @property
    def removed(self) -> Sequence[int]: ...
    @property
    def added(self) -> Sequence[tuple[int, Any, Any, list[int]]]: ...
    @property
    def moved(self) -> Sequence[tuple[int, int, Any]]: ...


class BatchRows:
    """The legacy runner: row i is the request at index i of the batch, and its output a live list of what it has written."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._at: dict[int, tuple[Order, list[int]]] = {}

    def update(self, change: BatchUpdate | None) -> None:
        if change is None:
            return
        for index in change.removed:
            self._at.pop(index, None)
        for index, params, _, output in change.added:
            order = Order.of_extra(params.extra_args)
            if order is None:
                self._at.pop(index, None)
                continue
            self._ledger.enter(order)
            self._at[index] = (order, output)
        for first, second, direction in change.moved:
            moving, other = self._at.pop(first, None), self._at.pop(second, None)
            if moving is not None:
                self._at[second] = moving
            if other is not None and direction.name == "SWAP":
                self._at[first] = other

    def places(self, n_rows: int) -> list[Place | None]:
        """For each row the request and the place of its next token; None for a row of somebody else's."""
        out: list[Place | None] = [None] * n_rows
        for index, (order, output) in self._at.items():
            if index < n_rows:
                out[index] = (order.serial, order.n_prompt + len(output))
        return out


class SlotRows:
    """Model Runner V2: a request has a slot for as long as it runs; rows come in another order at every step."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._at: dict[int, Order] = {}

    def add(self, slot: int, extra: Any) -> bool:
        """A request has been given a slot; whether it is one of ours."""
        order = Order.of_extra(extra)
        if order is None:
            self._at.pop(slot, None)
            return False
        self._ledger.enter(order)
        self._at[slot] = order
        return True

    def order_at(self, slot: int) -> Order | None:
        return self._at.get(slot)

    def places(
        self,
        slots: Int[np.ndarray, " rows"],
        positions: Int[np.ndarray, " rows"],
        n_known: Int[np.ndarray, " slots"],
    ) -> list[Place | None]:
        """For each row the request and the place of its next token.

        `positions`: of the token that each row was made from. `n_known`: tokens of each slot's request that were known when it was
        (re)started: a row before the last of them belongs to a prompt that is read in part, and its token is thrown away.
        """
        out: list[Place | None] = []
        for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
            order = self._at.get(slot)
            unread = order is None or position + 1 < n_known[slot]
            out.append(None if unread or order is None else (order.serial, position + 1))
        return out


def settle_rows(logits: Any, places: Sequence[Place | None], ledger: Ledger) -> Any:
    """Observe every row that is ours, and leave nothing possible in it but its token.

    What comes after (temperature, top-k, top-p, whatever draws) can then only return that token.
    """
    rows = [i for i, place in enumerate(places) if ledger.is_open(place)]
    if not rows:
        return logits
    mine = [place for i in rows if (place := places[i]) is not None]
    whole = len(rows) == len(logits)
    tokens = ledger.observe(logits if whole else logits[rows], mine)
    if whole:
        logits[:] = -np.inf
    else:
        logits[rows] = -np.inf
    logits[rows, tokens.tolist()] = 0.0
    return logits
