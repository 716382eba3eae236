"""What a scoring pass recorded of somebody else's samples: a folder with one part a unit, so that the same command goes on.

manifest.json          what was asked, of which file and model
scores/NAME.parquet    one row a drawn token of the unit's completions, appears by one rename
stages/NAME.json       what later stages found, each with the key of what it was made from
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from freerun.errors import DataError, first_line
from freerun.files import cannot, write_atomically
from freerun.records import lock
from freerun.records.parquet import BROKEN, encoded, metadata_of

VERSION = "2"


@dataclass(frozen=True)
class ScoreFolder:
    """One verification on disk."""

    path: Path

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin, or go on with the same plan; no other process can open the folder until this object is gone.

        Raises:
            DataError: something else is there, another process writes to it, or it cannot be written to.
        """
        try:
            if self.path.exists() and not self._manifest_path.exists() and any(self.path.iterdir()):
                raise DataError(f"{self.path} is there and holds no verification; choose another folder with -o")
            self.path.mkdir(parents=True, exist_ok=True)
            lock.hold(self, self.path)
        except (OSError, ValueError) as error:
            raise cannot("write", self.path, error) from error
        if self._manifest_path.exists():
            if self.manifest().get("plan_hash") != manifest["plan_hash"]:
                raise DataError(
                    f"{self.path} holds the verification of another file, model or rule; choose another folder with -o, or "
                    "remove it"
                )
            return
        write_atomically(self._manifest_path, json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n")

    @property
    def _manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """What was asked.

        Raises:
            DataError: there is none, or it is damaged.
        """
        return self._json(self._manifest_path)

    def has(self, name: str, key: str) -> bool:
        """Whether a unit's part is there and was made of this."""
        try:
            held = metadata_of(self._part(name))
            return held.get("version") == VERSION and held.get("unit_key") == key
        except BROKEN:
            return False

    def write(self, name: str, columns: Mapping[str, np.ndarray], *, key: str, notes: Mapping[str, Any]) -> None:
        """Record a unit, whole or not at all."""
        table = pa.table({column: pa.array(values) for column, values in columns.items()})
        meta = {"version": VERSION, "unit_key": key, "notes": json.dumps(notes, allow_nan=False)}
        write_atomically(self._part(name), encoded(table.replace_schema_metadata(meta)))

    def read(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A unit's columns and its notes.

        Raises:
            DataError: a damaged part (named).
        """
        path = self._part(name)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(use_threads=False)
            notes = json.loads(metadata_of(path)["notes"])
            return {c: table[c].to_numpy() for c in table.column_names}, notes
        except BROKEN as error:
            raise DataError(
                f"{path} is damaged ({first_line(error)}); remove it and run the same command again"
            ) from error

    def stage(self, name: str, key: str) -> Any | None:
        """What a later stage found; None where it was not made, or from something else."""
        path = self.path / "stages" / f"{name}.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return held["value"] if isinstance(held, dict) and held.get("key") == key else None

    def write_stage(self, name: str, key: str, value: Any) -> None:
        text = json.dumps({"key": key, "value": value}, allow_nan=False)
        write_atomically(self.path / "stages" / f"{name}.json", text + "\n")

    def _part(self, name: str) -> Path:
        return self.path / "scores" / f"{name}.parquet"

    @staticmethod
    def _json(path: Path) -> dict[str, Any]:
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({first_line(error)}); verify again in another folder") from error
        if not isinstance(held, dict):
            raise DataError(f"{path} holds no JSON object; verify again in another folder")
        return held
