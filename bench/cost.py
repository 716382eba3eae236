"""How cost grows with documents, length, batch and vocabulary: `python bench/cost.py --json docs/data/bench-cost.json`.

Documents: whole audits of short documents, each in a fresh process. The rest: one process that has loaded the model, sizes in
alternating order. Exponents are slopes of log on log, with the least and greatest between neighbouring sizes as their range.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers.contestants import SAMPLING, Setting, Worker, turn
from peers.machine import describe
from peers.processes import alone
from table import cost_tables, significant, slope

from freerun.text.corpora import read_corpus

MODEL = "smollm2-135m-instruct"
LENGTHS, LENGTHS_QUICK = (128, 256, 512, 1024, 2048), (64, 128, 256)
ROWS, ROWS_QUICK = (4, 8, 16, 32, 64), (4, 16)
VOCABULARIES = (1_024, 4_096, 16_384, 49_152, 262_144)
WORDS_PER_DOCUMENT = 40


def short_documents(n: int) -> list[str]:
    """Pieces of real prose of some forty words, all different."""
    seen: dict[str, None] = {}
    for document in read_corpus("builtin/python-docs").documents:
        words = document.text.split()
        for at in range(0, len(words) - WORDS_PER_DOCUMENT, WORDS_PER_DOCUMENT):
            seen[" ".join(words[at : at + WORDS_PER_DOCUMENT])] = None
            if len(seen) == n:
                return list(seen)
    raise ValueError(f"only {len(seen)} pieces of {WORDS_PER_DOCUMENT} words, not {n}")


def audits(sizes: tuple[int, ...], repeats: int, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Whole audits in fresh processes: 8 tokens of prefix, 16 of text."""
    seconds: dict[float, list[float]] = {n: [] for n in sizes}
    memory: dict[float, list[float]] = {n: [] for n in sizes}
    with tempfile.TemporaryDirectory() as where:
        corpus = Path(where) / "short.jsonl"
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in short_documents(max(sizes))))
        for repeat in range(repeats):
            for i in turn(len(sizes), repeat):
                n = sizes[i]
                command = [sys.executable, "-m", "freerun", "audit", MODEL, str(corpus), "--documents", str(n)]
                command += ["--prefix", "8", "--tokens", "16", "-o", str(Path(where) / f"run-{n}-{repeat}")]
                taken, mib = alone(
                    command, accepted=(0, 3)
                )  # 3: too few documents for a conclusion, which is all right
                seconds[n].append(taken)
                memory[n].append(mib)
                tell(f"audit of {n} short documents: {taken:.0f} s, {mib:.0f} MiB")
    what = "documents (whole audits of short ones)"
    yield growth(what, "seconds", seconds)
    yield growth(what, "peak memory of the process, MiB", memory)


def within(worker: Worker, repeats: int, quick: bool, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Length, batch and vocabulary, in a process that has loaded the model."""
    lengths, rows = (LENGTHS_QUICK, ROWS_QUICK) if quick else (LENGTHS, ROWS)
    plans: tuple[tuple[str, tuple[int, ...], str, Callable[[int], dict[str, int]]], ...] = (
        ("length (scoring 8 texts)", lengths, "memory", lambda n: {"rows": 8, "length": n}),
        ("length (sampling 8 texts)", lengths[:3], "generate_rows", lambda n: {"rows": 8, "prefix": 32, "new": n}),
        ("batch (scoring, 128 tokens)", rows, "memory", lambda n: {"rows": n, "length": 128}),
        ("batch (sampling 16 tokens)", rows, "generate_rows", lambda n: {"rows": n, "prefix": 32, "new": 16}),
        (
            "vocabulary (statistics of 64 laws)",
            VOCABULARIES,
            "observe",
            lambda n: {"rows": 64, "vocabulary": n, "times": 3},
        ),
    )
    worker.ask("memory", rows=4, length=64)  # first calls allocate and touch the weights
    worker.ask("generate_rows", rows=4, prefix=32, new=2)
    for what, sizes, task, words in plans:
        seconds: dict[float, list[float]] = {n: [] for n in sizes}
        memory: dict[float, list[float]] = {n: [] for n in sizes}
        for repeat in range(repeats):
            for i in turn(len(sizes), repeat):
                found = worker.measure(task, **words(sizes[i]))
                seconds[sizes[i]].append(found["seconds"])
                if found["peak_mib"] is not None:
                    memory[sizes[i]].append(max(1.0, found["peak_mib"] - found["rss_before_mib"]))
        tell(what)
        yield growth(what, "seconds", seconds)
        if all(memory.values()):
            yield growth(what, "peak memory over idle, MiB", memory)


def growth(what: str, of: str, points: dict[float, list[float]]) -> dict[str, Any]:
    shown = {str(n): [significant(v) for v in values] for n, values in points.items()}
    return {"what": what, "of": of, "points": shown, "slope": slope(points)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one repeat")
    parser.add_argument("--repeats", type=int, help="default 3; 1 when quick")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    repeats = chosen.repeats or (1 if chosen.quick else 3)

    def tell(text: str) -> None:
        print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

    machine = describe()
    worker = Worker(SAMPLING[0], Setting("", MODEL, chosen.threads, 64, {}))
    try:
        lines = list(within(worker, repeats, chosen.quick, tell))
    finally:
        worker.close()
    lines = [*audits((20, 100) if chosen.quick else (100, 1000), min(repeats, 2), tell), *lines]
    result = {
        "command": " ".join(["python bench/cost.py", *(["--quick"] if chosen.quick else ["--repeats", str(repeats)])]),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quick": chosen.quick,
        "machine": machine,
        "growth": lines,
    }
    print(cost_tables(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
