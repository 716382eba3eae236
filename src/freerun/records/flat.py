"""Flat tables out of a run: columns of plain values as one Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from freerun.records.store import write_atomically


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], *, notes: Mapping[str, str]) -> None:
    """Write columns of strings and numbers (None: null) as Parquet; `notes` stand in the file's metadata.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(dict(notes)), sink, compression="zstd")
    write_atomically(path, sink.getvalue().to_pybytes())
