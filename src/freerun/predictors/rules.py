"""Which tokens a law may look at, which law is sampled, and who the model is: values that a plan holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from freerun.errors import UsageError

if TYPE_CHECKING:
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
class Temperature:
    """Log-probabilities are divided by it; 0: the most probable token."""

    temperature: float

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"the temperature must be a finite number ≥ 0, not {self.temperature}")

    def describe(self) -> str:
        return f"temperature {self.temperature:g}"


@dataclass(frozen=True)
class TopK:
    """Only the most probable ids are left."""

    top_k: int

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"top_k must be at least 1, not {self.top_k}")

    def describe(self) -> str:
        return f"top-k {self.top_k}"


@dataclass(frozen=True)
class TopP:
    """Only the most probable ids are left that together have this mass."""

    top_p: float

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must lie in (0, 1], not {self.top_p}")

    def describe(self) -> str:
        return f"top-p {self.top_p:g}"


Step = Temperature | TopK | TopP
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "t": ("temperature", float),
    "temperature": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
}


@dataclass(frozen=True)
class SamplingRule:
    """The law that is sampled, made from the model's by steps in their order; without any it is the model's own.

    >>> SamplingRule.parse("top_p=0.9,t=0.7").describe()
    'temperature 0.7, top-p 0.9'
    """

    steps: tuple[Step, ...] = ()

    @property
    def is_model_law(self) -> bool:
        return not self.steps

    @property
    def is_deterministic(self) -> bool:
        """Whether nothing is left to chance, so that all continuations of a prefix are one text."""
        return any(step in (Temperature(0.0), TopK(1)) for step in self.steps)

    @classmethod
    def of(cls, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> SamplingRule:
        """Temperature first, then top-k, then top-p; what changes nothing is no step."""
        steps: list[Step] = [] if temperature == 1.0 else [Temperature(temperature)]
        steps += [] if top_k is None else [TopK(top_k)]
        steps += [] if top_p is None else [TopP(top_p)]
        return cls(tuple(steps))

    def apply(self, law: Law) -> Law:
        """Truncations that follow each other look at the same law."""
        truncation: dict[str, Any] = {}
        for step in self.steps:
            if isinstance(step, Temperature):
                law, truncation = law.restricted(**truncation).tempered(step.temperature), {}
            else:
                truncation |= asdict(step)
        return law.restricted(**truncation)

    def describe(self) -> str:
        """For people."""
        if not self.steps:
            return "temperature 1, full vocabulary"
        heated = any(isinstance(step, Temperature) for step in self.steps)
        words = [] if heated else ["temperature 1"]
        return ", ".join([*words, *(step.describe() for step in self.steps)])

    @staticmethod
    def parse(text: str) -> SamplingRule:
        """Read `top_k=50`, `top_p=0.9,t=0.7` or `greedy`: temperature first, then top-k, then top-p, however they are typed.

        Raises:
            UsageError: another word, or a value out of range.
        """
        if text == "greedy":
            return SamplingRule.of(temperature=0.0)
        values: dict[str, Any] = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name.strip() not in _READERS:
                raise UsageError(f"sampling rule {text!r}: {part!r} is not one of t=, top_k=, top_p=, greedy")
            key, read = _READERS[name.strip()]
            try:
                values[key] = read(value)
            except ValueError:
                raise UsageError(f"sampling rule {text!r}: {value!r} is not a number for {name.strip()}") from None
        try:
            return SamplingRule.of(**values)
        except UsageError as error:
            raise UsageError(f"sampling rule {text!r}: {error}") from None


MODEL_LAW = SamplingRule()
"""The model's own law: nothing is cut, nothing is cooled."""


@dataclass(frozen=True)
class Nature:
    """What kind of predictor this is, as far as it decides how its numbers are read."""

    kind: str = ""
    """In words, where it is no network: `exact world`, `3-gram counts`."""
    tuned: bool | None = None
    """For instructions; None: nobody says."""
    bits: int | None = None
    """Of its stored weights, where they were coarser than what it computes with."""
    container: str = ""
    """Of weights that were converted: GGUF or one of its formats."""
    arithmetic: str = "fp32"
    rounded_to: str = ""
    """What its weights were rounded to after loading."""
    organisms: tuple[str, ...] = ()
    """Planted defects."""

    @property
    def was_rounded(self) -> bool:
        """Whether the stored weights are coarser than those that were trained."""
        return bool(self.bits or self.container)

    def describe(self) -> str:
        """For people.

        >>> Nature(tuned=True, bits=4, container="Q4_1", arithmetic="bf16").describe()
        'instruct, 4-bit weights (Q4_1) dequantised, bf16 arithmetic'
        """
        weights = f"weights from {self.container}, dequantised" if self.container else ""
        parts = (
            self.kind,
            "" if self.tuned is None else "instruct" if self.tuned else "base",
            f"{self.bits}-bit weights ({self.container}) dequantised" if self.bits else weights,
            "" if self.arithmetic == "fp32" else f"{self.arithmetic} arithmetic",
            f"weights rounded to {self.rounded_to} (simulated)" if self.rounded_to else "",
            *(f"organism: {name}" for name in self.organisms),
        )
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Identity:
    """What makes two predictors the same one; its `fingerprint` goes into every plan."""

    name: str
    fingerprint: str
    nature: Nature = Nature()
    licence: str = ""
    facts: dict[str, str] = field(default_factory=dict)
