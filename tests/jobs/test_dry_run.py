"""--dry-run: what it says is what the run then does, and nothing is written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.dry_run import MARGIN, dry_run
from freerun.jobs.audit.options import AuditOptions
from freerun.predictors.law import Dense, Law
from freerun.predictors.stepwise import Stepwise
from freerun.results.forecast import Span
from freerun.worlds.catalogue import load_world

WORLD = "world/markov"


class Slow(Stepwise[np.ndarray]):
    """A law of five tokens that takes 4 ms a step, whatever the rows: time that can be foretold by hand."""

    def __init__(self) -> None:
        world = load_world("markov")
        self.identity, self.capabilities, self.context = world.identity, world.capabilities, world.context
        self.n_tokens, self.end_ids = world.n_tokens, world.end_ids
        self.world = world

    def encode(self, text: str) -> Sequence[int]:
        return self.world.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.world.token_bytes(token_id)

    def start(self, prefixes: Any) -> np.ndarray:
        return np.zeros(len(prefixes))

    def law(self, state: np.ndarray) -> Law:
        time.sleep(0.004)
        return Dense(np.zeros((len(state), self.n_tokens)))

    def advance(self, state: np.ndarray, ids: Any) -> np.ndarray:
        return state

    def select(self, state: np.ndarray, rows: Any) -> np.ndarray:
        return state[rows]

    def nbytes(self, state: np.ndarray) -> int:
        return 1000 * len(state)


def test_nothing_is_written_and_the_numbers_are_the_plans(tmp_path: Path) -> None:
    options = AuditOptions(documents=20, prefix=4, tokens=12, batch=8)
    found = dry_run(WORLD, WORLD, options, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert (found.tokens_to_score, found.tokens_to_score_without_prefix) == (20 * 12, 20 * 12)
    assert found.tokens_to_sample == 20 * 12 * 3
    assert found.tokens_to_score_again == 16 * 12
    assert found.tokens_found == 0
    made = audit(WORLD, WORLD, out=tmp_path / "run", documents=20, prefix=4, tokens=12, batch=8)
    assert json.loads((made.path / "manifest.json").read_text())["plan_hash"] == found.plan_hash
    size = sum(p.stat().st_size for p in made.path.rglob("*") if p.is_file())
    assert found.disk_bytes.low < size < found.disk_bytes.high
    again = dry_run(WORLD, WORLD, options, out=tmp_path / "run")
    assert again.tokens_found == 20 * 12 * 4
    assert again.parts_seconds["sampling"] == again.parts_seconds["scoring again"] == Span(0.0, 0.0)


def test_the_range_holds_what_the_steps_cost() -> None:
    """128 free rows in 2 blocks of 64: 2 × 32 steps of 4 ms. A busy machine only sleeps longer, which the bounds allow."""
    options = AuditOptions(documents=64, prefix=4, tokens=32, batch=64)
    found = dry_run(Slow(), WORLD, options)
    sampling = found.parts_seconds["sampling"]
    assert sampling.low <= 2 * 32 * 0.004 * 5
    assert sampling.high >= 2 * 32 * 0.004 * MARGIN[0]
    assert found.seconds.low == pytest.approx(sum(p.low for p in found.parts_seconds.values()))
    assert found.seconds.high == pytest.approx(sum(p.high for p in found.parts_seconds.values()))
    assert found.memory_bytes.high > found.memory_bytes.low > 64 * 1000


def test_costs_follow_documents_and_length() -> None:
    """Four times the tokens, about four times the forecast. The band allows a machine three times as fast or slow in between."""
    few = dry_run(Slow(), WORLD, AuditOptions(documents=64, prefix=4, tokens=32))
    more = dry_run(Slow(), WORLD, AuditOptions(documents=128, prefix=4, tokens=64))
    ratio = more.parts_seconds["sampling"].low / few.parts_seconds["sampling"].low
    assert 1.2 < ratio < 13.0
    assert more.disk_bytes.high > few.disk_bytes.high


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["audit", WORLD, WORLD, "--documents", "16", "--prefix", "4", "--tokens", "8", "--dry-run"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema_version"] == 1
    assert told["kind"] == "forecast"
    assert told["seconds"]["low"] < told["seconds"]["high"]
    assert told["folder"].startswith("runs/world-markov")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "128 to score, 128 of them again without their prefix; 384 to sample" in said
    assert "nothing was written" in said
    assert list(tmp_path.iterdir()) == []


def test_what_the_audit_refuses_is_refused() -> None:
    with pytest.raises(UsageError, match="--batch must be at least 1"):
        dry_run(WORLD, WORLD, AuditOptions(batch=0))


@pytest.mark.model
def test_the_forecast_covers_a_real_run(tmp_path: Path, smollm: Any) -> None:
    """16 documents × 16 tokens of the 135M model: seconds, memory and disk lie in the ranges that were said before."""
    import resource

    options: dict[str, Any] = {"documents": 16, "prefix": 16, "tokens": 16}
    found = dry_run(smollm, "builtin/python-docs", AuditOptions(**options), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    from freerun.text.corpora import read_corpus

    corpus = read_corpus("builtin/python-docs")
    began = time.monotonic()
    made = audit(smollm, corpus, out=tmp_path / "run", **options)
    seconds = time.monotonic() - began
    # a shared machine may get twice as fast or slow between the two
    assert found.seconds.low / 2 < seconds < found.seconds.high * 2
    size = sum(p.stat().st_size for p in made.path.rglob("*") if p.is_file())
    assert found.disk_bytes.low < size < found.disk_bytes.high
    assert found.memory_bytes.low < 1.1 * 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
