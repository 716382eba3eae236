"""The doctor: each defect of a server fails its own check, and what is sound passes all that decide."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.doctor import doctor_lines
from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.jobs.doctor.doctor import doctor
from freerun.jobs.doctor.model import tail_answer
from freerun.jobs.doctor.questions import QUESTIONS
from freerun.results.doctor import Check, DoctorResult
from freerun.results.finding import to_json
from freerun.results.json import from_json
from tests.predictors.servers.conftest import PROVIDERS, Served, served, tokenizer
from tests.predictors.servers.fake import TABLE, Fake, serving

__all__ = ["served", "tokenizer"]  # fixtures


def by_name(result: DoctorResult) -> dict[str, Check]:
    return {c.name: c for c in result.checks}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_sound_server_passes_all_that_decides(provider: str, served: Served) -> None:
    model = served(provider, Fake())
    result = doctor(model)
    checks = by_name(result)
    assert list(checks) == list(QUESTIONS)
    assert result.trusted
    assert {n for n, c in checks.items() if c.outcome == "failed"} <= {"whole_law", "most_probable"}
    assert checks["whole_law"].outcome == "failed"
    assert checks["drawn"].value == pytest.approx(0, abs=1e-12)
    assert checks["drawn"].limit == 0.1
    assert result.requests is not None
    assert result.requests.answered > 80
    assert from_json(DoctorResult, json.loads(json.dumps(to_json(result)))) == result


def test_it_reads_what_the_server_would_do_by_itself(served: Served) -> None:
    seen = {p: by_name(doctor(served(p, Fake())))["defaults"].seen for p in ("vllm", "llama-server")}
    assert seen == {"vllm": "temperature 0.6, top_k 20", "llama-server": "min_p 0.05, temperature 0.8"}


def test_noise_is_not_one_law(served: Served) -> None:
    fake = Fake()
    fake.noise_nats = 0.2
    result = doctor(served("vllm", fake))
    checks = by_name(result)
    assert not result.trusted
    assert {"repeat", "batch", "prefix_cache", "drawn"} <= set(result.unfit_because)
    assert checks["repeat"].value == pytest.approx(
        0.2 * 2 / np.pi**0.5, rel=0.6
    )  # of the difference of two normal errors


def test_cooled_log_probabilities_are_seen_and_forgiven(served: Served) -> None:
    fake = Fake()
    fake.processed = True
    result = doctor(served("vllm", fake))
    assert by_name(result)["temperature"].outcome == "failed"
    assert result.trusted


def test_a_sampler_of_another_law_is_seen(served: Served) -> None:
    """A server that cools whatever it is told, and says so in its log-probabilities."""
    fake = Fake()
    fake.processed = True
    plain = fake.draws
    fake.draws = lambda ids, n, body, seed: plain(ids, n, {**body, "temperature": 0.5}, seed)  # type: ignore[method-assign]
    result = doctor(served("sglang", fake))
    assert result.unfit_because == ("drawn", "tail")


def test_a_sampler_that_cuts_its_tail_off_is_seen(served: Served) -> None:
    fake = Fake()
    plain = fake.draws

    def cut(ids: list[int], n: int, body: dict[str, Any], seed: Any) -> tuple[list[int], list[float]]:
        if body.get("temperature") == 0:
            return plain(ids, n, body, seed)
        low = {int(i): -1e9 for i in np.flatnonzero(TABLE[ids[-1]] < TABLE[ids[-1]].max() - 2)} if n == 1 else {}
        return plain(ids, n, {**body, "logit_bias": list(map(list, low.items()))}, seed)

    assert by_name(doctor(served("vllm", Fake())))["tail"].outcome == "passed"
    fake.draws = cut  # type: ignore[method-assign]
    assert by_name(doctor(served("vllm", fake)))["tail"].outcome == "failed"


def test_draws_that_come_again_have_an_exact_null_and_a_stated_power() -> None:
    """Simulated: 300 honest samplers at the level 0.001 (three or more alarms: probability 0.004), and a cut just as large as is
    said
    to show with 80% power (of 100, fewer than 65: probability 0.0002)."""
    rng = np.random.default_rng(20261127)
    law = rng.dirichlet(np.full(200, 0.05))

    def draws(kept: float) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(-law)
        inside = order[: int(np.searchsorted(np.cumsum(law[order]), kept) + 1)]
        drawn = rng.choice(inside, 256, p=law[inside] / law[inside].sum())
        seen: set[int] = set()
        again, mass = [], []
        for i in drawn.tolist():
            again.append(i in seen)
            mass.append(min(1.0, float(sum(law[j] for j in seen))))
            seen.add(i)
        return np.array(again), np.array(mass)

    honest = [tail_answer(*draws(1.0)) for _ in range(300)]
    assert sum(not a.passed for a in honest) <= 2
    shown = float(re.search(r"less than ([\d.]+) of", honest[0].seen)[1])  # type: ignore[index]
    assert 0.8 < shown < 0.99
    assert sum(not tail_answer(*draws(shown)).passed for _ in range(100)) >= 65


def test_something_put_first_behind_our_back_is_seen(served: Served) -> None:
    fake = Fake()
    plain = fake.completions

    def more(body: dict[str, Any]) -> Any:
        return plain(body) | {"usage": {"prompt_tokens": len(body["prompt"]) + 1}}

    fake.completions = more  # type: ignore[method-assign]
    result = doctor(served("vllm", fake))
    assert "scores" in result.unfit_because
    assert "read 17 prompt tokens where 16 ids were sent" in by_name(result)["scores"].seen


def test_what_needs_scores_is_left_open_where_there_are_none(served: Served) -> None:
    fake = Fake()
    fake.faults = lambda path, body, attempt: "number" if body.get("prompt_logprobs") is not None else None
    result = doctor(served("vllm", fake))
    checks = by_name(result)
    assert result.unfit_because == ("scores", "writes")[:1]
    assert checks["batch"].outcome == "not_tested"
    assert checks["batch"].seen == "it scores no text"


def test_a_model_of_this_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "world/markov,seed=1", "--against", "world/markov,seed=2", "--json"]) == 0
    result = from_json(DoctorResult, json.loads(capsys.readouterr().out))
    checks = by_name(result)
    assert result.trusted
    assert checks["whole_law"].value == pytest.approx(1)
    assert checks["prefix_cache"].outcome == "not_tested"
    assert result.against is not None
    assert result.against.kl_nats is not None
    assert result.against.kl_nats > 0


def test_against_itself_nothing_differs_and_against_another_kl_is_exact() -> None:
    same = doctor("world/markov,seed=1", against="world/markov,seed=1").against
    assert same is not None
    assert same.mean_absolute_nats == same.largest_nats == same.kl_nats == 0
    with pytest.raises(UsageError, match="name the one to examine first"):
        doctor(against="world/markov")
    with pytest.raises(UsageError, match="does not share the tokens"):
        doctor("world/even", against="world/markov")


def test_the_command_ends_with_4_where_a_backend_cannot_be_trusted(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")
    fake = Fake(folder=tokenizer)
    with serving(fake):
        spec = f"vllm/m@{fake.url},tokenizer=hf/{tokenizer}"
        assert main(["doctor", spec]) == 0
        sound = capsys.readouterr().out
        fake.noise_nats = 0.2
        assert main(["doctor", spec]) == 4
        noisy = capsys.readouterr().out
        texts = tmp_path / "texts.jsonl"
        texts.write_text(
            "\n".join(json.dumps({"text": f"text {i} of forty that say almost nothing"}) for i in range(40))
        )
        assert main(["audit", spec, str(texts), "--documents", "16"]) == 4
        assert "so it has no law to audit; `freerun doctor" in capsys.readouterr().err
    assert "✓ Are two answers to one question the same?" in sound
    assert "An audit of this backend measures what it says" in sound
    assert "✗ Are two answers to one question the same?" in noisy
    assert "cannot be trusted with an audit (repeat" in noisy


def test_without_a_model_it_examines_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    result = from_json(DoctorResult, json.loads(capsys.readouterr().out))
    checks = by_name(result)
    assert result.schema_version == 1
    assert result.model is None
    assert checks["python"].outcome == checks["core"].outcome == checks["runs"].outcome == "passed"
    assert " ".join(doctor_lines(result, width=80)[-2:]).startswith("Ready.")
    assert {"devices", "kernels", "cache", "extra_hf"} <= set(checks)


def test_what_is_missing_or_too_old_is_named_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from freerun.jobs.doctor import installation

    versions = {"torch": "2.5.1+cpu", "aiohttp": "3.11.0", "vllm": "0.34.0"}
    needs = [
        "numpy>=1",
        "torch>=2.6; extra == 'hf'",
        "aiohttp>=3.11; extra == 'servers'",
        "vllm>=0.30,<0.34; extra == 'vllm'",
        "no-such-thing>=4; extra == 'corpora'",
    ]
    monkeypatch.setattr(installation.importlib.metadata, "requires", lambda _: needs)
    plain = installation.importlib.metadata.version
    monkeypatch.setattr(installation.importlib.metadata, "version", lambda name: versions.get(name) or plain(name))
    checks = by_name(doctor())
    assert checks["extra_servers"].outcome == "passed"
    assert checks["extra_servers"].meaning == "models behind servers"
    for extra, seen in (
        ("hf", "torch is 2.5.1+cpu, wanted >=2.6"),
        ("vllm", "vllm is 0.34.0, wanted >=0.30, <0.34"),
        ("corpora", "no-such-thing is missing"),
    ):
        assert checks[f"extra_{extra}"].outcome == "not_tested"
        assert checks[f"extra_{extra}"].seen == seen
        assert checks[f"extra_{extra}"].meaning.endswith(f": pip install 'freerun[{extra}]'")
    needs[0] = "numpy>=99"
    assert doctor().unfit_because == ("core",)


def test_a_folder_that_cannot_be_written_to_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from freerun.jobs.doctor import installation

    def refuse(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(installation.tempfile, "TemporaryFile", refuse)
    result = doctor()
    assert result.unfit_because == ("runs",)
    assert by_name(result)["cache"].outcome == "failed"
