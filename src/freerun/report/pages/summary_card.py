"""A result as a small piece of HTML for a notebook: the verdict and the headline numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from freerun.report.visible import visible

_BOX = "border:1px solid #8886;border-radius:8px;padding:.8em 1em;max-width:52em;font-family:system-ui,sans-serif"
_ROW = '<tr><th style="text-align:left">{}</th><td>{} {}</td><td>{}</td><td style="text-align:left">{}</td></tr>'


def summary_card(result: Mapping[str, Any]) -> str:
    """Return a self-contained `<div>`: no script, no link, all text escaped and unseen characters shown as signs."""
    rows = Markup("").join(
        Markup(_ROW).format(*(visible(str(card.get(k) or "")) for k in ("label", "value", "unit", "interval", "note")))
        for card in result.get("headline") or ()
    )
    verdict = result["verdict"]
    return str(
        Markup(
            '<div style="{}"><p style="opacity:.7;margin:0">{}</p><p style="font-size:1.15em;margin:.3em 0">{}</p>'
            "<table><thead><tr><th></th><th></th><th>95%</th><th></th></tr></thead><tbody>{}</tbody></table></div>"
        ).format(_BOX, visible(str(result.get("title") or "")), visible(str(verdict["sentence"])), rows)
    )
