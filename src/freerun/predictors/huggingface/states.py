"""States of a transformers model: blocks of rows that are read side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from freerun.predictors.base import Ids
from freerun.predictors.huggingface.caches import Kept

Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class Block:
    """Rows that are read side by side. `ids[row]` are document tokens only; `kept` has read what the context rule lets be seen
    (None: nothing is kept), `padding[row]` of its `held` columns are masked, at the left. `logits` of the next token, [rows,
    vocabulary], and the hidden state they were made from."""

    ids: list[Ids]
    kept: Kept | None
    held: int
    padding: Rows
    logits: torch.Tensor
    hidden: torch.Tensor | None = None

    @property
    def stale(self) -> bool:
        """Whether its cache has gone on with another state."""
        return self.kept is not None and self.kept.read != self.held

    def take(self, rows: Rows) -> Block:
        """Some of its rows, with a cache of their own."""
        index = torch.as_tensor(np.asarray(rows, np.int64), device=self.logits.device)
        return Block(
            [self.ids[int(r)] for r in rows],
            None if self.kept is None else self.kept.rows(index),
            self.held,
            self.padding[rows],
            self.logits[index],
            None if self.hidden is None else self.hidden[index],
        )


@dataclass(frozen=True)
class HFState:
    """Blocks, and which rows of the state are theirs: row i of block b is row `rows[b][i]`."""

    blocks: tuple[Block, ...]
    rows: tuple[Rows, ...]

    @property
    def ids(self) -> list[Ids]:
        """Document tokens so far, of every row."""
        out: list[Any] = [None] * self.n_rows
        for block, rows in zip(self.blocks, self.rows, strict=True):
            for x, r in zip(block.ids, rows, strict=True):
                out[int(r)] = x
        return out

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.rows))

    def in_order(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """A tensor a block, rows first, as one in the order of the state's rows."""
        order = np.concatenate(self.rows)
        together = parts[0] if len(parts) == 1 else torch.cat(list(parts))
        if np.array_equal(order, np.arange(len(order))):
            return together
        return together[torch.as_tensor(np.argsort(order), device=together.device)]

    @staticmethod
    def of(parts: Sequence[tuple[HFState, Rows]]) -> HFState:
        """A state of states: row i of a part is row `rows[i]`."""
        return HFState(
            tuple(block for part, _ in parts for block in part.blocks),
            tuple(rows[inner] for part, rows in parts for inner in part.rows),
        )


def whole(block: Block) -> HFState:
    """A block by itself as a state."""
    return HFState((block,), (np.arange(len(block.ids)),))


def host(hidden: torch.Tensor) -> Float[np.ndarray, "rows width"]:
    """Hidden states in float32 where NumPy can read them."""
    return np.asarray(hidden.float().cpu().numpy())
