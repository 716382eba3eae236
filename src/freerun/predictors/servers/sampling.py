"""Which sampling rules a server can be told, and the numbers that are sent for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from freerun.errors import UsageError
from freerun.predictors.rules import SamplingRule, steps_in_order


@dataclass(frozen=True)
class Settings:
    """A sampling rule as numbers, every one of which is sent."""

    temperature: float = 1.0
    top_k: int = 0
    """0: all."""
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    steps: tuple[str, ...] = ()
    """Names of those that do something, in the order in which they are to be taken."""
    sent: bool = True
    """False: nothing is sent, and the server samples as it does by itself."""


@dataclass(frozen=True)
class Steps:
    """The steps that a kind of server takes, and how far it can be told which."""

    engine: str
    """Whose order of steps it has."""
    chooses_order: bool = False
    """It is told the order of the steps with every request; penalties come first all the same."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Steps that it cannot be told to take as they are defined here, and why."""
    not_together: Mapping[frozenset[str], str] = field(default_factory=dict)
    """Steps of which it can be told only one, and why."""

    def settings(self, rule: SamplingRule, software: str) -> Settings:
        """The numbers of a rule.

        Raises:
            UsageError: the server cannot be told this rule; names the step.
        """
        values: dict[str, Any] = {}
        for step in rule.steps:
            for name, value in vars(step).items():
                if name in values:
                    raise UsageError(f"{software} can be told {name} once, and {rule.describe()} has it twice")
                values[name] = value
        for name in values:
            if name in self.refused:
                raise UsageError(f"{software} cannot be told this {name}: {self.refused[name]}; leave it out")
        for names, why in self.not_together.items():
            if names <= set(values):
                raise UsageError(
                    f"{software} cannot be told {' and '.join(sorted(names))} together: {why}; leave one of them out"
                )
        self._check_order(tuple(values), rule, software)
        return Settings(**values, steps=tuple(values))

    def _check_order(self, names: tuple[str, ...], rule: SamplingRule, software: str) -> None:
        if self.chooses_order:
            first = [name for name in names if name.endswith("_penalty")]
            if list(names[: len(first)]) != first:
                raise UsageError(f"{software} takes penalties before all else; {rule.describe()} does not")
            return
        its = steps_in_order(self.engine, names)
        if names != its:
            raise UsageError(
                f"{software} goes by {', then '.join(its)}, and {rule.describe()} goes in another order; `freerun "
                f"verify` takes --order {self.engine}"
            )
