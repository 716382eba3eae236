"""Pairs, plans and references that are small and exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.predictors.base import Predictor
from freerun.predictors.ngram import byte_ngram
from freerun.predictors.reference import Reference, default_reference
from freerun.records.measure import MeasurePlan, measure
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import RunFolder
from freerun.stats.loops.lag_runs import LoopRule
from freerun.text.pairs import Pair, cut_pairs
from freerun.worlds.markov import random_chain


@dataclass(frozen=True)
class Job:
    """Everything that `measure` wants."""

    predictor: Predictor
    pairs: tuple[Pair, ...]
    plan: MeasurePlan
    reference: Reference
    manifest: dict[str, Any]

    def folder(self, path: Path) -> RunFolder:
        folder = RunFolder(path)
        folder.open(self.manifest)
        return folder

    def run(self, folder: RunFolder, **options: Any) -> RunFolder:
        hash_ = self.manifest["plan_hash"]
        measure(
            self.predictor,
            self.pairs,
            plan=self.plan,
            plan_hash=hash_,
            folder=folder,
            reference=self.reference,
            **options,
        )
        return folder


def _manifest(**plan: Any) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "audit",
        "plan": plan,
        "plan_hash": f"hash of {sorted(plan.items())}",
    }


def _job(predictor: Predictor, plan: MeasurePlan) -> Job:
    world = random_chain(8, seed=1)
    corpus = world.corpus(20, 60, seed=2)
    if predictor.n_tokens != world.n_tokens:  # read as text, not as ids
        from dataclasses import replace

        corpus = replace(corpus, documents=tuple(replace(d, ids=None) for d in corpus.documents))
    cut = cut_pairs(
        corpus, predictor.encode, n_documents=18, prefix_tokens=6, continuation_tokens=plan.continuation_tokens, seed=0
    )
    units = {d.unit: [np.array(predictor.encode(d.text))] for d in corpus.documents if d.id in cut.train_documents}
    reference = default_reference(predictor, units, order=2)
    return Job(predictor, cut.pairs, plan, reference, _manifest(tokens=plan.continuation_tokens, batch=plan.batch))


@pytest.fixture(scope="session", params=["markov", "byte ngram"])
def job(request: pytest.FixtureRequest) -> Job:
    """A world that never ends, and a byte model that ends texts of its own and gives impossible tokens no law of their own."""
    plan = MeasurePlan(11, 4, 3, loop_rule=LoopRule(copies=2, min_tokens=3, max_period=4))
    if request.param == "markov":
        return _job(random_chain(8, seed=1), plan)
    texts = [d.text[:9] for d in random_chain(8, seed=1).corpus(30, 20, seed=9).documents]
    return _job(byte_ngram(texts, order=3, name="ngram/3@x"), plan)
