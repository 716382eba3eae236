"""`freerun predict`: where the text comes from, what is printed, and how it fails."""

from __future__ import annotations

import io
import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.commands.main import main, verb_parser
from freerun.commands.predict import columns, fitted, summary_lines, table_lines
from freerun.jobs.predict import predict
from freerun.predictors.base import Capabilities
from freerun.predictors.ngram import byte_ngram
from freerun.specs import spec
from freerun.worlds.markov import MarkovWorld

WORLD = "world/markov"


class Terminal(io.TextIOWrapper):
    def __init__(self, tty=True):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.tty = tty

    def isatty(self):
        return self.tty

    @property
    def text(self):
        return self.buffer.getvalue().decode()


def failed(capsys, *words):
    code = main(["predict", *words])
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "Traceback" not in seen.err
    return code, seen.err


def byte_model():
    return byte_ngram(["to be or not to be"], order=3, name="ngram/3")


# ---- where the text comes from ----------------------------------------------------------------------------------------


def test_json_is_one_object_with_units_in_its_names(capsys):
    assert main(["predict", WORLD, "abba", "--top", "2", "--json"]) == 0
    seen = capsys.readouterr()
    result = json.loads(seen.out, parse_constant=pytest.fail)
    assert (result["schema_version"], result["kind"], result["text"]) == (1, "predict", "abba")
    assert {"position", "id", "text", "log_prob_nats", "surprisal_bits", "rank", "entropy_nats", "top"} <= set(
        result["tokens"][0]
    )
    assert all(len(t["top"]) == 2 for t in result["tokens"])


def test_a_file_and_stdin_are_the_text_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(spec, "load_predictor", lambda *_, **__: byte_model())
    (tmp_path / "t.txt").write_bytes("tö\r\nbe\n".encode())
    assert main(["predict", "m", f"@{tmp_path / 't.txt'}", "--json"]) == 0
    from_file = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("tö\r\nbe\n".encode())))
    assert main(["predict", "m", "-", "--json"]) == 0
    assert capsys.readouterr().out == from_file
    assert json.loads(from_file)["text"] == "tö\r\nbe\n"
    assert main(["predict", "m", str(tmp_path / "t.txt")]) == 2  # its name is not meant as the text
    assert f"write @{tmp_path / 't.txt'}" in capsys.readouterr().err


def test_faults_of_a_file_name_it_and_the_byte(tmp_path, capsys, monkeypatch):
    bad = tmp_path / "latin.txt"
    bad.write_bytes(b"caf\xe9 au lait")
    code, said = failed(capsys, WORLD, f"@{bad}")
    assert code == 4
    assert f"{bad} is not UTF-8: byte 0xe9 at offset 3" in said
    bad.write_bytes(b"ab\0c")
    code, said = failed(capsys, WORLD, f"@{bad}")
    assert code == 4
    assert "NUL byte at offset 2" in said
    code, said = failed(capsys, WORLD, f"@{tmp_path / 'none.txt'}")
    assert code == 4
    assert "No such file" in said
    assert "stdin" in said
    assert failed(capsys, WORLD, f"@{tmp_path}")[0] == 4
    assert failed(capsys, WORLD, "@")[0] == 2
    assert failed(capsys, WORLD, "@a\0b")[0] == 4
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    code, said = failed(capsys, WORLD, "-")
    assert code == 4
    assert "stdin is not UTF-8: byte 0xff at offset 0" in said


def test_an_empty_text_is_a_usage_error_or_the_first_law(capsys, monkeypatch):
    assert main(["predict", WORLD, ""]) == 0
    assert "first token (entropy" in capsys.readouterr().out
    blind = MarkovWorld(np.full((2, 2), 0.5))
    blind.capabilities = Capabilities(empty_context=False)
    monkeypatch.setattr(spec, "load_predictor", lambda *_, **__: blind)
    code, said = failed(capsys, "m", "")
    assert code == 2
    assert "at least one word" in said


def test_usage_faults(tmp_path, capsys):
    assert failed(capsys, WORLD, "ab", "--top", "0")[0] == 2
    assert failed(capsys, WORLD, "ab", "--json", "--html", "x.html")[0] == 2
    assert failed(capsys, WORLD)[0] == 2
    assert failed(capsys, WORLD, "xyz")[0] == 2
    assert failed(capsys, WORLD, "a\udcff")[0] == 2
    code, said = failed(capsys, WORLD, "ab", "--html", str(tmp_path))
    assert code == 2
    assert "is a folder" in said


# ---- what is printed --------------------------------------------------------------------------------------------------


def test_a_line_a_token_then_the_sums_then_the_law(capsys):
    assert main(["predict", WORLD, "abba"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["token", "a", "b", "b", "a"]
    assert any(re.search(r"nats/token .* bits/byte .* perplexity", line) for line in lines)
    assert lines[6].lstrip().startswith("What was measured")
    assert "4 of 4 tokens scored" in lines
    assert any(line.startswith("next token (entropy") for line in lines)


def test_the_page_is_written_whole(tmp_path, capsys):
    page = tmp_path / "new" / "p.html"
    assert main(["predict", WORLD, "abba", "--html", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert [p.name for p in page.parent.iterdir()] == ["p.html"]


def test_colour_only_on_a_terminal_without_no_color(monkeypatch):
    def printed(**settings):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.get("env", {}).items():
            monkeypatch.setenv(name, value)
        screen = Terminal(settings.get("tty", True))
        monkeypatch.setattr(sys, "stdout", screen)
        assert main(["predict", WORLD, "abba"]) == 0
        return screen.text

    assert "\x1b[" in printed()
    assert "\x1b[" not in printed(env={"NO_COLOR": "1"})
    assert "\x1b[" not in printed(env={"TERM": "dumb"})
    assert "\x1b[" not in printed(tty=False)
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed()) == printed(tty=False)


def test_an_old_encoding_gets_question_marks(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["predict", WORLD, "abba"]) == 0
    assert b"nats/token" in screen.buffer.getvalue()


def test_nothing_in_a_text_reaches_the_terminal_raw():
    result = predict(byte_model(), "a\x1b[31m\u202eb\x07\x9b\r\n\t\u2028é")
    printed = "\n".join(table_lines(result, width=100) + summary_lines(result, width=100))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", printed)
    assert "⟨ESCAPE⟩" in printed
    assert "⟨E2⟩" in printed
    assert "⟨A9⟩ é" in printed  # the second half says which character it completes
    assert "⇥" in printed
    assert "↵" in printed


@pytest.mark.parametrize("width", [32, 40, 50, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    result = predict(byte_model(), "to 日本 " + "x" * 5 + "\x1b\x1b", top=5)
    lines = table_lines(result, width=width) + summary_lines(result, width=width)
    assert max(map(columns, lines)) <= width
    assert ("█" in "".join(lines[:8])) == (width >= 60)


def test_a_wide_terminal_lists_three_of_the_law():
    line = table_lines(predict(byte_model(), "to be"), width=100)[2]
    assert len(re.findall(r"\d%", line)) == 3


def test_a_given_token_says_so(monkeypatch):
    model = byte_model()
    model.capabilities = Capabilities(empty_context=False)
    lines = table_lines(predict(model, "to"), width=80)
    assert lines[1].split() == ["t", "given"]


def test_a_long_text_shows_progress_on_stderr(capsys, monkeypatch):
    from freerun.commands import predict as verb
    from freerun.commands import progress

    began = []
    monkeypatch.setattr(progress.Reporter, "begin", lambda self, n: began.append(n))
    assert main(["predict", WORLD, "ab" * 10]) == 0
    assert began == []
    assert main(["predict", WORLD, "a" * verb.LONG_TEXT_CHARS]) == 0
    assert began == [verb.LONG_TEXT_CHARS]


@given(st.text("aé日\u0301 ", max_size=12), st.integers(1, 12))
def test_fitted_text_fills_its_columns(text, width):
    assert columns(fitted(text, width)) == width


def test_help_has_examples():
    words = verb_parser("predict").format_help()
    assert "freerun predict smollm2-135m-instruct" in words
    assert "@FILE" in words
