"""What cost time and is kept: arrays under a name, whole or not there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from freerun.files import write_atomically

Arrays = dict[str, np.ndarray]
_KEY = "key"


class Kept:
    """A folder of arrays that belong to one plan; what another plan left there, or is damaged, counts for nothing."""

    def __init__(self, folder: Path, key: str, on_tokens: Callable[[int], None]) -> None:
        self.folder, self.key, self.on_tokens = folder, key, on_tokens

    def take(self, name: str, make: Callable[[], Arrays], *, n_tokens: int) -> Arrays:
        """The arrays under this name, made and written where they are not there yet.

        `make` itself tells `on_tokens` what it does; where it need not be called, its `n_tokens` are told at once.

        Raises:
            DataError: they cannot be written.
        """
        path = self.folder / f"{name}.npz"
        held = self._read(path)
        if held is not None:
            self.on_tokens(n_tokens)
            return held
        arrays, data = make(), io.BytesIO()
        np.savez_compressed(data, **{_KEY: np.array(self.key)}, **arrays)  # type: ignore[arg-type]
        write_atomically(path, data.getvalue())
        return arrays

    def _read(self, path: Path) -> Arrays | None:
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return arrays if str(arrays.pop(_KEY, "")) == self.key else None
