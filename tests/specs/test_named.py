"""What can be named is in one table of each kind, and on its page of the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from freerun.errors import BackendError
from freerun.organisms.catalogue import ORGANISMS
from freerun.predictors.weights.catalogue import CATALOGUE
from freerun.specs.provider import AS_IT_IS, Provider
from freerun.specs.providers import PROVIDERS, provider_of
from freerun.specs.spec import load_predictor
from freerun.worlds.catalogue import WORLDS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "names"),
    [("organisms", ORGANISMS), ("worlds", WORLDS), ("models", [f for p in PROVIDERS.values() for f, _ in p.forms])],
)
def test_every_name_has_a_row_on_its_page(page: str, names: list[str]) -> None:
    rows = [line for line in (DOCS / f"{page}.md").read_text().splitlines() if line.startswith("|")]
    typed = {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert set(names) <= typed


def test_a_provider_says_itself_what_it_is() -> None:
    assert set(PROVIDERS) >= {"hf", "gguf", "mock", "ngram", "world"}
    for name, provider in PROVIDERS.items():
        assert all(form.startswith(f"{name}/") and meaning for form, meaning in provider.forms)
        assert bool(provider.options) == bool(provider.extra) == bool(provider.modules)
        assert provider.extra or not provider.weights
    assert provider_of(next(iter(CATALOGUE)))[0].name == ""
    assert all(
        PROVIDERS[name].exact == (name in ("mock", "world")) for name in ("hf", "gguf", "mock", "ngram", "world")
    )


def test_another_provider_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_predictor("world/markov")
    other = Provider("other", (("other/NAME", "a world by another name"),), lambda name, options, tell: made)
    monkeypatch.setitem(PROVIDERS, "other", other)
    assert load_predictor("other/x") is made
    assert load_predictor("other/x+null").identity.name == "other/x+null"
    needy = Provider("other", other.forms, other.load, extra="things", modules=("no_such_module",))
    monkeypatch.setitem(PROVIDERS, "other", needy)
    with pytest.raises(BackendError, match=r"needs no_such_module.*freerun\[things\]"):
        needy.loader("x")(AS_IT_IS, print)
