"""Measure a model on real text and on its own free-running text, and write records, result.json and report.html.

Cuts every document into a prefix and a continuation, scores the real continuation, samples two of the model's own at temperature 1
from the full vocabulary, and asks from which length on the two can be told apart, with controls beside every number.
If interrupted, run the same command again to resume.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, TextIO

from freerun.commands.corpus_arguments import CORPUS_HELP, add_prompt_arguments, add_reading_arguments
from freerun.commands.executor_arguments import add_executor_arguments
from freerun.commands.gating import add_gate_arguments
from freerun.commands.model_arguments import add_json_argument, add_model_arguments
from freerun.errors import UsageError
from freerun.text.documents import MINIMUM_UNITS
from freerun.text.first_look import FIRST_LOOK_DOCUMENTS

if TYPE_CHECKING:
    from freerun.results.forecast import Forecast

EXAMPLES = """\
examples:
  freerun audit
  freerun audit smollm2-135m-instruct builtin/python-code --documents 64
  freerun audit gemma-3-270m articles.jsonl.gz --text-field body --tokens 256
  freerun audit hf/./checkpoint novel.txt --split-on "\\n\\n\\n"
  freerun audit ngram/5@builtin/python-docs builtin/python-docs      a model that is bad, to see what bad looks like
  freerun audit smollm2-135m-instruct+absorbing,epsilon=0.01         a planted defect (`freerun models` lists them)
  freerun audit --sample-with top_k=50                               what a truncated sampler does: the sampler audit fails
  freerun audit smollm2-135m-instruct builtin/instructions --chat    responses to prompts, by the model's own chat template
  freerun audit --quick                                              a first look at a few documents; without --quick it goes on
  freerun audit --dry-run --tokens 512                               how long it would take, and how much memory and disk
  freerun audit gemma-3-270m letters.jsonl --redact-text             no text and no names in the run's folder
  freerun audit --sources genre --documents 64                       who does the text seem to be by, along real and own text
  freerun audit hf/./model --own-text-from vllm/org/name@http://HOST:8000      does this server sample this checkpoint?
  freerun audit --sweep prefix=8,32,128                              what falls with context: one plan, the same continuations
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="default: smollm2-135m-instruct; also hf/…, gguf/…, ngram/N@CORPUS, world/NAME, and +ORGANISM after any of them",
    )
    parser.add_argument(
        "corpus",
        nargs="?",
        metavar="CORPUS",
        help=f"default: builtin/python-docs; {CORPUS_HELP}; also world/NAME",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--documents",
        type=int,
        default=128,
        metavar="N",
        help=f"documents to use (default 128, or all there are; at least {MINIMUM_UNITS})",
    )
    what.add_argument(
        "--prefix", type=int, default=32, metavar="P", help="tokens before the cut (default 32; 0: begin from nothing)"
    )
    what.add_argument(
        "--cut",
        type=int,
        metavar="C",
        help="cut after C tokens, the prefix being the last P of them (default: right after the prefix)",
    )
    what.add_argument(
        "--tokens", type=int, metavar="T", help="tokens after the cut (default 128, or what fits the documents)"
    )
    what.add_argument(
        "--exemplars",
        type=int,
        default=0,
        metavar="K",
        help="show the model K other documents of the corpus before each prefix (default 0)",
    )
    what.add_argument(
        "--sweep",
        metavar="KEY=N,N",
        action="append",
        default=[],
        help="run one audit per value, prefix=8,32,128 (the same cut for all) or exemplars=0,1,2,4, and report what context does "
        "to the gap; may be given once for each (docs/sweep.md)",
    )
    what.add_argument(
        "--reference",
        metavar="SPEC",
        action="append",
        default=[],
        help="a model with the same tokenizer to compare the loss with, in addition to the n-gram mixture; may be repeated",
    )
    what.add_argument(
        "--sample-with",
        metavar="RULE",
        help="sample as in deployment instead of from the full distribution: top_k=50, top_p=0.9,t=0.7 or greedy",
    )
    what.add_argument(
        "--own-text-from",
        metavar="SERVED",
        help="let a server write the own text, vllm/NAME@http://HOST:PORT or the like, and read it with MODEL's law: "
        "does the server "
        "sample this checkpoint? (docs/servers.md)",
    )
    what.add_argument(
        "--embed-with",
        metavar="ENCODER",
        help="use the embeddings of this encoder (hf/ORG/NAME, hf/./folder) for the divergences, not the model's hidden states",
    )
    what.add_argument(
        "--sources",
        metavar="FILE",
        help="track the model's belief about who wrote the text, on real and generated text: a sources file, or one of "
        "news, genre, decade, era, code; own: a "
        "world's own sources (default: not)",
    )
    what.add_argument(
        "--source-documents",
        type=int,
        metavar="K",
        help="documents to use for --sources (default: for about 200,000 tokens to score, 12 to 64)",
    )
    what.add_argument(
        "--ask",
        type=int,
        default=0,
        metavar="N",
        help="ask the model which of two texts is its own, for N documents (default 0; for models tuned to answer)",
    )
    what.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the split and of every draw (default 0)"
    )
    text = parser.add_argument_group("how the corpus is read")
    add_reading_arguments(text, prompts=True)
    text.add_argument("--split-on", metavar="STRING", help=r"cut long documents at this string, for example '\n\n\n'")
    text.add_argument("--chunk", type=int, metavar="CHARS", help="cut long documents every so many characters")
    add_prompt_arguments(parser)
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--quick",
        action="store_true",
        help=f"a first look at {FIRST_LOOK_DOCUMENTS} of the documents, with what it could have found; the same "
        "command without --quick goes on from there and measures nothing twice (docs/first-look.md)",
    )
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what it would take: time, tokens, memory and disk; write nothing",
    )
    how.add_argument(
        "--redact-text", action="store_true", help="keep text, token ids and names out of records and page alike"
    )
    add_executor_arguments(how)
    how.add_argument("--batch", type=int, default=128, metavar="B", help="sequences at once (default 128)")
    add_model_arguments(how, dtype_note="; bf16 is measured as another model")
    how.add_argument("-o", "--out", metavar="RUN", help="the run's folder (default runs/<model>-<corpus>-<plan hash>)")
    add_json_argument(how)
    add_gate_arguments(parser, example="'horizon<256'")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.executor_arguments import chosen_executor
    from freerun.commands.gating import exit_code, gates_json, judge_gates, read_gates, tell_gates
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.audit.audit import DEFAULT_CORPUS, DEFAULT_MODEL, audit
    from freerun.jobs.audit.dry_run import dry_run
    from freerun.jobs.audit.options import AuditOptions

    model, corpus = arguments.model or DEFAULT_MODEL, arguments.corpus or DEFAULT_CORPUS
    options = {name: getattr(arguments, name) for name in AuditOptions.__dataclass_fields__}
    options["reference"], options["template_options"] = tuple(arguments.reference), tuple(arguments.template_options)
    if arguments.sweep and arguments.quick:
        raise UsageError("--quick is a first look at one audit, --sweep makes several: leave one out")
    executor = chosen_executor(arguments)
    if arguments.sweep:
        from freerun.commands.sweep import run_swept_audit

        return run_swept_audit(arguments, model, corpus, options, executor)
    progress = Reporter()
    gates = read_gates(arguments, relative=False)
    if arguments.dry_run:
        forecast = dry_run(model, corpus, AuditOptions(**options), out=arguments.out, say=progress.say)
        if arguments.json:
            print_json(forecast.to_json())
        else:
            tell_forecast(forecast, sys.stdout)
        return 0
    if executor is None:
        done = audit(model, corpus, out=arguments.out, progress=progress, **options)
    else:
        from freerun.jobs.grid.single import audit_on

        done = audit_on(executor, model, corpus, out=arguments.out, parts=arguments.parts, progress=progress, **options)
    judged = judge_gates(arguments, gates, done.result, verb="audit")
    if arguments.json:
        print_json({**done.result, **gates_json(judged)})
    else:
        from freerun.commands.first_look import tell_first_look
        from freerun.commands.verdict import tell

        tell(done, sys.stdout)
        tell_first_look(done, sys.stdout)
        tell_gates(judged, sys.stdout)
    return exit_code(judged, unknown=done.result["verdict"]["status"] == "unknown")


def tell_forecast(forecast: Forecast, stream: TextIO) -> None:
    """A forecast for people: a few lines."""
    from freerun.commands.server_load import load_lines

    found = f" ({forecast.tokens_found:,} of them are recorded already)" if forecast.tokens_found else ""
    alone = forecast.tokens_to_score_without_prefix
    again = f", {alone:,} of them again without their prefix" if alone else ""
    headed = forecast.tokens_to_score_after_headers
    headed_too = f"; {headed:,} to score after headers" if headed else ""
    lines = [
        f"{forecast.model} on {forecast.corpus}: {forecast.documents} documents, {forecast.prefix} + {forecast.tokens} tokens, "
        f"batch {forecast.batch}, on {forecast.device}",
        f"  time    {forecast.seconds.time()}, the model being loaded",
        *(f"            {span.time():<22}{name}" for name, span in forecast.parts_seconds.items()),
        f"  tokens  {forecast.tokens_to_score:,} to score{again}; {forecast.tokens_to_sample:,} to sample; "
        f"{forecast.tokens_to_score_again:,} to score again{headed_too}{found}",
        *load_lines(forecast.server),
        f"  memory  {forecast.memory_bytes.memory()}",
        f"  disk    {forecast.disk_bytes.memory()} in {forecast.folder}",
        "nothing was written",
        *(f"  {line}" for line in forecast.how),
    ]
    print("\n".join(lines), file=stream)
