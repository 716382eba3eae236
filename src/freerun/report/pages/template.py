"""How every page is made from its template: text escaped, unseen characters shown as signs, one file that needs no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from freerun.report.charts.svg import NARROW, WIDE, draw_chart
from freerun.report.numbers import UNKNOWN
from freerun.report.visible import visible


@cache
def asset(name: str) -> str:
    """The text of a file that ships with the report."""
    return files("freerun.report.pages").joinpath(name).read_text(encoding="utf-8")


def stylesheet() -> str:
    """Return the CSS that pages and charts share."""
    return asset("page.css")


def printed(value: object) -> object:
    """What stands in a template without a filter: strings with signs for unseen characters, a dash for what is not known."""
    if isinstance(value, (Markup, jinja2.Undefined)):
        return value
    if value is None:
        return UNKNOWN
    if isinstance(value, Mapping) and "text" in value:  # a cell of a table
        return visible(str(value["text"]))
    return visible(value) if isinstance(value, str) else value


def environment(
    filters: Mapping[str, Callable[..., Any]],
    *,
    finalize: Callable[[object], object] = printed,
    undefined: type[jinja2.Undefined] = jinja2.StrictUndefined,
) -> jinja2.Environment:
    """Templates of the report with these filters; everything is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=undefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    return made


def drawn(chart: Mapping[str, Any], key: str | None = None) -> Markup:
    """Draw `chart` twice, for wide and for narrow screens; the style sheet shows one of them."""
    name = key or str(chart["name"])
    return two_widths(*(draw_chart(chart, width=width, key=f"{name}-{width}") for width in (WIDE, NARROW)))


def two_widths(wide: Markup, narrow: Markup) -> Markup:
    """One picture drawn for wide and for narrow screens."""
    return Markup('<div class="drawn wide">{}</div><div class="drawn narrow">{}</div>').format(wide, narrow)
