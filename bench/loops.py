"""Time of looking for loops in many ids, without a model: `python bench/loops.py` (25 million real ids, and as many with loops).

Words of CPython's documentation stand for tokens, in texts of 512: the repetition of real text. In the second kind three texts in
ten fall into a loop of 1 to 40 tokens at some token and stay in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from freerun.findings.loops.repetition import DIFFER, STOP_RULES
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.near_loops import NearRule
from freerun.stats.loops.repetitions import find_repetitions, read_traps
from freerun.stats.loops.texts import Texts
from freerun.text.corpora import read_corpus
from freerun.text.words import WordIds

LENGTH = 512
MOST_SECONDS = 60.0


def real_texts(n_ids: int) -> Texts:
    """Texts of `LENGTH` words from the documentation, again and again, each time with words of its own names."""
    words = WordIds()
    ids = np.concatenate(words.encode([d.text for d in read_corpus("builtin/python-docs").documents]))
    numbers = words.are_numbers()[ids]
    n = max(n_ids // LENGTH, 1)
    times = -(-n * LENGTH // ids.size)
    every, flags = (np.tile(column, times)[: n * LENGTH] for column in (ids, numbers))
    ends = np.arange(1, n + 1) * LENGTH
    return Texts(every, ends, np.zeros(n, np.int64), np.zeros(n, bool), np.arange(n), flags)


def with_loops(texts: Texts, rng: np.random.Generator) -> Texts:
    """The same with a loop planted in three texts of ten."""
    ids = texts.ids.reshape(-1, LENGTH).copy()
    for i in np.flatnonzero(rng.random(len(ids)) < 0.3).tolist():
        period, at = int(rng.integers(1, 41)), int(rng.integers(41, LENGTH))
        ids[i, at:] = np.resize(ids[i, at - period : at], LENGTH - at)
    return Texts(ids.ravel(), texts.ends, texts.prompts, texts.ended, texts.groups, texts.numbers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=25_000_000)
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    real = real_texts(chosen.ids)
    found = []
    for kind, texts in (("real", real), ("looping", with_loops(real, np.random.default_rng(0)))):
        begin, processor = time.perf_counter(), time.process_time()
        repetitions = find_repetitions(texts, NearRule(LoopRule(), DIFFER), STOP_RULES)
        read_traps(repetitions)
        found.append(
            {
                "kind": kind,
                "ids": int(texts.ids.size),
                "seconds": round(time.perf_counter() - begin, 2),
                "processor_seconds": round(time.process_time() - processor, 2),
                "texts_with_a_loop": int((repetitions.loop.token >= 0).sum()),
                "texts": texts.n,
            }
        )
        print(json.dumps(found[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"texts": found, "most_seconds": MOST_SECONDS}, indent=1) + "\n")
    return int(any(line["processor_seconds"] > MOST_SECONDS for line in found))


if __name__ == "__main__":
    sys.exit(main())
