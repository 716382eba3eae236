"""What is ordered of one request. It travels with the request into vLLM's workers, in `SamplingParams.extra_args`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Ids
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.stats.loops.lag_runs import LoopRule

EXTRA = "freerun"
"""Key in `extra_args`."""
_NO_IDS = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Order:
    """Places count from the first token that the request reads: token `n_prompt` is the first one that it writes."""

    serial: int
    """The request's own number in its engine."""
    ids: Ids
    """The prompt, and after it the tokens that must be written; what is not given is drawn."""
    n_prompt: int
    n_new: int
    """Tokens that it writes at most."""
    n_lead: int = 0
    """Ids at the start of the prompt that are not part of the text."""
    earlier: Ids = field(default_factory=lambda: _NO_IDS)
    """Ids of the text that the window has let go of; a loop may begin there."""
    seed: int = 0
    key: int = 0
    first_draw: int = 0
    """Which of the sequence's uniforms is the first token's."""
    sampling: SamplingRule = MODEL_LAW
    loop_rule: LoopRule | None = None
    """What is watched at the places of tokens that are drawn."""
    watched_from: int = 0
    watched: tuple[Ids, ...] = ()
    """Ids whose mass is wanted at the given places from `watched_from` on; none where there is nothing."""
    prompt_from: int | None = None
    """The first token of the prompt that is observed; None: none is."""
    keep_from: int | None = None
    """The first token before which the logits are kept; None: none are."""

    @property
    def stop(self) -> int:
        """One past the last place that it may write."""
        return self.n_prompt + self.n_new

    @property
    def is_drawn(self) -> bool:
        """Whether it writes tokens that are not given."""
        return len(self.ids) < self.stop

    def text_before(self, written: Ids) -> Ids:
        """The text that stands before the next token, given what was written so far."""
        return np.concatenate([self.earlier, self.ids[self.n_lead : self.n_prompt], written])

    def to_extra(self) -> dict[str, Any]:
        """As integers, texts and bytes, which every serialiser of vLLM knows."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        rule = self.loop_rule
        return {
            EXTRA: {
                **{name: int(value) for name, value in values.items() if isinstance(value, (int, np.integer))},
                "ids": _packed(self.ids),
                "earlier": _packed(self.earlier),
                "sampling": written_out(self.sampling),
                "loop_rule": None if rule is None else [rule.copies, rule.min_tokens, rule.max_period],
                "watched": _packed(np.concatenate([_NO_IDS, *self.watched])),
                "n_watched": _packed(np.array([len(ids) for ids in self.watched], np.int64)),
            }
        }

    @staticmethod
    def of_extra(extra: Mapping[str, Any] | None) -> Order | None:
        """The order that a request carries; None for somebody else's request."""
        if not extra or EXTRA not in extra:
            return None
        told = dict(extra[EXTRA])
        rule = told["loop_rule"]
        for name in ("ids", "earlier", "watched", "n_watched"):
            told[name] = np.frombuffer(told[name], np.int32).astype(np.int64)
        ends = np.cumsum(told.pop("n_watched"))
        told["watched"] = tuple(np.split(told["watched"], ends[:-1])) if len(ends) else ()
        told["sampling"] = SamplingRule.declared(told["sampling"], order="typed") if told["sampling"] else MODEL_LAW
        told["loop_rule"] = None if rule is None else LoopRule(*rule)
        return Order(**told)


def written_out(rule: SamplingRule) -> str:
    """A rule as it is typed, every number to the last bit.

    >>> written_out(SamplingRule.parse("t=0.7,top_p=0.9"))
    'temperature=0.7,top_p=0.9'
    """
    return ",".join(f"{name}={value!r}" for step in rule.steps for name, value in vars(step).items())


def _packed(ids: Int[np.ndarray, " n"]) -> bytes:
    return np.asarray(ids, np.int32).tobytes()
