"""Samples in Parquet: rows read a few at a time, columns of lists as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from freerun.errors import DataError, first_line
from freerun.samples.rows import Row

_BATCH_ROWS = 64


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file as dictionaries.

    Raises:
        DataError: it is cut off or damaged.
    """
    import pyarrow.parquet as pq

    with _whole_file(path), pq.ParquetFile(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            names = batch.schema.names
            for values in zip(*map(_values, batch.columns), strict=True):
                number += 1
                yield Row(dict(zip(names, values, strict=True)), f"row {number:,}")


@contextmanager
def _whole_file(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{path} is a damaged or cut-off Parquet file ({first_line(error)}); fetch or write it again"
        ) from None


def _values(column: Any) -> list[Any]:
    """The values of one column; flat lists of numbers as arrays, a null among floats as NaN."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not _is_number(kind.value_type):
        return list(column.to_pylist())
    if column.flatten().null_count and not pa.types.is_floating(kind.value_type):
        return list(column.to_pylist())
    inner = column.flatten().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().fill_null(0).to_numpy()
    parts = np.split(inner, np.cumsum(lengths)[:-1]) if len(lengths) else []
    return [part if valid else None for part, valid in zip(parts, column.is_valid().to_pylist(), strict=True)]


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


class ParquetWriter:
    """Writes rows of our own format, a few hundred to a row group."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        """Open a file; `columns` are names with types: string, integer, ids, numbers, mask, strings or pieces."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {
            "string": pa.string(),
            "integer": pa.int64(),
            "ids": pa.list_(pa.int32()),
            "numbers": pa.list_(pa.float64()),
            "mask": pa.list_(pa.bool_()),
            "strings": pa.list_(pa.string()),
            "pieces": pa.list_(pa.list_(pa.uint8())),
        }
        self._schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as one row group."""
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=self._schema))

    def close(self) -> None:
        """End the file."""
        self._writer.close()
