"""Make a run's findings and its page again from its records; no model is loaded.

RUN is the folder of an audit, a sweep, a grid or a distance. What was measured stays as it is; the conclusions are drawn anew, for
example by a newer version of freerun.
"""

from __future__ import annotations

import argparse
import sys

from freerun.commands.model_arguments import add_json_argument

EXAMPLES = """\
examples:
  freerun report runs/NAME
  freerun report runs/NAME --json | jq .verdict
  freerun report runs/NAME --transfer runs/OTHER   does the detector of the other run work here, too?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--transfer",
        metavar="RUN2",
        help="another audit of the same corpus or model: try the detector that was trained there on the texts here",
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.first_look import tell_first_look
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.commands.verdict import tell
    from freerun.jobs.audit.audit import report
    from freerun.jobs.distance.distance import report_distance
    from freerun.jobs.grid.grid import is_grid, report_grid
    from freerun.jobs.sweep.sweep import is_sweep, report_sweep
    from freerun.runs.run import is_distance

    if is_sweep(arguments.run):
        from freerun.commands.sweep import told
        from freerun.errors import UsageError

        if arguments.transfer:
            raise UsageError(
                f"{arguments.run} is a sweep, which has no detector of its own: give the folder of one of its settings"
            )
        return told(report_sweep(arguments.run, progress=Reporter()), as_json=arguments.json)
    if is_grid(arguments.run):
        from freerun.commands.grid import told as told_grid
        from freerun.errors import UsageError

        if arguments.transfer:
            raise UsageError(
                f"{arguments.run} is a grid, which has no detector of its own: give the folder of one of its cells"
            )
        return told_grid(report_grid(arguments.run), as_json=arguments.json)
    if is_distance(arguments.run):
        from freerun.commands.distance import tell_distance
        from freerun.errors import UsageError

        if arguments.transfer:
            raise UsageError(
                f"{arguments.run} is a distance between two models, which has no detector to try elsewhere; leave --transfer out"
            )
        between = report_distance(arguments.run, progress=Reporter())
        if arguments.json:
            print_json(between.result)
        else:
            tell_distance(between, sys.stdout)
        return 3 if between.result["verdict"]["status"] == "unknown" else 0
    done = report(arguments.run, transfer=arguments.transfer, progress=Reporter())
    if arguments.json:
        print_json(done.result)
    else:
        tell(done, sys.stdout)
        tell_first_look(done, sys.stdout)
    return 3 if done.result["verdict"]["status"] == "unknown" else 0
