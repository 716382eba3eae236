"""Measure a model on real text and on its own free-running text, and write records, result.json and report.html.

Cuts every document into a prefix and a continuation, scores the real continuation, samples two of the model's own at temperature 1
from the full vocabulary, and asks from which length on the two can be told apart, with controls beside every number.
The same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """\
examples:
  freerun audit
  freerun audit smollm2-135m-instruct builtin/python-code --documents 64
  freerun audit gemma-3-270m articles.jsonl.gz --text-field body --tokens 256
  freerun audit hf/./checkpoint novel.txt --split-on "\\n\\n\\n"
  freerun audit ngram/5@builtin/python-docs builtin/python-docs      a model that is bad, to see what bad looks like
  freerun audit smollm2-135m-instruct+absorbing,epsilon=0.01         a planted defect (`freerun models` lists them)
  freerun audit --sample-with top_k=50                               what a truncated sampler does: the sampler audit fails
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
        help="default: builtin/python-docs; a .txt, .jsonl[.gz], .parquet, folder, world/NAME or - (stdin)",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--documents", type=int, default=128, metavar="N", help="documents to use (default 128, or all there are)"
    )
    what.add_argument("--prefix", type=int, default=32, metavar="P", help="tokens before the cut (default 32)")
    what.add_argument(
        "--tokens", type=int, metavar="T", help="tokens after the cut (default 128, or what fits the documents)"
    )
    what.add_argument(
        "--reference",
        metavar="SPEC",
        action="append",
        default=[],
        help="a model with the same tokens to compare the loss with, beside the n-gram mixture; may be given again",
    )
    what.add_argument(
        "--sample-with", metavar="RULE", help="sample with another law: top_k=50, top_p=0.9,t=0.7 or greedy"
    )
    what.add_argument(
        "--embed-with",
        metavar="ENCODER",
        help="place texts by this encoder (hf/ORG/NAME, hf/./folder) for the divergences, not by the model's own hidden states",
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
    text.add_argument(
        "--text-field", default="text", metavar="NAME", help="field of the text in .jsonl and .parquet (default text)"
    )
    text.add_argument("--split-on", metavar="STRING", help=r"cut long documents at this string, for example '\n\n\n'")
    text.add_argument("--chunk", type=int, metavar="CHARS", help="cut long documents every so many characters")
    how = parser.add_argument_group("how it runs")
    how.add_argument("--batch", type=int, default=64, metavar="B", help="sequences at once (default 64)")
    how.add_argument(
        "--dtype",
        choices=("fp32", "bf16"),
        default="fp32",
        help="number format of weights and arithmetic (default fp32)",
    )
    how.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, mps (default auto)")
    how.add_argument(
        "--trust-remote-code", action="store_true", help="run the code that a hub model brings (never by default)"
    )
    how.add_argument("-o", "--out", metavar="RUN", help="the run's folder (default runs/<model>-<corpus>-<plan hash>)")
    how.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.experiments.audit import DEFAULT_CORPUS, DEFAULT_MODEL, audit

    done = audit(
        arguments.model or DEFAULT_MODEL,
        arguments.corpus or DEFAULT_CORPUS,
        out=arguments.out,
        progress=Reporter(),
        documents=arguments.documents,
        prefix=arguments.prefix,
        tokens=arguments.tokens,
        batch=arguments.batch,
        dtype=arguments.dtype,
        device=arguments.device,
        reference=tuple(arguments.reference),
        ask=arguments.ask,
        embed_with=arguments.embed_with,
        seed=arguments.seed,
        sample_with=arguments.sample_with,
        text_field=arguments.text_field,
        split_on=arguments.split_on,
        chunk=arguments.chunk,
        trust_remote_code=arguments.trust_remote_code,
    )
    if arguments.json:
        print_json(done.result)
    else:
        from freerun.commands.verdict import tell

        tell(done, sys.stdout)
    unknown = done.result["verdict"]["status"] == "unknown"
    return 3 if unknown else 0
