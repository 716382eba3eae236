"""The texts of a finished run, token by token as they were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freerun.errors import DataError, UsageError
from freerun.findings.evidence import ARM_LABELS, Evidence
from freerun.runs.run import evidence_of, open_run

MOST_DOCUMENTS = 200
"""Documents that are offered; those that the report shows come first."""


@dataclass(frozen=True)
class TextEntry:
    """A text of the run that can be opened."""

    sequence: int
    document_id: str
    arm: str
    shown: str
    """Why the report shows it, or nothing."""


@dataclass(frozen=True)
class RunText:
    """The tokens of a text: those of the prefix, then those that were read or written."""

    ids: tuple[int, ...]
    n_prefix: int
    document_id: str
    arm: str


@dataclass(frozen=True)
class RunCard:
    """What the page says of the run."""

    path: str
    title: str
    model: str
    same_model: bool
    texts: tuple[TextEntry, ...]


class RunTexts:
    """A finished audit, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Raises DataError: no finished audit there, or one whose texts were redacted."""
        self.path = path
        self._evidence: Evidence = evidence_of(path)
        if not self._evidence.has_text:
            raise DataError(f"{path} was made with --redact-text: it holds no texts to open")
        self._result: Mapping[str, object] = open_run(path).result

    @property
    def model(self) -> str:
        """The model's spec, as it was typed."""
        return self._evidence.plan.model

    def card(self, fingerprint: str) -> RunCard:
        """What there is to open; `fingerprint` is of the model that would read it."""
        plan = self._evidence.plan
        return RunCard(
            str(self.path),
            str(self._result.get("title") or self.path.name),
            plan.model,
            plan.model_fingerprint == fingerprint,
            self._entries(),
        )

    def _entries(self) -> tuple[TextEntry, ...]:
        sequences = self._evidence.records.sequences
        texts = self._result.get("texts")
        shown = {str(t["document_id"]): str(t["why"]) for t in texts} if isinstance(texts, list) else {}
        documents = dict.fromkeys([*shown, *map(str, sequences["document_id"])])
        kept = {name: place for place, name in enumerate(list(documents)[:MOST_DOCUMENTS])}
        found = [
            TextEntry(i, name, self._arm(i), shown.get(name, ""))
            for i, name in enumerate(map(str, sequences["document_id"]))
            if name in kept
        ]
        return tuple(sorted(found, key=lambda entry: (kept[entry.document_id], entry.sequence)))

    def _arm(self, sequence: int) -> str:
        sequences = self._evidence.records.sequences
        name = str(sequences["arm"][sequence])
        number = int(sequences["replicate"][sequence])
        words = ARM_LABELS.get(name, name)
        return words if name == "real" else f"{words}, number {number + 1}"

    def text(self, sequence: int) -> RunText:
        """One text.

        Raises:
            UsageError: no such text.
        """
        records = self._evidence.records
        n = len(records.sequences["document_id"])
        if not 0 <= sequence < n:
            raise UsageError(f"the run has texts 0 to {n - 1}, not {sequence}")
        prefix = [int(i) for i in records.sequences["prefix_ids"][sequence]]
        ids = [int(i) for i in records.tokens["token_id"][records.rows(sequence)]]
        name = str(records.sequences["document_id"][sequence])
        return RunText((*prefix, *ids), len(prefix), name, self._arm(sequence))

    def place(self, sequence: int, token: int | None) -> str:
        """The part of the page's address that stands before a token of a text, counted from 1 after the prefix.

        Raises:
            UsageError: no such text or token.
        """
        text = self.text(sequence)
        n = len(text.ids) - text.n_prefix
        if token is None:
            return f"#sequence={sequence}"
        if not 1 <= token <= n:
            raise UsageError(f"--token {token}: text {sequence} has tokens 1 to {n} after its prefix")
        return f"#sequence={sequence}&fork={text.n_prefix + token - 1}"
