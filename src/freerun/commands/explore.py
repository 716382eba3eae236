"""Open a local page where you ask what a model would predict next, and walk through the tree of what it would write.

The page shows the text token by token, with how much each surprised the model; the most probable next tokens; continuations that
branch where you like; and who the model thinks is writing. With --run it opens the texts of a finished audit.

The page is served on this machine alone (127.0.0.1), at an address with a secret token in it. Nothing leaves the machine.
Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from freerun.commands.model_arguments import add_model_arguments, load_options
from freerun.errors import BackendError, UsageError

if TYPE_CHECKING:
    from freerun.explore.texts import RunTexts

DEFAULT_MODEL = "smollm2-135m-instruct"
EXAMPLES = """\
examples:
  freerun explore                                        the default model
  freerun explore smollm2-135m-instruct --beside smollm2-135m-instruct,round=int4
      beside its weights rounded to 4 bits
  freerun explore gemma-3-270m --sources mine.toml       who is writing? by your own sources
  freerun explore --run runs/NAME                        the texts of a finished audit, with the model that it measured
  freerun explore --run runs/NAME --text 3 --token 12    text 3 of that run, just before its twelfth token
  freerun explore world/authors                          an exact world and its own sources
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help=f"a model that `freerun models` lists, hf/ORG/NAME, hf/./FOLDER, … (default {DEFAULT_MODEL}; "
        "with --run, the run's own)",
    )
    parser.add_argument(
        "--beside",
        metavar="MODEL",
        help="a second model, or the same one with a planted defect, to read the same text beside the first",
    )
    parser.add_argument(
        "--sources",
        metavar="FILE",
        help="your own sources file for “Who is writing?”; those that come with freerun are always there",
    )
    parser.add_argument("--run", metavar="DIR", help="a finished audit whose texts can be opened")
    parser.add_argument("--text", type=int, metavar="N", help="open text N of the run, as its report numbers them")
    parser.add_argument(
        "--token", type=int, metavar="T", help="go to just before token T of that text, counted from 1 after the prefix"
    )
    page = parser.add_argument_group("the page")
    page.add_argument(
        "--port", type=int, metavar="N", help="the port (default 8321, or a free one where that is taken)"
    )
    page.add_argument("--no-open", action="store_true", help="print the address and open no browser")
    how = parser.add_argument_group("how it runs")
    add_model_arguments(how)


def run(arguments: argparse.Namespace) -> int:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise BackendError(f"this page needs {' and '.join(missing)}: pip install 'freerun[explore]'")
    if arguments.port is not None and not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, not {arguments.port}; 0 is any free one")
    from freerun.commands.progress import Reporter
    from freerun.explore.beside import check_beside
    from freerun.explore.desk import Desk
    from freerun.explore.reader import Reader
    from freerun.explore.serving import bound, serve
    from freerun.explore.writers import SourceReader
    from freerun.jobs.source.file import BUILTINS
    from freerun.specs.spec import loader_of

    reporter = Reporter()
    texts = _run_texts(arguments.run)
    place = _place(arguments, texts)
    name = arguments.model or (texts.model if texts is not None else DEFAULT_MODEL)
    options = load_options(arguments)
    loaders = [loader_of(spec) for spec in (name, arguments.beside) if spec is not None]
    own = [] if arguments.sources is None else [arguments.sources]
    with bound(arguments.port) as listening:
        predictor, *others = (load(options, reporter.say) for load in loaders)
        for other in others:
            check_beside(predictor, other)
        sources = SourceReader(predictor, [*own, *BUILTINS])
        desk = Desk(Reader(predictor), sources, Reader(others[0]) if others else None, texts)
        serve(desk, listening, place=place, tell=_tell, open_browser=not arguments.no_open)
    return 0


def _run_texts(folder: str | None) -> RunTexts | None:
    if folder is None:
        return None
    from freerun.explore.texts import RunTexts

    return RunTexts(Path(folder))


def _place(arguments: argparse.Namespace, texts: RunTexts | None) -> str:
    """Where in the run the page begins, as its own address has it."""
    if arguments.token is not None and arguments.text is None:
        raise UsageError(f"--token {arguments.token} is a token of a text: name the text too, --text N")
    if arguments.text is None:
        return ""
    if texts is None:
        raise UsageError(f"--text {arguments.text} is a text of a run: name the run too, --run DIR")
    return texts.place(arguments.text, arguments.token)


def _tell(address: str) -> None:
    print(f"\n  {address}\n", flush=True)
    print(
        "Open it in a browser on this machine. The token lets in whoever has the address. Ctrl-C ends it.",
        file=sys.stderr,
    )
