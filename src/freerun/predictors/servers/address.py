"""Where a served model is: `NAME@http://HOST:PORT[,option=value…]`, and the key that opens its door."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freerun.errors import DataError, UsageError, nearest
from freerun.predictors.entries import Parameter, split_outside, text, unwrapped, whole, word

KEY_VARIABLE = "FREERUN_SERVER_KEY"
"""The environment variable that holds a server's key, unless another one or a file is named."""
SHORTEST_SECRET = 8
"""Characters of a key that can be one."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

TOKENIZER = text(
    "tokenizer", "where a served model's tokenizer is read: hf/./folder, gguf/FILE or a name of the catalogue"
)
WINDOW = whole("window", None, "tokens of a served model's context, where its server does not say", low=2)
AT_ONCE = whole("at-once", 256, "most requests to a server at the same time", low=1, high=4096)
TIMEOUT = whole("timeout", 600, "seconds until a request to a server counts as lost", low=1, high=86400)
KEY_ENV = text("key-env", f"environment variable with the server's key, in place of {KEY_VARIABLE}")
KEY_FILE = text("key-file", "file whose first line is the server's key")
SAMPLING = word(
    "sampling",
    "sent",
    ("sent", "server"),
    "who chooses how a served model samples: sent, every setting goes with every request; server, none does",
)
OPTIONS: tuple[Parameter, ...] = (TOKENIZER, WINDOW, AT_ONCE, TIMEOUT, KEY_ENV, KEY_FILE, SAMPLING)


class Key:
    """A secret that is sent and never shown."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Key(…)"

    def header(self) -> str:
        return f"Bearer {self._value}"

    @property
    def is_long(self) -> bool:
        """Whether it can be a secret; `EMPTY` and the like are what servers without keys are given."""
        return len(self._value) >= SHORTEST_SECRET

    def hidden_in(self, said: str) -> str:
        """Another's words without the key in them."""
        return said.replace(self._value, "…")


@dataclass(frozen=True)
class Address:
    """A model on a server, with what was typed about it."""

    provider: str
    model: str
    """What the server calls it."""
    url: str
    """Scheme, host, port and path, without a slash at the end."""
    tokenizer: str | None = None
    window: int | None = None
    at_once: int = 256
    timeout_seconds: float = 600.0
    key: Key | None = field(default=None, compare=False)
    sends_rule: bool = True
    """Sampling settings go with every request; False: the server samples as it does by itself."""
    typed: str = ""
    """After `provider/`, as it was typed."""

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.typed}"

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, as far as its address says."""
        return urlsplit(self.url).hostname in LOCAL_HOSTS


def read_address(
    provider: str, typed: str, *, environment: Mapping[str, str] = os.environ, check_key: bool = True
) -> Address:
    """From what stands after `provider/`; `check_key`: read the key, too.

    >>> read_address("vllm", "org/m@http://127.0.0.1:8000/,window=2048", environment={}).url
    'http://127.0.0.1:8000'

    Raises:
        UsageError: not NAME@URL, a user or password in it, an unknown option, or a key that is not there.
        DataError: a key file that cannot be read.
    """
    head, *settings = split_outside(unwrapped(typed), ",")
    name, url = _name_and_url(provider, head)
    known = {p.name: p for p in OPTIONS}
    given: dict[str, Any] = {}
    of = f"{provider}/{head}"
    for setting in settings:
        option, equals, value = setting.partition("=")
        if option not in known or not equals:
            raise UsageError(f"{of} has no option {setting!r}{nearest(option, known)}; it has {', '.join(known)}=")
        if option in given:
            raise UsageError(f"{of}: {option} is given twice")
        given[option] = known[option].read(value, of=of)
    values = {p.name: given.get(p.name, p.default) for p in OPTIONS}
    return Address(
        provider,
        name,
        url,
        tokenizer=values["tokenizer"],
        window=values["window"],
        at_once=values["at-once"],
        timeout_seconds=float(values["timeout"]),
        key=_key(of, values["key-env"], values["key-file"], environment) if check_key else None,
        sends_rule=values["sampling"] == "sent",
        typed=typed,
    )


def _name_and_url(provider: str, head: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)@(https?://[^\s@]+)", head)
    if not match:
        if re.search(r"@https?://.*@", head):
            raise UsageError(
                f"{provider}/…: a user name or password in a URL would end up in records; put the key into {KEY_VARIABLE} instead"
            )
        raise UsageError(f"{provider}/{head}: give {provider}/NAME@http://HOST:PORT")
    try:
        parts = urlsplit(match[2])
        wrong = not parts.hostname or parts.query or parts.fragment or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise UsageError(f"{provider}/{head}: {match[2]} is not an address of a server; give http://HOST:PORT")
    return match[1], match[2].rstrip("/").removesuffix("/v1")


def _key(of: str, variable: str | None, file: str | None, environment: Mapping[str, str]) -> Key | None:
    if variable is not None and file is not None:
        raise UsageError(f"{of}: give key-env or key-file, not both")
    if file is not None:
        try:
            lines = Path(file).expanduser().read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{of}: the key file {file} cannot be read ({type(error).__name__})") from None
        value = lines[0].strip() if lines else ""
        if not value:
            raise DataError(f"{of}: the first line of the key file {file} is empty")
    else:
        value = environment.get(variable or KEY_VARIABLE, "").strip()
        if variable is not None and not value:
            raise UsageError(f"{of}: the environment variable {variable} is not set or empty")
    if not value:
        return None
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"{of}: its key holds characters that no HTTP header can carry")
    return Key(value)
