"""Which devices torch can compute on here."""

from __future__ import annotations

import torch


def devices() -> list[str]:
    """Names of the devices, the processor last.

    >>> devices()[-1]
    'cpu'
    """
    found = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
