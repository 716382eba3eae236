"""A server writes, a checkpoint reads: who is held against what, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError, DataError, UsageError
from freerun.jobs.audit.audit import audit, report
from freerun.jobs.grid.single import audit_on
from freerun.jobs.served.drawing import DrawOptions, verify_from
from freerun.jobs.served.writers import read_by
from freerun.jobs.verify.own_run import verify_run
from freerun.predictors.base import Continuations
from freerun.predictors.own_text_from import OwnTextFrom, check_same_tokens
from freerun.predictors.rules import SamplingRule
from freerun.results.audit import AuditResult
from freerun.results.json import from_json
from freerun.runs.executors.pool import Pool
from freerun.specs.spec import LoadOptions
from tests.predictors.servers.checkpoint import Checkpoint, noisy
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import END, Fake, serving
from tests.predictors.servers.test_audit import SECRET, corpus, some_faults, tables

__all__ = ["corpus"]  # a fixture
SIZE: dict[str, Any] = {"documents": 24, "prefix": 8, "tokens": 24, "batch": 16}
ALL = {"temperature": 0.7, "top_k": 8}
"""What the fake server does by itself, where it is told nothing."""


def willing(fake: Fake) -> Fake:
    """A server with a sampler of its own where a request says nothing."""
    plain = fake.draws

    def draws(ids: list[int], n: int, body: dict[str, Any], seed: Any) -> tuple[list[int], list[float]]:
        asked = body if "temperature" in body else {**body, "temperature": ALL["temperature"]}
        return plain(ids, n, asked, seed)

    fake.draws = draws  # type: ignore[method-assign]
    return fake


def own_text(served: Served, fake: Fake, reader: Checkpoint, **options: Any) -> OwnTextFrom:
    return read_by(reader, served("vllm", fake, **options), LoadOptions(), lambda _: None)


def run(tmp_path: Path, both: Any, corpus: str, **more: Any) -> Any:
    done = audit(both, corpus, out=tmp_path, **SIZE, **more)
    return done, from_json(AuditResult, json.loads((tmp_path / "result.json").read_text()))


def test_laws_are_the_readers_and_texts_the_writers(served: Served) -> None:
    both = own_text(served, Fake(), Checkpoint(noisy(0.1)))
    todo = Continuations([np.array([65, 32])], np.arange(4, dtype=np.uint64)[None], 20)
    for sample in both.generate(todo):
        ids = sample.observation.token_id
        text = np.concatenate([[65, 32], ids])
        assert sample.uniform is None
        np.testing.assert_allclose(sample.observation.log_prob_nats, both.reader.log_probs([text], first=2)[0])
        np.testing.assert_allclose(sample.sample_log_prob_nats, both.writer.log_probs([text], first=2)[0])
        assert np.isfinite(sample.observation.entropy_nats).all()
        assert (sample.end_reason == "end_of_text") == (ids[-1] == END)


def test_a_server_of_this_checkpoint_agrees_and_faults_change_nothing(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader computes the same law 0.07 nats off, as another engine does; one of two servers is faulty."""
    monkeypatch.setenv("FREERUN_SERVER_KEY", SECRET)
    quiet, troubled = Fake(), Fake()
    both = [own_text(served, f, Checkpoint(noisy(0.07))) for f in (quiet, troubled)]
    troubled.faults = some_faults(5)
    (done, result), (_, other) = (run(tmp_path / str(i), b, corpus) for i, b in enumerate(both))
    law = result.law_served
    assert law is not None
    assert law.match in ("agrees", "differs_within_floor")
    assert result.own_text.sampler_audit == "passed"
    assert law.gap is not None
    assert law.gap.root_mean_square_nats == pytest.approx(0.07, rel=0.25)
    assert law.n_tokens > 600
    said = " ".join(point.text for point in result.verdict.points)
    assert f"{law.writer} continued each twice for 24 tokens, and the model read that" in said
    assert law.sentence in said
    assert {"match", "cause", "rollout_against_trainer", "requests"} <= set(done.findings)
    assert done.findings["drift"]["status"] != "unknown"
    assert "entropy_rate" not in done.findings
    assert result.plan["own_text_from"]["sends_rule"] is True
    assert json.loads(result.plan["own_text_from"]["sent"])["top_k"] == -1
    assert result.requests is not None
    assert result.requests.answered > 24
    assert report(tmp_path / "0").result == done.result
    # with faults
    assert tables(tmp_path / "0") == tables(tmp_path / "1")
    assert other.law_served is not None
    assert other.law_served == replace(law, writer=other.law_served.writer)
    assert result.requests.retried == {}
    assert other.requests is not None
    assert sum(other.requests.retried.values()) >= 60
    assert other.requests.failed == 0
    assert all(h["authorization"] == f"Bearer {SECRET}" for _, _, h in quiet.seen)
    no_key_in(tmp_path, at_least=20)


def no_key_in(folder: Path, *, at_least: int) -> None:
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert len(files) >= at_least
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]


def test_what_a_server_does_by_itself_is_named(served: Served, corpus: str, tmp_path: Path) -> None:
    both = own_text(served, willing(Fake()), Checkpoint(), options=",sampling=server")
    made, result = run(tmp_path, both, corpus)
    law = result.law_served
    assert law is not None
    assert law.match == "differs"
    later = verify_run(made.path)  # of the run's folder alone: what was found of the server's text
    assert (later.verdict.match, later.cause) == ("differs", law.cause)
    assert law.sentence in later.verdict.sentence
    assert later.verdict.next_step == result.verdict.next_step
    assert law.cause.kind == "rule"
    assert [(s.name, s.value) for s in law.cause.candidate.steps] == [("temperature", 0.7)]  # type: ignore[union-attr]
    assert result.own_text.sampler_audit == "failed"
    assert "is not drawn from this model's law" in result.verdict.sentence
    assert result.verdict.next_step is not None
    assert result.verdict.next_step.type.startswith(f"freerun doctor {law.writer} --against")
    assert result.plan["own_text_from"]["sent"] == "{}"


def test_another_checkpoint_is_no_noise(served: Served, corpus: str, tmp_path: Path) -> None:
    server, draw = served("vllm", Fake()), DrawOptions(documents=40, prefix=8, tokens=24)
    found = verify_from(server, Checkpoint(noisy(1.0)), corpus, draw=draw, out=tmp_path / "v")
    assert found.gap is not None
    assert found.gap.beyond
    assert found.gap.floor_nats == found.gap.most_nats
    assert found.verdict.match == "differs"


def test_a_request_that_fails_for_good_stands_in_the_result_of_the_run_that_went_on(
    served: Served, corpus: str, tmp_path: Path
) -> None:
    fake = Fake()
    both = own_text(served, fake, Checkpoint())
    calls = 0

    def later(path: str, body: dict[str, Any], attempt: int) -> str | None:
        nonlocal calls
        calls += path == "/v1/completions"
        return "broken" if calls > 40 else None

    fake.faults = later
    with pytest.raises(BackendError, match="the same command goes on"):
        run(tmp_path, both, corpus)
    fake.faults = lambda path, body, attempt: None
    both.writer.client.tally = type(both.writer.client.tally)()  # type: ignore[attr-defined]  # as a new process has it
    done, result = run(tmp_path, both, corpus)
    assert result.requests is not None
    assert result.requests.sessions == 2
    failure = result.requests.failures[0]
    assert failure.kind == "HTTP 500"
    assert failure.attempts == 8
    assert "failed in the end, after which the same command went on" in done.findings["requests"]["sentence"]
    assert any(t["name"] == "failed_requests" for t in done.findings["requests"]["tables"])


def test_draws_now_are_verified_and_the_same_call_goes_on(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREERUN_SERVER_KEY", SECRET)
    fake = Fake()
    server = served("vllm", fake)
    draw, out = DrawOptions(documents=40, prefix=8, tokens=24), tmp_path / "v"

    def verified(rule: str, folder: Path) -> Any:
        return verify_from(server, Checkpoint(), corpus, draw=draw, out=folder, declared=rule, seed=1)

    fake.faults = lambda path, body, attempt: "forbidden" if len(fake.seen) > 25 else None
    with pytest.raises(BackendError, match="HTTP 401"):
        verified("t=1", out)
    fake.faults = lambda path, body, attempt: None
    assert len(list((out / "samples").glob("part-*.jsonl"))) == 1
    found = verified("t=1", out)
    assert found.verdict.match == "agrees"
    assert found.gap is not None
    assert found.requests is not None
    assert found.samples.n_completions == 40
    assert (out / "verification" / "report.html").is_file()
    n = len(fake.seen)
    assert verified("t=1", out).verdict == found.verdict
    assert len(fake.seen) == n
    with pytest.raises(DataError, match="holds samples of another server"):
        verified("t=0.5", out)
    fake.processed = True
    cooled = verified("t=0.7", tmp_path / "cooled")
    assert cooled.verdict.match == "agrees"
    assert any(body.get("temperature") == 0.7 for _, body, _ in fake.seen)
    no_key_in(tmp_path, at_least=10)


def test_tokens_that_differ_are_named() -> None:
    class Other(Checkpoint):
        def token_bytes(self, token_id: int) -> bytes:
            return b"?" if token_id == 70 else super().token_bytes(token_id)

    class Longer(Checkpoint):
        def __init__(self) -> None:
            super().__init__()
            self.n_tokens += 1

        def token_bytes(self, token_id: int) -> bytes:
            return b"more" if token_id == self.n_tokens - 1 else super().token_bytes(token_id)

    with pytest.raises(UsageError, match=r"id 70 is b'\?' to the one and b'F' to the other"):
        check_same_tokens(Checkpoint(), Other())
    with pytest.raises(UsageError, match=r"has id 264, b'more'"):
        check_same_tokens(Longer(), Checkpoint())


def test_a_server_without_a_tokenizer_is_tried_on_the_readers() -> None:
    pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")
    fake = Fake()
    plain, shift = fake.answer, 0

    def answer(path: str, body: dict[str, Any]) -> Any:
        if path == "/tokenize":
            return {"tokens": [i + shift for i in body["prompt"].encode()]}
        return plain(path, body)

    fake.answer = answer  # type: ignore[method-assign]
    with serving(fake):
        spec = f"vllm/m@{fake.url},window=64"
        both = read_by(Checkpoint(), spec, LoadOptions(), lambda _: None)
        assert "takes a text apart as the server does" in both.writer.identity.facts["tokenizer"]
        shift = 1
        with pytest.raises(BackendError, match=r"token 0 of a text is id 85 to the server and id 84 \(b'T'\) here"):
            read_by(Checkpoint(), spec, LoadOptions(), lambda _: None)
        fake.answer = plain  # type: ignore[method-assign]
        both = read_by(Checkpoint(), spec, LoadOptions(), lambda _: None)
        assert "the server was not tried on" in both.writer.identity.facts["tokenizer"]
        assert not both.writer.client.tally.failed  # type: ignore[attr-defined]


def test_what_cannot_be_meant_is_refused(served: Served, corpus: str, tmp_path: Path) -> None:
    model = served("vllm", Fake(), options=",sampling=server")
    with pytest.raises(UsageError, match="sampling=server lets the server sample as it does by itself"):
        audit(model, corpus, out=tmp_path / "a", **SIZE)
    with pytest.raises(UsageError, match="gives no whole laws"):
        read_by(model, model, LoadOptions(), lambda _: None)
    for more, words in (
        ({"prefix": 0}, "needs --prefix 1"),
        ({"redact_text": True, "prefix": 16}, "which --redact-text"),
    ):
        with pytest.raises(UsageError, match=words):
            audit(
                Checkpoint(), corpus, out=tmp_path / "b", own_text_from="vllm/m@http://127.0.0.1:9", **{**SIZE, **more}
            )
    both = own_text(served, Fake(), Checkpoint())
    with pytest.raises(UsageError, match=r"the writer .* sees 62"):
        next(both.generate(Continuations([np.arange(40)], np.ones((1, 1), np.uint64), 40)))


def test_a_declared_rule_is_sent_and_held(served: Served) -> None:
    both = own_text(served, Fake(), Checkpoint())
    todo = Continuations([np.array([65])], np.ones((1, 1), np.uint64), 4, sampling=SamplingRule.of(temperature=0.5))
    (sample,) = both.generate(todo)
    assert len(sample.observation.token_id) <= 4


def test_a_server_that_keeps_to_the_declared_rule_is_not_at_fault(served: Served, corpus: str, tmp_path: Path) -> None:
    """Its text is held against that rule; that it is not the law at temperature 1 was asked for."""
    made, result = run(tmp_path / "kept", own_text(served, Fake(), Checkpoint()), corpus, sample_with="t=0.7")
    assert result.law_served is not None
    assert result.law_served.match == "agrees"
    assert result.verdict.status == "neutral"
    assert "agrees with this model's law at temperature 0.7, as declared" in result.verdict.sentence
    (told,) = (f for f in result.findings if f.name == "self_recognition")
    assert "agree with the model's law at temperature 0.7" in told.sentence
    assert told.status == "neutral"
    assert any("as another rule was declared" in card.note for card in result.headline)
    later = verify_run(made.path)
    assert (later.verdict.match, later.verdict.next_step) == ("agrees", None)
    _, result = run(tmp_path / "other", own_text(served, Fake(), Checkpoint()), corpus, sample_with="t=0.7,top_k=2")
    assert result.verdict.status == "neutral"
    stubborn = Fake()
    plain = stubborn.draws
    stubborn.draws = lambda ids, n, body, seed: plain(ids, n, {**body, "temperature": 1.0}, seed)  # type: ignore[method-assign]
    _, result = run(tmp_path / "not", own_text(served, stubborn, Checkpoint()), corpus, sample_with="t=0.7")
    assert result.verdict.status == "bad"
    assert "is not drawn from this model's law at temperature 0.7" in result.verdict.sentence


def test_runs_that_share_a_server_count_their_own_requests(served: Served, corpus: str, tmp_path: Path) -> None:
    both = own_text(served, Fake(), Checkpoint())
    first, second = (run(tmp_path / n, both, corpus)[1].requests for n in ("a", "b"))
    assert 0 < second.answered <= first.answered  # the first counts those of the trial, too
    assert first.answered + second.answered == both.writer.client.tally.answered  # type: ignore[attr-defined]


def test_the_parts_of_several_processes(tmp_path: Path) -> None:
    """A world that writes for itself: the law that was served is read from the same texts, whoever made them."""
    how: dict[str, Any] = {"documents": 24, "prefix": 8, "tokens": 16, "batch": 8, "own_text_from": "world/markov"}
    alone = audit("world/markov", "world/markov", out=tmp_path / "alone", **how)
    other = audit_on(Pool(2), "world/markov", "world/markov", out=tmp_path / "pool", **how)
    assert tables(tmp_path / "alone") == tables(tmp_path / "pool")
    assert other.result["law_served"] == alone.result["law_served"]
    assert other.result["findings"] == alone.result["findings"]
    with pytest.raises(UsageError, match="--own-text-from needs a folder that workers share"):
        audit_on(Pool(2), "world/markov", "world/markov", out=tmp_path / "far", parts="memory://x", **how)
