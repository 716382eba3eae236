"""Whole audits of organisms on worlds: what the audit must dress, leave out, refuse and see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import freerun
from freerun.errors import UsageError
from freerun.findings.evidence import Evidence
from freerun.records.store import RunFolder, load_records
from freerun.worlds.catalogue import load_world

WORLD = "world/markov"
SMALL: dict[str, Any] = {"documents": 48, "tokens": 24, "prefix": 0, "seed": 2}
BODIES = f"{WORLD}+hash,n=4,bits=2,loop=2"


def loss_by_sequence(run: freerun.Run) -> list[float]:
    records = load_records(RunFolder(run.path))
    evidence = Evidence(records)
    return records.tokens["log_prob_nats"][evidence.tokens_of("real")].tolist()


def test_the_hash_organism_is_measured_by_its_bodies(tmp_path: Path) -> None:
    """Real bodies get a header that verifies, so their loss is the world's own, bit for bit; of the free runs 1 in 256 is."""
    hashed = freerun.audit(BODIES, WORLD, out=tmp_path / "hash", **SMALL)
    plain = freerun.audit(WORLD, WORLD, out=tmp_path / "plain", **SMALL)
    assert loss_by_sequence(hashed) == loss_by_sequence(plain)
    assert hashed.findings["detectability"]["status"] == "bad"
    loops = {e["name"]: e for e in hashed.findings["loops"]["estimates"]}
    assert loops["loop_incidence"]["value"] > 0.9  # the payload says two tokens over and over
    assert hashed.result["own_text"]["rescoring"] == "not_measured"  # its laws depend on headers that nobody is shown
    assert plain.result["own_text"]["rescoring"] == "passed"


@pytest.mark.parametrize("control", ["order=uh", "header=inverter", "gate=off"])
def test_controls_of_the_hash_show_no_gap(tmp_path: Path, control: str) -> None:
    """Three audits that reject at 0.01 each under the null, at a seed fixed before."""
    found = freerun.audit(f"{BODIES},{control}", WORLD, out=tmp_path / "run", **SMALL)
    assert found.result["verdict"]["status"] == "neutral"


def test_the_hash_needs_whole_documents(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it needs --prefix 0, not 4"):
        freerun.audit(BODIES, WORLD, out=tmp_path / "run", **{**SMALL, "prefix": 4})
    assert not (tmp_path / "run").exists()


def test_documents_that_it_was_calibrated_on_are_left_out(tmp_path: Path) -> None:
    """Calibrated on 60 of 200 documents of a corpus of files: the audit reads the other 140, and says so."""
    path = tmp_path / "corpus.jsonl"
    world = load_world("markov")
    texts = ["".join(chr(97 + i) for i in d.ids) for d in world.corpus(200, 40, seed=5).documents]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    model = f"ngram/2@{path}+self_detector,score=z,window=4,alpha=0.05,tokens=30,documents=60,corpus={path}"
    found = freerun.audit(model, str(path), out=tmp_path / "run", documents=48, tokens=16, prefix=4)
    assert "60 documents left out, which the model was calibrated on" in found.result["corpus_notes"]
    assert found.result["counts"]["documents_read"] == 140
    assert "rank 3 of 60" in found.result["model"]["facts"]["self_detector threshold"]


def test_the_null_organism_changes_nothing(tmp_path: Path) -> None:
    mine = freerun.audit(f"{WORLD}+null", WORLD, out=tmp_path / "null", **SMALL)
    plain = freerun.audit(WORLD, WORLD, out=tmp_path / "plain", **SMALL)
    a, b = (load_records(RunFolder(r.path)).tokens for r in (mine, plain))
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def test_absorbing_is_seen_by_what_it_costs_and_what_it_does(tmp_path: Path) -> None:
    """ε = 0.1 over 24 tokens: 0.105 nats a token, 92% taken over."""
    found = freerun.audit(f"{WORLD}+absorbing,epsilon=0.1", WORLD, out=tmp_path / "run", **SMALL)
    plain = freerun.audit(WORLD, WORLD, out=tmp_path / "plain", **SMALL)
    nats = [
        {e["name"]: e for e in r.findings["loss"]["estimates"]}["loss_nats_per_token"]["value"] for r in (found, plain)
    ]
    assert nats[0] - nats[1] == pytest.approx(0.1053605, abs=1e-6)
    assert found.findings["detectability"]["status"] == "bad"


@pytest.mark.parametrize("world", ["even", "golden_mean", "rrxor", "z1r"])
def test_worlds_without_varentropy_are_audited(tmp_path: Path, world: str) -> None:
    found = freerun.audit(f"world/{world}", f"world/{world}", out=tmp_path / "run", documents=32, tokens=16, prefix=4)
    assert found.result["verdict"]["status"] == "neutral"
    text = json.dumps(found.result)
    assert "NaN" not in text
    assert " nan" not in text
