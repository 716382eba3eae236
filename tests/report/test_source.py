"""The page of `freerun source`: everything in it, nothing executed, safe with any text."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from freerun.jobs.source.evaluation import evaluate
from freerun.jobs.source.question import SourceOptions
from freerun.jobs.source.source import source
from freerun.report.pages.source import EDGES, entropy_chart, own_chart, posterior_chart, render_source, scale, shade
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.source import LatentAnswer, SourceResult
from freerun.worlds.authors import authors
from tests.jobs.test_source_evaluation import letters, sources, world


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    world = authors(1)
    text = world.corpus(1, 200, seed=2).documents[0].text
    found: dict[str, Any] = json.loads(
        json.dumps(to_json(source(world, text, None, SourceOptions(own_tokens=4, n_paths=2))))
    )
    latent = found["latents"][0]
    latent["infilling"] = {
        "posterior": [0.5, 0.4, 0.1],
        "mass": [0.1, 0.1, 0.8],
        "mass_without_text": [0.1, 0.1, 0.8],
        "labelled": 0.2,
        "labelled_without_text": 0.2,
        "by_cue": [[0.5, 0.4, 0.1]],
        "cues": ["\n\nSource:"],
    }
    latent["continuation"] = {
        "classes": ["gazette", "onion", "unread"],
        "counts": [3, 1, 6],
        "n": 10,
        "share": [0.3, 0.1, 0.6],
        "low": [0.1, 0.0, 0.3],
        "high": [0.6, 0.4, 0.8],
        "level": 0.95,
        "examples": [{"text": "<script>alert(1)</script>\u202e", "read": "onion"}],
    }
    return found


@pytest.fixture
def result(made: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(made)


class Tags(HTMLParser):
    """Counts that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing(result: dict[str, Any]) -> None:
    page = render_source(from_json(SourceResult, result))
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#)', page)
    for latent in result["latents"]:
        assert latent["sentence"].split(" is most")[0].replace("'", "&#39;") in page
    assert "before reading" in page
    assert "30% (10% to 60%)" in page


def test_text_is_escaped(result: dict[str, Any]) -> None:
    result["words"][0]["text"] = "<img src=x>\x1b"
    result["model"]["name"] = "<b>x"
    page = render_source(from_json(SourceResult, result))
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "<b>x" not in page


def test_words_are_shaded_by_what_they_moved(result: dict[str, Any]) -> None:
    moved = result["latents"][0]["header"]["words"]
    page = render_source(from_json(SourceResult, result))
    strongest = max(moved, key=lambda m: m["shift"])
    assert f'class="tok {shade(strongest["shift"])}"' in page
    assert [shade(x) for x in (0.0, *EDGES)] == [f"s{i}" for i in range(len(EDGES) + 1)]
    assert len(scale()) == len(EDGES) + 1


def test_charts_hold_the_curves_of_the_result(result: dict[str, Any]) -> None:
    latent = result["latents"][0]
    answer = from_json(LatentAnswer, latent)
    chart = posterior_chart(answer)
    assert len(chart["x"]) <= 160
    assert (chart["x"][0], chart["x"][-1]) == (0, 200)
    first = chart["series"][0]
    i = latent["values"].index(first["name"])
    assert first["y"] == [latent["header"]["path"][t][i] for t in chart["x"]]
    assert entropy_chart(answer)["series"][0]["y"][0] == pytest.approx(1.0)
    assert len(own_chart(answer)["x"]) == 5


def test_parts_that_were_not_asked_for_are_left_out(result: dict[str, Any]) -> None:
    for latent in result["latents"]:
        latent["infilling"] = latent["continuation"] = latent["coherence"] = None
        latent["header"]["movers"] = []
    page = render_source(from_json(SourceResult, result))
    assert "writes on by itself" not in page
    assert "Infilling" not in page


def test_an_evaluation_has_a_page() -> None:
    made = evaluate(world(), letters(20, 8), sources(), label_field="source", n_documents=12, n_tokens=8)
    page = render_source(replace(made, sentences=("On 60 texts <b>", "second")))
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert "On 60 texts &lt;b&gt;" in page
