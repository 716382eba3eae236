"""Models that run in vLLM, inside this process."""

from __future__ import annotations

from freerun.predictors.base import Predictor
from freerun.predictors.vllm_engine.options import OPTIONS, PROVIDER, read_typed
from freerun.specs.provider import LoadOptions, Provider, Tell


def _load(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    from freerun.predictors.vllm_engine.loading import load_engine

    return load_engine(
        read_typed(name),
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
        end_ids=options.end_ids,
        chat=options.chat,
        tell=tell,
    )


def _check(name: str) -> None:
    read_typed(name)


VLLM_ENGINE = Provider(
    PROVIDER,
    (
        ("vllm-engine/ORG/NAME[@REV]", "a model of the hub that runs in vLLM, inside this process (docs/vllm.md)"),
        ("vllm-engine/./folder", "the same from a checkpoint folder; a name of the catalogue may stand there, too"),
    ),
    _load,
    options=OPTIONS,
    extra="vllm",
    modules=("vllm",),
    chooses_ends=True,
    own_settings=True,
    check=_check,
)
