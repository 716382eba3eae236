"""What a file says was asked of the engine: its sampling settings, as `--declared` takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from freerun.errors import UsageError
from freerun.jobs.verify.options import VerifyOptions
from freerun.predictors.rules import SamplingRule
from freerun.results.verify import SamplingAsked

_NAMES = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_MOST = 8


def asked_words(sampling: Mapping[str, Any]) -> str:
    """The steps of a rule in a request, empty where there are none.

    >>> asked_words({"temperature": 0.7, "top_k": 50, "stop": ["x"]}), asked_words({"max_tokens": 9})
    ('temperature=0.7,top_k=50', '')
    """
    known = ((name, sampling.get(name)) for name in _NAMES)
    return ",".join(f"{name}={x:g}" for name, x in known if isinstance(x, int | float) and not isinstance(x, bool))


def sampling_asked(found: Counter[str], chosen: VerifyOptions) -> tuple[SamplingAsked, ...]:
    """The settings of the file, the most frequent first, each with whether it is the declared rule."""
    return tuple(SamplingAsked(words, n, _is_declared(words, chosen)) for words, n in found.most_common(_MOST))


def _is_declared(words: str, chosen: VerifyOptions) -> bool:
    """Whether the steps are the same; a file does not say in which order its engine takes them."""
    try:
        return set(SamplingRule.declared(words).steps) == set(chosen.rule.steps)
    except UsageError:
        return False
