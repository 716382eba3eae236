"""How every test starts: one thread to a process, and the real model loaded once."""

from __future__ import annotations

import os
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Set before PyTorch is loaded and before pytest starts its workers: they share the cores, and more threads would only wait."""


@pytest.fixture(scope="session")
def smollm() -> Any:
    """The real 135M model. It is shared: no test may change it."""
    import freerun

    return freerun.load("smollm2-135m-instruct")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the real model come first, so that the last file to end is a short one."""
    slow = {item.path for item in items if item.get_closest_marker("model")}
    items.sort(key=lambda item: item.path not in slow)
