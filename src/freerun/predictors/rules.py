"""Which tokens a law may look at, which law is sampled, and who the model is: values that a plan holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from freerun.errors import UsageError
from freerun.predictors.law import Law


@dataclass(frozen=True)
class ContextRule:
    """Which tokens a law may look at: part of the model's identity, the same for scorer and sampler.

    `lead` is put before every document. Up to `window` tokens of the document follow it; when the window is full the oldest
    `window − window // 2` are let go at once and the rest is read afresh. None: no limit.
    """

    window: int | None = None
    lead: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UsageError(f"{len(self.lead)} tokens put first leave no position for the text")

    def first_seen(self, n_tokens: int) -> int:
        """Index of the oldest document token that the law after `n_tokens` tokens looks at.

        >>> [ContextRule(window=4).first_seen(n) for n in range(9)]
        [0, 0, 0, 0, 0, 2, 2, 4, 4]
        """
        if self.window is None or n_tokens <= self.window:
            return 0
        stride = self.window - self.window // 2
        return -(-(n_tokens - self.window) // stride) * stride

    def describe(self) -> str:
        lead = f"ids {list(self.lead)} first" if self.lead else "nothing put first"
        if self.window is None:
            return f"{lead}; the whole document so far"
        return f"{lead}; at most {self.window} tokens, the older half let go when full"


@dataclass(frozen=True)
class SamplingRule:
    """The law that is actually sampled, made from the model's: temperature, then top-k, then top-p."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    @property
    def is_model_law(self) -> bool:
        return self == SamplingRule()

    def apply(self, law: Law) -> Law:
        return law.tempered(self.temperature).restricted(top_k=self.top_k, top_p=self.top_p)

    def describe(self) -> str:
        if self.is_model_law:
            return "temperature 1, full vocabulary"
        words = [f"temperature {self.temperature:g}"]
        words += [f"top-k {self.top_k}"] if self.top_k is not None else []
        words += [f"top-p {self.top_p:g}"] if self.top_p is not None else []
        return ", ".join(words)

    @staticmethod
    def parse(text: str) -> SamplingRule:
        """Read `top_k=50`, `top_p=0.9,t=0.7` or `greedy`.

        Raises:
            UsageError: another word, or a value out of range.
        """
        if text == "greedy":
            return SamplingRule(temperature=0.0)
        values: dict[str, Any] = {}
        readers: dict[str, tuple[str, Callable[[str], Any]]] = {
            "t": ("temperature", float),
            "temperature": ("temperature", float),
            "top_k": ("top_k", int),
            "top_p": ("top_p", float),
        }
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name.strip() not in readers:
                raise UsageError(f"sampling rule {text!r}: {part!r} is not one of t=, top_k=, top_p=, greedy")
            key, read = readers[name.strip()]
            try:
                values[key] = read(value)
            except ValueError:
                raise UsageError(f"sampling rule {text!r}: {value!r} is not a number for {name.strip()}") from None
        rule = SamplingRule(**values)
        if not rule.temperature >= 0 or rule.temperature == float("inf"):
            raise UsageError(f"sampling rule {text!r}: the temperature must be a finite number ≥ 0")
        if rule.top_k is not None and rule.top_k < 1:
            raise UsageError(f"sampling rule {text!r}: top_k must be at least 1")
        if rule.top_p is not None and not 0 < rule.top_p <= 1:
            raise UsageError(f"sampling rule {text!r}: top_p must lie in (0, 1]")
        return rule


MODEL_LAW = SamplingRule()
"""The model's own law: nothing is cut, nothing is cooled."""


@dataclass(frozen=True)
class Identity:
    """What makes two predictors the same one; its `fingerprint` goes into every plan."""

    name: str
    fingerprint: str
    nature: str = ""
    """For example `instruct, 4-bit weights`."""
    licence: str = ""
    facts: dict[str, str] = field(default_factory=dict)
