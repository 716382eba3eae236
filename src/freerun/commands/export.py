"""Write a finished run's numbers to tables, a section for a model card, or an experiment tracker; no model is loaded.

Takes audits and distances. csv and parquet make two tables: estimates (a row for each number) and documents (a row for each
document and number). model-card makes a section in Markdown, and the evaluation metadata that the Hugging Face hub reads. wandb,
mlflow and trackio log every number.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freerun.commands.model_arguments import add_json_argument
from freerun.errors import UsageError

EXAMPLES = """\
examples:
  freerun export runs/NAME --to csv                         into runs/NAME/export
  freerun export runs/NAME --to parquet -o tables/
  freerun export runs/NAME --to model-card -o card/
  freerun export runs/NAME --to model-card --distance runs/distance-NAME   and a sentence on a distance
  freerun export runs/NAME --to trackio --project nightly   pip install 'freerun[trackio]' first
"""
TABLES = ("csv", "parquet")
TO = (*TABLES, "model-card", "wandb", "mlflow", "trackio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a finished audit or distance")
    parser.add_argument("--to", choices=TO, required=True, metavar="FORMAT", help=f"one of {', '.join(TO)}")
    parser.add_argument("-o", "--out", metavar="FOLDER", help="the folder for files (default RUN/export)")
    parser.add_argument("--project", default="freerun", metavar="NAME", help="the tracker's project (default freerun)")
    parser.add_argument(
        "--distance",
        metavar="RUN",
        help="a finished distance, which adds a sentence to the card (with --to model-card)",
    )
    add_json_argument(parser, "what was written as ")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.runs.run import evidence_of, is_distance, open_run, two_models_of

    if arguments.distance and arguments.to != "model-card":
        raise UsageError("--distance adds a sentence to a model card; give --to model-card")
    done = open_run(arguments.run)
    folder = Path(arguments.out) if arguments.out else done.path / "export"
    if arguments.to in TABLES:
        from freerun.exports.tables import write_tables

        evidence = two_models_of(done.path) if is_distance(done.path) else evidence_of(done.path)
        written = [str(f) for f in write_tables(evidence, done.result, folder, arguments.to)]
    elif arguments.to == "model-card":
        written = _card(done.result, folder, _distance(arguments.distance))
    else:
        from freerun.exports.trackers import track

        written = [track(done.result, done.path, to=arguments.to, project=arguments.project)]
    if arguments.json:
        print_json({"schema_version": 1, "kind": "export", "to": arguments.to, "written": written})
    else:
        print("\n".join(written))
    return 0


def _distance(path: str | None) -> Mapping[str, Any] | None:
    from freerun.runs.run import is_distance, open_run

    if path is None:
        return None
    if not is_distance(path):
        raise UsageError(f"--distance {path}: that is not a distance between two models")
    return open_run(path).result


def _card(result: Mapping[str, Any], folder: Path, distance: Mapping[str, Any] | None) -> list[str]:
    from freerun.exports.model_card import (
        card_section,
        distance_section,
        distance_sentence,
        eval_results,
        model_index,
        yaml_text,
    )
    from freerun.files import write_atomically
    from freerun.records.distance import KIND

    section = distance_section(result) if result["kind"] == KIND else card_section(result)
    if distance is not None:
        section = f"{section}\n{distance_sentence(distance)}\n"
    files = {"model-card.md": section, "model-index.yaml": yaml_text(model_index(result))}
    entries = eval_results(result)
    if entries:
        files[".eval_results/freerun.yaml"] = yaml_text(entries)
    for name, text in files.items():
        write_atomically(folder / name, text)
    return [str(folder / name) for name in files]
