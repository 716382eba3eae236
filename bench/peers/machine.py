"""The machine that a measurement was made on, in words that matter for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def describe() -> dict[str, object]:
    """Processor, cores, caches, memory and the instructions that matrix products use."""
    words = _cpuinfo()
    flags = set((words.get("flags") or words.get("Features") or "").split())
    return {
        "processor": words.get("model name", platform.processor() or "unknown"),
        "family and model": f"{words.get('cpu family', '?')}/{words.get('model', '?')}",
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cache": words.get("cache size", "unknown"),
        "memory_gib": _memory_gib(),
        "instructions": [f for f in FLAGS if f in flags],
        "bf16_instructions": has_bf16(flags),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "virtual": "hypervisor" in flags,
        "load_before": [round(x, 2) for x in os.getloadavg()],
    }


def has_bf16(flags: set[str]) -> bool:
    return any(f in flags for f in BF16_FLAGS)


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
