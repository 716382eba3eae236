"""Check what a model or a server really does, before you measure it; without MODEL, check what is installed here.

Each line is a question with its answer: ✓ as it should be, ✗ not so, – not tested, and what that means for an audit. Exit code 4
says that the backend cannot be trusted: an audit of it would measure something else than it says.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING

from freerun.commands.model_arguments import add_json_argument, add_model_arguments, load_options
from freerun.commands.terminal import columns_between, say

if TYPE_CHECKING:
    from freerun.results.doctor import Against, Check, DoctorResult
    from freerun.results.requests import Requests
    from freerun.results.served import LawServed

EXAMPLES = """\
examples:
  freerun doctor                                                        this installation
  freerun doctor smollm2-135m-instruct                                  a model
  freerun doctor llama-server/any@http://127.0.0.1:8080                 a server
  freerun doctor vllm/org/name@http://HOST:8000,tokenizer=hf/./name --against hf/./name
      a server beside the checkpoint that it should serve
"""
UNFIT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="the model or server to check (default: this installation)"
    )
    parser.add_argument(
        "--against",
        metavar="MODEL",
        help="a model with the same tokens, whose predictions it should share, for example the checkpoint that is served",
    )
    add_model_arguments(parser.add_argument_group("model"))
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.doctor.doctor import doctor
    from freerun.results.finding import to_json

    result = doctor(arguments.model, against=arguments.against, options=load_options(arguments), progress=Reporter())
    if arguments.json:
        print_json(to_json(result))
    else:
        say(doctor_lines(result, width=columns_between(60, 120)), sys.stdout)
    return 0 if result.trusted else UNFIT


# ---- what is printed -------------------------------------------------------------------------------------------------

_SIGNS = {"passed": "✓", "failed": "✗", "not_tested": "–"}


def doctor_lines(result: DoctorResult, *, width: int) -> list[str]:
    """The table for people, no wider than `width` columns."""
    lines = [f"{k}: {v}" for k, v in result.facts.items() if v]
    lines = [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="    ")]
    lines = [result.model or "this installation", *(f"  {line}" for line in lines), ""]
    for check in result.checks:
        lines += _check_lines(check, width)
    if result.against is not None:
        lines += ["", *_against_lines(result.against, width)]
    if result.requests is not None:
        lines += ["", _requests_line(result.requests)]
    return [*lines, "", *textwrap.wrap(_verdict(result), width)]


def _check_lines(check: Check, width: int) -> list[str]:
    out = textwrap.wrap(check.question, width - 2, initial_indent=f"{_SIGNS[check.outcome]} ", subsequent_indent="  ")
    out += textwrap.wrap(check.seen, width, initial_indent="    ", subsequent_indent="    ")
    if check.meaning:
        out += textwrap.wrap(check.meaning, width, initial_indent="    → ", subsequent_indent="      ")
    return out


def _against_lines(against: Against, width: int) -> list[str]:
    largest = "infinite" if against.largest_nats is None else f"{against.largest_nats:.2g}"
    words = (
        f"Against {against.model}, {against.n_tokens} tokens: log-probabilities differ by {against.mean_absolute_nats:.2g} nats on "
        f"average, {largest} at most; mean difference {against.mean_difference_nats:+.2g} nats a token."
    )
    if against.kl_nats is not None:
        words += f" KL divergence {against.kl_nats:.3g} nats a token."
    lines = textwrap.wrap(words, width)
    for law in against.laws_served:
        lines += textwrap.wrap(law_words(law), width, initial_indent="  ", subsequent_indent="    ")
    return lines


def law_words(law: LawServed) -> str:
    """The law that a server serves, in one line."""
    from freerun.results.verify import FITS

    how = "every setting sent" if law.sends_rule else "nothing sent"
    if law.match in FITS:
        near = "" if law.match == "agrees" else f" but for the noise of two engines ({law.floor_nats:.2g} nats)"
        return f"law served, {how}: {law.declared}{near} ({law.n_tokens:,} tokens, p {law.p_value:.2g})"
    if law.stated is not None and law.stated.fits:
        return f"law served, {how}: {law.stated.words}, as its defaults say ({law.n_tokens:,} tokens, p {law.stated.p_value:.2g})"
    if law.cause.candidate is not None and law.cause.kind in ("rule", "other_law"):
        return f"law served, {how}: {law.cause.candidate.words}, not {law.declared} ({law.n_tokens:,} tokens, p {law.p_value:.2g})"
    return f"law served, {how}: not {law.declared} ({law.n_tokens:,} tokens, p {law.p_value:.2g}). {law.cause_sentence}"


def _requests_line(requests: Requests) -> str:
    retried = ", ".join(f"{n} × {kind}" for kind, n in requests.retried.items())
    return f"{requests.answered:,} requests answered; tried again: {retried or 'none'}; failed: {requests.failed}"


def _verdict(result: DoctorResult) -> str:
    if result.model is None:
        ready = "Ready. `freerun doctor MODEL` examines a model or a server, `freerun audit MODEL` audits it."
        return ready if result.trusted else f"Not ready: {', '.join(result.unfit_because)}."
    if result.trusted:
        return "An audit of this backend measures what it says; a line with ✗ is something that it will not say."
    return f"This backend cannot be trusted with an audit ({', '.join(result.unfit_because)})."
