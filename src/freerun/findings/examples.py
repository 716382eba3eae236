"""Texts to read: chosen at random by seed, and the worst, labelled as such."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.loops.evidence import loop_evidence
from freerun.findings.special_tokens import shown_text
from freerun.results.verdict import Example, Place

N_RANDOM = 3
N_WORST = 2


def examples(evidence: Evidence, comparison: Comparison | None) -> tuple[Example, ...]:
    """Random documents first, then those whose free text the detector finds least like real text, then looping ones.

    Raises:
        TextRedacted: the run was made with `--redact-text`.
    """
    records = evidence.records
    names = records.sequences["document_id"]
    documents = list(dict.fromkeys(names[records.chosen(arm="real")]))
    rng = statistics_rng(evidence, "examples")
    picks = rng.choice(len(documents), min(N_RANDOM, len(documents)), replace=False)
    chosen = [(documents[i], "chosen at random") for i in picks]
    scores: dict[str, float] = {}
    if comparison is not None:
        test = names[evidence.panel.real[comparison.test_pairs]]
        scores = dict(zip(test, comparison.last.scores_free.max(axis=1).tolist(), strict=True))
        worst = sorted(scores, key=lambda n: -scores[n])[:N_WORST]
        chosen += [(n, "worst: least like real text, of the test half") for n in worst]
    onset = evidence.once(loop_evidence).onset
    looping = [i for i in records.chosen(arm="free") if onset[i] >= 0]
    if looping:
        first = min(looping, key=lambda i: onset[i])
        chosen.append((names[first], f"worst: loops from token {onset[first] + 1}"))
    return tuple(_example(evidence, name, why, scores.get(name), onset) for name, why in chosen)


def _example(
    evidence: Evidence, name: str, why: str, score: float | None, onset: Int[np.ndarray, " sequences"]
) -> Example:
    records = evidence.records
    sequences, log_prob = records.sequences, records.tokens["log_prob_nats"]
    mine = np.flatnonzero(sequences["document_id"] == name).tolist()
    real = next(i for i in mine if sequences["arm"][i] == "real")
    free = [i for i in mine if sequences["arm"][i] == "free"]
    surprisal = {i: f"{-float(np.mean(log_prob[records.rows(i)])):.2f}" for i in (real, *free)}
    facts = [("nats/token, real", surprisal[real]), ("nats/token, own", " and ".join(surprisal[i] for i in free))]
    if score is not None:
        facts.append(("detector's log odds of being generated", f"{score:+.2f}"))
    ended = [i for i in free if sequences["end_reason"][i] == "end_of_text"]
    if ended:
        facts.append(("ended by itself", f"{len(ended)} of {len(free)}"))
    if any(onset[i] >= 0 for i in free):
        facts.append(("loop", ", ".join(f"from token {onset[i] + 1}" for i in free if onset[i] >= 0)))
    return Example(
        document_id=str(name),
        why=why,
        prefix=sequences["prefix_text"][real],
        real=shown_text(evidence, real),
        free=tuple(shown_text(evidence, i) for i in free),
        facts=tuple(facts),
        places=tuple(_place(evidence, i) for i in (real, *free)),
    )


def _place(evidence: Evidence, i: int) -> Place:
    """The token of a text that its law expected least."""
    rows = evidence.records.rows(i)
    log_prob = evidence.records.tokens["log_prob_nats"][rows]
    at = int(np.argmin(log_prob))
    return Place(i, at + 1, shown_text(evidence, i, start=at, stop=at + 1), float(np.exp(log_prob[at])))
