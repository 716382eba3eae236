"""The page and the picture of a power table, from counts that are made up."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from freerun.jobs.power.cells import Part, PowerPlan
from freerun.jobs.power.result import power_result
from freerun.report.charts.heat import _DARKEST, heat_map
from freerun.report.pages.power import render_power
from freerun.report.pages.template import asset, stylesheet
from freerun.results.power import PowerResult
from studies.power.expectations import with_expectations
from studies.power.pages import expectations_markdown, heat_standing_alone, rates_markdown

PLAN = PowerPlan(bases=("authors", "words"), lengths=(16, 64), texts=(20, 60), reruns=10, null_reruns=200, block=200)


@pytest.fixture(scope="module")
def result() -> PowerResult:
    parts = []
    for i, unit in enumerate(PLAN.units()):
        runs = unit.stop - unit.first
        rejected: dict[str, dict[str, int]] = {}
        for metric, tokens, texts in PLAN.cells(unit.base):
            share = 0.05 if unit.organism == "null" else (i % 4) / 3
            rejected.setdefault(metric, {})[f"{tokens}x{texts}"] = round(share * runs)
        if (unit.organism, unit.base) == ("null", "words"):
            rejected["rep"]["64x20"] = 60
        excess = {str(t): (100.0, 10.0, 2.0) for t in PLAN.lengths}
        parts.append(Part(unit.name, unit.base, unit.organism, runs, rejected, excess, 2.0))
    facts = {"machine": "m <script>", "python": "3", "numpy": "2", "scikit-learn": "1"}
    return with_expectations(power_result(PLAN, parts, {"command": "freerun power", "provenance": facts}))


class Balance(HTMLParser):
    """Every element that opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_one_sound_file(result: PowerResult) -> None:
    page = render_power(result)
    read = Balance()
    read.feed(page)
    assert not read.open
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="http', page)
    text = " ".join(read.texts)
    assert result.sentence in text
    for metric in result.metrics:
        assert metric.label in text
        assert metric.null in text
    for organism in result.organisms:
        assert organism.meaning in text
    assert "rep-4, null on words, 64 tokens, 20 texts: 30.0%" in text


def test_every_rate_stands_in_its_cell(result: PowerResult) -> None:
    svg = ElementTree.fromstring(str(heat_map(result, texts=20, bases=["words"])))
    titles = [t.text or "" for t in svg.iter("title")]
    cells = [c for c in result.cells if (c.base, c.texts) == ("words", 20)]
    shown = [c for c in cells if not next(m for m in result.metrics if m.name == c.metric).control]
    for c in shown:
        words = f"{c.tokens} tokens, 20 texts: {c.rate:.1%} ("
        assert any(words in t for t in titles)
    assert len([e for e in svg.iter("rect") if (e.get("class") or "").startswith("cell")]) == len(shown)
    assert len([e for e in svg.iter("rect") if e.get("class") == "cell outside"]) == 1
    width = float(svg.get("width") or 0)
    assert all(0 <= float(e.get("x") or 0) <= width for e in svg.iter("rect"))


def test_the_picture_stands_alone(result: PowerResult) -> None:
    text = heat_standing_alone(result, texts=60)
    svg = ElementTree.fromstring(text)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert all(c.rate >= 0 for c in result.cells)


def luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "surface"])
def test_numbers_can_be_read_on_the_darkest_cell(scheme: int, ground: str) -> None:
    """WCAG 2.2: contrast of 4.5 between ink and the hue at its largest opacity, in both schemes. One hue: no colours to confuse."""
    blocks = re.findall(r":root \{(.*?)\}", stylesheet(), re.S)
    colours = {k: v for b in blocks[: scheme + 1] for k, v in re.findall(r"--([a-z]+): (#[0-9a-f]{6})", b)}
    rgb = {k: np.array([int(v[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for k, v in colours.items()}
    assert "fill: var(--real)" in asset("power.css")
    cell = _DARKEST * rgb["real"] + (1 - _DARKEST) * rgb[ground]
    low, high = sorted((luminance(cell), luminance(rgb["ink"])))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_markdown_has_a_row_for_everything(result: PowerResult) -> None:
    rates = rates_markdown(result)
    assert rates.count("\n| null |") == 2 * 2 * 2
    widths = {line.count("|") for line in rates.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    table = expectations_markdown(result)
    assert len(table.splitlines()) == 2 + 8
    assert len({line.count("|") for line in table.splitlines()}) == 1
