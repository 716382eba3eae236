"""`--end-ids`: which ids end a text, chosen by hand."""

from __future__ import annotations

import argparse

from freerun.predictors.weights.declared import read_end_ids


def add_end_ids_argument(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--end-ids",
        type=read_end_ids,
        metavar="ID,ID",
        help="ids that end a text, the id that ends documents given first (default: all that the model's files declare)",
    )
