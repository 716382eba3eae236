"""Which tests are run with the types and shapes of every call checked (`make shapes`)."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but what is refused on purpose, and the certificates, which take numbers and arrays alike."""
    for item in items:
        if HERE in item.path.parents and item.path.name != "test_certificates.py" and "refused" not in item.name:
            item.add_marker("shapes")
