"""Tables as the bytes of a Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from freerun.files import write_atomically

BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError)
"""What damaged Parquet raises."""


def encoded(table: pa.Table) -> bytes:
    """The file of a table: compressed, each page with a checksum of its own."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def metadata_of(path: Path) -> dict[str, str]:
    """What a file says of itself. Raises one of `BROKEN` where it is damaged or cannot be read."""
    held = pq.read_schema(path).metadata or {}
    return {k.decode(): v.decode() for k, v in held.items() if k != b"ARROW:schema"}


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], *, notes: Mapping[str, str]) -> None:
    """Write columns of strings and numbers (None: null) as Parquet; `notes` stand in the file's metadata.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    write_atomically(path, encoded(table.replace_schema_metadata(dict(notes))))
