"""Laws of given sequences kept on disk: what one model says, while another one is in memory.

Logits are kept in 32 bits, in which models make them (bf16 and fp16 fit in them); other laws as log-probabilities in 64. So a law
from the disk says what the law in memory said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import DataError
from freerun.files import cannot
from freerun.predictors.base import Ids
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import host, is_torch
from freerun.predictors.side_by_side import Shelf, Start, Vocabulary, starts_of
from freerun.predictors.stepwise import Stepwise

BYTES_A_LOGIT = 4
"""Of a model's logits; laws that are not logits take twice as many."""


class Spool(Shelf):
    """Laws of one predictor on sequences, from token `start` on, in the file at `path`."""

    def __init__(self, path: Path, like: Vocabulary, sequences: Sequence[Ids], *, start: Start) -> None:
        self.path, self.starts = path, starts_of(start, sequences)
        self.identity, self.n_tokens, self.markers = like.identity, like.n_tokens, like.markers
        lengths = np.maximum(np.array([len(s) for s in sequences], np.int64) - self.starts, 0)
        self._offset = np.concatenate([[0], np.cumsum(lengths)])[:-1] - self.starts
        self._n = int(lengths.sum())
        self._table: Any = None

    def fill(self, predictor: Stepwise[Any], sequences: Sequence[Ids]) -> None:
        """Write the laws.

        Raises:
            DataError: the disk is full, or the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for whole in predictor.laws(sequences, first=int(self.starts.min())):
                part = whole.part(np.flatnonzero(whole.position >= self.starts[whole.row]))
                if not len(part):
                    continue
                table = _table_of(part.law)
                if self._table is None:
                    self._table = np.lib.format.open_memmap(
                        self.path, mode="w+", dtype=table.dtype, shape=(self._n, self.n_tokens)
                    )
                self._table[self._offset[part.row] + part.position] = table
            if self._table is not None:
                self._table.flush()
        except OSError as error:
            raise cannot("write", self.path, error) from error

    def at(self, row: Int[np.ndarray, " n"], position: Int[np.ndarray, " n"]) -> Law:
        if self._table is None:
            raise DataError(f"{self.path} holds no laws")
        return Dense(np.array(self._table[self._offset[row] + position]))

    def remove(self) -> None:
        """Let the file go."""
        self._table = None
        self.path.unlink(missing_ok=True)


def _table_of(law: Law) -> np.ndarray:
    if isinstance(law, Dense) and law.missing is None:
        logits = host(law.logits.float() if is_torch(law.logits) and law.logits.element_size() < 4 else law.logits)
        return np.asarray(logits)
    return law.log_probs()
