"""How every page is made from its template: text escaped, unseen characters shown as signs, one file that needs no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from freerun.report.charts.curves import chart_table
from freerun.report.charts.svg import draw_chart
from freerun.report.numbers import UNKNOWN, format_number
from freerun.report.visible import visible


@cache
def asset(name: str) -> str:
    """The text of a file that ships with the report."""
    return files("freerun.report.pages").joinpath(name).read_text(encoding="utf-8")


def stylesheet() -> str:
    """Return the CSS that pages and charts share."""
    return asset("page.css")


def printed(value: object) -> object:
    """What stands in a template without a filter: signs for unseen characters, a dash for what is not known, the text of a cell."""
    if isinstance(value, (Markup, jinja2.Undefined)):
        return value
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_number(value, digits=6)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(printed(v)) for v in value) or UNKNOWN
    if isinstance(value, Mapping):
        return visible(str(value["text"]) if "text" in value else json.dumps(value, ensure_ascii=False, default=str))
    return visible(str(value))


@dataclass(frozen=True)
class Page:
    """A template with the filters that it has beside those of all pages, and what is put into it; everything is escaped."""

    template: str
    filters: Mapping[str, Callable[..., Any]]
    css: tuple[str, ...] = ()
    script: str = ""
    undefined: type[jinja2.Undefined] = jinja2.StrictUndefined

    @cached_property
    def environment(self) -> jinja2.Environment:
        made = jinja2.Environment(
            loader=jinja2.FunctionLoader(asset),
            autoescape=self.template.endswith(("html.j2", "xml.j2")),
            undefined=self.undefined,
            finalize=printed,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters.update({"chart_table": chart_table, "drawn": draw_chart, "number": format_number, **self.filters})
        return made

    def render(self, **values: Any) -> str:
        """The text of the page: one file that needs no network and no other."""
        script = asset(self.script) if self.script else ""
        return self.environment.get_template(self.template).render(
            style=Markup(stylesheet() + "".join(map(asset, self.css))),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **values,
        )


STATUSES = {
    "good": ("✓", "Good sign"),
    "bad": ("!", "Bad sign"),
    "neutral": ("·", "Description"),
    "unknown": ("?", "Cannot tell"),
}
"""Sign and words of each status: never told by colour alone."""


def badge(status: object, **others: tuple[str, str]) -> dict[str, str]:
    """What a template needs to show a status; `others` are signs and words of this page's own."""
    name = str(status) if status in STATUSES else "unknown"
    sign, words = (STATUSES | others)[name]
    return {"name": name, "sign": sign, "words": words}
