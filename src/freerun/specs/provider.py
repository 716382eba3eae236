"""What a provider of models is: how its models are named, what they need, what loads them, and what may be typed after the name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

from freerun.errors import BackendError, UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.entries import Parameter, word


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded; part of its fingerprint where it changes the law."""

    dtype: str = "fp32"
    device: str = "auto"
    trust_remote_code: bool = False
    round: str = "none"
    """Weights rounded per output channel, simulated: none, int8 or int4. Typed after the model: `,round=int8`."""
    spare_weights: str = "refuse"
    """What becomes of tensors that the model has no place for: refuse, or drop. Typed after the model: `,spare-weights=drop`."""
    end_ids: tuple[int, ...] | None = None
    """What ends a text, instead of all that the model's files declare (`--end-ids`)."""
    trial: bool = True
    """Try a served model out before it is used; `freerun doctor` does so itself, one check at a time."""


AS_IT_IS = LoadOptions()
"""fp32 on the device that is there."""
Tell = Callable[[str], None]
Loader = Callable[[LoadOptions, Tell], Predictor]

ROUND = word("round", "none", ("none", "int8", "int4"), "weights rounded per output channel, simulated")
SPARE_WEIGHTS = word(
    "spare-weights", "refuse", ("refuse", "drop"), "tensors that the model of the config has no place for"
)


@dataclass(frozen=True)
class Provider:
    """One way to come by a model, named `NAME/…`. What `load` needs is imported when it is called."""

    name: str
    forms: tuple[tuple[str, str], ...]
    """What is typed, and what it means."""
    load: Callable[[str, LoadOptions, Tell], Predictor]
    """From what stands after `NAME/` to the predictor."""
    options: tuple[Parameter, ...] = ()
    """What may be typed after the name and a comma."""
    extra: str = ""
    """The extra of this package that it needs."""
    modules: tuple[str, ...] = ()
    """What that extra brings and loading needs."""
    weights: bool = False
    """Its models have weights, which can be rounded."""
    chooses_ends: bool = False
    """`--end-ids` may name other ends of text than its files declare."""
    own_settings: bool = False
    """What follows a comma is part of its own names."""
    exact: bool = False
    """Its law is the truth about the texts that it writes."""
    check: Callable[[str], None] = field(default=lambda _: None)
    """Refuses what stands after `NAME/` before anything is loaded."""

    def loader(self, name: str) -> Loader:
        """What loads one of its models.

        Raises (loading):
            BackendError: its extra is not installed. UsageError: ends were chosen where its files do not declare them.
        """

        def load(options: LoadOptions, tell: Tell) -> Predictor:
            if options.end_ids is not None and not self.chooses_ends:
                raise UsageError(
                    f"--end-ids: {self.name}/{name} says itself what ends a text; it goes with models that have a tokenizer"
                )
            self.check_installed()
            return self.load(name, options, tell)

        return load

    def check_installed(self) -> None:
        """Raises BackendError where a module that it needs is missing."""
        missing = [name for name in self.modules if find_spec(name) is None]
        if missing:
            torch_first = (
                " (on a machine without a GPU, install a CPU build of torch first)" if "torch" in self.modules else ""
            )
            raise BackendError(
                f"this model needs {', '.join(missing)}, which this Python does not have: pip install 'freerun[{self.extra}]'"
                f"{torch_first}"
            )
