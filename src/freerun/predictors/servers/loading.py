"""From the name of a served model to a predictor that was tried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from freerun.errors import BackendError
from freerun.predictors.base import Predictor
from freerun.predictors.servers.address import Address
from freerun.predictors.servers.client import Client
from freerun.predictors.servers.dialect import Dialect, Service
from freerun.predictors.servers.faults import Patience
from freerun.predictors.servers.llama_server import LlamaServer, cut_short
from freerun.predictors.servers.openai import OpenAI
from freerun.predictors.servers.predictor import ServedModel
from freerun.predictors.servers.sglang import SGLang
from freerun.predictors.servers.trial import try_out
from freerun.predictors.servers.vllm import VLLM
from freerun.predictors.servers.words import (
    BorrowedWords,
    ServerWords,
    TokenizerPlace,
    Words,
    local_words,
    tokenizer_place,
)

DIALECTS: dict[str, type[Dialect]] = {"vllm": VLLM, "sglang": SGLang, "llama-server": LlamaServer, "openai": OpenAI}
"""By provider."""


def load_served(
    address: Address,
    *,
    tell: Callable[[str], None] = lambda _: None,
    end_ids: tuple[int, ...] | None = None,
    trial: bool = True,
    like: Predictor | None = None,
    patience: Patience | None = None,
) -> ServedModel:
    """Connect, learn what is served, find its tokenizer, and (`trial`) see that its answers can be believed.

    `like`: a model with the tokenizer that it is taken to have, where it brings none; the server is tried on it.

    Raises:
        BackendError: no such server or model, no tokenizer, or answers that cannot be believed.
        UsageError, DataError: a tokenizer or end ids that are not there.
    """
    client = Client(
        address.url,
        key=address.key,
        at_once=address.at_once,
        timeout_seconds=address.timeout_seconds,
        patience=patience,
    )
    if address.key is not None and address.url.startswith("http:") and not address.local:
        tell(f"{address.name}: the key travels unencrypted; https:// would keep it to the server")
    dialect = DIALECTS[address.provider](client, address)
    tell(f"asking {address.url} what it serves")
    service = _without_key(client.run(dialect.introduce), client)
    window = min((n for n in (service.window, address.window) if n is not None), default=None)
    if window is None:
        raise BackendError(
            f"{address.name}: the server does not say how many tokens its context holds; add ,window=TOKENS to the name"
        )
    words = _words(dialect, service, address, tell, like)
    if end_ids is not None:
        _choose_ends(words, end_ids, address.name)
    dialect.end_ids = words.end_ids
    if isinstance(dialect, LlamaServer):
        dialect.bytes_of = words.token_bytes
        dialect.whole_character = next(
            i for i in range(words.n_tokens) if words.token_bytes(i) and not cut_short(words.token_bytes(i))
        )
    model = ServedModel(dialect, service, words, window=window)
    if trial:
        try_out(model)
    return model


def _without_key(service: Service, client: Client) -> Service:
    """What a server says of itself goes into records and pages, and it was sent a key."""
    facts = {name: client.hidden(said) for name, said in service.facts.items()}
    return replace(service, software=client.hidden(service.software), facts=facts)


def _words(
    dialect: Dialect, service: Service, address: Address, tell: Callable[[str], None], like: Predictor | None
) -> Words:
    """The tokenizer that was named, that of the server's own folder where it is this machine's, the server itself, or another's."""
    name = address.name
    if address.tokenizer is not None:
        place = tokenizer_place(address.tokenizer, name=name, tell=tell)
        return local_words(place, n_tokens=service.n_tokens, name=name)
    if isinstance(dialect, LlamaServer):
        if service.n_tokens is None:
            raise BackendError(
                f"{name}: the server does not say how many ids it has; add ,tokenizer=gguf/FILE to the name"
            )
        return ServerWords(dialect, n_tokens=service.n_tokens)
    folder = Path(service.folder) if service.folder and service.folder.startswith("/") else None
    if address.local and folder is not None and folder.is_dir():
        place = TokenizerPlace(folder, "the folder that the server reads")
        return local_words(place, n_tokens=service.n_tokens, name=name)
    if like is not None:
        words = BorrowedWords(like, n_tokens=service.n_tokens)
        words.compare(dialect, name)
        return words
    raise BackendError(
        f"{name}: this server gives no tokenizer; add ,tokenizer=hf/./folder or ,tokenizer=gguf/FILE to the name, with the files "
        f"of the model that it serves{f' ({service.folder})' if service.folder else ''}"
    )


def _choose_ends(words: Words, end_ids: tuple[int, ...], name: str) -> None:
    from freerun.predictors.weights.declared import chosen_ends

    ends = chosen_ends(end_ids, words.markers.control, n_tokens=words.n_tokens, name=name)
    words.markers = replace(words.markers, ends=ends)
    words.end_ids = end_ids
