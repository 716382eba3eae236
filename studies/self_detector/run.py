"""A self-detecting organism on a model: `python -m studies.self_detector.run` (about 10 minutes on 2 cores).

Writes result.json and picture.svg beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import freerun
from freerun.organisms.memorised import without_calibration
from freerun.organisms.self_detector import SelfDetector
from freerun.report.charts.picture import standing_alone
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.text.corpora import read_corpus
from studies.files import json_text, write_files
from studies.self_detector.measure import measure_self_detector, self_detection_chart

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        default="smollm2-135m-instruct+self_detector,score=entropy,window=32,alpha=0.05,weight=0.99,tokens=128,"
        "corpus=builtin/python-docs",
    )
    parser.add_argument("--corpus", default="builtin/python-docs")
    parser.add_argument("--runs", type=int, default=128, help="free runs (default 128)")
    parser.add_argument("--prefix", type=int, default=8, help="real tokens before each free run (default 8)")
    chosen = parser.parse_args()
    organism = freerun.load(chosen.model)
    assert isinstance(organism, SelfDetector), "the last organism must be a self_detector"
    corpus = without_calibration(read_corpus(chosen.corpus), organism)
    one_a_unit = {d.unit: d for d in corpus.documents}.values()
    texts = [np.array(organism.encode(d.text[:4000]), np.int64) for d in one_a_unit]
    found = measure_self_detector(organism, texts, prefix=chosen.prefix, n=chosen.runs)
    chart = to_json(self_detection_chart(found, "measured on free runs"))
    result = {
        "command": "python -m studies.self_detector.run",
        "model": chosen.model,
        "facts": organism.identity.facts,
        "found": to_json(found),
        "chart": chart,
        "provenance": to_json(provenance()),
    }
    print(json.dumps(result["found"], indent=1))
    write_files(HERE, {"result.json": json_text(result), "picture.svg": standing_alone(chart)})
    return int(found.extra_loss_nats.low > found.most_extra_loss_nats)


if __name__ == "__main__":
    sys.exit(main())
