"""What bytes without a name are, by their first bytes or their first line."""

from __future__ import annotations

import json

from freerun.errors import DataError
from freerun.text.formats import FORMATS, Format, format_of
from freerun.text.readers import SEPARATORS, header_of, looks_like_json_lines
from freerun.text.rows import STRING_FIELD


def sniff(data: bytes, label: str, *, text_field: str) -> tuple[Format, str]:
    """Return the format of bytes without a name, and what shows it.

    Parquet and Arrow have marks of their own. Text is JSON lines if its first line is an object; one JSON value if the whole is
    an array or an object; a table if its first line names the text field among others; else plain text.

    Raises:
        DataError: plain text where a text field was named.
    """
    shown = format_of(data)
    if shown is not None:
        return shown, "its first bytes"
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if _is_json(text):
        return FORMATS["json"], "its brackets"
    if looks_like_json_lines(text):
        return FORMATS["jsonl"], "its first line"
    for separator in SEPARATORS:
        header = header_of(text, separator) if separator in text.split("\n", 1)[0] else []
        if len(header) > 1 and text_field in header:
            return FORMATS["tsv" if separator == "\t" else "csv"], f"its header, which names {text_field!r}"
    if text_field != STRING_FIELD and text.strip():
        raise DataError(
            f"--text-field {text_field} needs rows with fields, and {label} looks like plain text; say what it is with --format "
            f"({', '.join(FORMATS)})"
        )
    return FORMATS["text"], "the absence of rows"


def _is_json(text: str) -> bool:
    """Whether the whole is a JSON array of rows, or an object."""
    if text.lstrip()[:1] not in ("[", "{"):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(row, dict | str) for row in value))
