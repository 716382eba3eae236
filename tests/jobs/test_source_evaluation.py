"""Evaluation on labelled texts: a world whose headers are true gives calibrated numbers, and its control is at chance."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.jobs.source.evaluation import evaluate, labelled_texts
from freerun.jobs.source.file import Sources, parse_sources
from freerun.results.finding import to_json
from freerun.text.documents import Corpus
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import Latent, MixtureWorld

FILE = """
[latent.source]
other = 0.1
templates = ["{source}.", ".{source}", "{source}", "{source}:", ":{source}"]
cues = ["|"]
[[latent.source.value]]
name = "A"
[[latent.source.value]]
name = "B"
"""


def world() -> MixtureWorld:
    """Two chains over `AB.:|abc` that differ a little in the letters and much in which name they write."""
    parts: dict[tuple[str, ...], Any] = {}
    for s, name in enumerate("AB"):
        row = np.array([1e-7, 1e-7, 0.02, 0.02, 0.02, *([0.4, 0.3, 0.2] if s == 0 else [0.3, 0.3, 0.3])])
        row[s] = 0.02
        table = np.tile(row / row.sum(), (8, 1))
        parts[(name,)] = MarkovWorld(table, initial=row / row.sum(), symbols="AB.:|abc")
    return MixtureWorld([Latent("source", ("A", "B"))], parts, name="world/talker")


def letters(n: int, n_tokens: int) -> Corpus:
    """Documents of the world's two chains without their names, labelled."""
    corpus = world().corpus(n, 4 * n_tokens, seed=3)
    kept = []
    for d in corpus.documents:
        ids = tuple(i for i in d.ids or () if i >= 2)[:n_tokens]
        kept.append(replace(d, ids=ids, text="".join("AB.:|abc"[i] for i in ids)))
    return replace(corpus, documents=tuple(kept))


def sources() -> Sources:
    return parse_sources(FILE, "mine.toml")


def test_a_true_posterior_is_found_calibrated() -> None:
    told: list[int] = []
    result = to_json(
        evaluate(
            world(),
            letters(60, 40),
            sources(),
            label_field="source",
            n_documents=60,
            n_tokens=40,
            on_tokens=told.append,
        )
    )
    json.dumps(result, allow_nan=False)
    assert (result["n_documents"], result["n_units"], sum(told)) == (60, 60, 60 * 11 * 40)
    assert result["beta"]["low"] <= 1 <= result["beta"]["high"]
    scores = result["scores"]
    assert scores["header scoring, β = 1"]["accuracy"]["value"] > 0.6
    assert scores["header scoring, β = 1"]["log_score_nats"]["value"] < scores["prior alone"]["log_score_nats"]["value"]
    assert result["permuted_headers"]["mean"] == pytest.approx(0.5, abs=0.05)
    assert result["gain_nats_per_token"]["against_wrong_headers"]["value"] > 0
    assert "may be taken at face value" in result["sentences"][1]
    assert any("training data" in note for note in result["notes"])
    assert len(result["documents"]) == 60


def test_overconfidence_is_seen_and_mended() -> None:
    """The same chains, each token repeated three times and scored as if independent: β comes to about a third."""
    tripled = letters(60, 20)
    documents = tuple(replace(d, ids=tuple(i for i in d.ids or () for _ in range(3))) for d in tripled.documents)
    result = to_json(
        evaluate(
            world(), replace(tripled, documents=documents), sources(), label_field="source", n_documents=60, n_tokens=60
        )
    )
    assert result["beta"]["value"] < 0.7
    assert "too sure of itself" in result["sentences"][1]


def test_the_same_seed_the_same_result() -> None:
    def once(seed: int) -> dict[str, Any]:
        return to_json(
            evaluate(world(), letters(20, 8), sources(), label_field="source", n_documents=12, n_tokens=8, seed=seed)
        )

    assert once(1) == once(1)
    assert [d["id"] for d in once(1)["documents"]] != [d["id"] for d in once(2)["documents"]]


def test_what_is_left_out_is_counted() -> None:
    corpus = letters(30, 10)
    strange = tuple(
        replace(d, meta={"source": "C"}) if i < 3 else replace(d, ids=(d.ids or ())[:5]) if i < 7 else d
        for i, d in enumerate(corpus.documents)
    )
    labelled = labelled_texts(
        world(),
        replace(corpus, documents=strange),
        sources().latents[0],
        label_field="source",
        unit_field=None,
        n_documents=99,
        n_tokens=10,
        seed=0,
    )
    assert len(labelled.documents) == 23
    assert labelled.notes == (
        "4 documents shorter than 10 tokens left out.",
        "3 documents left out whose label no value matches ('C').",
    )


def test_units_may_be_named_by_a_field() -> None:
    corpus = letters(40, 8)
    by_ten = tuple(replace(d, meta={**d.meta, "press": str(i % 10)}) for i, d in enumerate(corpus.documents))
    result = to_json(
        evaluate(
            world(),
            replace(corpus, documents=by_ten),
            sources(),
            label_field="source",
            unit_field="press",
            n_documents=40,
            n_tokens=8,
        )
    )
    assert result["n_units"] == 10


def test_refusals() -> None:
    corpus = letters(20, 8)

    def run(**settings: Any) -> None:
        to_json(evaluate(world(), corpus, sources(), **{"label_field": "source", "n_tokens": 8, **settings}))

    with pytest.raises(UsageError, match="no field 'sauce'; did you mean 'source'"):
        run(label_field="sauce")
    with pytest.raises(UsageError, match="no field 'press'"):
        run(unit_field="press")
    with pytest.raises(UsageError, match="at least one of each"):
        run(n_documents=0)
    with pytest.raises(TooFewDocuments, match="at least 8 units"):
        run(n_documents=5)
    other = replace(corpus, documents=tuple(replace(d, meta={"source": "Z"}) for d in corpus.documents))
    with pytest.raises(DataError, match="'Z'"):
        to_json(evaluate(world(), other, sources(), label_field="source", n_tokens=8))
