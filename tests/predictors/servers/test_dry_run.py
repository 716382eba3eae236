"""--dry-run of what a server has a part in: it says how many requests the job then sends, and writes nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.distance import tell_forecast as tell_distance_forecast
from freerun.commands.main import main
from freerun.commands.verify import tell_forecast as tell_verify_forecast
from freerun.errors import UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.dry_run import dry_run as audit_dry_run
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.distance.distance import distance
from freerun.jobs.distance.dry_run import dry_run as distance_dry_run
from freerun.jobs.distance.options import DistanceOptions
from freerun.jobs.served.drawing import DrawOptions, verify_from
from freerun.jobs.served.dry_run import forecast_verify
from tests.predictors.servers.checkpoint import Checkpoint
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import Fake
from tests.predictors.servers.test_audit import corpus
from tests.predictors.servers.test_own_text import own_text

__all__ = ["corpus"]  # a fixture
SIZE: dict[str, Any] = {"documents": 40, "prefix": 8, "tokens": 24}


def test_a_verification_sends_as_many_requests_as_it_said(served: Served, corpus: str, tmp_path: Path) -> None:
    server, draw = served("vllm", Fake()), DrawOptions(**SIZE)
    out, silent = tmp_path / "v", lambda _: None
    forecast = forecast_verify(server, Checkpoint(), corpus, draw=draw, out=out, say=silent)
    assert not out.exists()
    assert forecast.server.texts_to_write == 40
    assert forecast.server.not_measured == ()
    assert json.loads(forecast.server.sent)["temperature"] == 1.0
    before = server.client.tally.answered
    verify_from(server, Checkpoint(), corpus, draw=draw, out=out)
    load = forecast.server
    assert server.client.tally.answered - before == load.requests - load.requests_to_know_it
    again = forecast_verify(server, Checkpoint(), corpus, draw=draw, out=out)
    assert again.server.texts_to_write == again.tokens_to_sample == 0
    said = io.StringIO()
    tell_verify_forecast(forecast, said)
    assert "40 texts to write, 23 texts to score" in " ".join(said.getvalue().split())
    assert "nothing was written" in said.getvalue()
    assert forecast.seconds.high == pytest.approx(sum(s.high for s in forecast.parts_seconds.values()))


def test_a_server_that_scores_nothing_and_one_that_is_told_nothing(served: Served, corpus: str, tmp_path: Path) -> None:
    fake = Fake()
    fake.faults = lambda path, body, attempt: "forbidden" if body.get("prompt_logprobs") is not None else None
    server, draw = served("vllm", fake, options=",sampling=server"), DrawOptions(**SIZE)
    with pytest.raises(Exception, match="HTTP 401"):
        forecast_verify(server, Checkpoint(), corpus, draw=draw, out=tmp_path / "v")
    silent = served("openai", Fake(), options=",sampling=server")
    silent.dialect.scores_texts = False
    forecast = forecast_verify(silent, Checkpoint(), corpus, draw=draw, out=tmp_path / "v")
    assert forecast.server.texts_to_score == 0
    assert forecast.server.sent == "{}"
    assert forecast.declared == "what the server does by itself"


@pytest.mark.parametrize("provider", ["vllm", "llama-server"])
def test_a_distance_sends_as_many_requests_as_it_said(
    provider: str, served: Served, corpus: str, tmp_path: Path
) -> None:
    server, out = served(provider, Fake()), tmp_path / "d"
    forecast = distance_dry_run(server, Checkpoint(), corpus, DistanceOptions(**SIZE), out=out)
    assert not out.exists()
    load = forecast.server
    assert load is not None
    assert load.requests_a_token == (provider == "llama-server")
    assert (load.texts_to_write, load.texts_to_score) == (40, 82)
    before = server.client.tally.answered
    done = distance(server, Checkpoint(), corpus, out=out, **SIZE)
    sent, said = server.client.tally.answered - before, load.requests - load.requests_to_know_it
    if provider == "vllm":
        assert sent == said
    else:  # own texts of the other model may end before their length, and tokens may end within a character
        assert 0.8 * said < sent < 1.2 * said
    assert done.result["plan"]["token_log_probs_only"] is True
    assert forecast.plan_hash == json.loads((out / "manifest.json").read_text())["plan_hash"]
    text = io.StringIO()
    tell_distance_forecast(forecast, text)
    assert "not measured, since a server tells no whole laws: the divergence of single tokens" in " ".join(
        text.getvalue().split()
    )


@pytest.mark.parametrize("reads", [False, True], ids=["itself", "own text from"])
def test_an_audit_sends_as_many_requests_as_it_said(reads: bool, served: Served, corpus: str, tmp_path: Path) -> None:
    options = AuditOptions(**SIZE, batch=16)
    model: Any = own_text(served, Fake(), Checkpoint()) if reads else served("vllm", Fake())
    server = model.writer if reads else model
    server.raw_at_any_temperature = True  # as a trial finds it
    forecast = audit_dry_run(model, corpus, options, out=tmp_path / "a")
    load = forecast.server
    assert load is not None
    assert bool(load.not_measured) == (not reads)
    before = server.client.tally.answered
    done = audit(model, corpus, out=tmp_path / "a", **SIZE, batch=16)
    sent, said = server.client.tally.answered - before, load.requests - load.requests_to_know_it
    assert 0.9 * said <= sent <= 1.1 * said
    unknown = {f["name"] for f in done.result["findings"] if "whole laws" in f["sentence"] and f["status"] == "unknown"}
    assert unknown == (set() if reads else {"drift", "calibration", "self_recognition"})
    assert audit_dry_run("world/markov", "world/markov", replace(options, documents=16)).server is None


def test_what_a_dry_run_is_not_for(served: Served, corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = served("vllm", Fake())
    assert main(["verify", "x.jsonl", "--model", "world/markov", "--dry-run"]) == 2
    assert "it goes with --from SERVED" in capsys.readouterr().err
    with pytest.raises(UsageError, match="vLLM goes by min_p, then top_p"):
        forecast_verify(
            server, Checkpoint(), corpus, draw=DrawOptions(**SIZE), declared="min_p=0.1,top_p=0.9", order="sglang"
        )
