"""What header scoring costs beside plain scoring: `python bench/source.py --json docs/data/bench-source.json` (about 5 minutes).

One process, one model. A text of 200 tokens is scored after every header of a sources file; as many other texts of as many
tokens are scored plainly, in the same number format and by the same call that gives log-probabilities alone. The two take turns
over several repeats; ratios are taken within a repeat, so that a machine which drifts takes both along. Headers are read and not
scored, which is in the ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers.contestants import turn
from peers.machine import describe
from table import ratios, reach, source_tables, spread

MODEL, CORPUS, SOURCES = "smollm2-135m-instruct", "builtin/python-docs", "genre"
TOKENS = 200
MOST_SECONDS, MOST_RATIO = 60.0, 1.3


def summary(seconds: dict[str, dict[int, float]], n_tokens: int) -> dict[str, Any]:
    """Rates, the ratio within repeats and what was aimed at, from the seconds of each repeat."""
    headers, plain = seconds["after headers"], seconds["plain"]
    found = ratios(headers, plain)
    return {
        "contestants": {
            name: {
                "seconds": spread(list(each.values())),
                "tokens_per_s": spread([n_tokens / s for s in each.values()]),
                "runs": {str(r): round(s, 4) for r, s in each.items()},
            }
            for name, each in seconds.items()
        },
        "ratio": found,
        "reaches": [
            reach("scoring after headers", spread(list(headers.values())), "<=", MOST_SECONDS, " s"),
            reach("over scoring as many tokens plainly", found, "<=", MOST_RATIO, "×"),
        ],
    }


def measured(tokens: int, repeats: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Both kinds of scoring in turns."""
    import freerun
    from freerun.jobs.source.file import read_sources
    from freerun.jobs.source.scoring import encoded, latent_speakers, token_log_probs
    from freerun.text.corpora import read_corpus

    predictor = freerun.load(MODEL)
    (latent,) = read_sources(SOURCES).latents
    speakers = latent_speakers(predictor, latent)
    rows = sum(map(len, speakers))
    texts = []
    for document in read_corpus(CORPUS).documents:
        ids = encoded(predictor, document.text)
        if len(ids) > tokens:
            texts.append(ids[: tokens + 1])
        if len(texts) == rows:
            break
    if len(texts) < rows:
        raise ValueError(f"only {len(texts)} documents of {CORPUS} have {tokens + 1} tokens, not {rows}")
    ways: dict[str, Callable[[], Any]] = {
        "after headers": lambda: token_log_probs(speakers, texts[0][:tokens]),
        "plain": lambda: predictor.log_probs(texts, first=1),
    }
    names = list(ways)
    for name in names:  # first calls allocate and touch the weights
        ways[name]()
    seconds: dict[str, dict[int, float]] = {name: {} for name in names}
    for repeat in range(repeats):
        for i in turn(len(names), repeat):
            time.sleep(0.5)
            began = time.perf_counter()
            found = ways[names[i]]()
            seconds[names[i]][repeat] = time.perf_counter() - began
            n = sum(np.size(x) for x in found)
            if n != rows * tokens:
                raise AssertionError(f"{names[i]} scored {n} tokens, not {rows * tokens}")
            tell(f"{names[i]}: {seconds[names[i]][repeat]:.1f} s (repeat {repeat + 1})")
    work = {
        "model": MODEL,
        "corpus": CORPUS,
        "sources": SOURCES,
        "rows": rows,
        "tokens": tokens,
        "header_tokens": sum(len(x.header) for one in speakers for x in one),
        "repeats": repeats,
    }
    return {"workload": work, **summary(seconds, rows * tokens)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 tokens, one repeat")
    parser.add_argument("--repeats", type=int, help="default 5; 1 when quick")
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()

    def tell(text: str) -> None:
        print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

    machine = describe()
    found = measured(32 if chosen.quick else TOKENS, chosen.repeats or (1 if chosen.quick else 5), tell)
    result = {
        "command": " ".join(["python bench/source.py", *(["--quick"] if chosen.quick else [])]),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quick": chosen.quick,
        "machine": machine,
        **found,
    }
    print(source_tables(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
