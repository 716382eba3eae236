"""From what people type to predictors: `provider/name[,option=value…][+ORGANISM[,param=value…]…]`.

A nested spec, and a model's name with a comma or plus sign in it, stands in parentheses:
`world/markov+payload,model=(world/markov,seed=3),epsilon=0.02+temperature,t=0.9`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from freerun.errors import UsageError, nearest
from freerun.organisms.catalogue import ORGANISMS, organism
from freerun.organisms.entry import Builder, OrganismEntry
from freerun.predictors.base import Predictor
from freerun.predictors.entries import Values, split_outside, unwrapped
from freerun.specs.providers import AS_IT_IS, PROVIDERS, Loader, LoadOptions, Provider, Tell, provider_of


def load_predictor(spec: str, options: LoadOptions = AS_IT_IS, *, tell: Tell = lambda _: None) -> Predictor:
    """Build the predictor that a spec names.

    Raises:
        UsageError: no such model or provider. BackendError, DataError: it cannot be loaded.
    """
    return loader_of(spec)(options, tell)


def loader_of(spec: str) -> Loader:
    """What would load a spec; every name and value in it is checked, nothing is loaded or fetched yet.

    Raises:
        UsageError: no such model, provider, option, organism, parameter or value.
    """
    parsed = _parse(spec)
    return lambda options, tell: _build(parsed, options, tell, {})


@dataclass(frozen=True)
class _Stacked:
    """One organism of a spec. `name`: the spec up to here, as typed."""

    name: str
    entry: OrganismEntry
    values: Values


@dataclass(frozen=True)
class _Spec:
    """A spec taken apart: a model, and the organisms on it with the specs nested in them."""

    provider: Provider
    base: str
    """The model's name there."""
    options: tuple[tuple[str, str], ...]
    organisms: tuple[_Stacked, ...]
    nested: dict[str, _Spec]


def _parse(spec: str) -> _Spec:
    first, *stacked = split_outside(spec, "+")
    head, *settings = split_outside(first, ",")
    plain = PROVIDERS.get(head.partition("/")[0])
    if plain is not None and plain.own_settings:
        head, settings = first, []
    provider, base = provider_of(unwrapped(head))
    organisms: list[_Stacked] = []
    nested: dict[str, _Spec] = {}
    for n, part in enumerate(stacked):
        name, *values = split_outside(part, ",")
        if name not in ORGANISMS and plain is not None and not plain.exact:
            raise UsageError(
                f"{spec!r}: {name!r} is not an organism{nearest(name, ORGANISMS)}; a model whose own name has a + in it stands in "
                "parentheses"
            )
        entry = organism(name)
        organisms.append(_Stacked("+".join([first, *stacked[: n + 1]]), entry, entry.read(values)))
        for inner in entry.named("spec", organisms[-1].values):
            nested[inner] = _parse(inner)
        for corpus in entry.named("corpus", organisms[-1].values):
            _check_corpus(corpus)
    return _Spec(provider, base, _options(provider, head, settings), tuple(organisms), nested)


def _options(provider: Provider, head: str, settings: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The options typed after a model's name."""
    known = {p.name: p for other in PROVIDERS.values() for p in other.options}
    own = {p.name: p for p in provider.options}
    given: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise UsageError(
                f"{head!r} has no option {key!r}{nearest(key, known)}; models have {', '.join(known)}= "
                "(a name with a comma in it stands in parentheses)"
            )
        if not provider.weights:
            raise UsageError(f"{head!r} has no weights, so {setting} means nothing there")
        if key not in own:
            takers = ", ".join(f"{n}/…" for n, other in PROVIDERS.items() if known[key] in other.options)
            raise UsageError(f"{head},{setting}: only {takers} models have {key}= ({known[key].meaning})")
        allowed = own[key].choices
        if value not in allowed:
            raise UsageError(f"{head},{setting}: {key} is one of {', '.join(allowed)}{nearest(value, allowed)}")
        given[key.replace("-", "_")] = value
    return tuple(given.items())


def _build(spec: _Spec, options: LoadOptions, tell: Tell, memory: dict[Any, Predictor]) -> Predictor:
    """Load the model, then put the organisms on it in the order in which they were typed; a model named twice is loaded once."""
    key = (spec.provider.name, spec.base, spec.options)
    if key not in memory:
        typed: dict[str, Any] = dict(spec.options)
        memory[key] = spec.provider.loader(spec.base)(replace(options, **typed), tell)
        if "dtype" in typed:  # of this model alone: its name says so
            own = memory[key].identity
            memory[key].identity = replace(own, name=f"{own.name},dtype={typed['dtype']}")
    made = memory[key]
    # chosen ends are the audited model's; one that is named inside an organism keeps its own
    inside = replace(options, end_ids=None)
    for layer in spec.organisms:
        builder = Builder(made, layer.name, lambda inner: _build(spec.nested[inner], inside, tell, memory), tell)
        made = layer.entry.build(builder, layer.values)
    return made


def _check_corpus(spec: str) -> None:
    from freerun.text.corpora import BUILTINS

    provider, _, name = spec.partition("/")
    if provider in PROVIDERS and PROVIDERS[provider].exact:
        PROVIDERS[provider].check(name)
    elif spec.startswith("builtin/") and spec not in BUILTINS:
        raise UsageError(f"no corpus {spec!r}; there are {', '.join(BUILTINS)}{nearest(spec, BUILTINS)}")


__all__ = ["LoadOptions", "Tell", "load_predictor", "loader_of"]
