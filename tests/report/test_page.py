import json
import re
from html.parser import HTMLParser

import pytest

from freerun.report.charts.curves import chart_table
from freerun.report.pages.audit import render_page
from freerun.report.pages.template import stylesheet

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Walks a page, checks that its tags balance, and keeps what the tests ask for."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.tags, self.texts, self.tables = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"th", "td"}:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"th", "td"}:
            self.tables[-1][-1][-1] += data
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page(result):
    return Page(render_page(result))


def test_tags_balance_and_ids_are_unique(page):
    assert len(page.ids) == len(set(page.ids))


def test_links_lead_to_parts_that_exist(page):
    targets = [a["href"] for tag, a in page.tags if tag == "a"]
    assert len(targets) > 8
    assert {t.removeprefix("#") for t in targets} <= set(page.ids)
    named = [i for _, a in page.tags for i in a.get("aria-labelledby", "").split()]
    assert set(named) <= set(page.ids)


def test_nothing_is_loaded_from_anywhere(page, result):
    html = render_page(result)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "image", "use"}
    assert all("src" not in a and "style" not in a for _, a in page.tags)
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_the_verdict_comes_first_and_the_order_holds(page):
    parts = [
        "Running free, the model is told",
        "What was measured 128 documents",
        "How sure Both controls",
        "--sweep prefix=8,32,128",
        "What the author wrote",
        "Free-run horizon H75",
        "Is 23 tokens good or bad?",
        "A detector that sees only likelihoods",
        "What makes this valid.",
        "The same beginning, continued",
        "Instruct-tuned weights",
        "exact duplicates dropped",
        "freerun audit smollm2-135m-instruct builtin/python-docs --documents",
    ]
    places = [page.words.index(part) for part in parts]
    assert places == sorted(places)


def test_hostile_text_is_shown_and_never_run(page, result):
    html = render_page(result)
    assert html.count("<script") == 1
    assert "<script>alert" in page.words  # as text
    assert "alert('x')" not in re.search(r"<script>(.*?)</script>", html, re.S).group(1)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert "⟨ESCAPE⟩[31mred" in page.words
    assert "⟨U+202E⟩gnp.exe" in page.words
    assert "nul:⟨NULL⟩ 😀" in page.words


def test_lines_of_model_text_stay_lines(result):
    html = render_page(result)
    assert "A line\nand another\n" in html
    assert re.search(r"\.model-text \{[^}]*pre-wrap", stylesheet())


def test_every_chart_has_its_numbers_in_a_table(page, result):
    charts = [chart for finding in result["findings"] for chart in finding["charts"]]
    assert len(charts) == 6
    shown = [[[" ".join(cell.split()) for cell in row] for row in table] for table in page.tables]
    for chart in charts[:-1]:  # the last one holds the hostile text
        table = chart_table(chart)
        assert [table["columns"], *table["rows"]] in shown
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert len(drawings) == len(charts) + 2  # each once, the scale, and the one that shows why


def test_estimates_carry_interval_level_n_unit_and_method(page):
    row = next(row for table in page.tables for row in table if row and row[0].startswith("Horizon H75"))
    assert [" ".join(cell.split()) for cell in row][2:] == ["15 to 31", "128"]
    assert "isotonic in T, bootstrap" in page.words
    assert "95% interval" in page.words
    assert "unit: document" in page.words
    assert "−2 × 10⁻⁵ to 4 × 10⁻⁵" in page.words


def test_settings_are_printed_as_they_are(page):
    for said in ("Seed 1234567", "Ids that end a text 0, 2", "Bos no", "commit –"):
        assert said in page.words


def test_a_page_is_small(result):
    assert len(render_page(result).encode()) < 1_000_000


def test_the_same_result_gives_the_same_page(result):
    assert render_page(result) == render_page(json.loads(json.dumps(result)))


@pytest.mark.parametrize(
    "key",
    [
        "verdict",
        "headline",
        "yardsticks",
        "findings",
        "texts",
        "threats",
        "plan",
        "provenance",
        "command",
        "counts",
        "title",
    ],
)
@pytest.mark.parametrize("how", ["missing", "null"])
def test_a_missing_part_is_left_out(result, key, how):
    if how == "missing":
        del result[key]
    else:
        result[key] = None
    Page(render_page(result))


def test_nothing_at_all_is_still_a_page():
    page = Page(render_page({}))
    assert "Report" in page.words
    Page(render_page({"findings": [{}, {"charts": [{}], "tables": [{}], "estimates": [{}]}], "texts": [{}]}))
    Page(render_page({"yardsticks": {"scale": [{}]}, "headline": [{}], "threats": [{}], "verdict": {"status": "?"}}))


def test_findings_of_one_name_get_two_anchors(result):
    result["findings"] = result["findings"][:1] * 2
    page = Page(render_page(result))
    assert {"finding-detectability", "finding-detectability-2"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
