"""A run's folder: the manifest, and record parts that appear by one atomic rename each.

manifest.json            what was planned, with what; written before the first part
tokens/NAME.parquet      of a unit of work, renamed into place first …
sequences/NAME.parquet   … and then this one: a unit is done if and only if it is here
result.json, report.html derived from the above, made again by `freerun report`
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from freerun.errors import DataError
from freerun.records.columns import Columns
from freerun.records.schema import READABLE_VERSIONS, stamped


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, flushed to disk, then renamed.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; free some room or choose another place"
        ) from error


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin or continue a run: write the manifest, or check that the one there has the same plan.

        Raises:
            DataError: the folder holds another plan, another schema version, or something that is no run.
        """
        if self.manifest_path.exists():
            held = self.manifest()
            if held["plan_hash"] != manifest["plan_hash"]:
                mine, theirs = manifest["plan"], held.get("plan", {})
                changed = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
                words = "; ".join(
                    f"{k}: {_short(theirs.get(k))} there, {_short(mine.get(k))} asked" for k in changed[:4]
                )
                raise DataError(
                    f"{self.path} holds a run of another plan ({words}); choose another folder with -o, or remove it"
                )
        else:
            if self.path.exists() and (not self.path.is_dir() or set(self.path.iterdir()) - set(self._leftovers())):
                raise DataError(f"{self.path} is there and is not a run; choose another folder with -o")
            write_atomically(self.manifest_path, json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        for leftover in self._leftovers():
            leftover.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        """What a kill in the middle of `write_atomically` leaves."""
        names = [".manifest.json-*", ".result.json-*", ".report.html-*"]
        ours = [*names, *(f"{table}/.*.parquet-*" for table in ("tokens", "sequences", "answers"))]
        return [path for pattern in ours for path in self.path.glob(pattern)]

    def manifest(self) -> dict[str, Any]:
        """What was planned.

        Raises:
            DataError: no run here, a damaged manifest, or a schema version that cannot be read.
        """
        try:
            held = json.loads(self.manifest_path.read_text())
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no run here (no manifest.json); `freerun audit -o {self.path}` makes one"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise DataError(f"{self.manifest_path} cannot be read ({error}); the run must be made again") from error
        if not isinstance(held, dict) or held.get("schema_version") not in READABLE_VERSIONS:
            version = held.get("schema_version") if isinstance(held, dict) else None
            reads = " and ".join(map(str, READABLE_VERSIONS))
            raise DataError(
                f"{self.path} has record schema {version!r}, this freerun reads {reads}; use the version that made it, "
                "or run the audit again in another folder"
            )
        return held

    def done(self, name: str, unit_key: str) -> bool:
        """Whether a unit of work has been recorded, whole."""
        path = self.path / "sequences" / f"{name}.parquet"
        if not path.exists():
            return False
        try:
            held = pq.read_schema(path).metadata or {}
            pq.read_metadata(self.path / "tokens" / f"{name}.parquet")
        except (pa.ArrowException, OSError):
            return False
        return held.get(b"unit_key") == unit_key.encode()

    def write_part(self, name: str, sequences: pa.Table, tokens: pa.Table, *, unit_key: str, plan_hash: str) -> None:
        """Record one unit of work."""
        for kind, table in (("tokens", tokens), ("sequences", sequences)):
            table = table.cast(stamped(table.schema, unit_key=unit_key, plan_hash=plan_hash))
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
            write_atomically(self.path / kind / f"{name}.parquet", sink.getvalue().to_pybytes())

    def column_names(self, kind: str) -> tuple[str, ...]:
        """Columns of the first part."""
        path = next(iter(sorted((self.path / kind).glob("*.parquet"))))
        return tuple(pq.read_schema(path).names)

    def parts(self, kind: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Each part of `sequences` or `tokens`, in the order of their names; all columns, or those named.

        Raises:
            DataError: no parts, or a damaged one (named).
        """
        schema: pa.Schema | None = None
        names = None if columns is None else list(columns)
        whole = {p.name for p in (self.path / "sequences").glob("*.parquet")}
        for path in sorted((self.path / kind).glob("*.parquet")):
            if path.name not in whole:
                continue
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    part = file.read(columns=names, use_threads=False).replace_schema_metadata(None)
                if schema is not None and part.schema != schema:
                    raise pa.ArrowInvalid("its columns are not those of the other parts")
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{path} is damaged ({str(error).splitlines()[0]}); remove it and run the same audit again"
                ) from error
            schema = part.schema
            yield part
        if schema is None:
            raise DataError(f"{self.path} holds no records yet; run the same audit again to continue it")

    def read(self, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
        """`parts` as one table."""
        return pa.concat_tables(list(self.parts(kind, columns)))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True)
class Records:
    """A run's records as arrays: what findings read.

    `sequences` and `tokens` map column names to arrays; tokens are sorted by (sequence, position) and sequences by number, so
    that `rows(i)` is the slice of tokens of sequence `i`.
    """

    manifest: dict[str, Any]
    sequences: dict[str, Any]
    tokens: MutableMapping[str, np.ndarray]
    starts: np.ndarray

    @property
    def n_sequences(self) -> int:
        return len(self.starts) - 1

    def rows(self, index: int) -> slice:
        """The tokens of the sequence at an index (not its number)."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def chosen(self, **wanted: Any) -> np.ndarray:
        """Indices of the sequences whose columns have the given values, in order of document and replicate."""
        keep = np.ones(self.n_sequences, bool)
        for name, value in wanted.items():
            keep &= self.sequences[name] == value
        return np.flatnonzero(keep)

    def token_sequence_index(self) -> np.ndarray:
        """For every token the index of its sequence."""
        return np.repeat(np.arange(self.n_sequences), np.diff(self.starts))


_STRINGS = ("document_id", "unit", "split", "arm", "prefix_text", "text", "end_reason")


def load_records(folder: RunFolder) -> Records:
    """Read a whole run into arrays; nulls in numbers become −inf (log-probabilities) or NaN (the rest).

    `embedding` has no columns where none was recorded, and what an older schema version lacks is filled as not measured.
    """
    manifest = folder.manifest()
    raw = folder.read("sequences")
    raw = raw.take(np.argsort(raw["sequence"].to_numpy(), kind="stable"))
    sequences: dict[str, Any] = {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        if name in _STRINGS:
            sequences[name] = np.array(column.to_pylist(), dtype=object)
        elif name == "embedding":
            sequences[name] = _embeddings(column)
        elif pa.types.is_fixed_size_list(column.type):
            sequences[name] = (
                column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
            )
        elif pa.types.is_list(column.type):
            sequences[name] = column.to_pylist()
        else:
            sequences[name] = column.to_numpy(zero_copy_only=False)
    sequences.pop("hidden", None)  # of version 1, always null
    sequences.setdefault("embedding", np.zeros((len(raw), 0), np.float32))
    tokens, starts = _token_columns(folder, sequences["sequence"], int(sequences["n_tokens"].sum()))
    return Records(manifest, sequences, tokens, starts)


def _token_columns(
    folder: RunFolder, numbers: Int[np.ndarray, " sequences"], n_rows: int
) -> tuple[Columns, Int[np.ndarray, " ends"]]:
    """The token columns sorted by (sequence, position), and where each sequence begins."""
    tokens = Columns(folder.column_names("tokens"), partial(folder.parts, "tokens"), n_rows)
    number = tokens["sequence"]
    if "without_prefix_log_prob_nats" not in tokens:
        tokens["without_prefix_log_prob_nats"] = np.full(len(number), np.nan)
    return tokens, np.searchsorted(number, np.append(numbers, np.iinfo(np.int32).max))


def _embeddings(column: pa.Array) -> Float[np.ndarray, "sequences width"]:
    """One row a sequence, NaN where there is none; no columns where the model shows no hidden states."""
    width = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 0
    out = np.full((len(column), width), np.nan, np.float32)
    if width:
        out[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, width)
    return out
