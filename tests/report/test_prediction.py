"""The page of a prediction: what it shows, what it never runs, and whether it can be read."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from freerun.report.pages.prediction import EDGES_NATS, percent, render_prediction, shade, spelled, visible_token
from freerun.report.pages.template import asset, stylesheet
from freerun.results.json import from_json
from freerun.results.predict import PredictedToken, PredictResult, SpelledToken

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Walks a page and checks that its tags balance."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.texts).split())


def token(position, text, log_prob=-1.0, **more):
    return {
        "position": position,
        "id": position + 10,
        "text": text,
        "given": False,
        "impossible": False,
        "log_prob_nats": log_prob,
        "surprisal_bits": None if log_prob is None else -log_prob / math.log(2),
        "rank": 3,
        "entropy_nats": 2.5,
        "top": [
            {"id": 10, "text": "<i>top", "log_prob_nats": math.log(0.5)},
            {"id": position + 10, "text": text, "log_prob_nats": -1.0},
        ],
        **more,
    }


GIVEN = {"given": True, "rank": None, "entropy_nats": None, "top": []}


def read(result):
    return from_json(PredictResult, result)


@pytest.fixture
def result():
    tokens = [
        token(0, "The", None, **GIVEN),
        token(1, " <script>alert('x')</script>", -12.3),
        token(2, "\x1b[31m\u202e", -0.1),
        token(3, "\n", -2.0),
        token(4, "\ufffd", -5.0, bytes_hex="f09f"),
        token(5, "\ufffd", -5.0, bytes_hex="9880"),
        token(6, "zz", None, impossible=True),
        token(7, "", -3.0, marker="end_of_text"),
        token(8, "  ", -3.0),
    ]
    return {
        "schema_version": 1,
        "kind": "predict",
        "model": {
            "name": "a<b>",
            "fingerprint": "f" * 8,
            "nature": "instruct & small",
            "licence": "",
            "vocabulary": 4096,
        },
        "text": "…",
        "context": {"rule": "nothing put first", "window_tokens": None, "lead_ids": [], "longer_than_window": False},
        "tokens": tokens,
        "next": {"position": 9, "entropy_nats": 3.25, "end_of_text_probability": 0.02, "top": tokens[1]["top"]},
        "sum": {
            "n_tokens": 9,
            "n_scored": 7,
            "n_given": 1,
            "n_impossible": 1,
            "n_bytes_scored": 40,
            "n_bytes_of_text": 40,
            "nats": 30.4,
            "nats_per_token": 4.34,
            "bits_per_byte": 1.09,
            "perplexity": 76.7,
            "entropy_nats_per_token": 2.5,
        },
        "notes": ["The first token is given."],
    }


def test_it_is_one_file_that_loads_nothing(result):
    html = render_prediction(read(result))
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "image", "use"}
    assert all("src" not in a and "style" not in a for _, a in page.tags)
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert len(html.encode()) < 100_000


def test_hostile_text_is_shown_and_never_run(result):
    html = render_prediction(read(result))
    page = Page(html)
    assert html.count("<script") == 1
    assert "<i>" not in html
    assert "<script>alert('x')</script>" in "".join(page.texts)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert "⟨ESCAPE⟩[31m⟨U+202E⟩" in "".join(page.texts)


def test_each_token_can_be_reached_and_leads_to_its_row(result):
    page = Page(render_prediction(read(result)))
    links = [a for tag, a in page.tags if tag == "a" and "tok" in a.get("class", "").split()]
    rows = {a["id"] for tag, a in page.tags if tag == "tr" and "id" in a}
    assert [a["href"] for a in links] == [f"#r{i}" for i in range(9)]
    assert rows == {f"r{i}" for i in range(9)}
    shades = [a["class"].split()[1] for a in links]
    assert shades == ["given", "s6", "s0", "s3", "s4", "s4", "impossible", "s3", "s3"]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_numbers_notes_and_the_next_law_stand_there(result):
    words = Page(render_prediction(read(result))).words
    for said in ("4.34", "nats/token", "76.7", "1.09", "7 of 9 tokens", "1 given, 1 impossible", "entropy 3.25 nats"):
        assert said in words
    assert "ends here with probability 2.0%" in words
    assert "The first token is given." in words
    assert "given – – –" in words  # the first row: no number is made up
    assert "infinite 0, impossible" in words


def test_nothing_scored_and_nothing_at_all_are_pages_too(result):
    none = dict.fromkeys(("nats", "nats_per_token", "bits_per_byte", "perplexity", "entropy_nats_per_token"))
    result["sum"] |= none | {"n_scored": 0}
    assert "No token of this text could be scored" in Page(render_prediction(read(result))).words
    result["tokens"], result["sum"]["n_tokens"] = [], 0
    result["next"]["end_of_text_probability"] = None
    assert "The first law" in Page(render_prediction(read(result))).words


def test_the_same_result_gives_the_same_page(result):
    assert render_prediction(read(result)) == render_prediction(read(json.loads(json.dumps(result))))


def test_a_character_of_several_tokens_stands_at_its_last(result):
    assert list(spelled(read(result).tokens))[3:7] == ["\n", "", "😀", "zz"]
    html = render_prediction(read(result))
    assert re.search(r'href="#r4"[^>]*><span class="sign">·</span></a><a [^>]*href="#r5"[^>]*>😀</a>', html)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("\t\r\n", "⇥⟨CARRIAGE RETURN⟩↵"),
        ("\u00a0x", "⟨U+00A0⟩x"),
        ("\u200d", "⟨U+200D⟩"),
        ("می\u200cخ", "می\u200cخ"),
        ("\u0301", "◌\u0301"),
        ("\x1b", "⟨ESCAPE⟩"),
    ],
)
def test_tokens_are_never_unseen(text, shown):
    assert visible_token(SpelledToken(id=1, text=text)) == shown


def test_markers_are_named():
    assert visible_token(SpelledToken(id=2, text="", marker="end_of_text")) == "⟨end of text⟩"
    assert visible_token(SpelledToken(id=7, text="", marker="special")) == "⟨special token 7⟩"


def test_shades_change_at_the_edges():
    assert [shade(from_json(PredictedToken, token(0, "a", -edge))) for edge in (0.0, *EDGES_NATS, 99.0)] == [
        *(f"s{i}" for i in range(7)),
        "s6",
    ]
    assert percent(None) == "–"


# ---- can it be read ---------------------------------------------------------------------------------------------------


def schemes():
    both = []
    for css in (stylesheet(), asset("prediction.css")):
        both.append(
            [dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", b)) for b in re.findall(r":root \{(.*?)\}", css, re.S)]
        )
    (light, dark), (light_shades, dark_shades) = both
    return {"light": light | light_shades, "dark": light | dark | dark_shades}


def luminance(colour):
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_on_every_shade_and_shades_are_in_order(scheme):
    colours = schemes()[scheme]
    ink = luminance(colours["ink"])
    shades = [luminance(colours[f"s{i}"]) for i in range(7)]
    for ground in shades:
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5
    assert shades == sorted(shades, reverse=scheme == "light")
