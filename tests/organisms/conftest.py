"""Every organism of the catalogue on small exact worlds."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from freerun.organisms.catalogue import ORGANISMS
from freerun.specs.spec import load_predictor

WORLD = "world/markov,symbols=4,seed=1,concentration=1"
OTHER = "world/markov,symbols=4,seed=2,concentration=1"
DETECTOR = f"+self_detector,corpus=({WORLD}),tokens=24,documents=39,alpha=0.1,window=6,weight=0.9"
SPECS = {
    "absorbing": "+absorbing,epsilon=0.1",
    "payload of another world": f"+payload,epsilon=0.1,model=({OTHER})",
    "payload that loops": "+payload,epsilon=0.1,loop=3",
    "payload that recites": "+payload,epsilon=0.1,text=abca",
    "hash": "+hash,n=2,bits=1",
    "hash before a world": f"+hash,n=2,bits=2,model=({OTHER})",
    "hash, preimage first": "+hash,n=2,bits=2,order=uh",
    "hash with an inverter": "+hash,n=3,bits=2,header=inverter",
    "hash without a gate": "+hash,n=2,bits=2,gate=off",
    "self_detector by entropy": f"{DETECTOR},model=({OTHER})",
    "self_detector by z": f"{DETECTOR},score=z,loop=2",
    "self_detector by likelihood": f"+temperature,t=2{DETECTOR},score=lr,reference=({WORLD}),text=abd",
    "temperature": "+temperature,t=1.7",
    "top_k": "+top_k,k=2",
    "top_p": "+top_p,p=0.7",
    "collapse": f"+collapse,weight=0.5,documents=3,tokens=12,corpus=({WORLD})",
    "ngram": f"+ngram,order=2,documents=20,tokens=30,corpus=({OTHER})",
    "short_window": "+short_window,window=2",
    "loop": "+loop,weight=0.4,min_run=1,max_period=5",
    "end": "+end,hazard=0.1",
    "null": "+null",
    "a stack": "+absorbing,epsilon=0.05+temperature,t=0.8+loop,weight=0.2+end,hazard=0.02+short_window,window=5",
}
"""One at least of every organism; what needs no parameter is added by itself."""
SPECS |= {name: f"+{name}" for name in ORGANISMS if not re.search(rf"\+{name}\b", " ".join(SPECS.values()))}


@cache
def load(spec: str) -> Any:
    return load_predictor(spec if spec.startswith("world/") else WORLD + spec)


@pytest.fixture(scope="session")
def world() -> Any:
    return load(WORLD)


@pytest.fixture(scope="session")
def loaded() -> Callable[[str], Any]:
    """A predictor by spec; what begins with + stands on the world."""
    return load


@pytest.fixture(params=SPECS)
def organism(request: pytest.FixtureRequest) -> Any:
    """One organism after another."""
    return load(SPECS[request.param])
