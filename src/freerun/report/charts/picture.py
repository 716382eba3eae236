"""A chart as a file of its own: an SVG with its colours in it, on its own paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from freerun.report.charts.marks import element
from freerun.report.charts.svg import draw_chart
from freerun.report.pages.template import stylesheet

WIDE = 832
"""Of a picture in a file, in pixels."""


def standing_alone(chart: Mapping[str, Any]) -> str:
    """Return `chart` (as it stands in JSON) as the text of an SVG file that needs no style sheet and no network."""
    return framed(str(draw_chart(chart, width=WIDE)), str(chart["title"]))


def framed(svg: str, title: str) -> str:
    """Return an inline SVG of class `chart`, `WIDE` wide, as the text of a file: with its style, its paper and a title."""
    height = float(svg.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()[1])
    opened, rest = svg.split(">", 1)
    margin, head = 12, 40
    width, height = WIDE + 2 * margin, height + margin + head
    size = f'viewBox="{-margin} {-head} {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    opened = re.sub(r'viewBox="[^"]*"', size, opened).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    colours = _variables()
    paper = element("rect", x=-margin, y=-head, width=width, height=height, fill=colours["paper"])
    headline = element("text", title, x=2, y=-16, class_="strong")
    return f"{opened}><style>{_chart_style(colours)}</style>{paper}{headline}{rest}\n"


def _variables() -> dict[str, str]:
    """The page's colours and faces, as they are on light paper."""
    root = re.search(r":root\s*\{([^}]*)\}", stylesheet())
    return {name: value.strip() for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", root[1] if root else "")}


def _chart_style(colours: Mapping[str, str]) -> str:
    """The page's rules for charts with every variable written out: many programs that read SVG know none."""
    section = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}|/\*.*?\*/", "", stylesheet(), flags=re.DOTALL)
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", section)
    hues = {
        m[1]: m[2]
        for s, body in rules
        if (m := re.match(r"\s*\.role-(\w+) --hue: var\(--(\w+)\)", f"{s.strip()} {body.strip()}"))
    }
    lines = [
        f"{written} {{{_resolved(body.replace('width: 100%; max-width: 40rem; height: auto;', ''), colours, hue)}}}"
        for selectors, body in rules
        if "--hue:" not in body and re.search(r"\.chart\b|\.readings\b", selectors)
        for selector in selectors.split(",")
        for written, hue in _by_role(selector.strip(), body, hues)
    ]
    return "\n".join(lines)


def _by_role(selector: str, body: str, hues: Mapping[str, str]) -> list[tuple[str, str | None]]:
    if "var(--hue)" not in body:
        return [(selector, None)]
    return [(selector.replace(".chart", f".chart .role-{role}", 1), hue) for role, hue in hues.items()]


def _resolved(body: str, colours: Mapping[str, str], hue: str | None) -> str:
    if hue is not None:
        body = body.replace("var(--hue)", f"var(--{hue})")
    return re.sub(r"var\(--([\w-]+)\)", lambda m: colours[m[1]], body).strip()
