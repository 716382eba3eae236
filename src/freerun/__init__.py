"""freerun: what does a language model predict, and what happens when it runs free?

import freerun
run = freerun.audit("smollm2-135m-instruct", "builtin/python-docs")
print(run.verdict)
predictor = freerun.load("smollm2-135m-instruct")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freerun.jobs.audit.audit import audit
    from freerun.jobs.compare import compare
    from freerun.jobs.distance.distance import distance
    from freerun.jobs.doctor.doctor import doctor
    from freerun.jobs.face import certify, grid, power, predict, source
    from freerun.jobs.lab.face import disagreement, organism
    from freerun.jobs.loops.loops import loops
    from freerun.jobs.verify.verify import verify
    from freerun.runs.run import Run, open_run
    from freerun.specs.spec import load_predictor as load

__version__ = "0.1.0"
__all__ = [
    "Run",
    "__version__",
    "audit",
    "certify",
    "compare",
    "disagreement",
    "distance",
    "doctor",
    "grid",
    "load",
    "loops",
    "open_run",
    "organism",
    "power",
    "predict",
    "source",
    "verify",
]

_LAZY = {
    "audit": ("freerun.jobs.audit.audit", "audit"),
    "certify": ("freerun.jobs.face", "certify"),
    "compare": ("freerun.jobs.compare", "compare"),
    "disagreement": ("freerun.jobs.lab.face", "disagreement"),
    "distance": ("freerun.jobs.distance.distance", "distance"),
    "doctor": ("freerun.jobs.doctor.doctor", "doctor"),
    "grid": ("freerun.jobs.face", "grid"),
    "load": ("freerun.specs.spec", "load_predictor"),
    "loops": ("freerun.jobs.loops.loops", "loops"),
    "open_run": ("freerun.runs.run", "open_run"),
    "organism": ("freerun.jobs.lab.face", "organism"),
    "power": ("freerun.jobs.face", "power"),
    "predict": ("freerun.jobs.face", "predict"),
    "Run": ("freerun.runs.run", "Run"),
    "source": ("freerun.jobs.face", "source"),
    "verify": ("freerun.jobs.verify.verify", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'freerun' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
