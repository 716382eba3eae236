"""Worlds by name."""

from __future__ import annotations

import pytest

from freerun.errors import UsageError
from freerun.specs.spec import load_predictor
from freerun.worlds.base import World
from freerun.worlds.catalogue import WORLDS, load_world

EXAMPLES = {
    "symbols": "3", "seed": "2", "concentration": "0.7", "order": "2", "p": "0.3", "p1": "0.2", "p2": "0.9", "x": "0.05",
    "a": "0.85", "nesting": "0.2", "publication": "onion", "author": "ben", "date": "monday",
}  # fmt: skip


def test_the_promised_worlds_are_there() -> None:
    assert set(WORLDS) >= {"markov", "even", "golden_mean", "rrxor", "mess3", "z1r", "pcfg", "authors"}


@pytest.mark.parametrize("name", WORLDS)
def test_every_parameter_counts_and_the_name_builds_it_again(name: str) -> None:
    parameters = [p.name for p in WORLDS[name].parameters]
    assert WORLDS[name].meaning
    plain = load_world(name)
    assert isinstance(plain, World)
    specs = [name, *(f"{name},{p}={EXAMPLES[p]}" for p in parameters)]
    specs.append(",".join([name, *(f"{p}={EXAMPLES[p]}" for p in parameters)]))
    prints = set()
    for spec in specs:
        world = load_world(spec)
        prints.add(world.identity.fingerprint)
        again = load_world(world.identity.name.removeprefix("world/"))
        assert again.identity == world.identity
        assert world.corpus(2, 3, seed=0).spec == world.identity.name
    if len(parameters) == 1:
        specs.pop()  # one parameter alone is all of them
    assert len(prints) == len(specs)
    assert load_predictor(f"world/{name}").identity == plain.identity


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mess4", "unknown world 'mess4'; did you mean 'mess3'"),
        ("even,q=0.5", "no parameter 'q'"),
        ("even,p=half", "p=half is not a number"),
        ("even,p=1", "p=1.0 is not a probability"),
        ("even,p=inf", "p=inf: it must be a finite number"),
        ("even,p=0.5,p=0.6", "p is given twice"),
        ("pcfg,nesting=1", "nesting=1.0 must lie"),
        ("pcfg,nesting=0.9", "need not end"),
        ("authors,author=adda", "did you mean 'ada'"),
        ("authors,publication", "publication needs a value"),
        ("authors,publication=", "publication='' is not a value"),
        ("authors,autor=ada", "did you mean 'author'"),
        ("authors,seed=-1", "seed=-1"),
        ("markov,order=9", "order=9"),
        ("", "unknown world ''"),
    ],
)
def test_what_is_no_world_is_one_clear_line(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        load_world(spec)
    assert "\n" not in str(caught.value)
