"""The single-file page of `freerun lab disagreement`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.report.pages.loops import value
from freerun.report.pages.template import Page, badge


def render_disagreement(result: Mapping[str, Any]) -> str:
    """Return the page of a run as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


_PAGE = Page("disagreement.html.j2", {"badge": badge, "value": value})
