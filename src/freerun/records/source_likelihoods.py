"""How likely every source finds a text: `sources/NAME.parquet` of a run's folder, beside `sequences/` and `tokens/`.

One row a sequence, source and header template (`sources_schema`). What was asked (the latent, its values with their prior, how many
templates) stands in the file's metadata as JSON. No text and no id is stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from freerun.errors import DataError
from freerun.records import checksums
from freerun.records.schema import sources_schema
from freerun.records.side_car import SideCar
from freerun.records.store import RunFolder

SOURCES_VERSION = 1
SOURCES = SideCar(
    "sources",
    sources_schema(),
    version=SOURCES_VERSION,
    version_key="sources_version",
    again="remove it and run the same audit again with --sources",
)


@dataclass(frozen=True)
class SourcesAsked:
    """What was asked of the texts: a latent, its values (the last one, other, is the model without a header) with their prior, the
    number of header templates of each, the file that says so, about how many documents it was to be asked, and the ids that every
    row begins with because the model has no law before a first token (none: nothing)."""

    latent: str
    values: tuple[str, ...]
    prior: tuple[float, ...]
    templates: tuple[int, ...]
    title: str
    origin: str
    fingerprint: str
    documents: int
    begins: tuple[int, ...] = ()


@dataclass(frozen=True)
class ScoredText:
    """ln q of one sequence after every header of every source, nats: of all tokens before the cut together, and of each from
    there on. −inf where a source gives no mass."""

    sequence: int
    prefix_nats: tuple[Float[np.ndarray, " templates"], ...]
    token_nats: tuple[Float[np.ndarray, "templates tokens"], ...]


@dataclass(frozen=True)
class SourceRecords:
    """Everything recorded of one latent."""

    asked: SourcesAsked
    texts: tuple[ScoredText, ...]


def write_scores(
    folder: RunFolder, name: str, texts: Sequence[ScoredText], asked: SourcesAsked, *, unit_key: str, plan_hash: str
) -> None:
    """Record one unit of work: one file, whole or not at all.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    rows = [(text, s, j) for text in texts for s in range(len(asked.values)) for j in range(asked.templates[s])]
    tokens = [text.token_nats[s][j] for text, s, j in rows]
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in tokens])]).astype(np.int32)
    flat = np.concatenate(tokens) if tokens else np.zeros(0)
    columns: dict[str, Any] = {
        "sequence": [text.sequence for text, _, _ in rows],
        "value": [asked.values[s] for _, s, _ in rows],
        "template": [j for _, _, j in rows],
        "prefix_log_prob_nats": _with_nulls(np.array([text.prefix_nats[s][j] for text, s, j in rows], np.float64)),
        "log_probs_nats": pa.ListArray.from_arrays(pa.array(offsets), _with_nulls(flat)),
    }
    table = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in SOURCES.schema}, schema=SOURCES.schema)
    notes = {"asked": json.dumps(asdict(asked)), "logarithms": "natural"}
    SOURCES.write(folder, name, table, unit_key=unit_key, plan_hash=plan_hash, notes=notes)


def keep_only(folder: RunFolder, names: Sequence[str]) -> None:
    """Remove parts of what was asked before and is not asked any more.

    Raises:
        DataError: the folder cannot be written to.
    """
    for path in [p for p in (folder.path / SOURCES.kind).glob("*.parquet") if p.stem not in names]:
        try:
            path.unlink(missing_ok=True)
            checksums.path_of(folder.path, path.stem).unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"cannot remove {path}: {error.strerror or error}; make it writable") from error


def read_sources_of(folder: RunFolder) -> tuple[SourceRecords, ...]:
    """What was recorded of every latent, in the order in which they were asked; empty where none was.

    Raises:
        DataError: a damaged file (named), another version, or one of a run of another plan.
    """
    by_latent: dict[str, tuple[SourcesAsked, list[ScoredText]]] = {}
    for path, (asked, texts) in SOURCES.read(folder, _parsed):
        first = by_latent.setdefault(asked.latent, (asked, []))
        if first[0] != asked:
            raise DataError(
                f"{path} asks {asked.latent} in another way than the parts before it; run the same audit again with --sources"
            )
        first[1].extend(texts)
    return tuple(SourceRecords(asked, tuple(texts)) for asked, texts in by_latent.values())


def _parsed(table: pa.Table, metadata: dict[str, str]) -> tuple[SourcesAsked, list[ScoredText]]:
    fields = json.loads(metadata["asked"])
    asked = SourcesAsked(**cast(Any, {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}))
    return asked, _texts(table, asked)


def _texts(table: pa.Table, asked: SourcesAsked) -> list[ScoredText]:
    """Rows as they were written: for every sequence all templates of the first value, then of the next."""
    each = sum(asked.templates)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    sequence = columns["sequence"].to_numpy(zero_copy_only=False)
    named = [v for v, n in zip(asked.values, asked.templates, strict=True) for _ in range(n)]
    if not each or table.num_rows % each or columns["value"].to_pylist() != named * (table.num_rows // each):
        raise ValueError("its rows are not those of the values that it names")
    prefix = columns["prefix_log_prob_nats"].fill_null(-np.inf).to_numpy(zero_copy_only=False)
    lists = columns["log_probs_nats"]
    ends = lists.offsets.to_numpy()
    flat = lists.values.fill_null(-np.inf).to_numpy(zero_copy_only=False)
    at = np.cumsum([0, *asked.templates])
    out = []
    for first in range(0, table.num_rows, each):
        rows = [flat[ends[i] : ends[i + 1]] for i in range(first, first + each)]
        if len({len(r) for r in rows}) > 1 or len(set(sequence[first : first + each].tolist())) > 1:
            raise ValueError("the rows of a sequence do not fit one another")
        parts = [slice(int(a), int(b)) for a, b in pairwise(at)]
        whole = np.stack(rows)
        out.append(
            ScoredText(
                int(sequence[first]),
                tuple(prefix[first : first + each][p] for p in parts),
                tuple(whole[p] for p in parts),
            )
        )
    return out


def _with_nulls(values: Float[np.ndarray, " n"]) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))
