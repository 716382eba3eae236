"""Time and memory of deriving findings from a large run's records, without a model: `python bench/findings.py` (10 million tokens).

A small run of an exact world is measured once, then its parts are written again under new documents until there are enough tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import freerun
from freerun.experiments.provenance import provenance
from freerun.records.measure import plan_of, units_of
from freerun.records.store import RunFolder

SEED_DOCUMENTS, TOKENS, PREFIX = 512, 128, 8


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
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "freerun", "report", str(Path(where) / "big")],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        disk = sum(p.stat().st_size for p in (Path(where) / "big").rglob("*.parquet"))
    result = {
        "command": "python bench/findings.py",
        "tokens": n,
        "seconds": round(seconds, 1),
        "gib": round(gib, 2),
        "disk_gib": round(disk / 2**30, 2),
        "target": "under 60 s and 2 GiB on 2 cores",
        "machine": provenance(),
    }
    print(f"{n:,} token records: {seconds:.1f} s, {gib:.2f} GiB, {disk / 2**30:.2f} GiB on disk")
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
