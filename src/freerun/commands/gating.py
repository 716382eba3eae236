"""Gates on the command line: `--fail-on`, `--junit`, `--markdown`, for every verb that can fail a build."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from freerun.comparisons.gates import Gate, Judged
    from freerun.results.quantity import Quantity


def add_gate_arguments(parser: argparse.ArgumentParser, *, example: str) -> None:
    """The arguments of a gate, the same for every verb."""
    gates = parser.add_argument_group("gates (docs/gates.md)")
    gates.add_argument(
        "--fail-on",
        metavar="EXPR",
        action="append",
        default=[],
        help=f"a gate: exit with 1 if this holds, with 3 if the data do not decide, for example {example}; quote it; "
        "may be repeated",
    )
    gates.add_argument("--junit", metavar="FILE", help="write the gates' results to this file as JUnit XML")
    gates.add_argument(
        "--markdown", metavar="FILE", help="append a summary table to this file, for example $GITHUB_STEP_SUMMARY"
    )


def read_gates(
    arguments: argparse.Namespace, *, relative: bool, known: Mapping[str, Quantity] | None = None
) -> tuple[Gate, ...]:
    """The gates that were asked for, of the numbers that are `known` (None: an audit's); call it before anything is measured.

    Raises:
        UsageError: an expression that is not a gate, or a file for gates without a gate.
    """
    from freerun.comparisons.gates import parse_gate
    from freerun.errors import UsageError
    from freerun.findings.registry import GATES

    for name in ("junit", "markdown"):
        if getattr(arguments, name) and not arguments.fail_on:
            raise UsageError(
                f"--{name} {getattr(arguments, name)} has nothing to say without a gate; add --fail-on 'NAME<NUMBER'"
            )
    return tuple(parse_gate(text, relative=relative, known=known or GATES) for text in arguments.fail_on)


def judge_gates(
    arguments: argparse.Namespace, gates: tuple[Gate, ...], result: Mapping[str, Any], *, verb: str
) -> tuple[Judged, ...]:
    """Judge the gates on a result of `verb` and write the files that were asked for."""
    from freerun.comparisons.distance_gates import judge_distance
    from freerun.comparisons.gates import judge_audit, judge_compare
    from freerun.comparisons.verification import judge_verify
    from freerun.files import write_atomically
    from freerun.report.gate_reports import junit_xml, markdown_table

    judges = {"compare": judge_compare, "distance": judge_distance, "verify": judge_verify}
    judged = judges.get(verb, judge_audit)(result, gates)
    if arguments.junit:
        held = {"freerun": result["freerun_version"], "command": result.get("command") or ""}
        created = str(result.get("created") or "")
        write_atomically(
            Path(arguments.junit),
            junit_xml(judged, title=result["title"], verb=verb, created=created, properties=held),
        )
    if arguments.markdown:
        _append(
            Path(arguments.markdown),
            markdown_table(judged, title=result["title"], sentence=result["verdict"]["sentence"]),
        )
    return judged


def _append(path: Path, text: str) -> None:
    """Add to a file that a build may have begun."""
    from freerun.errors import DataError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose another --markdown file") from error


def tell_gates(judged: tuple[Judged, ...], out: TextIO) -> None:
    """One line a gate, for people."""
    from freerun.commands.terminal import say

    if judged:
        print(file=out)
    for j in judged:
        say([f"gate {j.gate}: {j.decision}. {j.words}"], out)
        if j.needed:
            say([f"     to decide it: {j.needed}"], out)


def gates_json(judged: tuple[Judged, ...]) -> dict[str, Any]:
    """What stands in the JSON object beside the result; nothing without gates."""
    from freerun.comparisons.gates import worst
    from freerun.results.finding import to_json

    return {"gates": to_json(judged), "gates_decision": worst(judged)} if judged else {}


def exit_code(judged: tuple[Judged, ...], *, unknown: bool) -> int:
    """Fail beats undecided beats pass; a result that allows no inference is undecided at best."""
    from freerun.comparisons.gates import EXITS, worst

    code = EXITS[worst(judged)]
    return 3 if unknown and code == 0 else code
