"""What people type: every wrong name or value is one clear line, before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.organisms.catalogue import ORGANISMS
from freerun.specs import providers
from freerun.specs.providers import PROVIDERS, LoadOptions
from freerun.specs.spec import load_predictor, loader_of

W = "world/markov"
MODEL = "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"{MODEL}+absorbin", "unknown organism 'absorbin'; did you mean 'absorbing'?"),
        (f"{MODEL}+", "unknown organism ''"),
        (f"{MODEL}+absorbing,eps=1", "has no parameter 'eps'"),
        (f"{MODEL}+null,x=1", "has no parameter 'x'; it has none"),
        (f"{MODEL}+absorbing,epsilon", "epsilon needs a value"),
        (f"{MODEL}+absorbing,epsilon=1,epsilon=2", "epsilon=1: it must lie strictly between 0 and 1"),
        (f"{MODEL}+absorbing,epsilon=.1,epsilon=.2", "epsilon is given twice"),
        *[(f"{MODEL}+absorbing,epsilon={x}", "epsilon=") for x in ("0", "1", "-1", "2", "nan", "inf", "x", "")],
        *[(f"{MODEL}+end,hazard={x}", "hazard=") for x in ("0", "1", "two")],
        *[(f"{MODEL}+temperature,t={x}", "t=") for x in ("0", "-1", "nan", "hot")],
        *[(f"{MODEL}+top_k,k={x}", "k=") for x in ("0", "1.5", "-2")],
        *[(f"{MODEL}+top_p,p={x}", "p=") for x in ("0", "1.1", "nan")],
        *[(f"{MODEL}+loop,{x}", x) for x in ("weight=0", "min_run=0", "max_period=0", "max_period=9999")],
        (f"{MODEL}+short_window,window=0", "window=0: it must be at least 1"),
        *[(f"{MODEL}+hash,{x}", x) for x in ("n=0", "bits=0", "bits=17", "order=hh", "header=x", "gate=maybe")],
        (f"{MODEL}+payload,loop=0", "loop=0: it must be at least 1"),
        (f"{MODEL}+payload,loop=2,text=a", "one of model, text, loop, not both text and loop"),
        (f"{MODEL}+payload,model=(nope/x)", "unknown model 'nope/x'"),
        (f"{MODEL}+payload,model=({W}+nul)", "unknown organism 'nul'; did you mean 'null'?"),
        (f"{MODEL}+payload,model=", "names nothing"),
        (f"{MODEL}+payload,model=({W}", "the parentheses do not match"),
        (f"{MODEL}+payload,model={W})", "the parentheses do not match"),
        (f"{MODEL}+collapse", "needs corpus="),
        (f"{MODEL}+collapse,corpus=builtin/nope", "no corpus 'builtin/nope'"),
        (f"{MODEL}+ngram,corpus=(world/nope,a=1)", "unknown world 'nope'"),
        (f"{MODEL}+ngram,corpus={W},order=9", "order=9: it must lie between 1 and 7"),
        (f"{MODEL}+self_detector,corpus={W},score=lr", "score=lr needs reference="),
        (f"{MODEL}+self_detector,corpus={W},reference=({W})", "score=lr needs reference="),
        (f"{MODEL}+self_detector,corpus={W},alpha=0", "alpha=0"),
        (f"{MODEL},round=int7", "round is one of none, int8, int4"),
        (f"{MODEL},roun=int8", "has no option 'roun'; did you mean 'round'?"),
        (f"({MODEL}+null),round=int8", f"unknown model '{MODEL}+null'"),
        (f"({W},seed=1),round=int8", "has no weights"),
        ("world/mrkov+null", "unknown world 'mrkov'; did you mean 'markov'?"),
        ("smollm2-135m-instuct+null", "did you mean 'smollm2-135m-instruct'?"),
        ("hf/./a+b", "stands in parentheses"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_loaded(
    typed: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("something was loaded")

    for name, provider in PROVIDERS.items():
        monkeypatch.setitem(PROVIDERS, name, replace(provider, load=refuse))
    monkeypatch.setattr(providers, "CATALOGUED", replace(providers.CATALOGUED, load=refuse))
    with pytest.raises(UsageError) as error:
        loader_of(typed)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"{W}+payload,model=(world/markov,symbols=5)", "does not share the vocabulary"),
        (f"{W}+payload,text=xyz", "symbols 'abcdefgh'"),
        (f"{W}+payload,text=", "at least one token"),
        (f"{W}+hash,bits=4", "3 is the most"),
        (f"{W}+hash,n=20,bits=2,header=inverter", "more than 16"),
        (f"{W}+hash,n=2,order=uh,header=inverter", "choose one of them"),
        (f"{W}+hash,n=2+null", "name it last"),
        (f"{W}+collapse,corpus=(world/markov,symbols=9)", "does not share the vocabulary"),
        (f"{W}+self_detector,corpus={W},alpha=0.001,tokens=5", "needs at least 999 calibration documents of 5 tokens"),
        (f"{W}+self_detector,corpus={W},tokens=5,score=lr,reference=(world/z1r)", "the reference world/z1r"),
    ],
)
def test_what_only_the_model_can_tell_is_said_in_one_line(typed: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_predictor(typed)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_organisms_stand_in_the_order_in_which_they_are_typed() -> None:
    one, other = load_predictor(f"{W}+absorbing+temperature,t=0.5"), load_predictor(f"{W}+temperature,t=0.5+absorbing")
    assert one.identity.name == f"{W}+absorbing+temperature,t=0.5"
    assert type(one).__name__ == "Resampled"
    assert type(other).__name__ == "Triggered"
    assert one.identity.fingerprint != other.identity.fingerprint


def test_parentheses_nest_and_protect() -> None:
    typed = f"({W},seed=3)+payload,model=({W},seed=4+top_k,k=3+temperature,t=0.5),epsilon=0.5+payload,text=(ab)"
    made = load_predictor(typed)
    assert made.identity.name == typed
    assert made.inner.payload.identity.name == f"{W},seed=4+top_k,k=3+temperature,t=0.5"
    assert made.inner.epsilon == 0.5


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, LoadOptions]]:
    """Every model that is loaded, in order; what is loaded is always the same world."""
    world, seen = load_predictor(W), []

    def load(name: str, options: LoadOptions, tell: Any) -> Any:
        seen.append((name, options))
        return world

    monkeypatch.setitem(PROVIDERS, "hf", replace(PROVIDERS["hf"], load=load))
    return seen


def test_options_reach_the_loader_and_a_model_named_twice_is_loaded_once(loads: list[tuple[str, LoadOptions]]) -> None:
    load_predictor("hf/a/b,round=int8+payload,model=(hf/a/b,round=int8+top_k,k=2)+payload,loop=2", LoadOptions("bf16"))
    assert loads == [("a/b", LoadOptions("bf16", round="int8"))]
    load_predictor("(hf/./a,b+c),round=int4+null")
    assert loads[-1][0] == "./a,b+c"
    assert loads[-1][1].round == "int4"


def test_models_lists_every_organism_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["organisms"]
    assert [o["name"] for o in listed] == list(ORGANISMS)
    assert all(o["meaning"] and all(p["meaning"] and p["allowed"] for p in o["parameters"]) for o in listed)
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "+absorbing,epsilon=0.01" in shown
    assert all(f"  +{name}" in shown and e.meaning in shown for name, e in ORGANISMS.items())
