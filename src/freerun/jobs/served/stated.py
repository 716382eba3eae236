"""The rule that a server says it samples by when nothing is sent: its own defaults, or those of the model's generation config."""

from __future__ import annotations

from collections.abc import Mapping

from freerun.errors import FreerunError
from freerun.predictors.rules import SamplingRule
from freerun.predictors.servers.predictor import ServedModel

_OTHER_NAMES = {"repeat_penalty": "repetition_penalty"}
_UNKNOWN_HERE = {"typical_p": 1.0}
"""Steps that no rule here has, and where they do nothing."""


def own_rule(model: ServedModel) -> SamplingRule | None:
    """The rule that a server says it samples by when nothing is sent; None where it says none that is known here."""
    values = {_OTHER_NAMES.get(k, k): v for k, v in model.own_defaults.items()}
    return _rule(values, model.dialect.steps.engine)


def _rule(values: Mapping[str, float], engine: str) -> SamplingRule | None:
    if not values or any(values.get(k, nothing) != nothing for k, nothing in _UNKNOWN_HERE.items()):
        return None
    known = {k: v for k, v in values.items() if k not in _UNKNOWN_HERE}
    typed = [f"{k}={int(v) if k == 'top_k' else format(v, '.6g')}" for k, v in known.items()]
    try:
        rule = SamplingRule.declared(",".join(typed), order=engine)
    except FreerunError:
        return None
    return None if rule.is_deterministic else rule
