"""Fake servers, and served models on them that do not wait between tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from freerun.predictors.servers.address import read_address
from freerun.predictors.servers.faults import Patience
from freerun.predictors.servers.loading import load_served
from freerun.predictors.servers.predictor import ServedModel
from tests.predictors.servers.fake import Fake, byte_tokenizer, serving

AT_ONCE = Patience(first_wait_seconds=1e-4, longest_wait_seconds=1e-3, busy_seconds=2.0)
Served = Callable[..., ServedModel]
PROVIDERS = ("vllm", "sglang", "llama-server", "openai")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_tokenizer(tmp_path_factory.mktemp("bytes"))


@pytest.fixture
def served(tokenizer: Path) -> Iterator[Served]:
    """`served(provider, fake, trial=…)` starts the fake and connects to it."""
    pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")
    with ExitStack() as stack:

        def start(provider: str, fake: Fake, *, options: str = "", trial: bool = False) -> ServedModel:
            fake.folder = None if provider == "llama-server" else tokenizer
            stack.enter_context(serving(fake))
            local = "" if provider == "llama-server" else f",tokenizer=hf/{tokenizer}"
            window = ",window=64" if provider == "openai" else ""
            address = read_address(provider, f"m@{fake.url}{local}{window}{options}")
            model = load_served(address, trial=trial, patience=AT_ONCE)
            stack.callback(model.client.close)
            return model

        yield start
