"""Experiments that train: small models of our own, or a planted fault in a real one."""

from __future__ import annotations

import argparse
from importlib import import_module

EXPERIMENTS: dict[str, str] = {
    "organism": "train a planted fault into a real model's weights, as a folder that other programs load",
}
"""Each lives in the module of its name in this package: `add_arguments(parser)`, `run(arguments) -> exit code` and `EXAMPLES`."""

EXAMPLES = """\
examples:
  freerun lab organism absorbing smollm2-135m-instruct -o my-organism/
  freerun lab organism --help
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments = parser.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True)
    for name, meaning in EXPERIMENTS.items():
        module = import_module(f"freerun.commands.lab.{name}")
        experiment = experiments.add_parser(
            name,
            help=meaning,
            description=(module.__doc__ or "").strip(),
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        experiment.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.add_arguments(experiment)


def run(arguments: argparse.Namespace) -> int:
    return int(import_module(f"freerun.commands.lab.{arguments.experiment}").run(arguments))
