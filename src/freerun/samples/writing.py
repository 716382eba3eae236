"""Samples in our own format: JSON lines or Parquet, by the suffix; the file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from freerun.errors import UsageError
from freerun.files import cannot
from freerun.samples.completion import Completion
from freerun.samples.fields import IMPOSSIBLE_NATS

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
COLUMNS = {
    "prompt_ids": "ids",
    "prompt": "string",
    "messages": "string",
    "completion_ids": "ids",
    "completion": "string",
    "pieces": "pieces",
    "drawn": "mask",
    "logprobs": "numbers",
    "trainer_logprobs": "numbers",
    "weight_version": "strings",
    "group": "string",
    "finish_reason": "string",
    "seed": "integer",
    "sampling": "string",
}
"""The fields of a row, and what a table holds in them."""
_ROWS_AT_ONCE = 256


def write_samples(path: str | Path, samples: Iterable[Completion]) -> int:
    """Write samples and return how many they were.

    Raises:
        UsageError: a suffix that is not written.
        DataError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise UsageError(f"cannot write samples to {path}: end its name in {', '.join(SUFFIXES)}")
    with _replaced(path) as partial:
        write = _write_parquet if path.name.endswith(".parquet") else _write_lines
        return write(partial, samples, path.name.endswith(".gz"))


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A neighbour that takes the place of a file when it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o644)
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot("write", path, error) from error


def _write_lines(path: Path, samples: Iterable[Completion], packed: bool) -> int:
    import gzip

    n = 0
    opener: Callable[..., Any] = gzip.open if packed else open
    with opener(path, "wt", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(row_of(sample), ensure_ascii=False, allow_nan=False) + "\n")
            n += 1
    return n


def _write_parquet(path: Path, samples: Iterable[Completion], packed: bool) -> int:
    from freerun.samples.parquet import ParquetWriter

    n = 0
    writer = ParquetWriter(path, COLUMNS)
    try:
        cells = map(_cells, samples)
        while some := list(islice(cells, _ROWS_AT_ONCE)):
            writer.write(some)
            n += len(some)
    finally:
        writer.close()
    return n


def row_of(sample: Completion) -> dict[str, Any]:
    """Return the row of a sample as JSON has it: only what is known, null for NaN, -9999 for minus infinity."""
    fields = {
        "prompt_ids": _listed(sample.prompt_ids),
        "prompt": sample.prompt,
        "messages": _messages(sample),
        "completion_ids": _listed(sample.completion_ids),
        "completion": sample.completion,
        "pieces": None if sample.pieces is None else [list(piece) for piece in sample.pieces],
        "drawn": _listed(sample.drawn),
        "logprobs": _numbers(sample.log_probs_nats),
        "trainer_logprobs": _numbers(sample.trainer_log_probs_nats),
        "weight_version": None if sample.weight_versions is None else list(sample.weight_versions),
        "group": sample.group,
        "finish_reason": sample.finish_reason,
        "seed": sample.seed,
        "sampling": sample.sampling or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _cells(sample: Completion) -> Mapping[str, Any]:
    """The row of a sample as a table has it: objects as strings of JSON."""
    row = row_of(sample)
    for name in ("messages", "sampling"):
        if name in row:
            row[name] = json.dumps(row[name], ensure_ascii=False)
    return row


def _messages(sample: Completion) -> list[dict[str, str]] | None:
    if sample.messages is None:
        return None
    return [{"role": message.role, "content": message.content} for message in sample.messages]


def _listed(array: np.ndarray | None) -> list[Any] | None:
    return None if array is None else array.tolist()


def _numbers(array: np.ndarray | None) -> list[float | None] | None:
    if array is None:
        return None
    return [None if np.isnan(x) else max(x, IMPOSSIBLE_NATS) for x in array.tolist()]
