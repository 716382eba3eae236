"""What a model answered when it was asked: `answers/NAME.parquet` of a run's folder, beside `sequences/` and `tokens/`.

One row a prompt. A pair of texts is asked in both orders (two rows of the same `kind` and `pair`).

    kind               own_real: its own text against the real one. own_own, real_real: controls, where nothing can be known.
                       ability: a question about the same two texts that anyone who reads them can answer
    pair               number of the pair, the same in all kinds
    document_id, unit  the document that was cut, and the independent unit that it belongs to
    sequence_first     number of the sequence whose text the right answer names (own_real: its own; own_own: replicate 0;
                       real_real: drawn at random), −1 where there is none
    sequence_second    number of the other sequence
    first_is_a         whether the right answer is A
    log_odds_a_nats    ln P("A") − ln P("B") as the next words, nats; null: neither has any mass
    answer_mass        P("A") + P("B"): how much of the law answers at all
    n_tokens_side      tokens of each text that were shown
    n_prompt_tokens    tokens of the whole prompt
    n_answer_tokens    tokens of the longer of the two answers (1: read from one law)

The file's metadata hold `schema_version` (of answers), `unit_key` (what was asked: plan hash, prompt, settings) and `plan_hash`.
It gets there by one rename, after its checksum in `checksums/NAME.sha256`.
No text is stored: the texts are in `sequences/`, the prompt is in the code and its hash in `unit_key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.records import checksums
from freerun.records.store import RunFolder, write_atomically

ANSWERS_VERSION = 1
KIND = "answers"
"""Folder of the parts, and their kind in the checksums."""
KINDS = ("own_real", "own_own", "real_real", "ability")

_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("pair", pa.int32(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("sequence_first", pa.int32(), nullable=False),
        pa.field("sequence_second", pa.int32(), nullable=False),
        pa.field("first_is_a", pa.bool_(), nullable=False),
        pa.field("log_odds_a_nats", pa.float64(), nullable=True),
        pa.field("answer_mass", pa.float64(), nullable=False),
        pa.field("n_tokens_side", pa.int32(), nullable=False),
        pa.field("n_prompt_tokens", pa.int32(), nullable=False),
        pa.field("n_answer_tokens", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Answer:
    """One row: what was asked, and what the law said. `log_odds_a_nats` is None where neither answer has mass."""

    kind: str
    pair: int
    document_id: str
    unit: str
    sequence_first: int
    sequence_second: int
    first_is_a: bool
    log_odds_a_nats: float | None
    answer_mass: float
    n_tokens_side: int
    n_prompt_tokens: int
    n_answer_tokens: int


@dataclass(frozen=True)
class Answers:
    """Columns of all rows; `log_odds_a_nats` is NaN where neither answer has mass."""

    kind: np.ndarray
    pair: Int[np.ndarray, " rows"]
    unit: np.ndarray
    first_is_a: Bool[np.ndarray, " rows"]
    log_odds_a_nats: Float[np.ndarray, " rows"]
    answer_mass: Float[np.ndarray, " rows"]
    n_tokens_side: Int[np.ndarray, " rows"]

    @property
    def n_rows(self) -> int:
        return len(self.pair)


def asked(folder: RunFolder, unit_key: str, *, name: str = "verbal") -> bool:
    """Whether these questions have been asked, all of them, and the answers fit their checksum."""
    try:
        held = pq.read_schema(_path(folder, name)).metadata or {}
    except (FileNotFoundError, pa.ArrowException, OSError):
        return False
    return held.get(b"unit_key") == unit_key.encode() and _fault(folder, _path(folder, name), held) is None


def write_answers(
    folder: RunFolder, rows: Sequence[Answer], *, unit_key: str, plan_hash: str, name: str = "verbal"
) -> None:
    """Record the answers: one file, whole or not at all; what was asked before is replaced.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    for leftover in (folder.path / KIND).glob(".*.parquet-*"):  # of a kill in the middle of a write
        leftover.unlink(missing_ok=True)
    meta = {"schema_version": str(ANSWERS_VERSION), "unit_key": unit_key, "plan_hash": plan_hash, "checksums": "sha256"}
    table = pa.Table.from_pylist([asdict(r) for r in rows], schema=_SCHEMA.with_metadata(meta))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    write_atomically(checksums.path_of(folder.path, name), checksums.written(name, {KIND: checksums.of_bytes(data)}))
    write_atomically(_path(folder, name), data)


def read_answers(folder: RunFolder) -> Answers | None:
    """All answers of a run; None where nothing was asked.

    Raises:
        DataError: a damaged file, another schema version, or answers of another plan (named).
    """
    parts = []
    plan_hash = str(folder.manifest()["plan_hash"])
    for path in sorted((folder.path / KIND).glob("*.parquet")):
        try:
            part = pq.read_table(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}); remove it and ask again") from error
        held = part.schema.metadata or {}
        if fault := _fault(folder, path, held):
            raise DataError(f"{path} is damaged ({fault}); remove it and ask again")
        version = held.get(b"schema_version", b"?").decode()
        if version != str(ANSWERS_VERSION) or not part.schema.equals(_SCHEMA):
            raise DataError(f"{path} has answer schema {version}, this freerun reads {ANSWERS_VERSION}; ask again")
        if held.get(b"plan_hash") != plan_hash.encode():
            raise DataError(f"{path} belongs to a run of another plan; remove it and ask again")
        parts.append(part)
    if not parts or not sum(p.num_rows for p in parts):
        return None
    table = pa.concat_tables(parts)
    columns = {n: table[n].combine_chunks() for n in table.column_names}
    return Answers(
        kind=np.array(columns["kind"].to_pylist(), dtype=object),
        pair=columns["pair"].to_numpy(zero_copy_only=False),
        unit=np.array(columns["unit"].to_pylist(), dtype=object),
        first_is_a=columns["first_is_a"].to_numpy(zero_copy_only=False).astype(bool),
        log_odds_a_nats=columns["log_odds_a_nats"].fill_null(np.nan).to_numpy(zero_copy_only=False),
        answer_mass=columns["answer_mass"].to_numpy(zero_copy_only=False),
        n_tokens_side=columns["n_tokens_side"].to_numpy(zero_copy_only=False),
    )


def _path(folder: RunFolder, name: str) -> Path:
    return folder.path / KIND / f"{name}.parquet"


def _fault(folder: RunFolder, path: Path, held: dict[bytes, bytes]) -> str | None:
    """Why the file of these metadata cannot be used; answers made before there were checksums need none."""
    return checksums.fault(folder.path, path, required=checksums.MARK.items() <= held.items())
