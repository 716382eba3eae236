"""What every kind of server is to the client: who it says it is, scores of a text, and a text that it draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from freerun.errors import BackendError
from freerun.predictors.rules import SamplingRule
from freerun.predictors.servers.address import Address
from freerun.predictors.servers.answers import Drawn, Scores, id_of, list_of
from freerun.predictors.servers.client import SMALL_ANSWER_BYTES, Client
from freerun.predictors.servers.sampling import Settings, Steps

FIRST_ATTEMPTS = 2
"""How often a server is asked who it is: a wrong address is said soon."""
ANSWER_BYTES_A_TOKEN = 4096
"""Most bytes of an answer for each token sent or drawn."""


@dataclass(frozen=True)
class Service:
    """What a server says of itself and its model."""

    software: str
    model: str
    """As it names the model in its answers."""
    window: int | None = None
    """Most tokens of prompt and completion together."""
    n_tokens: int | None = None
    """Rows of its output layer."""
    folder: str | None = None
    """Where it read the model: a path on its machine, or a hub id."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What tells this model from another one; goes into the fingerprint."""
    own_defaults: Mapping[str, float] = field(default_factory=dict)
    """How it would sample if nothing were sent, where it says so."""


class Dialect(ABC):
    """One kind of server."""

    software: ClassVar[str]
    steps: ClassVar[Steps]
    """Of sampling, that it can be told to take."""
    scores_texts: bool = True
    """Gives the log-probabilities of a text that is sent."""
    requests_a_token: bool = False
    """Needs a request for every token of a text that is scored, and not one for the text."""
    most_at_once: int | None = None
    """Texts that it can work on together, where it says so."""

    def __init__(self, client: Client, address: Address) -> None:
        self.client, self.address = client, address
        self.end_ids: tuple[int, ...] = ()
        """What ends a text; known once the tokenizer is."""

    @abstractmethod
    async def introduce(self) -> Service:
        """Ask the server who it is.

        Raises:
            BackendError: no such server, or no such model on it.
        """

    @abstractmethod
    async def score(self, ids: Sequence[int], first: int) -> Scores:
        """Of the tokens from position `first` ≥ 1 on, each given all before it."""

    @abstractmethod
    async def draw(self, ids: Sequence[int], most: int, settings: Settings, seed: int) -> Drawn:
        """Up to `most` tokens after some, or up to the first end. The seed makes the same request give the same text."""

    @abstractmethod
    def sent(self, settings: Settings) -> Mapping[str, Any]:
        """The sampling parameters that are sent."""

    def settings(self, rule: SamplingRule) -> Settings:
        """A rule as the numbers that are sent.

        Raises:
            UsageError: it cannot be told this rule.
        """
        return self.steps.settings(rule, self.software)

    def settings_sent(self, settings: Settings) -> Mapping[str, Any]:
        """The sampling parameters of a draw: all of them, or none where the server's own rule is wanted."""
        return self.sent(settings) if settings.sent else {}

    @abstractmethod
    async def largest_k(self) -> int:
        """How many of the most probable ids it names beside a token that was drawn; 0: none."""

    async def taken_apart(self, text: str) -> list[int] | None:
        """Ids of a text by the server's own tokenizer, nothing put first; None where it does not say."""
        body = {"model": self.address.model, "prompt": text, "add_special_tokens": False}

        def ids(answer: Any) -> list[int]:
            return [id_of(i, "tokens") for i in list_of(answer, "tokens")]

        try:
            return await self.client.ask("/tokenize", body, ids, attempts=1, probe=True)
        except BackendError:
            return None

    def allowed_bytes(self, n_tokens: int) -> int:
        return SMALL_ANSWER_BYTES + ANSWER_BYTES_A_TOKEN * n_tokens
