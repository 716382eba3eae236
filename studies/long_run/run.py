"""The audit at 4,096 tokens: is text told from real text within a few thousand tokens? `python -m studies.long_run.run`.

The 135M model on modules of the standard library that are long enough: 32 documents, two continuations of 4,096 tokens each and a
control. It takes about 80 minutes on two cores, goes on where it stopped, and writes the report and its numbers to docs/examples.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from freerun.commands.progress import Reporter
from freerun.jobs.audit.audit import audit

NAME = "audit-smollm2-135m-python-code-4096"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/long"), help="the run's folder")
    parser.add_argument("--docs", type=Path, default=Path("docs/examples"))
    parser.add_argument("--documents", type=int, default=32, help="modules (default 32)")
    chosen = parser.parse_args()
    run = audit(
        "smollm2-135m-instruct",
        "builtin/python-code",
        out=chosen.out,
        progress=Reporter(),
        documents=chosen.documents,
        prefix=32,
        tokens=4096,
        batch=32,
    )
    chosen.docs.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.report, chosen.docs / f"{NAME}.html")
    (chosen.docs / f"{NAME}.json").write_text(json.dumps(run.result, indent=1, allow_nan=False) + "\n")
    print(run.verdict)


if __name__ == "__main__":
    main()
