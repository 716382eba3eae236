"""What people type: specs, parameters, sampling rules, whole command lines."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.commands.main import main
from freerun.commands.predict import read_text
from freerun.organisms.catalogue import ORGANISMS
from freerun.predictors.rules import SamplingRule
from freerun.predictors.weights.catalogue import CATALOGUE
from freerun.specs.spec import loader_of
from tests.fuzz.anything import ANYTHING, NUMBERS, few, harmless, nothing_else_changes, quick

PARTS = [
    *CATALOGUE,
    *ORGANISMS,
    *(p.name for organism in ORGANISMS.values() for p in organism.parameters),
    *(
        "world/markov",
        "world/",
        "ngram/3@x",
        "ngram/٣@x",
        "hf/x",
        "hf/../..",
        "gguf/x",
        "vllm/",
        "round",
        "int8",
        "model",
    ),
    *("+", ",", "=", "(", ")", "/", "@", "..", "\0", "\n", "symbols", "seed"),
]
SPECS = st.lists(st.sampled_from(PARTS) | NUMBERS | ANYTHING, max_size=9).map("".join) | ANYTHING


@given(spec=SPECS)
@settings(quick, max_examples=250)
def test_specs_of_models(spec: str) -> None:
    harmless(lambda: loader_of(spec))


@given(data=st.data())
@settings(quick, max_examples=150)
def test_parameters_of_organisms(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(ORGANISMS)))
    parameters = [p.name for p in ORGANISMS[name].parameters] or ["none"]
    settings_ = data.draw(st.lists(st.tuples(st.sampled_from(parameters) | ANYTHING, NUMBERS | ANYTHING), max_size=4))
    typed = "".join(f",{key}={value}" for key, value in settings_)
    harmless(lambda: loader_of(f"world/markov+{name}{typed}"))


@given(name=st.sampled_from(["symbols", "seed", "order", "p", "x"]), value=NUMBERS | ANYTHING)
@few
def test_parameters_of_worlds(name: str, value: str) -> None:
    if len(value) < 4 or not value.isdigit():  # a large world is large, not wrong
        harmless(lambda: loader_of(f"world/markov,{name}={value}"))


@given(
    rule=ANYTHING
    | st.lists(st.tuples(st.sampled_from(["t", "top_k", "top_p", "temperature", " t", ""]), NUMBERS | ANYTHING)).map(
        lambda some: ",".join(f"{k}={v}" for k, v in some)
    )
)
@settings(quick, max_examples=250)
def test_sampling_rules(rule: str) -> None:
    harmless(lambda: SamplingRule.parse(rule))


@given(name=ANYTHING | st.sampled_from(["@", "@~", "@~nobody", "@.", "@/dev/null", "@\0", "@" + "x" * 5000, "@\ud800"]))
@quick
def test_texts_to_predict(name: str) -> None:
    if name != "-":
        harmless(lambda: read_text(f"@{name}" if not name.startswith("@") else name))


@given(data=st.binary(max_size=60))
@quick
def test_text_files_and_stdin(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(data)
    from_file = harmless(lambda: read_text(f"@{tmp_path / 'x'}"))
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert harmless(lambda: read_text("-")) == from_file


@given(
    words=st.lists(
        ANYTHING | NUMBERS | st.sampled_from(["--tokens", "--out", "-o", "--documents", "--batch"]), max_size=4
    )
)
@few
def test_whole_command_lines(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [w for w in words if w not in ("-h", "--help", "--debug")]
    with contextlib.chdir(tmp_path), nothing_else_changes(tmp_path):
        assert main(["report", *words]) in (2, 4)
        assert main(["audit", "world/nowhere", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert "internal error" not in err
