"""vLLM's OpenAI-compatible server: `/v1/completions` with `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.errors import BackendError
from freerun.predictors.servers.answers import (
    Drawn,
    Scores,
    TokenScore,
    check_drawn,
    check_ids,
    check_model,
    check_read,
    field_of,
    id_of,
    list_of,
    log_prob_of,
)
from freerun.predictors.servers.client import SMALL_ANSWER_BYTES, Client
from freerun.predictors.servers.dialect import FIRST_ATTEMPTS, Dialect, Service
from freerun.predictors.servers.faults import BadAnswer
from freerun.predictors.servers.sampling import Settings, Steps


class VLLM(Dialect):
    software = "vLLM"
    steps = Steps("vllm")

    async def introduce(self) -> Service:
        card = await self.client.ask(
            "/v1/models", None, lambda a: _card(a, self.address.model), attempts=FIRST_ATTEMPTS
        )
        if isinstance(card, list):
            raise BackendError(
                f"{self.address.url} does not serve {self.address.model!r}; it serves {', '.join(card) or 'nothing'}"
            )
        version = await self.client.ask("/version", None, lambda a: str(field_of(a, "version")))
        window = card.get("max_model_len")
        folder = card.get("root")
        return Service(
            f"{self.software} {version}",
            self.address.model,
            window=window if isinstance(window, int) else None,
            folder=folder if isinstance(folder, str) else None,
            facts={"root": str(folder), "version": version},
        )

    async def score(self, ids: Sequence[int], first: int) -> Scores:
        body = {
            "model": self.address.model,
            "prompt": list(ids),
            "max_tokens": 1,
            "prompt_logprobs": 0,
            "add_special_tokens": False,
            "return_token_ids": True,
            "stream": False,
            **self.sent(Settings()),
        }
        return await self.client.ask(
            "/v1/completions",
            body,
            lambda answer: prompt_scores(answer, self.address.model, ids, first),
            most_bytes=self.allowed_bytes(len(ids)),
        )

    async def draw(self, ids: Sequence[int], most: int, settings: Settings, seed: int) -> Drawn:
        body = {
            "model": self.address.model,
            "prompt": list(ids),
            "max_tokens": most,
            "logprobs": 1,
            "add_special_tokens": False,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stop_token_ids": list(self.end_ids),
            "skip_special_tokens": False,
            "stream": False,
            "seed": seed,
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
            "top_k": settings.top_k or -1,
            "min_p": settings.min_p,
            "presence_penalty": settings.presence_penalty,
            "frequency_penalty": settings.frequency_penalty,
            "repetition_penalty": settings.repetition_penalty,
            "min_tokens": 0,
            "ignore_eos": False,
        }


def _card(answer: Any, model: str) -> dict[str, Any] | list[str]:
    """What `/v1/models` says of a model; the names of all where it is not among them."""
    cards = [c for c in list_of(answer, "data") if isinstance(c, dict)]
    for card in cards:
        if card.get("id") == model:
            return card
    return [str(c.get("id")) for c in cards]


def prompt_scores(answer: Any, model: str, ids: Sequence[int], first: int) -> Scores:
    """From `choices[0].prompt_logprobs`, one dictionary a position, null first, keyed by id.

    Raises:
        BadAnswer: of other tokens, another model, or incomplete.
    """
    check_model(answer, model)
    check_read(answer, len(ids))
    choice = field_of(answer, "choices", 0)
    entries = choice.get("prompt_logprobs") if isinstance(choice, dict) else None
    if entries is None and isinstance(answer, dict):
        entries = answer.get("prompt_logprobs")
    if not isinstance(entries, list):
        raise BadAnswer("the answer has no prompt_logprobs")
    if len(entries) != len(ids):
        raise BadAnswer(f"prompt_logprobs has {len(entries)} entries for {len(ids)} tokens")
    if entries[0] is not None:
        raise BadAnswer("prompt_logprobs does not begin with null, so its places are not those of the tokens")
    echo = choice.get("prompt_token_ids") if isinstance(choice, dict) else None
    if echo is not None:
        check_ids(echo, ids, "prompt_token_ids")
    return Scores.of([_entry(entries[i], ids[i], f"prompt_logprobs[{i}]") for i in range(first, len(ids))])


def _entry(entry: Any, token_id: int, where: str) -> TokenScore:
    own = entry.get(str(token_id)) if isinstance(entry, dict) else None
    if not isinstance(own, dict):
        raise BadAnswer(f"{where} says nothing of token {token_id}, which was sent there")
    log_prob, rank = log_prob_of(own.get("logprob"), where), own.get("rank")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        return TokenScore(token_id, log_prob)
    return TokenScore.ranked(token_id, log_prob, rank)


def drawn_by_completions(answer: Any, model: str, ids: Sequence[int], most: int, ends: Sequence[int]) -> Drawn:
    """From `choices[0]` of a completion: `token_ids`, or the ids in its log-probabilities, in either layout.

    Raises:
        BadAnswer: no ids, of another prompt or model, incomplete, or an impossible end.
    """
    check_model(answer, model)
    check_read(answer, len(ids))
    choice = field_of(answer, "choices", 0)
    echo = choice.get("prompt_token_ids") if isinstance(choice, dict) else None
    if echo is not None:
        check_ids(echo, ids, "prompt_token_ids")
    logprobs = field_of(choice, "logprobs")
    rows = _chat_rows(logprobs) if isinstance(logprobs, dict) and "content" in logprobs else _rows(logprobs)
    named = choice.get("token_ids")
    if named is not None:
        check_ids([r.token_id for r in rows], [id_of(i, "token_ids") for i in named], "logprobs")
    ended = _ended(choice.get("finish_reason"))
    check_drawn(len(rows), most, ended, bool(rows) and rows[-1].token_id in ends)
    return Drawn(Scores.of(rows), ended)


TOPS = (10_000, 1000, 100, 20, 5, 1)


async def most_named(client: Client, model: str, body: Mapping[str, Any]) -> int:
    """The largest of some numbers of most probable ids that the server agrees to name."""

    def count(answer: Any) -> int:
        check_model(answer, model)
        logprobs = field_of(answer, "choices", 0, "logprobs")
        rows = logprobs.get("top_logprobs") if isinstance(logprobs, dict) and "content" not in logprobs else None
        return len(rows[0] if rows else field_of(logprobs, "content", 0, "top_logprobs"))

    for k in TOPS:
        asked = {**body, "prompt": [0], "max_tokens": 1, "logprobs": k}
        try:
            return await client.ask(
                "/v1/completions", asked, count, most_bytes=SMALL_ANSWER_BYTES + 512 * k, attempts=1, probe=True
            )
        except BackendError:
            continue
    return 0


def _ended(reason: Any) -> bool:
    if reason not in ("stop", "length"):
        raise BadAnswer(f"the text was cut off ({str(reason)[:40]})")
    return bool(reason == "stop")


def _rows(logprobs: Any) -> list[TokenScore]:
    """OpenAI's layout: `tokens`, `token_logprobs`, `top_logprobs`, with ids in place of strings."""
    tokens = list_of(logprobs, "tokens")
    values = list_of(logprobs, "token_logprobs", length=len(tokens))
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    if len(tops) != len(tokens):
        raise BadAnswer(f"top_logprobs has {len(tops)} entries for {len(tokens)} tokens")
    rows = []
    for i, (token, value, top) in enumerate(zip(tokens, values, tops, strict=True)):
        own, log_prob = id_of(token, "logprobs.tokens"), log_prob_of(value, f"token_logprobs[{i}]")
        if not isinstance(top, dict) or not top:
            rows.append(TokenScore(own, log_prob))
            continue
        at = f"top_logprobs[{i}]"
        best, best_value = max(((id_of(k, at), log_prob_of(v, at)) for k, v in top.items()), key=lambda pair: pair[1])
        rows.append(TokenScore.beside(own, log_prob, best, best_value))
    return rows


def _chat_rows(logprobs: Any) -> list[TokenScore]:
    """The chat layout, which llama.cpp's server gives for completions too: `content` with ids."""
    rows = []
    for i, entry in enumerate(list_of(logprobs, "content")):
        at = f"logprobs.content[{i}]"
        own, log_prob = id_of(field_of(entry, "id"), at), log_prob_of(field_of(entry, "logprob"), at)
        top = entry.get("top_logprobs") or []
        if not top:
            rows.append(TokenScore(own, log_prob))
            continue
        best, value = id_of(field_of(top, 0, "id"), at), log_prob_of(field_of(top, 0, "logprob"), at)
        rows.append(TokenScore.beside(own, log_prob, best, value))
    return rows
