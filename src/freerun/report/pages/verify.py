"""The single-file page of `freerun verify`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from freerun.report.pages.audit import FINDING_FILTERS
from freerun.report.pages.template import Page, badge


def render_verify(result: Mapping[str, Any]) -> str:
    """Return the page of a verification as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


_PAGE = Page(
    "verify.html.j2",
    {
        **FINDING_FILTERS,
        "badge": partial(badge, good=("✓", "Agrees"), bad=("≠", "Differs"), unknown=("?", "Not judged")),
    },
)
