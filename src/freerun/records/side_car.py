"""Tables of one file a part that stand beside `sequences/` and `tokens/`: what was asked of a run on top of its own records.

A part gets there by one rename, after its checksum in `checksums/NAME.sha256`. Its metadata hold its version, `unit_key` (what was
asked) and `plan_hash`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from freerun.errors import DataError, first_line
from freerun.files import write_atomically
from freerun.records import checksums
from freerun.records.parquet import BROKEN, encoded, metadata_of
from freerun.records.store import RunFolder

T = TypeVar("T")


@dataclass(frozen=True)
class SideCar:
    """One kind of such tables."""

    kind: str
    """Folder of the parts, and their kind in the checksums."""
    schema: pa.Schema
    version: int
    version_key: str
    """What the version is called in the metadata."""
    again: str
    """How a part that cannot be used is made anew."""

    def path(self, folder: RunFolder, name: str) -> Path:
        return folder.path / self.kind / f"{name}.parquet"

    def holds(self, folder: RunFolder, name: str, unit_key: str) -> bool:
        """Whether a part is there, whole, and holds this unit of work."""
        path = self.path(folder, name)
        try:
            held = metadata_of(path)
            return held.get("unit_key") == unit_key and checksums.fault(folder.path, path, held) is None
        except BROKEN:
            return False

    def write(
        self, folder: RunFolder, name: str, table: pa.Table, *, unit_key: str, plan_hash: str, notes: Mapping[str, str]
    ) -> None:
        """Record one part, whole or not at all, in the place of what was asked before; `notes` are kept in its metadata.

        Raises:
            DataError: the folder cannot be written to, or the disk is full.
        """
        for leftover in (folder.path / self.kind).glob(".*.parquet-*"):  # of a kill in the middle of a write
            leftover.unlink(missing_ok=True)
        meta = {self.version_key: str(self.version), "unit_key": unit_key, "plan_hash": plan_hash, **notes}
        data = encoded(table.replace_schema_metadata({**meta, **checksums.MARK}))
        sums = {self.kind: checksums.of_bytes(data)}
        write_atomically(checksums.path_of(folder.path, name), checksums.written(name, sums))
        write_atomically(self.path(folder, name), data)

    def read(self, folder: RunFolder, parse: Callable[[pa.Table, dict[str, str]], T]) -> Iterator[tuple[Path, T]]:
        """Every part in the order of their names, with what `parse` makes of its table and metadata.

        Raises:
            DataError: a damaged part (named), another version, or one of a run of another plan.
        """
        plan_hash = str(folder.manifest()["plan_hash"])
        for path in sorted((folder.path / self.kind).glob("*.parquet")):
            try:
                held = metadata_of(path)
                if fault := checksums.fault(folder.path, path, held):
                    raise ValueError(fault)
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    table = file.read(use_threads=False)
                version = held.get(self.version_key)
                if version != str(self.version) or not table.schema.equals(self.schema):
                    raise DataError(
                        f"{path} has version {version} of the {self.kind}, this freerun reads {self.version}; {self.again}"
                    )
                if held.get("plan_hash") != plan_hash:
                    raise DataError(f"{path} belongs to a run of another plan; {self.again}")
                part = parse(table, held)
            except BROKEN as error:
                raise DataError(f"{path} is damaged ({first_line(error)}); {self.again}") from error
            yield path, part
