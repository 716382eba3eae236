"""Parts of a run in an object store, or wherever a URL of fsspec leads: where workers leave what they make if they share no folder.

URL/PLAN_HASH/tokens/NAME.parquet      put in one request each,
URL/PLAN_HASH/sequences/NAME.parquet   under their final names; then
URL/PLAN_HASH/checksums/NAME.sha256    the SHA-256 of both

Object stores know no rename. So a part is whole if and only if its checksums are there and both files fit them: a file that was cut
off has none, or does not fit. Whoever holds the run's folder takes whole parts from here, with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from freerun.errors import DataError, UsageError, first_line
from freerun.records import checksums
from freerun.records.store import RunFolder

KINDS = ("tokens", "sequences")


@dataclass(frozen=True)
class RemoteParts:
    """The parts of one run at a URL."""

    url: str
    plan_hash: str

    def put(self, name: str, data: Mapping[str, bytes]) -> None:
        """Leave a part here.

        Raises:
            DataError: nothing can be written there.
        """
        sums = {kind: checksums.of_bytes(data[kind]) for kind in KINDS}
        for kind in KINDS:
            self._put(f"{kind}/{name}.parquet", data[kind])
        self._put(f"{checksums.FOLDER}/{name}.sha256", checksums.written(name, sums).encode())

    def get(self, name: str) -> dict[str, bytes] | None:
        """The files of a part that is whole; None where it is not, or not there.

        Raises:
            DataError: the store cannot be reached.
        """
        written = self._get(f"{checksums.FOLDER}/{name}.sha256")
        if written is None:
            return None
        data = {kind: self._get(f"{kind}/{name}.parquet") for kind in KINDS}
        whole = {kind: content for kind, content in data.items() if content is not None}
        sums = {kind: checksums.of_bytes(content) for kind, content in whole.items()}
        fits = len(whole) == len(KINDS) and written == checksums.written(name, sums).encode()
        return whole if fits else None

    def take(self, name: str, folder: RunFolder) -> bool:
        """Put a whole part into the run's folder; False where there is none here."""
        data = self.get(name)
        if data is None:
            return False
        folder.place(name, data)
        return True

    @cached_property
    def _at(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError:
            raise UsageError("parts at a URL need fsspec, which is not installed: pip install 'freerun[ray]'") from None
        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.url}: {first_line(error)}") from error
        return system, f"{root.rstrip('/')}/{self.plan_hash}"

    def _put(self, path: str, content: bytes) -> None:
        system, root = self._at
        try:
            system.makedirs(f"{root}/{path}".rpartition("/")[0], exist_ok=True)
            system.pipe_file(f"{root}/{path}", content)
        except Exception as error:  # every store has errors of its own
            raise DataError(f"cannot write {self.url}/{self.plan_hash}/{path}: {first_line(error)}") from error

    def _get(self, path: str) -> bytes | None:
        system, root = self._at
        try:
            return bytes(system.cat_file(f"{root}/{path}"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise DataError(f"cannot read {self.url}/{self.plan_hash}/{path}: {first_line(error)}") from error


@dataclass(frozen=True)
class Outbox(RunFolder):
    """A run's folder as a worker has it that cannot see it: parts go to a URL, and are looked for there."""

    remote: RemoteParts = RemoteParts("memory://", "")

    def done(self, name: str, unit_key: str) -> bool:
        """Whether the part is there, whole. The plan's hash is in its address, and the unit in its name."""
        return self.remote.get(name) is not None

    def damage(self, name: str, unit_key: str) -> str | None:
        return None

    def place(self, name: str, data: Mapping[str, bytes]) -> None:
        self.remote.put(name, data)
