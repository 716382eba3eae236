"""Files of samples, written as those who write them do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows as JSON lines, or bytes as they are, and return the file."""

    def written(*rows: Any, name: str = "samples.jsonl") -> Path:
        path = tmp_path / name
        if len(rows) == 1 and isinstance(rows[0], bytes):
            path.write_bytes(rows[0])
        else:
            path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return written
