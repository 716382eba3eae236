"""Train models, to see where equal losses leave room to differ and whether an evaluation notices a planted fault.

`freerun lab EXPERIMENT --help` explains each experiment.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from freerun.commands.help_pages import HelpPage

EXPERIMENTS: dict[str, str] = {
    "disagreement": "how far models of the same loss differ on improbable texts, of which the loss says nothing",
    "organism": "train a fault into a real model's weights, as a folder that other programs load",
}
"""Each lives in the module of its name in this package: `add_arguments(parser)` and `run(arguments) -> exit code`."""

EXAMPLES = """\
examples:
  freerun lab disagreement
  freerun lab organism absorbing smollm2-135m-instruct -o my-organism/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True, help="one of:")
    for name, meaning in EXPERIMENTS.items():
        module = import_module(f"freerun.commands.lab.{name}")
        own = kinds.add_parser(
            name,
            help=meaning,
            description=(module.__doc__ or "").strip(),
            epilog=module.EXAMPLES,
            formatter_class=HelpPage,
        )
        own.add_argument("--debug", action="store_true", help="show the full traceback of an error")
        module.add_arguments(own)


def run(arguments: argparse.Namespace) -> int:
    return int(import_module(f"freerun.commands.lab.{arguments.experiment}").run(arguments))
