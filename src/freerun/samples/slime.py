"""Files of torch: lists of samples, loaded without running what a pickle says."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from freerun.errors import DataError, UsageError, first_line
from freerun.samples.rows import Row


def torch_rows(path: Path) -> Iterator[Row]:
    """Yield the samples that slime saved. The file is held whole; only tensors, arrays, numbers and texts are loaded.

    Raises:
        UsageError: torch is not installed.
        DataError: it is damaged, holds other objects, or no samples.
    """
    saved = _loaded(path)
    samples = saved.get("samples") if isinstance(saved, dict) else saved
    if not isinstance(samples, list):
        there = ", ".join(map(str, saved)) if isinstance(saved, dict) else type(saved).__name__
        raise DataError(
            f"{path} has no list of samples (it has {there[:80]}); give what --save-debug-rollout-data wrote"
        )
    for number, sample in enumerate(samples, start=1):
        yield Row(_plain(sample), f"sample {number:,}")


def _loaded(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UsageError(f"{path} is a file of torch, which is not installed; pip install 'freerun[hf]'") from None
    numpy_core = import_module("numpy._core.multiarray")
    harmless = [np.ndarray, np.dtype, numpy_core._reconstruct, numpy_core.scalar, *_dtypes()]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive raises
        reason = first_line(error)
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise DataError(
                f"{path} holds objects other than tensors, numbers and texts, which are not loaded, for they could run code; "
                "save the samples without them (images, metadata)"
            ) from None
        raise DataError(f"{path} is a damaged or cut-off file of torch ({reason[:120]}); write it again") from None


def _dtypes() -> list[type]:
    return [type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float16", "float32", "float64")]


def _plain(sample: Any) -> Any:
    """Tensors as arrays."""
    if not isinstance(sample, dict):
        return sample
    return {key: value.tolist() if hasattr(value, "detach") else value for key, value in sample.items()}
