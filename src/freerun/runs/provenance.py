"""What a run was made with: versions, hardware, threads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime

from freerun.counted import counted
from freerun.predictors.base import Predictor

_PACKAGES = ("freerun", "numpy", "scipy", "scikit-learn", "pyarrow", "torch", "transformers", "tokenizers")


def provenance() -> dict[str, str]:
    """A flat mapping of words for the manifest and the page; installed packages are asked, not imported."""
    found = {"created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["machine"] = f"{platform.machine()}, {_processor()}, {counted(cores(), 'core')}"
    found["system"] = f"{platform.system()} {platform.release().split('-')[0]}"
    return found


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_of(predictor: Predictor) -> str:
    """Where a model's arithmetic was done: the device of its weights, or of those inside it; NumPy's is the processor."""
    return next((str(w.device) for part in predictor.parts() for w in part.own_weights()), "cpu")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
