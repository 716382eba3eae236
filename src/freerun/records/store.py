"""A run's folder: the manifest, and record parts that appear by one atomic rename each.

manifest.json            what was planned, with what; written before the first part
tokens/NAME.parquet      of a unit of work, renamed into place first …
checksums/NAME.sha256    … then the SHA-256 of both files …
sequences/NAME.parquet   … and then this one: a unit is done if and only if it is here and both files fit their checksums
result.json, report.html derived from the above, made again by `freerun report`
.lock                    there while a process writes
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from freerun.errors import DataError, first_line
from freerun.files import FORBIDDEN, NO_HANDLES, cannot, sha256_of, write_atomically
from freerun.records import checksums, lock
from freerun.records.beginning import check_is_run_or_new, check_same_plan, clear_leftovers
from freerun.records.columns import Columns, numbers
from freerun.records.layout import FIRST_PARTS, as_first_look
from freerun.records.manifest import Damaged, Manifest, manifest_from, short, with_command, written
from freerun.records.parquet import BROKEN, encoded, metadata_of
from freerun.records.plan import upgraded
from freerun.records.schema import LATER, READABLE_VERSIONS, sequences_schema, stamped, tokens_schema, unlike

_NOT_TO_BLAME = {*FORBIDDEN, *NO_HANDLES, errno.ENOMEM}
"""Why a file could not be read, where the file itself may be good."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path
    first_look: bool = field(default=False, kw_only=True)
    """Read the parts of a first look alone, as if there were no others."""
    _verified: dict[Path, tuple[int, int, int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Files that fitted their checksums, with inode, size and time of change: each is hashed once."""

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin or continue a run: write the manifest, or check that the one there has the same plan.

        Until this object is gone no other process can open the folder.

        Raises:
            DataError: the folder holds another plan, another schema version, or something that is not a run; another process
                writes to it; it cannot be written to.
        """
        check_is_run_or_new(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.hold(self, self.path)
        except (OSError, ValueError) as error:
            raise cannot("write", self.path, error) from error
        held = self._held(str(manifest["plan_hash"]))
        if held is not None:
            check_same_plan(self.path, held, manifest)
        if held is None or manifest.get("layout") != held.get("layout"):
            if held is not None and self.has_parts:
                raise DataError(f"{self.path} was begun by another process just now; run the same command again")
            write_atomically(self.manifest_path, written(manifest))
        elif manifest.get("command") not in (None, held.get("command")):
            write_atomically(self.manifest_path, written(with_command(held, str(manifest["command"]))))
        clear_leftovers(self.path)

    @property
    def has_parts(self) -> bool:
        """Whether any unit of work has been recorded, whole or damaged."""
        return any((self.path / "sequences").glob("*.parquet"))

    @property
    def has_first_look(self) -> bool:
        """Whether any part of a first look has been recorded, whole or damaged."""
        return any((self.path / "sequences").glob(f"{FIRST_PARTS}*.parquet"))

    def _held(self, plan_hash: str) -> Manifest | None:
        """The manifest that is there; None where there is none, or a damaged one beside parts of this very plan: it is made anew.

        Raises:
            DataError: it is damaged or gone, and the parts are of another plan or cannot tell.
        """
        if not self.manifest_path.exists() and not (self.path / "sequences").is_dir():
            return None
        try:
            return self.manifest()
        except DataError as error:
            parts = list((self.path / "sequences").glob("*.parquet"))
            if self.manifest_path.exists() and not (parts and isinstance(error, Damaged)):
                raise
            for path in parts:
                with suppress(*BROKEN):
                    if metadata_of(path).get("plan_hash") != plan_hash:
                        raise error from None
            return None

    def manifest(self) -> Manifest:
        """What was planned.

        Raises:
            DataError: no run here, a damaged manifest, or a schema version that cannot be read.
        """
        try:
            held = manifest_from(self.manifest_path.read_bytes(), self.manifest_path)
        except (FileNotFoundError, NotADirectoryError):
            what = f"no run here (no manifest.json); `freerun audit -o {self.path}` makes one"
            if self.path.is_file():
                what = "is a file, not a run; name the folder of a run"
            raise DataError(f"{self.path}: {what}") from None
        except (OSError, ValueError) as error:
            raise cannot("read", self.manifest_path, error) from error
        version = held.get("schema_version")
        if version not in READABLE_VERSIONS or not isinstance(version, int):
            *earlier, last = map(str, READABLE_VERSIONS)
            reads = f"{', '.join(earlier)} and {last}"
            raise DataError(
                f"{self.path} has record schema {version!r}, this freerun reads {reads}; use the version that made it, "
                "or run the audit again in another folder"
            )
        if held.get("kind") == "audit" and "plan" in held:
            held["plan"] = upgraded(held["plan"])
        return as_first_look(held) if self.first_look else held

    # ---- parts -------------------------------------------------------------------------------------------------------

    def done(self, name: str, unit_key: str) -> bool:
        """Whether a unit of work has been recorded, whole.

        Raises:
            DataError: its files cannot be read for a reason that is not theirs.
        """
        return self._part("sequences", name).exists() and self.damage(name, unit_key) is None

    def damage(self, name: str, unit_key: str) -> str | None:
        """What is wrong with a unit that is there, with the file's name; None: nothing, or it is not there.

        Raises:
            DataError: its files cannot be read for a reason that is not theirs.
        """
        paths = [self._part(kind, name) for kind in ("sequences", "tokens")]
        if not paths[0].exists():
            return None
        for path in paths:
            fault = self._fault(path)
            if fault is not None:
                return f"{path.relative_to(self.path)}: {fault}"
        if metadata_of(paths[0]).get("unit_key") != unit_key:
            return f"{paths[0].relative_to(self.path)}: it belongs to another unit of work"
        return None

    def write_part(
        self,
        name: str,
        sequences: pa.Table,
        tokens: pa.Table,
        *,
        unit_key: str,
        plan_hash: str,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Record one unit of work; `notes` are kept in its metadata.

        Raises:
            DataError: the folder cannot be written to, or the disk is full; the unit is not done then.
        """
        data: dict[str, bytes] = {}
        for kind, table in (("tokens", tokens), ("sequences", sequences)):
            meta = stamped(table.schema, unit_key=unit_key, plan_hash=plan_hash).metadata
            data[kind] = encoded(table.replace_schema_metadata({**meta, **checksums.MARK, **(notes or {})}))
        self.place(name, data)

    def place(self, name: str, data: Mapping[str, bytes]) -> None:
        """Put the files of a part, tokens and sequences, where they belong: what makes it whole comes last.

        Raises:
            DataError: the folder cannot be written to, or the disk is full; the unit is not done then.
        """
        sums = {kind: checksums.of_bytes(data[kind]) for kind in ("tokens", "sequences")}
        write_atomically(self._part("tokens", name), data["tokens"])
        write_atomically(checksums.path_of(self.path, name), checksums.written(name, sums))
        write_atomically(self._part("sequences", name), data["sequences"])

    def notes(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Name and metadata of every part: unit key, plan hash, and what was noted when it was made."""
        for path in self._whole("sequences"):
            yield path.stem, metadata_of(path)

    def column_names(self, kind: str) -> tuple[str, ...]:
        """Columns of the first part.

        Raises:
            DataError: no parts, or a damaged one.
        """
        path = self._whole(kind)[0]
        try:
            return tuple(pq.read_schema(path).names)
        except BROKEN as error:
            raise _damaged(path, error) from error

    def parts(self, kind: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Each part of `sequences` or `tokens`, in the order of their names; all columns, or those named.

        Raises:
            DataError: no parts, or a damaged one (named).
        """
        schema: pa.Schema | None = None
        for path in self._whole(kind):
            part = self._table(path, columns)
            if schema is not None and part.schema != schema:
                raise _damaged(path, "its columns are not those of the other parts")
            schema = part.schema
            yield part

    def part(self, kind: str, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of one part.

        Raises:
            DataError: it is damaged, or not there.
        """
        return self._table(self._part(kind, name), columns)

    def _table(self, path: Path, columns: Sequence[str] | None) -> pa.Table:
        if fault := self._fault(path):
            raise _damaged(path, fault)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                names = None if columns is None else list(columns)
                return file.read(columns=names, use_threads=False).replace_schema_metadata(None)
        except BROKEN as error:
            raise _damaged(path, error) from error

    def _part(self, kind: str, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
            raise DataError(f"a part cannot be called {short(name)}: letters, digits, _ and -, at most 100")
        return self.path / kind / f"{name}.parquet"

    def _whole(self, kind: str) -> list[Path]:
        """The files of a kind, in order, whose units are in `sequences/`."""
        pattern = f"{FIRST_PARTS if self.first_look else ''}*.parquet"
        names = sorted(p.name for p in (self.path / "sequences").glob(pattern))
        if not names:
            raise DataError(f"{self.path} holds no records yet; run the same audit again to continue it")
        return [self.path / kind / name for name in names]

    def _fault(self, path: Path) -> str | None:
        """Why a file of a part cannot be used; None: it fits its checksum, or it has none and can be opened.

        Raises:
            DataError: it cannot be read for a reason that is not its own.
        """
        try:
            stat = path.stat()
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if self._verified.get(path) == state:
                return None
            sums = checksums.read(self.path, path.stem)
            if sums is not None and sums.get(path.parent.name) != sha256_of(path):
                return "it does not fit its checksum"
        except FileNotFoundError:
            return "it is gone"
        except OSError as error:
            if error.errno in _NOT_TO_BLAME:
                raise cannot("read", path, error) from error
            return str(error.strerror or error)
        try:
            marked = checksums.marks(metadata_of(path))
        except BROKEN as error:
            return first_line(error)
        if sums is None and marked:
            return f"its checksum {checksums.path_of(self.path, path.stem).relative_to(self.path)} is gone"
        if sums is not None:
            self._verified[path] = state
        return None

    def read(self, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
        """`parts` as one table."""
        return pa.concat_tables(list(self.parts(kind, columns)))


def _damaged(path: Path, why: str | Exception) -> DataError:
    said = why if isinstance(why, str) else first_line(why)
    return DataError(f"{path} is damaged ({said}); remove it and run the same audit again, which makes it anew")


@dataclass(frozen=True)
class Records:
    """A run's records as arrays: what findings read.

    `sequences` and `tokens` map column names to arrays; tokens are sorted by (sequence, position) and sequences by number, so
    that `rows(i)` is the slice of tokens of sequence `i`.
    """

    manifest: dict[str, Any]
    sequences: Mapping[str, Any]
    tokens: Mapping[str, np.ndarray]
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

    def forget(self, *names: str) -> None:
        """Let token columns go; asked for again, they are read again."""
        if isinstance(self.tokens, Columns):
            self.tokens.forget(*names)

    def token_sequence_index(self) -> np.ndarray:
        """For every token the index of its sequence."""
        return np.repeat(np.arange(self.n_sequences, dtype=np.int32), np.diff(self.starts))


_STRINGS = ("document_id", "unit", "split", "arm", "prefix_text", "text", "end_reason")


def load_records(folder: RunFolder) -> Records:
    """Read a whole run into arrays; nulls in numbers become −inf (log-probabilities) or NaN (the rest).

    `embedding` has no columns where none was recorded, and what an older schema version lacks is filled as not measured.

    Raises:
        DataError: no run, or a damaged part (named).
    """
    manifest = folder.manifest()
    raw = folder.read("sequences")
    _check_columns(folder, "sequences", raw.schema, sequences_schema(n_bins=1))
    raw = raw.take(np.argsort(raw["sequence"].to_numpy(), kind="stable"))
    sequences: dict[str, Any] = {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        if name in _STRINGS:
            sequences[name] = np.array(column.to_pylist(), dtype=object)
        elif name == "embedding":
            sequences[name] = _embeddings(column)
        else:
            sequences[name] = column.to_pylist() if pa.types.is_list(column.type) else numbers(column, np.nan)
    sequences.pop("hidden", None)  # of version 1, always null
    sequences.setdefault("embedding", np.zeros((len(raw), 0), np.float32))
    tokens, starts = _token_columns(folder, sequences["sequence"], sequences["n_tokens"])
    return Records(manifest, sequences, tokens, starts)


def _token_columns(
    folder: RunFolder, numbers: Int[np.ndarray, " sequences"], lengths: Int[np.ndarray, " sequences"]
) -> tuple[Columns, Int[np.ndarray, " ends"]]:
    """The token columns sorted by (sequence, position), and where each sequence begins."""
    first = next(folder.parts("tokens"))
    _check_columns(folder, "tokens", first.schema, tokens_schema(n_powers=1, n_references=1))
    tokens = Columns(folder.column_names("tokens"), partial(folder.parts, "tokens"), int(lengths.sum()))
    number = tokens["sequence"]
    for name in LATER - {"embedding"}:
        if name not in tokens:
            tokens[name] = np.full(len(number), np.nan)
    starts = np.searchsorted(number, np.append(numbers, np.iinfo(np.int32).max))
    if not np.array_equal(np.diff(starts), lengths):
        raise DataError(f"{folder.path}: the tokens recorded are not those that the sequences count: a part is damaged")
    return tokens, starts


def _check_columns(folder: RunFolder, kind: str, schema: pa.Schema, wanted: pa.Schema) -> None:
    if fault := unlike(schema, wanted):
        raise DataError(
            f"{folder.path / kind}: {fault}; these are not records of freerun, or damaged ones: run the audit again in "
            "another folder"
        )


def _embeddings(column: pa.Array) -> Float[np.ndarray, "sequences width"]:
    """One row a sequence, NaN where there is none; no columns where the model shows no hidden states."""
    width = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 0
    out = np.full((len(column), width), np.nan, np.float32)
    if width:
        out[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, width)
    return out
