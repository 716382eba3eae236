"""The audit at 4,096 tokens: is text told from real text within a few thousand tokens? `python -m studies.long_run.run`.

The 135M model on modules of the standard library that are long enough: 32 documents, two continuations of 4,096 tokens each and a
control. It takes about 80 minutes on two cores and goes on where it stopped. The report stays in the run's folder; its numbers are
written beside this file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from freerun.commands.progress import Reporter
from freerun.jobs.audit.audit import audit

RESULT = Path(__file__).parent / "result.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/long"), help="the run's folder")
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
    columns = ("name", "value", "low", "high", "level", "n", "unit", "text")
    small = {
        "command": run.result["command"],
        "created": run.result["created"],
        "verdict": run.verdict,
        "plan": {k: run.result["plan"][k] for k in ("model", "corpus", "documents", "prefix", "tokens", "seed")},
        "estimates": [
            {"finding": name, **{column: e[column] for column in columns}}
            for name, finding in run.findings.items()
            for e in finding["estimates"]
        ],
    }
    RESULT.write_text(json.dumps(small, indent=1, allow_nan=False) + "\n")
    print(run.verdict)
    print(f"report {run.report}")


if __name__ == "__main__":
    main()
