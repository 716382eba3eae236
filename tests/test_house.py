"""The order of the house: a package imports only packages above it, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "freerun"
ORDER = [
    "errors",
    "counted",
    "files",
    "stats",
    "results",
    "text",
    "samples",
    "predictors",
    "worlds",
    "organisms",
    "specs",
    "records",
    "findings",
    "comparisons",
    "report",
    "exports",
    "runs",
    "jobs",
    "explore",
    "commands",
]
ROOMS = {
    "torch": {
        "predictors/huggingface",
        "predictors/encoder.py",
        "predictors/kernels",
        "samples/slime.py",
        "jobs/lab",
    },
    "numba": {"predictors/kernels/compiled.py"},
    "transformers": {
        "predictors/kernels/attention.py",
        "predictors/huggingface",
        "predictors/encoder.py",
        "predictors/weights/gguf.py",
    },
    "sklearn": {"stats"},
    "pyarrow": {"records", "text", "samples/parquet.py"},
    "jinja2": {"report"},
    "aiohttp": {"predictors/servers/client.py"},
    "vllm": {"predictors/vllm_engine"},
    "starlette": {"explore"},
    "uvicorn": {"explore/serving.py"},
    "ray": {"runs/executors/ray.py"},
    "fsspec": {"records/remote.py"},
}
NO_MODEL = ("freerun.predictors", "freerun.worlds", "freerun.organisms", "freerun.records.measure")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it; `from a import b` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


FILES = sorted(p for p in SOURCE.rglob("*.py") if p.parent != SOURCE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    allowed = set(ORDER[: ORDER.index(room) + 1])
    used = {m.split(".")[1] for m in imports(path) if m.startswith("freerun.") and m.split(".")[1] in ORDER}
    assert used <= allowed, f"{path} imports {sorted(used - allowed)}"


def test_no_circle_of_imports() -> None:
    """Of all imports, also those inside functions."""
    modules = {".".join(("freerun", *p.relative_to(SOURCE).with_suffix("").parts)): p for p in SOURCE.rglob("*.py")}
    graph = {name: imports(path) & set(modules) for name, path in modules.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


PRIVATE = re.compile(r"METHODS\b|ARCHITECTURE\b|the source text|[Ii]ssue[ _#]?\d")


@pytest.mark.parametrize(
    "folder", ["src", "docs", "studies", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
)
def test_nothing_private_is_named(folder: str) -> None:
    path = ROOT / folder
    files = [path] if path.is_file() else [p for kind in ("py", "md", "j2", "toml") for p in path.rglob(f"*.{kind}")]
    assert files
    assert not [str(p) for p in files if PRIVATE.search(p.read_text())]


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(SOURCE).parts[0] in ("findings", "report")], ids=str
)
def test_conclusions_never_see_a_model(path: Path) -> None:
    assert not [m for m in imports(path) if m.startswith(NO_MODEL)]


@pytest.mark.parametrize("library", ROOMS)
def test_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    for path in FILES:
        if library in {m.split(".")[0] for m in imports(path)}:
            where = path.relative_to(SOURCE).as_posix()
            assert any(where == room or where.startswith(f"{room}/") for room in ROOMS[library]), (
                f"{where} imports {library}"
            )


@pytest.mark.parametrize(
    "words", [["-c", "import freerun"], ["-m", "freerun", "--help"], ["-m", "freerun", "audit", "--help"]]
)
def test_starting_loads_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {
        "torch",
        "transformers",
        "duckdb",
        "ray",
        "starlette",
        "uvicorn",
        "aiohttp",
        "sklearn",
        "scipy",
        "pyarrow",
        "numpy",
    }


def test_files_stay_small() -> None:
    long = {str(p.relative_to(SOURCE)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
