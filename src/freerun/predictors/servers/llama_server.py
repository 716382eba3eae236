"""llama.cpp's server: `/completion`, one request a token where a text is scored.

It gives no log-probabilities of a prompt. It does give the log-probability, before any bias and sampler, of a token that it is
made to draw: so a token is scored by a request that leaves the server no other choice. What it computed of the tokens before stays
in one of its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from freerun.predictors.servers.answers import (
    Drawn,
    Scores,
    TokenScore,
    check_drawn,
    check_ids,
    check_model,
    field_of,
    id_of,
    list_of,
    log_prob_of,
)
from freerun.predictors.servers.dialect import FIRST_ATTEMPTS, Dialect, Service
from freerun.predictors.servers.faults import BadAnswer
from freerun.predictors.servers.sampling import Settings, Steps

T = TypeVar("T")

FORCED = 1e6
"""A logit bias that leaves no other choice."""
WIDTHS = (512, 8192)
"""How many of the most probable ids are asked for where an id is shown only among others; then all."""
LONGEST = 1 << 15
"""Tokens that a penalty looks back on, where the server does not say how many its context holds."""
BYTES_AN_ID = 512
"""Most bytes of an answer for each id of a law."""


class LlamaServer(Dialect):
    software = "llama.cpp"
    steps = Steps(
        "llama.cpp",
        chooses_order=True,
        refused=dict.fromkeys(
            ("presence_penalty", "frequency_penalty"), "it counts the prompt's tokens, too, not only those written"
        ),
    )
    requests_a_token = True

    async def introduce(self) -> Service:
        props = await self.client.ask("/props", None, _object, attempts=FIRST_ATTEMPTS)
        (card,) = list_of(await self.client.ask("/v1/models", None, _object), "data")[:1] or [{}]
        meta = card.get("meta") or {}
        self._slots = list(range(int(props.get("total_slots") or 1)))
        self.most_at_once = len(self._slots)
        defaults = field_of(props, "default_generation_settings")
        self._window = _whole(defaults.get("n_ctx"))
        self._model = str(props.get("model_alias") or card.get("id"))
        self._n_tokens = int(meta["n_vocab"]) if meta.get("n_vocab") else 0
        build = str(props.get("build_info", ""))
        kept = ("n_params", "size", "n_vocab", "n_embd", "ftype")
        return Service(
            f"{self.software} {build}".strip(),
            self._model,
            window=self._window,
            n_tokens=self._n_tokens or None,
            folder=str(props["model_path"]) if props.get("model_path") else None,
            facts={"build": build, **{k: str(meta[k]) for k in kept if k in meta}},
            own_defaults=_numbers(defaults.get("params") or defaults),
        )

    # ---- scoring -----------------------------------------------------------------------------------------------------

    async def score(self, ids: Sequence[int], first: int) -> Scores:
        slot = self._slots.pop() if self._slots else -1
        try:
            rows = [await self.score_token(ids[:i], ids[i], slot) for i in range(first, len(ids))]
        finally:
            if slot >= 0:
                self._slots.append(slot)
        return Scores.of(rows)

    async def score_token(self, before: Sequence[int], token_id: int, slot: int = -1) -> TokenScore:
        """One token after others."""
        if cut_short(self.bytes_of(token_id)):
            return await self._score_hidden(before, token_id, slot)
        return await self._forced(before, token_id, slot, 1, lambda entry: _row(entry, token_id))

    async def _score_hidden(self, before: Sequence[int], token_id: int, slot: int) -> TokenScore:
        """A token that ends within a character: the server shows none when it draws it, so it is looked up among the others."""
        for width in (*WIDTHS, self._n_tokens):
            found = await self._forced(
                before, self.whole_character, slot, width, lambda entry: _listed(entry, token_id)
            )
            if found is not None:
                return found
        raise BadAnswer(f"token {token_id} is not among the {self._n_tokens} ids of the law")

    async def _forced(
        self, before: Sequence[int], token_id: int, slot: int, n_probs: int, read: Callable[[Any], T]
    ) -> T:
        """What `read` makes of the one entry of the log-probabilities where a token is drawn for sure."""
        body = {
            "prompt": list(before),
            "n_predict": 1,
            "n_probs": n_probs,
            "logit_bias": [[token_id, FORCED]],
            "id_slot": slot,
            **_ALWAYS,
            **self.sent(Settings(temperature=0.0)),
        }

        def checked(answer: Any) -> T:
            self._check(answer, before)
            check_ids(list_of(answer, "tokens"), [token_id], "tokens")
            (entry,) = list_of(answer, "completion_probabilities", length=1)
            if id_of(field_of(entry, "id"), "completion_probabilities") != token_id:
                raise BadAnswer(f"the log-probability of token {entry['id']} came back, where {token_id} was forced")
            return read(entry)

        most = self.allowed_bytes(len(before)) + BYTES_AN_ID * n_probs
        return await self.client.ask("/completion", body, checked, most_bytes=most)

    # ---- drawing -----------------------------------------------------------------------------------------------------

    async def draw(self, ids: Sequence[int], most: int, settings: Settings, seed: int) -> Drawn:
        body = {
            "prompt": list(ids),
            "n_predict": most,
            "n_probs": 1,
            "seed": seed % (2**32 - 1),  # the last one means "any"
            **_ALWAYS,
            **self.settings_sent(settings),
        }
        drawn, rows, ended = await self.client.ask(
            "/completion", body, lambda a: self._drawn(a, ids, most), most_bytes=self.allowed_bytes(len(ids) + most)
        )
        whole = [
            await self.score_token([*ids, *drawn[:i]], drawn[i]) if row is None else row for i, row in enumerate(rows)
        ]
        return Drawn(Scores.of(whole), ended)

    def _drawn(self, answer: Any, ids: Sequence[int], most: int) -> tuple[list[int], list[TokenScore | None], bool]:
        """The ids, what is said of each (None where the text so far ends within a character), and whether the text ended."""
        self._check(answer, ids)
        drawn = [id_of(i, "tokens") for i in list_of(answer, "tokens")]
        reason = answer.get("stop_type")
        if reason not in ("eos", "limit"):
            raise BadAnswer(f"the text was cut off ({str(reason)[:40]})")
        check_drawn(len(drawn), most, reason == "eos", bool(drawn) and drawn[-1] in self.end_ids)
        shown = _shown(map(self.bytes_of, drawn))
        entries = list_of({"completion_probabilities": [], **answer}, "completion_probabilities", length=sum(shown))
        left = iter(entries)
        return drawn, [_row(next(left), i) if s else None for i, s in zip(drawn, shown, strict=True)], reason == "eos"

    def sent(self, settings: Settings) -> Mapping[str, Any]:
        samplers = dict.fromkeys("penalties" if name == "repetition_penalty" else name for name in settings.steps)
        all_tokens = {"repeat_last_n": self._window or LONGEST} if settings.repetition_penalty != 1 else {}
        return {
            "samplers": list(samplers) or ["temperature", "top_k", "top_p"],
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "min_p": settings.min_p,
            "typical_p": 1.0,
            "repeat_penalty": settings.repetition_penalty,
            **all_tokens,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "dry_multiplier": 0.0,
            "xtc_probability": 0.0,
            "mirostat": 0,
        }

    # ---- its vocabulary ------------------------------------------------------------------------------------------------

    async def vocabulary(self) -> dict[int, bytes]:
        """The bytes of every id, as the list of a whole law shows them; nothing for markers."""
        body = {
            "prompt": [0],
            "n_predict": 1,
            "n_probs": self._n_tokens,
            **_ALWAYS,
            **self.sent(Settings(temperature=0.0)),
        }
        most = self.allowed_bytes(1) + BYTES_AN_ID * self._n_tokens
        return await self.client.ask("/completion", body, _bytes_of_ids, most_bytes=most)

    async def ends(self, token_id: int) -> bool:
        """Whether a token ends a text: it is drawn for sure, and the server says what it made of it."""
        body = {
            "prompt": [0],
            "n_predict": 2,
            "n_probs": 0,
            "logit_bias": [[token_id, FORCED]],
            **_ALWAYS,
            **self.sent(Settings(temperature=0.0)),
        }

        def read(answer: Any) -> bool:
            if id_of(field_of(answer, "tokens", 0), "tokens") != token_id:
                raise BadAnswer(f"token {answer['tokens'][0]} was drawn where {token_id} was forced")
            return bool(answer.get("stop_type") == "eos")

        return await self.client.ask("/completion", body, read)

    async def tokenize(self, words: str, *, special: bool = False, lead: bool = False) -> list[int]:
        """Ids of a text; `special`: its markers are markers; `lead`: with what the server puts first."""
        body = {"content": words, "add_special": lead, "parse_special": special}
        most = self.allowed_bytes(len(words.encode()))
        return await self.client.ask(
            "/tokenize", body, lambda a: [id_of(i, "tokens") for i in list_of(a, "tokens")], most_bytes=most
        )

    async def largest_k(self) -> int:
        return len(await self.vocabulary())

    # ---- checks --------------------------------------------------------------------------------------------------------

    def _check(self, answer: Any, sent: Sequence[int]) -> None:
        check_model(answer, self._model)
        if field_of(answer, "tokens_evaluated") != len(sent):
            raise BadAnswer(f"the server read {answer['tokens_evaluated']} tokens where {len(sent)} ids were sent")
        if answer.get("truncated"):
            raise BadAnswer("the server cut the prompt off")

    bytes_of: Callable[[int], bytes] = staticmethod(lambda _: b"a")
    """The bytes of an id; known once the tokenizer is."""
    whole_character: int = 0
    """An id that ends with a whole character."""
    _slots: list[int]
    _window: int | None = None
    _model: str
    _n_tokens: int


_ALWAYS: Mapping[str, Any] = {
    "cache_prompt": True,
    "return_tokens": True,
    "stream": False,
    "post_sampling_probs": False,
}


def cut_short(text: bytes) -> bool:
    r"""Whether a text ends within a UTF-8 character, by llama.cpp's own rule (`validate_utf8`): the last lead byte decides.

    >>> cut_short("é".encode()[:1]), cut_short("é".encode()), cut_short(b"\x8c")
    (True, False, False)
    """
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
        return back < needed
    return False


def _shown(pieces: Any) -> list[bool]:
    """For each piece of a text whether the text up to its end can be shown."""
    tail, out = b"", []
    for piece in pieces:
        tail = (tail + piece)[-8:]
        out.append(not cut_short(tail))
    return out


def _row(entry: Any, token_id: int) -> TokenScore:
    where = f"completion_probabilities of token {token_id}"
    if id_of(field_of(entry, "id"), where) != token_id:
        raise BadAnswer(f"the log-probability of token {entry['id']} came back, where {token_id} stands")
    log_prob, top = log_prob_of(field_of(entry, "logprob"), where), entry.get("top_logprobs") or []
    if not top:
        return TokenScore(token_id, log_prob)
    return TokenScore.beside(
        token_id, log_prob, id_of(field_of(top, 0, "id"), where), log_prob_of(top[0]["logprob"], where)
    )


def _listed(entry: Any, token_id: int) -> TokenScore | None:
    """A token's place among the most probable ones; None where it is not among them."""
    tops = list_of(entry, "top_logprobs")
    values = {id_of(field_of(t, "id"), "top_logprobs"): t for t in tops}
    if token_id not in values:
        return None
    where = f"top_logprobs of token {token_id}"
    log_prob = log_prob_of(field_of(values[token_id], "logprob"), where)
    best = tops[0]
    above = sum(field_of(t, "logprob") > values[token_id]["logprob"] for t in tops)
    return TokenScore(token_id, log_prob, 1 + above, id_of(best["id"], where), log_prob_of(best["logprob"], where))


def _bytes_of_ids(answer: Any) -> dict[int, bytes]:
    (entry,) = list_of(answer, "completion_probabilities", length=1)
    table = {}
    for top in list_of(entry, "top_logprobs"):
        try:
            table[id_of(field_of(top, "id"), "top_logprobs")] = bytes(field_of(top, "bytes"))
        except (TypeError, ValueError):
            raise BadAnswer("top_logprobs has bytes that are none") from None
    return table


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BadAnswer("the answer is not an object")
    return answer


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


_DEFAULTS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)


def _numbers(params: Mapping[str, Any]) -> dict[str, float]:
    """The sampling defaults among a server's settings."""
    return {k: float(params[k]) for k in _DEFAULTS if isinstance(params.get(k), (int, float))}
