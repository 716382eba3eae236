"""Predicted and sampled take-over on a world and on a model: `python -m studies.take_over.run` (about 8 minutes on 2 cores).

Writes result.json and picture.svg beside this file. Says which points disagree, and fails if one does.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import freerun
from freerun.report.charts.picture import standing_alone
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.text.corpora import read_corpus
from freerun.worlds.catalogue import load_world
from studies.files import json_text, write_files
from studies.take_over.events import TakeOver, absorbing_take_over, hash_take_over, take_over_chart

HERE = Path(__file__).parent
MODEL_EXCESSES = (0.07, 0.14, 0.35, 0.7, 1.4, 2.5, 4.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--corpus", default="builtin/python-docs")
    parser.add_argument("--runs", type=int, default=256, help="generations a point on the model (default 256)")
    parser.add_argument("--world-runs", type=int, default=4000, help="generations a point on the world (default 4000)")
    parser.add_argument("--tokens", type=int, default=32, help="the fixed length (default 32)")
    chosen = parser.parse_args()

    def say(p: TakeOver) -> None:
        verdict = "" if p.agrees else "  DISAGREES"
        print(
            f"{p.kind:9} {p.over:24} {p.setting:20} K = {p.excess_nats:6.3f}  predicted {p.predicted:.3f}  "
            f"sampled {p.taken / p.n:.3f} ({p.low:.3f} to {p.high:.3f}, {p.taken} of {p.n}){verdict}",
            flush=True,
        )

    world = load_world("markov")
    documents = [np.array(d.ids, np.int64) for d in world.corpus(64, 40, seed=1).documents]
    points = absorbing_take_over(
        world, documents, prefix=8, tokens=chosen.tokens, n=chosen.world_runs, on_point=say
    ) + hash_take_over(world, documents, n=chosen.world_runs, on_point=say)
    model = freerun.load(chosen.model)
    texts = [np.array(model.encode(d.text[:2000]), np.int64) for d in read_corpus(chosen.corpus).documents[:400]]
    texts = [t for t in texts if len(t) >= 16 + chosen.tokens][:16]
    points += absorbing_take_over(
        model,
        texts,
        prefix=16,
        tokens=chosen.tokens,
        n=chosen.runs,
        excesses_nats=MODEL_EXCESSES,
        on_point=say,
    ) + hash_take_over(model, texts, n=chosen.runs, on_point=say)
    chart = to_json(take_over_chart(points))
    result = {
        "command": "python -m studies.take_over.run",
        "points": [{**asdict(p), "agrees": p.agrees} for p in points],
        "chart": chart,
        "provenance": to_json(provenance()),
    }
    write_files(HERE, {"result.json": json_text(result), "picture.svg": standing_alone(chart)})
    return int(not all(p.agrees for p in points))


if __name__ == "__main__":
    sys.exit(main())
