import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.report.charts.curves import chart_table, drawable_part, read_chart
from freerun.report.charts.marks import ROLES, dash
from freerun.report.charts.picture import WIDE
from freerun.report.charts.svg import WIDTH, describe, draw_chart

NUMBERS = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"}
value = st.none() | st.floats() | st.floats(-5, 5) | st.integers(-3, 3)
values = st.lists(value, max_size=7)
text = st.text(st.characters(codec=None), max_size=30)
series = st.fixed_dictionaries(
    {"name": text, "role": st.sampled_from(ROLES) | text, "y": values},
    optional={"low": st.none() | values, "high": st.none() | values, "band_only": st.booleans()},
)
charts = st.fixed_dictionaries(
    {
        "name": text,
        "title": text,
        "x_label": text,
        "y_label": text,
        "x": values,
        "series": st.lists(series, max_size=4),
    },
    optional={
        "x_scale": st.sampled_from(("linear", "log2")),
        "y_range": st.none() | st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(sorted),
        "levels": st.lists(st.tuples(value, text), max_size=3),
    },
)


def parse(svg):
    root = ElementTree.fromstring(str(svg))
    return root, [float(v) for v in root.get("viewBox").split()]


def points_of(root):
    """Yield every (x, y) of the drawing; pattern tiles have coordinates of their own."""
    hidden = {id(e) for defs in root.iter("defs") for e in defs.iter()}
    for e in root.iter():
        if id(e) in hidden or e is root:
            continue
        number = {key: float(e.get(key)) for key in NUMBERS if e.get(key) is not None}
        assert all(math.isfinite(v) for v in number.values()), e.attrib
        for x, y in (("x", "y"), ("x1", "y1"), ("x2", "y2"), ("cx", "cy")):
            if x in number:
                yield number[x], number[y]
        if "width" in number:
            assert number["width"] >= 0
            assert number["height"] >= 0
            yield number["x"] + number["width"], number["y"] + number["height"]
        pairs = [float(v) for v in re.findall(r"[-\d.e]+", e.get("d", "") + e.get("points", ""))]
        yield from zip(pairs[::2], pairs[1::2], strict=True)


@settings(max_examples=60, deadline=None)
@given(charts, st.sampled_from((WIDE, WIDTH)))
def test_any_chart_is_well_formed_and_inside_its_view(chart, width):
    root, (left, top, right, bottom) = parse(draw_chart(chart, width=width))
    assert right == width
    for x, y in points_of(root):
        assert left - 6 <= x <= right + 6
        assert top <= y <= bottom


def chart_of(*lines, x=(1, 2, 4, 8), **more):
    return {"name": "c", "title": "T", "x_label": "tokens", "y_label": "AUC", "x": x, "series": lines, **more}


def curve(y, role="free", **more):
    return {"name": role, "role": role, "y": y, **more}


def paths(svg, class_):
    root, _ = parse(svg)
    return [e.get("d") for e in root.iter("path") if e.get("class") == class_]


def points(d):
    at = list(map(float, d.removeprefix("M").split()))
    return list(zip(at[::2], at[1::2], strict=True))


def test_a_curve_breaks_where_a_value_is_unknown():
    drawn = paths(draw_chart(chart_of(curve([1, 2, None, 3, 4]), x=[1, 2, 3, 4, 5])), "curve")
    assert [len(points(d)) for d in drawn] == [2, 2]
    svg = draw_chart(chart_of(curve([1, None, 3, 4])))
    assert len(points(paths(svg, "curve")[0])) == 2
    dots = [e for group in parse(svg)[0].iter("g") if group.get("class") == "points" for e in group.iter("rect")]
    assert len(dots) == 3 + 1  # three values, one in the legend


def test_larger_is_higher_and_doubling_is_a_step_to_the_right():
    d = paths(draw_chart(chart_of(curve([0.5, 0.6, 0.7, 0.8]), x_scale="log2")), "curve")[0]
    xs, ys = zip(*points(d), strict=True)
    steps = [b - a for a, b in pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert steps[0] > 0
    assert list(ys) == sorted(ys, reverse=True)


def test_x_out_of_order_is_sorted_with_its_values():
    plot = drawable_part(read_chart(chart_of(curve([30, 10, 20], low=[3, 1, 2], high=[4, 2, 3]), x=[3, 1, 2])))
    assert plot.x == (1, 2, 3)
    assert plot.series[0].y == (10, 20, 30)
    assert plot.series[0].low == (1, 2, 3)


def test_a_given_range_cuts_bands_but_never_a_curve():
    chart = chart_of(curve([0.5, 1.5], low=[-9, 0], high=[9, 2]), x=[1, 2], y_range=[0, 1])
    root, _ = parse(draw_chart(chart))
    labels = [e.text for e in root.iter("text") if e.get("class") == "tick y"]
    assert labels == ["0.0", "0.5", "1.0", "1.5"]


def test_roles_differ_in_dash_and_point_without_colour():
    looks = {(dash(role, 0), draw_chart(chart_of(curve([1], role), x=[1])).count("<polygon")) for role in ROLES}
    assert len({dash(role, 0) for role in ROLES}) == len(ROLES)
    assert len(looks) == len(ROLES)


def test_a_second_band_of_a_role_is_striped():
    band = curve([None] * 4, "control", low=[0] * 4, high=[1] * 4, band_only=True)
    svg = str(draw_chart(chart_of(band, {**band, "name": "again"}), key="k"))
    assert svg.count('fill="url(#k-control-1)"') == 2  # the band and its legend entry
    assert 'id="k-control-1"' in svg
    assert svg.count("<polygon") == 0


def test_levels_and_names_are_written():
    root, _ = parse(draw_chart(chart_of(curve([0.5, 0.9, 0.9, 0.9]), levels=[(0.5, "chance"), (0.75, "H75")])))
    words = {e.text for e in root.iter("text")}
    assert {"chance", "H75", "AUC", "tokens", "free"} <= words
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "c-title c-desc"


def test_a_chart_without_values_says_so():
    svg = draw_chart(chart_of(curve([None] * 4)))
    assert "no value could be computed" in svg
    assert "no values" in describe(chart_of(curve([None] * 4)))
    assert "no value could be computed" in draw_chart({})


def test_the_table_holds_the_numbers_of_the_chart():
    band = curve([0.5] * 2, "control", low=[0.45, None], high=[0.55, None], band_only=True)
    chart = chart_of(curve([0.7123, None], low=[0.65, None], high=[0.77, None]), band, x=[1.0, 2.0])
    assert chart_table(chart) == {
        "columns": ["tokens", "free", "free, interval", "control, interval"],
        "rows": [["1", "0.7123", "0.65 to 0.77", "0.45 to 0.55"], ["2", "–", "–", "–"]],
    }


def test_pointing_at_an_x_reads_every_curve():
    chart = chart_of(curve([0.7], low=[0.6], high=[0.8]), curve([0.5], "real"), x=[16])
    readings = [e.text for e in parse(draw_chart(chart))[0].iter("title")][1:]
    assert readings == ["tokens: 16\nfree: 0.7 (0.6 to 0.8)\nreal: 0.5"]
