"""Check whether samples that someone else drew really come from this model.

Takes rollouts of vLLM, SGLang, TRL, verl, OpenRLHF, slime or an OpenAI-style API, or in freerun's own format, and lets the model
read them. The question is whether they are draws from its law (its distribution of the next token) under the sampling rule that
was declared. They agree, and then the answer says how small a fault so many tokens would have shown; or they differ by no more
than the numerical noise between two engines; or they differ, and then it says which other rule, checkpoint or setting explains
them, if one does. Log-probabilities in the file are compared with the model's own, under the names that trainers print.

Given the folder of a run, freerun checks its own samples in the same way.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TextIO

from freerun.commands.gating import add_gate_arguments
from freerun.commands.model_arguments import add_json_argument, add_model_arguments

if TYPE_CHECKING:
    from freerun.commands.progress import Reporter
    from freerun.results.forecast import VerifyForecast
    from freerun.results.verify import VerifyResult

EXAMPLES = """\
examples:
  freerun verify rollouts.jsonl --model smollm2-135m-instruct
  freerun verify chats.jsonl --model smollm2-135m-instruct --chat   prompts rendered with the model's own chat template
  freerun verify rollouts.jsonl --model hf/./checkpoint --declared t=0.7,top_p=0.9 --or hf/./checkpoint-before
      a rule other than plain sampling, and an older checkpoint to try if they differ
  freerun verify step-12.parquet --model hf/./policy --fail-on 'outside_band>0.1' --fail-on 'ess<0.5'
      a gate for a training job
  freerun verify server.jsonl --model smollm2-135m-instruct --declared t=0.8,top_k=40,top_p=0.95,min_p=0.05 --order llama.cpp
      steps applied in llama.cpp's order
  freerun verify builtin/python-docs --from vllm/org/name@http://HOST:8000 --model hf/./name
      let a server draw the samples now
  freerun verify runs/NAME   a run of freerun's own: its checksums, and its draws against a fresh pass
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "samples", metavar="SAMPLES", help="a file or folder of samples, or the folder of a run of freerun's own"
    )
    what = parser.add_argument_group("what they are compared with")
    what.add_argument("--model", metavar="MODEL", help="the model that is said to have drawn them (`freerun models`)")
    what.add_argument(
        "--declared",
        metavar="RULE",
        default="t=1",
        help="the sampling rule that the engine was given: t=, top_k=, top_p=, min_p=, repetition_penalty=, presence_penalty=, "
        "frequency_penalty=, joined by commas (default t=1, the model's full distribution)",
    )
    what.add_argument(
        "--order",
        choices=("vllm", "transformers", "sglang", "llama.cpp", "typed"),
        default="vllm",
        help="the engine in whose order the steps of the rule apply (default vllm); typed: in the order of --declared",
    )
    what.add_argument(
        "--from",
        dest="writer",
        metavar="SERVED",
        help="let this server draw the samples now, by the declared rule: vllm/NAME@http://HOST:PORT or the like, with "
        ",sampling=server as it samples by default; SAMPLES is then the corpus whose beginnings it continues",
    )
    what.add_argument(
        "--or",
        dest="other",
        metavar="MODEL2",
        help="another checkpoint that may have drawn them, to try if they differ",
    )
    what.add_argument(
        "--ends",
        choices=("auto", "present", "missing"),
        default="auto",
        help="whether completions that ended include their end token (default auto: as the file shows)",
    )
    what.add_argument(
        "--floor",
        dest="floor_nats",
        type=float,
        metavar="NATS",
        help="noise in log-probabilities (root mean square) that does not count as a difference (default: measured, the model "
        "against itself)",
    )
    drawn = parser.add_argument_group("how much a server draws (--from)")
    drawn.add_argument("--documents", type=int, default=64, metavar="N", help="documents to continue (default 64)")
    drawn.add_argument(
        "--prefix", type=int, default=32, metavar="P", help="tokens of each that the server is given (default 32)"
    )
    drawn.add_argument(
        "--tokens", type=int, default=64, metavar="T", help="tokens that it writes, at most (default 64)"
    )
    drawn.add_argument(
        "--dry-run",
        action="store_true",
        help="only estimate what it would take and what the server would be asked; write nothing",
    )
    file = parser.add_argument_group("how the file is read")
    file.add_argument("--format", metavar="F", help="the format of the file (default: recognised, and reported)")
    file.add_argument(
        "--requests",
        metavar="FILE",
        help="for the output of a batch: the file of its requests, which holds the prompts",
    )
    file.add_argument(
        "--prompt-field", metavar="F", help="the field of a row that holds the prompt, as text or as a chat"
    )
    file.add_argument("--text-field", metavar="F", help="the field of a row that holds the completion as text")
    chat = parser.add_argument_group("how prompts without token ids are put to the model")
    chat.add_argument(
        "--chat",
        action="store_true",
        help="render them with the model's own chat template (a prompt that is plain text becomes the user's turn)",
    )
    chat.add_argument(
        "--system", metavar="TEXT", help="the system turn, in place of a conversation's own (with --chat)"
    )
    chat.add_argument(
        "--template-option",
        dest="template_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable of the chat template, for example enable_thinking=false; may be repeated (with --chat)",
    )
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--cause-tokens",
        type=int,
        default=8192,
        metavar="N",
        help="tokens on which other explanations are tried, at most (default 8192)",
    )
    how.add_argument(
        "--text-tokens",
        type=int,
        default=8192,
        metavar="N",
        help="where the file has text alone: tokens of it to compare with texts that the model draws, at most (default 8192)",
    )
    how.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the tests' own random numbers (default 0)"
    )
    add_model_arguments(how)
    how.add_argument(
        "-o", "--out", metavar="DIR", help="the folder for records, result and page (default runs/verify-…)"
    )
    add_json_argument(how)
    add_gate_arguments(parser, example="'outside_band>0.1'")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.gating import exit_code, gates_json, judge_gates, read_gates, tell_gates
    from freerun.commands.main import print_json
    from freerun.commands.model_arguments import load_options
    from freerun.commands.progress import Reporter
    from freerun.errors import UsageError
    from freerun.findings.verification.quantities import VERIFY_GATES
    from freerun.jobs.verify.options import VerifyOptions
    from freerun.jobs.verify.own_run import is_run, verify_run
    from freerun.jobs.verify.verify import verify
    from freerun.results.finding import to_json

    gates = read_gates(arguments, relative=False, known=VERIFY_GATES)
    progress = Reporter()
    if arguments.dry_run:
        return _dry_run(arguments, progress)
    if arguments.writer:
        result = to_json(_verify_from(arguments, progress))
    elif is_run(arguments.samples):
        if arguments.model:
            raise UsageError(
                f"{arguments.samples} is a run of freerun's own, whose records hold its model's laws: leave out --model"
            )
        result = to_json(verify_run(arguments.samples))
    else:
        if not arguments.model:
            raise UsageError("name the model that is said to have drawn the samples: --model MODEL (`freerun models`)")
        arguments.template_options = tuple(arguments.template_options)
        names = (*(field.name for field in fields(VerifyOptions)),)
        result = to_json(
            verify(
                arguments.samples,
                arguments.model,
                out=arguments.out,
                load=load_options(arguments),
                progress=progress,
                command=_command(arguments),
                **{name: getattr(arguments, name) for name in names},
            )
        )
    judged = judge_gates(arguments, gates, result, verb="verify")
    if arguments.json:
        print_json({**result, **gates_json(judged)})
    else:
        tell_verification(result, sys.stdout)
        tell_gates(judged, sys.stdout)
    return exit_code(judged, unknown=result["verdict"]["match"] == "not_judged")


def _verify_from(arguments: argparse.Namespace, progress: Reporter) -> VerifyResult:
    from freerun.jobs.served.drawing import verify_from

    return verify_from(progress=progress, command=_command(arguments), **_drawing(arguments))


def _dry_run(arguments: argparse.Namespace, progress: Reporter) -> int:
    from freerun.commands.main import print_json
    from freerun.errors import UsageError
    from freerun.jobs.served.dry_run import forecast_verify

    if not arguments.writer:
        raise UsageError("--dry-run says what a server would be asked: it goes with --from SERVED")
    forecast = forecast_verify(say=progress.say, **_drawing(arguments))
    if arguments.json:
        print_json(forecast.to_json())
    else:
        tell_forecast(forecast, sys.stdout)
    return 0


def _drawing(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is drawn by whom, and held against what.

    Raises:
        UsageError: no model, or an option that is about a file of samples.
    """
    from freerun.commands.model_arguments import load_options
    from freerun.errors import UsageError
    from freerun.jobs.served.drawing import DrawOptions

    if not arguments.model:
        raise UsageError("name the model whose law the server is said to sample: --model MODEL (`freerun models`)")
    for flag, given in (
        ("--format", arguments.format),
        ("--requests", arguments.requests),
        ("--ends", arguments.ends != "auto"),
    ):
        if given:
            raise UsageError(f"{flag} is about a file of samples, and --from draws them: leave it out")
    for flag, given in (
        ("--prompt-field", arguments.prompt_field),
        ("--chat", arguments.chat),
        ("--system", arguments.system),
        ("--template-option", arguments.template_options),
    ):
        if given:
            raise UsageError(
                f"--from lets the server continue plain documents, so {flag} has no place; to let it answer prompts: freerun audit "
                f"{arguments.model} {arguments.samples} {flag} … --own-text-from {arguments.writer}".replace(
                    "--chat …", "--chat"
                )
            )
    names = ("declared", "order", "other", "cause_tokens", "floor_nats", "seed")
    return {
        "writer": arguments.writer,
        "model": arguments.model,
        "corpus": arguments.samples,
        "draw": DrawOptions(arguments.documents, arguments.prefix, arguments.tokens, arguments.text_field or "text"),
        "out": arguments.out,
        "load": load_options(arguments),
        **{name: getattr(arguments, name) for name in names},
    }


def tell_forecast(forecast: VerifyForecast, out: TextIO) -> None:
    """A forecast for people: a few lines."""
    from freerun.commands.server_load import load_lines

    lines = [
        f"{forecast.writer} beside {forecast.model} on {forecast.corpus}: {forecast.documents} texts, {forecast.prefix} + "
        f"{forecast.tokens} tokens, by {forecast.declared}",
        f"  time    {forecast.seconds.time()}, the model being loaded",
        *(f"            {span.time():<22}{name}" for name, span in forecast.parts_seconds.items()),
        f"  tokens  {forecast.tokens_to_sample:,} for the server to write; {forecast.tokens_to_score:,} to read here",
        *load_lines(forecast.server),
        f"  memory  {forecast.memory_bytes.memory()}",
        f"  disk    {forecast.disk_bytes.memory()} in {forecast.folder}",
        "nothing was written",
        *(f"  {line}" for line in forecast.how),
    ]
    print("\n".join(lines), file=out)


def _command(arguments: argparse.Namespace) -> str:
    words = ["freerun", "verify", arguments.samples, "--model", arguments.model]
    for flag, name, default in (
        ("--from", "writer", None),
        ("--documents", "documents", 64),
        ("--prefix", "prefix", 32),
        ("--tokens", "tokens", 64),
        ("--declared", "declared", "t=1"),
        ("--order", "order", "vllm"),
        ("--or", "other", None),
        ("--ends", "ends", "auto"),
        ("--floor", "floor_nats", None),
        ("--format", "format", None),
        ("--requests", "requests", None),
        ("--prompt-field", "prompt_field", None),
        ("--text-field", "text_field", None),
        ("--system", "system", None),
        ("--cause-tokens", "cause_tokens", 8192),
        ("--text-tokens", "text_tokens", 8192),
        ("--seed", "seed", 0),
        ("--dtype", "dtype", "fp32"),
        ("--device", "device", "auto"),
        ("--end-ids", "end_ids", None),
        ("-o", "out", None),
    ):
        if (value := getattr(arguments, name)) != default:
            words += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    words += ["--chat"] if arguments.chat else []
    for option in arguments.template_options:
        words += ["--template-option", option]
    words += ["--trust-remote-code"] if arguments.trust_remote_code else []
    return shlex.join(words)


def tell_verification(result: Mapping[str, Any], out: TextIO) -> None:
    """The verdict, the cause, the headline numbers, and where the page is."""
    from freerun.commands.terminal import columns_between, say, shown
    from freerun.commands.verdict import say_next, say_points
    from freerun.counted import counted

    width = columns_between(40, 100)
    print(file=out)
    say([*textwrap.wrap(shown(result["verdict"]["sentence"]), width), ""], out)
    say_points(result["verdict"], out)
    print(file=out)
    for card in result["headline"]:
        value = " ".join(x for x in (card["value"], card["unit"], card["note"]) if x)
        say([f"  {card['label']:<28}{value}"], out)
    samples = result["samples"]
    left_out = [
        f"  left out: {counted(e['n'], 'row')}, {e['reason']} ({shown(e['example'])})" for e in samples["excluded"]
    ]
    if samples["n_copies"]:
        left_out.append(f"  left out: {counted(samples['n_copies'], 'completion')} equal to another of the same prompt")
    if left_out:
        say(["", *left_out], out)
    if result["verdict"].get("next_step"):
        print(file=out)
        say_next(result["verdict"], out)
    if folder := result["plan"].get("folder"):
        say(["", f"report   {folder}/report.html", f"numbers  {folder}/result.json"], out)
