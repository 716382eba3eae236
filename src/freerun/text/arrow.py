"""Parquet and Arrow: tables read a few rows at a time, columns that can hold a text, a name or a scalar alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from freerun.errors import DataError, first_line
from freerun.text.packing import Bound
from freerun.text.readers import check_columns, numbered
from freerun.text.reading import PlacedRow, Reading, columns_of

BATCH_ROWS = 64
"""So few that a value which is stored once and repeated does not fill the memory before it is counted."""


def parquet(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: it is empty, damaged, or far larger inside than any text is.
    """
    import pyarrow.parquet as pq

    with _whole_file(data, label, "a Parquet"):
        file = pq.ParquetFile(io.BytesIO(data))
        columns = _columns_to_read(file.schema_arrow, reading, label)
        if not columns:
            reading.all_missing(f"{label}:1", _names(file.schema_arrow), file.metadata.num_rows)
            return
        Bound(label, len(data)).spend(_stored_bytes(file.metadata, columns))
        batches = file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
        yield from numbered(_rows(batches, Bound(label, len(data))), label)


def arrow(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield the rows of an Arrow file (also called Feather) or stream.

    Raises:
        DataError: it is empty, damaged, or of the first version of Feather.
    """
    if data.startswith(b"FEA1"):
        raise DataError(f"{label} is Feather of version 1, which is not read here; write it again as version 2")
    with _whole_file(data, label, "an Arrow"):
        schema, batches = _opened(data)
        columns = _columns_to_read(schema, reading, label)
        if not columns:
            reading.all_missing(f"{label}:1", _names(schema), sum(batch.num_rows for batch in batches))
            return
        yield from numbered(_rows(_sliced(batches, columns), Bound(label, len(data))), label)


@contextmanager
def _whole_file(data: bytes, label: str, kind: str) -> Iterator[None]:
    """Say in one line what pyarrow says of a file that is empty or damaged."""
    import pyarrow as pa

    if not data:
        raise DataError(f"{label} is empty: give {kind} file with rows in it")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        name = kind.split()[1]
        raise DataError(f"{label} is not a whole {name} file ({first_line(error)}); fetch or write it again") from None


def _opened(data: bytes) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the batches, checked, of an Arrow file or stream."""
    import pyarrow as pa

    if data.startswith(ARROW_MAGIC):
        file = pa.ipc.open_file(pa.BufferReader(data))
        return file.schema, map(_whole, (file.get_batch(i) for i in range(file.num_record_batches)))
    stream = pa.ipc.open_stream(pa.BufferReader(data))
    return stream.schema, map(_whole, stream)


ARROW_MAGIC = b"ARROW1"


def _whole(batch: Any) -> Any:
    batch.validate(full=True)  # offsets that point out of the file, bytes that are not UTF-8
    return batch


def _sliced(batches: Iterable[Any], columns: list[str]) -> Iterator[Any]:
    for batch in batches:
        few = batch.select(columns)
        for start in range(0, few.num_rows, BATCH_ROWS):
            yield few.slice(start, BATCH_ROWS)


def _columns_to_read(schema: Any, reading: Reading, label: str) -> list[str]:
    """Return the columns to read, none where none can hold the text; nested ones only if the text or a name is there.

    Raises:
        DataError: two columns of one name.
    """
    import pyarrow as pa

    names = list(schema.names)
    check_columns(names, label)
    text = columns_of(names, reading)
    kept = {*text, "id", "unit"}
    return [f.name for f in schema if f.name in kept or not pa.types.is_nested(f.type)] if text else []


def _names(schema: Any) -> list[str]:
    """Return the names that may be given as the text field, those inside structures with dots."""
    import pyarrow as pa

    def below(field: Any, depth: int = 0) -> list[str]:
        if not pa.types.is_struct(field.type) or depth > 8:
            return [field.name]
        return [f"{field.name}.{name}" for inner in field.type for name in below(inner, depth + 1)] or [field.name]

    return [name for field in schema for name in below(field)]


def _stored_bytes(metadata: Any, columns: list[str]) -> int:
    """Return the bytes of the pages to read, unpacked, as the file says itself."""
    total = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            path = column.path_in_schema
            if any(path == name or path.startswith(f"{name}.") for name in columns):
                total += max(0, column.total_uncompressed_size)
    return total


def _rows(batches: Iterable[Any], bound: Bound) -> Iterator[dict[str, Any]]:
    for batch in batches:
        columns = [_values(column) for column in batch.columns]
        bound.spend(sum(len(v) for values in columns for v in values if isinstance(v, str | bytes)) or batch.nbytes)
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, values, strict=True))


def _values(column: Any) -> list[Any]:
    """Return the values of a column; times that Python has no word for as Arrow spells them."""
    import pyarrow as pa

    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        if not pa.types.is_temporal(column.type):
            raise
        return list(column.cast(pa.string()).to_pylist())
