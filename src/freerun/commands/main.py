"""The command line: find the verb, let its file parse and run, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import freerun
from freerun.commands.interrupt import INTERRUPTED, told_once, what_is_kept
from freerun.commands.streams import safe_streams
from freerun.errors import FreerunError, UsageError, nearest

VERBS: dict[str, str] = {
    "audit": "measure a model on real text and on its own, and write the report (the main job)",
    "verify": "are these samples, which someone else drew, draws from this model's law?",
    "predict": "what the model expects at every token of a text",
    "source": "who could have written a text: the posterior over sources, token by token",
    "certify": "what an excess loss does and does not guarantee; no model",
    "distance": "how far apart two models are: token by token, and as writers of whole texts",
    "grid": "many models, corpora and settings, as a file says; one page over all",
    "compare": "what differs between finished runs of the same documents, with intervals; no model",
    "loops": "do texts loop, and what would a stop rule cost and save; any samples or texts, no model",
    "power": "which metric notices which planted defect: size and power by simulation; no model",
    "lab": "experiments that train models: what a loss does not constrain, and faults planted in real weights",
    "explore": "open a local page: what comes next, what it would write, who is writing",
    "export": "export a run's numbers to tables, a model-card section or an experiment tracker; no model",
    "report": "rebuild the findings and the page from a run's records; no model",
    "doctor": "what a backend really does, question by question; without a model: what this installation has",
    "models": "list the models you can name, with licence, size, type and whether they are cached",
}
"""Each verb lives in the module of its name in this package: `add_arguments(parser)` and `run(arguments) -> exit code`."""

_EPILOG = """\
examples:
  freerun audit                                         the default model on the default corpus, about 7 minutes on 2 cores
  freerun audit smollm2-135m-instruct texts.jsonl.gz    your own documents, one JSON object a line
  freerun audit hf/./my-checkpoint essays/ --tokens 256
  freerun predict smollm2-135m-instruct "The cat sat on the"
  freerun certify --excess 0.01005 --tokens 1000
  freerun grid plan.toml
  freerun compare runs/A runs/B
  freerun report runs/NAME

exit codes: 0 done · 1 a gate failed · 2 usage · 3 too few documents, or a gate not decided · 4 data or backend · 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing a page of usage."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].split()[0] if unknown[0].strip() else unknown[0]
            options = [o for action in self._actions for o in action.option_strings]
            self.error(f"unknown argument {word!r}{nearest(word.split('=')[0], options)}")
        return parsed

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or str(action.metavar or action.dest)
            choices = [str(choice) for choice in action.choices]
            self.error(f"{name} must be one of {', '.join(choices)}, not {value!r}{nearest(value, choices)}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` lists what there is)")


def build_parser() -> Parser:
    parser = Parser(
        prog="freerun",
        description="What does a language model predict, and what happens when it runs free?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"freerun {freerun.__version__}")
    verbs = "\n".join(f"  {name:<10} {meaning}" for name, meaning in VERBS.items())
    parser.add_argument("verb", metavar="VERB", nargs="?", help="one of: " + ", ".join(VERBS))
    parser.description = f"{parser.description}\n\nverbs (each has its own --help):\n{verbs}"
    return parser


def verb_parser(verb: str) -> Parser:
    """The parser of one verb; imports that verb's module only."""
    module = import_module(f"freerun.commands.{verb}")
    parser = Parser(
        prog=f"freerun {verb}",
        description=(module.__doc__ or "").strip(),
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    module.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    with safe_streams() as (out, _), told_once():
        try:
            code = _guarded(words)
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return _say(what_is_kept(words), INTERRUPTED)
        out.flush()
        if out.error is not None and code == 0:
            return _say(f"cannot write standard output: {out.error.strerror or out.error}; send it elsewhere", 4)
        return code


def _guarded(words: list[str]) -> int:
    try:
        return _run(words)
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        return _say(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """What is said of an error, and the exit code."""
    if isinstance(error, FreerunError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; take a smaller --batch, fewer --tokens or a smaller model", 4
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        why = error.strerror or error
        return f"cannot go on{place}: {why}; the same command again goes on from what is kept", 4
    return f"internal error: {type(error).__name__}: {error} (run again with --debug and report it)", 4


def _run(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        arguments = build_parser().parse_args(words)
        if arguments.verb is None:
            build_parser().print_help()
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}{nearest(verb, VERBS)}; verbs: {', '.join(VERBS)}")
    arguments = verb_parser(verb).parse_args(rest)
    return int(import_module(f"freerun.commands.{verb}").run(arguments))


def _say(message: str, code: int) -> int:
    from freerun.commands.terminal import say

    say([f"freerun: {' '.join(message.split())}"], sys.stderr)
    return code


def print_json(value: Any) -> None:
    """One object on stdout; characters that cannot be seen are written as \\u escapes, which mean the same."""
    import json

    from freerun.commands.terminal import escaped_json

    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(escaped_json(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=not utf8)))


if __name__ == "__main__":
    sys.exit(main())
