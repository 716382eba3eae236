"""Measure how far apart two models are, token by token and as writers of whole texts.

A is the model that you trust, B the one that you ask about: quantised, distilled, pruned, merged, converted or trained further.
Both say what they expect at every token of real text, and of texts that each of them writes, and the two are compared. Both must
have one tokenizer; B may add ids. The run's folder holds the records, result.json and report.html.

If interrupted, run the same command again: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.corpus_arguments import CORPUS_HELP, add_prompt_arguments, add_reading_arguments
from freerun.commands.gating import add_gate_arguments
from freerun.commands.model_arguments import add_json_argument, add_model_arguments

if TYPE_CHECKING:
    from freerun.results.forecast import DistanceForecast
    from freerun.runs.run import Run

EXAMPLES = """\
examples:
  freerun distance smollm2-135m-instruct smollm2-135m-instruct,round=int8
  freerun distance hf/./original hf/./pruned essays.jsonl.gz --documents 256
  freerun distance hf/ORG/NAME gguf/NAME-Q4_K_M.gguf novel.txt --arms real --protocol llama.cpp    llama.cpp's table
  freerun distance hf/./original hf/./distilled --one-at-a-time       when both do not fit into memory
  freerun distance hf/./step-1000 hf/./step-2000 --fail-on 'tv>0.1' --fail-on 'kl_nats>0.01'
  freerun distance smollm2-135m-instruct smollm2-135m-instruct,round=int8 builtin/instructions --chat       on answers to prompts
  freerun distance world/markov world/markov+temperature,t=1.2 world/markov        two exact laws
  freerun distance smollm2-135m-instruct smollm2-135m-instruct,round=int4 --dry-run      how long, how much memory and disk
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "a",
        metavar="A",
        help="the model that you trust: a name that `freerun models` lists, hf/ORG/NAME, hf/./FOLDER, gguf/FILE, …",
    )
    parser.add_argument(
        "b", metavar="B", help="the model that you ask about (two finished audits are compared with `freerun compare`)"
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
        help="how many documents to use (default 128, or all there are)",
    )
    what.add_argument(
        "--prefix",
        type=int,
        default=32,
        metavar="P",
        help="tokens of each document that both are given (default 32; 0: they begin from nothing)",
    )
    what.add_argument(
        "--tokens",
        type=int,
        metavar="T",
        help="tokens to compare after the cut (default 128, or what the documents have)",
    )
    what.add_argument(
        "--continuations",
        type=int,
        default=1,
        metavar="C",
        help="texts that each model writes after each prefix (default 1)",
    )
    what.add_argument(
        "--arms",
        metavar="LIST",
        default="real,a,b",
        help="on which texts to compare: real text, texts that A writes, texts that B writes (default real,a,b); the bound on "
        "whole texts needs a and b",
    )
    what.add_argument(
        "--protocol",
        choices=("pairs", "llama.cpp"),
        default="pairs",
        help="pairs: what follows a prefix (default); llama.cpp: the second half of each window of real text, as llama.cpp's own "
        "table has it",
    )
    what.add_argument(
        "--window",
        type=int,
        default=512,
        metavar="W",
        help="tokens of a window (with --protocol llama.cpp; default 512)",
    )
    what.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the choice of documents and of every random draw (default 0)",
    )
    text = parser.add_argument_group("how the corpus is read")
    add_reading_arguments(text, prompts=True)
    text.add_argument(
        "--split-on", metavar="STRING", help=r"cut documents wherever this string stands, for example '\n\n\n'"
    )
    text.add_argument(
        "--chunk", type=int, metavar="CHARS", help="cut long documents into pieces of this many characters"
    )
    add_prompt_arguments(parser, heading="how prompts are put to both models", template="A's")
    how = parser.add_argument_group("how it runs")
    how.add_argument("--dry-run", action="store_true", help="only estimate time, memory and disk; write nothing")
    how.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="never hold both models in memory: predictions go over the disk, at full precision, and are removed at the end",
    )
    how.add_argument(
        "--redact-text", action="store_true", help="keep text, token ids and names out of the records and the page"
    )
    how.add_argument("--batch", type=int, default=128, metavar="B", help="how many texts to run at once (default 128)")
    add_model_arguments(how, dtype_note=" of both; to load only one of them differently, type options after its name")
    how.add_argument(
        "-o", "--out", metavar="RUN", help="the folder of the run (default runs/distance-<A>-<B>-<plan hash>)"
    )
    add_json_argument(how)
    add_gate_arguments(parser, example="'tv>0.1'")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.gating import exit_code, gates_json, judge_gates, read_gates, tell_gates
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.comparisons.distance_gates import check_distance_gate
    from freerun.findings.two_laws.quantities import GATES
    from freerun.jobs.distance.distance import DEFAULT_CORPUS, distance
    from freerun.jobs.distance.dry_run import dry_run
    from freerun.jobs.distance.options import DistanceOptions, read_arms

    corpus = arguments.corpus or DEFAULT_CORPUS
    options = {name: getattr(arguments, name) for name in DistanceOptions.__dataclass_fields__}
    options["arms"], options["template_options"] = read_arms(arguments.arms), tuple(arguments.template_options)
    known = read_gates(arguments, relative=False, known=GATES)
    gates = tuple(check_distance_gate(gate) for gate in known)
    progress = Reporter()
    if arguments.dry_run:
        forecast = dry_run(
            arguments.a, arguments.b, corpus, DistanceOptions(**options), out=arguments.out, say=progress.say
        )
        if arguments.json:
            print_json(forecast.to_json())
        else:
            tell_forecast(forecast, sys.stdout)
        return 0
    done = distance(arguments.a, arguments.b, corpus, out=arguments.out, progress=progress, **options)
    judged = judge_gates(arguments, gates, done.result, verb="distance")
    if arguments.json:
        print_json({**done.result, **gates_json(judged)})
    else:
        tell_distance(done, sys.stdout)
        tell_gates(judged, sys.stdout)
    return exit_code(judged, unknown=done.result["verdict"]["status"] == "unknown")


def tell_distance(done: Run, out: TextIO) -> None:
    """Print what a person wants to know first: the sentences, llama.cpp's table, and where the report is."""
    from freerun.commands.terminal import columns_between, say
    from freerun.commands.verdict import tell

    tell(done, out)
    tables = {table["name"]: table for finding in done.result["findings"] for table in finding["tables"]}
    if table := tables.get("llama_cpp"):
        say(["", *textwrap.wrap(table["title"], columns_between(40, 100))], out)
        say((f"  {row[0]:<32}{row[1]['text']:>16}   {row[2]['text']}" for row in table["rows"]), out)


def tell_forecast(forecast: DistanceForecast, stream: TextIO) -> None:
    """A forecast for people: a few lines."""
    from freerun.commands.server_load import load_lines

    spool = forecast.spool_bytes
    spooled = [f"          and {spool.memory()} of laws while it runs, removed at the end"] if spool else []
    lines = [
        f"{forecast.b} beside {forecast.a} on {forecast.corpus}: {forecast.documents} texts, {forecast.prefix} + "
        f"{forecast.tokens} tokens",
        f"  time    {forecast.seconds.time()}, the models being loaded",
        *(f"            {span.time():<22}{name}" for name, span in forecast.parts_seconds.items()),
        f"  tokens  {forecast.tokens_to_score:,} to score by both; {forecast.tokens_to_sample:,} to sample",
        *load_lines(forecast.server),
        f"  memory  {forecast.memory_bytes.memory()}",
        f"  disk    {forecast.disk_bytes.memory()} in {forecast.folder}",
        *spooled,
        "nothing was written",
        *(f"  {line}" for line in forecast.how),
    ]
    print("\n".join(lines), file=stream)
