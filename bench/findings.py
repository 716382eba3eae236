"""Time and memory of deriving findings from a large run's records, without a model: `python bench/findings.py` (10 million tokens).

A small run of an exact world is measured once, then its parts are written again under new documents until there are enough tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from peers.processes import alone
from table import findings_tables, reach, spread

import freerun
from freerun.records.measure import plan_of, units_of
from freerun.records.store import RunFolder
from freerun.runs.provenance import provenance

SEED_DOCUMENTS, TOKENS, PREFIX = 512, 128, 8
MOST_SECONDS, MOST_GIB = 60.0, 2.0


def grown(seed_run: Path, folder: Path, n_tokens: int) -> int:
    """Write a run of at least `n_tokens` token records; how many there are."""
    small = RunFolder(seed_run)
    manifest = small.manifest()
    sequences, tokens = small.read("sequences"), small.read("tokens")
    times = -(-n_tokens // tokens.num_rows)
    n_pairs = manifest["counts"]["pairs"] * times
    manifest["counts"]["pairs"] = n_pairs
    big = RunFolder(folder)
    big.open(manifest)
    plan = plan_of(manifest["plan"])
    units = units_of(n_pairs, plan)
    per = -(-len(units) // times)
    for i in range(times):
        s, t = _renamed(sequences, i, names=("document_id", "unit")), _renamed(tokens, i, names=())
        for j, unit in enumerate(units[i * per : (i + 1) * per]):
            empty = j > 0  # all records of this copy stand in its first part
            big.write_part(
                unit.name,
                s.slice(0, 0) if empty else s,
                t.slice(0, 0) if empty else t,
                unit_key=unit.key(manifest["plan_hash"]),
                plan_hash=manifest["plan_hash"],
            )
    return int(tokens.num_rows * times)


def _renamed(table: pa.Table, copy: int, *, names: tuple[str, ...]) -> pa.Table:
    shift = copy * 10_000_000 // 1000
    at = table.schema.get_field_index("sequence")
    table = table.set_column(at, table.schema.field(at), pc.cast(pc.add(table["sequence"], shift), pa.int32()))
    for name in names:
        at = table.schema.get_field_index(name)
        new = pc.binary_join_element_wise(table[name], pa.scalar(f"/{copy}"), "")
        table = table.set_column(at, table.schema.field(at), new)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="times that the report is made (default: 3)")
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        small = freerun.audit(
            "world/markov,symbols=26",
            "world/markov,symbols=26",
            out=Path(where) / "small",
            documents=SEED_DOCUMENTS,
            tokens=TOKENS,
            prefix=PREFIX,
        )
        n = grown(small.path, Path(where) / "big", chosen.tokens)
        command = [sys.executable, "-m", "freerun", "report", str(Path(where) / "big")]
        found = [alone(command) for _ in range(chosen.repeats)]
        disk = sum(p.stat().st_size for p in (Path(where) / "big").rglob("*.parquet"))
    result = {
        "command": f"python bench/findings.py --repeats {chosen.repeats}",
        "tokens": n,
        "disk_gib": round(disk / 2**30, 2),
        "reaches": [
            reach("findings and page of the run", spread([s for s, _ in found]), "<=", MOST_SECONDS, " s"),
            reach("peak memory of the process", spread([mib / 2**10 for _, mib in found]), "<=", MOST_GIB, " GiB"),
        ],
        "machine": provenance(),
    }
    print(findings_tables(json.loads(json.dumps(result, default=str))))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
