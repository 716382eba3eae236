"""A chart as a file of its own: an SVG with its colours in it, on its own paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from freerun.report.charts.marks import element
from freerun.report.charts.svg import draw_chart
from freerun.report.pages.template import asset, stylesheet

WIDE = 832
"""Of a picture in a file, in pixels."""


def standing_alone(chart: Mapping[str, Any]) -> str:
    """Return `chart` (as it stands in JSON) as the text of an SVG file that needs no style sheet and no network."""
    return framed(draw_chart(chart, width=WIDE), str(chart["title"]))


def framed(svg: str, title: str = "", *, css: str = "page.css", kind: str = "chart") -> str:
    """Return an inline SVG of class `kind` as the text of a file: with the style of that class, its paper and a title."""
    opened, rest = str(svg).split(">", 1)
    width, height = (float(n) for n in re.findall(r'viewBox="0 0 (\S+) (\S+)"', opened)[0])
    margin, head = 12, 40 if title else 12
    width, height = width + 2 * margin, height + margin + head
    size = f'viewBox="{-margin} {-head} {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    opened = re.sub(r' (viewBox|width|height)="[^"]*"', "", opened)
    opened = opened.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" {size}', 1)
    colours = _variables()
    paper = element("rect", x=-margin, y=-head, width=width, height=height, fill=colours["paper"])
    headline = element("text", title, x=2, y=-16, class_="strong") if title else ""
    return f"{opened}><style>{_style(asset(css), kind, colours)}</style>{paper}{headline}{rest}\n"


def _variables() -> dict[str, str]:
    """The page's colours and faces, as they are on light paper."""
    root = re.search(r":root\s*\{([^}]*)\}", stylesheet())
    return {name: value.strip() for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", root[1] if root else "")}


def _style(css: str, kind: str, colours: Mapping[str, str]) -> str:
    """The rules of a class with every variable written out: many programs that read SVG know none."""
    section = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}|/\*.*?\*/", "", css, flags=re.DOTALL)
    hues = dict(re.findall(r"\.role-(\w+) \{ --hue: var\(--(\w+)\)", section))
    lines = []
    for selectors, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", section):
        if "--hue:" in rule or not re.search(rf"\.{kind}\b|\.readings\b", selectors):
            continue
        body = re.sub(r"(max-)?width: [^;]*;|height: auto;", "", rule) if selectors.strip() == f"svg.{kind}" else rule
        for selector in selectors.strip().split(","):
            for role, hue in hues.items() if "var(--hue)" in body else [("", "")]:
                written = selector.strip().replace(f".{kind}", f".{kind} .role-{role}", 1) if role else selector.strip()
                resolved = re.sub(
                    r"var\(--([\w-]+)\)", lambda m, hue=hue: colours[hue if m[1] == "hue" else m[1]], body
                )
                lines.append(f"{written} {{{resolved.strip()}}}")
    return "\n".join(lines)
