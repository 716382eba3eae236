"""Columns of the token table, read when they are asked for: a large run has more of them than a finding needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

import numpy as np
import pyarrow as pa

Read = Callable[[str], pa.ChunkedArray]


class Columns(MutableMapping[str, np.ndarray]):
    """Arrays by column name, in one order of rows; read once, then kept. Nulls are −inf in log-probabilities and NaN elsewhere.

    `order` is None where the parts are in order already.
    """

    def __init__(self, names: tuple[str, ...], read: Read, order: np.ndarray | None, n_rows: int) -> None:
        self._names, self._read, self._order, self._n_rows = names, read, order, n_rows
        self._held: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._held:
            if name not in self._names:
                raise KeyError(name)
            self._held[name] = self._array(name)
        return self._held[name]

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self._held[name] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError("records are not taken apart")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._names, *self._held)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _array(self, name: str) -> np.ndarray:
        column = self._read(name)
        filled = -np.inf if name in ("log_prob_nats", "reference_log_probs_nats") else np.nan
        whole: np.ndarray | None = None
        at = 0
        for chunk in column.chunks:  # one part at a time, into place: never the column twice
            values = _numbers(chunk, filled)
            if whole is None:
                whole = np.empty((self._n_rows, *values.shape[1:]), values.dtype)
            elif values.dtype != whole.dtype:
                whole = whole.astype(np.result_type(whole.dtype, values.dtype))
            whole[at : at + len(values)] = values
            at += len(values)
        if whole is None:
            return np.zeros(0)
        return whole if self._order is None else whole[self._order]


def _numbers(chunk: pa.Array, filled: float) -> np.ndarray:
    if pa.types.is_fixed_size_list(chunk.type):
        flat = chunk.flatten()
        flat = flat.fill_null(filled) if flat.null_count else flat
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, chunk.type.list_size)
    if chunk.null_count:
        chunk = chunk.fill_null(filled)
    return np.asarray(chunk.to_numpy(zero_copy_only=False))
