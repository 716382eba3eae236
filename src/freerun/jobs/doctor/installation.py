"""This installation: Python, what each extra needs, devices, compiled kernels, and the folders that are written to."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from freerun.counted import counted
from freerun.errors import first_line
from freerun.predictors.weights.catalogue import CATALOGUE, cache_folder
from freerun.results.doctor import Check, Outcome
from freerun.runs.provenance import cores

OLDEST = (3, 11)
ROOM_MB = 1500
"""Disk that the larger model of the catalogue takes."""


def installation() -> tuple[Check, ...]:
    """Every check of this installation."""
    return tuple(_checks())


def _checks() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _check(
        "python",
        f"Is Python {OLDEST[0]}.{OLDEST[1]} or later?",
        sys.version_info[:2] >= OLDEST,
        f"Python {version}, {counted(cores(), 'core')}",
        ("", "freerun does not run on it"),
        decides=True,
    )
    yield from _packages()
    yield _devices()
    yield _kernels()
    yield _folder(
        "cache",
        cache_folder(),
        "weights are kept there once",
        "no weights can be fetched: set FREERUN_CACHE to another folder",
    )
    yield _folder(
        "runs", Path.cwd(), "runs are written there", "runs cannot be written here: give -o FOLDER", decides=True
    )
    names = [m for m in CATALOGUE if _is_cached(m)]
    yield _check(
        "weights",
        "Is a model of the catalogue here already?",
        bool(names),
        ", ".join(names) or "none",
        ("an audit starts at once", "the first audit fetches its model by pip"),
    )


def _check(
    name: str, question: str, passed: bool | None, seen: str, meanings: tuple[str, str], *, decides: bool = False
) -> Check:
    outcome: Outcome = "not_tested" if passed is None else "passed" if passed else "failed"
    return Check(
        name, question, outcome, decides, None, "", None, seen, "" if passed is None else meanings[0 if passed else 1]
    )


def _packages() -> Iterator[Check]:
    """What freerun itself needs, then each extra, as the installed package declares them."""
    needs: dict[str, list[str]] = {"": []}
    for line in importlib.metadata.requires("freerun") or []:
        marked = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        needs.setdefault(marked[1] if marked else "", []).append(line.partition(";")[0].strip())
    for extra, wanted in needs.items():
        faults = [fault for line in wanted if (fault := _fault(line))]
        seen = "; ".join(faults) if faults else ", ".join(re.split(r"[\s<>=!~\[]", line)[0] for line in wanted)
        if not extra:
            yield _check(
                "core",
                "Is all there that freerun itself needs?",
                not faults,
                seen,
                ("", "pip install --upgrade . in a checkout of freerun"),
                decides=True,
            )
        elif extra != "dev":
            install, gives = f"pip install 'freerun[{extra}]'", _EXTRAS.get(extra, "")
            question = f"Is the extra [{extra}] there?"
            check = _check(f"extra_{extra}", question, True if not faults else None, seen, (gives, ""))
            yield check if not faults else replace(check, meaning=f"for {gives}: {install}" if gives else install)


_EXTRAS = {
    "hf": "models of transformers and GGUF files",
    "servers": "models behind servers",
    "peft": "LoRA adapters",
    "vllm": "vLLM inside the process, in an environment of its own",
    "explore": "the local page of freerun explore",
    "ray": "workers on several machines, and parts at any URL",
    "corpora": "data sets of the hub",
    "pandas": "tables as DataFrames",
    "wandb": "export to Weights & Biases",
    "mlflow": "export to MLflow",
    "trackio": "export to trackio",
}


def _fault(requirement: str) -> str:
    """What is wrong with an installed package, as one requirement (`torch>=2.6`) has it; empty: nothing.

    >>> _fault("numpy>=1.0"), _fault("numpy>=1.0,<1.1").startswith("numpy "), _fault("no-such-package>=1")
    ('', True, 'no-such-package is missing')
    """
    name = re.split(r"[\s<>=!~\[]", requirement, maxsplit=1)[0]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is missing"
    wanted = re.findall(r"(>=|<)\s*([\d.]+)", requirement)
    right = all((_numbers(version) >= _numbers(limit)) == (sign == ">=") for sign, limit in wanted)
    return "" if right else f"{name} is {version}, wanted {', '.join(sign + limit for sign, limit in wanted)}"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, zeros at the end left out.

    >>> _numbers("2.6.0+cpu"), _numbers("1.10rc1")
    ((2, 6), (1, 10))
    """
    out: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        out.append(int(digits[0]))
        if digits[0] != part:
            break
    while out and not out[-1]:
        out.pop()
    return tuple(out)


def _devices() -> Check:
    question = "On what can models compute?"
    if find_spec("torch") is None:
        return _check("devices", question, None, "torch is not here", ("", ""))
    seen, passed = _tried(_device_names)
    return _check("devices", question, passed, seen, ("--device chooses; auto takes the first", "torch is broken here"))


def _device_names() -> str:
    from freerun.predictors.huggingface.devices import devices

    return ", ".join(devices())


def _kernels() -> Check:
    question = "Do the compiled kernels work?"
    if find_spec("numba") is None:
        return _check("kernels", question, None, "numba is not here: NumPy is used, several times slower", ("", ""))
    seen, passed = _tried(_kernel_sum)
    return _check(
        "kernels",
        question,
        passed,
        seen,
        ("laws are observed at full speed", "laws cannot be observed: reinstall numba"),
    )


def _kernel_sum() -> str:
    import numpy as np

    from freerun.predictors.kernels.compiled import _largest

    row = np.arange(64, dtype=np.float32)
    if _largest(row) != 63.0:
        raise ValueError("the largest of 0 … 63 is wrong")
    return f"numba {importlib.metadata.version('numba')}"


def _tried(look: Callable[[], str]) -> tuple[str, bool]:
    try:
        return look(), True
    except Exception as error:  # whatever a broken library raises is what is looked for
        return f"{type(error).__name__}: {first_line(error)}", False


def _folder(name: str, path: Path, good: str, bad: str, *, decides: bool = False) -> Check:
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free / 1e6
    except OSError as error:
        return _check(
            name, f"Can {path} be written to?", False, error.strerror or str(error), ("", bad), decides=decides
        )
    room = "" if free >= ROOM_MB else f", which is little: the largest model of the catalogue takes {ROOM_MB:,} MB"
    return _check(name, f"Can {path} be written to?", True, f"{free:,.0f} MB free{room}", (good, bad), decides=decides)


def _is_cached(name: str) -> bool:
    from freerun.predictors.weights.catalogue import cached

    return cached(CATALOGUE[name]) is not None
