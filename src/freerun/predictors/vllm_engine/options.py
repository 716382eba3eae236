"""What may be typed after `vllm-engine/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freerun.errors import UsageError, nearest
from freerun.predictors.entries import Parameter, split_outside, text, unwrapped, whole, word

PROVIDER = "vllm-engine"
MODEL_WINDOW = whole("window", None, "tokens of the context, where fewer than the model's own are wanted", low=16)
ROWS = whole("rows", 64, "sequences that vLLM runs together at most", low=1, high=4096)
TENSOR_PARALLEL = whole("tensor-parallel", 1, "devices that share each layer", low=1, high=1024)
PIPELINE_PARALLEL = whole("pipeline-parallel", 1, "groups of devices that share the layers", low=1, high=1024)
CACHE = whole("cache-gib", None, "memory for vLLM's cache of keys and values, GiB", low=1)
COMPILE = word("compile", "yes", ("yes", "no"), "have vLLM compile the model, which takes minutes and makes it faster")
READ = word(
    "read", "auto", ("auto", "no"), "observe given texts while vLLM reads them; no: have it write them, token by token"
)
QUANTIZATION = text("quantization", "vLLM's name of the weights' quantisation, where it does not see it by itself")
OPTIONS: tuple[Parameter, ...] = (
    MODEL_WINDOW,
    ROWS,
    TENSOR_PARALLEL,
    PIPELINE_PARALLEL,
    CACHE,
    COMPILE,
    READ,
    QUANTIZATION,
)


@dataclass(frozen=True)
class EngineOptions:
    """How vLLM is set up; what changes the law is part of the model's fingerprint."""

    dtype: str = "fp32"
    longest: int | None = None
    """Tokens of a context; None: what the model's files say."""
    rows: int = 64
    """Requests that run together at most."""
    eager: bool = False
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    cache_gib: float | None = None
    """Memory for keys and values; None: vLLM's choice on a GPU, 2 GiB on a CPU."""
    quantization: str | None = None
    trust_remote_code: bool = False
    more: tuple[tuple[str, Any], ...] = ()
    """Further arguments of vLLM's, for tests of its scheduler."""


@dataclass(frozen=True)
class Typed:
    """What was typed after `vllm-engine/`."""

    model: str
    """A folder, a name of the hub with or without `@REVISION`, or a name of the catalogue."""
    options: EngineOptions
    reads: bool
    name: str

    @property
    def is_folder(self) -> bool:
        return self.model.startswith((".", "/", "~"))


def read_typed(typed: str) -> Typed:
    """Take it apart.

    >>> read_typed("org/model@main,rows=8").options.rows
    8

    Raises:
        UsageError: no model, or an option that there is not.
    """
    model, *settings = split_outside(unwrapped(typed), ",")
    known = {p.name: p for p in OPTIONS}
    of = f"{PROVIDER}/{model}"
    if not model or "://" in model:
        raise UsageError(f"{of}: give vllm-engine/ORG/NAME, vllm-engine/./folder or a name of the catalogue")
    given: dict[str, Any] = {}
    for setting in settings:
        option, equals, value = setting.partition("=")
        if option not in known or not equals:
            raise UsageError(f"{of} has no option {setting!r}{nearest(option, known)}; it has {', '.join(known)}=")
        if option in given:
            raise UsageError(f"{of}: {option} is given twice")
        given[option] = known[option].read(value, of=of)
    values = {p.name: given.get(p.name, p.default) for p in OPTIONS}
    options = EngineOptions(
        longest=values["window"],
        rows=values["rows"],
        eager=values["compile"] == "no",
        tensor_parallel=values["tensor-parallel"],
        pipeline_parallel=values["pipeline-parallel"],
        cache_gib=values["cache-gib"],
        quantization=values["quantization"],
    )
    return Typed(model, options, values["read"] == "auto", f"{PROVIDER}/{typed}")
