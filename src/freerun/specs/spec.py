"""From what people type to predictors: `provider/name[,option=value…][+ORGANISM[,param=value…]…]`.

A nested spec, and a model's name with a comma or plus sign in it, stands in parentheses:
`world/markov+payload,model=(world/markov,seed=3),epsilon=0.02+temperature,t=0.9`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from freerun.errors import UsageError, nearest
from freerun.organisms.builders import Builder
from freerun.organisms.catalogue import ORGANISMS, Wanted, wanted
from freerun.organisms.parameters import Parameter, split_outside, unwrapped, word
from freerun.predictors.base import Predictor
from freerun.specs.providers import AS_IT_IS, PROVIDERS, LoadOptions, Tell, load_catalogued


def load_predictor(spec: str, options: LoadOptions = AS_IT_IS, *, tell: Tell = lambda _: None) -> Predictor[Any]:
    """Build the predictor that a spec names.

    Raises:
        UsageError: no such model or provider. BackendError, DataError: it cannot be loaded.
    """
    return loader_of(spec)(options, tell)


def loader_of(spec: str) -> Callable[[LoadOptions, Tell], Predictor[Any]]:
    """What would load a spec; every name and value in it is checked, nothing is loaded or fetched yet.

    Raises:
        UsageError: no such model, provider, option, organism, parameter or value.
    """
    parsed = _parse(spec)
    return lambda options, tell: _build(parsed, options, tell, {})


@dataclass(frozen=True)
class _Spec:
    """A spec taken apart: a model, and the organisms on it with the specs nested in them."""

    base: str
    options: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    """The spec up to each organism, as typed."""
    organisms: tuple[Wanted, ...]
    nested: dict[str, _Spec]


_MODEL_OPTIONS: dict[str, Parameter] = {
    "round": word("round", "none", ("none", "int8", "int4"), "weights rounded per output channel, simulated"),
    "spare-weights": word(
        "spare-weights", "refuse", ("refuse", "drop"), "tensors that the model of the config has no place for"
    ),
}
Loader = Callable[[LoadOptions, Tell], Predictor[Any]]


def _parse(spec: str) -> _Spec:
    first, *stacked = split_outside(spec, "+")
    head, *settings = split_outside(first, ",")
    if head.startswith(("world/", "ngram/")):  # their commas are their own
        head, settings = first, []
    base = unwrapped(head)
    _base_loader(base)
    names: list[str] = []
    organisms: list[Wanted] = []
    nested: dict[str, _Spec] = {}
    for part in stacked:
        name, *values = split_outside(part, ",")
        if name not in ORGANISMS and head.startswith(("hf/", "gguf/", "ngram/")):
            raise UsageError(
                f"{spec!r}: {name!r} is no organism{nearest(name, ORGANISMS)}; a model whose own name has a + in it stands in "
                "parentheses"
            )
        organisms.append(wanted(name, values))
        names.append("+".join([first, *stacked[: len(names) + 1]]))
        for inner in organisms[-1].named("spec"):
            nested[inner] = _parse(inner)
        for corpus in organisms[-1].named("corpus"):
            _check_corpus(corpus)
    return _Spec(base, _options(head, settings), tuple(names), tuple(organisms), nested)


def _options(head: str, settings: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The options typed after a model's name."""
    found: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in _MODEL_OPTIONS:
            raise UsageError(
                f"{head!r} has no option {key!r}{nearest(key, _MODEL_OPTIONS)}; models have {', '.join(_MODEL_OPTIONS)}= "
                "(a name with a comma in it stands in parentheses)"
            )
        if unwrapped(head).startswith(("world/", "ngram/")):
            raise UsageError(f"{head!r} has no weights, so {setting} means nothing there")
        if key == "spare-weights" and not unwrapped(head).startswith("hf/"):
            raise UsageError(f"{head},{setting}: only hf/… models can have spare weights left out")
        allowed = _MODEL_OPTIONS[key].choices
        if value not in allowed:
            raise UsageError(f"{head},{setting}: {key} is one of {', '.join(allowed)}{nearest(value, allowed)}")
        found[key.replace("-", "_")] = value
    return tuple(found.items())


def _build(spec: _Spec, options: LoadOptions, tell: Tell, memory: dict[Any, Predictor[Any]]) -> Predictor[Any]:
    """Load the model, then put the organisms on it in the order in which they were typed; a model named twice is loaded once."""
    key = (spec.base, spec.options)
    if key not in memory:
        memory[key] = _base_loader(spec.base)(replace(options, **dict(spec.options)), tell)  # type: ignore[arg-type]
    made = memory[key]
    # chosen ends are the audited model's; one that is named inside an organism keeps its own
    inside = replace(options, end_ids=None)
    for name, one in zip(spec.names, spec.organisms, strict=True):
        made = one.entry.build(
            Builder(made, name, lambda inner: _build(spec.nested[inner], inside, tell, memory), tell), one.values
        )
    return made


def _base_loader(spec: str) -> Loader:
    """What loads a model without options or organisms."""
    from freerun.predictors.weights.catalogue import CATALOGUE

    if spec in CATALOGUE:
        return partial(load_catalogued, spec)
    provider, _, name = spec.partition("/")
    if provider in PROVIDERS and name:
        if provider == "world":
            _check_world(name)
        return partial(PROVIDERS[provider], name)
    known = [*CATALOGUE, *(f"{p}/…" for p in PROVIDERS)]
    hint = nearest(spec, CATALOGUE) or nearest(provider, PROVIDERS)
    if not hint and re.fullmatch(r"[\w.-]+/[\w.-]+", spec):
        hint = f"; a model of the hub is hf/{spec}"
    elif not hint and spec.endswith(".gguf"):
        hint = f"; a GGUF file is gguf/{spec}"
    raise UsageError(f"unknown model {spec!r}{hint}; known: {', '.join(known)} (`freerun models` lists them)")


def _check_world(name: str) -> None:
    from freerun.worlds.catalogue import WORLDS, load_world

    if name.split(",")[0] not in WORLDS:
        load_world(name)  # says which there are


def _check_corpus(spec: str) -> None:
    from freerun.text.corpora import BUILTINS

    if spec.startswith("world/"):
        _check_world(spec.removeprefix("world/"))
    elif spec.startswith("builtin/") and spec not in BUILTINS:
        raise UsageError(f"no corpus {spec!r}; there are {', '.join(BUILTINS)}{nearest(spec, BUILTINS)}")


__all__ = ["LoadOptions", "Tell", "load_predictor", "loader_of"]
