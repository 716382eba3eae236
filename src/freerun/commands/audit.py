"""Let a model write, and find the length from which its text can be told from real text.

Each document is cut into a prefix and a continuation. The model reads the real continuation, which gives its loss, and writes two
of its own after the same prefix, sampled at temperature 1 from the full vocabulary. A detector that was trained on half of the
documents then has to tell the two apart in the other half, with more and more text. Every number comes with an interval and with
controls. The run's folder holds the records, result.json and report.html.

If interrupted, run the same command again: it goes on where it stopped.
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
  freerun audit --quick                                              a first look at a few documents
  freerun audit                                                      all of them, going on from the first look
  freerun audit gemma-3-270m articles.jsonl.gz --text-field body     your own text, a JSON object a line
  freerun audit hf/./checkpoint novel.txt --split-on "\\n\\n\\n"      your own model; one long text, cut at blank lines
  freerun audit --dry-run --tokens 512                               how long it would take, how much memory and disk
  freerun audit --sweep prefix=8,32,128                              does the gap shrink when the model has read more?
  freerun audit --sources genre --documents 64                       who the model thinks is writing, on real and on own text
  freerun audit --sample-with top_k=50                               a truncated sampler; the check of the sampler fails
  freerun audit ngram/5@builtin/python-docs                          a bad model, to see what bad looks like
  freerun audit smollm2-135m-instruct+absorbing,epsilon=0.01         a planted defect (`freerun models` lists them)
  freerun audit smollm2-135m-instruct builtin/instructions --chat    answers to prompts, by the model's own chat template
  freerun audit gemma-3-270m letters.jsonl --redact-text             private text: none of it stays in the run's folder
  freerun audit hf/./model --own-text-from vllm/org/name@http://HOST:8000   does this server sample this checkpoint?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="the model (default smollm2-135m-instruct): a name that `freerun models` lists, hf/ORG/NAME, hf/./FOLDER, gguf/FILE, "
        "ngram/N@CORPUS or world/NAME; +ORGANISM after it plants a defect",
    )
    parser.add_argument(
        "corpus",
        nargs="?",
        metavar="CORPUS",
        help=f"the real text (default builtin/python-docs): {CORPUS_HELP}; also world/NAME",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--documents",
        type=int,
        default=128,
        metavar="N",
        help=f"how many documents to use (default 128, or all there are; at least {MINIMUM_UNITS})",
    )
    what.add_argument(
        "--prefix",
        type=int,
        default=32,
        metavar="P",
        help="tokens of each document that the model is given (default 32; 0: it begins from nothing)",
    )
    what.add_argument(
        "--cut",
        type=int,
        metavar="C",
        help="cut after C tokens and give the model only the last P of them (default: C is P)",
    )
    what.add_argument(
        "--tokens",
        type=int,
        metavar="T",
        help="tokens to compare after the cut (default 128, or what the documents have)",
    )
    what.add_argument(
        "--exemplars",
        type=int,
        default=0,
        metavar="K",
        help="put K other documents of the corpus before each prefix (default 0)",
    )
    what.add_argument(
        "--sweep",
        metavar="KEY=N,N",
        action="append",
        default=[],
        help="run one audit per value and say whether the gap shrinks with context: prefix=8,32,128 (the same cut for all) or "
        "exemplars=0,1,2,4; may be given once for each (docs/sweep.md)",
    )
    what.add_argument(
        "--reference",
        metavar="SPEC",
        action="append",
        default=[],
        help="another model with the same tokenizer, to compare the loss with, besides the mixture with an n-gram that is "
        "always there; may be repeated",
    )
    what.add_argument(
        "--sample-with",
        metavar="RULE",
        help="let the model write by this rule, as in deployment, and not from its full distribution: top_k=50, "
        "top_p=0.9,t=0.7 or greedy",
    )
    what.add_argument(
        "--own-text-from",
        metavar="SERVED",
        help="let this server do the writing, vllm/NAME@http://HOST:PORT or the like, and check against MODEL whether it "
        "samples this checkpoint (docs/servers.md)",
    )
    what.add_argument(
        "--embed-with",
        metavar="ENCODER",
        help="compare the two sets of texts by the embeddings of this encoder (hf/ORG/NAME, hf/./FOLDER), not by the model's own "
        "hidden states",
    )
    what.add_argument(
        "--sources",
        metavar="FILE",
        help="also follow who the model thinks is writing, on real and on generated text: a sources file, one of news, genre, "
        "decade, era, code, or own (a world's own sources)",
    )
    what.add_argument(
        "--source-documents",
        type=int,
        metavar="K",
        help="documents to use for --sources (default: 12 to 64, as many as give about 200,000 tokens to score)",
    )
    what.add_argument(
        "--ask",
        type=int,
        default=0,
        metavar="N",
        help="for N documents, ask the model which of two texts is its own (default 0; for models tuned to answer questions)",
    )
    what.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the split into training and test documents and of every random draw (default 0)",
    )
    text = parser.add_argument_group("how the corpus is read")
    add_reading_arguments(text, prompts=True)
    text.add_argument(
        "--split-on", metavar="STRING", help=r"cut documents wherever this string stands, for example '\n\n\n'"
    )
    text.add_argument(
        "--chunk", type=int, metavar="CHARS", help="cut long documents into pieces of this many characters"
    )
    add_prompt_arguments(parser)
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--quick",
        action="store_true",
        help=f"a first look: measure {FIRST_LOOK_DOCUMENTS} of the documents and say what so few could have shown; the same "
        "command without --quick goes on from there and measures nothing twice (docs/first-look.md)",
    )
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="only estimate time, tokens, memory and disk; write nothing",
    )
    how.add_argument(
        "--redact-text", action="store_true", help="keep text, token ids and names out of the records and the page"
    )
    add_executor_arguments(how)
    how.add_argument("--batch", type=int, default=128, metavar="B", help="how many texts to run at once (default 128)")
    add_model_arguments(how, dtype_note="; bf16 counts as another model")
    how.add_argument(
        "-o", "--out", metavar="RUN", help="the folder of the run (default runs/<model>-<corpus>-<plan hash>)"
    )
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
