"""A result as a small piece of HTML for a notebook: the verdict and the headline numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from freerun.report.pages.template import Page

_CARD = Page("summary_card.html.j2", {}, undefined=jinja2.ChainableUndefined)


def summary_card(result: Mapping[str, Any]) -> str:
    """Return a self-contained `<div>`: no script, no link, all text escaped and unseen characters shown as signs."""
    return _CARD.render(result=result)
