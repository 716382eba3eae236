"""Any server with OpenAI's `/v1/completions` that gives log-probabilities back; the least that servers agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.errors import BackendError
from freerun.predictors.servers.answers import (
    Drawn,
    Scores,
    TokenScore,
    check_ids,
    check_model,
    check_read,
    field_of,
    id_of,
    list_of,
    log_prob_of,
)
from freerun.predictors.servers.dialect import FIRST_ATTEMPTS, Dialect, Service
from freerun.predictors.servers.faults import BadAnswer
from freerun.predictors.servers.sampling import Settings, Steps
from freerun.predictors.servers.vllm import drawn_by_completions, most_named


class OpenAI(Dialect):
    """Scores by `echo`. Ids are asked for in both ways that are in use (`return_token_ids`, `return_tokens_as_token_ids`)."""

    software = "OpenAI completions"
    steps = Steps(
        "vllm",
        refused=dict.fromkeys(
            ("repetition_penalty", "presence_penalty", "frequency_penalty"),
            "servers with this interface differ in whether the prompt's tokens count",
        ),
        not_together=dict.fromkeys(
            (frozenset(("min_p", "top_k")), frozenset(("min_p", "top_p"))),
            "servers with this interface take them in different orders",
        ),
    )

    async def introduce(self) -> Service:
        names = await self.client.ask("/v1/models", None, _names, attempts=FIRST_ATTEMPTS)
        if self.address.model not in names:
            shown = ", ".join(names[:20]) or "nothing"
            raise BackendError(f"{self.address.url} does not serve {self.address.model!r}; it serves {shown}")
        return Service(self.software, self.address.model, facts={"model": self.address.model})

    async def score(self, ids: Sequence[int], first: int) -> Scores:
        body = {
            "model": self.address.model,
            "prompt": list(ids),
            "max_tokens": 1,
            "echo": True,
            "logprobs": 1,
            "stream": False,
            **_WITH_IDS,
            **self.sent(Settings()),
        }
        return await self.client.ask(
            "/v1/completions",
            body,
            lambda answer: echoed_scores(answer, self.address.model, ids, first),
            most_bytes=self.allowed_bytes(len(ids)),
        )

    async def draw(self, ids: Sequence[int], most: int, settings: Settings, seed: int) -> Drawn:
        body = {
            "model": self.address.model,
            "prompt": list(ids),
            "max_tokens": most,
            "logprobs": 1,
            "stream": False,
            "seed": seed % 2**31,
            **_WITH_IDS,
            **self.settings_sent(settings),
        }
        return await self.client.ask(
            "/v1/completions",
            body,
            lambda answer: drawn_by_completions(answer, self.address.model, ids, most, self.end_ids),
            most_bytes=self.allowed_bytes(len(ids) + most),
        )

    async def largest_k(self) -> int:
        return await most_named(self.client, self.address.model, {"model": self.address.model, **self.sent(Settings())})

    def sent(self, settings: Settings) -> Mapping[str, Any]:
        return {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,  # servers behind this interface have defaults of their own
            "min_p": settings.min_p,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "repetition_penalty": 1.0,
        }


_WITH_IDS = {"return_token_ids": True, "return_tokens_as_token_ids": True, "add_special_tokens": False}


def _names(answer: Any) -> list[str]:
    return [str(c.get("id")) for c in list_of(answer, "data") if isinstance(c, dict)]


def echoed_scores(answer: Any, model: str, ids: Sequence[int], first: int) -> Scores:
    """From the log-probabilities of the echoed prompt: as many as ids were sent, then one of the token that was drawn.

    Raises:
        BadAnswer: of other tokens, another model, or without an echo.
    """
    check_model(answer, model)
    check_read(answer, len(ids))
    choice = field_of(answer, "choices", 0)
    logprobs = field_of(choice, "logprobs")
    if not isinstance(logprobs, dict) or "token_logprobs" not in logprobs:
        raise BadAnswer("the prompt is not echoed with its log-probabilities")
    values = list_of(logprobs, "token_logprobs")
    tokens = list_of(logprobs, "tokens", length=len(values))
    if len(values) not in (len(ids), len(ids) + 1):
        raise BadAnswer(f"token_logprobs has {len(values)} entries for {len(ids)} tokens of an echoed prompt")
    if values[0] is not None:
        raise BadAnswer("token_logprobs does not begin with null, so its places are not those of the tokens")
    if isinstance(echo := choice.get("prompt_token_ids"), list):
        check_ids(echo, ids, "prompt_token_ids")
    if str(tokens[0]).startswith("token_id:"):
        check_ids([id_of(t, "logprobs.tokens") for t in tokens[: len(ids)]], ids, "logprobs.tokens")
    places = range(first, len(ids))
    return Scores.of([TokenScore(ids[i], log_prob_of(values[i], f"token_logprobs[{i}]")) for i in places])
