"""One reading of a corpus: rows become documents, and what there is to say about it afterwards is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from freerun.errors import DataError
from freerun.text.cleaning import Cleaning
from freerun.text.conversations import MESSAGES_FIELD, Message, read_turns
from freerun.text.documents import Document
from freerun.text.rows import (
    STRING_FIELD,
    BadRows,
    Fault,
    NoRow,
    as_text,
    field_names,
    name_of,
    refusal,
    type_name,
)

PlacedRow = tuple[str, Any]
"""The place of a row, as messages call it, and the row."""


def columns_of(names: Iterable[str], reading: Reading) -> list[str]:
    """Return the columns that hold text and prompt, or a field inside of which they stand; none where there is no text."""

    def holding(field: str) -> list[str]:
        return [name for name in names if name == field or field.startswith(f"{name}.")]

    text = holding(reading.text_field)
    if not text and reading.text_field == STRING_FIELD and reading.prompt_field is None:
        text = holding(MESSAGES_FIELD)
    return [*text, *holding(reading.prompt_field)] if text and reading.prompt_field else text


class Reading:
    """What readers share while one corpus is read."""

    def __init__(
        self, *, text_field: str = STRING_FIELD, prompt_field: str | None = None, skip_bad_rows: bool = False
    ) -> None:
        self.text_field, self.prompt_field, self.skip_bad_rows = text_field, prompt_field, skip_bad_rows
        self.n_unanswered = 0
        """Conversations that do not end with the assistant's turn."""
        self.cleaning, self.bad = Cleaning(), BadRows()
        self.taken_for_text = False
        """Whether bytes without a name are read as plain text because nothing in them shows rows."""
        self.hint = ""
        """A way out where rows cannot be used, besides those that go by what is wrong with them."""
        self.counted: list[str] = []
        """Notes that name nothing of the corpus: they may stand in a run without text."""
        self.named: list[str] = []
        self._n_with_unit = self._n_without_unit = 0
        self._unit_types: set[str] = set()

    def documents(self, rows: Iterable[PlacedRow], id_prefix: str = "") -> Iterator[Document]:
        """Yield a document for each row that holds text: `id` and `unit` where the row has them, else its place.

        A row that is a string has that text in the field `text`. Rows that hold no text are counted in `bad`.

        Raises:
            DataError: a row whose `id` or `unit` is not a name.
        """
        for place, row in rows:
            self.bad.n_rows += 1
            if isinstance(row, NoRow):
                self.bad.add(row.fault, f"{place}{row.detail}")
                continue
            if isinstance(row, str):
                row = {STRING_FIELD: row}
            if not isinstance(row, Mapping):
                self.bad.add(Fault("no row", type_name(row)), place)
                continue
            turns = read_turns(row, text_field=self.text_field, prompt_field=self.prompt_field)
            if turns == Fault("no field"):
                self._missing(place, field_names(row))
            elif isinstance(turns, Fault):
                named = f"{place}, which has {', '.join(field_names(row))}" if turns.why == "no prompt field" else place
                self.bad.add(turns, named)
            elif turns.response is None:
                self.n_unanswered += 1
            else:
                yield self._document(place, row, turns.response, turns.before, id_prefix)

    def all_missing(self, place: str, fields: list[str], n_rows: int) -> None:
        """Count the rows of a file that has no text field at all."""
        if n_rows:
            self.bad.n_rows += n_rows
            self._missing(place, fields, n_rows)

    def _missing(self, place: str, fields: list[str], n: int = 1) -> None:
        if self.bad.fields is None:
            self.bad.fields = fields
            place = f"{place}, which has {', '.join(fields) or 'no field at all'}"
        self.bad.add(Fault("no field"), place, n)

    def _document(
        self, place: str, row: Mapping[str, Any], text: str, before: tuple[Message, ...], id_prefix: str
    ) -> Document:
        clean = self.cleaning.clean
        own, unit = (clean(name_of(row.get(name), f"{place}: {name}")) for name in ("id", "unit"))
        if unit:
            self._n_with_unit += 1
            self._unit_types.add(f"{type_name(row['unit'])}s")
        else:
            self._n_without_unit += 1
        meta = {
            name: clean(as_text(value))
            for name, value in row.items()
            if name not in (self.text_field, self.prompt_field, "id", "unit")
            and not isinstance(value, dict | list | bytes | None)
        }
        name = f"{id_prefix}{own}" if own else clean(place)
        turns = tuple(Message(turn.role, clean(turn.content)) for turn in before)
        return Document(id=name, text=clean(text), unit=unit or name, meta=meta, before=turns)

    def close(self, spec: str) -> None:
        """End the reading of rows.

        Raises:
            DataError: rows that cannot be used, which nobody asked to leave out, or no others.
        """
        bad = self.bad
        if bad.n_bad and (not self.skip_bad_rows or bad.n_bad == bad.n_rows):
            raise DataError(refusal(bad, spec=spec, text_field=self.text_field, hint=self.hint))
        if bad.n_bad:
            self.counted.append(f"{bad.n_bad} of {bad.n_rows} rows left out, which cannot be used (--skip-bad-rows)")
            self.named.append(f"rows left out: {bad.spelled(self.text_field)}")
        if self.n_unanswered:
            self.counted.append(
                f"{self.n_unanswered} of {bad.n_rows} conversations left out: their last turn is not the assistant's"
            )

    def notes(self) -> list[str]:
        """Return a sentence for each thing that was done, without names."""
        notes = list(self.counted)
        if self._n_with_unit and self._n_without_unit:
            total = self._n_with_unit + self._n_without_unit
            notes.append(
                f"{self._n_without_unit} of {total} rows without a unit; each of them counts as a unit of its own (or of its id)"
            )
        if len(self._unit_types) > 1:
            types = " and ".join(sorted(self._unit_types))
            notes.append(f"units are given as {types}: values that are spelled alike are one unit")
        return [*notes, *self.cleaning.notes()]
