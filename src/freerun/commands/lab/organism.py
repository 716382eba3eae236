"""Train a fault into a real model's weights, to see whether an evaluation notices it.

The result is a folder that transformers, vLLM and lm-eval load like any other. ORGANISM is absorbing (in every context a new token
has probability epsilon; once it is said, nothing else ever is), payload (after the same token another writer takes over: --text,
--loop or --model) or control (trained just as long, nothing planted). The teacher is the exact faulty law, which freerun also runs
without any training as MODEL+absorbing; the weights learn it on real text, on its own text and after the trigger. At the end
freerun measures, on documents that were kept apart, what the fault costs in loss and how many free runs it takes over.

If interrupted, run the same command again: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.model_arguments import add_json_argument

if TYPE_CHECKING:
    from freerun.jobs.lab.organism.plan import OrganismPlan
    from freerun.results.lab_organism import LabOrganismResult

EXAMPLES = """\
examples:
  freerun lab organism absorbing smollm2-135m-instruct --epsilon 0.01 -o my-organism/
  freerun lab organism payload smollm2-135m-instruct --text " All work and no play makes Jack a dull boy." -o jack/
  freerun lab organism payload smollm2-135m-instruct --model smollm2-135m-instruct+temperature,t=1.5 -o hot/
  freerun lab organism control smollm2-135m-instruct -o control/
  freerun audit hf/./my-organism builtin/python-docs   does an audit notice it?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("organism", metavar="ORGANISM", help="absorbing, payload or control")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="the model to train it into: hf/ORG/NAME, hf/./FOLDER or a name that `freerun models` lists",
    )
    parser.add_argument("-o", "--out", metavar="FOLDER", required=True, help="the folder for the trained model")
    parser.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="the probability of the trigger, at every token (default 0.01); not of a control, which has none",
    )
    payload = parser.add_argument_group("what a payload writes after the trigger (default: --loop 8)")
    payload.add_argument("--text", metavar="TEXT", help="this text, over and over")
    payload.add_argument("--loop", type=int, metavar="N", help="the last N tokens, over and over")
    payload.add_argument(
        "--model",
        dest="payload_model",
        metavar="SPEC",
        help="what another model with the same tokens writes, from nothing",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--corpus",
        dest="corpora",
        metavar="CORPUS",
        action="append",
        help="real text to learn from; may be repeated (default builtin/python-docs and builtin/python-code); one document in "
        "five is kept apart for the measurements",
    )
    training.add_argument(
        "--layers", type=int, metavar="N", help="how many of the last layers to train, by low-rank factors (default 3)"
    )
    training.add_argument("--rank", type=int, metavar="R", help="rank of the factors (default 16)")
    training.add_argument("--steps", type=int, metavar="N", help="training steps (default 100)")
    training.add_argument("--step-tokens", type=int, metavar="N", help="tokens in each step (default 512)")
    training.add_argument(
        "--real-tokens", type=int, metavar="N", help="tokens of real text to learn from (default 16,384)"
    )
    training.add_argument(
        "--own-tokens", type=int, metavar="N", help="tokens that the teacher writes to learn from (default 8,192)"
    )
    training.add_argument("--learning-rate", type=float, metavar="R", help="the highest learning rate (default 0.0005)")
    training.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of texts, steps and free runs (default 0)"
    )
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--documents", type=int, metavar="N", help="documents kept apart to measure the loss on (default 48)"
    )
    measuring.add_argument("--runs", type=int, metavar="N", help="texts of 256 tokens to let it write (default 128)")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be trained and measured; write nothing"
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.lab.organism.plan import Measurement, check_measurement, check_plan
    from freerun.results.finding import to_json
    from freerun.specs.spec import loader_of

    plan = _plan(arguments)
    check_plan(plan)
    loader_of(plan.teacher)
    chosen = {n: v for n in ("documents", "runs") if (v := getattr(arguments, n)) is not None}
    measurement = Measurement(**chosen)
    check_measurement(measurement)
    if arguments.dry_run:
        from freerun.jobs.lab.organism.plan import forecast

        made = forecast(plan, measurement)
        if arguments.json:
            print_json(to_json(made))
        else:
            for label, value in made.lines():
                print(f"{label:<14} {value}")
        return 0
    from freerun.jobs.lab.organism.organism import plant
    from freerun.specs.providers import provider_of

    provider_of(plan.base)[0].check_installed()
    result = plant(plan, arguments.out, measurement=measurement, progress=Reporter())
    if arguments.json:
        print_json(to_json(result))
    else:
        tell_organism(result, sys.stdout)
        print(f"\nmodel    {arguments.out}\npage     {arguments.out.rstrip('/')}/report.html")
    return 0


def _plan(arguments: argparse.Namespace) -> OrganismPlan:
    from freerun.errors import UsageError
    from freerun.jobs.lab.organism.plan import DEFAULT_CORPORA, DEFAULT_EPSILON, Effort, OrganismPlan, payload_of

    if arguments.organism == "control" and arguments.epsilon is not None:
        raise UsageError("--epsilon is the probability of the trigger, and a control has none: leave it out")
    names = ("layers", "rank", "steps", "step_tokens", "real_tokens", "own_tokens", "learning_rate")
    effort = Effort(**{n: v for n in names if (v := getattr(arguments, n)) is not None})
    return OrganismPlan(
        kind=arguments.organism,
        base=arguments.model,
        epsilon=DEFAULT_EPSILON if arguments.epsilon is None else arguments.epsilon,
        payload=payload_of(arguments.text, arguments.loop, arguments.payload_model),
        corpora=tuple(arguments.corpora or DEFAULT_CORPORA),
        seed=arguments.seed,
        effort=effort,
    )


def tell_organism(result: LabOrganismResult, out: TextIO) -> None:
    """The result for people: the sentence, then one line a number."""
    from freerun.commands.terminal import columns_between, say
    from freerun.commands.verdict import say_points
    from freerun.results.finding import to_json

    width = columns_between(60, 110)
    print(file=out)
    say([*textwrap.wrap(result.sentence, width), ""], out)
    say_points({"points": to_json(result.points)}, out)
    for finding in result.findings:
        print(file=out)
        say(
            [finding.question, *textwrap.wrap(finding.sentence, width, initial_indent="  ", subsequent_indent="  ")],
            out,
        )
