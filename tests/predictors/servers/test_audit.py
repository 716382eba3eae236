"""Whole audits of served models: faults leave no trace in the records, keys none anywhere, and what cannot be said is not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.errors import BackendError
from freerun.jobs.audit.audit import audit
from freerun.predictors.servers.predictor import ServedModel
from freerun.records.store import RunFolder
from freerun.runs.run import Run
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import CONTENT, TRANSPORT, Fake, serving

SECRET = "sk-never-to-be-seen-1234"
SIZE = {"documents": 24, "prefix": 8, "tokens": 12, "batch": 16}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty texts of random words."""
    rng = random.Random(3)
    words = ["the", "of", "and", "to", "in", "is", "was", "that", "it", "his", "with", "as", "for", "had", "you"]
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [{"text": " ".join(rng.choice(words) for _ in range(40)) + f" {i}."} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def tables(path: Path) -> list[Any]:
    folder = RunFolder(path)
    return [t.to_pylist() for kind in ("sequences", "tokens") for t in folder.parts(kind, None)]


def of_the_model(run: Run) -> dict[str, Any]:
    """All findings but the counts of requests."""
    return {name: finding for name, finding in run.findings.items() if name != "requests"}


def some_faults(seed: int) -> Any:
    """Every request to score or draw fails once or twice, each time in a way of its own."""
    kinds = [k for k in (*CONTENT, *TRANSPORT) if k not in ("hang", "drip", "huge", "no_null_first")]

    def fault(path: str, body: dict[str, Any], attempt: int) -> str | None:
        rng = random.Random(f"{seed} {path} {sorted(map(str, body.items()))} {attempt}")
        if path not in ("/v1/completions", "/generate", "/completion") or attempt >= 2 or rng.random() < 0.2:
            return None
        return rng.choice(kinds)

    return fault


def test_hundreds_of_faults_end_in_the_same_records_as_none(served: Served, corpus: str, tmp_path: Path) -> None:
    quiet, troubled = Fake(), Fake()
    models: list[ServedModel] = [served("vllm", f, trial=True) for f in (quiet, troubled)]
    troubled.attempts.clear()
    troubled.faults = some_faults(1)
    runs = [audit(m, corpus, out=tmp_path / str(i), **SIZE) for i, m in enumerate(models)]  # type: ignore[arg-type]
    noticed = sum(models[1].client.tally.retried.values())
    assert 200 <= noticed <= sum(troubled.injected.values())  # numbers that nobody asked for are not looked at
    assert len(troubled.injected) >= 12
    assert not models[1].client.tally.failed
    assert tables(tmp_path / "0") == tables(tmp_path / "1")
    assert of_the_model(runs[0]) == of_the_model(runs[1])
    requests = [r.findings["requests"] for r in runs]
    assert "none was tried again; none failed" in requests[0]["sentence"]
    assert f"{noticed:,} attempts were tried again" in requests[1]["sentence"].replace(str(noticed), f"{noticed:,}")


def test_one_request_too_many_ends_the_run_and_the_same_command_goes_on(
    served: Served, corpus: str, tmp_path: Path
) -> None:
    fake = Fake()
    model = served("sglang", fake)
    calls = 0

    def later(path: str, body: dict[str, Any], attempt: int) -> str | None:
        nonlocal calls
        calls += path == "/generate"
        return "broken" if calls > 200 else None

    fake.faults = later
    with pytest.raises(
        BackendError, match=r"failed after 8 attempts: HTTP 500 .*before that .*the same command goes on"
    ):
        audit(model, corpus, out=tmp_path / "run", **SIZE)  # type: ignore[arg-type]
    kept = len(list((tmp_path / "run" / "tokens").glob("*.parquet")))
    assert kept >= 1
    fake.faults = lambda path, body, attempt: None
    before = len(fake.seen)
    run = audit(model, corpus, out=tmp_path / "run", **SIZE)  # type: ignore[arg-type]
    whole = audit(model, corpus, out=tmp_path / "whole", **SIZE)  # type: ignore[arg-type]
    assert of_the_model(run) == of_the_model(whole)
    assert "failed in the end, after which" in run.findings["requests"]["sentence"]
    assert run.findings["entropy_rate"]["estimates"]
    assert tables(tmp_path / "run") == tables(tmp_path / "whole")
    assert len(fake.seen) - before < 2 * len(whole.result["findings"]) * 60


def test_the_command_audits_refuses_and_shows_no_key(
    tokenizer: Path, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")
    monkeypatch.setenv("FREERUN_SERVER_KEY", SECRET)
    with serving(Fake(folder=tokenizer)) as fake:
        spec = f"vllm/m@{fake.url},tokenizer=hf/{tokenizer}"
        words = [corpus, "--documents", "24", "--prefix", "8", "--tokens", "12", "--json", "-o", str(tmp_path / "run")]
        assert main(["audit", spec, *words]) == 0
        said = capsys.readouterr()
        assert all(h["authorization"] == f"Bearer {SECRET}" for _, _, h in fake.seen)
        assert main(["predict", spec, "abc"]) == 2
        assert "which predict needs" in capsys.readouterr().err
        assert main(["audit", f"{spec}+null", *words]) == 2
        assert "gives no whole law token by token, which an organism" in capsys.readouterr().err
        fake.faults = lambda path, body, attempt: "forbidden"
        assert main(["audit", spec, *words[:-1], str(tmp_path / "no")]) == 4
        refused = capsys.readouterr().err
        assert "HTTP 401" in refused
    assert SECRET not in said.out + said.err + refused
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert len(files) >= 5
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]
    result = json.loads(said.out)
    findings = {f["name"]: f for f in result["findings"]}
    assert result["own_text"]["sampler_audit"] == "not_measured"
    assert result["own_text"]["rescoring"] == "passed"
    for name in ("self_recognition", "drift", "calibration"):
        assert findings[name]["status"] == "unknown"
        assert "tells no whole laws" in findings[name]["sentence"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    facts = manifest["model"]["facts"]
    assert json.loads(facts["sent for a draw at temperature 1"])["top_k"] == -1
    assert facts["server"] == "vLLM 0.33.0"
    assert manifest["plan"]["end_ids"] == [257]


def test_another_model_under_the_same_name_is_another_run(served: Served) -> None:
    one, two = Fake(), Fake()
    plain = two.answer
    two.answer = lambda path, body: (  # type: ignore[method-assign]
        {"data": [{"id": "m", "max_model_len": 64, "root": "org/other"}]} if path == "/v1/models" else plain(path, body)
    )
    a, b, c = served("vllm", one), served("vllm", two), served("vllm", Fake())
    assert a.identity.fingerprint == c.identity.fingerprint
    assert a.identity.fingerprint != b.identity.fingerprint


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from freerun.specs import provider
    from freerun.specs.spec import load_predictor

    monkeypatch.setattr(provider, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs aiohttp.*pip install 'freerun\[servers\]'$"):
        load_predictor("vllm/m@http://127.0.0.1:9")
