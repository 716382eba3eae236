"""One reading of a corpus: how rows are read, and what there is to say about it afterwards."""

from __future__ import annotations

from freerun.errors import DataError
from freerun.text.cleaning import Cleaning
from freerun.text.rows import STRING_FIELD, RowReader, refusal


class Reading:
    """What readers share while one corpus is read. `notes` name nothing of the corpus, `named_notes` may."""

    def __init__(self, *, text_field: str = STRING_FIELD, skip_bad_rows: bool = False) -> None:
        self.text_field, self.skip_bad_rows = text_field, skip_bad_rows
        self.cleaning = Cleaning()
        self.rows = RowReader(text_field=text_field, cleaning=self.cleaning)
        self.taken_for_text = False
        """Whether bytes without a name are read as plain text because nothing in them shows rows."""
        self.counted: list[str] = []
        self.named: list[str] = []

    def count(self, sentence: str) -> None:
        """Add a note that names nothing: it may stand in a run without text."""
        self.counted.append(sentence)

    def say(self, sentence: str) -> None:
        """Add a note that names files or fields of the corpus."""
        self.named.append(sentence)

    def close(self, spec: str, hint: str = "") -> None:
        """End the reading of rows.

        Raises:
            DataError: rows that cannot be used, which nobody asked to leave out, or no others.
        """
        bad = self.rows.bad
        if bad.n_bad and (not self.skip_bad_rows or bad.n_bad == bad.n_rows):
            raise DataError(refusal(bad, spec=spec, text_field=self.text_field, hint=hint))
        if bad.n_bad:
            self.count(f"{bad.n_bad} of {bad.n_rows} rows left out, which cannot be used (--skip-bad-rows)")
            self.say(f"rows left out: {bad.spelled(self.text_field)}")

    def notes(self) -> list[str]:
        """Return a sentence for each thing that was done, without names."""
        return [*self.counted, *self.rows.units.notes(), *self.cleaning.notes()]

    def named_notes(self) -> list[str]:
        """Return the sentences that name files or fields."""
        return list(self.named)
