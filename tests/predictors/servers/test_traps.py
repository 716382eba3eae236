"""What servers do silently and nobody asked for: put a token first, ignore what they do not know, answer in another layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError
from freerun.predictors.base import Continuations
from freerun.predictors.servers.predictor import ServedModel, seed_of
from tests.predictors.servers.conftest import AT_ONCE, PROVIDERS, Served
from tests.predictors.servers.fake import N_TOKENS, TABLE, Fake, serving
from tests.predictors.servers.test_dialects import TEXTS, check_scores, expected, texts_of, to_draw
from tests.predictors.servers.test_own_text import SECRET

ASKING = ("/v1/completions", "/generate", "/completion")
NEUTRAL = {
    "vllm": {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "min_tokens": 0,
        "ignore_eos": False,
        "stream": False,
        "add_special_tokens": False,
        "skip_special_tokens": False,
    },
    "sglang": {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "min_new_tokens": 0,
        "ignore_eos": False,
        "skip_special_tokens": False,
    },
    "llama-server": {
        "samplers": ["temperature", "top_k", "top_p"],
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
        "xtc_probability": 0.0,
        "mirostat": 0,
        "post_sampling_probs": False,
        "stream": False,
    },
    "openai": {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stream": False,
        "add_special_tokens": False,
    },
}
"""What switches every step off that a server has by itself."""


def asked_of(fake: Fake) -> Iterator[dict[str, Any]]:
    for path, body, _ in fake.seen:
        if path in ASKING:
            yield body


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_step_that_a_server_takes_by_itself_is_switched_off(provider: str, served: Served) -> None:
    fake = Fake()
    model = served(provider, fake)
    fake.seen.clear()
    texts_of(model, to_draw(3))
    for body in asked_of(fake):
        sent = {**body, **body.get("sampling_params", {})}
        assert {name: sent.get(name) for name in NEUTRAL[provider]} == NEUTRAL[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_token_put_first_behind_our_back_is_never_scored(provider: str, served: Served) -> None:
    """As where a server adds a beginning of text to ids: all log-probabilities are there, each of another context."""
    fake, on = Fake(), False
    plain = fake.answer

    def answer(path: str, body: dict[str, Any]) -> Any:
        said = plain(path, body)
        if on and path in ASKING:
            if "usage" in said:
                said["usage"]["prompt_tokens"] += 1
            elif "tokens_evaluated" in said:
                said["tokens_evaluated"] += 1
            else:
                said["meta_info"]["prompt_tokens"] += 1
        return said

    fake.answer = answer  # type: ignore[method-assign]
    model = served(provider, fake)
    on = True
    for ask in (lambda: model.log_probs([TEXTS[0]], first=1), lambda: texts_of(model, to_draw(3))):
        with pytest.raises(BackendError, match=r"read \d+ .*tokens where \d+ ids were sent"):
            ask()


def test_an_id_that_llama_server_ignores_is_seen(served: Served) -> None:
    """A bias on an id out of range does nothing, and some other token is drawn and scored in its place."""
    model = served("llama-server", Fake())
    with pytest.raises(BackendError, match=rf"id \d+ at position 0, where {N_TOKENS + 3} was sent"):
        model.log_probs([np.array([65, N_TOKENS + 3])], first=1)


def test_a_server_without_echo_scores_nothing(served: Served) -> None:
    """llama.cpp's server behind `openai/…` ignores `echo` and answers in the layout of chats."""
    fake = Fake()
    plain = fake.completions

    def without_echo(body: dict[str, Any]) -> Any:
        answer = plain({**body, "echo": False})
        logprobs = answer["choices"][0]["logprobs"]
        entries = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
        answer["choices"][0]["logprobs"] = {
            "content": [
                {
                    "id": int(token.removeprefix("token_id:")),
                    "logprob": value,
                    "top_logprobs": [
                        {"id": int(k.removeprefix("token_id:")), "logprob": v}
                        for k, v in sorted(top.items(), key=lambda item: -item[1])
                    ],
                }
                for token, value, top in entries
            ]
        }
        return answer

    fake.completions = without_echo  # type: ignore[method-assign]
    model = served("openai", fake)
    with pytest.raises(BackendError, match="the prompt is not echoed with its log-probabilities"):
        model.log_probs([TEXTS[0]], first=1)
    for row, (_, ids, said) in texts_of(model, to_draw(3)).items():  # what it draws is read in that layout all the same
        text = np.array([*TEXTS[row // 2], *ids])
        np.testing.assert_allclose(said, expected(text)[-len(ids) :], atol=1e-12)


def test_a_seed_never_means_any(served: Served) -> None:
    """2³² − 1 makes llama.cpp's server draw from a seed of its own."""
    fake = Fake()
    model = served("llama-server", fake)
    fake.seen.clear()
    todo = Continuations(TEXTS[:1], np.arange(50, dtype=np.uint64)[None], 1)
    list(model.generate(todo))
    seeds = [body["seed"] for body in asked_of(fake) if "seed" in body]
    assert len(set(seeds)) == 50
    assert all(0 <= s < 2**32 - 1 for s in seeds)
    assert len({seed_of(0, key, part) for key in range(50) for part in range(3)}) == 150


def test_a_long_text_goes_in_windows_and_a_crash_asks_for_less_at_once(served: Served) -> None:
    """A server that breaks under many long prompts: half as many run at once, and every number comes in the end."""
    fake = Fake()
    model: ServedModel = served("vllm", fake, options=",at-once=32")
    model.client.limiter.limit = 32

    def breaking(path: str, body: dict[str, Any], attempt: int) -> str | None:
        return "reset" if path in ASKING and fake.running > 4 else None

    fake.faults = breaking
    fake.delay_seconds = 0.002
    texts = [np.array([97 + (i + j) % 20 for j in range(50)]) for i in range(40)]
    check_scores(model, texts)
    assert model.client.limiter.limit < 32
    assert not model.client.tally.failed


@pytest.mark.parametrize("where", ["version", "redirect", "coding"])
def test_a_key_that_a_server_says_back_is_shown_nowhere(where: str, tokenizer: Any) -> None:
    """In what it says of itself, which goes into manifests; and in headers, which go into errors."""
    from freerun.predictors.servers.address import read_address
    from freerun.predictors.servers.loading import load_served

    fake = Fake(folder=tokenizer)
    plain, send = fake.answer, fake.send
    fake.answer = lambda path, body: (  # type: ignore[method-assign]
        {"version": f"1 Bearer {SECRET}"} if path == "/version" else plain(path, body)
    )

    async def saying(writer: Any, data: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        if where == "redirect":
            status, headers = 307, {"Location": f"http://{SECRET}.example/"}
        elif where == "coding":
            headers = {"Content-Encoding": SECRET}
        await send(writer, data, status, headers)

    fake.send = saying  # type: ignore[method-assign]
    with serving(fake):
        address = read_address(
            "vllm", f"m@{fake.url},tokenizer=hf/{tokenizer}", environment={"FREERUN_SERVER_KEY": SECRET}
        )
        if where == "version":
            model = load_served(address, trial=False, patience=AT_ONCE)
            assert SECRET not in f"{model.identity} {model.service}"
            assert "Bearer …" in model.identity.facts["server"]
            model.client.close()
            return
        with pytest.raises(BackendError) as raised:
            load_served(address, trial=False, patience=AT_ONCE)
        assert SECRET not in str(raised.value)
        assert "…" in str(raised.value)


class OneSeed(Fake):
    """It draws from a seed of its own, or a cache before it takes two questions for one."""

    def draws(self, ids: list[int], n: int, body: dict[str, Any], seed: Any) -> tuple[list[int], list[float]]:
        return super().draws(ids, n, body, 7)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_server_whose_seeds_all_give_one_text_is_refused(provider: str, served: Served) -> None:
    with pytest.raises(BackendError, match="two seeds give the same text, so its texts are not independent draws"):
        served(provider, OneSeed(), trial=True)
    served(provider, OneSeed(), trial=True, options=",sampling=server")  # it may be greedy, which is for others to say


@pytest.mark.parametrize("provider", ["vllm", "openai"])
def test_the_answer_to_another_question_is_thrown_away(provider: str, served: Served) -> None:
    """As by a proxy that mixes up its connections."""
    fake = Fake()
    model = served(provider, fake)
    plain, held = fake.answer, []

    def late(path: str, body: dict[str, Any]) -> Any:
        held.append(plain(path, body))
        return held[-2] if len(held) in (2, 4) and path == "/v1/completions" else held[-1]

    fake.answer = late  # type: ignore[method-assign]
    texts = [np.arange(65 + i, 73 + i) for i in range(4)]
    for text in texts:
        (values,) = model.log_probs([text], first=1)
        np.testing.assert_allclose(values, [TABLE[a, b] for a, b in pairwise(text.tolist())], atol=1e-6)
    assert model.client.tally.retried["unusable answer"] == 2
