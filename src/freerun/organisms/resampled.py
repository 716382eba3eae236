"""Temperature and truncation as a law: what a sampler's setting would be is now the prediction itself."""

from __future__ import annotations

from freerun.organisms.entry import OrganismEntry
from freerun.organisms.wrapper import Reshaped
from freerun.predictors.base import Predictor
from freerun.predictors.entries import Parameter, whole
from freerun.predictors.law import Law
from freerun.predictors.rules import SamplingRule


class Resampled(Reshaped):
    """The model's law is a tempered or truncated one: what a sampler's setting would be is now the prediction itself."""

    def __init__(self, inner: Predictor, rule: SamplingRule, *, name: str) -> None:
        super().__init__(inner, name=name, kind=f"resampled({rule!r})")
        self.rule = rule

    def _reshape(self, law: Law) -> Law:
        return self.rule.apply(law)


TEMPERATURE = OrganismEntry(
    "temperature",
    "the law to the power 1/t",
    lambda made, v: Resampled(made.inner, SamplingRule.of(temperature=v["t"]), name=made.name),
    (Parameter("t", "real", "temperature", default=0.9, low=0.0, high=100.0),),
)
TOP_K = OrganismEntry(
    "top_k",
    "the k most probable tokens only",
    lambda made, v: Resampled(made.inner, SamplingRule.of(top_k=v["k"]), name=made.name),
    (whole("k", 50, "tokens kept", low=1),),
)
TOP_P = OrganismEntry(
    "top_p",
    "the smallest set of tokens of mass p only",
    lambda made, v: Resampled(made.inner, SamplingRule.of(top_p=v["p"]), name=made.name),
    (Parameter("p", "real", "mass kept", default=0.95, low=0.0, high=1.0, closed_high=True),),
)
