"""How little a loss says: H75 against excess loss for graded models of one world: `python -m studies.dose_response.run` (about 15
minutes on 2 cores).

Writes result.json, points.md and picture.svg beside this file, and the block of docs/dose-response.md. `--runs RUN…`
adds finished audits as points (H75 and loss from their result.json), `--keep` takes the points measured here before from the
committed result. Fails if a point whose excess is exact lies under the certificate.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from studies.dose_response.models import world_doses
from studies.dose_response.others import ngram_responses, run_responses
from studies.dose_response.picture import dose_response_svg
from studies.dose_response.responses import LEVEL_AUC, Response, certified_nats, respond, tv_needed
from studies.dose_response.words import table, with_block
from studies.files import json_text, read_result, write_files

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "dose-response.md"
WORLD = "world/authors"
CORPUS = "builtin/python-docs"
BANDS = ((0.002, 0.004), (0.006, 0.012), (0.03, 0.06), (0.09, 0.14))
"""Excess, nats a token: how far the horizons of models lie apart inside each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=128, help="documents an audit of the world (default 128)")
    parser.add_argument("--prefix", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=512, help="tokens after the cut on the world (default 512)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--runs", nargs="+", default=[], metavar="RUN", help="finished audits, as points beside")
    parser.add_argument("--keep", action="store_true", help="keep the points of the committed result, and add the runs")
    chosen = parser.parse_args()
    options = AuditOptions(documents=chosen.documents, prefix=chosen.prefix, tokens=chosen.tokens)
    points: list[dict[str, Any]] = []
    if chosen.keep:
        held = read_result(HERE)
        points = [p for p in held["points"] if p["family"] != "audited models"]
        options = AuditOptions(documents=held["documents"], prefix=held["prefix"], tokens=held["tokens"])
        made = held["provenance"]
    else:
        made = to_json(provenance())
        measured = partial(respond, world=WORLD, options=options, corpus=read_any_corpus(WORLD, options))
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers that share the cores wait for each other's threads
        with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
            for found in pool.map(measured, world_doses(WORLD)):
                points.append(say(found))
        bytes_options = AuditOptions(documents=128, prefix=32, tokens=256)
        points += [say(found) for found in ngram_responses(CORPUS, bytes_options)]
    points += [say(found) for found in run_responses(chosen.runs)]
    result = {
        "command": "python -m studies.dose_response.run",
        "world": WORLD,
        "corpus": CORPUS,
        "runs": [str(Path(p).name) for p in chosen.runs],
        "documents": options.documents,
        "prefix": options.prefix,
        "tokens": options.tokens,
        "certificate": {"auc": LEVEL_AUC, "tv": tv_needed(LEVEL_AUC), "nats": certified_nats()},
        "bands": [list(band) for band in BANDS],
        "points": points,
        "provenance": made,
    }
    files = {
        "result.json": json_text(result),
        "points.md": table(result),
        "picture.svg": dose_response_svg(result),
        str(PAGE): with_block(PAGE.read_text(encoding="utf-8"), result),
    }
    write_files(HERE, files)
    wrong = [p for p in points if p["contradiction"]]
    for p in wrong:
        print(f"UNDER THE CERTIFICATE: {p['family']}, {p['amount']}: {p['contradiction']}")
    return int(bool(wrong))


def say(found: Response) -> dict[str, Any]:
    """Tell of a point as it comes, and return it as plain data."""
    horizon = "beyond" if found.beyond else "before 1" if found.h75 is None else f"{found.h75:.1f}"
    best = "-" if found.best_h75 is None else f"{found.best_h75:.1f}"
    print(
        f"{found.family:20} {found.amount:32} excess {found.excess_nats:9.6f}  H75 {horizon:>8} "
        f"({found.h75_low} to {found.h75_high})  best {best:>8}  AUC {found.auc_last:.3f}",
        flush=True,
    )
    return dict(to_json(asdict(found)))


if __name__ == "__main__":
    sys.exit(main())
