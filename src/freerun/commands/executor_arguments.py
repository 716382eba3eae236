"""`--executor` and `--parts`, the same for every verb that can use several workers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freerun.runs.executors.job import Executor


def add_executor_arguments(group: argparse._ArgumentGroup, *, parts: bool = True) -> None:
    """The two arguments; without `parts`, `--parts` is not offered: such a verb refuses it (`refuse_parts`)."""
    group.add_argument(
        "--executor",
        metavar="WHO",
        help="who does the work: local (default), pool:N (N processes on this machine) or "
        "ray[:ADDRESS][,workers=N,cpus=N,gpus=N] (docs/grid.md)",
    )
    group.add_argument(
        "--parts",
        metavar="URL",
        default="",
        help="where workers leave their results if they cannot see the run's folder: any fsspec URL, such as s3://bucket/runs"
        if parts
        else argparse.SUPPRESS,
    )


def refuse_parts(arguments: argparse.Namespace) -> None:
    """Refuse `--parts` where workers hand what they make back to this process.

    Raises:
        UsageError: it was given.
    """
    from freerun.errors import UsageError

    if arguments.parts:
        raise UsageError(
            f"--parts {arguments.parts} is of no use here: workers hand what they make back to this process, which keeps it in "
            "the run's folder; leave it out"
        )


def chosen_executor(arguments: argparse.Namespace) -> Executor | None:
    """The executor that was asked for; None where it is this process.

    Raises:
        UsageError: no such executor, or --parts without one.
    """
    from freerun.errors import UsageError

    if arguments.executor in (None, "local"):
        if arguments.parts:
            raise UsageError(f"--parts {arguments.parts} goes with workers of their own: --executor pool:N or ray")
        return None
    from freerun.runs.executors.named import executor_named

    return executor_named(arguments.executor)
