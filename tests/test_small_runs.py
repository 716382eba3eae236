"""Every verb on small exact worlds gives the numbers and exit codes that are committed, whatever is moved or renamed.

`python tests/test_small_runs.py` writes the committed numbers again; `renamed.json` maps an old key to its new name.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main

GOLDEN = Path(__file__).parent / "golden"
SMALL = ["--documents", "40", "--tokens", "24", "--prefix", "8"]
AUDITS: dict[str, list[str]] = {
    "base": ["world/markov", "world/markov", *SMALL],
    "cold": ["world/markov+temperature,t=0.5", "world/markov", *SMALL],
    "absorbing": ["world/markov+absorbing,epsilon=0.05", "world/markov", *SMALL, "--fail-on", "horizon<16"],
    "truncated": ["world/markov", "world/markov", *SMALL, "--sample-with", "t=0.6"],
    "redacted": [
        "ngram/2@builtin/python-docs",
        "builtin/python-docs",
        "--documents",
        "40",
        "--tokens",
        "32",
        "--redact-text",
    ],
    "ngram": ["ngram/3@builtin/python-docs", "builtin/python-docs", "--documents", "40", "--tokens", "48"],
    "authors": ["world/authors", "world/authors", *SMALL, "--sources", "own", "--fail-on", "loss_nats>5"],
    "sweep": ["world/markov", "world/markov", "--documents", "40", "--tokens", "24", "--sweep", "prefix=4,16"],
}
OTHERS: dict[str, list[str]] = {
    "compare": ["compare", "base", "cold", "--json", "--fail-on", "loss_nats>+0.01"],
    "compare-three": ["compare", "base", "cold", "absorbing", "--json"],
    "compare-redacted": ["compare", "ngram", "redacted", "--anyway", "--json"],
    "compare-refused": ["compare", "base", "ngram", "--json"],
    "certify": ["certify", "--excess", "0.01", "--tokens", "64", "--event-rate", "1/1000", "--observed-rate", "30/100", "--json"],
    "predict": ["predict", "world/markov", "abbacab", "--json"],
    "source": ["source", "world/authors", "abacabadeab", "--own-tokens", "4", "--paths", "2", "--json", "--seed", "3"],
        "export": ["export", "base", "--to", "csv", "-o", "tables"],
    "report-transfer": ["report", "base", "--transfer", "cold", "--json"],
}  # fmt: skip


def numbers(value: Any, at: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON value by its path; lists of named things by their names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{at}/{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            name = inner.get("name", i) if isinstance(inner, dict) else i
            yield from numbers(inner, f"{at}/{name}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield at, float(value)


def run_all(folder: Path) -> dict[str, Any]:
    """Exit codes and numbers of every run, made in `folder`."""
    out: dict[str, Any] = {}
    with contextlib.chdir(folder):
        for name, words in AUDITS.items():
            code, _ = _run(["audit", *words, "-o", name])
            out[name] = {"exit": code, "numbers": _kept(json.loads(Path(name, "result.json").read_text()))}
        for name, words in OTHERS.items():
            code, said = _run(words)
            out[name] = {"exit": code, "numbers": _kept(json.loads(said)) if said.startswith("{") else {}}
        out["export"]["numbers"] = {
            f"{file}/{row.get('document', row['finding'])}/{row['name']}/{column}": float(cell)
            for file in ("estimates", "documents")
            for row in csv.DictReader(io.StringIO(Path("tables", f"{file}.csv").read_text()))
            for column, cell in row.items()
            if _is_number(cell)
        }
    return out


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _run(words: list[str]) -> tuple[int, str]:
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = main(words)
    return code, said.getvalue()


def _kept(result: dict[str, Any]) -> dict[str, float]:
    """What does not depend on the machine."""
    left_out = ("/provenance", "/plan/threads", "/elapsed", "/seconds")
    return {k: v for k, v in numbers(result) if not any(part in k for part in left_out)}


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_all(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("name", [*AUDITS, *OTHERS])
def test_numbers_and_exit_codes_stay(now: dict[str, Any], name: str) -> None:
    before = json.loads(gzip.decompress((GOLDEN / "small_runs.json.gz").read_bytes()))[name]
    renamed = json.loads((GOLDEN / "renamed.json").read_text())
    made = now[name]
    assert made["exit"] == before["exit"]
    wanted = {_renamed(key, renamed): value for key, value in before["numbers"].items()}
    missing = sorted(set(wanted) - set(made["numbers"]))
    assert not missing, missing[:20]
    wrong = [
        (key, value, made["numbers"][key])
        for key, value in wanted.items()
        if not math.isclose(value, made["numbers"][key], rel_tol=1e-6, abs_tol=1e-9)
    ]
    assert not wrong, wrong[:20]


def _renamed(key: str, renamed: dict[str, str]) -> str:
    for old, new in renamed.items():
        key = key.replace(old, new)
    return key


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as made_in:
        text = json.dumps(run_all(Path(made_in)), indent=0, sort_keys=True)
    (GOLDEN / "small_runs.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
