"""What models, documents, file names and servers say cannot play with the terminal, nor with the page."""

from __future__ import annotations

import html
import io
import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.commands.main import main, print_json
from freerun.commands.predict import summary_lines, table_lines
from freerun.commands.progress import Reporter
from freerun.commands.terminal import encodable, escaped_json, say, shown
from freerun.commands.verdict import tell
from freerun.errors import DataError
from freerun.results.predict import (
    NextLaw,
    PredictedContext,
    PredictedModel,
    PredictedToken,
    PredictResult,
    ProbableToken,
    TextSum,
)

HOSTILE = (
    "a\x00b\x07\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\r\u202eevil\u202c\u2066x\u2069\u200b\u200d\ufeff\u00ad"
    "\u3164\U000e0041\U000e0100\u2028\u2029</script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\"'"
)
HARMLESS = set("\u200c\u200d")
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def unseen(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in UNSEEN}


@given(st.text(st.characters(codec=None)))
@settings(max_examples=300, derandomize=True)
def test_a_line_shows_all_of_its_characters(text: str) -> None:
    line = shown(text)
    assert unseen(line) <= HARMLESS
    line.encode()
    assert shown(line) == line
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words, ~ and |", "plain words, ~ and |"),
        ("日本 é ←", "日本 é ←"),
        ("\x1b[2J", "⟨ESCAPE⟩[2J"),
        ("\x9b2J", "⟨U+009B⟩2J"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u2067b", "a⟨U+2067⟩b"),
        ("pay\u200bpal", "pay⟨U+200B⟩pal"),
        ("pay\u200dpal", "pay⟨U+200D⟩pal"),
        ("می\u200cخ", "می\u200cخ"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("é\u200d\u200dé", "é⟨U+200D⟩⟨U+200D⟩é"),
        ("a\u3164b\U000e0101", "a⟨U+3164⟩b⟨U+E0101⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\nb\tc\rd\r\n", "a⟨LINE FEED⟩b⟨HORIZONTAL TABULATION⟩c⟨CARRIAGE RETURN⟩d⟨CARRIAGE RETURN⟩⟨LINE FEED⟩"),
    ],
)
def test_characters_one_by_one(text: str, line: str) -> None:
    assert shown(text) == line


@given(st.recursive(st.text(st.characters(codec=None)), lambda inner: st.lists(inner)))
@settings(max_examples=200, derandomize=True)
def test_json_means_the_same_and_shows_everything(value: object) -> None:
    for ascii_only in (False, True):
        text = escaped_json(json.dumps(value, indent=1, ensure_ascii=ascii_only))
        assert json.loads(text) == value
        assert unseen(text) <= {"\n"}
        text.encode()


def test_json_is_printed_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": HOSTILE + "\ud800é"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": HOSTILE + "\ud800é"}
    assert unseen(out) <= {"\n"}
    assert "é" in out


def test_progress_and_phases(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.say(HOSTILE)
    assert unseen(stream.getvalue()) == {"\n"}
    assert stream.getvalue().count("\n") == 1
    reporter.phase(HOSTILE)
    assert not unseen(reporter.name)


def test_the_bar_of_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    reporter = Reporter(stream)
    reporter.begin(100)
    reporter.phase(HOSTILE)
    reporter.say(HOSTILE)
    reporter.end()
    assert unseen(stream.getvalue()) <= {"\n", "\r", "\x1b"}  # the bar's own
    assert "\x1b[31m" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()


def test_the_line_of_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for words in (["audit", HOSTILE], [HOSTILE], ["report", "run\x1b[31m\u202e"], ["audit", f"--{HOSTILE}"]):
        assert main(words) in (2, 4)
        err = capsys.readouterr().err
        assert unseen(err) == {"\n"}, words
        assert err.count("\n") == 1
    for error in (DataError(HOSTILE), RuntimeError(HOSTILE), OSError(5, HOSTILE, HOSTILE)):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("freerun.jobs.audit.audit.audit", fail)
        assert main(["audit"]) == 4
        err = capsys.readouterr().err
        assert err.startswith("freerun: ")
        assert unseen(err) == {"\n"}
        assert err.count("\n") == 1


def test_the_verdict() -> None:
    out = io.StringIO()
    card = {"label": HOSTILE, "value": HOSTILE, "unit": HOSTILE, "interval": HOSTILE, "note": HOSTILE}
    verdict = {"sentence": HOSTILE, "outcome": HOSTILE, "outcome_words": HOSTILE, "detail": HOSTILE}
    run: Any = SimpleNamespace(
        result={"verdict": verdict, "headline": [card]}, report=Path(HOSTILE), path=Path(HOSTILE)
    )
    tell(run, out)
    assert unseen(out.getvalue()) == {"\n"}


def test_a_prediction() -> None:
    pieces = [HOSTILE, "\x1b[31m", "\u202e", "\n", "\u200d", "ok"]
    top = tuple(ProbableToken(id=1, text=t, log_prob_nats=-1.0) for t in pieces)
    result = PredictResult(
        schema_version=1,
        kind="predict",
        model=PredictedModel(HOSTILE, "f", HOSTILE, None, 9),
        text=HOSTILE,
        context=PredictedContext(HOSTILE, None, (), longer_than_window=False),
        tokens=tuple(
            PredictedToken(position=i, id=1, text=t, log_prob_nats=-1.0, rank=3, entropy_nats=1.0, top=top)
            for i, t in enumerate(pieces)
        ),
        next=NextLaw(6, 1.0, 0.1, top),
        sum=TextSum(6, 6, 0, 0, 9, 9, 1.0, 1.0, None, 1.0, 1.0),
        notes=(HOSTILE,),
    )
    lines = [*table_lines(result, width=200), *summary_lines(result, width=200)]
    out = io.StringIO()
    say(lines, out)
    assert unseen(out.getvalue()) == {"\n"}
    coloured = "".join(table_lines(result, width=200, colour=True))
    assert set(re.findall(r"\x1b\[[0-9;]*m", coloured)) <= {"\x1b[0m", "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[1;31m"}
    assert unseen(coloured) <= {"\x1b"}


def test_what_an_encoding_lacks_is_a_question_mark() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert encodable("é ok", out) == "? ok"


# ---- a whole page ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects scripts, the names of elements and attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_of_an_audit_of_hostile_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is a byte n-gram trained on the hostile texts, so that it writes such text itself."""
    corpus = tmp_path / "evil \u202e\x1b[31m.jsonl"
    rows = [{"text": f"{HOSTILE} word{i} " * 12, "id": f"{HOSTILE}{i}"} for i in range(24)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    words = ["audit", f"ngram/5@{corpus}", str(corpus), "-o", str(run), "--tokens", "48", "--prefix", "16"]
    assert main(words) in (0, 3)
    out, err = capsys.readouterr()
    assert unseen(out) == unseen(err) == {"\n"}
    source = (run / "report.html").read_text(encoding="utf-8")
    assert unseen(source) <= {"\n", "\t"} | HARMLESS
    page = Page()
    page.feed(source)
    assert page.scripts == 1
    assert "img" not in page.tags
    assert not {a for a in page.attributes if a.startswith("on")}
    assert "alert(1)" in "".join(page.text)  # it is there, as text
    assert "<script>alert" not in source
    assert html.escape("</script>") in source or "&lt;/script&gt;" in source
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert "alert(1)" in json.dumps(result)
    assert main(["report", str(run), "--json"]) in (0, 3)
    out, err = capsys.readouterr()
    assert unseen(out) == unseen(err) == {"\n"}
    json.loads(out)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["run", corpus.name])


def test_the_page_of_a_prediction_of_hostile_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = tmp_path / "training.txt"
    training.write_text(HOSTILE.replace("\x00", "") * 40, encoding="utf-8")
    page_file = tmp_path / "page.html"
    text = HOSTILE.replace("\x00", "")[:120]
    assert main(["predict", f"ngram/4@{training}", text, "--html", str(page_file)]) == 0
    out, err = capsys.readouterr()
    assert unseen(out) == {"\n"}
    assert unseen(err) <= {"\n"}
    source = page_file.read_text(encoding="utf-8")
    assert unseen(source) <= {"\n", "\t"} | HARMLESS
    page = Page()
    page.feed(source)
    assert page.scripts == 1
    assert "img" not in page.tags
    assert not {a for a in page.attributes if a.startswith("on")}
