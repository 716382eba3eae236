"""Files of engines, each given to `freerun verify` as a user would: `python -m studies.verify.engines`.

What is drawn and verified is kept in `runs/verify/engines` and not done again. Writes engines.json and docs/data/engines.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from freerun.jobs.verify.verify import verify
from freerun.results.verify import Cause, VerifyResult
from freerun.runs.provenance import provenance
from studies.files import json_text, write_files
from studies.verify.confusion import label_of
from studies.verify.draws import MODEL
from studies.verify.samplers import SAMPLERS, Sampler, Sizes

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "engines.md"
KEPT = Path("runs/verify/engines")
SIZES = Sizes(prompts=40, tokens=128)


def row_of(sampler: Sampler) -> dict[str, Any]:
    folder = KEPT / sampler.name.replace(" ", "-").replace("/", "-")
    path = folder / "samples.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sampler.write(path, SIZES)
    result = verify(
        path,
        MODEL,
        out=folder / "out",
        declared=sampler.declared,
        order=sampler.order,
        other=sampler.other,
        floor_nats=sampler.floor_nats,
    )
    label = label_of(result.verdict.match, result.cause)
    return {
        "planted": sampler.name,
        "engine": sampler.engine,
        "tokens": result.samples.n_drawn_tokens,
        "declared": sampler.declared,
        "said": label,
        "right": label == sampler.right,
        "verdict": result.verdict.sentence,
        "detail": result.verdict.detail,
        "rollout": numbers(result),
        "cause": cause_numbers(result.cause),
    }


def numbers(result: VerifyResult) -> dict[str, float | None]:
    """The numbers of the tests and of reported log-probabilities."""
    return {
        e.name: e.value for f in result.findings if f.name in ("match", "rollout_against_trainer") for e in f.estimates
    }


def cause_numbers(cause: Cause) -> dict[str, float | None]:
    return {
        "gain_nats": cause.gain_nats,
        "gain_low": cause.gain_low,
        "gain_high": cause.gain_high,
        "fit_p": cause.fit_p,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "<!-- written by: python -m studies.verify.engines -->",
        "| file | engine | tokens | declared | said |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(f"| {r['planted']} | {r['engine']} | {r['tokens']:,} | `{r['declared']}` | {r['said']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="samplers whose name holds this")
    arguments = parser.parse_args()
    path = HERE / "engines.json"
    rows = {} if not path.exists() else {r["planted"]: r for r in json.loads(path.read_text())["rows"]}
    for sampler in SAMPLERS:
        if arguments.only in sampler.name:
            rows[sampler.name] = row_of(sampler)
            print(rows[sampler.name], flush=True)
            ordered = [rows[s.name] for s in SAMPLERS if s.name in rows]
            found = {"rows": ordered, "provenance": provenance()}
            write_files(HERE, {"engines.json": json_text(found), str(PAGE): table(ordered)})


if __name__ == "__main__":
    main()
