"""A tab of a real browser that has read its text, for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.explore.site import Site

TEXT = "to be or not"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def tab(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A page that has read its text; nothing may fail in it, and nothing may be fetched from elsewhere."""
    context = browser.new_context(viewport=options.pop("viewport", DESK), **options)
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.trouble = []
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("console", lambda m: page.trouble.append(m.text) if "Content Security Policy" in m.text else None)
        page.on(
            "request",
            lambda r: page.trouble.append(r.url) if "//127.0.0.1" not in r.url and "blob:" not in r.url else None,
        )
        page.goto(address)
        page.wait_for_selector(".bars li")
        yield page
        assert page.trouble == []
    finally:
        context.close()


def opened(site: Site, text: str = TEXT, **more: Any) -> str:
    extra = "".join(f"&{name}={value}" for name, value in more.items())
    return f"{site.address}#text={text}{extra}"


def selected(page: Any) -> str:
    return str(page.locator("[role=treeitem][aria-selected=true]").text_content())


def pieces(page: Any) -> str:
    return "".join(page.locator(".tokens .piece").all_text_contents())
