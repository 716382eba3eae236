"""What holding two models side by side costs over scoring with each by itself: `python bench/two_models.py`.

The real-text arm of `freerun distance` on the same texts as `score` of A and of B. A ratio is taken within a repeat, in CPU seconds
of the process, so that a busy machine disturbs it little; the median over repeats stands beside the least and the greatest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from table import reach, spread

from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.predictors.side_by_side import score_both
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.text.pairs import cut_pairs

MOST = 1.15
PREFIX, TOKENS = 32, 128


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process, all its threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", default="smollm2-135m-instruct")
    parser.add_argument("--b", default="smollm2-135m-instruct,round=int8")
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    a, b = load_predictor(chosen.a), load_predictor(chosen.b)
    corpus = read_any_corpus("builtin/python-docs", AuditOptions())
    pairs = cut_pairs(
        corpus, a.encode, n_documents=chosen.documents, prefix_tokens=PREFIX, continuation_tokens=TOKENS, seed=0
    ).pairs
    texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in pairs]

    def alone() -> None:
        for predictor in (a, b):
            list(predictor.score(texts, first=PREFIX))

    def together() -> None:
        list(score_both(a, b, texts, start=PREFIX))  # type: ignore[arg-type]

    list(score_both(a, b, texts[:2], start=PREFIX))  # type: ignore[arg-type]  # compiles
    list(a.score(texts[:2], first=PREFIX))
    seconds = []
    for repeat in range(chosen.repeats):
        first, second = (alone, together) if repeat % 2 == 0 else (together, alone)
        found = {work.__name__: cpu_seconds(work) for work in (first, second)}
        seconds.append((found["alone"], found["together"]))
        print(f"alone {found['alone']:.1f} s, side by side {found['together']:.1f} s of CPU", file=sys.stderr)
    result = {
        "command": f"python bench/two_models.py --a {chosen.a} --b {chosen.b} --documents {chosen.documents}",
        "tokens": len(texts) * TOKENS,
        "alone_cpu_seconds": spread([x for x, _ in seconds]),
        "together_cpu_seconds": spread([y for _, y in seconds]),
        "reaches": [
            reach(
                "real text by both, over scoring with A plus scoring with B",
                spread([y / x for x, y in seconds]),
                "<=",
                MOST,
                "×",
            )
        ],
        "machine": provenance(),
    }
    print(json.dumps(result, indent=1, default=str))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
