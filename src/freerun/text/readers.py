"""One reader for each kind of file: bytes in, documents out, and a clear line for every way a file can be wrong."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from freerun.errors import DataError, nearest
from freerun.text.cleaning import Cleaning
from freerun.text.documents import Document

SUPPORTED = (".txt", ".jsonl", ".jsonl.gz", ".parquet")


def suffix_of(path: Path) -> str | None:
    """Return which of the supported suffixes the file has, or None."""
    name = path.name.lower()
    return next((suffix for suffix in sorted(SUPPORTED, key=len, reverse=True) if name.endswith(suffix)), None)


def read_file(path: Path, label: str, *, text_field: str, cleaning: Cleaning, id_prefix: str = "") -> list[Document]:
    """Return the documents of one file, in its order; `label` is what messages and ids call it.

    Ids that stand in the file get `id_prefix` before them. Rows without an id are called `label:line`.

    Raises:
        DataError: the file cannot be read, is damaged, is not UTF-8, or holds no such text field.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise DataError(f"{label} is of no kind that is read here; supported: {', '.join(SUPPORTED)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{label} cannot be read: {error.strerror}; check its permissions") from None
    return _READERS[suffix](data, label, text_field, cleaning, id_prefix)


def read_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], *, text_field: str, cleaning: Cleaning, id_prefix: str = ""
) -> Iterator[Document]:
    """Yield a document for each (place, row): its text in `text_field`, `id` and `unit` where the row has them.

    Raises:
        DataError: a row has no such field, or something else than text in it.
    """
    for place, row in rows:
        if text_field not in row:
            raise DataError(_no_such_field(place, text_field, list(row)))
        text = row[text_field]
        if not isinstance(text, str):
            raise DataError(
                f"{place}: text field {text_field!r} is a {_json_type(text)}, not a string; choose with --text-field"
            )
        scalars = {
            name: cleaning.clean(_as_text(value))
            for name, value in row.items()
            if name != text_field and not isinstance(value, dict | list | bytes | None)
        }
        own = scalars.pop("id", "")
        name = f"{id_prefix}{own}" if own else cleaning.clean(place)
        unit = scalars.pop("unit", "") or name
        yield Document(id=name, text=cleaning.clean(text), unit=unit, meta=scalars)


def read_text(data: bytes, label: str, cleaning: Cleaning) -> Document:
    """Return the whole of `data` as one document, its own unit."""
    name = cleaning.clean(label)
    return Document(id=name, text=cleaning.clean(cleaning.decode(data, label)), unit=name)


def _text(data: bytes, label: str, text_field: str, cleaning: Cleaning, id_prefix: str) -> list[Document]:
    return [read_text(data, label, cleaning)]


def _jsonl(data: bytes, label: str, text_field: str, cleaning: Cleaning, id_prefix: str) -> list[Document]:
    text = cleaning.decode(data, label)
    rows = _json_rows(text, label)
    return list(read_rows(rows, text_field=text_field, cleaning=cleaning, id_prefix=id_prefix))


def _gzipped_jsonl(data: bytes, label: str, text_field: str, cleaning: Cleaning, id_prefix: str) -> list[Document]:
    try:
        plain = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{label} is a damaged gzip file ({error}); fetch or pack it again") from None
    return _jsonl(plain, label, text_field, cleaning, id_prefix)


def _json_rows(text: str, label: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (file:line, row); only \\n ends a line, for JSON strings may hold the other separators of Unicode."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{label}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).split(":")[0]
            raise DataError(
                f'{place} is not JSON ({reason}); each line must be one object like {{"text": …}}'
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f'{place} is a JSON {_json_type(row)}, not an object; each line must look like {{"text": …}}'
            )
        yield place, row


def _parquet(data: bytes, label: str, text_field: str, cleaning: Cleaning, id_prefix: str) -> list[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not data:
        raise DataError(f"{label} is empty: give a Parquet file with rows in it")
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = list(file.schema_arrow.names)
        flat = [
            field.name for field in file.schema_arrow if not pa.types.is_nested(field.type) or field.name == text_field
        ]
        if text_field not in names:
            raise DataError(_no_such_field(label, text_field, names))
        rows = file.read(columns=flat).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{label} is not a whole Parquet file ({reason}); fetch or write it again") from None
    placed = ((f"{label}:{number}", row) for number, row in enumerate(rows, start=1))
    return list(read_rows(placed, text_field=text_field, cleaning=cleaning, id_prefix=id_prefix))


def _no_such_field(place: str, text_field: str, names: list[str]) -> str:
    there = ", ".join(names) if names else "none"
    return (
        f"{place} has no field {text_field!r} (fields: {there}); choose with --text-field{nearest(text_field, names)}"
    )


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json_type(value: Any) -> str:
    names = {
        dict: "object",
        list: "list",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


_READERS: dict[str, Callable[[bytes, str, str, Cleaning, str], list[Document]]] = {
    ".txt": _text,
    ".jsonl": _jsonl,
    ".jsonl.gz": _gzipped_jsonl,
    ".parquet": _parquet,
}
