"""A first look on the terminal: what it could have found, and how to go on."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.terminal import columns_between, say, shown
from freerun.records.layout import QUICK
from freerun.results.first_look import FirstLook
from freerun.results.json import from_json

if TYPE_CHECKING:
    from freerun.runs.run import Run


def tell_first_look(run: Run, out: TextIO) -> None:
    """Print what stands beside the verdict of a first look; nothing for a whole run."""
    if run.result.get("first_look") is None:
        return
    look = from_json(FirstLook, run.result["first_look"])
    width = columns_between(1, 100)
    print(file=out)
    say(textwrap.wrap(shown(run.findings["first_look"]["sentence"]), width), out)
    print(file=out)
    say(
        [
            f"go on    the same command without --quick measures the other {look.of_documents - look.documents} documents:"
        ],
        out,
    )
    command = str(run.result["command"]).removesuffix(QUICK)
    say([f"         {shown(command)} -o {shown(shlex.quote(str(run.path)))}"], out)
