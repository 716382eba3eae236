"""What may be set of a verification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from freerun.errors import UsageError
from freerun.predictors.rules import FrequencyPenalty, PresencePenalty, RepetitionPenalty, SamplingRule

Ends = Literal["auto", "present", "missing"]
_COUNTED_OTHERWISE = {
    ("sglang", RepetitionPenalty): "counts the tokens that were written, not those of the prompt",
    ("llama.cpp", PresencePenalty): "counts the prompt's tokens, too, not only those written",
    ("llama.cpp", FrequencyPenalty): "counts the prompt's tokens, too, not only those written",
}
"""Penalties that an engine applies to other tokens."""


@dataclass(frozen=True)
class VerifyOptions:
    """`declared`: the rule that the engine was given, in the `order` of its steps. `other`: a second model to try as a cause."""

    declared: str = "t=1"
    order: str = "vllm"
    other: str | None = None
    format: str | None = None
    requests: str | None = None
    ends: Ends = "auto"
    """Whether completions that ended hold their end token; auto: as the file shows."""
    cause_tokens: int = 8192
    """Most tokens that causes are searched on."""
    floor_nats: float | None = None
    """Noise of log-probabilities that counts for nothing, root mean square; None: as measured."""
    seed: int = 0
    chat: bool = False
    """Prompts are rendered by the model's own chat template."""
    system: str | None = None
    template_options: tuple[str, ...] = ()
    prompt_field: str | None = None
    text_field: str | None = None
    text_tokens: int = 8192
    """Most tokens of given text that the law's own texts are drawn for, where the file has no ids."""

    def __post_init__(self) -> None:
        if self.cause_tokens < 256:
            raise UsageError(f"--cause-tokens must be at least 256, not {self.cause_tokens}")
        if self.text_tokens < 256:
            raise UsageError(f"--text-tokens must be at least 256, not {self.text_tokens}")
        if self.floor_nats is not None and not 0 <= self.floor_nats < 1:
            raise UsageError(f"--floor must lie in [0, 1) nats, not {self.floor_nats}")
        for step in self.rule.penalties:
            why = _COUNTED_OTHERWISE.get((self.order, type(step)))
            if why is not None:
                raise UsageError(
                    f"--declared {self.declared}: {step.describe()} of {self.order} {why}, and here tokens are counted as "
                    "vLLM does (`--order vllm`): there is no law to hold such samples against"
                )
        if self.rule.is_deterministic:
            raise UsageError(
                f"--declared {self.declared}: a rule that leaves nothing to chance has no law to hold samples against; "
                "`freerun predict` shows the most probable token"
            )

    @property
    def rule(self) -> SamplingRule:
        return SamplingRule.declared(self.declared, order=self.order)


class VerifyKeywords(TypedDict, total=False):
    declared: str
    order: str
    other: str | None
    format: str | None
    requests: str | None
    ends: Ends
    cause_tokens: int
    floor_nats: float | None
    seed: int
    chat: bool
    system: str | None
    template_options: tuple[str, ...]
    prompt_field: str | None
    text_field: str | None
    text_tokens: int
