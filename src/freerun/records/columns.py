"""Columns of the token table, read when they are asked for: a large run has more of them than a finding needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

import numpy as np
import pyarrow as pa

Read = Callable[[tuple[str, ...]], Iterator[pa.Table]]
TOGETHER = (
    "token_id",
    "n_bytes",
    "log_prob_nats",
    "entropy_nats",
    "varentropy_nats2",
    "rank",
    "top_id",
    "top_log_prob_nats",
    "cdf_below",
    "log_power_sum",
    "loop_mass",
    "reference_log_probs_nats",
    "without_prefix_log_prob_nats",
)
"""What findings read: taken from each part in one go when the first of them is asked for."""


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
            self._fill(
                tuple(n for n in TOGETHER if n in self._names and n not in self._held) if name in TOGETHER else (name,)
            )
        return self._held[name]

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self._held[name] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError("records are not taken apart")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._names, *self._held)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _fill(self, names: tuple[str, ...]) -> None:
        """Read columns part by part, each into its place: never a column twice in memory."""
        whole: dict[str, np.ndarray] = {}
        at = 0
        for part in self._read(names):
            for name in names:
                filled = -np.inf if name in ("log_prob_nats", "reference_log_probs_nats") else np.nan
                values = _numbers(part[name].combine_chunks(), filled)
                held = whole.get(name)
                if held is None:
                    held = whole[name] = np.empty((self._n_rows, *values.shape[1:]), values.dtype)
                elif np.result_type(held.dtype, values.dtype) != held.dtype:
                    held = whole[name] = held.astype(np.result_type(held.dtype, values.dtype))
                held[at : at + len(values)] = values
            at += part.num_rows
        for name in names:
            column = whole.get(name, np.zeros(0))
            self._held[name] = column if self._order is None else column[self._order]


def _numbers(chunk: pa.Array, filled: float) -> np.ndarray:
    if pa.types.is_fixed_size_list(chunk.type):
        flat = chunk.flatten()
        flat = flat.fill_null(filled) if flat.null_count else flat
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, chunk.type.list_size)
    if chunk.null_count:
        chunk = chunk.fill_null(filled)
    return np.asarray(chunk.to_numpy(zero_copy_only=False))
