"""The command line: find the verb, let its file parse and run, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import freerun
from freerun.commands.help_pages import HelpPage
from freerun.commands.interrupt import INTERRUPTED, told_once, what_is_kept
from freerun.commands.streams import safe_streams
from freerun.errors import FreerunError, UsageError, nearest

GROUPS: dict[str, dict[str, str]] = {
    "begin here": {
        "audit": "let a model write, and find the length from which its text can be told from real text",
        "explore": "open a page in the browser: what comes next, what the model would write, who seems to be writing",
        "models": "list the models that can be named, with licence and size, and which of them are cached",
    },
    "one text": {
        "predict": "show what a model expected at every token of a text",
        "source": "ask a model who could have written a text, token by token",
    },
    "models and samples that you have": {
        "verify": "check whether samples that someone else drew really come from this model",
        "distance": "measure how far apart two models are, token by token and as writers of whole texts",
        "loops": "count loops in any texts, and say what a stop rule would cost and save (no model)",
        "doctor": "check what a model or a server really does, or what is installed here",
    },
    "several runs": {
        "grid": "audit many models on many corpora, as a plan says, and write one page about all of them",
        "compare": "show what differs between finished audits, with intervals (no model)",
        "report": "make a run's findings and page again from its records (no model)",
        "export": "write a run's numbers to tables, a model card or an experiment tracker (no model)",
    },
    "what numbers mean": {
        "certify": "work out what a loss guarantees about generated text, and what it does not (no model)",
        "power": "find out by simulation which metric notices which planted defect (no model)",
        "lab": "train models: where equal losses leave room to differ, and faults planted in real weights",
    },
}
"""Each verb lives in the module of its name in this package: `add_arguments(parser)` and `run(arguments) -> exit code`."""
VERBS: dict[str, str] = {verb: meaning for group in GROUPS.values() for verb, meaning in group.items()}

_DESCRIPTION = """\
What does a language model predict, and what happens when it runs free?

freerun lets a model write by itself and measures from which length on its text can be told from real text. It also shows what a
model expects at each token and who it thinks is writing, and checks whether samples or another model follow the same law (the
distribution of the next token, given what stands before it).
"""
_EPILOG = """\
examples:
  freerun audit --quick                                    a first look at the default model, in minutes on 2 cores
  freerun audit                                            the whole audit, about 7 minutes on 2 cores
  freerun audit smollm2-135m-instruct texts.jsonl.gz       your own text, one JSON object a line
  freerun audit hf/./my-checkpoint essays/ --tokens 256    your own model and a folder of text
  freerun explore                                          ask the default model what comes next, in the browser
  freerun predict smollm2-135m-instruct "The cat sat on the"
  freerun compare runs/A runs/B

`freerun VERB --help` explains one verb, with more examples.

exit codes:
  0     done
  1     a gate (--fail-on) failed
  2     usage: what was typed does not exist or does not go together
  3     too few documents to say anything, or a gate that the data do not decide
  4     data or backend: a file, a model or a server is missing or broken
  130   interrupted; the same command goes on from there
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
        usage="freerun VERB [options]",
        description=f"{_DESCRIPTION}\n\n{_verbs()}",
        epilog=_EPILOG,
        formatter_class=HelpPage,
    )
    parser.add_argument(
        "--version", action="version", version=f"freerun {freerun.__version__}", help="print the version and exit"
    )
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    return parser


def _verbs() -> str:
    groups = []
    for name, verbs in GROUPS.items():
        groups.append("\n".join([f"{name}:", *(f"  {verb:<9}   {meaning}" for verb, meaning in verbs.items())]))
    return "\n\n".join(groups)


def verb_parser(verb: str) -> Parser:
    """The parser of one verb; imports that verb's module only."""
    module = import_module(f"freerun.commands.{verb}")
    parser = Parser(
        prog=f"freerun {verb}",
        description=(module.__doc__ or "").strip(),
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=HelpPage,
    )
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
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
