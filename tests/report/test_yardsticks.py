import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.report.charts.yardsticks import draw_scale, reading

value = st.none() | st.floats(0.01, 1000) | st.floats()
items = st.fixed_dictionaries(
    {},
    optional={
        "label": st.text(st.characters(codec=None), max_size=60),
        "value": value,
        "low": value,
        "high": value,
        "text": st.sampled_from(("", "later than 128", "first token", "none")),
        "where": st.sampled_from(("before", "inside", "beyond")),
        "role": st.sampled_from(("free", "control", "?")),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(items, max_size=5), st.none() | st.floats())
def test_any_scale_stays_inside_its_view(scale, scale_max):
    root = ElementTree.fromstring(str(draw_scale({"scale": scale, "scale_max": scale_max})))
    _, _, right, bottom = map(float, root.get("viewBox").split())
    for e in root.iter():
        for key in ("x", "x1", "x2", "cx"):
            assert -1 <= float(e.get(key, 0)) <= right
        for key in ("y", "y1", "y2", "cy"):
            assert 0 <= float(e.get(key, 0)) <= bottom


def arrows(item):
    svg = str(draw_scale({"scale": [{"label": "a", "role": "free", **item}], "scale_max": 128}))
    arrows = re.findall(r"M[-\d.]+(?: [-\d.]+){5}(?=[M\"])", svg)  # strokes through three points
    return len(arrows), svg.count("<rect") - 1  # arrows, points (one rectangle is the zone beyond)


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        ({"value": 23.0, "low": 15, "high": 31}, (0, 1)),
        ({"value": None, "text": "later than 128", "where": "beyond"}, (1, 0)),
        ({"value": 96.0, "low": 70, "high": None}, (1, 1)),
        ({"value": 200.0, "low": 70, "high": 300}, (1, 0)),
        ({"value": None, "text": "first token", "where": "before"}, (1, 0)),
        ({"value": 23.0}, (0, 1)),
        ({"value": None}, (0, 0)),
    ],
)
def test_what_lies_beyond_the_scale_gets_an_open_arrow(item, seen):
    assert arrows(item) == seen


def test_readings():
    assert reading({"value": None}) == "–"
    assert reading({"value": 23, "low": 15, "high": 31}) == "23 (15 to 31)"
    assert reading({"value": None, "low": 101, "text": "later than 128"}) == "later than 128 (101 or more)"
    touching = {"value": 9.0, "low": None, "high": 24, "interval": "first token to 24"}
    assert reading(touching) == "9 (first token to 24)"
