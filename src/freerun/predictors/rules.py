"""Which tokens a law may look at, which law is sampled, and who the model is: values that a plan holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from freerun.errors import UsageError

if TYPE_CHECKING:
    from freerun.predictors.law import Law
    from freerun.predictors.reshaped import Said


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


@dataclass(frozen=True)
class MinP:
    """Only ids are left that have at least this share of the most probable one's mass."""

    min_p: float

    def __post_init__(self) -> None:
        if not 0 < self.min_p <= 1:
            raise UsageError(f"min_p must lie in (0, 1], not {self.min_p}")

    def describe(self) -> str:
        return f"min-p {self.min_p:g}"


@dataclass(frozen=True)
class RepetitionPenalty:
    """Positive logits of ids in the context are divided by it, negative ones multiplied."""

    repetition_penalty: float

    def __post_init__(self) -> None:
        if not 0 < self.repetition_penalty < math.inf:
            raise UsageError(f"repetition_penalty must be a finite number above 0, not {self.repetition_penalty}")

    def describe(self) -> str:
        return f"repetition penalty {self.repetition_penalty:g}"


@dataclass(frozen=True)
class PresencePenalty:
    """Taken off the logit of every id that was written."""

    presence_penalty: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.presence_penalty):
            raise UsageError(f"presence_penalty must be a finite number, not {self.presence_penalty}")

    def describe(self) -> str:
        return f"presence penalty {self.presence_penalty:g}"


@dataclass(frozen=True)
class FrequencyPenalty:
    """Taken off the logit of an id once for each time that it was written."""

    frequency_penalty: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.frequency_penalty):
            raise UsageError(f"frequency_penalty must be a finite number, not {self.frequency_penalty}")

    def describe(self) -> str:
        return f"frequency penalty {self.frequency_penalty:g}"


Penalty = RepetitionPenalty | PresencePenalty | FrequencyPenalty
Step = Temperature | TopK | TopP | MinP | Penalty
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "t": ("temperature", float),
    "temperature": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
}
_PENALTIES: dict[str, type[Penalty]] = {
    "repetition_penalty": RepetitionPenalty,
    "presence_penalty": PresencePenalty,
    "frequency_penalty": FrequencyPenalty,
}
_STEPS: dict[str, Callable[[Any], Step]] = {
    "temperature": Temperature,
    "top_k": TopK,
    "top_p": TopP,
    "min_p": MinP,
    **_PENALTIES,
}
_CHANGES_NOTHING: dict[str, tuple[float, ...]] = {
    "temperature": (1,),
    "top_k": (0, -1),
    "top_p": (1,),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
"""The values by which engines turn a step off."""
ENGINE_ORDERS: dict[str, tuple[str, ...]] = {
    "vllm": (*_PENALTIES, "temperature", "min_p", "top_k", "top_p"),
    "transformers": (*_PENALTIES, "temperature", "top_k", "top_p", "min_p"),
    "sglang": (*_PENALTIES, "temperature", "top_p", "top_k", "min_p"),
    "llama.cpp": (*_PENALTIES, "top_k", "top_p", "min_p", "temperature"),
}
"""In which order engines take the steps, as of their releases of 2026; `steps_in_order` has SGLang's exception."""


def steps_in_order(engine: str, names: Collection[str]) -> tuple[str, ...]:
    """Return these steps in an engine's order.

    SGLang takes top-k and top-p from the law before either. Both keep a beginning of the ids from the most probable on, so that
    is top-k after top-p. With a min-p it takes top-k first and top-p from what is left.

    >>> steps_in_order("sglang", ["top_k", "top_p"]), steps_in_order("sglang", ["top_p", "min_p", "top_k"])
    (('top_p', 'top_k'), ('top_k', 'top_p', 'min_p'))
    """
    order = ENGINE_ORDERS[engine]
    if engine == "sglang" and "min_p" in names:
        order = ENGINE_ORDERS["transformers"]
    return tuple(name for name in order if name in names)


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

    @property
    def penalties(self) -> tuple[Penalty, ...]:
        """The steps that depend on the context's ids."""
        return tuple(step for step in self.steps if isinstance(step, Penalty))

    @classmethod
    def of(
        cls,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ) -> SamplingRule:
        """Temperature first, then top-k, top-p and min-p; what changes nothing is not a step."""
        steps: list[Step] = [] if temperature == 1.0 else [Temperature(temperature)]
        steps += [] if top_k is None else [TopK(top_k)]
        steps += [] if top_p is None else [TopP(top_p)]
        steps += [] if min_p is None else [MinP(min_p)]
        return cls(tuple(steps))

    def apply(self, law: Law, contexts: Sequence[Said] = ()) -> Law:
        """Each step reshapes the law that the step before it left, as engines do; penalties need the rows' contexts."""
        from freerun.predictors.reshaped import AboveShare, Penalised, Penalties

        for step in self.steps:
            match step:
                case Temperature(temperature):
                    law = law.tempered(temperature)
                case TopK(top_k):
                    law = law.restricted(top_k=top_k)
                case TopP(top_p):
                    law = law.restricted(top_p=top_p)
                case MinP(min_p):
                    law = AboveShare(law, min_p)
                case RepetitionPenalty(size):
                    law = Penalised(law, Penalties(repetition=size), contexts)
                case PresencePenalty(size):
                    law = Penalised(law, Penalties(presence=size), contexts)
                case FrequencyPenalty(size):
                    law = Penalised(law, Penalties(frequency=size), contexts)
        return law

    def describe(self) -> str:
        """For people."""
        if not self.steps:
            return "temperature 1, full vocabulary"
        heated = any(isinstance(step, Temperature) for step in self.steps)
        words = [] if heated else ["temperature 1"]
        return ", ".join([*words, *(step.describe() for step in self.steps)])

    @staticmethod
    def parse(text: str) -> SamplingRule:
        """Read `top_k=50`, `top_p=0.9,t=0.7` or `greedy`: temperature, top-k, top-p, then min-p, however they are typed.

        Raises:
            UsageError: another word, or a value out of range.
        """
        if text == "greedy":
            return SamplingRule.of(temperature=0.0)
        values = _values(text, ())
        try:
            return SamplingRule.of(**values)
        except UsageError as error:
            raise UsageError(f"sampling rule {text!r}: {error}") from None

    @staticmethod
    def declared(text: str, *, order: str = "vllm") -> SamplingRule:
        """The rule that somebody else's engine was given, `t=0.7,top_p=0.9,repetition_penalty=1.05`, in its order or as typed.

        Values that turn a step off (`top_k=-1`, `top_p=1`, `min_p=0`) are not steps.

        Raises:
            UsageError: another word, a value out of range, or an order that is none.

        >>> SamplingRule.declared("t=0.8,top_k=40,top_p=1", order="llama.cpp").describe()
        'top-k 40, temperature 0.8'
        """
        if order not in (*ENGINE_ORDERS, "typed"):
            raise UsageError(f"no engine {order!r}; orders of steps are {', '.join(ENGINE_ORDERS)}, typed")
        if text == "greedy":
            return SamplingRule.of(temperature=0.0)
        values = _values(text, tuple(_PENALTIES))
        at_work = [name for name, value in values.items() if value not in _CHANGES_NOTHING[name]]
        names = at_work if order == "typed" else steps_in_order(order, at_work)
        try:
            return SamplingRule(tuple(_STEPS[name](values[name]) for name in names))
        except UsageError as error:
            raise UsageError(f"sampling rule {text!r}: {error}") from None


def _values(text: str, penalties: tuple[str, ...]) -> dict[str, Any]:
    """The numbers of a rule by the names of their steps, in the order typed."""
    readers = _READERS | {name: (name, float) for name in penalties}
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in readers:
            allowed = "".join(f"{known}=, " for known in readers if known != "temperature")
            raise UsageError(f"sampling rule {text!r}: {part!r} is not one of {allowed}greedy")
        key, read = readers[name.strip()]
        if key in values:
            raise UsageError(f"sampling rule {text!r}: {name.strip()} is given twice")
        try:
            values[key] = read(value)
        except ValueError:
            raise UsageError(f"sampling rule {text!r}: {value!r} is not a number for {name.strip()}") from None
    return values


MODEL_LAW = SamplingRule()
"""The model's own law: nothing is cut, nothing is cooled."""


@dataclass(frozen=True)
class Nature:
    """What kind of predictor this is, as far as it decides how its numbers are read."""

    kind: str = ""
    """In words, where it is not a network: `exact world`, `3-gram counts`."""
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
