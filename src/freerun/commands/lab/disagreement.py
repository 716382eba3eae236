"""See how far models of the same loss differ on improbable texts, of which the loss says nothing.

Small models are trained on SOURCE until all have the same validation loss. They differ in architecture (transformer, gated
recurrence, LSTM), optimizer (AdamW, SGD, Muon), size, initial weights and the order of the data. Then they read ladders of texts
that become less and less probable: spliced, permuted, sampled at high temperatures, looping. The page shows how disagreement grows,
which factor makes it and, on worlds, how far each model is from the truth. With --models, models that exist are compared and
none is trained.

If interrupted, run the same command again: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.executor_arguments import add_executor_arguments
from freerun.commands.model_arguments import add_json_argument
from freerun.counted import counted

if TYPE_CHECKING:
    from freerun.jobs.lab.disagreement.disagreement import Disagreement
    from freerun.jobs.lab.disagreement.plan import DisagreementPlan
    from freerun.results.disagreement import DisagreementResult

EXAMPLES = """\
examples:
  freerun lab disagreement                                   24 models on the world of authors, about 10 minutes on 2 cores
  freerun lab disagreement --dry-run                         what would be trained, and how long it would take
  freerun lab disagreement builtin/python-docs --tokens 128   on the bytes of real text
  freerun lab disagreement essays/ --tokenizer bpe:512        on 512 tokens that are learned from the corpus
  freerun lab disagreement --plan larger.toml --executor pool:8      a plan of your own, eight processes
  freerun lab disagreement essays/ --models hf/ORG/A hf/ORG/B   models that exist

a plan (all keys are optional; the command line wins):
  source = "world/authors"
  models = 36
  sizes = ["small", "large"]
  seeds = 3
  steps = 6000
  target_excess = 0.01

exit codes: 0 done · 2 usage · 4 data, or too few models reach the target · 130 interrupted
"""
OPTIONS: dict[str, tuple[str, type]] = {
    "models_trained": ("models", int),
    "tokenizer": ("tokenizer", str),
    "tokens": ("tokens", int),
    "steps": ("steps", int),
    "target_loss": ("target_loss", float),
    "target_excess": ("target_excess", float),
    "texts": ("texts_per_rung", int),
    "seed": ("seed", int),
}
"""Options and the settings of a plan that they set."""
_TOKENS_PER_SECOND = 45_000
"""Of training, on one core of 2026, a mean over the default design."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="what to learn: a world whose texts do not end (default world/authors), or a corpus",
    )
    parser.add_argument(
        "--models",
        metavar="MODEL",
        nargs="+",
        help="train nothing and compare these models, which share a tokenizer, on SOURCE (default builtin/python-docs)",
    )
    design = parser.add_argument_group("what is trained")
    design.add_argument("--plan", metavar="FILE.toml", help="a file with any of these settings and more, as below")
    design.add_argument(
        "--models-trained",
        metavar="N",
        type=int,
        help="how many models, spread over the combinations of factors (default 24)",
    )
    design.add_argument(
        "--tokenizer",
        metavar="NAME",
        help="how a corpus is cut: bytes (default), bpe:N (N tokens learned from its training documents) or a file tokenizer.json",
    )
    design.add_argument("--tokens", metavar="N", type=int, help="the length of all texts (default 64)")
    design.add_argument("--steps", metavar="N", type=int, help="training steps, at most (default 1500)")
    design.add_argument("--target-loss", metavar="NATS", type=float, help="the validation loss at which training stops")
    design.add_argument(
        "--target-excess",
        metavar="NATS",
        type=float,
        help="on a world: how far above the least possible loss training stops (default 0.02)",
    )
    design.add_argument("--texts", metavar="N", type=int, help="texts on each rung of a ladder (default 48)")
    design.add_argument("--seed", metavar="N", type=int, help="seed of everything that is drawn (default 0)")
    parser.add_argument(
        "-o", "--out", metavar="RUN", help="the folder of the run (default runs/disagreement-<plan hash>)"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would be trained and how long it would take; write nothing",
    )
    add_executor_arguments(parser.add_argument_group("how it runs (default: one process a core)"), parts=False)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    import shlex

    from freerun.commands.executor_arguments import chosen_executor, refuse_parts
    from freerun.commands.progress import Reporter

    refuse_parts(arguments)
    if arguments.models:
        return _run_ready(arguments)
    plan, executor = _plan(arguments), chosen_executor(arguments)
    if arguments.dry_run:
        return _forecast(plan, as_json=arguments.json)
    from freerun.jobs.lab.disagreement.disagreement import disagreement

    done = disagreement(
        plan, out=arguments.out, executor=executor, progress=Reporter(), command=shlex.join(_words(arguments))
    )
    return _told(done, as_json=arguments.json)


def _run_ready(arguments: argparse.Namespace) -> int:
    import shlex

    from freerun.commands.progress import Reporter
    from freerun.errors import UsageError
    from freerun.jobs.lab.disagreement.ready import DEFAULT_CORPUS, ready_disagreement

    trained = ("plan", "models_trained", "tokenizer", "steps", "target_loss", "target_excess", "executor")
    for option in trained:
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} is of models that are trained here; --models trains none")
    numbers = {"n_texts": arguments.texts, "n_tokens": arguments.tokens, "seed": arguments.seed}
    corpus = arguments.source or DEFAULT_CORPUS
    if arguments.dry_run:
        if arguments.json:
            from freerun.commands.main import print_json

            forecast = {"kind": "disagreement-forecast", "models": arguments.models, "corpus": corpus, "members": []}
            print_json({"schema_version": 1, **forecast})
        else:
            count = counted(len(arguments.models), "model is", "models are")
            print(f"{count} compared on {corpus}, nothing is trained. Nothing was written.")
        return 0
    done = ready_disagreement(
        arguments.models,
        corpus=corpus,
        **{name: value for name, value in numbers.items() if value is not None},
        out=arguments.out,
        progress=Reporter(),
        command=shlex.join([*_words(arguments), "--models", *arguments.models]),
    )
    return _told(done, as_json=arguments.json)


def _told(done: Disagreement, *, as_json: bool) -> int:
    from freerun.commands.main import print_json
    from freerun.results.finding import to_json

    if as_json:
        print_json(to_json(done.result))
    else:
        tell_disagreement(done.result, sys.stdout)
        print(f"\nreport   {done.report}\nnumbers  {done.path / 'result.json'}")
    return 0


def _plan(arguments: argparse.Namespace) -> DisagreementPlan:
    from freerun.jobs.lab.disagreement.plan import chosen_plan, read_settings

    changes = read_settings(arguments.plan) if arguments.plan else {}
    changes |= {} if arguments.source is None else {"source": arguments.source}
    for option, (setting, _) in OPTIONS.items():
        if (value := getattr(arguments, option)) is not None:
            changes[setting] = value
    return chosen_plan(changes)


def _words(arguments: argparse.Namespace) -> list[str]:
    words = ["freerun", "lab", "disagreement", *([arguments.source] if arguments.source else [])]
    for option in ("plan", *OPTIONS, "out"):
        value = getattr(arguments, option)
        if value is not None:
            words += [{"out": "-o"}.get(option, f"--{option.replace('_', '-')}"), str(value)]
    return words


def tell_disagreement(result: DisagreementResult, out: TextIO) -> None:
    """The result for people: the outcome, what was expected, and what every question came to."""
    from freerun.commands.terminal import columns_between, say, shown
    from freerun.commands.verdict import say_points
    from freerun.results.finding import to_json

    width = columns_between(60, 120)
    print(file=out)
    say([*textwrap.wrap(shown(result.sentence), width), ""], out)
    say_points({"points": to_json(result.points)}, out)
    print(file=out)
    for number, prediction in enumerate(result.predictions, 1):
        words = f"expected {number}: {prediction.text} {prediction.outcome}: {prediction.found}"
        say(textwrap.wrap(words, width, subsequent_indent="  "), out)
    for finding in result.findings:
        print(file=out)
        say([finding.question], out)
        say(
            textwrap.wrap(shown(finding.sentence), width, initial_indent="  ", subsequent_indent="  "),
            out,
        )


def _forecast(plan: DisagreementPlan, *, as_json: bool) -> int:
    from freerun.commands.main import print_json
    from freerun.jobs.lab.disagreement.blocks import build_network
    from freerun.jobs.lab.disagreement.plan import chosen_members, level_counts
    from freerun.jobs.lab.disagreement.tokens import size_of
    from freerun.results.finding import to_json
    from freerun.runs.provenance import cores
    from freerun.worlds.catalogue import load_world

    members = chosen_members(plan)
    world = plan.source.startswith("world/")
    n_tokens = load_world(plan.source.removeprefix("world/")).n_tokens if world else size_of(plan.tokenizer)
    sizes = {m.name: build_network(m.architecture, m.size, n_tokens, seed=0).n_parameters for m in members}
    most_seconds = plan.tokens_of_member * len(members) / _TOKENS_PER_SECOND / cores()
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "kind": "disagreement-forecast",
                "plan": to_json(plan),
                "most_training_seconds": most_seconds,
                "members": [{"name": name, "parameters": n} for name, n in sizes.items()],
            }
        )
        return 0
    for name, n in sizes.items():
        print(f"  {name:<48}{n:>9,} parameters")
    for factor, counts in level_counts(members):
        print(f"  {factor}: {', '.join(f'{level} × {n}' for level, n in counts.items())}")
    minutes = counted(max(1, round(most_seconds / 60)), "minute")
    free = f"{counted(cores(), 'core')} that {'does' if cores() == 1 else 'do'} nothing else"
    print(f"training: at most {plan.tokens_of_member:,} tokens a model, about {minutes} on {free};")
    print("models that reach the target sooner stop there. Comparing comes on top. Nothing was written.")
    return 0
