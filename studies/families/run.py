"""Hold every causal family of the installed transformers against the contract; write result.json and the table of docs/models.md.

python -m studies.families.run            # about four minutes on one core
python -m studies.families.run --table    # the table again, from result.json
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "result.json"
PAGE = HERE.parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- families: made by studies/families/run.py -->", "<!-- families: end -->"
HOW = {
    "as fast as it goes": "side by side, states kept",
    "like with like": "states kept, texts of one length together",
    "whole texts": "read again for every token",
    "refused": "refused",
}


def table(data: dict[str, Any]) -> str:
    """The families by how they are read, as Markdown."""
    rows = data["families"]
    count = {kind: sum(r["kind"] == kind for r in rows) for kind in HOW}
    largest = max(r["largest_gap_nats"] for r in rows if r["kind"] != "refused")
    lines = [
        f"{len(rows)} families and variants, transformers {data['transformers']}, torch {data['torch']}: "
        + ", ".join(f"{n} {HOW[kind]}" for kind, n in count.items())
        + f"; largest difference from a fresh pass {largest:.1e} nats. Not tried: "
        + "; ".join(f"{name} ({why})" for name, why in data["left_out"].items())
        + ".",
        "",
        "| how it is read | families |",
        "|---|---|",
    ]
    for kind in ("as fast as it goes", "like with like", "whole texts"):
        lines.append(f"| {HOW[kind]} | {', '.join(r['name'] for r in rows if r['kind'] == kind)} |")
    lines += ["", "| refused | why |", "|---|---|"]
    lines += [f"| {r['name']} | {r['words'].split(' (')[0]} |" for r in rows if r["kind"] == "refused"]
    return "\n".join(lines)


def write_table(data: dict[str, Any]) -> None:
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(data)}\n\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only write the table again")
    if not parser.parse_args().table:
        warnings.simplefilter("ignore")
        import torch
        import transformers

        from studies.families import contract, tiny

        torch.set_num_threads(1)
        found = []
        for name in contract.names():
            done = contract.outcome(name)
            print(f"{name}: {done.kind}, {done.largest_gap_nats:.1e} nats, {done.seconds:.1f} s", file=sys.stderr)
            kept = {k: v for k, v in asdict(done).items() if k in ("name", "kind", "words")}
            found.append({**kept, "largest_gap_nats": float(f"{done.largest_gap_nats:.1e}")})
        data = {
            "command": "python -m studies.families.run",
            "transformers": transformers.__version__,
            "torch": torch.__version__.split("+")[0],
            "left_out": tiny.LEFT_OUT,
            "families": found,
        }
        RESULT.write_text(json.dumps(data, indent=1) + "\n")
    write_table(json.loads(RESULT.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
