"""Texts to read: chosen at random by seed, and the worst, labelled as such."""

from __future__ import annotations

from typing import Any

import numpy as np

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.loops.evidence import loop_evidence
from freerun.findings.plain_text import PlainText
from freerun.findings.special_tokens import shown_text

N_RANDOM = 3
N_WORST = 2


def examples(evidence: Evidence, found: Comparison | None) -> list[dict[str, Any]]:
    """Random documents first, then those whose free text the detector finds least like real text, then looping ones."""
    records = evidence.records
    documents = list(dict.fromkeys(records.sequences["document_id"][records.chosen(arm="real")]))
    rng = statistics_rng(evidence, "examples")
    chosen = [
        (documents[i], "chosen at random")
        for i in rng.choice(len(documents), min(N_RANDOM, len(documents)), replace=False)
    ]
    scores: dict[str, float] = {}
    if found is not None:
        for i, pair in enumerate(found.test_pairs):
            name = records.sequences["document_id"][evidence.panel.real[pair]]
            scores[name] = float(found.test_scores[i].max())
        worst = sorted(scores, key=lambda n: -scores[n])[:N_WORST]
        chosen += [(n, "worst: least like real text, of the test half") for n in worst]
    onset = evidence.once(loop_evidence).onset
    looping = [i for i in records.chosen(arm="free") if onset[i] >= 0]
    if looping:
        first = min(looping, key=lambda i: onset[i])
        chosen.append((records.sequences["document_id"][first], f"worst: loops from token {onset[first] + 1}"))
    words = PlainText(evidence)
    return [_example(evidence, words, name, why, scores.get(name), onset) for name, why in chosen]


def _example(
    evidence: Evidence, words: PlainText, name: str, why: str, score: float | None, onset: np.ndarray
) -> dict[str, Any]:
    records = evidence.records
    sequences, log_prob = records.sequences, records.tokens["log_prob_nats"]
    mine = np.flatnonzero(sequences["document_id"] == name)
    real = next(i for i in mine if sequences["arm"][i] == "real")
    free = [i for i in mine if sequences["arm"][i] == "free"]

    def surprisal(i: Any) -> str:
        return f"{-float(np.mean(log_prob[records.rows(i)])):.2f}"

    facts = [["nats/token, real", surprisal(real)], ["nats/token, own", " and ".join(surprisal(i) for i in free)]]
    if score is not None:
        facts.append(["detector's log odds of being generated", f"{score:+.2f}"])
    ended = [i for i in free if sequences["end_reason"][i] == "end_of_text"]
    if ended:
        facts.append(["ended by itself", f"{len(ended)} of {len(free)}"])
    if any(onset[i] >= 0 for i in free):
        facts.append(["loop", ", ".join(f"from token {onset[i] + 1}" for i in free if onset[i] >= 0)])
    return {
        "document_id": str(name),
        "why": why,
        "prefix": sequences["prefix_text"][real],
        "real": shown_text(evidence, words, int(real)),
        "free": [shown_text(evidence, words, int(i)) for i in free],
        "facts": facts,
    }
