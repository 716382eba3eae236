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
    from freerun.jobs.doctor.doctor import doctor
    from freerun.jobs.face import certify, power, predict, source
    from freerun.runs.run import Run, open_run
    from freerun.specs.spec import load_predictor as load

__version__ = "0.1.0"
__all__ = [
    "Run",
    "__version__",
    "audit",
    "certify",
    "compare",
    "doctor",
    "load",
    "open_run",
    "power",
    "predict",
    "source",
]

_LAZY = {
    "audit": ("freerun.jobs.audit.audit", "audit"),
    "certify": ("freerun.jobs.face", "certify"),
    "compare": ("freerun.jobs.compare", "compare"),
    "doctor": ("freerun.jobs.doctor.doctor", "doctor"),
    "load": ("freerun.specs.spec", "load_predictor"),
    "open_run": ("freerun.runs.run", "open_run"),
    "power": ("freerun.jobs.face", "power"),
    "predict": ("freerun.jobs.face", "predict"),
    "Run": ("freerun.runs.run", "Run"),
    "source": ("freerun.jobs.face", "source"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'freerun' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
