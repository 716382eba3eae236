"""How a served model's text becomes ids and back: by a tokenizer on this machine, or by the server itself."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from freerun.errors import BackendError, DataError, UsageError, first_line
from freerun.predictors.markers import EndToken, Markers
from freerun.predictors.weights.declared import BY_SPELLING, DOCUMENT_ENDS

if TYPE_CHECKING:
    from freerun.predictors.base import Predictor
    from freerun.predictors.servers.dialect import Dialect
    from freerun.predictors.servers.llama_server import LlamaServer
    from freerun.predictors.weights.gguf import GGUFMarkers

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""Keys of a generation config that change what is sampled."""
BY_SERVER = "the server"
MOST_ENDS_TRIED = 256
"""Markers of a vocabulary that are tried one by one for whether they end a text."""


class Words(ABC):
    """A tokenizer, wherever it is."""

    n_tokens: int
    lead: tuple[int, ...] = ()
    """What it puts before a text."""
    markers: Markers
    end_ids: tuple[int, ...]
    origin: str
    """Where it was read, for people."""
    sampling_defaults: Mapping[str, float] = MappingProxyType({})
    """What the generation config beside it says, which servers take up by themselves."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text, nothing added."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of an id."""

    def token_ends(self, text: str) -> list[int] | None:
        return None


# ---- on this machine -----------------------------------------------------------------------------------------------------


class LocalWords(Words):
    """A tokenizer that transformers reads from a folder or a GGUF file."""

    def __init__(self, tokenizer: Any, stub: Any, *, beside: Any, n_tokens: int | None, origin: str, name: str) -> None:
        from freerun.predictors.tokenizing import read_vocabulary
        from freerun.predictors.vocabulary import byte_table

        own = max(tokenizer.get_vocab().values(), default=-1) + 1
        self.n_tokens = n_tokens or max(own, int(getattr(stub.config, "vocab_size", 0) or 0))
        stub.config.vocab_size = self.n_tokens
        self.tokenizer, self.origin = tokenizer, origin
        self.lead, self.markers = read_vocabulary(stub, tokenizer, beside, lead=None, chosen=None, name=name)
        self.end_ids = self.markers.end_ids
        self._bytes = byte_table(tokenizer, self.n_tokens, self.markers.control)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False))

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id] if token_id < self.n_tokens else b""

    def token_ends(self, text: str) -> list[int] | None:
        from freerun.predictors.vocabulary import token_ends

        return token_ends(self.tokenizer, text)


@dataclass(frozen=True)
class TokenizerPlace:
    """Where a tokenizer is: a folder, or a GGUF file."""

    path: Path
    origin: str

    @property
    def gguf(self) -> bool:
        return self.path.is_file()


def tokenizer_place(typed: str, *, name: str, tell: Callable[[str], None]) -> TokenizerPlace:
    """From what was typed after `tokenizer=`: hf/./folder, gguf/FILE, or a name of the catalogue.

    Raises:
        UsageError: another kind of name. DataError: nothing there.
    """
    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights

    if typed in CATALOGUE:
        return TokenizerPlace(catalogue_weights(CATALOGUE[typed], tell=tell), typed)
    kind, _, rest = typed.partition("/")
    path = Path(rest).expanduser()
    if kind == "gguf" and rest:
        if not path.is_file():
            raise DataError(f"{name}: tokenizer={typed}: no such file")
        return TokenizerPlace(path, typed)
    if kind == "hf" and rest:
        if not path.is_dir():
            raise DataError(f"{name}: tokenizer={typed}: no such folder")
        return TokenizerPlace(path, typed)
    raise UsageError(
        f"{name}: tokenizer={typed} is not hf/./folder, gguf/FILE or a name of the catalogue ({', '.join(CATALOGUE)})"
    )


def local_words(place: TokenizerPlace, *, n_tokens: int | None, name: str) -> LocalWords:
    """Read a tokenizer, and what the files beside it declare.

    Raises:
        BackendError: transformers is missing, or cannot read it.
    """
    from freerun.predictors.tokenizing import Declared
    from freerun.predictors.weights.catalogue import markers_beside
    from freerun.predictors.weights.gguf import gguf_markers, gguf_tokenizer, tokenizer_of_folder

    try:
        config, generation = (_read(place.path / f) for f in ("config.json", "generation_config.json"))
        found: GGUFMarkers | None
        if place.gguf:
            tokenizer, found = gguf_tokenizer(place.path), gguf_markers(place.path)
        else:
            tokenizer, found = tokenizer_of_folder(place.path), markers_beside(place.path)
    except ImportError:
        raise BackendError(
            f"{name}: reading a tokenizer needs transformers, which this Python does not have: pip install 'freerun[hf]'"
        ) from None
    except (BackendError, DataError):
        raise
    except Exception as error:  # a damaged file fails in any of three libraries, each with a class of its own
        raise BackendError(f"{name}: the tokenizer {place.origin} cannot be read: {first_line(error)}") from error
    beside = Declared()
    if found is not None:
        beside = Declared({f"GGUF {k}": (i,) for k, i in found.end_ids.items()}, found.control_ids)
    stub = SimpleNamespace(
        config=_Config({**config, **(config.get("text_config") or {})}),
        generation_config=SimpleNamespace(**generation),
        get_output_embeddings=lambda: None,
    )
    words = LocalWords(tokenizer, stub, beside=beside, n_tokens=n_tokens, origin=place.origin, name=name)
    words.sampling_defaults = {
        k: float(v) for k, v in generation.items() if k in SAMPLING and isinstance(v, (int, float))
    }
    return words


class _Config(SimpleNamespace):
    """As much of a model's config as says what ends a text, and how many ids there are."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(**{k: v for k, v in values.items() if k.endswith("_token_id") or k == "vocab_size"})

    def get_text_config(self, *, decoder: bool) -> _Config:
        return self


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# ---- of another model ----------------------------------------------------------------------------------------------------

TRIED = "The river froze: 19 carts crossed, é 日本 \U0001f40b.\n\n\tdef f(x):  return x**2  # naïve\n"
"""What a server is asked to take apart, to see whether its tokenizer is the one that it is taken to have."""


class BorrowedWords(Words):
    """The tokenizer of a model that is here, for a server that is said to have the same one."""

    def __init__(self, like: Predictor, *, n_tokens: int | None) -> None:
        self._like = like
        self.n_tokens, self.lead = n_tokens or like.n_tokens, like.context.lead
        self.markers, self.end_ids = like.markers, like.end_ids
        self.origin = f"that of {like.identity.name}"

    def encode(self, text: str) -> list[int]:
        return list(self._like.encode(text))

    def token_bytes(self, token_id: int) -> bytes:
        return self._like.token_bytes(token_id) if token_id < self._like.n_tokens else b""

    def token_ends(self, text: str) -> list[int] | None:
        ends = self._like.token_ends(text)
        return None if ends is None else list(ends)

    def compare(self, dialect: Dialect, name: str) -> None:
        """Have the server take a text apart, where it does so.

        Raises:
            BackendError: it takes it apart otherwise; the first id that differs is named.
        """
        theirs = dialect.client.run(lambda: dialect.taken_apart(TRIED))
        if theirs is None:
            self.origin += ", which the server was not tried on: it takes no text apart"
            return
        ours = self.encode(TRIED)
        for at, (a, b) in enumerate(zip(theirs, ours, strict=False)):
            if a != b:
                raise BackendError(
                    f"{name} does not have the tokenizer of {self._like.identity.name}: token {at} of a text is id "
                    f"{a} to the server and id "
                    f"{b} ({self.token_bytes(b)!r}) here; name its own: ,tokenizer=hf/./folder"
                )
        if len(theirs) != len(ours):
            raise BackendError(
                f"{name} does not have the tokenizer of {self._like.identity.name}: it makes {len(theirs)} tokens of "
                f"a text that has "
                f"{len(ours)} here; name its own: ,tokenizer=hf/./folder"
            )
        self.origin += ", which takes a text apart as the server does"


# ---- on the server -------------------------------------------------------------------------------------------------------


class ServerWords(Words):
    """llama.cpp's own tokenizer: text is sent to it, and the bytes of all ids are read once from the list of a whole law."""

    def __init__(self, dialect: LlamaServer, *, n_tokens: int) -> None:
        self._dialect, self.n_tokens, self.origin = dialect, n_tokens, "the server"
        self._run = dialect.client.run
        table = self._run(dialect.vocabulary)
        missing = next((i for i in range(n_tokens) if i not in table), None)
        if missing is not None or len(table) != n_tokens:
            raise BackendError(
                f"{dialect.client.url} lists {len(table):,} of {n_tokens:,} ids; name the tokenizer instead: tokenizer=gguf/FILE"
            )
        self._bytes = [table[i] for i in range(n_tokens)]
        self.lead = self._what_is_put_first()
        self.markers = self._find_markers()
        self.end_ids = self.markers.end_ids

    def encode(self, text: str) -> list[int]:
        return self._run(lambda: self._dialect.tokenize(text)) if text else []

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id] if token_id < self.n_tokens else b""

    def _what_is_put_first(self) -> tuple[int, ...]:
        plain = self._run(lambda: self._dialect.tokenize("a"))
        wrapped = self._run(lambda: self._dialect.tokenize("a", lead=True))
        for at in range(len(wrapped) - len(plain) + 1):
            if wrapped[at : at + len(plain)] == plain:
                return tuple(wrapped[:at])
        return ()

    def _find_markers(self) -> Markers:
        """Ids without bytes are markers; each is drawn once by force, and the server says whether it ends the text."""
        silent = [i for i, b in enumerate(self._bytes) if not b]
        spelled = {}
        for token, ids in zip(DOCUMENT_ENDS, self._spellings(), strict=True):
            if len(ids) == 1 and ids[0] in silent:
                spelled[ids[0]] = token
        tried = list(dict.fromkeys([*spelled, *silent]))[:MOST_ENDS_TRIED]
        jobs = [lambda i=i: self._dialect.ends(i) for i in tried]
        answers = dict(self._dialect.client.each(jobs, at_once=self._dialect.most_at_once))
        ends = [i for at, i in enumerate(tried) if answers[at]]
        ends.sort(key=lambda i: (i not in spelled, i))
        return Markers(
            ends=tuple(EndToken(i, spelled.get(i, ""), self._declared(i, spelled)) for i in ends),
            control={i: spelled.get(i, f"id {i}, a marker") for i in silent},
        )

    def _spellings(self) -> list[Sequence[int]]:
        jobs = [lambda t=t: self._dialect.tokenize(t, special=True) for t in DOCUMENT_ENDS]
        found = dict(self._dialect.client.each(jobs))
        return [found[i] for i in range(len(jobs))]

    @staticmethod
    def _declared(token_id: int, spelled: dict[int, str]) -> tuple[str, ...]:
        return (BY_SERVER, BY_SPELLING) if token_id in spelled else (BY_SERVER,)
