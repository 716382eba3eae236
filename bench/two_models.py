"""What holding two models side by side costs: `python bench/two_models.py`.

The real-text arm of `freerun distance`, on the same texts as `score` of A and of B, and as transformers with the same table made by
hand: a pass of each model over a batch, log-softmax, and from both what a record of `freerun distance` holds of a token (both
log-probabilities, KL both ways, total variation, both entropies and most probable tokens). Contestants take turns, in alternating
order. A ratio is taken within a repeat, in CPU seconds of the process, so that a busy machine disturbs it little; the median over
repeats stands beside the least and the greatest. Numbers that differ by more than `TOLERANCE_NATS` at any token end the bench.

llama.cpp's `llama-perplexity --kl-divergence` makes the same table; no build of it is at hand here, and no wheel has one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from table import reach, spread

from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.predictors.side_by_side import Apart, score_both
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.text.pairs import cut_pairs

MOST = 1.15
PREFIX, TOKENS = 32, 128
AT_ONCE = 12
"""Texts of a pass by hand: as many as one of freerun's passes holds."""
TOLERANCE_NATS = 1e-3
COLUMNS = ("log_p_nats", "log_q_nats", "kl_pq_nats", "kl_qp_nats", "tv", "entropy_p_nats", "entropy_q_nats")


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU time of this process, all its threads, and what was made."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def plain(spec: str) -> Any:
    """The model as transformers has it, its weights not laid out anew."""
    os.environ["FREERUN_PLAIN"] = "1"
    try:
        return load_predictor(spec).model  # type: ignore[attr-defined]
    finally:
        del os.environ["FREERUN_PLAIN"]


@torch.inference_mode()
def by_hand(a: Any, b: Any, table: torch.Tensor) -> dict[str, np.ndarray]:
    """The columns, texts × tokens, from two passes over each batch."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*COLUMNS, "same_top")}
    for start in range(0, len(table), AT_ONCE):
        some = table[start : start + AT_ONCE]
        ids = some[:, -TOKENS:, None]
        log_p, log_q = (
            torch.log_softmax(m(some[:, :-1], use_cache=False, logits_to_keep=TOKENS).logits, -1) for m in (a, b)
        )
        p, q, ratio = log_p.exp(), log_q.exp(), log_p - log_q
        made = {
            "log_p_nats": log_p.gather(2, ids)[..., 0],
            "log_q_nats": log_q.gather(2, ids)[..., 0],
            "kl_pq_nats": (p * ratio).sum(-1),
            "kl_qp_nats": -(q * ratio).sum(-1),
            "tv": 0.5 * (p - q).abs().sum(-1),
            "entropy_p_nats": -(p * log_p).sum(-1),
            "entropy_q_nats": -(q * log_q).sum(-1),
            "same_top": log_p.argmax(-1) == log_q.argmax(-1),
        }
        for name, values in made.items():
            parts[name].append(values.numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def columns_of(pieces: list[Apart], n_texts: int) -> dict[str, np.ndarray]:
    """The same from what freerun made."""
    out = {name: np.zeros((n_texts, TOKENS)) for name in (*COLUMNS, "same_top")}
    for piece in pieces:
        for name, column in out.items():
            column[piece.row, piece.position - PREFIX] = getattr(piece.divergence, name)
    return out


def largest_difference(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """At any token, by column; of the most probable tokens the share that differs."""
    found = {name: float(np.abs(mine[name] - theirs[name]).max()) for name in COLUMNS}
    return found | {"same_top": float((mine["same_top"] != theirs["same_top"]).mean())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", default="smollm2-135m-instruct")
    parser.add_argument("--b", default="smollm2-135m-instruct,round=int8")
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    a, b = load_predictor(chosen.a), load_predictor(chosen.b)
    plain_a, plain_b = plain(chosen.a), plain(chosen.b)
    corpus = read_any_corpus("builtin/python-docs", AuditOptions())
    pairs = cut_pairs(
        corpus, a.encode, n_documents=chosen.documents, prefix_tokens=PREFIX, continuation_tokens=TOKENS, seed=0
    ).pairs
    texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in pairs]
    table = torch.tensor(np.stack([np.concatenate([np.array(a.context.lead, np.int64), text]) for text in texts]))

    def alone() -> None:
        for predictor in (a, b):
            list(predictor.score(texts, first=PREFIX))

    def together() -> list[Apart]:
        return list(score_both(a, b, texts, start=PREFIX))  # type: ignore[arg-type]

    def transformers() -> dict[str, np.ndarray]:
        return by_hand(plain_a, plain_b, table)

    list(score_both(a, b, texts[:2], start=PREFIX))  # type: ignore[arg-type]  # compiles
    list(a.score(texts[:2], first=PREFIX))
    by_hand(plain_a, plain_b, table[:2])
    order: list[Callable[[], Any]] = [alone, together, transformers]
    seconds: list[dict[str, float]] = []
    apart: dict[str, float] = {}
    for repeat in range(chosen.repeats):
        made = {work.__name__: cpu_seconds(work) for work in (order if repeat % 2 == 0 else order[::-1])}
        seconds.append({name: spent for name, (spent, _) in made.items()})
        print(", ".join(f"{name} {spent:.1f} s" for name, spent in seconds[-1].items()), file=sys.stderr, flush=True)
        apart = largest_difference(columns_of(made["together"][1], len(texts)), made["transformers"][1])
    if max(apart[name] for name in COLUMNS) > TOLERANCE_NATS:
        print(f"the numbers differ: {apart}", file=sys.stderr)
        return 1

    def over(mine: str, theirs: str) -> dict[str, float | int]:
        return spread([s[mine] / s[theirs] for s in seconds])

    result = {
        "command": f"python bench/two_models.py --a {chosen.a} --b {chosen.b} --documents {chosen.documents} "
        f"--repeats {chosen.repeats}",
        "tokens": len(texts) * TOKENS,
        "threads": torch.get_num_threads(),
        "cpu_seconds": {name: spread([s[name] for s in seconds]) for name in seconds[0]},
        "largest_difference_from_transformers": apart,
        "tolerance_nats": TOLERANCE_NATS,
        "over_transformers_by_hand": over("together", "transformers"),
        "llama_perplexity": None,
        "reaches": [
            reach(
                "real text by both, over scoring with A plus scoring with B", over("together", "alone"), "<=", MOST, "×"
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
