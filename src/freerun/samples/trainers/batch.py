"""What the trainers have in common: rectangles of padded tokens with masks, cut back into samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.errors import DataError
from freerun.samples.completion import Completion, Excluded
from freerun.samples.fields import Draft, Unusable
from freerun.samples.writing import write_samples


@dataclass(frozen=True)
class SampleBatch:
    """The samples of a trainer's batch."""

    samples: tuple[Completion, ...]
    excluded: tuple[Excluded, ...]
    """Rows that cannot be used: nothing drawn in them, or log-probabilities that cannot be ones."""
    n_zero_log_probs: int = 0
    """Drawn tokens whose log-probability was exactly 0.0, which stands for a missing one there and is written as missing."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that was done or is not there."""

    def write(self, path: str | Path) -> SampleBatch:
        """Write the samples in our own format, JSON lines or Parquet by the suffix, and return the batch itself.

        Raises:
            UsageError: another suffix.
            DataError: no sample is left to write, or the folder cannot be written to.
        """
        if not self.samples:
            why = f" ({self.excluded[0].reason}: {self.excluded[0].detail})" if self.excluded else ""
            raise DataError(f"no sample in this batch can be written to {path}: all rows are left out{why}")
        write_samples(path, self.samples)
        return self


class Tensors:
    """The tensors of a batch by name: of a dictionary, of an object that has them as attributes, or of a DataProto."""

    def __init__(self, batch: Any, trainer: str) -> None:
        self._batch, self._trainer = batch, trainer

    def required(self, name: str, *, like: np.ndarray | None = None) -> np.ndarray:
        """Return rows × columns. Raises DataError where it is missing or of another shape."""
        array = self.optional(name, like=like)
        if array is None:
            raise DataError(f"this batch of {self._trainer} has no {name}; give the batch as the trainer made it")
        return array

    def optional(self, name: str, *, like: np.ndarray | None = None) -> np.ndarray | None:
        """Return rows × columns, None where it is missing; `like` has the shape that it must have.

        Raises:
            DataError: of another shape.
        """
        value = self._value(name)
        if value is None:
            return None
        array = as_array(value)
        if array.ndim != 2 or (like is not None and array.shape != like.shape):
            wanted = f"{like.shape}" if like is not None else "rows × columns"
            raise DataError(f"{name} of this batch of {self._trainer} has the shape {array.shape}, not {wanted}")
        return array

    def is_ragged(self, name: str) -> bool:
        """Whether this one holds rows of their own lengths, without padding."""
        return bool(getattr(self._value(name), "is_nested", False))

    def rows(self, name: str) -> list[np.ndarray] | None:
        """Return the rows of a ragged tensor, None where it is missing. Raises DataError where it is padded."""
        value = self._value(name)
        if value is None:
            return None
        if not self.is_ragged(name):
            raise DataError(
                f"{name} of this batch of {self._trainer} is padded, where others have rows of their own lengths"
            )
        return [as_array(row) for row in value.unbind()]

    def others(self, name: str) -> list[Any] | None:
        """Return something that is not a tensor, one value a row; None where it is missing."""
        value = self._value(name)
        return None if value is None else list(value.tolist() if hasattr(value, "tolist") else value)

    def _value(self, name: str) -> Any:
        if isinstance(self._batch, Mapping) or hasattr(self._batch, "keys"):
            return self._batch[name] if name in self._batch.keys() else None  # noqa: SIM118  TensorDict has keys alone
        return getattr(self._batch, name, None)


def as_array(value: Any) -> np.ndarray:
    """Return a tensor of any library, on any device and of any float type, as an array."""
    plain = value.tolist() if hasattr(value, "detach") else value
    array: np.ndarray = np.asarray(plain)
    return array


def kept(ids: Int[np.ndarray, " n"], mask: np.ndarray) -> Int[np.ndarray, " m"]:
    """Return the ids where the mask is not 0."""
    return np.compress(mask.astype(bool), ids)


def span(mask: Bool[np.ndarray, " n"]) -> int:
    """Return where the last true value ends, 0 where there is none.

    >>> span(np.array([True, False, True, False]))
    3
    """
    return int(np.flatnonzero(mask)[-1]) + 1 if mask.any() else 0


def without_zeros(
    log_probs: Float[np.ndarray, "rows n"] | None, drawn: Bool[np.ndarray, "rows n"]
) -> tuple[Float[np.ndarray, "rows n"] | None, int]:
    """Return log-probabilities with NaN for each exact 0.0 of a drawn token, and how many those were."""
    if log_probs is None:
        return None, 0
    zeros = (log_probs == 0.0) & drawn
    return np.where(zeros, np.nan, log_probs), int(zeros.sum())


def _is_copy(sample: Completion) -> bool:
    """Whether trainer and engine agree to the last bit on every token, which no two computations do."""
    engine, trainer = sample.log_probs_nats, sample.trainer_log_probs_nats
    return engine is not None and trainer is not None and np.array_equal(engine, trainer, equal_nan=True)


def collected(drafts: Sequence[Draft], *, n_zero_log_probs: int = 0, notes: Sequence[str] = ()) -> SampleBatch:
    """Return the batch of some drafts, those apart that cannot be used."""
    samples: list[Completion] = []
    excluded: list[Excluded] = []
    for row, draft in enumerate(drafts):
        try:
            samples.append(draft.completed(row))
        except Unusable as fault:
            excluded.append(Excluded(row, fault.reason, fault.detail))
    said = list(notes)
    if samples and all(map(_is_copy, samples)):
        samples = [replace(sample, trainer_log_probs_nats=None) for sample in samples]
        said.append(
            "the trainer's log-probabilities are those of the engine, copied (verl's bypass mode does that): nothing was computed "
            "again, and they are left out"
        )
    if n_zero_log_probs:
        said.append(
            f"{n_zero_log_probs:,} drawn tokens have a log-probability of exactly 0: missing, or of a token that the engine was "
            "certain of, which cannot be told apart; they are written as missing"
        )
    if excluded:
        said.append(
            f"{len(excluded)} of {counted(len(drafts), 'row')} left out ({excluded[0].reason}: {excluded[0].detail})"
        )
    return SampleBatch(tuple(samples), tuple(excluded), n_zero_log_probs, tuple(said))
