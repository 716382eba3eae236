"""Columns of the token table as arrays: those that findings read in one pass over the parts, the others when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from freerun.errors import DataError

Read = Callable[[tuple[str, ...]], Iterator[pa.Table]]
KEYS = ("sequence", "position")
TOGETHER = (
    *KEYS,
    "token_id",
    "n_bytes",
    "log_prob_nats",
    "entropy_nats",
    "varentropy_nats2",
    "rank",
    "top_id",
    "top_log_prob_nats",
    "loop_mass",
    "reference_log_probs_nats",
    "without_prefix_log_prob_nats",
)
"""What several findings read."""


class Columns(Mapping[str, np.ndarray]):
    """Arrays by column name, sorted by (sequence, position). Nulls are −inf in log-probabilities, −1 in ids and ranks, else NaN."""

    def __init__(self, names: tuple[str, ...], read: Read, n_rows: int) -> None:
        self._names, self._read, self._n_rows = names, read, n_rows
        self._held: dict[str, np.ndarray] = self._arrays(tuple(n for n in TOGETHER if n in names))
        self._given: set[str] = set()
        self._order = _order(*(self._held[k] for k in KEYS))
        if self._order is not None:
            for name in self._held:
                self._held[name] = self._held[name][self._order]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._held:
            if name not in self._names:
                raise KeyError(name)
            (column,) = self._arrays((name,)).values()
            self._held[name] = column if self._order is None else column[self._order]
        return self._held[name]

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self._held[name] = value
        self._given.add(name)

    def forget(self, *names: str) -> None:
        """Let columns go that nothing is known to need soon; asked for again, they are read again."""
        for name in names:
            if name in self._names and name not in self._given:
                self._held.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._held or name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._names, *self._held)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _arrays(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Columns of all parts, each written into its place: hardly more than the result is ever in memory."""
        whole: dict[str, np.ndarray] = {}
        at = 0
        for part in self._read(names):
            if at + part.num_rows > self._n_rows:
                at += part.num_rows
                break
            for name in names:
                filled = -np.inf if name in ("log_prob_nats", "reference_log_probs_nats") else np.nan
                values = numbers(part[name].combine_chunks(), filled)
                if name not in whole:
                    whole[name] = np.empty((self._n_rows, *values.shape[1:]), values.dtype)
                whole[name][at : at + len(values)] = values
            at += part.num_rows
        if at != self._n_rows:
            raise DataError(
                f"the sequences have {self._n_rows:,} tokens by their own count, and another number is recorded: a part is damaged"
            )
        pa.default_memory_pool().release_unused()
        return whole


def _order(sequence: np.ndarray, position: np.ndarray) -> np.ndarray | None:
    """How to sort by (sequence, position); None where rows are in that order."""
    after = np.diff(sequence)
    if ((after > 0) | ((after == 0) & (np.diff(position) > 0))).all():
        return None
    return np.lexsort((position, sequence))


def numbers(chunk: pa.Array, filled: float) -> np.ndarray:
    """Numbers, or rows of them, with `filled` for nulls (−1 in whole numbers)."""
    if pa.types.is_fixed_size_list(chunk.type):
        flat = chunk.flatten()
        flat = flat.fill_null(filled) if flat.null_count else flat
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, chunk.type.list_size)
    if chunk.null_count:
        chunk = chunk.fill_null(-1 if pa.types.is_integer(chunk.type) else filled)
    return np.asarray(chunk.to_numpy(zero_copy_only=False))
