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

No text is stored: the texts are in `sequences/`, the prompt is in the code and its hash in `unit_key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from freerun.records.side_car import SideCar
from freerun.records.store import RunFolder

KINDS = ("own_real", "own_own", "real_real", "ability")
_NAME = "verbal"
_ARROW = {"str": pa.string(), "int": pa.int32(), "bool": pa.bool_(), "float": pa.float64()}


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


ANSWERS = SideCar(
    "answers",
    pa.schema(
        [pa.field(f.name, _ARROW[kind := str(f.type).removesuffix(" | None")], kind != f.type) for f in fields(Answer)]
    ),
    version=1,
    version_key="schema_version",
    again="remove it and ask again (`--ask`)",
)


def asked(folder: RunFolder, unit_key: str) -> bool:
    """Whether these questions have been asked, all of them, and the answers fit their checksum."""
    return ANSWERS.holds(folder, _NAME, unit_key)


def write_answers(folder: RunFolder, rows: Sequence[Answer], *, unit_key: str, plan_hash: str) -> None:
    """Record the answers: one file, whole or not at all; what was asked before is replaced.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    table = pa.Table.from_pylist([asdict(r) for r in rows], schema=ANSWERS.schema)
    ANSWERS.write(folder, _NAME, table, unit_key=unit_key, plan_hash=plan_hash, notes={})


def read_answers(folder: RunFolder) -> Answers | None:
    """All answers of a run; None where nothing was asked.

    Raises:
        DataError: a damaged file, another schema version, or answers of another plan (named).
    """
    parts = [table for _, table in ANSWERS.read(folder, lambda table, _: table)]
    if not sum(part.num_rows for part in parts):
        return None
    table = pa.concat_tables(parts).select([f.name for f in fields(Answers)])
    return Answers(
        **{
            name: column.fill_null(np.nan).to_numpy() if column.null_count else column.to_numpy()
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
