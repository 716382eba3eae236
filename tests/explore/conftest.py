from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [explore] is not installed")
pytest.importorskip("uvicorn", reason="the extra [explore] is not installed")


@pytest.fixture(scope="module")  # while it is open, no event loop can be started in this process
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright, which brings no browser of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra [dev] is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; continuous integration installs it")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-quic"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    """The page of two toy models."""
    from tests.explore.site import desk_of, served, toy

    with served(desk_of(toy(), toy())) as up:
        yield up
