"""The flags that every verb shares that loads a model, and `--json`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from freerun.predictors.weights.declared import read_end_ids

if TYPE_CHECKING:
    from freerun.specs.spec import LoadOptions


def add_model_arguments(group: argparse._ArgumentGroup, *, dtype_note: str = "") -> None:
    """Add the flags of `load_options` to a group of a parser."""
    group.add_argument(
        "--dtype",
        choices=("fp32", "bf16"),
        default="fp32",
        help=f"number format of weights and arithmetic (default fp32){dtype_note}",
    )
    group.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto (default), cpu, cuda[:N], mps, or spread (the model's layers laid over all devices)",
    )
    group.add_argument(
        "--trust-remote-code", action="store_true", help="run Python code that comes with a hub model (default: never)"
    )
    group.add_argument(
        "--end-ids",
        type=read_end_ids,
        metavar="ID,ID",
        help="token ids that end a text, the one that ends a document first (default: all that the model's files declare)",
    )


def load_options(arguments: argparse.Namespace) -> LoadOptions:
    """What was said about loading, as `load_predictor` takes it."""
    from freerun.specs.spec import LoadOptions

    return LoadOptions(arguments.dtype, arguments.device, arguments.trust_remote_code, end_ids=arguments.end_ids)


def add_json_argument(group: argparse._ActionsContainer, what: str = "the result as ") -> None:
    group.add_argument("--json", action="store_true", help=f"print {what}one JSON object on stdout")
