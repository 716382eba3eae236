"""Samples from a file of any format that is read here: recognised or named, row after row, never the whole file at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from freerun.errors import DataError, UsageError
from freerun.samples.catalogue import FORMATS, Format, format_named
from freerun.samples.completion import Completion, Excluded, Missing, Part, Reason
from freerun.samples.fields import Unusable
from freerun.samples.requests import Requests, read_requests
from freerun.samples.rows import NotJSON, Row, first_bytes, json_rows, line_rows, plain_rows

__all__ = ["FORMATS", "Format", "SampleFile", "open_samples"]

PEEK_ROWS = 64
"""So many rows, at most, say what a file is and has."""
COSTS = {
    Part.COMPLETION_IDS: "The text has to be tokenised again, which need not give the tokens that were drawn: a rejection "
    "says nothing until samples of the model itself have gone the same way.",
    Part.PROMPT_IDS: "The prompt has to be tokenised again: one special token more or less at its start makes every later "
    "token look as if it came from another law.",
    Part.PROMPT: "Without what stood before it, no completion can be scored; loops are counted all the same.",
    Part.END: "A completion that ended by itself cannot be told from one that was cut off, so end tokens have to be left out "
    "of the law.",
    Part.SPECIAL_TOKENS: "Special tokens inside the text are gone, so what follows one is scored in another context than it "
    "was drawn in.",
    Part.DRAWN: "What a tool wrote cannot be told from what was drawn, and counts as drawn.",
    Part.LOG_PROBS: "Nothing says which probabilities the engine gave its tokens, so engine and trainer cannot be compared.",
}
"""What it costs that a file lacks something."""


@dataclass(frozen=True)
class SampleFile:
    """A file of samples, or a folder of such files: it may be gone through more than once, and is read anew each time."""

    path: Path
    format: str
    recognised: bool
    """False where the format was named."""
    has_ids: bool
    has_log_probs: bool
    missing: tuple[Missing, ...]
    _samples: Callable[[], Iterator[Completion | Excluded]] = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[Completion | Excluded]:
        """Yield each sample, or why a row cannot be used, in the order of the file.

        Raises:
            DataError: the file is damaged or cut off; what stood before that has been yielded.
        """
        for sample in self._samples():
            if self.has_ids and isinstance(sample, Completion) and sample.completion_ids is None:
                yield Excluded(sample.row, Reason.OTHER_FORMAT, "text without ids, where other rows have ids")
            else:
                yield sample


@dataclass(frozen=True)
class FieldNames:
    """Fields of rows of our own format that have other names: where the prompt (text or messages) and the completion stand."""

    prompt: str | None = None
    completion: str | None = None

    def renamed(self, value: Any) -> Any:
        """A row with our own names."""
        if not isinstance(value, Mapping):
            return value
        names = {"prompt": self.prompt, "completion": self.completion}
        hidden = [name for name in ("messages",) if self.prompt is not None and self.prompt != name]
        kept = {k: v for k, v in value.items() if k not in hidden}
        return {**kept, **{ours: value.get(theirs) for ours, theirs in names.items() if theirs is not None}}


def open_samples(
    path: str | Path,
    *,
    format: str | None = None,
    requests: str | Path | None = None,
    names: FieldNames | None = None,
) -> SampleFile:
    """Open a file of samples, or a folder of such files, and say what it has; its first rows are read.

    `format` is a name of `FORMATS`; without one the format is recognised. `requests` is the file that a batch was sent as. `names`
    of fields make it our own format.

    Raises:
        UsageError: no format of that name, `requests` for another format than `batch`, or `names` for another than our own.
        DataError: the file cannot be read, is of no format that is recognised, or holds no sample.
    """
    path = Path(path)
    if names is not None:
        if format not in (None, "freerun"):
            raise UsageError(
                f"--prompt-field and --text-field name the fields of rows of the format 'freerun', not {format!r}; leave them out"
            )
        format = "freerun"
    chosen = format_named(format) if format is not None else _recognise(path)
    if requests is not None and chosen.name != "batch":
        raise UsageError(
            f"--requests gives the prompts of a batch, and {path} is of the format {chosen.name!r}; leave it out, or name "
            "--format batch"
        )
    known = None if requests is None else read_requests(requests)

    def samples() -> Iterator[Completion | Excluded]:
        return _samples(path, chosen, known, names)

    first = list(islice(samples(), PEEK_ROWS))
    if not first:
        raise DataError(f"{path} holds no samples; give a file with a row for each")
    usable = [sample for sample in first if isinstance(sample, Completion)]
    has_ids = any(sample.completion_ids is not None for sample in usable)
    has_log_probs = any(sample.log_probs_nats is not None for sample in usable)
    return SampleFile(
        path=path,
        format=chosen.name,
        recognised=format is None,
        has_ids=has_ids,
        has_log_probs=has_log_probs,
        missing=tuple(Missing(part, COSTS[part]) for part in _lost(chosen, usable)),
        _samples=samples,
    )


def _lost(chosen: Format, usable: list[Completion]) -> list[Part]:
    """What the first samples lack, and what no file of the format has, in the order of the parts."""
    if not usable:
        return list(chosen.parts_lost)
    has_prompt = any(sample.has_prompt for sample in usable)
    has_ids = any(sample.completion_ids is not None for sample in usable)
    there = {
        Part.COMPLETION_IDS: has_ids,
        Part.PROMPT_IDS: not has_prompt or any(sample.prompt_ids is not None for sample in usable),
        Part.PROMPT: has_prompt,
        Part.END: has_ids,
        Part.SPECIAL_TOKENS: has_ids,
        Part.DRAWN: Part.DRAWN not in chosen.parts_lost,
        Part.LOG_PROBS: any(sample.log_probs_nats is not None for sample in usable),
    }
    return [part for part in Part if not there[part]]


def _recognise(path: Path) -> Format:
    """Return the format of the first row that is of any.

    Raises:
        DataError: no row among the first is.
    """
    first: Row | None = None
    for row in islice(_rows(path, None), PEEK_ROWS):
        first = first or row
        recognised = _format_of(row.value)
        if recognised is not None:
            return recognised
    if first is None:
        raise DataError(f"{path} is empty: give a file with a row for each sample")
    looked_for = "; ".join(f"{format.name}: {format.sign}" for format in FORMATS if format.sign)
    raise DataError(
        f"{path} is in no format that is recognised here: {first.place} has {_described(first.value)}. Looked for: "
        f"{looked_for}. Name one with --format"
    )


def _format_of(value: Any) -> Format | None:
    return next((format for format in FORMATS if format.sign and format.recogniser(value)), None)


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"the fields {', '.join(map(str, list(value)[:8]))}" if value else "no field"
    return "no JSON" if isinstance(value, NotJSON) else f"a value of type {type(value).__name__}"


def _samples(
    path: Path, chosen: Format, requests: Requests | None, names: FieldNames | None
) -> Iterator[Completion | Excluded]:
    """Every sample of every row, numbered from 0."""
    number = 0
    for row in _rows(path, chosen):
        if names is not None:
            row = Row(names.renamed(row.value), row.place)
        for sample in _of_row(row, chosen, requests, number):
            yield sample
            number += 1


def _of_row(row: Row, chosen: Format, requests: Requests | None, number: int) -> Iterator[Completion | Excluded]:
    if isinstance(row.value, NotJSON):
        yield Excluded(number, Reason.NOT_JSON, f"{row.place}: {row.value.detail}")
        return
    if not chosen.recogniser(row.value):
        other = _format_of(row.value)
        if other is not None and other is not chosen:
            yield Excluded(number, Reason.OTHER_FORMAT, f"{row.place} is of the format {other.name}")
            return
    for i, draft in enumerate(chosen.reader(row.value, requests)):
        try:
            if isinstance(draft, Unusable):
                raise draft
            yield draft.completed(number + i)
        except Unusable as fault:
            yield Excluded(number + i, fault.reason, f"{row.place}: {fault.detail}")


def _rows(path: Path, chosen: Format | None) -> Iterator[Row]:
    """The rows of a file, or of every file of a folder."""
    if not path.is_dir():
        yield from _rows_of_file(path, chosen)
        return
    files = sorted((file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")), key=_natural)
    for file in files:
        for row in _rows_of_file(file, chosen):
            yield Row(row.value, f"{file.name}, {row.place}")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Steps in the order of their numbers: 9.jsonl before 10.jsonl."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _rows_of_file(path: Path, chosen: Format | None) -> Iterator[Row]:
    if chosen is not None and chosen.name == "lines":
        return line_rows(path)
    data = first_bytes(path, 512)
    if data.startswith(b"PAR1"):
        from freerun.samples.parquet import parquet_rows

        return parquet_rows(path)
    if data.startswith((b"PK\x03\x04", b"\x80\x02")):
        from freerun.samples.slime import torch_rows

        return torch_rows(path)
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_text = path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".txt", ".md"))
    is_text = is_text or bool(text and text[:1] not in b'{["')
    if is_text or (chosen is not None and chosen.name == "text" and not _begins_as_json(path)):
        return plain_rows(path)
    return _flattened(json_rows(path))


def _begins_as_json(path: Path) -> bool:
    """Whether a file that was called text holds rows: a text may begin with a quotation mark or a bracket."""
    try:
        return next(json_rows(path), None) is not None
    except DataError:
        return False


def _flattened(rows: Iterator[Row]) -> Iterator[Row]:
    """Lists inside lists, and the one list of rows in an object that is not a row itself, element by element."""
    for row in rows:
        values = row.value if isinstance(row.value, list) else _wrapped(row.value)
        if values is None:
            yield row
        else:
            yield from (Row(value, f"{row.place}, element {i:,}") for i, value in enumerate(values, start=1))


def _wrapped(value: Any) -> list[Any] | None:
    if not isinstance(value, Mapping) or _format_of(value) is not None:
        return None
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], Mapping)]
    return lists[0] if len(lists) == 1 and _format_of(lists[0][0]) is not None else None
