"""The two models: both in memory, or one at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.predictors.stepwise import Stepwise

Name = Literal["a", "b"]


@dataclass
class Models:
    """Where A and B come from. `one_at_a_time`: the other one is let go before one is loaded."""

    load: dict[Name, Callable[[], Stepwise[Any]]]
    one_at_a_time: bool
    _loaded: dict[Name, Stepwise[Any]] = field(default_factory=dict)

    def get(self, name: Name) -> Stepwise[Any]:
        """A model, loaded if it is not."""
        if name not in self._loaded:
            if self.one_at_a_time:
                self.let_go()
            self._loaded[name] = self.load[name]()
        return self._loaded[name]

    def let_go(self) -> None:
        """Free the memory of what is loaded; a model that was given as an object stays with who gave it."""
        self._loaded.clear()
        gc.collect()
