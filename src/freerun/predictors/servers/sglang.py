"""SGLang's native `/generate`, with `input_token_logprobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.predictors.servers.answers import (
    Drawn,
    Scores,
    TokenScore,
    check_drawn,
    field_of,
    id_of,
    list_of,
    log_prob_of,
)
from freerun.predictors.servers.dialect import FIRST_ATTEMPTS, Dialect, Service
from freerun.predictors.servers.faults import BadAnswer
from freerun.predictors.servers.sampling import Settings, Steps

MOST_TOPS = 1000
"""Most probable ids that are asked for; there is no cap that the server tells."""
LAST_IDS = 1024
"""So near the vocabulary's end an id may come back as 0; it is then known by its position."""


class SGLang(Dialect):
    software = "SGLang"
    steps = Steps(
        "sglang",
        refused={"repetition_penalty": "it counts the tokens that were written, not those of the prompt"},
        not_together={
            frozenset(
                ("top_k", "top_p", "min_p")
            ): "some of its builds then take top-p from what top-k left, others do not"
        },
    )

    async def introduce(self) -> Service:
        model = await self.client.ask("/get_model_info", None, _object, attempts=FIRST_ATTEMPTS)
        server = await self.client.ask("/get_server_info", None, _object)
        path, version = str(field_of(model, "model_path")), str(server.get("version", ""))
        window = _whole(server, "max_total_num_tokens", "context_length", "max_req_input_len")
        self._n_tokens = _whole(model, "vocab_size") or _whole(server, "vocab_size")
        return Service(
            f"{self.software} {version}".strip(),
            path,
            window=window,
            n_tokens=self._n_tokens,
            folder=str(model.get("tokenizer_path") or path),
            facts={"model_path": path, "version": version, "weights": str(model.get("weight_version", ""))},
        )

    async def score(self, ids: Sequence[int], first: int) -> Scores:
        body = {
            "input_ids": list(ids),
            "sampling_params": {"max_new_tokens": 1, **self.sent(Settings())},
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": 0,
            "stream": False,
        }
        return await self.client.ask(
            "/generate", body, lambda a: self._input(a, ids, first), most_bytes=self.allowed_bytes(len(ids))
        )

    async def draw(self, ids: Sequence[int], most: int, settings: Settings, seed: int) -> Drawn:
        body = {
            "input_ids": list(ids),
            "sampling_params": {
                "max_new_tokens": most,
                "stop_token_ids": list(self.end_ids),
                "sampling_seed": seed % 2**31,
                **self.settings_sent(settings),
            },
            "return_logprob": True,
            "logprob_start_len": -1,
            "top_logprobs_num": 0,
            "stream": False,
        }
        return await self.client.ask(
            "/generate", body, lambda a: self._output(a, len(ids), most), most_bytes=self.allowed_bytes(len(ids) + most)
        )

    def sent(self, settings: Settings) -> Mapping[str, Any]:
        return {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "min_p": settings.min_p,
            "presence_penalty": settings.presence_penalty,
            "frequency_penalty": settings.frequency_penalty,
            "repetition_penalty": 1.0,
            "min_new_tokens": 0,
            "ignore_eos": False,
            "skip_special_tokens": False,
        }

    async def largest_k(self) -> int:
        body = {
            "input_ids": [0],
            "sampling_params": {"max_new_tokens": 1, **self.sent(Settings())},
            "return_logprob": True,
            "top_logprobs_num": MOST_TOPS,
        }
        return await self.client.ask(
            "/generate",
            body,
            lambda a: len(list_of(field_of(_first(a), "meta_info"), "output_top_logprobs", 0)),
            most_bytes=self.allowed_bytes(MOST_TOPS),
        )

    def _input(self, answer: Any, ids: Sequence[int], first: int) -> Scores:
        """From `meta_info.input_token_logprobs`, `[log-prob, id, text]` a position, with a null first."""
        meta = field_of(_first(answer), "meta_info")
        _check_prompt(meta, len(ids))
        entries = list_of(meta, "input_token_logprobs", length=len(ids))
        if field_of(entries, 0, 0) is not None:
            raise BadAnswer("input_token_logprobs does not begin with null, so its places are not those of the tokens")
        for i, sent in enumerate(ids):
            self._check_id(id_of(field_of(entries, i, 1), f"input_token_logprobs[{i}]"), sent, i)
        places = range(first, len(ids))
        return Scores.of([TokenScore(ids[i], log_prob_of(entries[i][0], f"input_token_logprobs[{i}]")) for i in places])

    def _check_id(self, returned: int, sent: int, position: int) -> None:
        last = self._n_tokens is not None and sent >= self._n_tokens - LAST_IDS
        if returned != sent and not (returned == 0 and last):
            raise BadAnswer(f"input_token_logprobs: id {returned} at position {position}, where {sent} was sent")

    def _output(self, answer: Any, n_sent: int, most: int) -> Drawn:
        answer = _first(answer)
        meta = field_of(answer, "meta_info")
        _check_prompt(meta, n_sent)
        rows = []
        for i, entry in enumerate(list_of(meta, "output_token_logprobs")):
            at = f"output_token_logprobs[{i}]"
            rows.append(TokenScore(id_of(field_of(entry, 1), at), log_prob_of(field_of(entry, 0), at)))
        if (named := answer.get("output_ids")) is not None and len(named) == len(rows):
            # the ids beside the log-probabilities may be 0 near the vocabulary's end; these are not
            rows = [
                TokenScore(id_of(i, "output_ids"), r.log_prob_nats) if r.token_id in (i, 0) else _differ(i, r.token_id)
                for i, r in zip(named, rows, strict=True)
            ]
        reason = field_of(meta, "finish_reason")
        kind = reason.get("type") if isinstance(reason, dict) else reason
        if kind not in ("stop", "length"):
            raise BadAnswer(f"the text was cut off ({str(kind)[:40]})")
        check_drawn(len(rows), most, kind == "stop", bool(rows) and rows[-1].token_id in self.end_ids)
        return Drawn(Scores.of(rows), kind == "stop")

    _n_tokens: int | None = None


def _differ(named: Any, scored: int) -> TokenScore:
    raise BadAnswer(f"output_ids has {str(named)[:20]} where output_token_logprobs has {scored}")


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BadAnswer("the answer is not an object")
    return answer


def _whole(answer: Mapping[str, Any], *names: str) -> int | None:
    """The smallest of some numbers that are there."""
    found = [v for n in names if isinstance(v := answer.get(n), int) and not isinstance(v, bool) and v > 0]
    return min(found, default=None)


def _first(answer: Any) -> dict[str, Any]:
    return _object(answer[0] if isinstance(answer, list) and answer else answer)


def _check_prompt(meta: Any, n: int) -> None:
    """Refuse an answer to a prompt of another length."""
    counted = meta.get("prompt_tokens") if isinstance(meta, dict) else None
    if counted is not None and counted != n:
        raise BadAnswer(f"the server read {counted} prompt tokens where {n} ids were sent")
