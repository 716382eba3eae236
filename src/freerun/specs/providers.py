"""The table of providers, made of the entries in `specs/backends`, and who provides what was typed."""

from __future__ import annotations

import re
from pathlib import Path

from freerun.errors import UsageError, nearest
from freerun.predictors.entries import collected
from freerun.predictors.weights.catalogue import CATALOGUE
from freerun.specs.backends.huggingface import CATALOGUED, load_named_encoder
from freerun.specs.provider import AS_IT_IS, Loader, LoadOptions, Provider, Tell

PROVIDERS: dict[str, Provider] = {
    name: provider for name, provider in collected("freerun.specs.backends", Provider).items() if name
}


def provider_of(spec: str) -> tuple[Provider, str]:
    """Who provides a model, and what it is called there; the name is checked as far as that costs nothing.

    Raises:
        UsageError: no such model or provider.
    """
    if spec in CATALOGUE:
        return CATALOGUED, spec
    name, _, rest = spec.partition("/")
    if name in PROVIDERS and rest:
        PROVIDERS[name].check(rest)
        return PROVIDERS[name], rest
    hint = nearest(spec, CATALOGUE) or nearest(name, PROVIDERS)
    if not hint and spec.endswith(".gguf"):
        hint = f"; a GGUF file is gguf/{spec}"
    elif not hint and (on_disk := _on_disk(spec)):
        hint = on_disk
    elif not hint and re.fullmatch(r"[\w.-]+/[\w.-]+", spec):
        hint = f"; a model of the hub is hf/{spec}"
    elif not hint and re.fullmatch(r"[\w.-]+", spec):
        hint = "; a model of the hub is hf/ORG/NAME"
    known = ", ".join([*CATALOGUE, *(f"{p}/…" for p in PROVIDERS)])
    known_words = " Known" if hint.endswith("?") else "; known"
    raise UsageError(f"unknown model {spec!r}{hint}{known_words}: {known} (`freerun models` lists them)")


def _on_disk(spec: str) -> str:
    """What is said of a name that is a file or a folder; nothing of one that can be neither."""
    try:
        if Path(spec).is_file():
            return f"; {spec} is a file: the model comes first, then the text"
        if Path(spec).is_dir():
            return f"; a model in a folder is hf/./{spec}, and the text comes after the model"
    except (OSError, ValueError):  # too long for a name, or with a NUL byte
        pass
    return ""


__all__ = ["AS_IT_IS", "PROVIDERS", "LoadOptions", "Loader", "Provider", "Tell", "load_named_encoder", "provider_of"]
