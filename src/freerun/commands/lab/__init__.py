"""Experiments on small models, and models with planted defects. Each has its own --help: `freerun lab EXPERIMENT --help`."""

from __future__ import annotations

import argparse
from importlib import import_module

EXPERIMENTS: dict[str, str] = {
    "disagreement": "how far models of one loss differ on texts of which the loss says nothing",
    "organism": "train a planted fault into a real model's weights, as a folder that other programs load",
}
"""Each lives in the module of its name in this package: `add_arguments(parser)` and `run(arguments) -> exit code`."""

EXAMPLES = """\
examples:
  freerun lab disagreement
  freerun lab organism absorbing smollm2-135m-instruct -o my-organism/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True, help=", ".join(EXPERIMENTS))
    for name, meaning in EXPERIMENTS.items():
        module = import_module(f"freerun.commands.lab.{name}")
        own = kinds.add_parser(
            name,
            help=meaning,
            description=(module.__doc__ or "").strip(),
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.add_arguments(own)


def run(arguments: argparse.Namespace) -> int:
    return int(import_module(f"freerun.commands.lab.{arguments.experiment}").run(arguments))
