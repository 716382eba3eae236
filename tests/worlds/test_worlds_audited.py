"""Whole audits of exact worlds: a perfect predictor shows no gap, a mixture against its component shows the source gap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.worlds.catalogue import load_world
from freerun.worlds.mixture import MixtureWorld
from studies.source_gap.gap import source_gap


def test_a_perfect_predictor_shows_no_gap(tmp_path: Path) -> None:
    """Fails with probability 0.011 under the null (detected at 0.01, sampler's audit at 0.001), at a seed fixed before. The other
    worlds were audited the same way when this was written and took too long to stay; test_every_world tests their samplers."""
    found = freerun.audit("world/authors", "world/authors", out=tmp_path / "run", documents=64, tokens=16)
    assert found.result["verdict"]["status"] == "neutral"
    assert "finds no difference" in found.verdict
    assert found.findings["self_recognition"]["status"] == "good"


def test_a_mixture_is_told_from_its_component_up_to_the_source_bound(tmp_path: Path) -> None:
    """From the start π_0 = ½, so no detector has an AUC above ¾, and the best has nearly that at 24 tokens. 32 test documents: a
    standard error of 0.06, so an interval above ¾ has probability below 0.025, and one below 0.6 less than 0.01."""
    found = freerun.audit(
        "world/authors",
        "world/authors,publication=onion",
        out=tmp_path / "run",
        documents=64,
        tokens=24,
        prefix=0,
        seed=1,
    )
    estimates = {e["name"]: e for e in found.findings["detectability"]["estimates"]}
    last = estimates["auc_last"]
    assert found.findings["detectability"]["status"] == "bad"
    world = load_world("authors")
    assert isinstance(world, MixtureWorld)
    documents = [np.array(d.ids) for d in load_world("authors,publication=onion").corpus(64, 25, seed=1).documents]
    bound = source_gap(world, {"publication": "onion"}, documents).auc_at_most
    assert bound == pytest.approx(0.75)
    assert last["low"] <= bound
    assert last["high"] > 0.6
    assert last["low"] > 0.5
