"""Models behind servers: vLLM, SGLang, llama.cpp's server, and others that speak OpenAI's completions."""

from __future__ import annotations

from functools import partial

from freerun.predictors.base import Predictor
from freerun.predictors.servers.address import OPTIONS, read_address
from freerun.specs.provider import LoadOptions, Provider, Tell


def _load(provider: str, name: str, options: LoadOptions, tell: Tell) -> Predictor:
    from freerun.predictors.servers.loading import load_served

    return load_served(read_address(provider, name), tell=tell, end_ids=options.end_ids, trial=options.trial)


def _check(provider: str, name: str) -> None:
    read_address(provider, name, check_key=False)


def _served(name: str, meaning: str) -> Provider:
    return Provider(
        name,
        ((f"{name}/NAME@http://HOST:PORT", meaning),),
        partial(_load, name),
        options=OPTIONS,
        extra="servers",
        modules=("aiohttp",),
        chooses_ends=True,
        own_settings=True,
        check=partial(_check, name),
    )


VLLM = _served("vllm", "a model that vLLM serves")
SGLANG = _served("sglang", "a model that SGLang serves")
LLAMA_SERVER = _served("llama-server", "a model that llama.cpp's server serves (any NAME: it serves one)")
OPENAI = _served("openai", "a model of any server that echoes prompts with log-probabilities in OpenAI's completions")
