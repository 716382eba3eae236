"""The manifest as it is read: what must be in it, and a clear line where it is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freerun.errors import DataError

SEAL = "sha256"
"""Of everything else in a manifest. Earlier versions have none."""
MOST = 10_000_000
"""Documents, tokens or rows at once that no run has."""
_KINDS: dict[str, type] = {
    "plan": dict,
    "plan_hash": str,
    "command": str,
    "counts": dict,
    "model": dict,
    "corpus": dict,
    "reference": dict,
    "provenance": dict,
    "powers": list,
}
_COUNTED = (("counts", "pairs"), ("plan", "tokens"), ("plan", "batch"))


class Damaged(DataError):
    """The file is not what was written."""


class Manifest(dict[str, Any]):
    """A dict in which a key that is not there is said to be missing from the file."""

    source: Path | None = None

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self.source} cannot be read (it lacks {key!r}); the run must be made again")


def manifest_from(data: bytes, path: Path) -> Manifest:
    """The manifest in the bytes of the file at `path`.

    Raises:
        DataError: not JSON, no object, or a part of it is of the wrong kind.
    """
    try:
        manifest = json.loads(data, object_hook=lambda pairs: _known(pairs, path))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({error}); the run must be made again") from error
    if not isinstance(manifest, Manifest):
        raise Damaged(f"{path} cannot be read (it is not a valid JSON object); the run must be made again")
    if manifest.pop(SEAL, digest := _digest(manifest)) != digest:
        raise Damaged(
            f"{path} is damaged (it does not fit its checksum); run the same command again, or remove the folder"
        )
    for key, kind in _KINDS.items():
        if key in manifest and not isinstance(manifest[key], kind):
            raise DataError(f"{path} cannot be read ({key} is {short(manifest[key])}); the run must be made again")
    for outer, key in _COUNTED:
        value = manifest.get(outer, {}).get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
            raise DataError(f"{path} cannot be read ({outer}.{key} is {short(value)}); the run must be made again")
    return manifest


def written(manifest: Mapping[str, Any]) -> str:
    """The text of the file, with the checksum of all that is in it."""
    return json.dumps({**manifest, SEAL: _digest(manifest)}, indent=2, sort_keys=True) + "\n"


def with_command(held: Manifest, command: str) -> dict[str, Any]:
    """A manifest with the command that goes on with its run, and the earlier ones in their order."""
    known = (*held.get("earlier_commands", ()), held.get("command"))
    earlier = [c for c in known if c not in (None, command)]
    return {**held, "command": command, "earlier_commands": earlier}


def _digest(manifest: Mapping[str, Any]) -> str:
    content = {k: v for k, v in manifest.items() if k != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _known(pairs: dict[str, Any], path: Path) -> Manifest:
    manifest = Manifest(pairs)
    manifest.source = path
    return manifest


def short(value: Any) -> str:
    """A value as JSON, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
