"""Ask a model who could have written a text, token by token.

A sources file lists the possible sources (authors, newspapers, dates) and how to name each in a header. The model is asked in
three ways: header scoring (after which header would it have predicted this text best?), infilling (which source does it name after
the text, beyond what it names without it?) and continuation (which one does it name in text that it goes on to write?). The answer
is a posterior: a probability for each source, which moves with every token. It is also checked whether these beliefs stay coherent
along text that the model writes itself.

TEXT is the text itself, @FILE or - for stdin. Each unknown (author, date), called a latent, is inferred by itself; --joint infers
them together. --evaluate says on a labelled corpus how far the answers can be trusted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from freerun.commands.corpus_arguments import CORPUS_HELP, add_reading_arguments, reading_options
from freerun.commands.model_arguments import add_json_argument, add_model_arguments, load_options
from freerun.errors import UsageError

if TYPE_CHECKING:
    from freerun.results.source import SourceEvaluation, SourceResult

EXAMPLES = """\
examples:
  freerun source smollm2-135m-instruct "NEW YORK—After John McCain was seen bartending at a seedy nightclub" --sources news
  freerun source gemma-3-270m @essay.txt --sources genre -o runs/essay
  freerun source smollm2-135m-instruct - --sources mine.toml --prior "The Onion=0.5" --json < article.txt
  freerun source --init mine.toml                       a commented sources file to begin with
  freerun source world/authors abacabad                 an exact world and its own sources
  freerun source smollm2-135m-instruct --sources era --evaluate speeches.jsonl --label-field year
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a model that `freerun models` lists, hf/ORG/NAME, hf/./FOLDER, gguf/FILE, …",
    )
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        help="the text, @FILE or - (stdin); put -- before a text that begins with a dash",
    )
    parser.add_argument(
        "--sources",
        metavar="FILE",
        help="a sources file of your own, or one of freerun's: news, genre, decade, era, code (worlds have their own)",
    )
    parser.add_argument(
        "--init",
        metavar="FILE",
        nargs="?",
        const="sources.toml",
        help="write a commented sources file to begin with, and stop",
    )
    question = parser.add_argument_group("what is asked")
    question.add_argument(
        "--prior",
        metavar="VALUE=P",
        action="append",
        default=[],
        help="the probability of a source before the text is read, in place of the file's; also LATENT:VALUE=P; may be repeated; "
        "the other values share the rest",
    )
    question.add_argument(
        "--beta",
        type=float,
        metavar="B",
        help="an exponent for the likelihood, below 1 to trust the text less; results for β = 1 are shown too",
    )
    question.add_argument(
        "--joint", action="store_true", help="infer all latents together, by the file's [joint] templates"
    )
    question.add_argument(
        "--readouts",
        metavar="LIST",
        default="header,infilling,continuation",
        help="ways of asking, separated by commas: header, infilling, continuation (default all)",
    )
    question.add_argument(
        "--continuations", type=int, default=48, metavar="N", help="texts to write for the third way (default 48)"
    )
    question.add_argument(
        "--own-tokens",
        type=int,
        default=48,
        metavar="N",
        help="tokens of the model's own text along which its belief is followed; 0: none (default 48)",
    )
    question.add_argument("--paths", type=int, default=4, metavar="N", help="how many such texts to follow (default 4)")
    question.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of everything that is sampled (default 0)"
    )
    labelled = parser.add_argument_group("on labelled text, in place of TEXT")
    labelled.add_argument(
        "--evaluate",
        metavar="CORPUS",
        help=f"a corpus whose sources are known: {CORPUS_HELP}",
    )
    labelled.add_argument("--label-field", metavar="NAME", help="the field that holds the true source")
    labelled.add_argument(
        "--unit-field", metavar="NAME", help="the field that says which documents belong together, for example author"
    )
    labelled.add_argument(
        "--documents", type=int, default=60, metavar="N", help="how many documents to take (default 60)"
    )
    labelled.add_argument("--tokens", type=int, default=128, metavar="T", help="tokens to read of each (default 128)")
    add_reading_arguments(labelled)
    form = parser.add_argument_group("what comes out")
    add_json_argument(form)
    form.add_argument("-o", "--out", metavar="RUN", help="also write result.json and report.html into this folder")
    form.add_argument("--output", dest="out", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # its earlier name
    how = parser.add_argument_group("how it runs")
    add_model_arguments(how)


def run(arguments: argparse.Namespace) -> int:
    if arguments.init is not None:
        return _init(arguments.init)
    _check(arguments)
    from freerun.results.finding import to_json
    from freerun.results.source import SourceResult

    result = _evaluate(arguments) if arguments.evaluate is not None else _ask(arguments)
    if arguments.out is not None:
        _write(Path(arguments.out), result)
    if arguments.json:
        from freerun.commands.main import print_json

        print_json(to_json(result))
        return 0
    from freerun.commands.source_lines import evaluation_lines, print_lines, source_lines
    from freerun.commands.terminal import columns_between, takes_colour

    width = columns_between(40, 120)
    if isinstance(result, SourceResult):
        lines = source_lines(result, width=width, colour=takes_colour(sys.stdout))
    else:
        lines = evaluation_lines(result, width=width)
    print_lines(lines, sys.stdout)
    if arguments.out is not None:
        print(f"\npage  {Path(arguments.out) / 'report.html'}")
    return 0


def _init(name: str) -> int:
    from freerun.files import write_atomically
    from freerun.jobs.source.file import sources_template

    path = Path(name).expanduser()
    if path.exists():
        raise UsageError(f"--init {name}: it is there already; name another file, nothing is overwritten")
    if not path.parent.is_dir():
        raise UsageError(f"--init {name}: the folder {path.parent} does not exist; make it first")
    write_atomically(path, sources_template())
    print(f"wrote {name}: edit it, then freerun source MODEL TEXT --sources {name}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """What can be seen to be wrong before anything is loaded."""
    if arguments.model is None:
        raise UsageError("MODEL is missing: freerun source MODEL TEXT --sources FILE (`freerun models` lists models)")
    if arguments.evaluate is None:
        if arguments.text is None:
            raise UsageError("TEXT is missing: give the text, @FILE or - (or a labelled corpus with --evaluate)")
        if arguments.label_field is not None or arguments.unit_field is not None:
            raise UsageError("--label-field and --unit-field go with --evaluate CORPUS")
    else:
        if arguments.text is not None:
            raise UsageError("--evaluate reads texts from its corpus: leave TEXT out")
        if arguments.label_field is None:
            raise UsageError("--evaluate needs --label-field NAME: the field of the corpus that says the right value")
        if arguments.sources is None:
            raise UsageError("--evaluate needs --sources FILE: the values that the labels are matched with")
    if arguments.out is not None and Path(arguments.out).is_file():
        raise UsageError(f"-o {arguments.out} is a file: name a folder")


def _ask(arguments: argparse.Namespace) -> SourceResult:
    from freerun.commands.predict import read_text
    from freerun.commands.progress import Reporter
    from freerun.jobs.source.file import read_sources
    from freerun.jobs.source.question import SourceOptions
    from freerun.jobs.source.source import source, work_tokens
    from freerun.specs.spec import load_predictor

    asking = SourceOptions(
        readouts=tuple(r.strip() for r in arguments.readouts.split(",")),
        n_continuations=arguments.continuations,
        own_tokens=arguments.own_tokens,
        n_paths=arguments.paths,
        beta=arguments.beta,
        joint=arguments.joint,
        priors=tuple(arguments.prior),
        seed=arguments.seed,
    )
    asking.check()
    sources = None if arguments.sources is None else read_sources(arguments.sources)
    text = read_text(arguments.text)
    reporter = Reporter()
    predictor = load_predictor(arguments.model, load_options(arguments), tell=reporter.say)
    reporter.begin(work_tokens(predictor, text, sources, asking))
    try:
        return source(predictor, text, sources, asking, on_tokens=reporter.advance, on_phase=reporter.phase)
    finally:
        reporter.end()


def _evaluate(arguments: argparse.Namespace) -> SourceEvaluation:
    from freerun.commands.progress import Reporter
    from freerun.jobs.audit.preparing import tell_notes
    from freerun.jobs.source.evaluation import evaluate, evaluation_tokens
    from freerun.jobs.source.file import read_sources
    from freerun.specs.spec import load_predictor
    from freerun.text.corpora import read_corpus

    sources = read_sources(arguments.sources)
    reporter = Reporter()
    corpus = read_corpus(arguments.evaluate, **reading_options(arguments))
    tell_notes(corpus, reporter.say)
    predictor = load_predictor(arguments.model, load_options(arguments), tell=reporter.say)
    reporter.begin(evaluation_tokens(sources, arguments.documents, arguments.tokens))
    reporter.phase("headers")
    try:
        return evaluate(
            predictor,
            corpus,
            sources,
            label_field=arguments.label_field,
            unit_field=arguments.unit_field,
            n_documents=arguments.documents,
            n_tokens=arguments.tokens,
            priors=tuple(arguments.prior),
            seed=arguments.seed,
            on_tokens=reporter.advance,
        )
    finally:
        reporter.end()


def _write(folder: Path, result: SourceResult | SourceEvaluation) -> None:
    import json

    from freerun.files import write_atomically
    from freerun.report.pages.source import render_source
    from freerun.results.finding import to_json

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "result.json", json.dumps(to_json(result), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    )
    write_atomically(folder / "report.html", render_source(result))
