"""Three small audits of an exact world on the same documents: the predictor itself, a colder one, and a truncated sampler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import freerun
from freerun.jobs.audit.audit import audit

OPTIONS: dict[str, Any] = {"documents": 64, "prefix": 4, "tokens": 16}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return audit("world/markov", "world/markov", out=tmp_path_factory.mktemp("runs") / "base", **OPTIONS)


@pytest.fixture(scope="session")
def cold(base: freerun.Run) -> freerun.Run:
    return audit("world/markov+temperature,t=0.5", "world/markov", out=base.path.parent / "cold", **OPTIONS)


@pytest.fixture(scope="session")
def deployed(base: freerun.Run) -> freerun.Run:
    return audit("world/markov", "world/markov", out=base.path.parent / "deployed", sample_with="t=0.6", **OPTIONS)


@pytest.fixture
def example() -> dict[str, Any]:
    """The result of the committed audit of the 135M model."""
    path = Path(__file__).parents[2] / "docs" / "examples" / "audit-smollm2-135m-python-docs.json"
    return dict(json.loads(path.read_text()))
