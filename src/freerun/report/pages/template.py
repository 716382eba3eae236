"""How every page is made from its template: text escaped, unseen characters shown as signs, one file that needs no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
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


def environment(
    filters: Mapping[str, Callable[..., Any]], *, undefined: type[jinja2.Undefined] = jinja2.StrictUndefined
) -> jinja2.Environment:
    """Templates of the report with these filters beside the ones that all have; everything is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=undefined,
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({"chart_table": chart_table, "drawn": draw_chart, "number": format_number, **filters})
    return made
