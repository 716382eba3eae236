"""Records without text: what `--redact-text` keeps out of a run's folder.

Applied to the two tables of a part before they are written, so that no file ever holds what is left out:

    prefix_text, text             empty
    prefix_ids, token_id          each id replaced by the order in which it first appears in its sequence, prefix included
    top_id                        the same number where the token is the most probable one, −1 elsewhere
    n_bytes of a token            its sequence's bytes, spread evenly
    without_prefix_log_prob_nats  null: from these numbers the text could be read off with the model alone
    embedding                     null

Numbers in order of appearance keep what happens inside one text (loops, repeats, distinct n-grams, whether the most probable token
came) and nothing between texts. See docs/decisions/0004-redaction.md for what the remaining numbers may still tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from freerun.errors import DataError
from freerun.records.store import Records, RunFolder

CORPUS = "a redacted corpus"
"""What the corpus is called in a run without names."""
UNAVAILABLE = "not available: text was redacted"
LocalIds = Literal["token_id", "top_id", "prefix_ids"]
"""Columns of token ids. In a redacted run they mean something inside one text only."""
HIDDEN = frozenset(
    ("token_id", "top_id", "prefix_ids", "prefix_text", "text", "embedding", "without_prefix_log_prob_nats")
)
"""Columns that a redacted run keeps no values of, or none that two texts could be compared by."""


class TextRedacted(DataError):
    """Something asked a redacted run for its text, or for what would tell it."""


@dataclass(frozen=True)
class RedactedRecords(Records):
    """Records of which nobody can read text: asking for a hidden column raises `TextRedacted`."""

    whole: Records

    def forget(self, *names: str) -> None:
        self.whole.forget(*names)


def is_redacted(records: Records) -> bool:
    """Whether the run was made with `--redact-text`."""
    return records.manifest["plan"].get("redacted") is True


def sealed(records: Records) -> Records:
    """The records, without access to what redaction hides where the run is redacted."""
    if not is_redacted(records) or isinstance(records, RedactedRecords):
        return records
    sequences, tokens = _Sealed(records.sequences), _Sealed(records.tokens)
    return RedactedRecords(records.manifest, sequences, tokens, records.starts, records)


def local_ids(records: Records, column: LocalIds) -> Any:
    """A column of token ids that are compared inside one text only; of a redacted run their order of appearance in it."""
    whole = records.whole if isinstance(records, RedactedRecords) else records
    return (whole.sequences if column == "prefix_ids" else whole.tokens)[column]


class _Sealed(Mapping[str, Any]):
    """Columns by name, without the hidden ones."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> Any:
        if name in HIDDEN:
            raise TextRedacted(
                f"{name} cannot be read: the run was made with --redact-text; audit without it to have what needs text"
            )
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name not in HIDDEN and name in self._columns

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._columns if name not in HIDDEN)

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True)
class RedactedFolder(RunFolder):
    """A run's folder that writes records without text.

    `known_ids`: tokens that everybody knows to stand in a prefix (those of a chat template). They are left out of prefixes, or
    their numbers there would tell where else they stand.
    """

    known_ids: frozenset[int] = frozenset()

    def write_part(self, name: str, sequences: pa.Table, tokens: pa.Table, **metadata: Any) -> None:
        super().write_part(name, *redacted(sequences, tokens, known_ids=self.known_ids), **metadata)


def redacted(
    sequences: pa.Table, tokens: pa.Table, *, known_ids: frozenset[int] = frozenset()
) -> tuple[pa.Table, pa.Table]:
    """Return both tables of a part without text and ids; every other column stays as it is."""
    owner = tokens["sequence"].to_numpy()
    position = tokens["position"].to_numpy()
    ids, top = tokens["token_id"].to_numpy(), tokens["top_id"].to_numpy()
    new_ids, n_bytes = np.zeros_like(ids), np.zeros_like(ids)
    prefixes = []
    for number, prefix, total in zip(
        *(sequences[name].to_pylist() for name in ("sequence", "prefix_ids", "n_bytes")), strict=True
    ):
        mine = np.flatnonzero(owner == number)
        mine = mine[np.argsort(position[mine], kind="stable")]
        prefix = [token for token in prefix if token not in known_ids]
        codes = in_order_of_appearance(np.concatenate([np.array(prefix, np.int64), ids[mine]]))
        prefixes.append(codes[: len(prefix)].tolist())
        new_ids[mine] = codes[len(prefix) :]
        n_bytes[mine] = np.diff(total * np.arange(mine.size + 1) // max(1, mine.size))
    n_rows = sequences.num_rows
    sequences = _with(sequences, "prefix_ids", prefixes)
    for name in ("prefix_text", "text"):
        sequences = _with(sequences, name, [""] * n_rows)
    at = sequences.schema.get_field_index("embedding")
    empty = pa.field("embedding", pa.null(), nullable=True, metadata=sequences.schema.field(at).metadata)
    sequences = sequences.set_column(at, empty, pa.nulls(n_rows))
    tokens = _with(tokens, "token_id", new_ids)
    tokens = _with(tokens, "top_id", np.where(top == ids, new_ids, -1))
    tokens = _with(tokens, "n_bytes", n_bytes)
    return sequences, _with(tokens, "without_prefix_log_prob_nats", [None] * tokens.num_rows)


def in_order_of_appearance(ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Number the different ids in the order in which they first come.

    >>> in_order_of_appearance(np.array([70, 9, 70, 4, 9])).tolist()
    [0, 1, 0, 2, 1]
    """
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[inverse]


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, type=field.type))
