"""Sampling rules that servers are told: what is sent, what they do with it, and which rules each cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.jobs.served.drawing import DrawOptions, prepare_draws, verify_from
from freerun.predictors.rules import SamplingRule, TopK, TopP
from freerun.predictors.servers.llama_server import LlamaServer
from freerun.predictors.servers.openai import OpenAI
from freerun.predictors.servers.sampling import Settings
from freerun.predictors.servers.sglang import SGLang
from freerun.predictors.servers.vllm import VLLM
from tests.predictors.servers.checkpoint import Checkpoint
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import Fake
from tests.predictors.servers.test_audit import corpus

__all__ = ["corpus"]  # a fixture
DRAW = DrawOptions(documents=32, prefix=8, tokens=20)


def declared(text: str, order: str = "vllm") -> SamplingRule:
    return SamplingRule.declared(text, order=order)


@pytest.mark.parametrize(
    ("provider", "rule", "order"),
    [
        ("vllm", "t=0.8,min_p=0.05,top_k=20,top_p=0.9", "vllm"),
        ("vllm", "repetition_penalty=1.3,presence_penalty=0.5,frequency_penalty=0.3", "vllm"),
        ("sglang", "t=0.8,top_p=0.9,min_p=0.05", "sglang"),
        ("sglang", "t=0.8,top_k=4,top_p=0.7", "sglang"),
        ("sglang", "presence_penalty=0.5,frequency_penalty=0.3,top_k=20", "sglang"),
        ("llama-server", "top_k=20,min_p=0.1,t=1.3", "llama.cpp"),
        ("llama-server", "repetition_penalty=1.3,t=0.8,min_p=0.05", "vllm"),
        ("openai", "t=0.8,min_p=0.05", "vllm"),
    ],
)
def test_what_a_server_is_told_is_what_it_is_held_to(
    provider: str, rule: str, order: str, served: Served, corpus: str, tmp_path: Path
) -> None:
    """The fake takes every server's steps in that server's way; what it drew is verified against the rule."""
    fake = Fake()
    server = served(provider, fake)
    how: dict[str, Any] = {"declared": rule, "order": order, "seed": 2, "cause_tokens": 256}
    found = verify_from(server, Checkpoint(), corpus, draw=DRAW, out=tmp_path / "v", **how)
    assert found.verdict.match == "agrees", found.verdict.sentence
    rows = [json.loads(x) for p in (tmp_path / "v" / "samples").iterdir() for x in p.read_text().splitlines()]
    assert all(row["sampling"] == rows[0]["sampling"] for row in rows)
    assert rows[0]["sampling"] == json.loads(server.sent_for(declared(rule, order)))


@pytest.mark.parametrize(
    ("provider", "rule"),
    [("vllm", "repetition_penalty=1.3"), ("llama-server", "min_p=0.05")],
)
def test_a_server_that_takes_no_notice_is_seen(
    provider: str, rule: str, served: Served, corpus: str, tmp_path: Path
) -> None:
    fake = Fake()
    server = served(provider, fake)
    fake.draws = ignoring(fake, rule.partition("=")[0])  # type: ignore[method-assign]
    how: dict[str, Any] = {"declared": rule, "seed": 2, "cause_tokens": 256}
    found = verify_from(server, Checkpoint(), corpus, draw=DRAW, out=tmp_path / "v", **how)
    assert found.verdict.match == "differs"


def ignoring(fake: Fake, *names: str) -> Any:
    """A server that takes no notice of some settings."""
    plain = fake.draws

    def draws(ids: list[int], n: int, body: dict[str, Any], seed: Any) -> Any:
        return plain(ids, n, {k: v for k, v in body.items() if k not in names}, seed)

    return draws


def test_the_numbers_and_names_that_are_sent() -> None:
    rule = declared("repetition_penalty=1.1,t=0.7,min_p=0.05")
    settings = VLLM.steps.settings(rule, "vLLM")
    assert settings == Settings(
        0.7, min_p=0.05, repetition_penalty=1.1, steps=("repetition_penalty", "temperature", "min_p")
    )
    sent = LlamaServer.sent(object.__new__(LlamaServer), settings)
    assert sent["samplers"] == ["penalties", "temperature", "min_p"]
    assert (sent["repeat_penalty"], sent["repeat_last_n"], sent["min_p"]) == (1.1, 1 << 15, 0.05)
    plain = LlamaServer.sent(object.__new__(LlamaServer), Settings())
    assert plain["samplers"] == ["temperature", "top_k", "top_p"]
    assert "repeat_last_n" not in plain
    assert VLLM.sent(object.__new__(VLLM), settings)["repetition_penalty"] == 1.1
    turned = LlamaServer.steps.settings(declared("top_k=5,t=2", "llama.cpp"), "llama.cpp")
    assert LlamaServer.sent(object.__new__(LlamaServer), turned)["samplers"] == ["top_k", "temperature"]


@pytest.mark.parametrize(
    ("kind", "rule", "order", "words"),
    [
        (VLLM, "top_p=0.9,min_p=0.1", "sglang", "vLLM goes by min_p, then top_p, .* takes --order vllm"),
        (VLLM, "t=0.7,top_k=5", "llama.cpp", "vLLM goes by temperature, then top_k"),
        (SGLang, "min_p=0.1,top_p=0.9", "vllm", "SGLang goes by top_p, then min_p, .* takes --order sglang"),
        (SGLang, "top_k=5,top_p=0.9,min_p=0.1", "sglang", "cannot be told min_p and top_k and top_p together"),
        (
            SGLang,
            "repetition_penalty=1.1",
            "sglang",
            "cannot be told this repetition_penalty: it counts the tokens that",
        ),
        (LlamaServer, "presence_penalty=1", "vllm", "cannot be told this presence_penalty: it counts the prompt's"),
        (LlamaServer, "frequency_penalty=1", "vllm", "llama.cpp cannot be told this frequency_penalty"),
        (LlamaServer, "t=0.7,repetition_penalty=1.1", "typed", "takes penalties before all else"),
        (OpenAI, "repetition_penalty=1.1", "vllm", "differ in whether the prompt's tokens count"),
        (OpenAI, "min_p=0.1,top_p=0.9", "vllm", "min_p and top_p together: .*different orders"),
    ],
)
def test_a_rule_that_a_server_cannot_be_told_is_refused_by_name(kind: Any, rule: str, order: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kind.steps.settings(declared(rule, order), kind.software)


def test_a_step_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="top_k once"):
        LlamaServer.steps.settings(SamplingRule((TopK(9), TopP(0.9), TopK(5))), "llama.cpp")


def test_it_is_refused_before_anything_is_drawn(
    served: Served, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenizer: Path
) -> None:
    fake = Fake()
    server = served("sglang", fake)
    with pytest.raises(UsageError, match="together"):
        prepare_draws(server, Checkpoint(), corpus, draw=DRAW, declared="top_k=5,top_p=0.9,min_p=0.1", order="sglang")
    n = sum("input_ids" in body for _, body, _ in fake.seen)
    words = ["verify", corpus, "--from", f"sglang/m@{fake.url},tokenizer=hf/{tokenizer}", "--model", "world/markov"]
    assert (
        main([*words, "--declared", "top_k=5,top_p=0.9,min_p=0.1", "--order", "sglang", "-o", str(tmp_path / "v")]) == 2
    )
    assert n == sum("input_ids" in body for _, body, _ in fake.seen)
    assert not (tmp_path / "v").exists()
